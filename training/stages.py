"""What each stage makes of records: the forwards it runs and the loss that comes of them.

A stage is a function (model, records, recipe, step, generator) → `StageLoss`; the loop is the same
for all. Knows neither files nor optimizers.

Shape suffixes: B batch (1), S clean tokens, T noisy rows, R rows with a loss, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.masks import Attention
from model.network import KVCache, Transformer
from model.noise import sample_mask
from training.batch import (
    Clean,
    Noisy,
    clean_visibility,
    draw_starts,
    lay_blocks,
    noisy_visibility,
    pack_clean,
)
from training.loss import ChunkedLoss, ar_loss, chunked_cross_entropy
from training.recipes import Recipe, Stage


@dataclass(frozen=True)
class TrainingRecord:
    """Tokens of a prompt with its completion behind it."""

    ids_S: Tensor
    """1-D int64."""
    target_start: int
    """Place of the first token of the completion."""
    special_ids: Tensor
    """Ids that are no text, 1-D."""


@dataclass(frozen=True)
class StageLoss:
    """A loss to follow down, and sums to tell: counts and nats, to be added over records."""

    loss: Tensor
    figures: Mapping[str, float]


def fim(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """AR loss of the completion, its end included; the update acts on every row.

    Bavarian et al. 2207.14255: fill-in-the-middle is next-token prediction in another order.
    """
    cuts = [_cut(record, recipe) for record in records]
    clean = pack_clean([cut.ids_S for cut in cuts])
    starts = torch.tensor([max(cut.target_start, 1) for cut in cuts])
    is_target_S = clean.position_S >= starts[clean.record_S]
    hidden_BSD = model.hidden(
        clean.ids_S[None],
        attention=_clean_attention(clean),
        gate_BT=torch.ones_like(clean.ids_S, dtype=torch.bool)[None],
        positions_T=clean.position_S,
    )
    return _told(ar_loss(hidden_BSD[0], model.head.weight, clean.ids_S, is_target_S))


def adapt(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Mask noise over blocks of clean records (Seed Diffusion 2508.02193, stage A of section 3.1).

    The clean part runs once, without gradient and without adapter; its K/V serve all blocks. Beside
    the cross-entropy against the text stands the forward KL to the AR model's own prediction at the
    same place, which costs no forward, for the clean part has made it.
    """
    cuts = [_cut(record, recipe) for record in records]
    clean = pack_clean([cut.ids_S for cut in cuts])
    noisy = _noisy(model, cuts, clean, recipe, step, generator)
    size = len(clean.ids_S)
    weight = model.embedding.weight
    cache = KVCache.allocate(model.config, size, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        clean_BSD = model.hidden(
            clean.ids_S[None],
            cache=cache,
            attention=_clean_attention(clean),
            positions_T=clean.position_S,
        )
    hidden_BTD = model.hidden(
        noisy.ids_T[None],
        cache=cache,
        start=size,
        attention=noisy_visibility(clean, noisy)[None, None],
        gate_BT=noisy.is_masked_T[None],
        positions_T=noisy.position_T,
        keeps_kv=False,
    )
    is_row_T = noisy.weight_T > 0
    has_teacher = recipe.kl_weight > 0
    return _told(
        chunked_cross_entropy(
            hidden_BTD[0, is_row_T],
            model.head.weight,
            noisy.target_T[is_row_T],
            noisy.weight_T[is_row_T],
            teacher_hidden_RD=clean_BSD[0, noisy.clean_T[is_row_T]] if has_teacher else None,
            kl_weight=recipe.kl_weight,
        )
    )


def _told(result: ChunkedLoss) -> StageLoss:
    return StageLoss(
        result.loss,
        {
            "rows": float(result.num_rows),
            "correct": float(result.num_correct),
            "weight": float(result.weight),
            "ce": float(result.ce),
            "kl": float(result.kl),
        },
    )


def _noisy(
    model: Transformer,
    cuts: Sequence[TrainingRecord],
    clean: Clean,
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> Noisy:
    """Blocks over all records: places, masks and weights."""
    size = recipe.block_size(step)
    noise = sample_mask(
        generator,
        recipe.blocks_per_record * len(cuts),
        size,
        schedule=recipe.noise,
        full_share=recipe.full_share,
        has_pairs=recipe.has_pairs,
    )
    starts, owners = [], []
    share = -(-noise.num_places // len(cuts))
    for index, cut in enumerate(cuts):
        drawn = draw_starts(cut.ids_S, cut.target_start, cut.special_ids, share, size, generator)
        starts.append(drawn)
        owners.append(torch.full_like(drawn, index))
    start_P, owner_P = torch.cat(starts), torch.cat(owners)
    is_used_N = noise.place_N < len(start_P)
    place_N = noise.place_N[is_used_N]
    decay_L = recipe.offset_decay ** torch.arange(size).clamp(min=2).sub(2).float()
    return lay_blocks(
        clean,
        owner_P[place_N],
        start_P[place_N],
        noise.is_masked_NL[is_used_N],
        noise.weight_NL[is_used_N] * decay_L,
        model.config.mask_id,
    )


def _clean_attention(clean: Clean) -> Attention:
    """One record needs no mask: plain causal attention skips what it does not see."""
    return "causal" if clean.num_records == 1 else clean_visibility(clean)[None, None]


def _cut(record: TrainingRecord, recipe: Recipe) -> TrainingRecord:
    """The last tokens of a record: the completion stands at its end."""
    num_cut = max(len(record.ids_S) - recipe.max_tokens, 0)
    return TrainingRecord(
        record.ids_S[num_cut:], max(record.target_start - num_cut, 0), record.special_ids
    )


STAGES: Mapping[Stage, Callable[..., StageLoss]] = {"fim": fim, "adapt": adapt}
