"""The pipeline, defined once: phases, each a list of datatrove steps and a number of tasks.

    gather (a task a package)  fetch, licence, filters, cap, scrub, decontaminate → parts
    dedupe (one task)          all parts → which files are no duplicates
    pack   (a task a package)  holes, records → packs
    join   (here)              packs → shards, manifest

Where edits are asked for, there are two more before the join (`edit_steps`).

`build` runs them with datatrove's local executor. On a cluster the same phases are given to its
Slurm or Ray executor, and `join` is called when they are done (docs/data.md).
"""

import functools
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from filelock import FileLock, Timeout
from loguru import logger

from model.format.vocabulary import read_vocabulary
from training.data import records
from training.data.decontaminate import index_folder
from training.data.dedupe import deduplicate
from training.data.edit_records import EditRecordMaker
from training.data.edit_steps import edit_phases, join_edits
from training.data.filters import by_path, by_syntax, by_text, capped
from training.data.manifest import (
    Entry,
    check_pins,
    manifest_sha256,
    read_manifest,
    write_manifest,
)
from training.data.parts import PartHead, num_parts, read_head
from training.data.scrub import scrub
from training.data.shards import Pack, write_shards
from training.data.source import each
from training.data.steps import (
    LAYOUTS,
    Apply,
    ReadPackages,
    ReadParts,
    WritePacks,
    WriteParts,
    WriteVerdicts,
    decontaminated,
    load_tokenizer,
    pack_path,
    read_pack,
    read_verdicts,
)
from training.data.work import STAGES_VERSION, Phase, Plan, Work

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""
_LOOK_S = 0.5


class BuildError(ValueError):
    """A build that cannot be done now; one sentence for a person."""


@dataclass(frozen=True)
class Summary:
    """What became of everything."""

    facts: Mapping[str, Any]
    """`dataset.json`."""
    num_files: int
    """Python files in all packages that were not refused."""
    dropped: Mapping[str, int]
    """Files by stage and reason."""
    refused: Mapping[str, str]
    """Packages that were refused as a whole, and why."""
    replaced: Mapping[str, int] = field(default_factory=dict)


