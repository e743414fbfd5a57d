"""Small changes from one release of a file to the next, as edits of the older one.

A change is kept if it lies in one function or class of both, is no mere reformatting, new number or
prose, and leaves a text that parses. Knows neither packages nor how a release is fetched.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from keyword import iskeyword

from model.format.grammars import parse
from training.data.definitions import (
    Definition,
    body_statements,
    definitions_in,
    innermost,
    is_docstring,
)
from training.data.edits import Edit

MAX_LINES = 20
"""Of a change, on either side."""
_MIN_APART = 3
"""Equal lines between two changes; what is nearer is one change."""
_MAX_CONTEXT = 3
"""Equal lines on either side that belong to the edit."""
NEUTRAL = "Update this code."
_WORD = re.compile(r"\w+|[^\w\s]")
_COMMENT = re.compile(r"#.*")
_NOT_CODE = frozenset("(),'\"")
"""What a formatter adds, takes away or exchanges."""


@dataclass(frozen=True)
class _Rows:
    """Rows of the older text, and those of the newer one in their place."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def release_edits(older: str, newer: str) -> Iterator[Edit]:
    """The changes of a file that are small enough, in their order; each by itself.

    Args:
        older: the file in the older release; parses.
        newer: the same file in the newer one; parses.
    """
    old_lines, new_lines = _lines(older), _lines(newer)
    old_definitions = definitions_in(older.encode())
    new_definitions = definitions_in(newer.encode())
    for rows in _changes(old_lines, new_lines):
        holders = _holders(rows, old_definitions, new_definitions)
        if holders is None:
            continue
        old = "".join(old_lines[rows.old_start : rows.old_end])
        new = "".join(new_lines[rows.new_start : rows.new_end])
        prose = [_docstring_rows(holder) for holder in holders]
        is_prose = rows.old_start >= prose[0].start and rows.old_end <= prose[0].stop
        is_prose &= rows.new_start >= prose[1].start and rows.new_end <= prose[1].stop
        if is_prose or not _says_something(old, new):
            continue
        is_of_head = rows.new_start < prose[1].start
        parameters = [_parameters(holder) if is_of_head else [] for holder in holders]
        rows = _widened(rows, *holders, old_lines, new_lines)
        edit = Edit(
            "release",
            instruction_of(old, new, *parameters),
            before="".join(old_lines[: rows.old_start]),
            old="".join(old_lines[rows.old_start : rows.old_end]),
            new="".join(new_lines[rows.new_start : rows.new_end]),
            after="".join(old_lines[rows.old_end :]),
        )
        if edit.is_sound and _parses(edit.before + edit.new + edit.after):
            yield edit


def instruction_of(
    old: str, new: str, old_parameters: Sequence[str] = (), new_parameters: Sequence[str] = ()
) -> str:
    """The words that ask for a change, as far as its text tells what it is about.

    Args:
        old: the lines that change.
        new: what they become.
        old_parameters: of the function whose head they are in, if it is one's.
        new_parameters: of the same function afterwards.
    """
    renamed = _renamed(old, new)
    if renamed is not None:
        name, other, num_places = renamed
        if num_places > 1:
            return f"Rename `{name}` to `{other}`."
        return f"Use `{other}` instead of `{name}`."
    for verb, first, second in (
        ("Add", old_parameters, new_parameters),
        ("Remove", new_parameters, old_parameters),
    ):
        names = [name for name in second if name not in first]
        if names and set(first) <= set(second):
            noun = "parameter" if len(names) == 1 else "parameters"
            return f"{verb} the {noun} {' and '.join(f'`{name}`' for name in names)}."
    for pattern, words in _SIGNS.items():
        found = sorted(set(re.findall(pattern, new)) - set(re.findall(pattern, old)))
        if len(found) == 1:
            return words.format(found[0])
    gone, come = (
        sorted(set(re.findall(_CALL, first)) - set(re.findall(_CALL, second)))
        for first, second in ((old, new), (new, old))
    )
    if len(gone) == len(come) == 1:
        return f"Use `{come[0]}` instead of `{gone[0]}`."
    if len(come) == 1 and not gone:
        return f"Call `{come[0]}`."
    if not new.strip():
        return "Remove what is no longer needed."
    return NEUTRAL


_CALL = r"(?<!def )(?<!class )\b([A-Za-z_][\w.]*)\("
_SIGNS: Mapping[str, str] = {
    r"\bexcept \(?([A-Z]\w*)": "Handle `{}`.",
    r"\braise ([A-Z]\w*)": "Raise `{}` where it is due.",
    r"(?m)^\s*@([\w.]+)": "Decorate it with `{}`.",
}
"""What is new in a change, and the words that ask for it; the first that fits is taken."""


