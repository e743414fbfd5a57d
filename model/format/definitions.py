"""Functions, methods and classes in a syntax tree: their names and the parts that they consist of.

Knows nothing of what is done with them.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from model.format.selection import DEFINITIONS, nodes_of

CLASSES = frozenset(
    {
        *("class_definition", "class_declaration", "interface_declaration", "enum_declaration"),
        *("struct_item", "enum_item", "trait_item", "type_alias_declaration", "type_declaration"),
    }
)
_WRAPPERS = frozenset({"decorated_definition", "export_statement"})
_STUB = re.compile(
    r"\s*(?:pass|\.\.\.|raise NotImplementedError(?:\([^)]*\))?|todo!\(\);?|unimplemented!\(\);?"
    r"|throw new \w+\([^)]*\);?|panic\([^)]*\)|return null;|#[^\n]*|//[^\n]*|\{|\})?\s*"
)
"""A line of a body that does nothing."""


@dataclass(frozen=True)
class Definition:
    """A function, method or class."""

    name: str
    node: Node
    """Without decorators and the like."""

    @property
    def is_class(self) -> bool:
        """Whether it is no function."""
        return self.node.type in CLASSES

    @property
    def outer(self) -> Node:
        """The node with decorators and `export`."""
        parent = self.node.parent
        return parent if parent is not None and parent.type in _WRAPPERS else self.node

    @property
    def body(self) -> Node | None:
        """What it does, or holds."""
        return self.node.child_by_field_name("body")

    @property
    def docstring(self) -> Node | None:
        """Of Python: the statement that is one."""
        if self.body is None or self.body.type != "block":
            return None
        first = next((child for child in self.body.children if child.type != "comment"), None)
        if first is None or first.type != "expression_statement" or not first.children:
            return None
        return first if first.children[0].type == "string" else None


class Parameter(NamedTuple):
    """One parameter of a Python function."""

    name: str
    node: Node
    annotation: Node | None
    default: Node | None


def definitions(root: Node) -> list[Definition]:
    """All definitions with a name, in the order of the text."""
    found = []
    for node in nodes_of(root):
        if node.type in DEFINITIONS or node.type in CLASSES:
            name = node.child_by_field_name("name")
            if name is not None and name.text is not None:
                found.append(Definition(name.text.decode(), node))
    return found


def parameters(definition: Definition) -> list[Parameter]:
    """The parameters of a Python function that have a name, `self` and `cls` included."""
    around = definition.node.child_by_field_name("parameters")
    if around is None:
        return []
    found = []
    for node in around.named_children:
        target = node.child_by_field_name("name")
        if node.type == "identifier":
            target = node
        elif target is None and node.named_children:
            target = node.named_children[0]  # of `*rest` and `**more`, typed or not
        if target is not None and target.type.endswith("splat_pattern"):
            target = target.named_children[0] if target.named_children else None
        if target is None or target.type != "identifier" or target.text is None:
            continue
        annotation = node.child_by_field_name("type")
        default = node.child_by_field_name("value")
        found.append(Parameter(target.text.decode(), node, annotation, default))
    return found


def untyped(definition: Definition) -> bool:
    """Whether a Python function lacks a type hint."""
    if definition.is_class:
        return False
    needing = [it for it in parameters(definition) if it.name not in ("self", "cls")]
    is_open = definition.node.child_by_field_name("return_type") is None
    return is_open or any(it.annotation is None for it in needing)


def has_docstring(definition: Definition) -> bool:
    """Whether a Python function or class has one."""
    return definition.docstring is not None


def has_stub_body(definition: Definition) -> bool:
    """Whether a function has a body that does nothing yet."""
    body = definition.body
    if definition.is_class or body is None or body.text is None:
        return False
    text = body.text.decode(errors="replace")
    docstring = definition.docstring
    if docstring is not None:
        text = text.replace((docstring.text or b"").decode(errors="replace"), "", 1)
    return all(_STUB.fullmatch(line) for line in text.splitlines())
