"""Where the holes of a file are: at what the syntax tree says, at random, or nowhere.

Deterministic: a file's holes depend on its text and path, the seed and the number asked for.
Offsets count characters. Knows no tokens.
"""

import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal, TypeVar, get_args

from tree_sitter import Node

from model.format.grammars import parse
from training.evaluation.holes import HoleKind as SyntaxKind
from training.evaluation.holes import holes_in

RecordKind = Literal["line", "rest", "block", "argument", "span", "file", "run", "enumeration"]
"""The kinds of `training.evaluation.holes`, then: `span`, any characters · `file`, no hole: text to
be read from left to right · `run`: lines of a function that follow one another, whether statements
begin and end there or not. What stands there alone does not tell where it ends · `enumeration`:
lines of several items of a sequence of similar ones, such as a ladder of `elif` or a table, that
mostly goes on below. What stands behind it tells where it ends."""
KINDS: tuple[RecordKind, ...] = get_args(RecordKind)

Places = list[tuple[int, tuple[int, ...]]]
"""Where holes of whole lines may begin and, for each such place, where they may end; sorted by the
former."""
T = TypeVar("T")

SYNTAX_SHARE = 0.60
SPAN_SHARE = 0.25
"""What is left, 15 %, is whole files."""
_MAX_SPAN_CHARS = 400
_MAX_HOLE_CHARS = 1_200
"""About 300 tokens; what is longer no editor would offer at once."""
_MAX_LINES = 20
"""Of a run or an enumeration."""
_MIN_ITEMS = 5
_ITEMS_BETWEEN = 2
"""An enumeration ends so many items behind the one that it begins in, or further."""
_TABLES = frozenset({"dictionary", "list", "tuple", "set"})
_BLOCKS = frozenset({"module", "block"})


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
    by_lines = line_holes(text)
    for number in range(num_holes):
        first = len(text) * number // num_holes
        last = len(text) * (number + 1) // num_holes
        kind_draw = draw()
        hole: Hole | None = None
        if kind_draw < SYNTAX_SHARE:
            hole = _syntax_hole(text, by_kind, by_lines, first, last, draw())
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


def line_holes(text: str) -> dict[RecordKind, Places]:
    """All places of the kinds that end at any of several lines."""
    tree = parse("python", text.encode())
    if tree is None or tree.root_node.has_error:
        return {}
    rows = _Rows(text)
    runs: dict[int, list[int]] = {}
    enumerations: dict[int, list[int]] = {}
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        for first, last in _body_rows(node, rows):
            for row in range(first, last + 1):
                # Of functions in one another, the outer one has more ends to choose from.
                runs.setdefault(row, rows.ends(row, row, last))
        for begins, last in _sequences(node, rows):
            for item, row in _item_rows(begins):
                ends = rows.ends(row, begins[item + _ITEMS_BETWEEN], last)
                # Those of a sequence in an item of another one are the nearer ones.
                enumerations[row] = sorted({*enumerations.get(row, ()), *ends})
    return {"run": rows.places(runs), "enumeration": rows.places(enumerations)}