def prepare(plan: Plan) -> Work:
    """Read the pins and index the benchmarks, once, before any task runs.

    Raises:
        ValueError: of the kinds of `manifest`, `vocabulary`, `records` and `decontaminate`.
    """
    pins = read_manifest(plan.manifest) if plan.manifest else {}
    fingerprint = records.fingerprint(read_vocabulary(plan.model))
    records.RecordMaker(read_vocabulary(plan.model))  # refuses now what would be refused in hours
    older_pins: dict[str, Entry] = {}
    if plan.edits:
        EditRecordMaker(read_vocabulary(plan.model))
        older_pins = read_manifest(plan.manifest.with_name("older.jsonl")) if plan.manifest else {}
    path, sha256 = None, ""
    folder = plan.out / "work"
    folder.mkdir(parents=True, exist_ok=True)
    if plan.decontaminate is not None:
        index = index_folder(plan.decontaminate, load_tokenizer(plan.model))
        sha256 = index.sha256
        path = folder / f"index-{sha256[:16]}.npy"
        np.save(path, index.hashes)
    work = Work(plan, pins, fingerprint, path, sha256, older_pins)
    for leftover in folder.glob("wheel-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work.parts.mkdir(exist_ok=True)
    work.packs.mkdir(exist_ok=True)
    if plan.edits:
        work.older.mkdir(exist_ok=True)
        work.edits.mkdir(exist_ok=True)
    return work


def phases(work: Work, reader: PipelineStep | None = None) -> Sequence[Phase]:
    """The jobs, each to be started when the one before is done.

    Args:
        work: of `prepare`.
        reader: any reader of datatrove instead of ours; its documents need have only text and id,
            and then `Plan.names` are `part-00000` and so on, one for each task.
    """
    plan = work.plan
    read = reader or ReadPackages(
        plan.names, pins=work.pins, fetch=plan.fetch, parts=work.parts, scratch=work.folder
    )
    gather = [
        read,
        Apply("path", functools.partial(each, by_path)),
        Apply("text", functools.partial(each, by_text)),
        Apply("syntax", functools.partial(each, by_syntax)),
        Apply("cap", capped),
        Apply("scrub", functools.partial(each, scrub)),
        Apply("decontaminate", functools.partial(decontaminated, plan.model, work.index)),
        WriteParts(work.parts),
    ]
    dedupe = [
        ReadParts(plan.names, work.parts),
        Apply("dedupe", deduplicate),
        WriteVerdicts(work.verdicts),
    ]
    pack = [
        ReadParts(plan.names, work.parts, work.verdicts),
        WritePacks(
            work.packs,
            work.verdicts,
            model=plan.model,
            seed=plan.seed,
            max_tokens=plan.max_tokens,
        ),
    ]
    num_tasks = len(plan.names)
    return (
        Phase("gather", gather, num_tasks, lambda: num_parts(work.parts)),
        Phase("dedupe", dedupe, 1, work.verdicts.exists),
        Phase("pack", pack, num_tasks, lambda: sum(1 for _ in work.packs.glob("*.npz"))),
        *(edit_phases(work) if plan.edits else ()),
    )


def build(plan: Plan, *, workers: int = 1, progress: Progress = lambda *_: None) -> Summary:
    """Run everything on this machine; a build that was killed goes on where it was.

    Raises:
        ValueError: of the kinds of the stages, in one sentence.
    """
    folder = plan.out / "work"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            return _build(plan, workers, progress)
    except Timeout as error:
        raise BuildError(f"Another build is at work in {plan.out}.") from error


def _build(plan: Plan, workers: int, progress: Progress) -> Summary:
    progress("prepare", 0, 1)
    work = prepare(plan)
    for phase in phases(work):
        with _watched(phase, progress):
            _Executor(
                pipeline=phase.steps,
                tasks=phase.num_tasks,
                workers=min(workers, phase.num_tasks),
                logging_dir=str(work.folder / "logs" / phase.name),
                # Whether a task is done, its result tells: marks of tasks would outlive a change
                # of the list.
                skip_completed=False,
            ).run()
    progress("join", 0, 1)
    summary = join(work)
    progress("join", 1, 1)
    return summary


def join(work: Work) -> Summary:
    """Write shards and manifest out of the finished packs.

    Raises:
        ManifestError: if a package is not what the manifest says.
    """
    plan = work.plan
    heads = {name: read_head(work.parts, name) for name in plan.names}
    found = {name: head for name, head in heads.items() if head is not None}
    check_pins(work.pins, (head.release for head in found.values()))
    verdicts = read_verdicts(work.verdicts)
    kept = {name: verdict for name, verdict in verdicts.items() if verdict.kept and name in found}
    entries = [
        Entry(**_release_facts(found[name]), num_files=len(v.kept), num_bytes=v.num_bytes)
        for name, v in kept.items()
    ]
    layouts: Counter[str] = Counter()

    def packs() -> Iterator[Pack]:
        for name, verdict in kept.items():
            pack, counts = read_pack(pack_path(work.packs, name, verdict))
            layouts.update(counts)
            yield pack

    facts: dict[str, Any] = {
        "tokenizer": work.fingerprint,
        "seed": plan.seed,
        "max_tokens": plan.max_tokens,
        "stages_version": STAGES_VERSION,
        "num_packages": len(entries),
        "num_source_bytes": sum(entry.num_bytes for entry in entries),
        "manifest_sha256": manifest_sha256(entries),
        "decontaminated_against": work.index_sha256,
        "layouts": layouts,
    }
    layouts.update(dict.fromkeys(LAYOUTS, 0))
    if plan.edits:
        facts["edits"] = join_edits(work, kept)
    facts = write_shards(plan.out, packs(), facts)  # which counts the layouts on the way
    write_manifest(plan.out / "manifest.jsonl", entries)
    dropped = sum((head.dropped for head in found.values() if not head.refusal), Counter[str]())
    for verdict in verdicts.values():
        dropped.update(verdict.dropped)
    num_kept = sum(entry.num_files for entry in entries)
    return Summary(
        facts,
        num_kept + sum(dropped.values()),
        dropped,
        {name: head.refusal for name, head in found.items() if head.refusal},
        sum((head.replaced for head in found.values()), Counter[str]()),
    )


class _Executor(LocalPipelineExecutor):  # type: ignore[misc]
    """Says nothing: the terminal is for the progress bar, and mistakes are raised anyway.

    With one worker it needs no other process: datatrove's would outlive this one if it is killed.
    """

    def run(self) -> PipelineStats:
        logger.disable("datatrove")
        if self.workers > 1:
            return super().run()
        stats = PipelineStats()
        for rank in range(self.tasks):
            task = copy(self)
            task.pipeline = deepcopy(self.pipeline)  # which keeps the statistics of one task
            stats += task._run_for_rank(rank)
        return stats

    def _run_for_rank(self, *args: Any, **kwargs: Any) -> PipelineStats:
        logger.disable("datatrove")  # a worker is another process, with a logger of its own
        return super()._run_for_rank(*args, **kwargs)


@contextmanager
def _watched(phase: Phase, progress: Progress) -> Iterator[None]:
    """Report how far a phase is by looking at its results, whichever processes leave them."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            progress(phase.name, min(phase.is_done(), phase.num_tasks), phase.num_tasks)

    progress(phase.name, 0, phase.num_tasks)
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    progress(phase.name, phase.num_tasks, phase.num_tasks)


def _release_facts(head: PartHead) -> dict[str, str]:
    release = head.release
    return {
        "name": release.name,
        "version": release.version,
        "sha256": release.sha256,
        "licence": release.licence,
    }
