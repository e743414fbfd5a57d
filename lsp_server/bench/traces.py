"""Typing traces: real ones in the format of josephg/editing-traces, and a short one of our own.

A trace is a JSON file, perhaps gzipped: `startContent`, `txns` with a `time` and `patches` of
[offset, number of deleted characters, inserted text]. The repository holds none. Knows neither
editors nor how a trace is replayed.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sampler.sample import FOLDER, cut_holes

LANGUAGES = {"svelte": "svelte", "rust": "rust", "js": "javascript", "py": "python"}
LONGEST_PAUSE_S = 1.5
LONGEST_JUMP_S = 3.5
"""Of the recorded time before a change at another place: the trace's median is three seconds."""
LONGEST_REST_S = 1.75
"""Homing from the mouse to the keys and preparing in mind, in the keystroke-level model of Card,
Moran and Newell (1980): so long the cursor stands there before the first key, if there was time."""
OWN_FILE = FOLDER / "timetable.txt"
_KEY = re.compile(r"\n[ \t]*|.")
"""One key; an editor indents by itself behind a line break."""
_STROKE = re.compile(r"""(\r?\n[ \t]*){0,2}|[ \t]+|.|\(\)|\[\]|\{\}|<>|\"\"|''|``""")
"""What one key puts in: a character or what is deleted, an indentation, a line break with what an
editor indents behind it (two between brackets), or a pair that an editor closes."""


@dataclass(frozen=True)
class Edit:
    """One recorded change: patches of offset, number of deleted characters and inserted text, each
    in the coordinates that the one before it left."""

    patches: tuple[tuple[int, int, str], ...]
    pause_s: float = 0.0
    """How long the person had waited, beyond the time that a key takes."""
    rest_s: float | None = None
    """How much of the time before the key the cursor had stood there, or something been selected,
    in a place to which no change has brought it; None if it has not moved, or there were several
    cursors."""

    cursor: int | None = None
    """Offset of the cursor behind the change, where it is not behind the last patch."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Offsets behind each patch, once all of them are made."""
        ends: list[int] = []
        for start, length, inserted in self.patches:
            moved_by = len(inserted) - length
            ends = [end + moved_by if start + length <= end else end for end in ends]
            ends.append(start + len(inserted))
        return tuple(ends)

    @property
    def end(self) -> int:
        """Offset of the cursor behind the change."""
        return self.ends[-1] if self.cursor is None else self.cursor

    @property
    def is_stroke(self) -> bool:
        """Whether one key at one place has made it; others are pasted, moved or made at several."""
        return len(self.patches) == 1 and _STROKE.fullmatch(self.patches[0][2]) is not None

    @property
    def selected(self) -> tuple[int, int]:
        """Offsets of what was selected before the change, twice that of the cursor if nothing."""
        start, length, _ = self.patches[0]
        return (start, start + length) if length > 1 else (start + length,) * 2


@dataclass(frozen=True)
class Trace:
    """A text, and the changes that somebody made to it."""

    name: str
    text: str
    edits: tuple[Edit, ...]

    @property
    def language(self) -> str:
        """As the file's name suggests, LSP's `plaintext` if it suggests nothing."""
        found = (language for part, language in LANGUAGES.items() if part in self.name)
        return next(found, "plaintext")

    def part(self, first: int, count: int) -> "Trace":
        """Some changes from within, and the text that they begin with."""
        text = self.text
        for edit in self.edits[:first]:
            for start, length, inserted in edit.patches:
                text = text[:start] + inserted + text[start + length :]
        return Trace(self.name, text, self.edits[first : first + count])


def find_traces(folder: Path) -> list[Path]:
    """The trace files anywhere below a folder."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith((".json", ".json.gz")))


def read_trace(path: Path) -> Trace:
    """A whole trace.

    Raises:
        ValueError: if the file is no trace.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        record = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        times = [datetime.fromisoformat(one["time"]) for one in record["txns"]]
        edits = [_patches(one["patches"]) for one in record["txns"]]
        text = record["startContent"]
    except (LookupError, TypeError, ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no typing trace") from error
    waits = [0.0, *((after - before).total_seconds() for before, after in pairwise(times))]
    timed = [pair for pair in zip(edits, waits, strict=True) if pair[0]]
    found: list[Edit] = []
    for index, (patches, wait_s) in enumerate(timed):
        edit = _edit(patches, wait_s, found[-1].end if found else 0)
        if index + 1 < len(timed):
            edit = replace(edit, cursor=_cursor_between(edit, timed[index + 1][0]))
        found.append(edit)
    return Trace(path.name.split(".")[0], text, tuple(found))


def _cursor_between(edit: Edit, following: tuple[tuple[int, int, str], ...]) -> int | None:
    """Where the cursor is behind a change of several patches: there where the next one goes on.

    An editor that indents, or takes blanks away, tells of it in the same change as the key.
    """
    places = {place for start, length, _ in following for place in (start, start + length)}
    return next((end for end in edit.ends if end in places), None)


def _edit(patches: tuple[tuple[int, int, str], ...], wait_s: float, cursor: int) -> Edit:
    """A change that was made so long after the one that has left the cursor somewhere.

    Times are whole seconds. Within a run of keys what is more than one was a pause. Before a change
    at another place the time is what it says: half of it, or a little more than a second and a
    half, the cursor was there already. What is replaced there was selected.
    """
    start, length, _ = patches[0]
    if cursor in (start, start + length) or len(patches) > 1:
        return Edit(patches, min(max(wait_s - 1.0, 0.0), LONGEST_PAUSE_S))
    pause_s = min(wait_s, LONGEST_JUMP_S)
    return Edit(patches, pause_s, min(pause_s / 2, LONGEST_REST_S))


def _patches(patches: list[Any]) -> tuple[tuple[int, int, str], ...]:
    return tuple((int(start), int(length), str(text)) for start, length, text in patches)


def own_trace() -> Trace:
    """Somebody writes the holes of a file of the sample, from its begin to its end, key by key."""
    text = OWN_FILE.read_text("utf-8")
    holes = cut_holes(text)
    # Those that come later are still empty, so that a hole begins where all before it end.
    whole = holes[0].prefix + holes[0].middle + holes[0].suffix
    starts = [len(hole.prefix) for hole in holes]
    edits = tuple(
        edit
        for hole, start in zip(holes, starts, strict=True)
        for edit in _typed(start, hole.middle)
    )
    for hole, start in zip(reversed(holes), reversed(starts), strict=True):
        whole = whole[:start] + whole[start + len(hole.middle) :]
    return Trace(f"{OWN_FILE.stem}.py", whole, edits)


def _typed(start: int, text: str) -> Iterator[Edit]:
    for key in _KEY.finditer(text):
        yield Edit(((start + key.start(), 0, key.group()),))
