"""The functions and classes of a Python text, as runs of whole lines. Knows no edits.

Offsets count bytes of UTF-8, rows count from 0.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from model.format.grammars import parse

_OPEN = frozenset(
    {
        *("module", "block", "class_definition", "function_definition", "decorated_definition"),
        *("if_statement", "elif_clause", "else_clause", "try_statement", "except_clause"),
        *("finally_clause", "with_statement", "for_statement", "while_statement"),
    }
)
"""Nodes in which definitions are looked for; an expression holds none."""


@dataclass(frozen=True)
class Definition:
    """A function or class with its decorators."""

    node: Node
    """`function_definition` or `class_definition`, without the decorators."""
    path: str
    """Its name behind those of what it is in, such as `Shop.open`."""
    start: int
    """Of its first line."""
    end: int
    """Behind the break of its last line."""
    first_row: int
    end_row: int
    """Behind its last row."""

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Splice:
    """Bytes to be put in the place of others."""

    start: int
    end: int
    replacement: bytes = b""


def spliced(data: bytes, splices: Iterable[Splice], start: int, end: int) -> bytes:
    """A part of a text with some splices, which lie in it and do not overlap."""
    pieces, place = [], start
    for splice in sorted(splices, key=lambda splice: splice.start):
        assert place <= splice.start <= splice.end <= end
        pieces += [data[place : splice.start], splice.replacement]
        place = splice.end
    return b"".join([*pieces, data[place:end]])


def definitions_in(data: bytes) -> list[Definition]:
    """All definitions whose last line has an end, by where they begin."""
    tree = parse("python", data)
    assert tree is not None, "the grammar of Python is a dependency"
    found = list(_definitions(data, tree.root_node))
    return sorted(found, key=lambda definition: (definition.start, -definition.end))


def innermost(
    definitions: Sequence[Definition], first_row: int, end_row: int
) -> dict[str, Definition]:
    """The definitions that hold some rows, by path."""
    return {
        definition.path: definition
        for definition in definitions
        if definition.first_row <= first_row and end_row <= definition.end_row
    }


def line_start(data: bytes, offset: int) -> int:
    """Of the line that an offset is in."""
    return data.rfind(b"\n", 0, offset) + 1


def line_end(data: bytes, offset: int) -> int:
    """Behind the break of the line that an offset is in, or the end of the text."""
    end = data.find(b"\n", offset)
    return len(data) if end < 0 else end + 1


def parses(lines: bytes) -> bool:
    """Whether whole lines are Python by themselves, however far they are indented."""
    if lines[:1] in (b" ", b"\t"):
        lines = b"if x:\n" + lines
    tree = parse("python", lines)
    return tree is not None and not tree.root_node.has_error


def body_statements(node: Node) -> list[Node]:
    """The statements of a definition's body, without comments."""
    body = node.child_by_field_name("body")
    return [child for child in body.named_children if child.type != "comment"] if body else []


def is_docstring(statement: Node) -> bool:
    """Whether the first statement of a body is a text."""
    children = statement.named_children
    return (
        statement.type == "expression_statement"
        and len(children) == 1
        and children[0].type == "string"
    )


def _definitions(data: bytes, root: Node) -> Iterator[Definition]:
    breaks = [match.end() for match in re.finditer(rb"\n", data)]
    nodes = [(root, "")]
    while nodes:
        node, path = nodes.pop()
        if node.type in ("function_definition", "class_definition"):
            name = node.child_by_field_name("name")
            if name is None:
                continue
            path += ("." if path else "") + data[name.start_byte : name.end_byte].decode()
            decorated = node.parent
            outer = decorated if decorated and decorated.type == "decorated_definition" else node
            end = line_end(data, node.end_byte)
            if data[end - 1 : end] == b"\n":
                start = line_start(data, outer.start_byte)
                # Not by `Node.start_point`, which frees memory in use in tree-sitter 0.26.0.
                first_row, end_row = (bisect_right(breaks, offset) for offset in (start, end))
                yield Definition(node, path, start, end, first_row, end_row)
        nodes += [(child, path) for child in node.named_children if child.type in _OPEN]
