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
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sampler.sample import FOLDER, cut_holes

LANGUAGES = {"svelte": "svelte", "rust": "rust", "js": "javascript", "py": "python"}
LONGEST_PAUSE_S = 1.5
OWN_FILE = FOLDER / "timetable.txt"
_KEY = re.compile(r"\n[ \t]*|.")
"""One key; an editor indents by itself behind a line break."""


@dataclass(frozen=True)
class Edit:
    """One recorded change: patches of offset, number of deleted characters and inserted text, each
    in the coordinates that the one before it left."""

    patches: tuple[tuple[int, int, str], ...]
    pause_s: float = 0.0
    """How long the person had waited, beyond the time that a key takes."""


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
    return Trace(
        path.name.split(".")[0],
        text,
        tuple(
            # Times are whole seconds: what is more than one was a pause.
            Edit(patches, min(max(wait_s - 1.0, 0.0), LONGEST_PAUSE_S))
            for patches, wait_s in zip(edits, waits, strict=True)
            if patches
        ),
    )


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
