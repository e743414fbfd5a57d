"""What one forward of training sees: clean sequences, and noisy blocks that look into them.

Clean sequences of several records stand one after another in S slots, without padding. Noisy blocks
stand one after another in T rows. Each has its own positions, so a block lies "over" its record at
any place, and many blocks share the K/V of one clean sequence. Knows neither network nor losses.

Shape suffixes: S clean tokens, T noisy rows, N blocks, L slots of a block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = -1
"""Target of a slot behind the end of its record: nothing is predicted there."""


@dataclass(frozen=True)
class Clean:
    """Records packed one after another."""

    ids_S: Tensor
    record_S: Tensor
    """Which record a token belongs to."""
    position_S: Tensor
    """Place within the record."""
    is_prompt_S: Tensor
    """Whether the completion begins behind it."""

    @property
    def num_records(self) -> int:
        """Records packed."""
        return int(self.record_S[-1]) + 1 if len(self.record_S) else 0

    def head(self, num_tokens: int) -> "Clean":
        """The first so many tokens."""
        return replace(self, **_each(self, lambda x: x[:num_tokens]))

    def to(self, device: torch.device) -> "Clean":
        """The same on a device."""
        return replace(self, **_each(self, lambda x: x.to(device)))


@dataclass(frozen=True)
class Noisy:
    """Blocks over packed records, row by row."""

    ids_T: Tensor
    block_T: Tensor
    record_T: Tensor
    position_T: Tensor
    start_T: Tensor
    """Position of the first slot of the row's block."""
    is_masked_T: Tensor
    """Rows that hold MASK; the adapter acts on these."""
    target_T: Tensor
    """Token at the next position, which the row predicts, or `PADDING`."""
    clean_T: Tensor
    """Clean slot at the same place, whose row makes the AR model's own prediction; 0 if none."""
    weight_T: Tensor
    """Weight of the row's loss; 0 but for rows whose prediction the sampler uses: the next slot is
    masked and belongs to the block and to the record, and the row is not the settled first one,
    which no adapter changes."""

    def rows(self, rows: slice | Tensor) -> "Noisy":
        """Some of the rows; whole blocks, or they would not see what they should."""
        return replace(self, **_each(self, lambda x: x[rows]))

    def to(self, device: torch.device) -> "Noisy":
        """The same on a device."""
        return replace(self, **_each(self, lambda x: x.to(device)))