def _renamed(old: str, new: str) -> tuple[str, str, int] | None:
    """The one name that became another one, and in how many places, if nothing else changed."""
    old_words, new_words = _WORD.findall(old), _WORD.findall(new)
    if len(old_words) != len(new_words):
        return None
    changed = [pair for pair in zip(old_words, new_words, strict=True) if pair[0] != pair[1]]
    if len(set(changed)) != 1:
        return None
    first, second = changed[0]
    if not all(word.isidentifier() and not iskeyword(word) for word in changed[0]):
        return None
    return None if first in new_words else (first, second, len(changed))


def _says_something(old: str, new: str) -> bool:
    """Whether more changed than blanks, quotes, commas, comments and numbers."""
    return _essence(old) != _essence(new)


def _essence(text: str) -> list[str]:
    words = _WORD.findall(_COMMENT.sub("", text))
    return ["0" if word[0].isdigit() else word for word in words if word not in _NOT_CODE]


def _changes(old_lines: Sequence[str], new_lines: Sequence[str]) -> Iterator[_Rows]:
    """Rows that differ; changes that are near each other are one."""
    *matches, last = SequenceMatcher(None, old_lines, new_lines).get_matching_blocks()
    # A few equal lines between two changes are a part of both; the last match is empty.
    matches = [*(match for match in matches if match.size >= _MIN_APART), last]
    edges = [(0, 0, 0), *((match.a, match.b, match.size) for match in matches)]
    for (old, new, size), (next_old, next_new, _) in pairwise(edges):
        rows = _Rows(old + size, next_old, new + size, next_new)
        num_lines = max(rows.old_end - rows.old_start, rows.new_end - rows.new_start)
        if 0 < num_lines <= MAX_LINES:
            yield rows


def _holders(
    rows: _Rows, old_definitions: Sequence[Definition], new_definitions: Sequence[Definition]
) -> tuple[Definition, Definition] | None:
    """The smallest definition that holds a change both before and after it."""
    before = innermost(old_definitions, rows.old_start, rows.old_end)
    after = innermost(new_definitions, rows.new_start, rows.new_end)
    both = [path for path in after if path in before]
    if not both:
        return None
    smallest = min(both, key=lambda path: after[path].end_row - after[path].first_row)
    return before[smallest], after[smallest]


def _widened(
    rows: _Rows,
    old_holder: Definition,
    new_holder: Definition,
    old_lines: Sequence[str],
    new_lines: Sequence[str],
) -> _Rows:
    """The rows with some equal ones around, within the definition, the first one not blank."""
    old_start, new_start = rows.old_start, rows.new_start
    while (
        old_start > old_holder.first_row
        and new_start > new_holder.first_row
        and old_lines[old_start - 1] == new_lines[new_start - 1]
        and (rows.old_start - old_start < _MAX_CONTEXT or not old_lines[old_start].strip())
    ):
        old_start, new_start = old_start - 1, new_start - 1
    old_end, new_end = rows.old_end, rows.new_end
    while (
        old_end < old_holder.end_row
        and new_end < new_holder.end_row
        and old_lines[old_end] == new_lines[new_end]
        and old_end - rows.old_end < _MAX_CONTEXT
    ):
        old_end, new_end = old_end + 1, new_end + 1
    return _Rows(old_start, old_end, new_start, new_end)


def _docstring_rows(definition: Definition) -> range:
    """The rows of a definition's docstring; none, where the body begins, if there is none."""
    node, statements = definition.node, body_statements(definition.node)
    assert node.text is not None
    last_row = definition.end_row - 1
    if not statements:
        return range(last_row, last_row)
    first = statements[0]
    start, end = (
        last_row - node.text[offset - node.start_byte :].count(b"\n")
        for offset in (first.start_byte, first.end_byte)
    )
    return range(start, end + 1 if is_docstring(first) else start)


def _parameters(definition: Definition) -> list[str]:
    parameters = definition.node.child_by_field_name("parameters")
    names = []
    for child in parameters.named_children if parameters else ():
        name = child.child_by_field_name("name") or child
        while name.named_children and name.type != "identifier":
            name = name.named_children[0]
        if name.type == "identifier" and name.text is not None:
            names.append(name.text.decode())
    return names


def _lines(text: str) -> list[str]:
    """With their breaks; only `\\n` ends a line here."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _parses(text: str) -> bool:
    tree = parse("python", text.encode())
    return tree is not None and not tree.root_node.has_error
