"""Which rows of a forward belong to which sequence: the rows of one are a segment.

Segments stand one after the other; `bounds`, (B + 1,) int64 on the device, says where each begins
and where the last one ends. The last segments may be empty.

Knows neither layers nor tokens. Shape suffixes: B segments.
"""

from collections.abc import Iterator

import triton
import triton.language as tl
from torch import Tensor


def segments(
    bounds: Tensor, sequences_B: Tensor, lengths_B: Tensor
) -> Iterator[tuple[slice, int, int]]:
    """Rows, sequence and length of its context of each segment that has rows; asks the device."""
    ends = bounds.tolist()
    places = zip(sequences_B.tolist(), lengths_B.tolist(), strict=True)
    for first, end, (sequence, length) in zip(ends, ends[1:], places, strict=False):
        if first < end:
            yield slice(first, end), sequence, length


@triton.jit
def segment_of(bounds, row, NUM_SEGMENTS: tl.constexpr):
    """The segment that a row belongs to, its first row, and how many rows it has."""
    segment = row * 0
    for index in tl.static_range(1, NUM_SEGMENTS):
        segment += (row >= tl.load(bounds + index)).to(tl.int32)
    first = tl.load(bounds + segment).to(tl.int32)
    return segment, first, tl.load(bounds + segment + 1).to(tl.int32) - first


@triton.jit
def segment_of_tile(
    bounds, tile, GROUP: tl.constexpr, BLOCK_M: tl.constexpr, NUM_SEGMENTS: tl.constexpr
):
    """The segment that a tile of queries belongs to, and which of its tiles it is.

    A row has `GROUP` queries, a tile has room for `BLOCK_M`. Each segment begins with a new tile,
    so that its queries lie as if it were alone; tiles that are left over hold none of them.
    """
    segment = tile * 0
    for index in tl.static_range(NUM_SEGMENTS - 1):
        first, end = tl.load(bounds + index), tl.load(bounds + index + 1)
        num_tiles = tl.cdiv((end - first).to(tl.int32) * GROUP, BLOCK_M)
        is_behind = (segment == index) & (tile >= num_tiles)
        tile = tl.where(is_behind, tile - num_tiles, tile)
        segment = tl.where(is_behind, index + 1, segment)
    return segment, tile