def _each(tensors: Clean | Noisy, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    return {field.name: change(getattr(tensors, field.name)) for field in fields(tensors)}


def pack_clean(records: Sequence[Tensor], target_starts: Sequence[int] = ()) -> Clean:
    """Put records (1-D int64 each) one after another.

    Args:
        records: ids of each.
        target_starts: place of the first token of each completion; if empty, they are all that.
    """
    positions = [torch.arange(len(record)) for record in records]
    starts = target_starts or [0] * len(records)
    return Clean(
        torch.cat(list(records)),
        torch.cat([torch.full_like(record, index) for index, record in enumerate(records)]),
        torch.cat(positions),
        torch.cat([place_S < start for place_S, start in zip(positions, starts, strict=True)]),
    )


def lay_blocks(
    clean: Clean,
    record_N: Tensor,
    start_N: Tensor,
    is_masked_NL: Tensor,
    weight_NL: Tensor,
    mask_id: int,
) -> Noisy:
    """Blocks of L slots over the records, with MASK where `is_masked_NL` says so.

    Args:
        clean: packed records.
        record_N: record of each block.
        start_N: position of its first slot within the record, which the record must have.
        is_masked_NL: slots to mask; never the first, which is settled when a block is drafted.
        weight_NL: weight of the loss of each masked slot; its row is the one before.
        mask_id: id of MASK.
    """
    assert not bool(is_masked_NL[:, 0].any()), "the first slot of a block is settled"
    num_blocks, num_slots = is_masked_NL.shape
    length_R = torch.bincount(clean.record_S, minlength=clean.num_records)
    offset_R = length_R.cumsum(0) - length_R
    position_NL = start_N[:, None] + torch.arange(num_slots)
    length_N1 = length_R[record_N][:, None]
    assert bool((start_N < length_N1[:, 0]).all()), "a block begins within its record"

    def at(position_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Clean slot of each position, and whether the record has it."""
        exists_NL = position_NL < length_N1
        return (offset_R[record_N][:, None] + position_NL).where(exists_NL, 0), exists_NL

    slot_NL, exists_NL = at(position_NL)
    next_NL, has_next_NL = at(position_NL + 1)
    # Behind the end of a record there is nothing to see: such slots are masked, too.
    is_masked_NL = is_masked_NL | ~exists_NL
    next_weight_NL = torch.cat([weight_NL[:, 1:], torch.zeros(num_blocks, 1)], dim=1)
    next_weight_NL[:, 0] = 0
    return Noisy(
        ids_T=clean.ids_S[slot_NL].masked_fill(is_masked_NL, mask_id).flatten(),
        block_T=torch.arange(num_blocks).repeat_interleave(num_slots),
        record_T=record_N.repeat_interleave(num_slots),
        position_T=position_NL.flatten(),
        start_T=start_N.repeat_interleave(num_slots),
        is_masked_T=is_masked_NL.flatten(),
        target_T=clean.ids_S[next_NL].where(has_next_NL, PADDING).flatten(),
        clean_T=slot_NL.flatten(),
        weight_T=next_weight_NL.where(has_next_NL, 0).flatten(),
    )


def draw_starts(
    record: Tensor,
    target_start: int,
    special_ids: Tensor,
    num_blocks: int,
    block_size: int,
    generator: torch.Generator,
    *,
    is_own: bool = False,
) -> Tensor:
    """Positions of first slots, (num_blocks,), none twice unless there are too few.

    Up to half of them within the target, which is what the sampler will write, but no more than
    every other place of it, for many blocks over a short target would show the same, and mostly
    what is behind its end. The others anywhere in the record where a block holds text only: every
    token of code is one to learn from. Of a target that the model wrote itself all places are used.

    Args:
        record: ids of one record.
        target_start: place of the first token that the sampler would write.
        special_ids: ids that no block may run over, but for one that ends the record.
        num_blocks: how many.
        block_size: slots of a block.
        generator: the only source of chance.
        is_own: whether the model wrote the target.
    """
    is_special_S = torch.isin(record[:-1], special_ids)
    num_before_S = torch.cat([torch.zeros(1, dtype=torch.long), is_special_S.cumsum(0)])
    place_S = torch.arange(len(record) - 1)
    end_S = (place_S + block_size).clamp(max=len(record) - 1)
    is_text_S = num_before_S[end_S] == num_before_S[:-1]
    anywhere = place_S[is_text_S]
    within = place_S[is_text_S & (place_S >= target_start)]
    if len(anywhere) == 0:
        return torch.zeros(0, dtype=torch.long)
    num_within = min(num_blocks, len(within)) if is_own else min(num_blocks, len(within)) // 2
    pools = [(within, num_within), (anywhere, num_blocks - num_within)]
    return torch.cat([_draw(pool, count, generator) for pool, count in pools if count])


def _draw(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    num_rounds = -(-count // len(pool))
    rounds = [torch.randperm(len(pool), generator=generator) for _ in range(num_rounds)]
    return pool[torch.cat(rounds)[:count]]


def group_blocks(noisy: Noisy, num_rows: int) -> list[Noisy]:
    """The blocks in the order of their places, in groups of at most about `num_rows` rows.

    Blocks of a group stand close together, so that the group need not look at the clean tokens
    behind its last block, nor at the rows of other groups: attention over all blocks at once would
    be mostly over what its mask then hides.
    """
    assert len(noisy.block_T), "no blocks to group"
    num_slots = int((noisy.block_T == noisy.block_T[0]).sum())
    first_N = noisy.clean_T.view(-1, num_slots)[:, 0]
    order_N = first_N.argsort(stable=True)
    slots_L = torch.arange(num_slots, device=order_N.device)
    row_NL = order_N[:, None] * num_slots + slots_L
    return [
        noisy.rows(part.flatten()) for part in torch.split(row_NL, max(num_rows // num_slots, 1))
    ]


def weigh_path(noisy: Noisy, is_ar_S: Tensor, share: float) -> Noisy:
    """Lower the weights of rows behind a token that the AR model would not have written.

    Args:
        noisy: whole blocks, one after another.
        is_ar_S: whether the clean row's most likely token is the one that follows it.
        share: of their weight that such rows keep.
    """
    num_slots = int((noisy.block_T == noisy.block_T[0]).sum())
    is_ar_NL = is_ar_S[noisy.clean_T].view(-1, num_slots)
    is_path_NL = F.pad(is_ar_NL[:, :-1], (1, 0), value=True).cumprod(dim=1).bool()
    factor_T = torch.where(is_path_NL, 1.0, share).flatten()
    return replace(noisy, weight_T=noisy.weight_T * factor_T)


def clean_visibility(clean: Clean) -> Tensor:
    """(S, S) bool: a token sees its own record up to itself."""
    same_SS = clean.record_S[:, None] == clean.record_S
    return same_SS & (clean.position_S <= clean.position_S[:, None])


def noisy_visibility(clean: Clean, noisy: Noisy) -> Tensor:
    """(T, S + T) bool: a row sees its record before its block, and the rows of its block.

    But a first row sees itself alone of these: what it predicts is the AR model's own next token
    (`canvas` attention of `model.masks`).
    """
    sees_clean_TS = (noisy.record_T[:, None] == clean.record_S) & (
        clean.position_S < noisy.start_T[:, None]
    )
    is_first_T = noisy.position_T == noisy.start_T
    sees_noisy_TT = (noisy.block_T[:, None] == noisy.block_T) & (
        ~is_first_T[:, None] | is_first_T[None, :]
    )
    return torch.cat([sees_clean_TS, sees_noisy_TT], dim=1)
