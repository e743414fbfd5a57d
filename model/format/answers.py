"""What of a model's answer goes into the code: never more than the action was about.

Small models give back more than they were asked for: imports, classes that are elsewhere, an
example of use, a body that is a little different. All of that is left out here. Knows neither the
model nor the file on disk.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tree_sitter import Node

from model.format.definitions import Definition, definitions, parameters
from model.format.hints import returns_none, takes_none, type_text, without_none
from model.format.indentation import leading
from model.format.rewriting import REWRITE, Action, Part
from model.format.selection import Selection, char_offset, nodes_of, tree_root

MAX_DOCSTRING_COLUMNS = 99

_IMPORT = re.compile("import|use_declaration|package")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|%(?:\(\w+\))?[-+ #0-9.*]*[a-zA-Z]")

_HEAD = r"(?m:^)(?P<line>[ \t]*(?:async )?(?:def|class) (?P<name>\w+)[^\n]*(?:\n[^\n]*)*?:[ \t]*\n)"
_DOCSTRING = r"\s*[rR]?(?P<quote>\"{3}|'{3})\s*\S(?:(?!(?P=quote)).)*?(?P<end>\n\s*\n|(?P=quote))"
_SUFFICIENT: Mapping[Part, re.Pattern[str]] = {
    "signature": re.compile(_HEAD),
    "docstring": re.compile(_HEAD + _DOCSTRING, re.DOTALL),
}
"""Up to where an answer holds what is used of it."""


@dataclass(frozen=True)
class Taken:
    """The code for the place of the old one, without margin."""

    code: str
    needs: tuple[str, ...] = ()
    """Imports that it needs and that the file does not have, as lines."""


@dataclass(frozen=True)
class _Splice:
    start: int
    end: int
    text: str


def take(action: Action, selection: Selection, answer: str) -> Taken:
    """The part of an answer that the action is about, within the old code.

    Args:
        action: what was asked for.
        selection: what it was asked about.
        answer: the code that the model gave back.
    """
    answer = answer.replace("\r\n", "\n").strip("\n") + "\n"
    answer = textwrap.dedent(answer)
    old_root = tree_root(selection.language, selection.code)
    new_root = tree_root(selection.language, answer)
    if old_root is None or new_root is None:
        return Taken(answer)
    if action.part == "all":
        return _taken_whole(action, selection, answer, old_root, new_root)
    news = {it.name: it for it in definitions(new_root)}
    pairs = [(it, news[it.name]) for it in definitions(old_root) if it.name in news]
    needs: set[str] = set()
    splices: list[_Splice] = []
    for old, new in pairs:
        if action.part == "signature":
            splices += _annotated(selection, old, new, needs)
        elif action.part == "docstring":
            splices += _documented(selection.code, old, new)
        else:
            splices += _filled(selection, answer, old, new)
    code = selection.code
    for splice in sorted(splices, key=lambda it: it.start, reverse=True):
        code = code[: splice.start] + splice.text + code[splice.end :]
    if action.part == "body":
        needs.update(_missing_imports(selection, code, _imports(answer, new_root)))
    return Taken(code, tuple(sorted(needs)))


def sufficient(action: Action, selection: Selection, answer: str) -> str | None:
    """An unfinished answer, closed, if it holds all that `take` will use; None if it does not yet.

    So a model need not write a long body again of which nothing is used.
    """
    pattern = _SUFFICIENT.get(action.part)
    root = tree_root(selection.language, selection.code)
    if pattern is None or root is None or selection.language != "python":
        return None
    names = [it.name for it in definitions(root)]
    found = pattern.search(answer)
    if len(names) != 1 or found is None or found["name"] != names[0]:
        return None
    indent = leading(found["line"]) + "    "
    if action.part == "signature":
        rest = f"{indent}pass"
    else:
        rest = "" if found["end"] == found["quote"] else f"{indent}{found['quote']}"
    return f"{answer[: found.end()]}{rest}\n"


def _taken_whole(
    action: Action, selection: Selection, answer: str, old_root: Node, new_root: Node
) -> Taken:
    """The answer without what was neither asked for nor there before."""
    olds = [it for it in definitions(old_root) if it.outer.parent == old_root]
    news = [it for it in definitions(new_root) if it.outer.parent == new_root]
    imports = _imports(answer, new_root) if not _imports(selection.code, old_root) else []
    statements = [it for it in old_root.children if it.type != "comment"]
    names = {it.name for it in definitions(new_root)}
    if action != REWRITE and olds and not names & {it.name for it in olds}:
        return Taken("")  # something else, such as an example of the like
    if action.name == "fstring" and _words_of(old_root) != _words_of(new_root):
        return Taken("")  # the strings say something else now
    if len(olds) == len(statements) == 1:
        answer = _definition_in(answer, new_root, olds[0].name, selection) or answer
    elif (
        olds
        and len(olds) == len(statements)
        and {it.name for it in olds} <= {it.name for it in news}
    ):
        wanted = {it.name for it in olds} | _helpers(news, olds, selection)
        kept = [it.outer for it in news if it.name in wanted]
        answer = _joined(answer, kept, selection)
    elif imports:
        answer = _without_nodes(answer, new_root)
    # Old code keeps some margin where its lines agree on none, as in a mixture of tabs and blanks.
    code = textwrap.indent(answer, leading(selection.code))
    return Taken(code, tuple(_missing_imports(selection, answer, imports)))


def _words_of(root: Node) -> str:
    """What all Python strings say, whatever is put into them."""
    texts = (
        "".join(
            (part.text or b"").decode() for part in it.children if part.type == "string_content"
        )
        for it in nodes_of(root)
        if it.type == "string"
    )
    return re.sub("[{}]", "", "\n".join(_PLACEHOLDER.sub("", text) for text in texts))


def _definition_in(answer: str, root: Node, name: str, selection: Selection) -> str | None:
    """One definition and the new functions that it uses; it may stand inside a class."""
    found = definitions(root)
    wanted = next((it for it in found if it.name == name), None)
    if wanted is None:
        return None
    tops = [it for it in found if it.outer.parent == root]
    if wanted.outer.parent != root:
        return _with_comments(answer, wanted.outer)
    helpers = _helpers(tops, [wanted], selection)
    kept = [it.outer for it in tops if it is wanted or it.name in helpers]
    return _joined(answer, kept, selection)


def _joined(answer: str, nodes: list[Node], selection: Selection) -> str:
    gap = "\n" if selection.margin else "\n\n"
    return gap.join(_with_comments(answer, node) for node in nodes)


def _helpers(news: list[Definition], wanted: list[Definition], selection: Selection) -> set[str]:
    """New functions that the wanted definitions call and that the file does not know."""
    names = {it.name for it in wanted}
    known = set(re.findall(r"\w+", selection.text))
    texts = " ".join((it.node.text or b"").decode() for it in news if it.name in names)
    used = set(re.findall(r"\w+", texts))
    return {
        it.name
        for it in news
        if not it.is_class and it.name in used - known and it.name not in names
    }


def _with_comments(text: str, node: Node) -> str:
    """Whole lines of a node, with the comments right above it, without margin."""
    first = node
    while (
        first.prev_sibling is not None
        and first.prev_sibling.type == "comment"
        and text[
            char_offset(text, first.prev_sibling.end_byte) : char_offset(text, first.start_byte)
        ].count("\n")
        == 1
    ):
        first = first.prev_sibling
    begin = text.rfind("\n", 0, char_offset(text, first.start_byte)) + 1
    end = text.find("\n", char_offset(text, node.end_byte))
    return textwrap.dedent(text[begin : end if end >= 0 else len(text)]).rstrip("\n") + "\n"


def _imports(text: str, root: Node) -> list[str]:
    return [
        text[char_offset(text, node.start_byte) : char_offset(text, node.end_byte)]
        for node in root.children
        if _IMPORT.search(node.type)
    ]


def _without_nodes(text: str, root: Node) -> str:
    """A text without the imports at its top level."""
    for node in reversed(root.children):
        if _IMPORT.search(node.type):
            begin, end = (char_offset(text, at) for at in (node.start_byte, node.end_byte))
            text = text[:begin] + text[end:].removeprefix("\n")
    return text.strip("\n") + "\n"


def _missing_imports(selection: Selection, code: str, imports: list[str]) -> Iterator[str]:
    """Those of some imports that bring a name which the code uses and the file does not know."""
    known = set(re.findall(r"\w+", selection.text))
    used = set(re.findall(r"\w+", code))
    for line in imports:
        names = set(re.findall(r"\w+", line.rpartition(" import ")[2] or line)) - {"import", "as"}
        if names & used - known:
            yield " ".join(line.split())


def _annotated(
    selection: Selection, old: Definition, new: Definition, needs: set[str]
) -> Iterator[_Splice]:
    """Types for the parameters and the result that have none."""
    code, known = selection.code, set(re.findall(r"\w+", selection.text))
    types = {it.name: it.annotation for it in parameters(new) if it.annotation is not None}
    for parameter in parameters(old):
        annotation = types.get(parameter.name)
        if parameter.annotation is not None or annotation is None:
            continue
        text = type_text(annotation, known, needs)
        if text is None or parameter.name in ("self", "cls"):
            continue
        if not takes_none(old, parameter):
            text = without_none(text)
        node = parameter.node
        end = char_offset(code, node.end_byte)
        if parameter.default is None:
            yield _Splice(end, end, f": {text}")
            continue
        default_start = char_offset(code, parameter.default.start_byte)
        if (parameter.default.text or b"") == b"None" and "None" not in text:
            text += " | None"
        name_end = char_offset(code, node.start_byte) + len(parameter.name)
        yield _Splice(name_end, default_start, f": {text} = ")
    result = new.node.child_by_field_name("return_type")
    around = old.node.child_by_field_name("parameters")
    if result is None or around is None or old.node.child_by_field_name("return_type"):
        return
    text = type_text(result, known, needs)
    if text is not None and not returns_none(old):
        text = without_none(text)
    if text is not None and "->" not in code[char_offset(code, around.end_byte) :].split(":")[0]:
        end = char_offset(code, around.end_byte)
        yield _Splice(end, end, f" -> {text}")


def _documented(code: str, old: Definition, new: Definition) -> Iterator[_Splice]:
    """The first paragraph of the new docstring, where the old code has none."""
    body = old.body
    if old.docstring is not None or new.docstring is None or body is None:
        return
    colon = next((it for it in reversed(old.node.children) if it.type == ":"), None)
    line_end = code.find("\n", char_offset(code, colon.end_byte)) if colon is not None else -1
    begin = char_offset(code, body.start_byte)
    if line_end < 0 or line_end > begin:  # the body stands on the line of the signature
        return
    words = _summary((new.docstring.text or b"").decode())
    if not words:
        return
    indent = code[code.rfind("\n", 0, begin) + 1 : begin]
    text = f'{indent}"""{words}"""'
    if len(text) > MAX_DOCSTRING_COLUMNS:
        width = MAX_DOCSTRING_COLUMNS - len(indent)
        first, *rest = textwrap.wrap(f'"""{words}', width)
        text = "\n".join(indent + line for line in (first, *rest, '"""'))
    yield _Splice(line_end + 1, line_end + 1, f"{text}\n")


