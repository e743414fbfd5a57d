"""The hole planner: what tree-sitter and the lines around the cursor tell about a hole.

Knows the text around the cursor, nothing of tokens, models or editors. Any text is accepted: where
a grammar is missing or the code is broken, the rules fall back to lines.
"""

import functools
import importlib
import re
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from tree_sitter import Language, Node, Parser

from model.format.plan import HoleKind, HolePlan


class _Grammar(NamedTuple):
    module: str
    function: str


_GRAMMARS = {
    "python": _Grammar("tree_sitter_python", "language"),
    "javascript": _Grammar("tree_sitter_javascript", "language"),
    "typescript": _Grammar("tree_sitter_typescript", "language_typescript"),
    "tsx": _Grammar("tree_sitter_typescript", "language_tsx"),
    "go": _Grammar("tree_sitter_go", "language"),
    "rust": _Grammar("tree_sitter_rust", "language"),
    "java": _Grammar("tree_sitter_java", "language"),
}
_LANGUAGE_IDS = {"javascriptreact": "javascript", "typescriptreact": "tsx"}
_SUFFIXES = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), "python"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), "javascript"),
    **dict.fromkeys((".ts", ".mts", ".cts"), "typescript"),
    ".tsx": "tsx",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}
_STRINGS = frozenset(
    {
        *("string", "string_content", "string_fragment", "template_string", "string_literal"),
        *("raw_string_literal", "interpreted_string_literal", "character_literal", "char_literal"),
        *("text_block", "regex"),
    }
)
_CODE_IN_STRINGS = frozenset({"interpolation", "template_substitution"})
_COMMENTS = frozenset({"comment", "line_comment", "block_comment", "doc_comment"})
_PAIRS = {"(": ")", "[": "]", "{": "}", "${": "}", "#{": "}"}
_TAIL = re.compile(r"[\s)\]}>,;:'\"`]*")
"""What may follow the cursor in a line that is otherwise at its end."""

MAX_PREFIX_CHARS = 16_000
MAX_SUFFIX_CHARS = 8_000
"""Parsed around the cursor: enough to know where it stands, little enough for a keystroke."""


def language_of(path_or_language_id: str) -> str:
    """Our name for a language, from an editor's language id or a file name; unknown is `text`."""
    name = path_or_language_id.lower()
    name = _LANGUAGE_IDS.get(name, name)
    if name in _GRAMMARS:
        return name
    return _SUFFIXES.get(PurePosixPath(name.replace("\\", "/")).suffix, "text")


def parses(language: str, text: str) -> bool | None:
    """Whether `text` is free of syntax errors; None if there is no grammar."""
    parser = _parser(language_of(language))
    return None if parser is None else not parser.parse(_encode(text)).root_node.has_error


def num_syntax_errors(language: str, text: str) -> int | None:
    """ERROR and MISSING nodes in the tree of `text`; None if there is no grammar."""
    parser = _parser(language_of(language))
    if parser is None:
        return None
    count, nodes = 0, [parser.parse(_encode(text)).root_node]
    while nodes:
        node = nodes.pop()
        count += node.is_error or node.is_missing
        if node.has_error:
            nodes += node.children
    return count


def plan_hole(language: str, prefix: str, suffix: str, *, max_lines: int = 12) -> HolePlan:
    """Plan the hole between `prefix` and `suffix`.

    Args:
        language: an editor's language id, a file name, or a name of ours.
        prefix: text before the cursor.
        suffix: text after the cursor.
        max_lines: most lines of a completion; 1 allows no line break at all.
    """
    language = language_of(language)
    line_prefix = prefix[_last_break(prefix) :]
    line_suffix, next_line = _following(suffix)
    place = _locate(language, prefix, suffix)
    kind: HoleKind = place.kind
    opens_block = kind == "line" and _opens_block(language, line_prefix, place)
    is_at_end = not line_suffix.strip() or (
        opens_block and _TAIL.fullmatch(line_suffix) is not None
    )
    if kind == "line" and is_at_end and (opens_block or not line_prefix.strip()):
        kind = "block"
    if max_lines == 1 and kind == "block":
        kind = "line"
    return HolePlan(
        language=language,
        kind=kind,
        max_lines=max_lines if kind == "block" else 1,
        indent=_indent(language, prefix, line_prefix, next_line, place),
        line_prefix=line_prefix,
        line_suffix=line_suffix,
        next_line=next_line,
        open_brackets="".join(bracket for bracket, _ in place.brackets),
        is_closed=tuple(is_closed for _, is_closed in place.brackets),
    )


class _Place(NamedTuple):
    kind: HoleKind
    brackets: list[tuple[str, bool]]
    """Openers before the cursor, outermost first, and whether their closers stand after it."""


