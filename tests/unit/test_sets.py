"""Each format of the benchmarks, with made tasks in it."""

import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from training.evaluation.evaluate import request_for
from training.evaluation.sets import SETS, SetAbsentError, SetError, load_set, sample
from training.evaluation.tasks import Task

Record = Mapping[str, Any]

CHECK = "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 5\n"
INFILLING = {
    "task_id": "SingleLineInfilling/Made/0/L1",
    "entry_point": "increase",
    "prompt": "def increase(x):\n    x = x * 2\n",
    "canonical_solution": "    x = x + 1\n",
    "suffix": "    return x\n",
    "test": CHECK,
}
RANDOM_SPAN = {
    **INFILLING,
    "prompt": "def increase(x):\n    x = x *",
    "canonical_solution": " 2\n    x = x",
    "suffix": " + 1\n    return x\n",
}
HUMANEVAL = {
    **INFILLING,
    "task_id": "Made/0",
    "prompt": 'def increase(x):\n    """Twice x and one."""\n',
    "canonical_solution": "    return 2 * x + 1\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function to add.\r\n",
    "code": "def add(one, other):\r\n  return one + other",
    "test_setup_code": "",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0\r\n"],
    "challenge_test_list": [],
}
FIX = {
    "task_id": "Python/0",
    "entry_point": "roots",
    "declaration": "import math\nfrom typing import List\n\n\ndef half(x):\n    return x / 2\n\n\n"
    "def roots(xs: List[float]) -> List[float]:\n",
    "buggy_solution": "    return [math.sqrt(x) for x in xs]\n",
    "canonical_solution": "    return [math.sqrt(half(x)) for x in xs]\n",
    "test": "\n\n\ndef check(roots):\n    assert roots([2.0, 8.0]) == [1.0, 2.0]\n\ncheck(roots)",
}
EDIT = {
    "task_id": "EditEval/0",
    "instruction": "Let it return two.\n",
    "context": "",
    "input": "\ndef number():\r\n    return 1",
    "output": "def number():\r\n    return 2",
    "test": "def check():\n    assert number() == 2",
}
IN_CLASS = {
    **EDIT,
    "context": "class Made:\n{{Code}}\n\nnumber = Made().number",
    "input": "    def number(self):\n        return 1",
    "output": "    def number(self):\n        return 2",
}
TWICE = {
    **EDIT,
    "context": '{{Code}}\nedited = r"""{{Code}}"""\n',
    "output": "def number():\n    return ord('\\x02')",
    "test": "def check():\n    assert number() == 2\n    assert edited.endswith(r\"ord('\\x02')\")",
}
NO_CONTEXT = {key: value for key, value in EDIT.items() if key != "context"}

FILES = {
    "single-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "open-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "multi-line": "HumanEval-MultiLineInfilling-part.jsonl.gz",
    "random-span": "HumanEval-RandomSpanInfillingLight.jsonl.gz",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp_511-974.jsonl",
    "humanevalfix": "python_even.jsonl",
    "editeval": "edit_eval_000-099.jsonl",
}


def write(path: Path, records: Sequence[Record]) -> bytes:
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path.read_bytes()


def load(name: str, record: Record, folder: Path) -> Task:
    write(folder / FILES[name], [record])
    [task] = load_set(name, folder).tasks
    return task


def passes(task: Task, completion: str) -> bool:
    assert task.program is not None
    head, tail = task.program
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"{head}{completion}{tail}"], capture_output=True, timeout=60
    )
    return result.returncode == 0


ROOTS = "def roots(xs: List[float]) -> List[float]:\n"


@pytest.mark.parametrize(
    ("name", "record", "gold", "wrong"),
    [
        ("single-line", INFILLING, "    x = x + 1", "    x = x + 2"),
        ("open-line", INFILLING, "    x = x + 1", "    x = x + 2"),
        ("multi-line", INFILLING, "    x = x + 1", "    x = x + 2"),
        ("random-span", RANDOM_SPAN, " 2\n    x = x", " 3\n    x = x"),
        ("humaneval", HUMANEVAL, "    return 2 * x + 1\n", "    return 2 * x\n"),
        ("mbpp", MBPP, MBPP["code"], "def add(one, other):\n    return 3"),
        # Without and with what stands above the function.
        ("humanevalfix", FIX, ROOTS + FIX["canonical_solution"], ROOTS + FIX["buggy_solution"]),
        ("humanevalfix", FIX, FIX["declaration"] + FIX["canonical_solution"], ""),
        *(
            ("editeval", record, record["output"], record["input"])
            for record in (EDIT, IN_CLASS, TWICE, NO_CONTEXT)
        ),
    ],
)
def test_only_the_right_completion_passes(
    name: str, record: Record, gold: str, wrong: str, tmp_path: Path
) -> None:
    task = load(name, record, tmp_path)
    assert passes(task, gold)
    assert not passes(task, wrong)
    assert not passes(task, "")


