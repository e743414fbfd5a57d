"""Holes in a user's own code: what the syntax tree says a person might have typed next.

Knows no engine. Nothing is run: a hole is judged by what stood there, and by whether the file still
parses.
"""

import hashlib
import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import Literal, get_args

from tree_sitter import Node, Tree

from model.format.grammars import language_of, parse
from training.evaluation.sets import SetAbsentError, SetError, draw_key
from training.evaluation.tasks import Task, TaskSet

HoleKind = Literal["line", "rest", "block", "argument"]
"""`line`: a whole statement line, or the first line of a longer statement · `rest`: such a line
from a token on · `block`: statements of a body that follow one another · `argument`: what stands
between the brackets of a call."""
KINDS: tuple[HoleKind, ...] = get_args(HoleKind)

MAX_PER_FILE = 2
"""Holes of each kind in a file, so that no file dominates."""
_BLOCK_LINES = range(2, 13)
_MAX_HOLE_LINE = 200
"""Bytes of a line that is punched out, wholly or in part."""
_MAX_FILE_BYTES = 200_000
_MAX_FILE_LINE = 1_000
"""Characters; nobody writes longer ones by hand."""
_SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "build", "dist", "node_modules", "site-packages", "target", "vendor"}
)

# Node types of all grammars.
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

    kind: HoleKind
    start: int
    end: int


