"""What can be done to code, and the question that asks a model for it.

The words of the questions were chosen by trying them on the default model: short, one wish, and the
whole code is to be given back. Knows neither tokens nor editors, nor what becomes of the answer
(`answers`).
"""

import re
from dataclasses import dataclass
from typing import Literal

from tree_sitter import Node

from model.format.definitions import definitions, has_docstring, has_stub_body, untyped
from model.format.prompt import FENCE
from model.format.selection import Selection, char_offset, nodes_of, tree_root

CONTEXT_CHARS = 1600
"""Of imports and enclosing signatures that go with a question."""

Part = Literal["all", "signature", "docstring", "body"]
"""What of an answer is used; the rest of the old code stays whatever the model wrote."""

_IMPORT = re.compile("import|use_declaration|package")
_GROWING = re.compile(r"[\w.]+\.(?:append|add)\([^\n]*\)|[\w.]+\[[^\n]*\] = [^\n]*")
"""The one statement of a loop that a comprehension can stand for."""


@dataclass(frozen=True)
class Action:
    """One thing that can be done to a selection."""

    name: str
    title: str
    wordings: tuple[str, ...]
    """For the model, another one for each further try; `{wish}` stands for a person's words,
    `{errors}` for what a tool has found."""
    part: Part = "all"
    languages: frozenset[str] = frozenset()
    """Where it is offered; empty: everywhere."""
    must_change: bool = True
    """Whether the old code is no answer to it."""


_PYTHON = frozenset({"python"})

REWRITE = Action(
    "rewrite", "Rewrite with an instruction…", ("{wish}.", "{wish}. Give back the whole code.")
)
FIX = Action(
    "fix",
    "Fix with the model",
    (
        "There is an error in {errors}. Fix the error.",
        "Fix this error: {errors}\nChange nothing else. Give back the whole code.",
    ),
)
AGAIN = Action("again", "Change the other places, too", ())
"""No model is asked: it carries on a rename, or another signature, that was begun by hand."""
ACTIONS: tuple[Action, ...] = (
    REWRITE,
    FIX,
    Action(
        "types",
        "Add type hints",
        (
            "Add type hints to the parameters and return values of this function. "
            "Keep everything else unchanged.",
            "Add type hints to this code. Change nothing else. Give back the whole code.",
        ),
        part="signature",
        languages=_PYTHON,
    ),
    Action(
        "docstring",
        "Add docstring",
        (
            "Write a short docstring for this function. Give back the whole function.",
            "Add a docstring to this code.",
        ),
        part="docstring",
        languages=_PYTHON,
    ),
    Action(
        "body",
        "Complete the body",
        (
            "Write the body of this function. Keep its signature and docstring.",
            "Complete this function. Give back the whole function.",
        ),
        part="body",
    ),
    Action(
        "simplify",
        "Simplify",
        # Asked for shorter code, the default model leaves out what the code is there for.
        ("Simplify this code without changing what it does. Give back the whole code.",) * 2,
        must_change=False,  # what is simple already stays
    ),
    Action(
        "errors",
        "Add error handling",
        ("Add error handling to this code. Give back the whole code.",) * 2,
    ),
    Action(
        "fstring",
        "Convert to f-strings",
        ("Use f-strings instead of % and format(). Change nothing else. Give back the whole code.",)
        * 2,
        languages=_PYTHON,
    ),
    Action(
        "comprehension",
        "Convert loop to comprehension",
        ("Write the loop as a comprehension. Give back the whole code.",) * 2,
        languages=_PYTHON,
    ),
    Action(
        "loop",
        "Convert comprehension to loop",
        (
            "Start with an empty result, then use a for loop to fill it, instead of the "
            "comprehension. Give back the whole code.",
            "Expand the comprehension into an empty collection and a for loop that fills it.",
        ),
        languages=_PYTHON,
    ),
)
"""In the order in which they are shown."""


def action_named(name: str) -> Action | None:
    """The action of that name."""
    return next((action for action in ACTIONS if action.name == name), None)


def is_offered(action: Action, selection: Selection) -> bool:
    """Whether there is anything in a selection that an action could be about.

    `REWRITE` and `FIX` always are: what they need comes from outside.
    """
    if action.languages and selection.language not in action.languages:
        return False
    root = tree_root(selection.language, selection.code)
    if action in (REWRITE, FIX):
        return True
    if root is None:
        return False
    found = definitions(root)
    match action.name:
        case "types":
            return any(untyped(definition) for definition in found)
        case "docstring":
            return any(not has_docstring(definition) for definition in found)
        case "body":
            return any(has_stub_body(definition) for definition in found)
        case "errors":
            return _has(root, "call", "call_expression", "method_invocation")
        case "fstring":
            return any(map(_formats, nodes_of(root)))
        case "comprehension":
            return any(map(_collects, nodes_of(root)))
        case "loop":
            return any(node.type.endswith("_comprehension") for node in nodes_of(root))
    return True


