"""The code that an edit is about: whole statements of a text, taken out and put back in its place.

Offsets count characters of the text as it is, whatever its line breaks and indentation; the code
handed out has neither margin nor `\\r`. Nothing outside the selection can change, for only its own
text is ever made anew. Knows neither models nor editors.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from tree_sitter import Node

from model.format.grammars import parse
from model.format.indentation import leading, unit
from model.format.lexer import LINE_BREAK

MOST_LINES = 120
"""A selection is not widened to a statement that is longer: then it is whole lines."""

_CONTAINERS = frozenset(
    {
        *("module", "block", "program", "source_file", "statement_list", "statement_block"),
        *("class_body", "declaration_list", "interface_body", "enum_body", "constructor_body"),
        *("object_type", "ERROR"),
    }
)
"""Nodes whose children are statements or members, each of which can stand alone."""
_LONE_RETURN = re.compile(r"\r(?!\n)")
DEFINITIONS = frozenset(
    {
        *("function_definition", "function_declaration", "generator_function_declaration"),
        *("method_definition", "method_declaration", "constructor_declaration", "function_item"),
    }
)
"""Functions and methods, in any of our languages."""


@dataclass(frozen=True)
class Selection:
    """Whole lines of a text: `start` to `end`, without the line break of the last one."""

    language: str
    text: str
    start: int
    end: int

    @property
    def old(self) -> str:
        """The selected text, verbatim."""
        return self.text[self.start : self.end]

    @functools.cached_property
    def code(self) -> str:
        """The selected text without its margin, each line ending with `\\n`."""
        lines, quoted = LINE_BREAK.split(self.old), self._quoted
        return "".join(
            f"{_without(self.margin, line, is_quoted=index in quoted)}\n"
            for index, line in enumerate(lines)
        )

    @functools.cached_property
    def margin(self) -> str:
        """The whitespace that all lines begin with, but for blank ones and those in a string."""
        quoted = self._quoted
        margins = [
            leading(line)
            for index, line in enumerate(LINE_BREAK.split(self.old))
            if line.strip() and index not in quoted
        ]
        if not margins:
            return ""
        least, most = min(margins), max(margins)
        length = next((i for i, c in enumerate(least) if c != most[i]), len(least))
        return least[:length]

    @property
    def line_break(self) -> str:
        """How the text ends its lines: as its first line does, `\\n` if it has only one."""
        found = LINE_BREAK.search(self.text)
        return found.group() if found else "\n"

    @property
    def first_line(self) -> int:
        """Index of the first selected line in the text."""
        return len(LINE_BREAK.findall(self.text, 0, self.start))

    def fit(self, code: str) -> str:
        """New code as it stands in the place of the old one: with margin, unit and line breaks.

        Lines that are the old ones but for whitespace at their end stay as they are, bytes and all.

        Args:
            code: without margin; its line breaks are `\\n`.
        """
        lines = self._with_unit(code.strip("\n")).split("\n")
        quoted = _quoted_rows(self.language, code.strip("\n"))
        kept = {line for i, line in enumerate(LINE_BREAK.split(self.old)) if i in self._quoted}
        for index, line in enumerate(lines):
            stays = index in quoted and line in kept and not line.startswith(self.margin)
            lines[index] = line if stays else (self.margin + line if line.strip() else "")
        return self._with_old_lines([f"{line}{self.line_break}" for line in lines])

    def replaced_by(self, new: str) -> str:
        """The whole text with `new` in the place of the selection."""
        return self.text[: self.start] + new + self.text[self.end :]

    @functools.cached_property
    def _quoted(self) -> frozenset[int]:
        """Indexes of the selected lines that begin inside a string."""
        first = self.first_line
        last = first + len(LINE_BREAK.findall(self.old))
        rows = _quoted_rows(self.language, self.text, first, last)
        return frozenset(row - first for row in rows)

    def _with_unit(self, code: str) -> str:
        """Code indented as the old code is, or else as the text around it."""
        lines = code.split("\n")
        if not any(leading(line) for line in lines):
            return code
        has_levels = any(leading(line) for line in self.code.split("\n"))
        wanted = unit(self.language, self.code if has_levels else self.text)
        found = unit("", code)
        quoted = _quoted_rows(self.language, code) if found != wanted else frozenset()
        for index, line in enumerate(lines):
            rest = line
            while rest.startswith(found):
                rest = rest[len(found) :]
            if index not in quoted:
                lines[index] = wanted * ((len(line) - len(rest)) // len(found)) + rest
        return "\n".join(lines)

    def _with_old_lines(self, lines: list[str]) -> str:
        """The joined lines, unchanged ones verbatim, without the last line break."""
        old = _lines(self.old)
        old_keys, keys = ([line.rstrip() for line in some] for some in (old, lines))
        parts: list[str] = []
        for kind, old_start, old_end, start, end in _opcodes(old_keys, keys):
            parts += old[old_start:old_end] if kind == "equal" else lines[start:end]
        # The selection's last line has no break of its own, whichever line that is.
        *body, last = [part if _has_break(part) else part + self.line_break for part in parts]
        return "".join(body) + last.rstrip("\r\n")


@dataclass(frozen=True)
class Hunk:
    """New text for `start` to `end` of the old one."""

    start: int
    end: int
    text: str


def hunks(old: str, new: str, offset: int = 0) -> list[Hunk]:
    """The lines that differ; `offset` is where the old text begins."""
    old_lines, new_lines = _lines(old), _lines(new)
    starts = [offset]
    for line in old_lines:
        starts.append(starts[-1] + len(line))
    return [
        Hunk(starts[old_start], starts[old_end], "".join(new_lines[new_start:new_end]))
        for kind, old_start, old_end, new_start, new_end in _opcodes(old_lines, new_lines)
        if kind != "equal"
    ]


def select(
    language: str, text: str, start: int, end: int, *, most_lines: int = MOST_LINES
) -> Selection | None:
    """Whole statements around a range, or around a cursor the function that it is in.

    Args:
        language: one of ours.
        text: any text.
        start: of the range, in characters.
        end: of the range, the same as `start` for a cursor.
        most_lines: up to which it is widened to whole statements.

    Returns:
        None if there is nothing but whitespace.
    """
    chosen = text[start:end]
    is_cursor = not chosen.strip()
    if is_cursor:
        end = start
    else:
        start, end = _without_edges(text, start, end)
    lines = _whole_lines(text, start, end)
    if not text[slice(*lines)].strip():
        return None
    root = tree_root(language, text)
    if root is not None:
        for takes_definition in (True, False) if is_cursor else (False,):
            wide = _widened(root, text, *lines, takes_definition=takes_definition)
            if wide is not None and len(LINE_BREAK.findall(text, *wide)) < most_lines:
                return Selection(language, text, *wide)
    return Selection(language, text, *lines)


@functools.lru_cache(maxsize=4)
def tree_root(language: str, text: str) -> Node | None:
    """The root of a text's syntax tree; None if there is no grammar. A lone `\\r` ends a line."""
    tree = parse(language, _LONE_RETURN.sub("\n", text).encode(errors="replace"))
    return None if tree is None else tree.root_node


