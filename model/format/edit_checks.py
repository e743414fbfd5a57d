"""What an edit has not done or not kept: names, signatures, syntax. Sentences for a person.

Reads trees, runs nothing: what is not said here may still be wrong. Knows neither models nor
editors.
"""

import builtins
import re
from collections import Counter
from collections.abc import Iterator

from tree_sitter import Node

from model.format.definitions import Definition, definitions, parameters
from model.format.grammars import num_errors, parse
from model.format.selection import Selection, nodes_of, tree_root

_ASKS_FOR_SIGNATURE = re.compile(
    r"renam|paramet|argument|signature|return type|type hint|annotat|default|keyword|\basync\b",
    re.IGNORECASE,
)
_LEAVING = frozenset(
    {"return_statement", "raise_statement", "throw_statement", "break_statement"}
    | {"continue_statement"}
)
_NEVER_DEAD = frozenset(
    {"comment", "function_declaration", "switch_case", "switch_default", "else_clause"}
)
"""What may stand behind them: some declarations count from the start of their block."""
_ASKS_FOR_LOSS = re.compile(r"renam|remov|delet|drop|inlin|merg|replac|call it", re.IGNORECASE)
_RAISING = frozenset({"python", "javascript", "typescript", "tsx", "java"})
_RAISES = frozenset({"raise_statement", "throw_statement"})
_FAILING = frozenset(
    {
        *("call", "call_expression", "method_invocation", "subscript", "subscript_expression"),
        *("binary_operator", "binary_expression"),
    }
)
"""What a `try` can be of use for."""
_COMPREHENSIONS = (
    *("list_comprehension", "dictionary_comprehension", "set_comprehension"),
    "generator_expression",
)
_MAX_NAMES = 3
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__class__"}


def faults(
    selection: Selection, new: str, *, wish: str = "", needs: tuple[str, ...] = ()
) -> list[str]:
    """What a person should know before accepting an edit that parses; empty if nothing was found.

    Args:
        selection: the old code and the text that it is in.
        new: what is to stand in its place, as it will stand there.
        wish: what was asked for; a signature may change if that speaks of it.
        needs: imports that the new code needs and that the file does not have.
    """
    found = [f"It needs `{line}`." for line in needs]
    found += _changed_signatures(selection, new, wish)
    found += _lost_names(selection, new, wish)
    found += _dead_code(selection, new)
    if selection.language == "python":
        found += _unknown_names(selection, new, needs)
    return found


def parses_no_worse(selection: Selection, new: str) -> bool:
    """Whether the text with the new code has no more syntax errors than before."""
    before = _num_errors(selection.language, selection.text)
    after = _num_errors(selection.language, selection.replaced_by(new))
    return before is None or after is None or after <= before


def does(name: str, selection: Selection, new: str) -> bool:
    """Whether new code is what an action is called, where a syntax tree tells.

    Args:
        name: of the action.
        selection: the old code.
        new: what is to stand in its place, as it will stand there.
    """
    old_root = tree_root(selection.language, selection.code)
    new_root = tree_root(selection.language, _without_margin(new))
    if old_root is None or new_root is None:
        return True
    old, new_kinds = (Counter(it.type for it in nodes_of(root)) for root in (old_root, new_root))
    if name == "errors" and selection.language in _RAISING:
        return _num_guards(new_root) > _num_guards(old_root)
    if selection.language != "python":
        return True
    if name == "fstring":
        return new_kinds["interpolation"] > old["interpolation"]
    comprehensions = sum(new_kinds[it] - old[it] for it in _COMPREHENSIONS)
    loops = new_kinds["for_statement"] - old["for_statement"]
    if name == "comprehension":
        return comprehensions > 0 > loops
    if name == "loop":
        return comprehensions < 0 < loops
    return True


def _num_guards(root: Node) -> int:
    """Of `raise`, and of `try` around something that can fail."""
    found = 0
    for node in nodes_of(root):
        body = node.child_by_field_name("body") if node.type == "try_statement" else None
        found += node.type in _RAISES
        found += body is not None and any(it.type in _FAILING for it in nodes_of(body))
    return found


def _num_errors(language: str, text: str) -> int | None:
    tree = parse(language, text.encode(errors="replace"))
    return None if tree is None else num_errors(tree)


def _changed_signatures(selection: Selection, new: str, wish: str) -> Iterator[str]:
    """Public functions of the old code that are called differently now."""
    if _ASKS_FOR_SIGNATURE.search(wish):
        return
    old_root = tree_root(selection.language, selection.code)
    new_root = tree_root(selection.language, new)
    if old_root is None or new_root is None:
        return
    signatures = {it.name: _signature(it) for it in definitions(new_root)}
    for definition in definitions(old_root):
        signature = signatures.get(definition.name)
        is_public = not definition.name.startswith("_") or definition.name == "__init__"
        if is_public and signature is not None and signature != _signature(definition):
            yield f"The signature of `{definition.name}` has changed."


