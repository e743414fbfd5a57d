"""Which edits are made of a file: mistakes to repair, docstrings and type hints to add.

The file as it is is the answer; what is asked about is a spoiled or barer version of it.
Deterministic: a file's edits depend on its text and path, the seed and the number asked for. Knows
neither releases nor tokens.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from training.data.corruptions import (
    CORRUPTION_KINDS,
    Corruption,
    CorruptionKind,
    Draw,
    corruptions_in,
)
from training.data.definitions import (
    Definition,
    definitions_in,
    line_end,
    line_start,
    parses,
    spliced,
)
from training.data.edits import MAX_EDIT_CHARS, Edit, edit_of_splices
from training.data.removals import Removal, without_docstring, without_type_hints

_Choice = TypeVar("_Choice")
CORRUPTION_SHARE = 0.60
DOCSTRING_SHARE = 0.20
"""What is left, 20 %, is type hints; a file without any gets a mistake more."""
_NEUTRAL_SHARE = 0.5
"""Of the instructions for a repair; the others name the symptom."""
_WHOLE_SHARE = 0.5
"""Of the repairs that are asked for a whole function; the others show a few lines of it."""
_MAX_LINES_AROUND = 4
_MAX_FUNCTION_BYTES = 20_000
_NUM_TRIES = 8
"""Functions looked at for a mistake before a place in the file is given up."""

_NEUTRAL = (
    "Fix the bug.",
    "Fix the bug in this code.",
    "Fix `{name}`.",
    "There is a mistake in `{name}`; correct it.",
    "This code does not do what it should. Repair it.",
    "Fix the bug in {name}. Give back the whole code.",
)
_SYMPTOMS: Mapping[CorruptionKind, tuple[str, ...]] = {
    "operator": ("The calculation is wrong; fix it.", "Correct the operator."),
    "comparison": ("Fix the comparison.", "A condition is wrong here; fix it."),
    "boolean": ("Fix the condition.", "The parts of a condition are put together wrongly; fix it."),
    "negation": ("The condition is inverted; fix it.", "Fix the inverted condition."),
    "off_by_one": ("Fix the off-by-one error.", "An index or bound is off by one; correct it."),
    "name": ("The wrong variable is used; fix it.", "Use the right variable."),
    "argument": ("An argument is missing in a call; add it.", "Pass the missing argument."),
    "argument_order": (
        "Arguments are in the wrong order; fix the call.",
        "Swap the arguments that are the wrong way round.",
    ),
    "missing_return": ("The result is not returned; fix it.", "`{name}` returns None; fix it."),
    "branches": ("The two branches are the wrong way round; fix it.", "Swap the branches."),
    "await": ("A coroutine is never awaited; fix it.", "Add the missing await."),
    "syntax": ("Fix the syntax error.", "This code does not parse; fix it."),
}
_ADD_DOCSTRING = (
    *("Add a docstring.", "Add a docstring to `{name}`.", "Document `{name}`."),
    "Write a short docstring for this function. Give back the whole function.",
)
_ADD_HINTS = (
    *("Add type hints.", "Add type hints to `{name}`.", "Annotate the types."),
    "Add type hints to the parameters and return values of this function. "
    "Keep everything else unchanged.",
)


def choose_edits(text: str, *, num_edits: int, seed: int, name: str) -> Iterator[Edit]:
    """So many edits, or fewer where there is nothing to be done; no two of one kind and place.

    Args:
        text: Python that parses.
        num_edits: how many.
        seed: which.
        name: package and path, so that files do not share their draws.
    """
    # Of the generator only `random()` is used: the one method whose values Python keeps.
    draw = random.Random(f"{seed}\0edits\0{name}").random
    data = text.encode()
    definitions = definitions_in(data)
    seen = set()
    for _ in range(num_edits if definitions else 0):
        share, first = draw(), int(draw() * len(definitions))
        around = [*definitions[first:], *definitions[:first]]
        edit: Edit | None = None
        if share >= CORRUPTION_SHARE + DOCSTRING_SHARE:
            edit = _removed(data, around, without_type_hints, draw)
        elif share >= CORRUPTION_SHARE:
            edit = _removed(data, around, without_docstring, draw)
        edit = edit or _corrupted(data, around, draw)
        if edit is not None and (edit.kind, len(edit.before)) not in seen:
            seen.add((edit.kind, len(edit.before)))
            yield edit


def _removed(
    data: bytes,
    definitions: Sequence[Definition],
    remove: Callable[[bytes, Definition], Removal | None],
    draw: Draw,
) -> Edit | None:
    """An edit of the first definition that has what is removed."""
    is_docstring = remove is without_docstring
    texts = _ADD_DOCSTRING if is_docstring else _ADD_HINTS
    for definition in definitions:
        removal = remove(data, definition)
        if removal is None:
            continue
        edit = edit_of_splices(
            data,
            "docstring" if is_docstring else "type_hints",
            _one_of(texts, draw).format(name=definition.name),
            start=removal.start,
            end=removal.end,
            splices=removal.splices,
        )
        if edit.is_sound and parses(edit.old.encode()):
            return edit
    return None


def _corrupted(data: bytes, definitions: Sequence[Definition], draw: Draw) -> Edit | None:
    """An edit of the first function that can be spoiled in a drawn way, else in another one."""
    wanted = _one_of(CORRUPTION_KINDS, draw)
    functions = (
        definition
        for definition in definitions
        if definition.node.type == "function_definition"
        and definition.end - definition.start <= _MAX_FUNCTION_BYTES
    )
    other: Edit | None = None
    for _, function in zip(range(_NUM_TRIES), functions, strict=False):
        by_kind: dict[CorruptionKind, list[Corruption]] = {}
        for corruption in corruptions_in(data, function.node, draw):
            by_kind.setdefault(corruption.kind, []).append(corruption)
        if wanted in by_kind:
            edit = _repair(data, function, _one_of(by_kind[wanted], draw), draw)
            if edit is not None:
                return edit
        elif by_kind and other is None:
            # Nearly every function can be spoiled like that; it would be a third of all edits.
            kinds = sorted(by_kind.keys() - {"syntax"}) or ["syntax"]
            kind = _one_of(kinds, draw)
            other = _repair(data, function, _one_of(by_kind[kind], draw), draw)
    return other


def _repair(data: bytes, function: Definition, corruption: Corruption, draw: Draw) -> Edit | None:
    """The edit that takes a mistake back, if there is a use in asking for it."""
    start, end = _lines(data, function, corruption, draw)
    texts = _NEUTRAL if draw() < _NEUTRAL_SHARE else _SYMPTOMS[corruption.kind]
    edit = edit_of_splices(
        data,
        corruption.kind,
        _one_of(texts, draw).format(name=function.name),
        start=start,
        end=end,
        splices=corruption.splices,
    )
    spoiled = spliced(data, corruption.splices, function.start, function.end)
    is_as_said = parses(spoiled) == (corruption.kind != "syntax")
    return edit if edit.is_sound and is_as_said else None


def _lines(
    data: bytes, function: Definition, corruption: Corruption, draw: Draw
) -> tuple[int, int]:
    """The lines that are asked about: all of the function, or some around the mistake."""
    is_short = function.end - function.start <= MAX_EDIT_CHARS
    num_above, num_below = (int(draw() * (_MAX_LINES_AROUND + 1)) for _ in range(2))
    if draw() < _WHOLE_SHARE and is_short:
        return function.start, function.end
    start = line_start(data, min(splice.start for splice in corruption.splices))
    end = max(splice.end for splice in corruption.splices)
    end = end if data[end - 1 : end] == b"\n" and end > start else line_end(data, end)
    for _ in range(num_above):
        start = max(line_start(data, max(start - 1, 0)), function.start)
    while start > function.start and not data[start : line_end(data, start)].strip():
        start = line_start(data, start - 1)
    for _ in range(num_below):
        end = min(line_end(data, end), function.end)
    return start, end


def _one_of(values: Sequence[_Choice], draw: Draw) -> _Choice:
    return values[int(draw() * len(values))]
