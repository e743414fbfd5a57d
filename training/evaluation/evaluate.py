"""One run: every contender completes every task, then what they wrote is judged.

Completions are measured first and alone, the contenders in turn at each task, in an order that
rotates; only then are the test programs run, on all cores. Both parts are stored line by line and
go on where they were. Knows neither how sets are read nor how engines work inside.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from model.format.plan import HolePlan
from model.format.prompt import FENCE
from model.format.syntax import parses, plan_hole
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from sampler.messages import Complete, Mode
from training.evaluation.engines import EngineError, EngineSpec
from training.evaluation.machine import commit, describe_machine, file_sha256
from training.evaluation.old_code import kept_tokens
from training.evaluation.records import (
    Contender,
    Header,
    Lines,
    Run,
    RunError,
    Sample,
    Score,
    read_run,
    write_header,
)
from training.evaluation.sandbox import run_programs
from training.evaluation.scores import edit_similarity, is_exact_match
from training.evaluation.tasks import Task, TaskSet
from training.evaluation.worker import Worker

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
_ANSWER_LINES = 400
_WARM_UP = Complete(
    "warm-up", "warm-up", "def f(x):\n    ", "", HolePlan("", "line", 1, "", "", "", "")
)


@dataclass(frozen=True)
class Entry:
    """An engine in one mode, as the user asked for it."""

    spec: EngineSpec
    mode: Mode
    layout: str

    @property
    def name(self) -> str:
        """E.g. `ours/exact`; another layout than the usual is named, too."""
        layout = "" if self.layout == "spm" else f"/{self.layout}"
        return f"{self.spec.engine}/{self.mode}{layout}"


def run_folder(out: Path, task_set: TaskSet, entries: Sequence[Entry], seed: int) -> Path:
    """Where this run is stored: the same question leads to the same folder."""
    question = {
        "set": task_set.name,
        "data": task_set.sha256,
        "tasks": [task.task_id for task in task_set.tasks],
        "seed": seed,
        "entries": [
            {
                **asdict(entry.spec),
                "model": file_sha256(entry.spec.model),
                "adapter": entry.spec.adapter and file_sha256(entry.spec.adapter),
                "mode": entry.mode,
                "layout": entry.layout,
            }
            for entry in entries
        ],
    }
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    return out / f"{task_set.name.split(':')[0]}-{digest[:10]}"


def evaluate(
    task_set: TaskSet,
    entries: Sequence[Entry],
    folder: Path,
    *,
    seed: int,
    limit: int | None,
    workers: int | None,
    progress: Progress,
) -> Run:
    """Measure and judge what is still missing in `folder`; returns the whole run.

    Args:
        task_set: the tasks in the order of measurement.
        entries: contenders; names must differ.
        folder: where the run is stored.
        seed: that the tasks were drawn with; for the record.
        limit: number of tasks that was asked for; for the record.
        workers: test programs side by side; None for the number of cores.
        progress: told after each task and each score.

    Raises:
        EngineError: if an engine cannot be opened.
        RunError: if another process is at work in the folder, or what it holds is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            header = _open_header(folder, task_set, entries, seed, limit)
            _measure(task_set, entries, folder, header, progress)
            _judge(task_set, entries, folder, workers, progress)
            return read_run(folder)
    except Timeout as error:
        raise RunError(f"Another process is at work in {folder}.") from error


def request_for(task: Task, mode: Mode, layout: str) -> Complete:
    """What an editor would ask at this hole, or the question in words."""
    if task.kind == "answer":
        layout = "chat"
        plan = HolePlan(task.language, "answer", _ANSWER_LINES, "", "", "", FENCE)
    else:
        plan = plan_hole(task.language, task.prefix, task.suffix, max_lines=task.max_lines)
    return Complete(
        request_id=task.task_id,
        document=task.task_id,
        prefix=task.prefix,
        suffix=task.suffix,
        plan=plan,
        mode=mode,
        layout=layout,
        max_new_tokens=task.max_new_tokens,
        old_code=task.old_code,
    )


def _open_header(
    folder: Path, task_set: TaskSet, entries: Sequence[Entry], seed: int, limit: int | None
) -> Header:
    now = commit()
    if (folder / "run.json").exists():
        header = read_run(folder).header
        if now not in header.commits:
            header = replace(header, commits=(*header.commits, now))
    else:
        header = Header(
            set=task_set.name,
            source=task_set.source,
            data_sha256=task_set.sha256,
            seed=seed,
            limit=limit,
            task_ids=tuple(task.task_id for task in task_set.tasks),
            contenders=tuple(_contender(entry) for entry in entries),
            machine=describe_machine(),
            commits=(now,),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        )
    write_header(folder, header)
    return header


def _contender(entry: Entry) -> Contender:
    spec = entry.spec
    return Contender(
        name=entry.name,
        engine=spec.engine,
        mode=entry.mode,
        model=spec.model.name,
        model_sha256=file_sha256(spec.model),
        adapter_sha256=file_sha256(spec.adapter) if spec.adapter else None,
        layout=entry.layout,
    )


