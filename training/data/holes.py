"""Where the holes of a file are: at what the syntax tree says, at random, or nowhere.

Deterministic: a file's holes depend on its text and path, the seed and the number asked for.
Offsets count characters. Knows no tokens.
"""

import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from tree_sitter import Node

from model.format.grammars import parse
from training.evaluation.holes import HoleKind as SyntaxKind
from training.evaluation.holes import holes_in

RecordKind = Literal["line", "rest", "block", "argument", "span", "file", "run"]
"""The kinds of `training.evaluation.holes`, then: `span`, any characters · `file`, no hole: text to
be read from left to right · `run`: lines of a function that follow one another, whether statements
begin and end there or not. What stands there alone does not tell where it ends."""
KINDS: tuple[RecordKind, ...] = get_args(RecordKind)

T = TypeVar("T")

SYNTAX_SHARE = 0.60
SPAN_SHARE = 0.25
"""What is left, 15 %, is whole files."""
_MAX_SPAN_CHARS = 400
_MAX_HOLE_CHARS = 1_200
"""About 300 tokens; what is longer no editor would offer at once."""
_RUN_LINES = 20


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
    runs = _runs(text)
    for number in range(num_holes):
        first = len(text) * number // num_holes
        last = len(text) * (number + 1) // num_holes
        kind_draw = draw()
        hole: Hole | None = None
        if kind_draw < SYNTAX_SHARE:
            hole = _syntax_hole(text, by_kind, runs, first, last, draw())
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


def _runs(text: str) -> list[tuple[int, tuple[int, ...]]]:
    """Where a run may begin and, for each such place, where it may end; sorted by the former."""
    data = text.encode()
    tree = parse("python", data)
    if tree is None or tree.root_node.has_error:
        return []
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    ends = [*(start - 1 for start in starts[1:]), len(text)]
    breaks = [match.end() for match in re.finditer(b"\n", data)]
    is_text = [bool(text[start:end].strip()) for start, end in zip(starts, ends, strict=True)]
    places: dict[int, tuple[int, ...]] = {}
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        for first, last in _body_rows(node, breaks):
            for row in range(first, last + 1):
                # Of functions in one another, the outer one has more ends to choose from.
                if is_text[row] and starts[row] not in places:
                    places[starts[row]] = tuple(
                        ends[end]
                        for end in range(row, min(row + _RUN_LINES, last + 1))
                        if is_text[end] and ends[end] - starts[row] <= _MAX_HOLE_CHARS
                    )
    return sorted((start, found) for start, found in places.items() if found)


def _body_rows(node: Node, breaks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last row of a function's statements, if they begin behind its header's row."""
    body = node.child_by_field_name("body") if node.type == "function_definition" else None
    if body is None:
        return
    statements = [
        child
        for child in body.named_children
        if [part.type for part in child.named_children] != ["string"]  # a docstring
    ]
    if statements:
        # Not by `start_point`, which frees memory in use in tree-sitter 0.26.0.
        first = bisect_right(breaks, statements[0].start_byte)
        if first > bisect_right(breaks, node.start_byte):
            yield first, bisect_right(breaks, max(statements[-1].end_byte - 1, 0))


def _syntax_hole(
    text: str,
    by_kind: dict[SyntaxKind, list[tuple[int, int]]],
    runs: Sequence[tuple[int, tuple[int, ...]]],
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
    near_runs = [run for run in runs if first <= run[0] < last]
    if not any(near.values()) and not near_runs:
        near, near_runs = by_kind, list(runs)
    kinds: list[RecordKind] = [kind for kind, places in near.items() if places]
    kinds += ["run"] * bool(near_runs)
    if not kinds:
        return None
    kind, rest = _pick(kinds, drawn)
    if kind in near:
        (start, end), rest = _pick(near[kind], rest)
    else:
        (start, ends), rest = _pick(near_runs, rest)
        end, rest = _pick(ends, rest)
    if kind in ("line", "block", "run") and rest < 0.5:
        # Editors indent a new line themselves, so the cursor often stands behind the blanks.
        start += len(text[start:end]) - len(text[start:end].lstrip(" \t"))
    return Hole(kind, start, end)


def _pick(choices: Sequence[T], drawn: float) -> tuple[T, float]:
    """One of them by a number in [0, 1), and what is left of that number for another choice."""
    which, rest = divmod(drawn * len(choices), 1)
    return choices[int(which)], rest


def _span(text: str, first: int, last: int, place: float, length: float) -> Hole:
    """Any characters, short spans as likely as long ones on a logarithmic scale."""
    start = first + int(place * (last - first))
    num_chars = int(math.exp(length * math.log(_MAX_SPAN_CHARS + 1)))
    return Hole("span", start, min(start + num_chars, len(text)))


def _line_start(text: str, offset: int) -> int:
    """Of the line that the offset is in."""
    return text.rfind("\n", 0, offset) + 1