def _locate(language: str, prefix: str, suffix: str) -> _Place:
    """Where the cursor stands in the syntax tree."""
    parser = _parser(language)
    if parser is None:
        return _Place("line", [])
    before = _encode(prefix[_window_start(prefix) :])
    after = _encode(suffix[:MAX_SUFFIX_CHARS])
    root = parser.parse(before + after).root_node
    cursor = len(before)
    path = _path(root, cursor)
    kind: HoleKind = "line"
    for node in path:
        is_inside = node.start_byte < cursor < node.end_byte
        if node.type in _CODE_IN_STRINGS and is_inside:
            kind = "line"
        elif node.type in _STRINGS and is_inside:
            kind = "string"
        elif node.type in _COMMENTS and node.start_byte < cursor:
            # A line comment goes on at its end; a closed block comment does not.
            is_block = before[node.start_byte : node.start_byte + 2] == b"/*"
            if is_inside or (not is_block and cursor == node.end_byte):
                kind = "comment"
    return _Place(kind, [] if kind != "line" else _brackets(path, cursor))


def _path(root: Node, cursor: int) -> list[Node]:
    """Nodes around the cursor, outermost first; one that ends at it counts if nothing else does."""
    path = [root]
    while True:
        children = path[-1].children
        inside = [child for child in children if child.start_byte < cursor < child.end_byte]
        touching = [child for child in children if child.start_byte < cursor == child.end_byte]
        if not (inside or touching):
            return path
        path.append((inside or touching)[0])


def _brackets(path: list[Node], cursor: int) -> list[tuple[str, bool]]:
    found = []
    for node in path:
        if node.end_byte <= cursor and not node.has_error:
            break  # complete before the cursor: nothing of it is open
        opened: list[Node] = []
        closed_after: list[str] = []
        for child in node.children:
            if child.end_byte <= cursor and child.type in _PAIRS:
                opened.append(child)
            elif child.end_byte <= cursor and opened and child.type == _PAIRS[opened[-1].type]:
                opened.pop()
            elif child.start_byte >= cursor and child.type in ")]}" and not child.is_missing:
                closed_after.append(child.type)
        for opener in opened:
            closer = _PAIRS[opener.type]
            is_closed = closer in closed_after
            if is_closed:
                closed_after.remove(closer)
            found.append((opener.type[-1], is_closed))
    return found


def _opens_block(language: str, line_prefix: str, place: _Place) -> bool:
    text = line_prefix.rstrip()
    if language == "python":
        is_in_brackets = bool(place.brackets)
        return text.endswith(":") and not is_in_brackets
    return text.endswith(("{", "=>", "->")) if language != "text" else text.endswith((":", "{"))


def _indent(language: str, prefix: str, line_prefix: str, next_line: str, place: _Place) -> str:
    """Leading whitespace that the lines of the hole have at least."""
    own = _leading(line_prefix)
    if line_prefix.strip():
        return own + _unit(prefix) if _opens_block(language, line_prefix, place) else own
    if own:
        return own
    previous = _previous_line(prefix)
    if previous and _opens_block(language, previous, _Place("line", [])):
        return _leading(previous) + _unit(prefix)
    return min(_leading(previous), _leading(next_line), key=len)


def _unit(text: str) -> str:
    """One level of indentation as this file writes it; four spaces if it has none yet."""
    indents = [_leading(line) for line in text[_window_start(text) :].split("\n") if line.strip()]
    steps = [
        after[len(before) :]
        for before, after in pairwise(indents)
        if after.startswith(before) and len(after) > len(before)
    ]
    steps = [step for step in steps if step == "\t" or step in ("  ", "    ", "   ", " " * 8)]
    return max(set(steps), key=steps.count) if steps else "    "


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _last_break(text: str) -> int:
    return max(text.rfind("\n"), text.rfind("\r")) + 1


def _previous_line(prefix: str) -> str:
    """The last line before the cursor's that is not blank."""
    text = prefix[: _last_break(prefix)].rstrip()
    return text[_last_break(text) :]


def _following(suffix: str) -> tuple[str, str]:
    """Rest of the cursor's line, and the first line after it that is not blank."""
    lines = re.split(r"\r\n|\r|\n", suffix[:MAX_SUFFIX_CHARS])
    return lines[0], next((line for line in lines[1:] if line.strip()), "")


def _window_start(prefix: str) -> int:
    start = max(len(prefix) - MAX_PREFIX_CHARS, 0)
    return start if start == 0 else prefix.find("\n", start) + 1


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@functools.cache
def _parser(language: str) -> Parser | None:
    """Grammars are imported when a document first needs them."""
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        return None
    module = importlib.import_module(grammar.module)
    return Parser(Language(getattr(module, grammar.function)()))
