"""Records that the frozen base has read once, and blocks of any tokens that look into them.

What the base has read has no gradient: its K/V serve all blocks, in denoising forwards, where the
adapter acts, and in commit forwards, where the base judges. Knows neither noise nor losses.

Shape suffixes: S clean tokens, T noisy rows, N blocks, L slots of a block, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import KVCache, Transformer
from training.batch import (
    PADDING,
    Clean,
    Noisy,
    draw_starts,
    group_blocks,
    lay_blocks,
    noisy_visibility,
    pack_clean,
)
from training.loss import ROWS_PER_CHUNK
from training.stages.common import TrainingRecord, clean_attention

GROUP_ROWS = {"cpu": 192, "cuda": 2048}
"""Noisy rows of one forward: enough to keep the matrix units busy, few enough to skip most of the
attention that the mask hides."""


@dataclass(frozen=True)
class Context:
    """Packed records, and what the base makes of them."""

    model: Transformer
    cuts: Sequence[TrainingRecord]
    clean: Clean
    cache: KVCache
    hidden_SD: Tensor
    """What predicts the token behind each token."""
    vocabulary_ids: Tensor | None
    """Ids that may be predicted, ascending; None: all."""
    head_VD: Tensor
    """The head's rows of these ids."""

    def ids(self, index: Tensor) -> Tensor:
        """Ids of rows of `head_VD`."""
        return index if self.vocabulary_ids is None else self.vocabulary_ids[index]

    def index(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `head_VD` of ids, and whether there is such a row; 0 where there is none."""
        if self.vocabulary_ids is None:
            is_known = (ids >= 0) & (ids < self.model.config.vocab_size)
            return ids.where(is_known, 0), is_known
        index = torch.searchsorted(self.vocabulary_ids, ids.contiguous())
        index = index.clamp(max=len(self.vocabulary_ids) - 1)
        is_known = self.vocabulary_ids[index] == ids
        return index.where(is_known, 0), is_known

    def text_range(self) -> range:
        """Ids of text: the longest run without a special id."""
        bounds = [-1, *sorted(self.cuts[0].special_ids.tolist()), self.model.config.vocab_size]
        runs = [range(low + 1, high) for low, high in pairwise(bounds)]
        return max(runs, key=len)

    def best(self, hidden: Tensor) -> Tensor:
        """The most likely ids, (…) of states (…, D)."""
        return best_ids(hidden, self.head_VD, self.vocabulary_ids)

    def is_greedy_S(self) -> Tensor:
        """(S,) bool: whether the base's most likely token is the one that follows."""
        return F.pad(self.best(self.hidden_SD)[:-1] == self.clean.ids_S[1:], (0, 1))

    def blocks(
        self, num_blocks: int, block_size: int, generator: torch.Generator, *, repeats: int = 1
    ) -> Noisy:
        """Blocks that are masked but for their first slots, as drafts begin.

        Args:
            num_blocks: places over each record; there are none where a record has no text.
            block_size: slots of a block.
            generator: draws the places.
            repeats: blocks for each place, one after another.
        """
        starts = [
            draw_starts(
                cut.ids_S, cut.target_start, cut.special_ids, num_blocks, block_size, generator
            )
            for cut in self.cuts
        ]
        owners = [torch.full_like(drawn, index) for index, drawn in enumerate(starts)]
        start_N, owner_N = torch.cat(starts), torch.cat(owners)
        is_masked_NL = torch.ones(len(start_N) * repeats, block_size, dtype=torch.bool)
        is_masked_NL[:, 0] = False
        noisy = lay_blocks(
            self.clean.to(torch.device("cpu")),
            owner_N.repeat_interleave(repeats),
            start_N.repeat_interleave(repeats),
            is_masked_NL,
            is_masked_NL.float(),
            self.model.config.mask_id,
        )
        return noisy.to(self.clean.ids_S.device)

    def denoise(self, noisy: Noisy, *, gates_visible: bool) -> Tensor:
        """States (N, L, D) of a denoising forward, whose row i predicts slot i + 1.

        Args:
            noisy: whole blocks in the order of their numbers.
            gates_visible: as in the recipe.
        """
        return self._forward(noisy, "canvas" if gates_visible else "masked")

    @torch.no_grad()
    def commit(self, noisy: Noisy) -> Tensor:
        """States (N, L, D) of the base over whole blocks, causal: what it says to each token."""
        return self._forward(noisy, "none")

    def _forward(self, noisy: Noisy, gate: str) -> Tensor:
        num_slots = block_size_of(noisy)
        hidden, numbers = [], []
        for group in group_blocks(noisy, GROUP_ROWS[noisy.ids_T.device.type]):
            is_first_T = group.position_T == group.start_T
            num_seen = int(group.clean_T[is_first_T].max())
            is_visible_TS = noisy_visibility(self.clean.head(num_seen), group)
            gate_T: Tensor | None = ~is_first_T if gate == "canvas" else group.is_masked_T
            if gate == "none":
                gate_T = None
                is_visible_TS[:, num_seen:] &= group.position_T <= group.position_T[:, None]
            hidden_BTD = self.model.hidden(
                group.ids_T[None],
                cache=self.cache,
                start=num_seen,
                attention=is_visible_TS[None, None],
                gate_BT=None if gate_T is None else gate_T[None],
                positions_T=group.position_T,
                keeps_kv=False,
            )
            hidden.append(hidden_BTD[0])
            numbers.append(group.block_T[is_first_T])
        order_N = torch.cat(numbers).argsort()
        return torch.cat(hidden).view(-1, num_slots, hidden[0].shape[-1])[order_N]


def read_context(
    model: Transformer, cuts: Sequence[TrainingRecord], extra_ids: Sequence[int] = ()
) -> Context:
    """Run the base over records, once, without gradient and without adapter.

    Prompts are read as the sampler reads them: where the model has a map for it, their rows leave
    early, and what is drafted and judged behind them sees the keys and values that this leaves.

    Args:
        model: with its adapter.
        cuts: records that fit (`cut_record`).
        extra_ids: ids that may be predicted in spite of a trimmed vocabulary.
    """
    weight = model.embedding.weight
    clean = pack_clean([cut.ids_S for cut in cuts], [cut.target_start for cut in cuts])
    clean = clean.to(weight.device)
    vocabulary_ids = cuts[0].vocabulary_ids
    if vocabulary_ids is not None:
        ids = sorted({*vocabulary_ids.tolist(), *extra_ids})
        vocabulary_ids = torch.tensor(ids, device=weight.device)
    cache = KVCache.allocate(
        model.config, len(clean.ids_S), dtype=weight.dtype, device=weight.device
    )
    with torch.no_grad():
        hidden_BSD = model.hidden(
            clean.ids_S[None],
            cache=cache,
            attention=clean_attention(clean),
            positions_T=clean.position_S,
            is_early_T=clean.is_prompt_S,
        )
        head_VD = model.head.weight.detach()
        head_VD = head_VD if vocabulary_ids is None else head_VD[vocabulary_ids]
    return Context(model, cuts, clean, cache, hidden_BSD[0], vocabulary_ids, head_VD)


@torch.no_grad()
def best_ids(hidden: Tensor, head_VD: Tensor, vocabulary_ids: Tensor | None) -> Tensor:
    """The most likely ids, (…) of states (…, D).

    Args:
        hidden: states after the final norm.
        head_VD: rows of the head that take part.
        vocabulary_ids: their ids, (V,); None: the rows are all there are.
    """
    parts = torch.split(hidden.reshape(-1, hidden.shape[-1]), ROWS_PER_CHUNK)
    index = torch.cat([(part @ head_VD.T).argmax(-1) for part in parts])
    best = index if vocabulary_ids is None else vocabulary_ids[index]
    return best.view(hidden.shape[:-1])


def block_size_of(noisy: Noisy) -> int:
    """L."""
    return int((noisy.block_T == noisy.block_T[0]).sum())


def num_slots_N(noisy: Noisy) -> Tensor:
    """(N,) slots of each block that its record has text for."""
    has_text_NL = noisy.target_T.view(-1, block_size_of(noisy))[:, :-1] != PADDING
    return has_text_NL.sum(1) + 1


def text_of(noisy: Noisy) -> Tensor:
    """(N, L) the record's own tokens in the slots of blocks, `PADDING` behind its end.

    Of slot 0 nothing predicts the token; it is in the block itself.
    """
    num_slots = block_size_of(noisy)
    target_NL = noisy.target_T.view(-1, num_slots)
    return torch.cat([noisy.ids_T.view(-1, num_slots)[:, :1], target_NL[:, :-1]], dim=1)


def with_tokens(noisy: Noisy, ids_NL: Tensor, mask_id: int) -> Noisy:
    """The same blocks with other tokens."""
    ids_T = ids_NL.flatten()
    return replace(noisy, ids_T=ids_T, is_masked_T=ids_T == mask_id)


def pick(noisy: Noisy, block_M: Tensor) -> Noisy:
    """Blocks by their places in the order, each as often as named, numbered anew."""
    num_slots = block_size_of(noisy)
    row_ML = block_M[:, None] * num_slots + torch.arange(num_slots, device=block_M.device)
    number_M = torch.arange(len(block_M), device=block_M.device)
    return replace(noisy.rows(row_ML.flatten()), block_T=number_M.repeat_interleave(num_slots))


def join(parts: Sequence[Noisy]) -> Noisy:
    """Blocks of several sets, all of one size, one after another, numbered anew."""
    num_slots = block_size_of(parts[0])
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in Noisy.__dataclass_fields__
    }
    num_blocks = len(joined["ids_T"]) // num_slots
    number_N = torch.arange(num_blocks, device=joined["ids_T"].device)
    return Noisy(**{**joined, "block_T": number_N.repeat_interleave(num_slots)})
