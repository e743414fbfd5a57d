"""Docstrings and type hints taken out of a definition, so that adding them is an edit.

Knows neither instructions nor which definition is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from training.data.definitions import (
    Definition,
    Splice,
    body_statements,
    is_docstring,
    line_end,
    line_start,
)
from training.data.edits import MAX_EDIT_CHARS

_MAX_DOCSTRING_BYTES = 900


@dataclass(frozen=True)
class Removal:
    """The head of a definition, with what is taken out of it."""

    start: int
    end: int
    splices: tuple[Splice, ...]


def without_docstring(data: bytes, definition: Definition) -> Removal | None:
    """A function or class without its docstring, if it has one on lines of its own and more."""
    statements = body_statements(definition.node)
    if len(statements) < 2 or not is_docstring(statements[0]):
        return None
    string = statements[0]
    start, end = line_start(data, string.start_byte), line_end(data, string.end_byte)
    alone = not data[start : string.start_byte].strip() and not data[string.end_byte : end].strip()
    if not alone or end - start > _MAX_DOCSTRING_BYTES:
        return None
    while end < statements[1].start_byte and not data[end : line_end(data, end)].strip():
        end = line_end(data, end)  # the blank lines between the docstring and the body
    return _removal(data, definition, [Splice(start, end)], statements[1:])


def without_type_hints(data: bytes, definition: Definition) -> Removal | None:
    """A function without the annotations of its parameters and result, if it has any."""
    parameters = definition.node.child_by_field_name("parameters")
    statements = body_statements(definition.node)
    if parameters is None or not statements:
        return None
    splices = list(_hints(parameters))
    result = definition.node.child_by_field_name("return_type")
    if result is not None:
        splices.append(Splice(parameters.end_byte, result.end_byte))
    return _removal(data, definition, splices, statements) if splices else None


def _hints(parameters: Node) -> Iterator[Splice]:
    for parameter in parameters.named_children:
        hint = parameter.child_by_field_name("type")
        if parameter.type == "typed_parameter" and hint:
            yield Splice(parameter.named_children[0].end_byte, hint.end_byte)
        elif parameter.type == "typed_default_parameter" and hint:
            name, value = (parameter.child_by_field_name(field) for field in ("name", "value"))
            assert name is not None
            assert value is not None
            # Without an annotation there are no blanks around the `=` (PEP 8).
            yield Splice(name.end_byte, value.start_byte, b"=")


def _removal(
    data: bytes, definition: Definition, splices: list[Splice], statements: list[Node]
) -> Removal | None:
    """Of the whole definition if it is short enough, else of as many first statements as are."""
    for statement in reversed(statements):
        end = line_end(data, statement.end_byte)
        if end - definition.start <= MAX_EDIT_CHARS:
            return Removal(definition.start, end, tuple(splices))
    return None
