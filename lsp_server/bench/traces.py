"""Real typing traces, in the format of josephg/editing-traces, as gestures.

A trace is a JSON file, perhaps gzipped: `startContent`, `txns` with a `time` and `patches` of
[offset, number of deleted characters, inserted text]. The repository holds none.
"""

import gzip
import json
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.e2e.gestures import Edit

LANGUAGES = {"svelte": "svelte", "rust": "rust", "js": "javascript", "py": "python"}
LONGEST_PAUSE_S = 1.5


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
    data = path.read_bytes()
    try:
        record = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        times = [datetime.fromisoformat(one["time"]) for one in record["txns"]]
        edits = [_patches(one["patches"]) for one in record["txns"]]
        text = record["startContent"]
    except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
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
