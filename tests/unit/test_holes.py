"""Holes punched into real files and into made ones."""

import json.decoder
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from model.format.syntax import parses
from training.evaluation.holes import KINDS, MAX_PER_FILE, holes_in, punch_holes, task_of
from training.evaluation.sets import SetAbsentError, SetError

REAL_FILES = [Path(module.__file__) for module in (json, json.decoder, textwrap)]
PYTHON = '''"""About add(a, b)."""

import os


@cache
def add(one, other, *, tracer=None):
    """Add one(other)."""
    # a comment, then add(one)
    if tracer is not None:
        tracer.log(f"adding {str(one)}", one)
    total = (
        one + other
    )
    return total  # why not


class Adder(Base, metaclass=Meta):
    """Adds."""
    value = 1; other = 2

    limit = 17
'''


def found(text: str, language: str) -> dict[str, list[str]]:
    """The references, by kind and in order."""
    data = text.encode()
    places = sorted(holes_in(text, language), key=lambda hole: (hole.start, hole.end))
    return {
        kind: [data[hole.start : hole.end].decode() for hole in places if hole.kind == kind]
        for kind in KINDS
    }


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_taken_out_fits_in_again(path: Path) -> None:
    text = path.read_text()
    lines = text.split("\n")
    places = holes_in(text, "python")
    assert {hole.kind for hole in places} == set(KINDS)
    for hole in places:
        task = task_of(hole, text, "python", "a.py")
        assert task.reference is not None
        assert task.prefix + task.reference + task.suffix == text
        assert task.reference.strip(), "nothing was taken out"
        name, line, column, kind = task.task_id.split(":")
        assert (name, kind) == ("a.py", hole.kind)
        assert "\n".join(lines[int(line) - 1 :])[int(column) - 1 :].startswith(task.reference)
        if kind in ("line", "block"):
            assert task.prefix.endswith("\n"), "an editor's cursor stands on an empty line"
        if kind == "argument":
            assert task.prefix[-1] + task.suffix[0] == "()"
        else:
            assert task.suffix.startswith("\n")
        num_lines = task.reference.count("\n") + 1
        assert 2 <= num_lines <= task.max_lines == 12 if kind == "block" else num_lines == 1


def test_places_in_python() -> None:
    assert found(PYTHON, "python") == {
        "line": [
            "import os",
            "@cache",
            "def add(one, other, *, tracer=None):",
            "    if tracer is not None:",
            '        tracer.log(f"adding {str(one)}", one)',
            "class Adder(Base, metaclass=Meta):",
            "    limit = 17",
        ],
        "rest": [
            "os",
            "cache",
            "add(one, other, *, tracer=None):",
            *("(one, other, *, tracer=None):", "one, other, *, tracer=None):"),
            *(", other, *, tracer=None):", "other, *, tracer=None):", ", *, tracer=None):"),
            *("*, tracer=None):", ", tracer=None):", "tracer=None):", "=None):", "None):"),
            *("tracer is not None:", "is not None:", "not None:", "None:"),
            *('.log(f"adding {str(one)}", one)', 'log(f"adding {str(one)}", one)'),
            *('(f"adding {str(one)}", one)', 'f"adding {str(one)}", one)', ", one)", "one)"),
            *("Adder(Base, metaclass=Meta):", "(Base, metaclass=Meta):"),
            *("Base, metaclass=Meta):", ", metaclass=Meta):", "metaclass=Meta):"),
            *("=Meta):", "Meta):"),
            *("= 17", "17"),
        ],
        "block": [
            '    if tracer is not None:\n        tracer.log(f"adding {str(one)}", one)',
            "    if tracer is not None:\n"
            '        tracer.log(f"adding {str(one)}", one)\n'
            "    total = (\n        one + other\n    )",
            "    total = (\n        one + other\n    )",
        ],
        "argument": ['f"adding {str(one)}", one'],
    }


@pytest.mark.parametrize(
    ("language", "text", "line", "header", "block", "argument"),
    [
        (
            "javascript",
            "class A {\n  find(a) {\n    const b = get(a, 2);\n    return new B(b);\n  }\n}\n",
            *("    const b = get(a, 2);", "  find(a) {"),
            "    const b = get(a, 2);\n    return new B(b);",
            "a, 2",
        ),
        (
            "typescript",
            "function f(a: string): B {\n  const b = get<A>(a, `${h(a)}`);\n  return b;\n}\n",
            *("  const b = get<A>(a, `${h(a)}`);", "function f(a: string): B {"),
            "  const b = get<A>(a, `${h(a)}`);\n  return b;",
            "a, `${h(a)}`",
        ),
        (
            "tsx",
            "function F(a: A) {\n  const text = get(a);\n  return <b>text (a)</b>;\n}\n",
            *("  const text = get(a);", "function F(a: A) {"),
            "  const text = get(a);\n  return <b>text (a)</b>;",
            "a",
        ),
        (
            "go",
            "package main\n\nfunc f(a int) int {\n\tsum := get(a, a)\n\treturn sum\n}\n",
            *("\tsum := get(a, a)", "func f(a int) int {"),
            "\tsum := get(a, a)\n\treturn sum",
            "a, a",
        ),
        (
            "rust",
            "impl A {\n    /// Doc f(a).\n    fn f(a: i32) -> i32 {\n        let b = get(a, 2);\n"
            "        b.into()\n    }\n}\n",
            *("        let b = get(a, 2);", "    fn f(a: i32) -> i32 {"),
            "        let b = get(a, 2);\n        b.into()",
            "a, 2",
        ),
        (
            "java",
            "class Adder {\n  Adder(int a) {\n    int b = get(a, 2);\n    this.b = b;\n  }\n}\n",
            *("    int b = get(a, 2);", "  Adder(int a) {"),
            "    int b = get(a, 2);\n    this.b = b;",
            "a, 2",
        ),
    ],
)
def test_places_in_other_languages(
    language: str, text: str, line: str, header: str, block: str, argument: str
) -> None:
    references = found(text, language)
    assert line in references["line"]
    assert header in references["line"]
    assert line[line.index("get") :] in references["rest"]
    assert references["block"] == [block]
    assert references["argument"][0] == argument
    assert "h(a)" not in str(references["argument"][1:]), "nothing is punched into strings"
    assert not any("Doc" in reference for kind in KINDS for reference in references[kind])