def _summary(literal: str) -> str:
    """The words of a docstring's first paragraph, as one line."""
    body = re.sub(r'^\w*("""|\'\'\'|"|\')(.*)\1$', r"\2", literal, flags=re.DOTALL)
    paragraph = re.split(r"\n\s*\n", body.strip(), maxsplit=1)[0]
    words = " ".join(paragraph.split())
    if not words or "\\" in words or '"""' in words:
        return ""
    return words if words[-1] in ".!?" else f"{words}."


def _filled(
    selection: Selection, answer: str, old: Definition, new: Definition
) -> Iterator[_Splice]:
    """The new body behind the old signature and docstring."""
    code, body, fresh = selection.code, old.body, new.body
    if old.is_class or body is None or fresh is None:
        return
    statements = [it for it in fresh.children if it != new.docstring]
    if body.type != "block" or selection.language != "python":
        text = (fresh.text or b"").decode()
        begin, end = (char_offset(code, at) for at in (body.start_byte, body.end_byte))
        yield _Splice(begin, end, text)
        return
    if not statements:
        return
    begin = answer.rfind("\n", 0, char_offset(answer, statements[0].start_byte)) + 1
    lines = textwrap.dedent(answer[begin : char_offset(answer, fresh.end_byte)])
    start = char_offset(code, (old.docstring or body).start_byte)
    indent = leading(code[code.rfind("\n", 0, start) + 1 : start])
    text = textwrap.indent(lines.strip("\n"), indent)
    if old.docstring is not None:
        start = char_offset(code, old.docstring.end_byte)
        text = f"\n{text}"
    else:
        start = code.rfind("\n", 0, start) + 1
    yield _Splice(start, char_offset(code, old.node.end_byte), text)
