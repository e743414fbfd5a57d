"""The benchmarks: their files, read as published, and the task that each line makes.

None of them ships with the project; a user names the folder where they are. Knows no engine and
runs nothing.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from training.evaluation.tasks import Task, TaskSet

_LONG = 512
"""Tokens of an answer that is a whole function."""
_PLACEHOLDER = "{{Code}}"
"""Where EditEval's surroundings take the edited code."""


class SetError(ValueError):
    """A set that cannot be read; one sentence for a person."""


class SetAbsentError(SetError):
    """A set whose file or folder is not there."""


@dataclass(frozen=True)
class Benchmark:
    """How a set is found and read."""

    title: str
    pattern: str
    """Of the file's name, without the `.gz` that it may end in."""
    task: Callable[[Mapping[str, Any]], Task]
    """Makes a task of a line; raises ValueError with what is wrong with it."""


def load_set(name: str, data: Path) -> TaskSet:
    """All tasks of a set, in the order of its file.

    Args:
        name: one of `SETS`.
        data: folder in which, or anywhere below which, the file is; of several files the one that
            lies least deep.

    Raises:
        SetAbsentError: if it is not there.
        SetError: for an unknown name or a broken file; names file and line.
    """
    if name not in SETS:
        raise SetError(f"Unknown set {name!r}; known are {', '.join(SETS)}, holes:FOLDER.")
    benchmark = SETS[name]
    paths = _find(benchmark.pattern, data)
    path = min(paths, key=lambda path: (len(path.parts), path), default=None)
    if path is None:
        raise SetAbsentError(
            f"{name}: there is no {benchmark.pattern} or {benchmark.pattern}.gz in {data} or below."
        )
    content, tasks = path.read_bytes(), []
    for number, line in enumerate(_lines(path, content), start=1):
        if line.strip():
            try:
                tasks.append(benchmark.task(_record(line)))
            except ValueError as error:  # among them json's and that of bytes that are no UTF-8
                raise SetError(f"{path}, line {number}, is no task of {name}: {error}.") from error
    if len({task.task_id for task in tasks}) < max(len(tasks), 1):
        raise SetError(f"{path} holds {'two tasks of the same name' if tasks else 'no tasks'}.")
    return TaskSet(name, tuple(tasks), str(path), hashlib.sha256(content).hexdigest())


def sample(tasks: Sequence[Task], limit: int | None, seed: int) -> tuple[Task, ...]:
    """Tasks drawn without replacement, in the order in which they are to be measured.

    A smaller limit draws the head of what a larger one draws, so that a short run can be compared
    with a long one; None draws all.
    """
    return tuple(sorted(tasks, key=lambda task: draw_key(seed, task.task_id))[:limit])


def draw_key(seed: int, *names: object) -> bytes:
    """A sort key that puts named things into an order drawn with `seed`.

    A hash, not a generator: the order of two names depends neither on the Python version nor on
    what else is drawn.
    """
    return hashlib.sha256(repr((seed, *names)).encode("utf-8", "surrogatepass")).digest()