@pytest.mark.parametrize(
    ("name", "max_lines"), [("single-line", 1), ("open-line", 64), ("multi-line", 64)]
)
def test_lines_are_taken_out_as_an_editor_sees_it(
    name: str, max_lines: int, tmp_path: Path
) -> None:
    task = load(name, INFILLING, tmp_path)
    assert (task.kind, task.max_lines) == ("hole", max_lines)
    assert task.prefix == INFILLING["prompt"]
    assert task.suffix == "\n    return x\n"
    assert task.reference == "    x = x + 1"
    assert task.prefix + task.reference + task.suffix == "".join(
        INFILLING[key] for key in ("prompt", "canonical_solution", "suffix")
    )
    assert task.program is not None
    # As the benchmark's own harness puts them together.
    assert task.program[0] + task.reference + task.program[1] == (
        f"{INFILLING['prompt']}{INFILLING['canonical_solution']}{INFILLING['suffix']}\n"
        f"{CHECK}\ncheck(increase)\n"
    )


def test_spans_are_verbatim(tmp_path: Path) -> None:
    task = load("random-span", RANDOM_SPAN, tmp_path)
    assert (task.prefix, task.suffix) == (RANDOM_SPAN["prompt"], RANDOM_SPAN["suffix"])
    assert (task.reference, task.max_lines) == (" 2\n    x = x", 64)


def test_humaneval_is_the_end_of_a_file(tmp_path: Path) -> None:
    task = load("humaneval", HUMANEVAL, tmp_path)
    assert (task.kind, task.prefix, task.suffix) == ("hole", HUMANEVAL["prompt"], "")
    assert task.reference is None


def test_questions_tell_what_is_asked_but_no_answer(tmp_path: Path) -> None:
    tasks = {
        name: load(name, record, tmp_path)
        for name, record in (("mbpp", MBPP), ("humanevalfix", FIX), ("editeval", IN_CLASS))
    }
    for task in tasks.values():
        assert (task.kind, task.suffix, task.reference) == ("answer", "", None)
        assert task.max_new_tokens == 512
    assert tasks["mbpp"].task_id == "MBPP/7"
    assert tasks["mbpp"].prefix == (
        "You are an expert Python programmer, and here is your task: Write a function to add. "
        "Your code should pass these tests:\n\n"
        "assert add(1, 2) == 3\nassert add(0, 0) == 0\n\n"
    )
    buggy = f"{FIX['declaration']}{FIX['buggy_solution']}".rstrip("\n")
    assert tasks["humanevalfix"].prefix == (
        f"```python\n{buggy}\n```\n\nIt fails these tests:\n\n```python\n"
        "def check(roots):\n    assert roots([2.0, 8.0]) == [1.0, 2.0]\n\ncheck(roots)\n```\n\n"
        "Fix the bug in roots. Give back the whole function."
    )
    assert tasks["editeval"].prefix == (
        "```python\n    def number(self):\n        return 1\n```\n\nLet it return two."
    )


def test_the_code_to_change_is_known_so_that_drafts_can_be_copied_from_it(tmp_path: Path) -> None:
    fix, edit = load("humanevalfix", FIX, tmp_path), load("editeval", IN_CLASS, tmp_path)
    assert fix.old_code == FIX["declaration"] + FIX["buggy_solution"]
    assert edit.old_code == "    def number(self):\n        return 1\n"
    assert request_for(edit, "exact", "spm").old_code == edit.old_code
    assert load("mbpp", MBPP, tmp_path).old_code == ""