def _measure(
    task_set: TaskSet,
    entries: Sequence[Entry],
    folder: Path,
    header: Header,
    progress: Progress,
) -> None:
    lines = Lines(folder / "samples.jsonl")
    done = set(read_run(folder).samples)
    missing = {
        task.task_id: [entry for entry in entries if (task.task_id, entry.name) not in done]
        for task in task_set.tasks
    }
    if not any(missing.values()):
        return
    with ExitStack() as stack:
        workers = _open_workers(entries, stack, progress)
        settings = {entry.name: workers[entry.spec][1] for entry in entries}
        contenders = [
            replace(contender, settings=settings[contender.name]) for contender in header.contenders
        ]
        write_header(folder, replace(header, contenders=tuple(contenders)))
        for index, task in enumerate(task_set.tasks):
            for entry in _rotated(missing[task.task_id], index):
                lines.append(_sample(task, entry, workers[entry.spec][0]))
            progress("completing", index + 1, len(task_set.tasks))


def _open_workers(
    entries: Sequence[Entry], stack: ExitStack, progress: Progress
) -> Mapping[EngineSpec, tuple[Worker, Mapping[str, object]]]:
    """One process for each engine, with what it says of its settings; the first forward is done."""
    specs = list(dict.fromkeys(entry.spec for entry in entries))
    workers = {}
    for index, spec in enumerate(specs):
        progress(f"loading {spec.engine}", index, len(specs))
        worker = Worker(spec)
        stack.callback(worker.close)
        workers[spec] = (worker, worker.open())
        worker.complete(_WARM_UP)
    return workers


def _rotated(entries: Sequence[Entry], by: int) -> Iterator[Entry]:
    """Nobody always comes first: whoever does may find the caches and the clock otherwise."""
    for index in range(len(entries)):
        yield entries[(index + by) % len(entries)]


def _sample(task: Task, entry: Entry, worker: Worker) -> Sample:
    request = request_for(task, entry.mode, entry.layout)
    try:
        finished, memory_mib = worker.complete(request)
    except EngineError as error:
        failed = Sample(task.task_id, entry.name, "", f"error: {error}", 0, 0, (), 0, 0, 0, None, 0)
        if worker.is_alive:
            return failed
        raise
    stats = finished.stats
    return Sample(
        task_id=task.task_id,
        contender=entry.name,
        completion=finished.text,
        stop=finished.stop,
        tokens=stats.tokens,
        forwards=stats.forwards,
        accepted=stats.accepted,
        prefill_tokens=stats.prefill_tokens,
        prefill_ms=round(stats.prefill_ms, 3),
        total_ms=round(stats.total_ms, 3),
        first_text_ms=stats.first_block_ms and round(stats.first_block_ms, 3),
        memory_mib=round(memory_mib, 1),
    )


def _judge(
    task_set: TaskSet,
    entries: Sequence[Entry],
    folder: Path,
    workers: int | None,
    progress: Progress,
) -> None:
    lines = Lines(folder / "scores.jsonl")
    run = read_run(folder)
    tasks = {task.task_id: task for task in task_set.tasks}
    missing = [sample for key, sample in run.samples.items() if key not in run.scores]
    num_done = len(run.scores)
    has_edits = any(tasks[sample.task_id].old_code for sample in missing)
    tokenizer = Tokenizer(read_vocabulary(entries[0].spec.model)) if has_edits else None

    def tell(sample: Sample, outcome: str | None) -> None:
        nonlocal num_done
        lines.append(_score(tasks[sample.task_id], sample, outcome, tokenizer))
        num_done += 1
        progress("judging", num_done, len(run.samples))

    # Contenders often write the same: one program, run once.
    authors: dict[str, list[Sample]] = {}
    for sample in missing:
        program = tasks[sample.task_id].program
        if program is None:
            tell(sample, None)
        elif sample.stop.startswith("error"):
            tell(sample, "error")
        else:
            authors.setdefault(sample.completion.join(program), []).append(sample)
    sources = list(authors)
    for index, outcome in run_programs(sources, workers=workers):
        for sample in authors[sources[index]]:
            tell(sample, outcome)


def _score(task: Task, sample: Sample, outcome: str | None, tokenizer: Tokenizer | None) -> Score:
    reference, text = task.reference, sample.completion
    kept = kept_tokens(tokenizer, task.old_code, text) if tokenizer and task.old_code else None
    return Score(
        task_id=task.task_id,
        contender=sample.contender,
        passed=None if outcome is None else outcome == "passed",
        outcome=outcome or "unchecked",
        exact=None if reference is None else is_exact_match(text, reference),
        similarity=None if reference is None else edit_similarity(text, reference),
        parses=parses(task.language, task.prefix + text + task.suffix)
        if task.is_parse_checked
        else None,
        kept=None if kept is None else kept.num_kept,
        unforeseen=None if kept is None else kept.num_unforeseen,
    )