def edit_question(
    instruction: str,
    old: str,
    *,
    before: str = "",
    after: str = "",
    language: str = "python",
    is_wish_first: bool = False,
) -> str:
    """The words of a question whose answer is other code in the place of some lines.

    Args:
        instruction: what to do.
        old: the lines, with the break of the last one.
        before: lines above them, as context; blank ones are left out.
        after: lines below them.
        language: of all of these.
        is_wish_first: whether the code comes last; then small models give it back unchanged more
            often, but now and then they do what they would not have done.
    """
    parts = [
        f"{title}\n{FENCE}{language}\n{text.rstrip()}\n{FENCE}\n\n"
        for title, text in (("Code before:", before), ("Code after:", after))
        if text.strip()
    ]
    code = f"{FENCE}{language}\n{old}{FENCE}"
    ordered = f"{instruction}\n{code}" if is_wish_first else f"{code}\n\n{instruction}"
    return f"{''.join(parts)}{ordered}"


def question_for(
    action: Action, selection: Selection, *, detail: str = "", attempt: int = 0
) -> str:
    """The question that asks for an action.

    Args:
        action: what to do.
        selection: with what.
        detail: a person's wish, or the errors that a tool has found.
        attempt: which of the action's wordings; each other one stands in front of the code.
    """
    detail = detail.strip().rstrip(".")
    context = outline(selection)
    return edit_question(
        action.wordings[attempt].replace("{wish}", detail).replace("{errors}", detail),
        selection.code,
        before="" if FENCE in context else context,
        language="" if selection.language == "text" else selection.language,
        is_wish_first=attempt % 2 == 1,
    )


def outline(selection: Selection, max_chars: int = CONTEXT_CHARS) -> str:
    """The imports that the selection uses, and the first lines of what it is in."""
    root = tree_root(selection.language, selection.text)
    if root is None:
        return ""
    text = selection.text
    begin = selection.start + len(selection.old) - len(selection.old.lstrip())
    first = len(text[:begin].encode(errors="replace"))
    words = set(re.findall(r"\w+", selection.old))
    lines = [
        _text(text, node)
        for node in root.children
        if _IMPORT.search(node.type)
        and words & set(re.findall(r"\w+", _text(text, node)))
        and not first <= node.start_byte < first + len(selection.old.encode(errors="replace"))
    ]
    lines += _headers(root, text, first)
    while lines and sum(map(len, lines)) + len(lines) > max_chars:
        lines.pop(0)
    return "".join(f"{line}\n" for line in lines)


def _headers(root: Node, text: str, first: int) -> list[str]:
    """The first lines of the classes and functions around a byte, outermost first."""
    headers: list[str] = []
    node: Node | None = root.descendant_for_byte_range(first, first)
    while node is not None:
        body = node.child_by_field_name("body")
        name = node.child_by_field_name("name")
        if body is not None and name is not None and body.start_byte <= first < body.end_byte:
            begin, end = (char_offset(text, at) for at in (node.start_byte, body.start_byte))
            begin = max(text.rfind("\n", 0, begin), text.rfind("\r", 0, begin)) + 1
            header = text[begin:end].rstrip()
            headers.append(header.replace("\r\n", "\n").replace("\r", "\n"))
        node = node.parent
    return headers[::-1]


def _text(text: str, node: Node) -> str:
    begin, end = (char_offset(text, at) for at in (node.start_byte, node.end_byte))
    return text[begin:end].replace("\r\n", "\n").replace("\r", "\n")


def _has(root: Node, *kinds: str) -> bool:
    return any(node.type in kinds for node in nodes_of(root))


def _collects(node: Node) -> bool:
    """Whether a node is a loop that does nothing but fill a list, set or dict."""
    if node.type != "for_statement":
        return False
    body = node.child_by_field_name("body")
    while body is not None and body.named_child_count == 1:
        (only,) = body.named_children
        if only.type != "if_statement":
            return _GROWING.fullmatch((only.text or b"").decode(errors="replace")) is not None
        body = None if only.child_by_field_name("alternative") else only.named_children[-1]
    return False


def _formats(node: Node) -> bool:
    """Whether a node is `"…" % x` or `"…".format(x)`."""
    if node.type == "binary_operator":
        left, operator = node.child_by_field_name("left"), node.child_by_field_name("operator")
        is_percent = operator is not None and operator.type == "%"
        return is_percent and left is not None and left.type == "string"
    if node.type == "attribute":
        target, name = node.child_by_field_name("object"), node.child_by_field_name("attribute")
        is_format = name is not None and name.text == b"format"
        return is_format and target is not None and target.type == "string"
    return False
