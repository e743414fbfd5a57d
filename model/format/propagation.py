"""What an edit by hand leaves to be done elsewhere in a text: a rename, another signature.

Knows neither editors nor versions, and asks no model.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from model.format.callers import callers_of, is_bound_at
from model.format.renaming import Place, Rename, places_left, rename_between
from model.format.selection import DEFINITIONS, Hunk, char_offset, nodes_of, tree_root
from model.format.signatures import Argument, Parameter, SignatureChange, bind, read_parameters

MOST_HEADER_LINES = 40
"""Of a signature, above and below the edited lines."""
_DEFINITION = re.compile(r"[ \t]*(?:async[ \t]+)?def\b")
_OPEN_VALUE = "..."
"""Stands in a call for a value that only a person can know."""


class Edited(NamedTuple):
    """Lines that were edited by hand: `start` to `end` of the text, and what they were before."""

    before: str
    start: int
    end: int


@dataclass(frozen=True)
class Leftover:
    """What an edit leaves to be done, told without reading all of the text."""

    title: str


@dataclass(frozen=True)
class Propagation:
    """The edits that carry a change on."""

    hunks: tuple[Hunk, ...]
    sentence: str
    """What they are, and what was left as it is."""


class _Header(NamedTuple):
    """The beginning of a function, up to its body."""

    name: str
    parameters: tuple[Parameter, ...]
    start: int
    """Where its definition begins in the text, in characters."""


def leftover(language: str, text: str, edited: Edited) -> Leftover | None:
    """Whether an edit is one that can be carried on; reads only the lines around it."""
    rename = rename_between(edited.before, text[edited.start : edited.end])
    if rename is not None and re.search(rf"\b{rename.old}\b", text):
        return Leftover(f"Rename the other {rename.old} to {rename.new}, too")
    found = _signature_change(language, text, edited)
    if found is None or not found[1].concerns_calls:
        return None
    name = found[0].name
    if name != "__init__" and len(re.findall(rf"\b{re.escape(name)}\s*\(", text)) < 2:
        return None
    return Leftover(f"Change the other calls of {name}, too")


def propagated(language: str, text: str, edited: Edited) -> Propagation | None:
    """The edits that carry a change on; None if there are none.

    Args:
        language: of the text.
        text: with the edit in it.
        edited: where it was made, and what stood there.
    """
    rename = rename_between(edited.before, text[edited.start : edited.end])
    signature = _signature_change(language, text, edited)
    renames = [] if rename is None else [rename]
    if signature is not None:
        renames += [Rename(*it) for it in signature[1].renames if Rename(*it) not in renames]
    hunks: dict[Place, str] = {}
    sentences = []
    for it in renames:
        places = places_left(language, text, it, edited.start, edited.end)
        hunks |= dict.fromkeys(places, it.new)
        if places:
            places_text = _number(len(places), "place")
            sentences.append(f"`{it.old}` becomes `{it.new}` in {places_text}, found by syntax.")
    calls = _Calls(text, hunks)
    if signature is not None:
        calls.change(language, *signature)
    if not hunks:
        return None
    return Propagation(
        tuple(Hunk(place.start, place.end, new) for place, new in sorted(hunks.items())),
        " ".join([*sentences, *calls.sentences()]),
    )


class _Calls:
    """Changes the calls of one function, on top of other edits of the same text."""

    def __init__(self, text: str, hunks: dict[Place, str]) -> None:
        self._text, self._hunks = text, hunks
        self._name = ""
        self._num_changed = self._num_left = self._num_open = 0

    def change(self, language: str, header: _Header, change: SignatureChange) -> None:
        """Add to the edits what the calls need."""
        self._name = header.name
        root = tree_root(language, self._text)
        if root is None or not change.concerns_calls:
            return
        first = len(self._text[: header.start].encode(errors="replace"))
        definition = next(
            (it for it in nodes_of(root) if it.type in DEFINITIONS and it.start_byte == first),
            None,
        )
        callers = None if definition is None else callers_of(root, definition)
        if callers is None:
            return
        self._num_left = callers.num_unclear
        shorter = change.without_first()
        # From behind, and what is in the arguments of a call before the call.
        for caller in sorted(callers.found, key=lambda it: it.arguments.start_byte, reverse=True):
            suited = shorter if caller.is_bound else change
            if suited is not None:
                self._change_one(caller.arguments, suited)

    def sentences(self) -> list[str]:
        """What was done, and what was not."""
        found = []
        if self._num_changed:
            found.append(
                f"{_number(self._num_changed, 'call')} of `{self._name}` changed, found by syntax."
            )
        if self._num_open:
            found.append(
                f"`{_OPEN_VALUE}` stands for a value that is to be filled in, "
                f"{_number(self._num_open, 'time')}."
            )
        if self._num_left:
            found.append(f"{_number(self._num_left, 'call')} could not be told and stayed.")
        return found

    def _change_one(self, node: Node, change: SignatureChange) -> None:
        nodes = [it for it in node.named_children if it.type != "comment"]
        is_plain = node.type == "argument_list" and not node.has_error
        is_plain &= not any(it.type in ("list_splat", "dictionary_splat") for it in nodes)
        if not is_plain:
            self._num_left += 1
            return
        old = [self._argument(it) for it in nodes]
        open_values = []

        def fill(parameter: Parameter) -> str:
            if is_bound_at(node, parameter.name):
                return parameter.name
            open_values.append(parameter)
            return _OPEN_VALUE

        new = change.carried(old, fill)
        if new is None and (bind(change.old, old) or not bind(change.new, old)):
            self._num_left += 1  # else a call of the new function that is there already
        if new is None or [str(it) for it in new] == [str(it) for it in old]:
            return
        written = self._list(node, nodes, new)
        if written is None:
            self._num_left += 1
            return
        inside = Place(self._at(node.start_byte) + 1, self._at(node.end_byte) - 1)
        self._take_inner(inside)
        self._hunks[inside] = written
        self._num_changed += 1
        self._num_open += len(open_values)

    def _argument(self, node: Node) -> Argument:
        """An argument as it is once the edits inside it are done."""
        if node.type != "keyword_argument":
            text = self._edited(node.start_byte, node.end_byte)
            return Argument(f"({text})" if node.type == "named_expression" else text)
        name, value = node.named_children[0], node.named_children[-1]
        text = self._edited(value.start_byte, value.end_byte)
        return Argument(text, (name.text or b"").decode(errors="replace"))

    def _list(self, node: Node, nodes: list[Node], arguments: list[Argument]) -> str | None:
        """Arguments with the blanks, line breaks and comments that stood between the old ones."""
        text = self._text
        ends = [self._at(node.start_byte) + 1]
        gaps = []
        for it in nodes:
            gaps.append(text[ends[-1] : self._at(it.start_byte)])
            ends.append(self._at(it.end_byte))
        tail = text[ends[-1] : self._at(node.end_byte) - 1]
        if len(arguments) != len(nodes):
            if any("#" in gap for gap in [*gaps, tail]):
                return None
            lead = gaps[0] if gaps else ""
            usual = f",{lead}" if "\n" in lead else ", "
            between = gaps[1:] or [usual]
            between += [between[-1]] * len(arguments)
            gaps = [lead, *between]
            tail = tail if arguments and nodes else ""
        pieces = [f"{gap}{it}" for gap, it in zip(gaps, arguments, strict=False)]
        return "".join([*pieces, tail])

    def _edited(self, first: int, last: int) -> str:
        """A piece of the text with the edits inside it."""
        start, end = self._at(first), self._at(last)
        piece, at = "", start
        for place in sorted(it for it in self._hunks if start <= it.start and it.end <= end):
            piece += self._text[at : place.start] + self._hunks[place]
            at = place.end
        return piece + self._text[at:end]

    def _take_inner(self, outer: Place) -> None:
        """Forget the edits that an outer one has taken in."""
        for place in list(self._hunks):
            if outer.start <= place.start and place.end <= outer.end:
                del self._hunks[place]

    def _at(self, byte_offset: int) -> int:
        return char_offset(self._text, byte_offset)


def _signature_change(
    language: str, text: str, edited: Edited
) -> tuple[_Header, SignatureChange] | None:
    """The function whose parameters an edit has changed."""
    if language != "python":
        return None
    before = text[: edited.start] + edited.before + text[edited.end :]
    old = _header_at(before, edited.start, edited.start + len(edited.before))
    new = _header_at(text, edited.start, edited.end)
    if old is None or new is None or (old.name, old.start) != (new.name, new.start):
        return None
    change = SignatureChange(old.parameters, new.parameters)
    return None if change.old == change.new else (new, change)


def _header_at(text: str, start: int, end: int) -> _Header | None:
    """The function whose signature a range of whole lines is in, read from the lines around it."""
    begin = start
    for _ in range(MOST_HEADER_LINES):
        if _DEFINITION.match(text, begin):
            break
        if begin == 0:
            return None
        begin = max(text.rfind("\n", 0, begin - 1), text.rfind("\r", 0, begin - 1)) + 1
    else:
        return None
    stop = end
    for _ in range(MOST_HEADER_LINES):
        found = text.find("\n", stop + 1)
        stop = found if found >= 0 else len(text)
    margin = len(text[begin:stop]) - len(text[begin:stop].lstrip(" \t"))
    lead = "if 1:\n" if margin else ""  # so that the indentation is none too many
    piece = lead + text[begin:stop]
    first = len(lead) + margin
    root = tree_root("python", piece)
    node = root.descendant_for_byte_range(first, first + 1) if root is not None else None
    while node is not None and node.type not in DEFINITIONS:
        node = node.parent
    if node is None or node.start_byte != first:
        return None
    name, around = (node.child_by_field_name(it) for it in ("name", "parameters"))
    if name is None or around is None or name.text is None:
        return None
    parameters = read_parameters(around)
    header_end = begin - len(lead) + char_offset(piece, around.end_byte)
    if parameters is None or start > header_end:
        return None
    return _Header(name.text.decode(), parameters, begin + margin)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
