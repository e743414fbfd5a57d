"""Small mistakes put into a function: what a slip of the hand or of thought would leave there.

Each is a list of splices and the kind it is of; taking them back is the repair. All but `syntax`
still parse. Knows neither instructions nor which mistake is taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from tree_sitter import Node

from training.data.definitions import Splice, line_end, line_start

CorruptionKind = Literal[
    "operator",
    "comparison",
    "boolean",
    "negation",
    "off_by_one",
    "name",
    "argument",
    "argument_order",
    "missing_return",
    "branches",
    "await",
    "syntax",
]
CORRUPTION_KINDS: tuple[CorruptionKind, ...] = get_args(CorruptionKind)
Draw = Callable[[], float]
"""Uniform in [0, 1)."""
_Choice = TypeVar("_Choice", str, bytes)

_OPERATORS: Mapping[str, str] = {
    **{"+": "-", "-": "+", "*": "/", "/": "*", "//": "/", "<<": ">>", ">>": "<<", "&": "|"},
    **{"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|="},
}
_COMPARISONS: Mapping[str, tuple[str, ...]] = {
    **{"<": ("<=", ">"), "<=": ("<", ">="), ">": (">=", "<"), ">=": (">", "<=")},
    **{"==": ("!=",), "!=": ("==",), "in": ("not in",), "not in": ("in",)},
    **{"is": ("is not",), "is not": ("is",)},
}
_SKIPPED = frozenset({"type", "string", "concatenated_string", "comment", "decorator", "lambda"})
_TEXTS = frozenset({"string", "concatenated_string", "list", "tuple"})
"""What `+` joins and `-` does not take: nobody would write that by mistake."""
_SIMPLE = frozenset({"identifier", "attribute", "call", "subscript"})
_CONSTANTS = frozenset({"none", "true", "false", "integer", "float", "string"})
_HEADERS = frozenset(
    {
        *("if_statement", "elif_clause", "else_clause", "for_statement", "while_statement"),
        *("try_statement", "with_statement"),
    }
)
_USES = frozenset(
    {
        *("argument_list", "binary_operator", "comparison_operator", "return_statement"),
        *("boolean_operator", "subscript"),
    }
)
"""Nodes whose identifiers are read, not bound."""


@dataclass(frozen=True)
class Corruption:
    """One mistake."""

    kind: CorruptionKind
    splices: tuple[Splice, ...]


def corruptions_in(data: bytes, function: Node, draw: Draw) -> Iterator[Corruption]:
    """Every place of a function's body that can be spoiled, once a kind.

    Args:
        data: the text that the function is of.
        function: `function_definition`.
        draw: decides where there are several ways.
    """
    names = _local_names(data, function)
    body = function.child_by_field_name("body")
    nodes = [body] if body else []
    while nodes:
        node = nodes.pop()
        if node.type in _SKIPPED:
            continue
        for kind, splices in _of_node(data, node, names, draw):
            yield Corruption(kind, tuple(splices))
        nodes += reversed(node.named_children)


_Found = Iterator[tuple[CorruptionKind, list[Splice]]]


def _of_node(data: bytes, node: Node, names: list[bytes], draw: Draw) -> _Found:
    match node.type:
        case "binary_operator" | "augmented_assignment":
            yield from _operator(data, node)
        case "comparison_operator":
            yield from _comparison(data, node, draw)
        case "boolean_operator":
            operator = node.child_by_field_name("operator")
            if operator is not None:
                other = b"or" if operator.type == "and" else b"and"
                yield "boolean", [_instead(operator, other)]
        case "not_operator":
            argument = node.child_by_field_name("argument")
            if argument is not None:
                yield "negation", [Splice(node.start_byte, argument.start_byte)]
        case "integer":
            yield from _integer(data, node, draw)
        case "identifier":
            yield from _name(data, node, names, draw)
        case "call":
            yield from _call(data, node, draw)
        case "return_statement":
            yield from _return(data, node)
        case "conditional_expression":
            first, _, last = node.named_children[:3]
            yield "branches", _swap(data, first, last)
        case "await":
            yield "await", [Splice(node.start_byte, node.named_children[0].start_byte)]
    if node.type in ("if_statement", "elif_clause", "while_statement"):
        condition = node.child_by_field_name("condition")
        if condition is not None and condition.type in _SIMPLE:
            yield "negation", [Splice(condition.start_byte, condition.start_byte, b"not ")]
    if node.type == "if_statement":
        yield from _branches(data, node)
    if node.type in _HEADERS:
        yield from (("syntax", [_without(child)]) for child in node.children if child.type == ":")
    elif node.type == "argument_list" and node.children[-1].type == ")":
        yield "syntax", [_without(node.children[-1])]


def _operator(data: bytes, node: Node) -> _Found:
    operator = node.child_by_field_name("operator")
    right = node.child_by_field_name("right")
    left = node.child_by_field_name("left")
    if operator is None or left is None or right is None:
        return
    if {left.type, right.type}.isdisjoint(_TEXTS) and operator.type in _OPERATORS:
        yield "operator", [_instead(operator, _OPERATORS[operator.type].encode())]
    if operator.type in ("+", "-") and data[right.start_byte : right.end_byte] == b"1":
        yield "off_by_one", [Splice(left.end_byte, right.end_byte)]


def _comparison(data: bytes, node: Node, draw: Draw) -> _Found:
    for operator in node.children_by_field_name("operators"):
        others = _COMPARISONS.get(operator.type)
        if others:
            yield "comparison", [_instead(operator, _one_of(others, draw).encode())]


def _integer(data: bytes, node: Node, draw: Draw) -> _Found:
    parent, text = node.parent, data[node.start_byte : node.end_byte]
    assert parent is not None
    if not text.isdigit() or len(text) > 4 or not _counts(data, parent):
        return
    value = int(text)
    value += 1 if value == 0 or draw() < 0.5 else -1
    yield "off_by_one", [_instead(node, str(value).encode())]


def _counts(data: bytes, parent: Node) -> bool:
    """Whether a number there is an index, a bound or a length."""
    if parent.type in ("subscript", "slice", "comparison_operator"):
        return True
    return parent.type == "argument_list" and _is_range(data, parent.parent)


def _is_range(data: bytes, call: Node | None) -> bool:
    function = call.child_by_field_name("function") if call else None
    return function is not None and data[function.start_byte : function.end_byte] == b"range"


def _name(data: bytes, node: Node, names: list[bytes], draw: Draw) -> _Found:
    parent, name = node.parent, data[node.start_byte : node.end_byte]
    assert parent is not None
    if parent.type not in _USES or name not in names or len(names) < 2:
        return
    yield "name", [_instead(node, _one_of([other for other in names if other != name], draw))]


def _call(data: bytes, node: Node, draw: Draw) -> _Found:
    arguments = node.child_by_field_name("arguments")
    if arguments is None or arguments.type != "argument_list":
        return
    found = [child for child in arguments.named_children if child.type != "comment"]
    if _is_range(data, node) and len(found) == 1 and found[0].type in _SIMPLE:
        change = b" - 1" if draw() < 0.5 else b" + 1"
        yield "off_by_one", [Splice(found[0].end_byte, found[0].end_byte, change)]
    if len(found) < 2:
        return
    index = int(draw() * len(found))
    if index:
        yield "argument", [Splice(found[index - 1].end_byte, found[index].end_byte)]
    else:
        yield "argument", [Splice(found[0].start_byte, found[1].start_byte)]
    first, second = found[:2]
    if first.type in _SIMPLE and second.type in _SIMPLE and first.text != second.text:
        yield "argument_order", _swap(data, first, second)


def _return(data: bytes, node: Node) -> _Found:
    if len(node.named_children) != 1 or node.named_children[0].type in _CONSTANTS:
        return
    value, before = node.named_children[0], node.prev_named_sibling
    start, end = line_start(data, node.start_byte), line_end(data, node.end_byte)
    is_own_line = not data[start : node.start_byte].strip()
    if value.type == "identifier" and is_own_line and before and before.type != "comment":
        yield "missing_return", [Splice(start, end)]
    else:
        yield "missing_return", [Splice(node.start_byte, value.start_byte)]


def _branches(data: bytes, node: Node) -> _Found:
    """An `if` with one `else` and no `elif`, both on lines of their own."""
    alternatives = node.children_by_field_name("alternative")
    body = node.child_by_field_name("consequence")
    if len(alternatives) != 1 or alternatives[0].type != "else_clause" or body is None:
        return
    other = alternatives[0].child_by_field_name("body")
    if other is None:
        return
    if all(
        not data[line_start(data, at) : at].strip() for at in (body.start_byte, other.start_byte)
    ):
        yield "branches", _swap(data, body, other)


def _local_names(data: bytes, function: Node) -> list[bytes]:
    """Parameters and what is assigned, sorted; not the object itself."""
    names: set[bytes] = set()
    nodes = [function]
    while nodes:
        node = nodes.pop()
        if node.type == "parameters":
            bound = [child.child_by_field_name("name") or child for child in node.named_children]
            bound = [
                child.named_children[0] if child.type == "typed_parameter" else child
                for child in bound
            ]
        else:
            is_binding = node.type in ("assignment", "for_statement")
            left = node.child_by_field_name("left") if is_binding else None
            bound = [left] if left else []
        names.update(
            data[child.start_byte : child.end_byte] for child in bound if child.type == "identifier"
        )
        nodes += [child for child in node.named_children if child.type not in _SKIPPED]
    return sorted(names - {b"self", b"cls", b"_"})


def _is_line_start(data: bytes, node: Node) -> bool:
    return not data[line_start(data, node.start_byte) : node.start_byte].strip()


def _instead(node: Node, text: bytes) -> Splice:
    return Splice(node.start_byte, node.end_byte, text)


def _without(node: Node) -> Splice:
    return Splice(node.start_byte, node.end_byte)


def _swap(data: bytes, first: Node, second: Node) -> list[Splice]:
    texts = [data[node.start_byte : node.end_byte] for node in (first, second)]
    return [_instead(first, texts[1]), _instead(second, texts[0])]


def _one_of(values: Sequence[_Choice], draw: Draw) -> _Choice:
    return values[int(draw() * len(values))]
