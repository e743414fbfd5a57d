"""Holes in a user's own code: what the syntax tree says a person might have typed next.

Knows no engine. Nothing is run: a hole is judged by what stood there, and by whether the file still
parses.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tree_sitter import Node, Tree

from model.format.grammars import language_of, parse
from training.evaluation.sets import SetAbsentError, SetError, draw_key
from training.evaluation.tasks import Task, TaskSet

HoleType = Literal["line", "rest", "block", "argument"]
"""`line`: a whole statement line, or the first line of a longer statement · `rest`: such a line
from a token on · `block`: statements of a body that follow one another · `argument`: what stands
between the brackets of a call."""

_MAX_FILE_BYTES = 200_000
_MAX_FILE_LINE = 1_000
"""Bytes; nobody writes longer ones by hand."""
_MAX_HOLE_LINE = 200
"""Bytes of a line that is punched out, wholly or in part."""
_BLOCK_LINES = range(2, 13)
_PER_FILE = 2
"""Holes of each type in a file, so that no file dominates."""
_SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "build", "dist", "env", "node_modules", "site-packages", "target", "vendor"}
)

# Node types of all six grammars.
_CONTAINERS = frozenset(
    {
        *("module", "program", "source_file", "decorated_definition"),
        *("block", "statement_block", "statement_list", "constructor_body"),
        *("class_body", "interface_body", "enum_body_declarations"),
        *("declaration_list", "field_declaration_list"),
    }
)
"""Their named children are statements."""
_BODIES = frozenset({"block", "statement_block", "statement_list", "constructor_body"})
"""Of functions, branches and loops."""
_ARGUMENTS = frozenset({"argument_list", "arguments"})
_OPENED_BY_BRACE = re.compile("(block|body|declaration_list)$")
_QUOTE = re.compile("string|comment|char|rune|regex|template|jsx_text")
"""Nothing is punched into these."""
_WORD = re.compile(rb"\w\w")


@dataclass(frozen=True)
class Hole:
    """A place in a text; offsets count bytes of its UTF-8."""

    type: HoleType
    start: int
    end: int


def punch_holes(folder: Path, *, seed: int, limit: int | None) -> TaskSet:
    """Holes in the source files below a folder, spread over the files, types in turn.

    Files are read in an order drawn with the seed until there are enough, and a smaller limit
    draws the head of what a larger one draws.

    Args:
        folder: searched for files of the languages with a grammar; hidden folders, virtual
            environments, and folders of what was built or installed are left out, as are files
            that are long, minified, no UTF-8 or broken.
        seed: which holes.
        limit: how many at most; None for a few in every file.

    Raises:
        SetAbsentError: if there is no such folder.
        SetError: if no file in it has a place for a hole.
    """
    if not folder.is_dir():
        raise SetAbsentError(f"holes: there is no folder {folder}.")
    paths = sorted(_source_files(folder), key=lambda path: draw_key(seed, path.as_posix()))
    digest = hashlib.sha256()
    rounds: dict[tuple[int, HoleType], list[Task]] = defaultdict(list)
    for path in paths:
        if limit is not None and all(
            len(rounds[0, type_]) * len(get_args(HoleType)) >= limit for type_ in get_args(HoleType)
        ):
            break
        content = (folder / path).read_bytes()
        text = _readable(content)
        if text is None:
            continue
        name, language = path.as_posix(), language_of(path.name)
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        chosen = _choose(holes_in(text, language), seed, name)
        for key, hole in chosen.items():
            rounds[key].append(task_of(hole, text, language, name))
    tasks = tuple(_in_turn(rounds))[:limit]
    if not tasks:
        raise SetError(f"{folder} holds no source file with a place for a hole.")
    return TaskSet(f"holes:{folder}", tasks, str(folder), digest.hexdigest())


def holes_in(text: str, language: str) -> list[Hole]:
    """All places of a file that a hole may be punched at; none if it does not parse.

    Args:
        text: the whole file, line breaks are `\\n`.
        language: one of `grammars`.
    """
    data = text.encode()
    tree = parse(language, data)
    if tree is None or tree.root_node.has_error:
        return []
    return list(_Finder(data, tree).find())


def task_of(hole: Hole, text: str, language: str, path: str) -> Task:
    """The task of a hole; its name tells line and column from 1, columns in characters."""
    data = text.encode()
    prefix, suffix = data[: hole.start].decode(), data[hole.end :].decode()
    line, column = prefix.count("\n") + 1, len(prefix) - prefix.rfind("\n")
    return Task(
        task_id=f"{path}:{line}:{column}:{hole.type}",
        prefix=prefix,
        suffix=suffix,
        language=language,
        max_lines=_BLOCK_LINES[-1] if hole.type == "block" else 1,
        reference=data[hole.start : hole.end].decode(),
        is_parse_checked=True,
    )


class _Finder:
    """One walk over a tree, and what it came across."""

    def __init__(self, data: bytes, tree: Tree) -> None:
        self._data = data
        self._line_starts = [0, *(match.end() for match in re.finditer(b"\n", data))]
        self._containers: list[Node] = []
        self._calls: list[Node] = []
        self._braces: set[int] = set()
        """Offsets of those that open a body."""
        self._comment_rows: set[int] = set()
        self._tokens: dict[int, list[int]] = defaultdict(list)
        """Where tokens begin, by row."""
        nodes = [tree.root_node]
        while nodes:
            nodes += self._visit(nodes.pop())

    def find(self) -> Iterator[Hole]:
        for container in self._containers:
            statements = [child for child in container.named_children if _is_statement(child)]
            for statement in statements:
                yield from self._line_holes(statement)
            is_class = container.parent is not None and container.parent.type == "class_definition"
            if container.type in _BODIES and not is_class:
                yield from self._block_holes(statements)
        for arguments in self._calls:
            start, end = arguments.start_byte + 1, arguments.end_byte - 1
            row = arguments.start_point[0]
            if (
                self._data[start - 1 : start] + self._data[end : end + 1] == b"()"
                and self._data[start:end].strip()
                and self._is_punchable(row)
                and row == arguments.end_point[0]
            ):
                yield Hole("argument", start, end)

    def _visit(self, node: Node) -> Sequence[Node]:
        row = node.start_point[0]
        if "comment" in node.type:
            self._comment_rows.update(range(row, node.end_point[0] + 1))
            return ()
        if node.type in _CONTAINERS:
            self._containers.append(node)
        elif (
            node.type in _ARGUMENTS and node.parent is not None and "class" not in node.parent.type
        ):
            self._calls.append(node)
        if (
            _OPENED_BY_BRACE.search(node.type)
            and self._data[node.start_byte : node.start_byte + 1] == b"{"
        ):
            self._braces.add(node.start_byte)
        if node.child_count == 0 or _QUOTE.search(node.type):
            self._tokens[row].append(node.start_byte)
            return ()
        return node.children

    def _line_holes(self, statement: Node) -> Iterator[Hole]:
        row = statement.start_point[0]
        start, end = self._line(row)
        if not self._is_first(statement) or not self._is_punchable(row):
            return
        if statement.end_point[0] == row:
            is_whole = self._is_last(statement)
        else:  # only if a body begins on the next line, and not in the middle of an expression
            last = len(self._data[start:end].rstrip()) + start - 1
            is_whole = last in self._braces or self._data[last : last + 1] == b":"
        if is_whole and _WORD.search(self._data, start, end):
            yield Hole("line", start, end)
            for token in self._tokens[row]:
                if token > statement.start_byte and _WORD.search(self._data, token, end):
                    yield Hole("rest", token, end)

    def _block_holes(self, statements: Sequence[Node]) -> Iterator[Hole]:
        """From each statement the shortest and the longest run that is neither a line nor a page.

        Not all runs, because most of them are in the middle of long functions.
        """
        for index, first in enumerate(statements):
            if not self._is_first(first):
                continue
            ends = [
                last.end_point[0]
                for last in statements[index:]
                if self._is_last(last)
                and last.end_point[0] - first.start_point[0] + 1 in _BLOCK_LINES
            ]
            for row in {*ends[:1], *ends[-1:]}:
                yield Hole("block", self._line(first.start_point[0])[0], self._line(row)[1])

    def _is_first(self, node: Node) -> bool:
        start, _ = self._line(node.start_point[0])
        return not self._data[start : node.start_byte].strip()

    def _is_last(self, node: Node) -> bool:
        """Whether nothing but a separator stands behind it on its last line."""
        _, end = self._line(node.end_point[0])
        return self._data[node.end_byte : end].strip() in (b"", b";", b",")

    def _is_punchable(self, row: int) -> bool:
        start, end = self._line(row)
        return row not in self._comment_rows and end - start <= _MAX_HOLE_LINE

    def _line(self, row: int) -> tuple[int, int]:
        """Where a line begins and where its line break is."""
        start = self._line_starts[row]
        end = self._data.find(b"\n", start)
        return start, len(self._data) if end < 0 else end


def _is_statement(node: Node) -> bool:
    is_docstring = node.type == "expression_statement" and [
        child.type for child in node.named_children
    ] == ["string"]
    return not node.is_extra and not is_docstring and node.type not in _CONTAINERS


def _choose(holes: Sequence[Hole], seed: int, name: str) -> dict[tuple[int, HoleType], Hole]:
    """A few holes of each type, of which no two overlap, by which of its type they are."""
    drawn = sorted(holes, key=lambda hole: draw_key(seed, name, hole.type, hole.start, hole.end))
    chosen: dict[tuple[int, HoleType], Hole] = {}
    for round_ in range(_PER_FILE):
        for type_ in get_args(HoleType):
            for hole in drawn:
                if hole.type == type_ and not any(
                    hole.start < other.end and other.start < hole.end for other in chosen.values()
                ):
                    chosen[round_, type_] = hole
                    break
    return chosen
