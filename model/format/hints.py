"""Type hints of an answer as they are written today, and no wider than the code shows.

Small models say `Optional` of everything. Knows Python's syntax tree, not what a type means.
"""

import re

from tree_sitter import Node

from model.format.definitions import Definition, Parameter, parameters

_BUILTIN_TYPES = re.compile(r"\b(?:typing\.|t\.)?(List|Dict|Tuple|Set|FrozenSet|Type)\b")
_OPTIONAL = re.compile(r"\b(?:typing\.)?Optional\[([^\[\]]*(?:\[[^\[\]]*\])?[^\[\]]*)\]")
_OR_NONE = re.compile(r"^(?P<type>[^|]*(?:\|[^|]*)*?) *\| *None$|^None *\| *(?P<other>.+)$")
_TYPE_WORDS = frozenset(
    {
        *("int", "float", "complex", "bool", "str", "bytes", "bytearray", "memoryview", "None"),
        *("object", "list", "dict", "tuple", "set", "frozenset", "type", "range", "slice"),
        *("Exception", "BaseException"),
    }
)
"""Types that need no import."""
_TYPING_WORDS = frozenset(
    {
        *("Any", "Callable", "Iterable", "Iterator", "Sequence", "Mapping", "MutableMapping"),
        *("MutableSequence", "Generator", "AsyncIterator", "Awaitable", "Hashable", "Union"),
    }
)
_VALUES = frozenset(
    {
        *("integer", "float", "string", "true", "false", "list", "dictionary", "set", "tuple"),
        *("list_comprehension", "dictionary_comprehension", "set_comprehension", "not_operator"),
        *("comparison_operator", "binary_operator", "unary_operator", "concatenated_string"),
        *("expression_list", "generator_expression", "lambda"),
    }
)
"""Expressions that are never None."""
_VALUE_CALLS = frozenset(
    {
        *("int", "float", "str", "bytes", "bool", "list", "dict", "set", "tuple", "frozenset"),
        *("len", "sum", "abs", "sorted", "round", "range", "any", "all", "enumerate", "zip"),
    }
)
_BINDINGS = {
    **dict.fromkeys(("for_statement", "for_in_clause"), "left"),
    **dict.fromkeys(("pattern_list", "tuple_pattern", "as_pattern_target"), ""),
    **dict.fromkeys(("global_statement", "nonlocal_statement"), ""),
    "named_expression": "name",
}
"""What binds names to values that nobody knows: the field with the names, or all of it."""


def type_text(annotation: Node, known: set[str], needs: set[str]) -> str | None:
    """A type as it is written today; None if nothing in the file tells what its names are.

    Args:
        annotation: of a parameter or a result.
        known: the words of the file.
        needs: imports that the type needs are added to it, as lines.
    """
    text = " ".join((annotation.text or b"").decode().split())
    text = _BUILTIN_TYPES.sub(lambda found: found[1].lower(), text)
    text = _OPTIONAL.sub(r"\1 | None", text)
    text = re.sub(r"\b(?:typing\.)?any\b", "Any", text).replace("typing.", "")
    if "Literal" in text:
        return None
    for word in re.findall(r"[A-Za-z_]\w*", text):
        if word in known or word in _TYPE_WORDS:
            continue
        if word not in _TYPING_WORDS:
            return None
        needs.add(f"from typing import {word}")
    return text


def without_none(text: str) -> str:
    """A type without `| None` at its end or beginning."""
    found = _OR_NONE.match(text)
    return text if found is None else (found["type"] or found["other"] or text).strip()


def takes_none(definition: Definition, parameter: Parameter) -> bool:
    """Whether a function reckons with None for a parameter, as far as its own code tells."""
    default, name = parameter.default, re.escape(parameter.name)
    if "splat" in parameter.node.type or (default is not None and default.type == "none"):
        return True
    code = (definition.node.text or b"").decode()
    asks = rf"\b{name} (?:is|is not|==|!=) None\b"
    if default is None:  # what is false stands for None at times
        asks += rf"|\bnot {name}\b|\b(?:if|and|or) {name}\b|\b{name} (?:and|or|if)\b"
    return re.search(asks, code) is not None


def returns_none(definition: Definition) -> bool:
    """Whether a function may return None, as far as its own code tells."""
    body = definition.body
    if body is None or not _ends(body):
        return True
    inner = _own_nodes(body)
    returns = [it for it in inner if it.type == "return_statement"]
    unknown = {it.name for it in parameters(definition)}
    for it in inner:
        field = _BINDINGS.get(it.type)
        target = it if field == "" else it.child_by_field_name(field) if field else None
        if target is not None:
            unknown |= set(re.findall(r"\w+", (target.text or b"").decode()))
    return any(
        not it.named_children or not _is_value(it.named_children[0], inner, unknown)
        for it in returns
    )


def _ends(block: Node) -> bool:
    """Whether what stands behind a block is never reached."""
    last = next((it for it in reversed(block.named_children) if it.type != "comment"), None)
    if last is None:
        return False
    if last.type in ("return_statement", "raise_statement"):
        return True
    if last.type == "with_statement":
        body = last.child_by_field_name("body")
        return body is not None and _ends(body)
    if last.type != "if_statement":
        return False
    branches = [last, *last.children_by_field_name("alternative")]
    if branches[-1].type != "else_clause":
        return False
    bodies = [
        it.child_by_field_name("consequence") or it.child_by_field_name("body") for it in branches
    ]
    return all(body is not None and _ends(body) for body in bodies)


def _is_value(node: Node, inner: list[Node], unknown: set[str]) -> bool:
    """Whether an expression is never None; `unknown` names may be."""
    if node.type in _VALUES:
        return True
    if node.type == "call":
        function = node.child_by_field_name("function")
        return function is not None and (function.text or b"").decode() in _VALUE_CALLS
    if node.type != "identifier" or node.text is None:
        return False
    name = node.text.decode()
    given = [
        it.child_by_field_name("right")
        for it in inner
        if it.type == "assignment" and (it.child_by_field_name("left") or it).text == node.text
    ]
    return (
        bool(given)
        and name not in unknown
        and all(it is not None and _is_value(it, inner, unknown | {name}) for it in given)
    )


def _own_nodes(body: Node) -> list[Node]:
    """The nodes of a body without those of functions and classes in it."""
    found, waiting = [], [body]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if node.type not in ("function_definition", "class_definition", "lambda"):
            waiting += reversed(node.children)
    return found
