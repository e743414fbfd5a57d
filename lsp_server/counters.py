"""What is counted on this machine, and the one file that it is kept in. Nothing leaves the machine.

The file holds numbers and a date, no text, no names of files, and has a bounded size. Several
servers may add to it at once. Knows neither LSP nor what the counts mean for a completion.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cattrs
from platformdirs import user_state_path

VERSION = 1
BUCKETS_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1000, 1500, 2000, 3000, 5000, 10000),
)
"""Upper bounds of the latencies that are counted together; the last bucket has none."""
MOST_NAMES = 16
"""Of tiers or reasons: a file that somebody else has filled stays small."""
LOCK_TIMEOUT_S = 1.0


@dataclass
class Counts:
    """What happened since `since`. Sums of counts are counts."""

    since: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    version: int = VERSION
    requests: int = 0
    """Of an editor that were neither cancelled nor superseded."""
    shown: int = 0
    """Predictions; one that grows or is typed through is one."""
    accepted: int = 0
    """Predictions of which at least a word was accepted."""
    dismissed: int = 0
    characters_accepted: int = 0
    characters_checked: int = 0
    """Of the accepted ones those that were looked for again after a while."""
    characters_kept: int = 0
    """Of the checked ones those that were still there."""
    quiet: dict[str, int] = field(default_factory=dict)
    """Requests that were answered with nothing, by reason."""
    latency_ms: dict[str, list[int]] = field(default_factory=dict)
    """For each tier how many answers fell into each of `BUCKETS_MS`, and behind the last."""

    def add_quiet(self, reason: str) -> None:
        """A request was answered with nothing."""
        self.quiet[reason] = self.quiet.get(reason, 0) + 1

    def add_latency(self, tier: str, elapsed_ms: float) -> None:
        """A request was answered with text."""
        buckets = self.latency_ms.setdefault(tier, [0] * (len(BUCKETS_MS) + 1))
        index = next((i for i, most in enumerate(BUCKETS_MS) if elapsed_ms <= most), -1)
        buckets[index] += 1

    def add(self, other: "Counts") -> None:
        """Add the counts of `other`, which came after these."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.quiet.items():
            self.quiet[reason] = self.quiet.get(reason, 0) + count
        for tier, buckets in other.latency_ms.items():
            own = self.latency_ms.get(tier, [0] * len(buckets))
            self.latency_ms[tier] = [a + b for a, b in zip(own, buckets, strict=True)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been counted."""
        return not (self.quiet or self.latency_ms or any(getattr(self, n) for n in _SUMS))


_SUMS = (
    *("requests", "shown", "accepted", "dismissed"),
    *("characters_accepted", "characters_checked", "characters_kept"),
)


def percentile_ms(buckets: Iterable[int], share: float) -> float | None:
    """The latency that a share of all answers did not exceed, to the width of a bucket.

    Past the last bound it is that bound. None without any answer.
    """
    counts = list(buckets)
    wanted = share * sum(counts)
    if not sum(counts):
        return None
    below = 0
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            least = BUCKETS_MS[index - 1] if index else 0
            return least + (BUCKETS_MS[index] - least) * (wanted - below) / count
        below += count
    return float(BUCKETS_MS[-1])


def counters_path() -> Path:
    """The file of this user's counts; it need not exist."""
    return user_state_path("seed-lsp", appauthor=False) / "stats.json"


class CounterFile:
    """Counts on disk. Trouble with the file never reaches a caller: counts are lost instead."""

    def __init__(self, path: Path):
        self._path = path

    def read(self) -> Counts:
        """All counts; empty ones if there is no file, or none that we know."""
        try:
            counts = cattrs.structure(json.loads(self._path.read_text("utf-8")), Counts)
        except Exception:  # cattrs raises exception groups of many kinds
            return Counts()
        return counts if _is_sound(counts) else Counts()

    def add(self, counts: Counts) -> bool:
        """Add counts to those of the file; whether they are there now."""
        from filelock import FileLock  # not needed before the server has answered its editor

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
                total = self.read()
                total.add(counts)
                self._write(total)
        except (OSError, ValueError):
            return False
        return True

    def reset(self) -> None:
        """Forget all counts."""
        self._path.unlink(missing_ok=True)

    def _write(self, counts: Counts) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(counts), file)
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _is_sound(counts: Counts) -> bool:
    """Whether a file's counts are ours: of this version, and as small as we keep them."""
    names = [*counts.quiet, *counts.latency_ms]
    return (
        counts.version == VERSION
        and len(names) <= 2 * MOST_NAMES
        and all(len(buckets) == len(BUCKETS_MS) + 1 for buckets in counts.latency_ms.values())
    )
