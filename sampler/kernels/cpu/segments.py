"""What one native forward is told of its rows, which may belong to several sequences.

Shape suffixes: T rows of a segment, S rows of the whole call.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.masks import Branches
from sampler.kernels.cpu.library import Cache

TILE = 16
"""Of network.h."""
Visible = Literal["causal", "canvas"] | Branches
"""What the rows of a segment see of each other, see `model.masks.Attention`."""


@dataclass
class NativeCache:
    """Keys and values of one sequence, all layers, in the order that the kernels read them."""

    keys: Tensor
    """(layers, G, slots / 16, K / 2, 16, 2) int16, a scale for each slot and head."""
    key_scales: Tensor
    """(layers, G, slots) float32."""
    values: Tensor
    """(layers, G, slots / 2, K, 2) int16, a scale for each slot and head."""
    value_scales: Tensor
    """(layers, G, slots) float32."""
    num_positions: int

    def copy_from(self, other: "NativeCache", num_positions: int) -> None:
        """Take the first so many positions of another cache of the same network."""
        num_tiles = -(-num_positions // TILE)
        num_slots = num_tiles * TILE
        self.keys[:, :, :num_tiles] = other.keys[:, :, :num_tiles]
        self.key_scales[:, :, :num_slots] = other.key_scales[:, :, :num_slots]
        self.values[:, :, : num_slots // 2] = other.values[:, :, : num_slots // 2]
        self.value_scales[:, :, :num_slots] = other.value_scales[:, :, :num_slots]

    def for_kernels(self) -> Cache:
        """Where its parts are."""
        return Cache(
            self.keys.data_ptr(),
            self.key_scales.data_ptr(),
            self.values.data_ptr(),
            self.value_scales.data_ptr(),
            self.key_scales.shape[-1],
        )


@dataclass(frozen=True)
class Segment:
    """Rows of one sequence: behind `start` cached tokens, in the slots from there on."""

    ids_T: Tensor
    cache: NativeCache
    start: int = 0
    attention: Visible = "causal"
    gate_T: Tensor | None = None
    """Bool: on which rows the adapter acts."""
    rows: slice | None = None
    """Those that are judged; all if None."""
    num_early: int = 0
    """First rows that leave early."""
    needs_candidates: bool = False
    """Of all rows that are judged, not of gated ones alone."""

    @property
    def judged(self) -> range:
        """The rows that are judged."""
        return range(len(self.ids_T))[self.rows or slice(None)]

    @property
    def is_ranked(self) -> bool:
        """Whether there may be candidates of its rows."""
        return self.needs_candidates or self.gate_T is not None

    @property
    def end(self) -> int:
        """Slots of the cache up to its last row."""
        return self.start + len(self.ids_T)


@dataclass(frozen=True)
class Arranged:
    """The rows of a call in their order: gated ones at the end, those of a sequence together."""

    ids_S: Tensor
    gate_S: Tensor | None
    """uint8."""
    places_S6: Tensor
    """`Place` of network.h."""
    judged: range
    found: tuple[Tensor | slice, ...]
    """For each segment, which of the judged rows are its own."""


def arrange(segments: Sequence[Segment]) -> Arranged:
    """Rows of several segments in one call.

    Of all segments only the first may have rows that are not judged, and those come first.
    """
    if len(segments) == 1:
        (one,) = segments
        gate_T = None if one.gate_T is None else one.gate_T.to(torch.uint8).contiguous()
        ids_T = one.ids_T.contiguous()
        return Arranged(ids_T, gate_T, _places(one, 0), one.judged, (slice(None),))
    ids_S = torch.cat([segment.ids_T for segment in segments])
    gate_S = torch.cat(
        [
            torch.zeros(len(segment.ids_T), dtype=torch.uint8)
            if segment.gate_T is None
            else segment.gate_T.to(torch.uint8)
            for segment in segments
        ]
    )
    places_S6 = torch.cat([_places(segment, number) for number, segment in enumerate(segments)])
    order_S = gate_S.argsort(stable=True)
    first = segments[0].judged.start
    assert not gate_S[:first].any(), "who is not judged is not gated"
    place_of_S = torch.empty_like(order_S)
    place_of_S[order_S] = torch.arange(len(order_S))
    found, begin = [], 0
    for segment in segments:
        judged, end = segment.judged, begin + len(segment.ids_T)
        assert judged.stop == len(segment.ids_T), "the last rows of a segment are judged"
        assert judged.start == 0 or begin == 0, "only the first segment has rows without logits"
        found.append(place_of_S[begin + judged.start : end] - first)
        begin = end
    return Arranged(
        ids_S[order_S], gate_S[order_S], places_S6[order_S], range(first, begin), tuple(found)
    )


def _places(segment: Segment, number: int) -> Tensor:
    """(T, 6) int32."""
    relative_T6, moved_T6 = _relative_places(segment.attention, len(segment.ids_T))
    places_T6 = relative_T6 + moved_T6 * segment.start
    places_T6[:, 0] = number
    return places_T6


@functools.lru_cache(maxsize=512)
def _relative_places(attention: Visible, num_rows: int) -> tuple[Tensor, Tensor]:
    """Places behind no token, and what of them moves with the number of tokens before."""
    if isinstance(attention, Branches):
        assert attention.num_rows == num_rows
        positions, spans = attention.positions(), attention.spans()
    else:
        positions = list(range(num_rows))
        spans = [(row + 1, 0, 0) for row in range(num_rows)]
        if attention == "canvas":
            spans[1:] = [(num_rows, 0, 0)] * (num_rows - 1)
    relative_T6 = torch.tensor(
        [(0, row, positions[row], *span) for row, span in enumerate(spans)], dtype=torch.int32
    ).reshape(num_rows, 6)
    moved_T6 = torch.ones_like(relative_T6)
    moved_T6[relative_T6[:, 5] == 0, 4:] = 0  # a range of no rows stays empty
    return relative_T6, moved_T6
