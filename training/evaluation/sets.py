"""The benchmarks: their files, read as published, and what each makes of a line.

None of them ships with the project; a user names the folder where they are. Knows no engine.
"""

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.evaluation.tasks import Task, TaskSet

_LONG = 512
"""Tokens of an answer that is a whole function."""


class SetError(ValueError):
    """A set that cannot be read; one sentence for a person."""


class SetAbsentError(SetError):
    """A set whose file is not there."""


@dataclass(frozen=True)
class Benchmark:
    """How a set is found and read."""

    title: str
    pattern: str
    """File name below the data folder, plain or gzipped; the first in order of names is read."""
    task: Callable[[Mapping[str, Any]], Task]


def load_set(name: str, data: Path) -> TaskSet:
    """All tasks of a set, in the order of its file.

    Args:
        name: one of `SETS`.
        data: folder in which, or below which, the file is.

    Raises:
        SetAbsentError: if it is not there.
        SetError: for an unknown name or a broken line.
    """
    if name not in SETS:
        raise SetError(f"Unknown set {name!r}; known are {', '.join(SETS)}, holes:FOLDER.")
    benchmark = SETS[name]
    path = min(data.rglob(benchmark.pattern), default=None)
    if path is None:
        raise SetAbsentError(
            f"{name}: there is no {benchmark.pattern} in {data} or below; name its folder with "
            "--data."
        )
    content = path.read_bytes()
    try:
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    except (OSError, EOFError) as error:
        raise SetError(f"{path} is damaged: {error}.") from error
    tasks = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            tasks.append(benchmark.task(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SetError(f"{path}, line {number}, is no task of {name}: {error!r}.") from error
    return TaskSet(name, tuple(tasks), str(path), hashlib.sha256(content).hexdigest())


def sample(tasks: Sequence[Task], limit: int | None, seed: int) -> tuple[Task, ...]:
    """The tasks in an order shuffled with `seed`, at most `limit` of them.

    A smaller limit gives the head of a larger one, so that a short run can be compared with a long
    one. `random.Random.shuffle` of a seeded generator is the same in all Python versions.
    """
    shuffled = list(tasks)
    random.Random(seed).shuffle(shuffled)
    return tuple(shuffled[:limit])


def _lines_task(record: Mapping[str, Any], max_lines: int) -> Task:
    """Whole lines were taken out; in an editor the cursor stands on the empty line in between."""
    prefix, suffix = record["prompt"], f"\n{record['suffix']}"
    return Task(
        task_id=record["task_id"],
        prefix=prefix,
        suffix=suffix,
        max_lines=max_lines,
        reference=record["canonical_solution"].removesuffix("\n"),
        program=(prefix, suffix + _checked(record)),
    )


def _single_line(record: Mapping[str, Any]) -> Task:
    return _lines_task(record, max_lines=1)


def _multi_line(record: Mapping[str, Any]) -> Task:
    return _lines_task(record, max_lines=64)


def _random_span(record: Mapping[str, Any]) -> Task:
    prefix, suffix = record["prompt"], record["suffix"]
    return Task(
        task_id=record["task_id"],
        prefix=prefix,
        suffix=suffix,
        reference=record["canonical_solution"],
        program=(prefix, suffix + _checked(record)),
    )


def _humaneval(record: Mapping[str, Any]) -> Task:
    # No reference: a body may be right in many ways.
    return Task(
        task_id=record["task_id"],
        prefix=record["prompt"],
        max_new_tokens=_LONG,
        program=(record["prompt"], _checked(record)),
    )


def _mbpp(record: Mapping[str, Any]) -> Task:
    tests = "\n".join(record["test_list"])
    return Task(
        task_id=f"mbpp/{record['task_id']}",
        kind="answer",
        prefix=f"{record['text'].strip()} Your code should pass these tests:\n\n{tests}",
        max_new_tokens=_LONG,
        program=(_plain(record["test_setup_code"]) + "\n", f"\n\n{_plain(tests)}\n"),
    )


def _humanevalfix(record: Mapping[str, Any]) -> Task:
    """HumanEvalFix, tests instead of docstrings (OctoPack, 2308.07124)."""
    declaration, name = record["declaration"], record["entry_point"]
    imports = declaration[: declaration.rfind(f"def {name}(")]
    buggy = declaration + record["buggy_solution"].rstrip()
    test = record["test"].strip()
    return Task(
        task_id=record["task_id"],
        kind="answer",
        prefix=f"{buggy}\n\n{test}\n\nFix bugs in {name}.",
        max_new_tokens=_LONG,
        # `test` ends with the call of its check.
        program=(imports, f"\n\n{test}\n"),
    )


def _editeval(record: Mapping[str, Any]) -> Task:
    context, code = _plain(record.get("context", "")).strip(), _plain(record["input"]).strip("\n")
    given = f"{context}\n\n{code}" if context else code
    return Task(
        task_id=record["task_id"],
        kind="answer",
        prefix=f"{record['instruction'].strip()}\n\n```python\n{given}\n```",
        max_new_tokens=_LONG,
        program=(f"{context}\n\n", f"\n\n{_plain(record['test'])}\n\ncheck()\n"),
    )


def _checked(record: Mapping[str, Any]) -> str:
    return f"\n{record['test']}\ncheck({record['entry_point']})\n"


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


SETS: Mapping[str, Benchmark] = {
    "single-line": Benchmark(
        "HumanEval-Infilling, single-line", "HumanEval-SingleLineInfilling*.jsonl*", _single_line
    ),
    "multi-line": Benchmark(
        "HumanEval-Infilling, multi-line", "HumanEval-MultiLineInfilling*.jsonl*", _multi_line
    ),
    "random-span": Benchmark(
        "HumanEval-Infilling, random spans", "HumanEval-RandomSpanInfilling*.jsonl*", _random_span
    ),
    "humaneval": Benchmark("HumanEval", "HumanEval.jsonl*", _humaneval),
    "mbpp": Benchmark("MBPP", "mbpp*.jsonl*", _mbpp),
    "humanevalfix": Benchmark("HumanEvalFix, Python", "python*.jsonl*", _humanevalfix),
    "editeval": Benchmark("EditEval", "edit_eval*.jsonl*", _editeval),
}
"""By the name that the command takes, in the order of reports."""
