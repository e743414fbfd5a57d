"""What a run leaves behind: a header, one line per completion, one line per score.

A run is a folder: `run.json` (`Header`), `samples.jsonl` (`Sample`, in the order of measurement)
and `scores.jsonl` (`Score`). Lines are appended and flushed one by one, so that a killed run goes
on where it was; half a line at the end is dropped. A run that is kept for later comparisons has its
lines in `samples.jsonl.gz` and `scores.jsonl.gz`. Knows neither engines nor sets.
"""

import gzip
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from sampler.messages import Mode


class RunError(ValueError):
    """A stored run that cannot be read; one sentence for a person."""


@dataclass(frozen=True)
class Contender:
    """An engine with its settings, as it takes part in a run."""

    name: str
    """Unique within a run, e.g. `ours/exact`."""
    engine: str
    """`ours` or `llama.cpp`."""
    mode: Mode
    model: str
    """File name of the weights."""
    model_sha256: str
    adapter_sha256: str | None = None
    layout: str = "spm"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that decides the result or the speed: dtype, threads, block size …"""


@dataclass(frozen=True)
class Header:
    """Everything that is needed to measure the same again."""

    set: str
    source: str
    data_sha256: str
    seed: int
    limit: int | None
    task_ids: tuple[str, ...]
    """In the order of measurement."""
    contenders: tuple[Contender, ...]
    machine: Mapping[str, Any]
    """CPU, cores, memory, operating system, versions of the libraries that compute."""
    commits: tuple[str, ...] = ()
    """Git commits that took part, `-dirty` behind those with local changes; more than one if the
    run was continued with other code."""
    started: str = ""
    """UTC, ISO 8601."""
    command: str = ""


@dataclass(frozen=True)
class Sample:
    """One completion and what it cost. Milliseconds are wall-clock; counts are tokens."""

    task_id: str
    contender: str
    completion: str
    stop: str
    """Why it ended (`sampler.messages.Stop`), or `error: …`."""
    tokens: int
    forwards: int
    """Forwards behind prefill, those that denoise and those that verify."""
    accepted: tuple[int, ...]
    """Drafts accepted by each forward that verified some."""
    prefill_tokens: int
    prefill_ms: float
    total_ms: float
    first_text_ms: float | None
    memory_mib: float
    """Peak resident memory of the engine's process so far."""


@dataclass(frozen=True)
class Score:
    """How good one completion is; None where the task does not tell."""

    task_id: str
    contender: str
    passed: bool | None
    outcome: str
    """`passed`, `failed`, `timeout`, … (`sandbox.Outcome`), or `unchecked`."""
    exact: bool | None
    similarity: float | None
    """Edit similarity in [0, 1]: 1 - Levenshtein distance / longer length, in characters."""
    parses: bool | None
    kept: int | None = None
    """Of an edit: tokens of the old code that are in the completion, too."""
    unforeseen: int | None = None
    """Of these: those that old code, as a draft, did not foretell (`old_code.Kept`)."""


@dataclass(frozen=True)
class Run:
    """A stored run; both mappings by (task id, contender's name)."""

    header: Header
    samples: Mapping[tuple[str, str], Sample]
    scores: Mapping[tuple[str, str], Score]


_Record = TypeVar("_Record", Sample, Score)
_converter = cattrs.Converter(forbid_extra_keys=False)


def write_header(folder: Path, header: Header) -> None:
    """Create the run's folder or replace its header, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(asdict(header), indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)


class Lines:
    """A JSONL file that is only ever appended to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = path.read_bytes() if path.exists() else b""
        end = whole.rfind(b"\n") + 1
        if end < len(whole):  # the run was killed in the middle of a line
            with path.open("r+b") as file:
                file.truncate(end)

    def append(self, record: Sample | Score) -> None:
        """Write one line; it is on the disk when this returns."""
        self.extend([record])

    def extend(self, records: Iterable[Sample | Score]) -> None:
        """Write many lines at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, records))
            file.flush()
            os.fsync(file.fileno())


def write_run(folder: Path, run: Run) -> None:
    """Store a whole run, compressed; the same run gives the same bytes."""
    write_header(folder, run.header)
    parts: Mapping[str, Iterable[Sample | Score]] = {
        "samples": run.samples.values(),
        "scores": run.scores.values(),
    }
    for name, records in parts.items():
        packed = gzip.compress("".join(map(_line, records)).encode(), mtime=0)
        (folder / f"{name}.jsonl.gz").write_bytes(packed)


def read_run(folder: Path) -> Run:
    """Read a stored run; a run that is not finished is read as far as it is.

    Raises:
        RunError: if the folder holds no run or one that is damaged.
    """
    try:
        header = _converter.structure(json.loads((folder / "run.json").read_text()), Header)
        samples = _read_lines(folder / "samples.jsonl", Sample)
        scores = _read_lines(folder / "scores.jsonl", Score)
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no run: there is no {error.filename}.") from error
    except Exception as error:  # cattrs raises exception groups of many kinds
        raise RunError(f"The run in {folder} cannot be read: {error!r}.") from error
    return Run(
        header,
        {(sample.task_id, sample.contender): sample for sample in samples},
        {(score.task_id, score.contender): score for score in scores},
    )


def _line(record: Sample | Score) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def _read_lines(path: Path, cls: type[_Record]) -> Sequence[_Record]:
    packed = path.with_name(f"{path.name}.gz")
    if path.exists():
        content = path.read_bytes()
    elif packed.exists():
        content = gzip.decompress(packed.read_bytes())
    else:
        return []
    # Other characters end lines in Unicode, too, but none of ours.
    lines = content.decode().split("\n")
    return [_converter.structure(json.loads(line), cls) for line in lines[:-1]]
