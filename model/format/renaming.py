"""A rename that a person has begun by hand: what was renamed, and where else the old name stands.

Goes by the syntax tree, not by types: attributes are told from variables, and a name that belongs
to a function stays in it. Knows neither editors nor versions.
"""

import re
from typing import NamedTuple

from tree_sitter import Node

from model.format.selection import DEFINITIONS, char_offset, nodes_of, tree_root

_TOKEN = re.compile(r"\w+|\W")
_NAME = re.compile(r"[^\W\d]\w*")


class Rename(NamedTuple):
    """One name in the place of another."""

    old: str
    new: str


class Place(NamedTuple):
    """Characters of a text."""

    start: int
    end: int


def rename_between(before: str, after: str) -> Rename | None:
    """What was renamed in a line, if that is all that has changed in it."""
    olds, news = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(olds) != len(news):
        return None
    changed = {Rename(old, new) for old, new in zip(olds, news, strict=True) if old != new}
    if len(changed) != 1:
        return None
    (rename,) = changed
    is_name = all(_NAME.fullmatch(name) for name in rename)
    return rename if is_name else None


def places_left(language: str, text: str, rename: Rename, start: int, end: int) -> list[Place]:
    """Where the old name still stands and means the same, as far as one can see.

    Args:
        language: one of ours.
        text: with the rename done in one line.
        rename: what it was.
        start: where that line begins, in characters.
        end: where it ends.
    """
    root = tree_root(language, text)
    if root is None:
        return []
    names = [node for node in nodes_of(root) if node.type.endswith("identifier")]
    new = rename.new.encode()
    first = next(
        (it for it in names if it.text == new and start <= char_offset(text, it.start_byte) < end),
        None,
    )
    if first is None:
        return []
    scope = _scope(first) or root
    return [
        Place(char_offset(text, node.start_byte), char_offset(text, node.end_byte))
        for node in names
        if node.text == rename.old.encode()
        and scope.start_byte <= node.start_byte < scope.end_byte
        and _is_member(node) == _is_member(first)
        and not _is_keyword(node)
    ]


def _scope(node: Node) -> Node | None:
    """The function that a name belongs to; None for members and for names of a whole file."""
    if _is_member(node):
        return None
    around = node.parent
    is_definition = around is not None and (around.type in DEFINITIONS or "class" in around.type)
    if is_definition and around is not None and around.child_by_field_name("name") == node:
        return None  # the name of a definition is used around it
    while around is not None and around.type not in DEFINITIONS:
        around = around.parent
    return around


def _is_keyword(node: Node) -> bool:
    """Whether a name is what somebody else calls a parameter, in a call."""
    parent = node.parent
    is_argument = parent is not None and parent.type == "keyword_argument"
    return is_argument and parent is not None and parent.child_by_field_name("name") == node


def _is_member(node: Node) -> bool:
    """Whether a name stands behind a dot."""
    if node.type in ("property_identifier", "field_identifier"):
        return True
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "attribute":
        return parent.child_by_field_name("attribute") == node
    return False
