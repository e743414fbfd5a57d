"""Figures of a model on records that no run trains on: how far drafts are accepted, and whether a
hole is ended by itself.

Cheap enough to be taken many times along a run: contexts are the records' own text, a block is
drafted in one step, and what the base would write is asked for once only. Knows neither losses nor
benchmarks.

Shape suffixes: B batch (1), L slots of a block, R rows with logits, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from model.coupling import read_candidates
from model.network import KVCache, Transformer
from model.noise import seeded_generator
from training.batch import draw_starts
from training.recipes import Recipe
from training.stages import TrainingRecord
from training.stages.common import cut_record
from training.stages.early import read_behind, read_in_full
from training.stages.edit import PairRecord
from training.stages.fim import is_kept

BLOCKS_PER_RECORD = 16


def held_out_figures(
    recipe: Recipe, records: Sequence[TrainingRecord]
) -> Callable[[Transformer], Mapping[str, float]]:
    """What tells whether a run of this recipe gets better."""
    if recipe.stage in ("fim", "ar"):
        return partial(endings, records=records)
    if recipe.stage == "early":
        return partial(agreement, records=[cut_record(record, recipe) for record in records])
    return Acceptance(
        records, max_tokens=recipe.max_tokens, block_size=max(recipe.block_sizes), seed=recipe.seed
    )


class Acceptance:
    """Drafts of one step against the greedy text of the base, as mode `exact` judges them."""

    def __init__(
        self,
        records: Sequence[TrainingRecord],
        *,
        max_tokens: int,
        block_size: int,
        blocks_per_record: int = BLOCKS_PER_RECORD,
        seed: int = 0,
    ) -> None:
        """Choose the places.

        Args:
            records: of which the first `max_tokens` tokens are used.
            max_tokens: of a record.
            block_size: slots of a canvas, the settled first one included.
            blocks_per_record: places in each.
            seed: which places.
        """
        self._block_size = block_size
        self._places: list[tuple[Tensor, Tensor, list[int]]] = []
        for index, record in enumerate(records):
            ids_S = record.ids_S[:max_tokens]
            target_start = min(record.target_start, len(ids_S) - 1)
            starts_N = draw_starts(
                ids_S,
                target_start,
                record.special_ids,
                blocks_per_record,
                block_size,
                seeded_generator(seed, index),
            )
            # From the last to the first: what one block leaves in the cache hides no other's past.
            is_prompt_S = torch.arange(len(ids_S)) < target_start
            starts = sorted(set(starts_N.tolist()), reverse=True)
            self._places.append((ids_S, is_prompt_S, starts))
        self._texts: dict[tuple[int, int], list[int]] = {}

    @torch.no_grad()
    def __call__(self, model: Transformer) -> Mapping[str, float]:
        """`accepted`: drafts accepted a block, the first of which is the base's own and always is;
        `right_k`: share of blocks whose k-th draft is the base's token, whatever stands before it.
        With a coupling drafts are chosen one after the other; `accepted_alone` are those without.
        """
        device, dtype = model.embedding.weight.device, model.embedding.weight.dtype
        num_blocks, num_accepted, num_alone = 0, 0, 0
        num_right_L = torch.zeros(self._block_size - 1)
        for index, (ids_S, is_prompt_S, starts) in enumerate(self._places):
            ids_S = ids_S.to(device)
            cache = KVCache.allocate(
                model.config, len(ids_S) + self._block_size, dtype=dtype, device=device
            )
            is_early_S = is_prompt_S.to(device)
            model.hidden(ids_S[None], cache=cache, rows=slice(0, 0), is_early_T=is_early_S)
            for start in starts:
                text = self._texts.get((index, start))
                if text is None:
                    text = self._write(model, cache, start, int(ids_S[start]))
                    self._texts[index, start] = text
                alone, drafts = self._draft(model, cache, start, int(ids_S[start]))
                is_right_L = drafts == torch.tensor(text)
                num_right_L += is_right_L
                num_accepted += int(is_right_L.long().cumprod(0).sum())
                num_alone += int((alone == torch.tensor(text)).long().cumprod(0).sum())
                num_blocks += 1
        assert num_blocks, "nothing to draft"
        shares = (num_right_L / num_blocks).tolist()
        right = {f"right_{offset}": share for offset, share in enumerate(shares, start=1)}
        figures = {"accepted": num_accepted / num_blocks, **right}
        if model.adapter is not None and model.adapter.coupling is not None:
            figures["accepted_alone"] = num_alone / num_blocks
        return figures

    def _write(self, model: Transformer, cache: KVCache, start: int, first: int) -> list[int]:
        """What the base writes behind the token `first` at a place."""
        text = [first]
        for position in range(start, start + self._block_size - 1):
            ids_BT = torch.tensor([[text[-1]]], device=model.embedding.weight.device)
            text.append(int(model(ids_BT, cache=cache, start=position)[0, -1].argmax()))
        return text[1:]

    def _draft(
        self, model: Transformer, cache: KVCache, start: int, first: int
    ) -> tuple[Tensor, Tensor]:
        """The drafts (L − 1,) behind the token `first` at a place: each row's own, and coupled."""
        mask_id, device = model.config.mask_id, model.embedding.weight.device
        ids_BT = torch.full((1, self._block_size), mask_id, device=device)
        ids_BT[0, 0] = first
        hidden_LD = model.hidden(
            ids_BT,
            cache=cache,
            start=start,
            attention="canvas",
            gate_BT=ids_BT == mask_id,
            rows=slice(0, self._block_size - 1),
        )[0]
        logits_LV = model.head(hidden_LD)
        drafts_L = logits_LV.argmax(-1).cpu()
        if model.adapter is None or model.adapter.coupling is None:
            return drafts_L, drafts_L
        # The first row is the base's own: what it says is settled when the others are chosen.
        settled = int(drafts_L[0])
        candidates = read_candidates(hidden_LD[1:], logits_LV[1:])
        coupled, _ = model.couple(candidates, settled)
        return drafts_L, torch.tensor([settled, *coupled])