def test_columns_are_characters() -> None:
    text = 'größe = "äöü", höhe(breite)\n'
    [hole] = [hole for hole in holes_in(text, "python") if hole.kind == "argument"]
    task = task_of(hole, text, "python", "maß.py")
    assert task.task_id == "maß.py:1:21:argument"
    assert (task.prefix, task.reference, task.suffix) == (text[:20], "breite", ")\n")


def write_package(folder: Path, num_files: int = 6) -> None:
    for index in range(num_files):
        (folder / f"module_{index}.py").write_text(REAL_FILES[1].read_text() + f"# {index}\n")


def test_the_seed_decides(tmp_path: Path) -> None:
    write_package(tmp_path)
    first, again = (punch_holes(tmp_path, seed=1, limit=None) for _ in range(2))
    assert first == again
    assert first.name == f"holes:{tmp_path}"
    other = punch_holes(tmp_path, seed=2, limit=None)
    assert {task.task_id for task in first.tasks} != {task.task_id for task in other.tasks}
    for limit in (1, 5, 30):
        assert punch_holes(tmp_path, seed=1, limit=limit).tasks == first.tasks[:limit]
    (tmp_path / "module_0.py").write_text("x = 1\n")
    assert punch_holes(tmp_path, seed=1, limit=None).sha256 != first.sha256


def test_files_are_read_until_there_is_enough(tmp_path: Path) -> None:
    write_package(tmp_path)
    first = punch_holes(tmp_path, seed=0, limit=8)
    names = {task.task_id.split(":")[0] for task in first.tasks}
    assert len(names) == 2
    for path in tmp_path.iterdir():
        if path.name not in names:
            path.write_text("something = 'else'\n")
    assert punch_holes(tmp_path, seed=0, limit=8) == first


def test_kinds_and_files_are_mixed(tmp_path: Path) -> None:
    write_package(tmp_path)
    tasks = punch_holes(tmp_path, seed=0, limit=16).tasks
    assert Counter(task.task_id.split(":")[-1] for task in tasks) == dict.fromkeys(KINDS, 4)
    assert len({task.task_id.split(":")[0] for task in tasks}) == 4
    every = punch_holes(tmp_path, seed=0, limit=None).tasks
    assert len({task.task_id for task in every}) == len(every)
    files = Counter(task.task_id.split(":")[0] for task in every)
    assert set(files.values()) == {MAX_PER_FILE * len(KINDS)}
    assert all(task.is_parse_checked and task.program is None for task in every)


def test_line_breaks_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "dos.py").write_bytes(
        "\ufeffdef f(a):\r\n    b = call(a)\r\n    return b\r\n".encode()
    )
    tasks = punch_holes(tmp_path, seed=0, limit=None).tasks
    assert tasks
    for task in tasks:
        text = f"{task.prefix}{task.reference}{task.suffix}"
        assert text == "def f(a):\n    b = call(a)\n    return b\n"
        assert parses(task.language, text)


CODE = "def f(a):\n    b = call(a)\n    return b\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.py", "def f(:\n    a = b\n    c = d(e)\n"),
        (".hidden/a.py", CODE),
        ("node_modules/a.js", "function f(a) {\n  g(a, b);\n  h(a);\n}\n"),
        ("build/a.py", CODE),
        ("minified.js", "function f(a) {\n" + "  g(a, b);" * 101 + "\n  return h(a);\n}\n"),
        ("long.py", CODE * 6_000),
        ("latin.py", "def f(a):\n    b = 'é'\n    return g(a, b)\n".encode("latin-1")),
        ("mac.py", CODE.replace("\n", "\r")),
        ("notes.txt", CODE),
        ("comments.py", '"""A docstring, f(a)."""\n\n# f(a)\n'),
        ("empty.py", ""),
    ],
)
def test_left_out(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SetError, match="holds no source file"):
        punch_holes(tmp_path, seed=0, limit=None)


def test_virtual_environments_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "py" / "lib").mkdir(parents=True)
    (tmp_path / "py" / "pyvenv.cfg").touch()
    (tmp_path / "py" / "lib" / "other.py").write_text(CODE)
    tasks = punch_holes(tmp_path, seed=0, limit=None).tasks
    assert {task.task_id.split(":")[0] for task in tasks} == {"own.py"}


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SetAbsentError, match="there is no folder"):
        punch_holes(tmp_path / "src", seed=0, limit=None)