def test_mbpp_sets_up_what_the_answer_defines(tmp_path: Path) -> None:
    record = {
        **MBPP,
        "code": "class Node:\n    value = 1\ndef value(node):\n    return node.value",
        "test_setup_code": "node = Node()\r\nnode.value = 2",
        "test_list": ["assert value(node) == 2"],
    }
    task = load("mbpp", record, tmp_path)
    assert passes(task, record["code"])
    assert "\n\nnode = Node()\nnode.value = 2\nassert value(node) == 2\n" in task.prefix


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_found_by_the_name_of_its_file(name: str, tmp_path: Path) -> None:
    records = {"mbpp": MBPP, "humanevalfix": FIX, "editeval": EDIT}
    record = records.get(name, INFILLING)
    for other, file in FILES.items():  # none is taken for another
        write(tmp_path / other / file, [records.get(other, INFILLING)])
    plain = FILES[name].removesuffix(".gz")
    for path in (tmp_path / name / FILES[name], tmp_path / "0" / plain, tmp_path / plain):
        content = write(path, [record])
        loaded = load_set(name, path.parent)
        assert (loaded.name, loaded.source) == (name, str(path))
        assert loaded.sha256 == hashlib.sha256(content).hexdigest()
        assert len(load_set(name, tmp_path).tasks) == 1


def test_an_absent_set_is_named(tmp_path: Path) -> None:
    write(tmp_path / ".cache" / FILES["humaneval"], [HUMANEVAL])
    write(tmp_path / "HumanEval.jsonl.part", [HUMANEVAL])
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SetAbsentError) as error:
            load_set("humaneval", folder)
        assert str(error.value) == (
            f"humaneval: there is no HumanEval.jsonl or HumanEval.jsonl.gz in {folder} or below."
        )


def test_unknown_set(tmp_path: Path) -> None:
    with pytest.raises(SetError, match="Unknown set 'humanval'; known are single-line, open-line"):
        load_set("humanval", tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"task_id": "Made/1", ', "Expecting property name"),
        (b'"\xff"', "invalid start byte"),
        (b"[1, 2]", "it is no JSON object"),
        (json.dumps({**HUMANEVAL, "prompt": 3}).encode(), "it has no text named 'prompt'"),
        (json.dumps({"task_id": "Made/1"}).encode(), "it has no text named 'prompt'"),
    ],
)
def test_a_broken_line_is_named(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl"
    path.write_bytes(json.dumps(HUMANEVAL).encode() + b"\r\n\r\n" + line + b"\n")
    with pytest.raises(SetError) as error:
        load_set("humaneval", tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path}, line 3, is no task of humaneval: ")
    assert reason in message


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("mbpp", {"test_list": "assert"}, "its test_list is no list of texts"),
        ("editeval", {"context": "x = 1"}, "its context has no {{Code}}"),
    ],
)
def test_other_faults_of_a_line(name: str, change: Record, reason: str, tmp_path: Path) -> None:
    record = {"mbpp": MBPP, "editeval": EDIT}[name] | change
    with pytest.raises(SetError, match=f"line 1, is no task of {name}: {reason}."):
        load(name, record, tmp_path)


def test_faults_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl.gz"
    content = write(path, [HUMANEVAL] * 2)
    with pytest.raises(SetError, match="two tasks of the same name"):
        load_set("humaneval", tmp_path)
    path.write_bytes(gzip.compress(b"\n"))
    with pytest.raises(SetError, match="holds no tasks"):
        load_set("humaneval", tmp_path)
    damaged = bytes(byte ^ 0xFF if index > 20 else byte for index, byte in enumerate(content))
    for broken in (content[:-9], damaged, b"no gzip"):
        path.write_bytes(broken)
        with pytest.raises(SetError, match="is damaged"):
            load_set("humaneval", tmp_path)


def test_sample() -> None:
    tasks = [Task(f"Made/{index}", "") for index in range(100)]
    every = sample(tasks, None, 0)
    assert set(every) == set(tasks)
    assert sample(tasks[::-1], 10, 0) == every[:10]
    assert sample(tasks, 1000, 0) == every
    assert sample(tasks, 10, 1) != every[:10]
    # What else is in the set does not change the order of two, so that parts of it agree.
    assert sample(tasks[::5], None, 0) == tuple(task for task in every if task in tasks[::5])
    assert [task.task_id for task in every[:3]] == ["Made/46", "Made/8", "Made/37"]
