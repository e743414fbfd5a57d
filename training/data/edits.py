"""An edit: some lines of a text, what they shall become, and the words that ask for it.

Knows neither where edits come from nor tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from model.format.prompt import FENCE
from training.data.corruptions import CORRUPTION_KINDS, CorruptionKind
from training.data.definitions import Splice, spliced

RemovalKind = Literal["docstring", "type_hints"]
EditKind = CorruptionKind | RemovalKind | Literal["release"]
"""Corruptions to repair, what was removed to add again, changes from one release to the next."""
EDIT_KINDS: tuple[EditKind, ...] = (*CORRUPTION_KINDS, *get_args(RemovalKind), "release")

MAX_EDIT_CHARS = 1_600
"""Of the lines that change, before or after: about 450 tokens."""


@dataclass(frozen=True)
class Edit:
    """`before + old + after` is the text as it is, `before + new + after` as it shall be."""

    kind: EditKind
    instruction: str
    before: str = field(repr=False)
    old: str
    """Whole lines; the first one is not blank."""
    new: str
    after: str = field(repr=False)

    @property
    def is_sound(self) -> bool:
        """Whether it is one that a person could ask for, and that a prompt can hold."""
        return self.old != self.new and all(
            text.endswith("\n")
            and bool(text.partition("\n")[0].strip())
            and len(text) <= MAX_EDIT_CHARS
            and FENCE not in text
            for text in (self.old, self.new)
        )


def edit_of_splices(
    data: bytes,
    kind: EditKind,
    instruction: str,
    *,
    start: int,
    end: int,
    splices: Iterable[Splice],
) -> Edit:
    """The edit that takes splices of a text back.

    Args:
        data: the good text, as UTF-8.
        kind: of the edit.
        instruction: its words.
        start: of the lines that it is about, in bytes.
        end: behind their last break.
        splices: within these lines; they make the old text of the good one.
    """
    return Edit(
        kind,
        instruction,
        before=data[:start].decode(),
        old=spliced(data, splices, start, end).decode(),
        new=data[start:end].decode(),
        after=data[end:].decode(),
    )
