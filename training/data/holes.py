"""Where the holes of a file are: at what the syntax tree says, at random, or nowhere.

Deterministic: a file's holes depend on its text and path, the seed and the number asked for.
Offsets count characters. Knows no tokens.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from training.evaluation.holes import HoleKind as SyntaxKind
from training.evaluation.holes import holes_in

RecordKind = Literal["line", "rest", "block", "argument", "span", "file"]
"""The kinds of `training.evaluation.holes`, then: `span`, any characters · `file`, no hole: text to
be read from left to right."""
KINDS: tuple[RecordKind, ...] = get_args(RecordKind)

SYNTAX_SHARE = 0.60
SPAN_SHARE = 0.25
"""What is left, 15 %, is whole files."""
_MAX_SPAN_CHARS = 400
_MAX_HOLE_CHARS = 1_200
"""About 300 tokens; what is longer no editor would offer at once."""


@dataclass(frozen=True)
class Hole:
    """A place in a text. For `file` it is where reading starts, and `end` is the text's end."""

    kind: RecordKind
    start: int
    end: int


def choose_holes(text: str, *, num_holes: int, seed: int, name: str) -> Iterator[Hole]:
    """So many places, spread over the text, kinds drawn by their shares.

    Args:
        text: Python.
        num_holes: how many.
        seed: which.
        name: package and path, so that files do not share their draws.
    """
    # Of the generator only `random()` is used: the one method whose values Python keeps.
    draw = random.Random(f"{seed}\0{name}").random
    by_kind = _syntax_holes(text)
    for number in range(num_holes):
        first = len(text) * number // num_holes
        last = len(text) * (number + 1) // num_holes
        kind_draw = draw()
        hole: Hole | None = None
        if kind_draw < SYNTAX_SHARE:
            hole = _syntax_hole(text, by_kind, first, last, draw())
        elif kind_draw >= SYNTAX_SHARE + SPAN_SHARE:
            hole = Hole("file", _line_start(text, first), len(text))
        yield hole or _span(text, first, last, draw(), draw())


def _syntax_holes(text: str) -> dict[SyntaxKind, list[tuple[int, int]]]:
    """All places of each kind, sorted."""
    by_kind: dict[SyntaxKind, list[tuple[int, int]]] = {}
    data = text.encode()
    # Offsets of bytes become those of characters; most files are ASCII, where they are the same.
    is_ascii = len(data) == len(text)
    for hole in holes_in(text, "python"):
        start, end = hole.start, hole.end
        if not is_ascii:
            start = len(data[:start].decode())
            end = start + len(data[hole.start : end].decode())
        if end - start <= _MAX_HOLE_CHARS:
            by_kind.setdefault(hole.kind, []).append((start, end))
    return {kind: sorted(by_kind[kind]) for kind in sorted(by_kind)}


def _syntax_hole(
    text: str,
    by_kind: dict[SyntaxKind, list[tuple[int, int]]],
    first: int,
    last: int,
    drawn: float,
) -> Hole | None:
    """A hole that begins between two offsets, each kind as likely as another.

    If there is none, as in a long docstring, any hole of the text; None if it has none at all.
    """
    near = {
        kind: [place for place in places if first <= place[0] < last]
        for kind, places in by_kind.items()
    }
    if not any(near.values()):
        near = by_kind
    kinds: Sequence[SyntaxKind] = [kind for kind, places in near.items() if places]
    if not kinds:
        return None
    which, rest = divmod(drawn * len(kinds), 1)
    kind = kinds[int(which)]
    which, rest = divmod(rest * len(near[kind]), 1)
    start, end = near[kind][int(which)]
    if kind in ("line", "block") and rest < 0.5:
        # Editors indent a new line themselves, so the cursor often stands behind the blanks.
        start += len(text[start:end]) - len(text[start:end].lstrip(" \t"))
    return Hole(kind, start, end)


def _span(text: str, first: int, last: int, place: float, length: float) -> Hole:
    """Any characters, short spans as likely as long ones on a logarithmic scale."""
    start = first + int(place * (last - first))
    num_chars = int(math.exp(length * math.log(_MAX_SPAN_CHARS + 1)))
    return Hole("span", start, min(start + num_chars, len(text)))


def _line_start(text: str, offset: int) -> int:
    """Of the line that the offset is in."""
    return text.rfind("\n", 0, offset) + 1