def _find(pattern: str, data: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(data):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (
            Path(folder, name) for name in names if fnmatchcase(name.removesuffix(".gz"), pattern)
        )


def _lines(path: Path, content: bytes) -> list[bytes]:
    if path.suffix != ".gz":
        return content.splitlines()
    try:
        return gzip.decompress(content).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise SetError(f"{path} is damaged: {error}.") from error


def _record(line: bytes) -> Mapping[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise SetError("it is no JSON object")
    return record


def _line_task(record: Mapping[str, Any], max_lines: int) -> Task:
    """Whole lines were taken out; in an editor the cursor stands on the empty line in between."""
    prefix, suffix = _text(record, "prompt"), f"\n{_text(record, 'suffix')}"
    return Task(
        task_id=_text(record, "task_id"),
        prefix=prefix,
        suffix=suffix,
        max_lines=max_lines,
        reference=_text(record, "canonical_solution").removesuffix("\n"),
        program=(prefix, suffix + _checked(record)),
    )


def _single_line(record: Mapping[str, Any]) -> Task:
    return _line_task(record, max_lines=1)


def _multi_line(record: Mapping[str, Any]) -> Task:
    return _line_task(record, max_lines=64)


def _random_span(record: Mapping[str, Any]) -> Task:
    prefix, suffix = _text(record, "prompt"), _text(record, "suffix")
    return Task(
        task_id=_text(record, "task_id"),
        prefix=prefix,
        suffix=suffix,
        reference=_text(record, "canonical_solution"),
        program=(prefix, suffix + _checked(record)),
    )


def _humaneval(record: Mapping[str, Any]) -> Task:
    # No reference: a body may be right in many ways.
    prompt = _text(record, "prompt")
    return Task(
        task_id=_text(record, "task_id"),
        prefix=prompt,
        max_new_tokens=_LONG,
        program=(prompt, _checked(record)),
    )


def _mbpp(record: Mapping[str, Any]) -> Task:
    """The question of Austin et al. 2021 (2108.07732), whose form most papers kept."""
    number, tests = record.get("task_id"), record.get("test_list")
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise SetError("its test_list is no list of texts")
    setup = _text(record, "test_setup_code")
    # Behind the completion: the only thing set up anywhere are objects of a class that it defines.
    test = "\n".join([setup, *tests] if setup else tests).replace("\r\n", "\n")
    return Task(
        task_id=f"MBPP/{number}",
        kind="answer",
        prefix="You are an expert Python programmer, and here is your task: "
        f"{_text(record, 'text').strip()} Your code should pass these tests:\n\n{test}\n",
        max_new_tokens=_LONG,
        program=("", f"\n\n{test}\n"),
    )


def _humanevalfix(record: Mapping[str, Any]) -> Task:
    """HumanEvalFix with tests instead of docstrings: OctoPack, 2308.07124.

    Not in its words: behind bare code and tests a small model writes the tests again, and stops at
    the limit.
    """
    declaration, name = _text(record, "declaration"), _text(record, "entry_point")
    buggy, test = declaration + _text(record, "buggy_solution"), _text(record, "test").strip("\n")
    code = buggy.rstrip("\n")
    # Imports and helpers, which an answer that is the function alone goes without.
    head, _, _ = declaration.rpartition(f"def {name}(")
    return Task(
        task_id=_text(record, "task_id"),
        kind="answer",
        prefix=f"```python\n{code}\n```\n\nIt fails these tests:\n\n"
        f"```python\n{test}\n```\n\nFix the bug in {name}. Give back the whole function.",
        old_code=buggy,
        max_new_tokens=_LONG,
        program=(head, f"\n\n{test}\n"),  # which itself calls `check`
    )


def _editeval(record: Mapping[str, Any]) -> Task:
    """EditEval: InstructCoder, 2310.20329. What surrounds the code is for the tests only."""
    head, tail = _surroundings(_text(record, "context") if "context" in record else "")
    code = _text(record, "input").strip("\n")
    return Task(
        task_id=_text(record, "task_id"),
        kind="answer",
        # The wish comes last, as in `rewriting.edit_question`.
        prefix=f"```python\n{code}\n```\n\n{_text(record, 'instruction').strip()}",
        old_code=f"{code}\n",
        max_new_tokens=_LONG,
        program=(head, f"{tail}\n\n{_text(record, 'test')}\n\ncheck()\n"),
    )


def _surroundings(context: str) -> tuple[str, str]:
    """What stands before and behind the code when a program is made of it."""
    head, *tails = (context or _PLACEHOLDER).split(_PLACEHOLDER)
    if not tails:
        raise SetError(f"its context has no {_PLACEHOLDER}")
    if len(tails) == 1:
        return head, tails[0]
    # A program takes the completion once only, so the program itself copies it.
    return 'code = r"""', f'"""\nexec({context!r}.replace({_PLACEHOLDER!r}, code))\n'


def _checked(record: Mapping[str, Any]) -> str:
    return f"\n{_text(record, 'test')}\ncheck({_text(record, 'entry_point')})\n"


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise SetError(f"it has no text named {key!r}")
    return value.replace("\r\n", "\n")


SETS: Mapping[str, Benchmark] = {
    "single-line": Benchmark(
        "HumanEval-Infilling, single-line", "HumanEval-SingleLineInfilling*.jsonl", _single_line
    ),
    "open-line": Benchmark(
        "HumanEval-Infilling, single-line, as a block",
        "HumanEval-SingleLineInfilling*.jsonl",
        _multi_line,
    ),
    "multi-line": Benchmark(
        "HumanEval-Infilling, multi-line", "HumanEval-MultiLineInfilling*.jsonl", _multi_line
    ),
    "random-span": Benchmark(
        "HumanEval-Infilling, random span", "HumanEval-RandomSpanInfilling*.jsonl", _random_span
    ),
    "humaneval": Benchmark("HumanEval", "HumanEval.jsonl", _humaneval),
    "mbpp": Benchmark("MBPP", "mbpp*.jsonl", _mbpp),
    "humanevalfix": Benchmark("HumanEvalFix, Python", "python*.jsonl", _humanevalfix),
    "editeval": Benchmark("EditEval", "edit_eval*.jsonl", _editeval),
}
"""By the name that the command takes, in the order in which they are shown."""