def _signature(definition: Definition) -> tuple[str, ...]:
    """Names and defaults of the parameters; elsewhere than in Python their text."""
    around = definition.node.child_by_field_name("parameters")
    if definition.node.type == "function_definition":
        found = parameters(definition)
        return tuple(f"{it.name}={_words(it.default)}" for it in found)
    return () if around is None else (_words(around),)


def _dead_code(selection: Selection, new: str) -> Iterator[str]:
    """Statements behind one that leaves their block, where the old code had none."""
    old_root = tree_root(selection.language, selection.code)
    new_root = tree_root(selection.language, _without_margin(new))
    if old_root is None or new_root is None:
        return
    if any(map(_is_dead, nodes_of(new_root))) and not any(map(_is_dead, nodes_of(old_root))):
        yield "Some of the code can never be reached."


def _is_dead(node: Node) -> bool:
    before = node.prev_named_sibling
    while before is not None and before.type == "comment":
        before = before.prev_named_sibling
    is_statement = node.is_named and node.type not in _NEVER_DEAD
    return is_statement and before is not None and before.type in _LEAVING


def _lost_names(selection: Selection, new: str, wish: str) -> Iterator[str]:
    """Names that the old code defined and the new one does not.

    Functions and classes, unless that was the wish, and whatever the rest of the text uses.
    """
    old_root = tree_root(selection.language, selection.code)
    new_root = tree_root(selection.language, new)
    if old_root is None or new_root is None:
        return
    lost = _defined_at_top(old_root) - _defined_at_top(new_root)
    rest = selection.text[: selection.start] + "\n" + selection.text[selection.end :]
    used = lost & set(re.findall(r"\w+", rest))
    if used:
        yield f"Used elsewhere and no longer defined here: {_listed(used)}."
    gone = {it.name for it in definitions(old_root)} - {it.name for it in definitions(new_root)}
    if gone - used and not _ASKS_FOR_LOSS.search(wish):
        yield f"No longer defined: {_listed(gone - used)}."


def _defined_at_top(root: Node) -> set[str]:
    names = {it.name for it in definitions(root) if it.outer.parent == root}
    for statement in root.children:
        if statement.type == "expression_statement" and statement.children:
            names |= _targets(statement.children[0])
        if statement.type in ("lexical_declaration", "variable_declaration"):
            found = (it.child_by_field_name("name") for it in statement.named_children)
            names |= {_words(it) for it in found if it is not None and it.type == "identifier"}
    return names


def _unknown_names(selection: Selection, new: str, needs: tuple[str, ...]) -> Iterator[str]:
    """Names that new Python code reads, and that nothing in sight defines."""
    root = tree_root("python", _without_margin(new))
    if root is None:
        return
    known = set(re.findall(r"\w+", selection.text)) | _BUILTINS
    known |= {word for line in needs for word in re.findall(r"\w+", line)}
    read: set[str] = set()
    defined: set[str] = set()
    for node in nodes_of(root):
        if node.type == "identifier" and node.text is not None:
            name = node.text.decode()
            (read if _is_read(node) else defined).add(name)
    unknown = read - defined - known
    if unknown:
        yield f"Not defined: {_listed(unknown)}."


def _is_read(node: Node) -> bool:
    """Whether an identifier's value is used where it stands, as far as one can see from there."""
    parent = node.parent
    around = parent
    while around is not None and around.type in ("tuple", "list", "list_splat"):
        around = around.parent
    if parent is None or around is None:
        return True
    if around.type == "as_pattern_target":
        return False
    if parent.type == "attribute":
        return parent.child_by_field_name("attribute") != node
    if parent.type == "keyword_argument":
        return parent.child_by_field_name("name") != node
    if parent.type in ("assignment", "for_statement", "for_in_clause", "named_expression"):
        return node not in (
            parent.child_by_field_name("left"),
            parent.child_by_field_name("name"),
        )
    if parent.type in ("function_definition", "class_definition", "default_parameter"):
        return parent.child_by_field_name("name") != node
    if parent.type == "typed_default_parameter":
        return parent.child_by_field_name("name") != node
    return parent.type not in (
        *("parameters", "lambda_parameters", "typed_parameter", "list_splat_pattern"),
        *("dictionary_splat_pattern", "pattern_list", "tuple_pattern", "list_pattern"),
        *("as_pattern_target", "dotted_name", "aliased_import", "global_statement"),
        *("nonlocal_statement", "keyword_pattern", "case_pattern", "delete_statement"),
    )


def _targets(node: Node) -> set[str]:
    """Names that an assignment gives a value to."""
    left = node.child_by_field_name("left") if node.type == "assignment" else None
    if left is None:
        return set()
    return {_words(it) for it in nodes_of(left) if it.type == "identifier"}


def _without_margin(new: str) -> str:
    """Code as it stands in a file, readable on its own."""
    lines = new.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    return "\n".join(line.removeprefix(margin) for line in lines) + "\n"


def _words(node: Node | None) -> str:
    return "" if node is None else " ".join((node.text or b"").decode(errors="replace").split())


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:_MAX_NAMES]
    return ", ".join(f"`{name}`" for name in shown)