def punch_holes(folder: Path, *, seed: int, limit: int | None) -> TaskSet:
    """Holes in the source files below a folder, spread over the files, kinds in turn.

    Files are read in an order drawn with the seed until there are enough holes, and a smaller limit
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
    digest = hashlib.sha256()
    rounds: dict[tuple[int, HoleKind], list[Task]] = defaultdict(list)
    for path in sorted(_source_files(folder), key=lambda path: draw_key(seed, path.as_posix())):
        if limit is not None and min(len(rounds[0, kind]) for kind in KINDS) * len(KINDS) >= limit:
            break
        try:
            content = (folder / path).read_bytes()
        except OSError:  # it is not ours to read
            continue
        text = _readable(content)
        if text is None:
            continue
        name, language = path.as_posix(), language_of(path.name)
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        for key, hole in _choose(holes_in(text, language), seed, name).items():
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
    return list(_Finder(data, tree, is_python=language == "python").find())


def task_of(hole: Hole, text: str, language: str, path: str) -> Task:
    """The task of a hole, named by path, line and column from 1, and kind.

    Where whole lines were taken out an empty one is left, as in an editor.
    """
    data = text.encode()
    prefix, suffix = data[: hole.start].decode(), data[hole.end :].decode()
    line, column = prefix.count("\n") + 1, len(prefix) - prefix.rfind("\n")
    return Task(
        task_id=f"{path}:{line}:{column}:{hole.kind}",
        prefix=prefix,
        suffix=suffix,
        language=language,
        max_lines=_BLOCK_LINES[-1] if hole.kind == "block" else 1,
        reference=data[hole.start : hole.end].decode(),
        is_parse_checked=True,
    )


class _Finder:
    """One walk over a tree, and what it came across."""

    def __init__(self, data: bytes, tree: Tree, *, is_python: bool) -> None:
        self._data = data
        self._is_python = is_python
        self._line_starts = [0, *(match.end() for match in re.finditer(b"\n", data))]
        self._containers: list[Node] = []
        self._arguments: list[Node] = []
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
            if container.type in _BODIES and not _is_of_class(container):
                yield from self._block_holes(statements)
        for arguments in self._arguments:
            start, end = arguments.start_byte + 1, arguments.end_byte - 1
            first_row, last_row = self._rows(arguments)
            if (
                first_row == last_row
                and self._is_punchable(first_row)
                and self._data[start:end].strip()
            ):
                yield Hole("argument", start, end)

    def _visit(self, node: Node) -> Sequence[Node]:
        if "comment" in node.type:
            first_row, last_row = self._rows(node)
            self._comment_rows.update(range(first_row, last_row + 1))
            return ()
        if node.type in _CONTAINERS:
            self._containers.append(node)
        elif node.type in _ARGUMENTS and not _is_of_class(node):
            self._arguments.append(node)
        if _OPENED_BY_BRACE.search(node.type) and self._data.startswith(b"{", node.start_byte):
            self._braces.add(node.start_byte)
        if node.child_count == 0 or _QUOTE.search(node.type):
            self._tokens[self._rows(node)[0]].append(node.start_byte)
            return ()
        return node.children

    def _line_holes(self, statement: Node) -> Iterator[Hole]:
        row, last_row = self._rows(statement)
        if not self._is_punchable(row) or not self._is_first(statement):
            return
        start, end = self._line(row)
        if row == last_row:
            is_whole = self._is_last(statement)
        else:  # only up to where a body begins, not the first line of a long expression
            last = start + len(self._data[start:end].rstrip()) - 1
            is_colon = self._is_python and self._data.startswith(b":", last)
            is_whole = is_colon or last in self._braces
        if is_whole and _WORD.search(self._data, start, end):
            yield Hole("line", start, end)
            for token in self._tokens[row]:
                if token > statement.start_byte and _WORD.search(self._data, token, end):
                    yield Hole("rest", token, end)

    def _block_holes(self, statements: Sequence[Node]) -> Iterator[Hole]:
        """From each statement on the shortest and the longest run that has the length of a block.

        Not all runs, because most would stand in the middle of long functions.
        """
        for index, first in enumerate(statements):
            row, _ = self._rows(first)
            last_rows = [
                last_row
                for last in statements[index : index + _BLOCK_LINES[-1]]
                if (last_row := self._rows(last)[1]) - row + 1 in _BLOCK_LINES
                and self._is_last(last)
            ]
            if self._is_first(first):
                for last_row in {*last_rows[:1], *last_rows[-1:]}:
                    yield Hole("block", self._line(row)[0], self._line(last_row)[1])

    def _is_first(self, node: Node) -> bool:
        """Whether nothing stands before it on its line."""
        start, _ = self._line(self._rows(node)[0])
        return not self._data[start : node.start_byte].strip()

    def _is_last(self, node: Node) -> bool:
        """Whether nothing but a separator stands behind it on its last line."""
        _, end = self._line(self._rows(node)[1])
        return self._data[node.end_byte : end].strip() in (b"", b";", b",")

    def _is_punchable(self, row: int) -> bool:
        """Whether the line is short and has no comment, which nobody can foresee."""
        start, end = self._line(row)
        return row not in self._comment_rows and end - start <= _MAX_HOLE_LINE

    def _rows(self, node: Node) -> tuple[int, int]:
        """The lines of its first and last byte; a comment may end with its line break.

        Not by `node.start_point`, which frees memory in use in tree-sitter 0.26.0.
        """
        last_byte = max(node.end_byte - 1, node.start_byte)
        return (
            bisect_right(self._line_starts, node.start_byte) - 1,
            bisect_right(self._line_starts, last_byte) - 1,
        )

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


def _is_of_class(node: Node) -> bool:
    """Whether it is the body or the bases of a Python class."""
    return node.parent is not None and node.parent.type == "class_definition"


def _choose(holes: Sequence[Hole], seed: int, path: str) -> dict[tuple[int, HoleKind], Hole]:
    """A few holes of each kind, by number and kind; no two of a kind overlap."""
    chosen: dict[tuple[int, HoleKind], Hole] = {}
    for hole in sorted(holes, key=lambda hole: draw_key(seed, path, *astuple(hole))):
        others = [other for other in chosen.values() if other.kind == hole.kind]
        if len(others) < MAX_PER_FILE and not any(
            hole.start < other.end and other.start < hole.end for other in others
        ):
            chosen[len(others), hole.kind] = hole
    return chosen


def _in_turn(rounds: Mapping[tuple[int, HoleKind], Sequence[Task]]) -> Iterator[Task]:
    """The first holes of all files before their second ones, kinds taking turns."""
    for number in range(MAX_PER_FILE):
        for turn in zip_longest(*(rounds.get((number, kind), ()) for kind in KINDS)):
            yield from (task for task in turn if task is not None)


def _source_files(folder: Path) -> Iterator[PurePath]:
    """Paths, relative to the folder, of what may be worth reading."""
    for place, subfolders, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            subfolders.clear()
            continue
        subfolders[:] = [
            name for name in subfolders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        ]
        for name in names:
            path = Path(place, name)
            if language_of(name) != "text" and path.is_file() and not path.is_symlink():
                yield path.relative_to(folder)


def _readable(content: bytes) -> str | None:
    """The text of a file that a person may have written; its line breaks become `\\n`."""
    if len(content) > _MAX_FILE_BYTES:
        return None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    if "\r" in text or max(map(len, text.split("\n"))) > _MAX_FILE_LINE:
        return None
    return text
