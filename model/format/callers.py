"""Where a Python function is called in a text, as far as names and classes tell it.

Goes by the syntax tree of one file, without types: a call that could be of something else is not
taken for one of this function. Knows nothing of what is to become of the calls.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node

from model.format.selection import nodes_of

_FUNCTIONS = frozenset({"function_definition", "lambda"})
_TRANSPARENT = frozenset(
    {
        *("staticmethod", "classmethod", "abstractmethod", "override", "final", "cache"),
        *("lru_cache", "contextmanager", "asynccontextmanager"),
    }
)
"""Decorators behind which a function is called with its own parameters."""
_TARGETS = {
    "assignment": "left",
    "for_statement": "left",
    "for_in_clause": "left",
    "named_expression": "name",
    "function_definition": "name",
    "class_definition": "name",
    "aliased_import": "alias",
}
"""Statements that bind a name, and which of their fields it stands in."""
_NESTING = frozenset(
    {
        *("pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern"),
        *("as_pattern_target", "tuple", "list"),
    }
)


class Caller(NamedTuple):
    """A call of a function."""

    arguments: Node
    is_bound: bool
    """Whether the first parameter is not written, because it is the object."""


class Callers(NamedTuple):
    """The calls of a function that were found."""

    found: tuple[Caller, ...]
    num_unclear: int
    """Calls of a method of that name, on objects whose class nobody can see."""


def callers_of(root: Node, definition: Node) -> Callers | None:
    """The calls of a function, in the order of the text.

    Args:
        root: of the syntax tree.
        definition: of the function, in this tree.

    Returns:
        None if its name means several things, or a decorator may have changed what it takes.
    """
    name = definition.child_by_field_name("name")
    decorators = _decorators(definition)
    if name is None or not decorators <= _TRANSPARENT:
        return None
    around = _class_around(definition)
    space: Node = around if around is not None else _scope(definition) or root
    if sum(node.text == name.text for node in _bound_in(space)) != 1:
        return None
    calls = [node for node in nodes_of(root) if node.type == "call"]
    if around is None:
        found = (_plain(node, name, space) for node in calls)
        return Callers(tuple(it for it in found if it is not None), 0)
    return _of_method(calls, root, around, name, decorators)


def is_bound_at(node: Node, name: str) -> bool:
    """Whether a place knows a variable of that name: a parameter, or assigned further up."""
    scope = _scope(node)
    while scope is not None:
        for it in _bound_in(scope):
            if it.text == name.encode() and (it.start_byte < node.start_byte):
                return True
        scope = _scope(scope)
    return False


def _of_method(
    calls: list[Node], root: Node, around: Node, name: Node, decorators: set[str]
) -> Callers | None:
    class_name = around.child_by_field_name("name")
    class_space = _scope(around) or root
    if class_name is None or _class_around(around) is not None:
        return None
    if sum(node.text == class_name.text for node in _bound_in(class_space)) != 1:
        return None
    found: list[Caller] = []
    num_unclear = 0
    is_static = "staticmethod" in decorators
    for call in calls:
        function, arguments = (call.child_by_field_name(it) for it in ("function", "arguments"))
        if function is None or arguments is None:
            continue
        if name.text == b"__init__" and (
            _plain(call, class_name, class_space)
            or (function.text == b"cls" and _class_of_self(call) == around)
        ):
            found.append(Caller(arguments, is_bound=True))
            continue
        member = function.child_by_field_name("attribute")
        target = function.child_by_field_name("object")
        if function.type != "attribute" or member is None or target is None:
            continue
        if member.text != name.text:
            continue
        if _means(target, class_name, class_space):
            found.append(Caller(arguments, is_bound="classmethod" in decorators))
        elif _is_instance(target, around, class_name, class_space):
            found.append(Caller(arguments, is_bound=not is_static))
        elif name.text != b"__init__":
            num_unclear += 1
    return Callers(tuple(found), num_unclear)


def _plain(call: Node, name: Node, space: Node) -> Caller | None:
    function, arguments = (call.child_by_field_name(it) for it in ("function", "arguments"))
    if function is None or arguments is None or not _means(function, name, space):
        return None
    return Caller(arguments, is_bound=False)


def _means(node: Node, name: Node, space: Node) -> bool:
    """Whether a node is a name and stands for what is bound to it in a scope."""
    if node.type != "identifier" or node.text != name.text:
        return False
    scope = _scope(node)
    while scope is not None and scope != space:
        if any(it.text == name.text for it in _bound_in(scope)):
            return False
        scope = _scope(scope)
    return scope == space or (scope is None and space.parent is None)


def _is_instance(target: Node, around: Node, class_name: Node, space: Node) -> bool:
    """Whether an expression is surely an object of a class."""
    if target.type == "call":
        function = target.child_by_field_name("function")
        if function is not None and function.text == b"super":
            inner = _class_of_self(target)
            bases = inner.child_by_field_name("superclasses") if inner is not None else None
            return bases is not None and [it.text for it in bases.named_children] == [
                class_name.text
            ]
        return function is not None and _means(function, class_name, space)
    if target.type != "identifier":
        return False
    if target.text in (b"self", b"cls"):
        return _class_of_self(target) == around
    scope = _scope(target)
    holder = scope if scope is not None else _root_of(target)
    bound = [it for it in _bound_in(holder) if it.text == target.text]
    return bool(bound) and all(_holds_instance(it, class_name, space) for it in bound)


def _holds_instance(bound: Node, class_name: Node, space: Node) -> bool:
    statement = bound.parent
    if statement is None:
        return False
    annotation = statement.child_by_field_name("type")
    if annotation is not None:
        return annotation.text == class_name.text
    value = statement.child_by_field_name("right")
    function = value.child_by_field_name("function") if value is not None else None
    return (
        statement.type == "assignment"
        and function is not None
        and _means(function, class_name, space)
    )


def _bound_in(scope: Node) -> Iterator[Node]:
    """The names that a function, class or module binds itself, parameters included."""
    parameters = scope.child_by_field_name("parameters")
    waiting = [child for child in scope.children if child.type not in ("identifier",)]
    while waiting:
        node = waiting.pop()
        if node.type == "identifier" and _is_target(node, parameters):
            yield node
        if node.type in ("function_definition", "class_definition"):
            name = node.child_by_field_name("name")
            if name is not None:
                yield name
        elif node.type != "lambda":
            waiting += reversed(node.children)


def _is_target(node: Node, parameters: Node | None) -> bool:
    child, parent = node, node.parent
    while parent is not None and parent.type in _NESTING:
        if parent.type == "as_pattern_target":
            return True
        child, parent = parent, parent.parent
    if parent is None:
        return False
    if parent.type in _TARGETS:
        return parent.child_by_field_name(_TARGETS[parent.type]) == child
    if parent.type == "dotted_name":
        return parent.parent is not None and "import" in parent.parent.type
    if parameters is None:
        return False
    if parent.type in ("default_parameter", "typed_default_parameter"):
        return parent.child_by_field_name("name") == child
    is_typed = parent.type == "typed_parameter" and parent.named_children[0] == child
    return is_typed or parent == parameters or parent.type == "dictionary_splat_pattern"


def _decorators(definition: Node) -> set[str]:
    """The last names of a definition's decorators."""
    outer = definition.parent
    if outer is None or outer.type != "decorated_definition":
        return set()
    texts = [(it.text or b"").decode() for it in outer.children if it.type == "decorator"]
    return {text.lstrip("@ ").split("(")[0].strip().rpartition(".")[2] for text in texts}


def _class_around(definition: Node) -> Node | None:
    """The class that a definition is a member of."""
    node = definition.parent
    while node is not None and node.type in ("decorated_definition", "block"):
        node = node.parent
    return node if node is not None and node.type == "class_definition" else None


def _class_of_self(node: Node) -> Node | None:
    """The class in one of whose methods a node stands."""
    scope = _scope(node)
    while scope is not None:
        around = _class_around(scope)
        if around is not None:
            return around
        scope = _scope(scope)
    return None


def _scope(node: Node) -> Node | None:
    """The function around a node; defaults and decorators are outside of it."""
    child, parent = node, node.parent
    while parent is not None:
        if parent.type in _FUNCTIONS and parent.child_by_field_name("body") == child:
            return parent
        child, parent = parent, parent.parent
    return None


def _root_of(node: Node) -> Node:
    while node.parent is not None:
        node = node.parent
    return node