class _Rows:
    """The lines of a text."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._ends = [*(start - 1 for start in self._starts[1:]), len(text)]
        self._lines = text.split("\n")
        self._breaks = [match.end() for match in re.finditer(b"\n", self.data)]

    def of(self, node: Node) -> tuple[int, int]:
        """First and last row of a node.

        Not by `start_point`, which frees memory in use in tree-sitter 0.26.0.
        """
        last = max(node.end_byte - 1, node.start_byte)
        return bisect_right(self._breaks, node.start_byte), bisect_right(self._breaks, last)

    def begins(self, node: Node) -> bool:
        """Whether nothing stands before a node on its line."""
        start = self.data.rfind(b"\n", 0, node.start_byte) + 1
        return not self.data[start : node.start_byte].strip()

    def ends(self, row: int, first: int, last: int) -> list[int]:
        """Of these rows, where a hole that begins with `row` may end."""
        return [
            end
            for end in range(first, min(row + _MAX_LINES, last + 1))
            if self._lines[end].strip() and self._ends[end] - self._starts[row] <= _MAX_HOLE_CHARS
        ]

    def places(self, ends: Mapping[int, Sequence[int]]) -> Places:
        """Rows as offsets; an empty line is no place to begin at."""
        return [
            (self._starts[row], tuple(self._ends[end] for end in ends[row]))
            for row in sorted(ends)
            if ends[row] and self._lines[row].strip()
        ]


def _body_rows(node: Node, rows: _Rows) -> Iterator[tuple[int, int]]:
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
        first, _ = rows.of(statements[0])
        if first > rows.of(node)[0]:
            yield first, rows.of(statements[-1])[1]


def _sequences(node: Node, rows: _Rows) -> Iterator[tuple[list[int], int]]:
    """Sequences of similar items right below a node: where each item begins, and the last row."""
    for items in _similar(node, rows.data):
        items = [item for item in items if rows.begins(item)]
        if len(items) >= _MIN_ITEMS:
            yield [rows.of(item)[0] for item in items], rows.of(items[-1])[1]


def _item_rows(begins: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The rows that an enumeration may begin with, each with the number of its item.

    Not those of the last items: behind them nothing could be left below the hole.
    """
    for item, (first, behind) in enumerate(pairwise(begins[:-_ITEMS_BETWEEN])):
        yield from ((item, row) for row in range(first, behind))


def _similar(node: Node, data: bytes) -> Iterator[list[Node]]:
    """Runs of similar nodes among a node and its children."""
    children = [child for child in node.named_children if not child.is_extra]
    if node.type == "if_statement":
        yield [node, *node.children_by_field_name("alternative")]
    elif node.type in _TABLES:
        yield children
    elif node.type in _BLOCKS:
        for form, similar in groupby(children, lambda child: _form(child, data)):
            if form is not None:
                yield list(similar)


def _form(statement: Node, data: bytes) -> tuple[str | bytes, ...] | None:
    """What a statement shares with its like: what is called, tested or assigned to, and how.

    None for one that enumerates nothing.
    """
    node = statement
    if statement.type == "expression_statement" and statement.named_child_count == 1:
        node = statement.named_children[0]
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    condition = node.child_by_field_name("condition")
    if node.type == "case_clause":
        return (node.type,)
    if node.type == "if_statement" and condition is not None:
        return node.type, _head(condition, data)
    if node.type == "call":
        return node.type, _head(node, data)
    if left is not None and left.child_count:  # of an object or a table, which tells enough
        return node.type, left.type, _head(left, data)
    if left is not None and right is not None:  # of a name of its own
        is_call = right.type == "call"
        return node.type, right.type, _head(right, data) if is_call else b""
    return None


def _head(node: Node, data: bytes) -> bytes:
    """The text of its first part: of a call what is called, of `a.b` and `a[b]` the `a`."""
    part = node.children[0] if node.child_count else node
    return data[part.start_byte : part.end_byte]


def _syntax_hole(
    text: str,
    by_kind: dict[SyntaxKind, list[tuple[int, int]]],
    by_lines: Mapping[RecordKind, Places],
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
    near_lines = {
        kind: [place for place in places if first <= place[0] < last]
        for kind, places in by_lines.items()
    }
    if not any(near.values()) and not any(near_lines.values()):
        near, near_lines = by_kind, dict(by_lines)
    kinds: list[RecordKind] = [kind for kind, places in near.items() if places]
    kinds += [kind for kind, places in near_lines.items() if places]
    if not kinds:
        return None
    kind, rest = _pick(kinds, drawn)
    if kind in near:
        (start, end), rest = _pick(near[kind], rest)
    else:
        (start, ends), rest = _pick(near_lines[kind], rest)
        end, rest = _pick(ends, rest)
    if kind in ("line", "block", "run", "enumeration") and rest < 0.5:
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
