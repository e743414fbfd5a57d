"""Holes punched into real files and into made ones."""

import json.decoder
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from training.evaluation.holes import KINDS, MAX_PER_FILE, holes_in, punch_holes
from training.evaluation.sets import SetError

REAL_FILES = [Path(module.__file__) for module in (json.decoder, json, textwrap)]
GO = """package main

func add(a int, b int) int {
\tsum := a + b
\tprintln(sum, a)
\treturn sum
}
"""


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.parent.name + path.stem)
def test_what_was_taken_out_fits_in_again(path):
    text = path.read_text()
    holes = holes_in(text, "python", path.name)
    for kind in KINDS:
        for task in holes[kind]:
            assert task.prefix + task.reference + task.suffix == text
            assert task.reference.strip(), "nothing was taken out"
            is_line = kind in ("line", "rest")
            assert not is_line or ("\n" not in task.reference and task.max_lines == 1)
            if kind in ("line", "block"):
                assert task.prefix.endswith("\n") or not task.prefix
            if kind != "argument":
                assert task.suffix.startswith("\n"), "an editor's cursor stands on a line"
            if kind == "block":
                assert 2 <= task.reference.count("\n") + 1 <= 12
            if kind == "argument":
                assert task.prefix[-1] in "([{"
                assert task.suffix[0] in ")]}"


def test_other_languages():
    holes = holes_in(GO, "go", "add.go")
    assert [task.reference for task in holes["argument"]] == ["sum, a"]
    assert "\tsum := a + b" in [task.reference for task in holes["line"]]


def write_package(folder, num_files=6):
    for index in range(num_files):
        (folder / f"module_{index}.py").write_text(REAL_FILES[0].read_text() + f"# {index}\n")


def test_the_seed_decides(tmp_path):
    write_package(tmp_path)
    first, again = (punch_holes(tmp_path, seed=1, limit=None) for _ in range(2))
    other = punch_holes(tmp_path, seed=2, limit=None)
    assert first == again
    assert {task.task_id for task in first.tasks} != {task.task_id for task in other.tasks}
    assert punch_holes(tmp_path, seed=1, limit=5).tasks == first.tasks[:5]
    (tmp_path / "module_0.py").write_text("x = 1\n")
    assert punch_holes(tmp_path, seed=1, limit=None).sha256 != first.sha256


def test_kinds_and_files_are_mixed(tmp_path):
    write_package(tmp_path)
    tasks = punch_holes(tmp_path, seed=0, limit=16).tasks
    kinds = Counter(task.task_id.rsplit(":", 1)[1] for task in tasks)
    assert set(kinds.values()) == {4}
    every = punch_holes(tmp_path, seed=0, limit=None).tasks
    files = Counter(task.task_id.split(":")[0] for task in every)
    assert len({task.task_id for task in every}) == len(every)
    assert max(files.values()) <= MAX_PER_FILE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.py", "def f(:\n    a = b\n    c = d(e)\n"),
        (".hidden/a.py", GO),
        ("node_modules/a.js", "function f(a) {\n  g(a, b);\n  h(a);\n}\n"),
        ("minified.js", "function f(a) {\n" + "  g(a, b);" * 100 + "\n}\n"),
        ("latin.py", "def f(a):\n    b = 'é'\n    return g(a, b)\n".encode("latin-1")),
        ("notes.txt", "def f(a):\n    return g(a, b)\n"),
        ("dos.py", "def f(a):\r\n    return g(a, b)\r\n"),
        ("empty.py", ""),
    ],
)
def test_left_out(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SetError, match="no source file"):
        punch_holes(tmp_path, seed=0, limit=None)
