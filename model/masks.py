"""Who attends to whom: the rows of one call, cut into tiles, and the slots that each tile sees.

Knows positions only, neither keys nor queries.

Shape suffixes: B batch, S slots, N query heads per key/value head times rows of the tile.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branches:
    """Rows of a forward that verifies drafts and drafts what follows them (TiDAR 2511.08923).

    First a causal chain: row 0 is settled, the others are drafts. Then for each chain row, in case
    it turns out to be the last right one, a branch: rows at the positions behind it, which see the
    chain up to it and all of their own branch. `sizes[j]` rows make the branch behind chain row j.
    """

    sizes: tuple[int, ...]

    @property
    def num_chain(self) -> int:
        """Rows of the chain."""
        return len(self.sizes)

    @property
    def num_rows(self) -> int:
        """Rows of the whole call."""
        return len(self.sizes) + sum(self.sizes)

    def branch(self, index: int) -> slice:
        """The rows of the branch behind chain row `index`."""
        begin = self.num_chain + sum(self.sizes[:index])
        return slice(begin, begin + self.sizes[index])

    def positions(self) -> list[int]:
        """Where each row stands, counted from chain row 0."""
        chain = list(range(self.num_chain))
        return chain + [row + 1 + i for row, size in enumerate(self.sizes) for i in range(size)]

    def spans(self) -> list[tuple[int, int, int]]:
        """What each row sees of the call: so many first rows, and the rows of a range [a, b)."""
        spans = [(row + 1, 0, 0) for row in range(self.num_chain)]
        for row, size in enumerate(self.sizes):
            branch = self.branch(row)
            spans += [(row + 1, branch.start, branch.stop)] * size
        return spans

    def visibility(self) -> Tensor:
        """(T, T) bool: which rows of the call each row sees."""
        rows_T = torch.arange(self.num_rows)
        first_T1, begin_T1, end_T1 = torch.tensor(self.spans()).T[..., None].unbind()
        is_visible_TT: Tensor = rows_T < first_T1
        return is_visible_TT | ((rows_T >= begin_T1) & (rows_T < end_T1))


Attention = Literal["causal", "canvas"] | Branches | Tensor
"""`causal`: a row sees the rows before it and itself; `canvas`: row 0 sees itself, the others see
all rows of the call; `Branches` say it row by row; all see everything before the call. Or a bool
tensor, see `Transformer.forward`."""


@dataclass(frozen=True)
class Tile:
    """Rows that attend together: to the first `num_slots` slots, or to what `bias` leaves of them.

    `bias` is added to the scores, (N, S) or (B, 1, N, S): 0 where a row may attend, else -inf.
    """

    rows: slice
    num_slots: int
    bias: Tensor | None


def attention_tiles(
    attention: Attention,
    rows: range,
    start: int,
    num_rows: int,
    *,
    tile_rows: int,
    group_size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tile]:
    """Which slots the given rows, of a call with `num_rows` from position `start` on, may see.

    Args:
        tile_rows: how many causal rows go into one tile.
        group_size: query heads per key/value head; a bias is repeated for each.
    """

    def bias(is_visible: Tensor) -> Tensor:
        if is_visible.shape[-2] > 1:
            is_visible = torch.cat([is_visible] * group_size, dim=-2)
        zeros = torch.zeros(is_visible.shape, dtype=dtype, device=device)
        return zeros.masked_fill(~is_visible, -torch.inf)

    if not rows:
        return []
    if isinstance(attention, Branches):
        before_TS = torch.ones(num_rows, start, dtype=torch.bool)
        attention = torch.cat([before_TS, attention.visibility()], dim=-1).to(device)
    if isinstance(attention, Tensor):
        has_all_rows = attention.shape[-2] > 1
        is_visible = attention[..., rows.start : rows.stop, :] if has_all_rows else attention
        return [Tile(slice(rows.start, rows.stop), start + num_rows, bias(is_visible))]
    if attention == "canvas":
        # The settled row sees no draft: what it predicts is the AR model's own next token.
        pieces = [(0, 1, start + 1), (1, num_rows, start + num_rows)]
        return [
            Tile(slice(max(begin, rows.start), min(end, rows.stop)), num_slots, None)
            for begin, end, num_slots in pieces
            if max(begin, rows.start) < min(end, rows.stop)
        ]
    tiles = []
    for begin in range(rows.start, rows.stop, tile_rows):
        end = min(begin + tile_rows, rows.stop)
        visible = torch.ones(end - begin, start + end, dtype=torch.bool, device=device)
        is_one = end - begin == 1  # the last row sees all slots up to itself
        tiles.append(
            Tile(
                slice(begin, end),
                start + end,
                None if is_one else bias(visible.tril(diagonal=start + begin)),
            )
        )
    return tiles