def nodes_of(root: Node) -> Iterator[Node]:
    """A node and everything below it, in the order of the text."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def char_offset(text: str, byte_offset: int) -> int:
    """The character at a byte of the text's UTF-8."""
    if text.isascii():
        return byte_offset
    return len(text.encode(errors="replace")[:byte_offset].decode())


def _widened(
    root: Node, text: str, start: int, end: int, *, takes_definition: bool
) -> tuple[int, int] | None:
    """Whole lines of whole statements, or of the definition around them; None if there is none."""
    while True:
        found = _statements(root, text, *_without_edges(text, start, end), takes_definition)
        if found is None:
            return None
        wide = _whole_lines(text, min(start, found[0]), max(end, found[1]))
        if wide == (start, end):
            return wide
        start, end = wide
        takes_definition = False


def _statements(
    root: Node, text: str, start: int, end: int, takes_definition: bool
) -> tuple[int, int] | None:
    """The smallest run of whole statements that covers a range."""
    first, last = (len(text[:offset].encode(errors="replace")) for offset in (start, end))
    node = root.descendant_for_byte_range(first, last)
    if node is not None and takes_definition:
        while node is not None and node.type not in DEFINITIONS:
            node = node.parent
    if node is None:
        return None
    nodes = [node]
    if node.type in _CONTAINERS:
        nodes = [it for it in node.children if it.start_byte < last and it.end_byte > first]
    while len(nodes) == 1 and nodes[0].parent and nodes[0].parent.type not in _CONTAINERS:
        nodes = [nodes[0].parent]
    if not nodes:
        return None
    begin, stop = (char_offset(text, at) for at in (nodes[0].start_byte, nodes[-1].end_byte))
    return _without_edges(text, begin, stop)


def _without_edges(text: str, start: int, end: int) -> tuple[int, int]:
    """A range without the whitespace at its ends."""
    chosen = text[start:end]
    return start + len(chosen) - len(chosen.lstrip()), start + len(chosen.rstrip())


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    if text[max(end - 1, 0) : end + 1] == "\r\n":
        end -= 1
    start = min(start, end)
    begin = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    line_break = LINE_BREAK.search(text, max(end, begin))
    return begin, line_break.start() if line_break else len(text)


def _opcodes(old: list[str], new: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def _has_break(line: str) -> bool:
    return line.endswith(("\n", "\r"))


def _lines(text: str) -> list[str]:
    """Lines with their breaks; the last one has none."""
    lines, start = [], 0
    for line_break in LINE_BREAK.finditer(text):
        lines.append(text[start : line_break.end()])
        start = line_break.end()
    return [*lines, text[start:]]


def _without(margin: str, line: str, *, is_quoted: bool) -> str:
    if line.startswith(margin):
        return line[len(margin) :]
    return line if is_quoted else line.lstrip(" \t")


def _quoted_rows(
    language: str, text: str, first: int = 0, last: int | None = None
) -> frozenset[int]:
    """Rows of a text, of those from `first` to `last`, that begin inside a string."""
    root = tree_root(language, text)
    if root is None:
        return frozenset()
    rows: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        start, end = node.start_point[0], node.end_point[0]
        if start == end or end < first or (last is not None and start > last):
            continue
        if "string" in node.type and node.type != "concatenated_string":
            rows.update(range(start + 1, end + 1))
        else:
            waiting += node.children
    return frozenset(rows)
