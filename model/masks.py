"""Who attends to whom: the rows of one call, cut into tiles, and the slots that each tile sees.

Knows positions only, neither keys nor queries.

Shape suffixes: B batch, S slots, N query heads per key/value head times rows of the tile.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Attention = Literal["causal", "canvas"] | Tensor
"""`causal`: a row sees the rows before it and itself; `canvas`: row 0 sees itself, the others see
all rows of the call; both see everything before the call. Or a bool tensor, see
`Transformer.forward`."""


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