@torch.no_grad()
@torch.no_grad()
def agreement(model: Transformer, records: Sequence[TrainingRecord]) -> Mapping[str, float]:
    """Figures of a map of rows that leave early, of completions behind a prompt so read.

    `early_kl`: mean KL, in nats, to what is predicted behind the whole prompt; `early_same`: share
    of tokens whose most likely one is the same.
    """
    early = model.early
    assert early is not None
    kl = same = 0.0
    num_rows = 0
    for record in records:
        read = read_in_full(model, record.ids_S, early.layer)
        seam, end = max(record.target_start - 1, 1), len(record.ids_S) - 1
        p_RV, q_RV = (
            model.head(states_RD).float().log_softmax(-1)
            for states_RD in (read.hidden_SD[seam:end], read_behind(model, early, read, seam, end))
        )
        kl += float((p_RV.exp() * (p_RV - q_RV)).sum())
        same += float((p_RV.argmax(-1) == q_RV.argmax(-1)).sum())
        num_rows += end - seam
    return {"early_kl": kl / max(num_rows, 1), "early_same": same / max(num_rows, 1)}


def endings(model: Transformer, records: Sequence[TrainingRecord]) -> Mapping[str, float]:
    """Figures of an update of the base, which acts on every row.

    `ended`: share of records whose end token is the most likely one where the text ends; `early`:
    share of the text's tokens in whose place the model would have ended; `nats`: mean −log p of a
    token of the completion, the end included. Of edits, if there are any, tokens that do not follow
    from the old code: `edited`, the share that is the most likely one, and `edit_nats`.
    """
    edits = [record for record in records if isinstance(record, PairRecord)]
    holes = [record for record in records if not isinstance(record, PairRecord)]
    figures = _of_holes(model, holes) if holes else {}
    return {**figures, **(_of_edits(model, edits) if edits else {})}


def _of_holes(model: Transformer, records: Sequence[TrainingRecord]) -> Mapping[str, float]:
    num_ended, num_early, num_tokens, nats = 0, 0, 0, 0.0
    for record in records:
        log_p_RV, targets_R = _read(model, record)
        is_end_R = log_p_RV.argmax(-1) == targets_R[-1]
        num_ended += int(is_end_R[-1])
        num_early += int(is_end_R[:-1].sum())
        num_tokens += len(targets_R)
        nats -= float(log_p_RV.gather(1, targets_R[:, None]).sum())
    return {
        "ended": num_ended / len(records),
        "early": num_early / max(num_tokens - len(records), 1),
        "nats": nats / num_tokens,
    }


def _of_edits(model: Transformer, records: Sequence[PairRecord]) -> Mapping[str, float]:
    num_right, num_tokens, nats = 0, 0, 0.0
    for record in records:
        log_p_RV, targets_R = _read(model, record)
        begin = max(record.target_start, 1)
        is_new_R = ~is_kept(record.old_ids, record.ids_S[begin:]).to(targets_R.device)
        num_right += int((log_p_RV.argmax(-1) == targets_R)[is_new_R].sum())
        num_tokens += int(is_new_R.sum())
        nats -= float(log_p_RV.gather(1, targets_R[:, None])[is_new_R].sum())
    return {"edited": num_right / num_tokens, "edit_nats": nats / num_tokens}


def _read(model: Transformer, record: TrainingRecord) -> tuple[Tensor, Tensor]:
    """log p (R, V) of the rows that predict a completion, and its tokens (R,)."""
    ids_S = record.ids_S.to(model.embedding.weight.device)
    begin = max(record.target_start, 1)
    logits_RV = model(
        ids_S[None],
        gate_BT=torch.ones_like(ids_S, dtype=torch.bool)[None],
        rows=slice(begin - 1, len(ids_S) - 1),
    )[0]
    return logits_RV.log_softmax(-1), ids_S[begin:]
