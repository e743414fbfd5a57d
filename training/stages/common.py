"""What stages share: their records, their result, and how clean and noisy rows are laid out.

Knows neither files nor optimizers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.masks import Attention
from model.network import Transformer
from model.noise import sample_mask
from training.batch import Clean, Noisy, clean_visibility, draw_starts, lay_blocks
from training.loss import ChunkedLoss
from training.recipes import Recipe


@dataclass(frozen=True)
class TrainingRecord:
    """Tokens of a prompt with its completion behind it."""

    ids_S: Tensor
    """1-D int64."""
    target_start: int
    """Place of the first token of the completion."""
    special_ids: Tensor
    """Ids that are no text, 1-D."""
    vocabulary_ids: Tensor | None = None
    """Ids that a trimmed vocabulary keeps, ascending."""
    is_own: bool = False
    """Whether the model wrote the completion itself (`training.data.own`)."""


@dataclass(frozen=True)
class StageLoss:
    """A loss to follow down, and sums to tell: counts and nats, to be added over records."""

    loss: Tensor
    figures: Mapping[str, float]


def told(result: ChunkedLoss) -> StageLoss:
    """A loss with the sums that the log tells of it."""
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


def lay_noise(
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
        drawn = draw_starts(
            *(cut.ids_S, cut.target_start, cut.special_ids, share, size, generator),
            is_own=cut.is_own,
        )
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


def clean_attention(clean: Clean) -> Attention:
    """One record needs no mask: plain causal attention skips what it does not see."""
    return "causal" if clean.num_records == 1 else clean_visibility(clean)[None, None]


def cut_record(record: TrainingRecord, recipe: Recipe) -> TrainingRecord:
    """The last tokens of a record: the completion stands at its end."""
    num_cut = max(len(record.ids_S) - recipe.max_tokens, 0)
    return replace(
        record,
        ids_S=record.ids_S[num_cut:],
        target_start=max(record.target_start - num_cut, 0),
    )
