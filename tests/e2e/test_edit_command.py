"""`seed-lsp edit`: dry run, writing, batches, bad input, and files that survive anything."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsp_server.edit_command import (
    EditCommandError,
    FileEdit,
    Lines,
    Target,
    find_targets,
    parse_wish,
    read_source,
    run_edit,
    write_atomically,
)
from lsp_server.edit_view import EditView
from lsp_server.engine_client import EngineStatus
from lsp_server.settings import Settings
from sampler.stub import Answer
from tests.e2e.test_cli import assert_refused, seed_lsp
from tests.engines import StubPlace

SOURCE = (
    "import os\r\n\r\ndef f(a):\r\n    return a\r\n\r\n"
    "class C:\r\n    def g(self):\r\n        return 'é'\r\n"
)
F, G = "def f(a):\n    return -a\n", "def g(self):\n    return 'ü'\n"


class Quiet:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.files: list[FileEdit] = []

    def show_status(self, status: EngineStatus) -> None: ...

    def show_place(self, place: str, fraction: float) -> None:
        self.fractions.append(fraction)

    def show_file(self, edit: FileEdit) -> None:
        self.files.append(edit)


@pytest.fixture
def folder(tmp_path: Path, place: StubPlace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the engines of `place`."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_bytes(SOURCE.encode())
    return tmp_path


def edit(
    place: StubPlace, targets: list[Target], *, is_written: bool = False, **settings: object
) -> Quiet:
    view = Quiet()
    sources = [(target, read_source(target.path, 10**6)) for target in targets]
    run_edit(
        sources,
        parse_wish("Do it.", None),
        Settings(**settings),  # type: ignore[arg-type]
        view,
        is_written=is_written,
        engine_command=place.command,
    )
    return view


def test_a_dry_run_shows_a_diff_and_writes_nothing(
    folder: Path, place: StubPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write_script(Answer([F]))
    view = edit(place, find_targets("a.py:3-4"))
    assert (folder / "a.py").read_bytes() == SOURCE.encode()
    with EditView(shows_diff=True) as shown:
        shown.show_file(view.files[0])
    shown.show_summary(view.files, is_written=False)
    out, err = capsys.readouterr()
    assert "-    return a" in out
    assert "+    return -a" in out
    assert "1 edits in 1 of 1 files, not written" in err


def test_every_function_of_a_file_is_edited_on_its_own(folder: Path, place: StubPlace) -> None:
    place.write_script(Answer([G]), Answer([F]))
    view = edit(place, find_targets("*.py"), is_written=True)
    expected = SOURCE.replace("return a", "return -a").replace("'é'", "'ü'")
    assert (folder / "a.py").read_bytes() == expected.encode()
    asked = [record["prefix"] for record in place.records("Complete")]
    assert [prefix.count("def ") for prefix in asked] == [1, 1]
    assert view.fractions == sorted(view.fractions)
    assert view.files[0].num_edits == 2


def test_edits_with_faults_are_shown_but_not_written(folder: Path, place: StubPlace) -> None:
    place.write_script(Answer(["def f(a, b):\n    return Counter(a)\n"]))
    (shown,) = edit(place, [Target(Path("a.py"), Lines(3, 3))]).files
    assert "Counter" in shown.diff()
    (written,) = edit(place, [Target(Path("a.py"), Lines(3, 3))], is_written=True).files
    assert (folder / "a.py").read_bytes() == SOURCE.encode()
    assert written.num_failed == 1
    assert any("signature of `f`" in note for note in written.notes)
    (refused,) = edit(place, [Target(Path("a.py"), Lines(3, 3))], edit_faults="refuse").files
    assert refused.diff() == ""
    assert refused.num_failed == 1


def test_a_failing_engine_is_told_and_changes_nothing(folder: Path, place: StubPlace) -> None:
    place.write_script(Answer(failure="It is too hot."))
    view = edit(place, find_targets("a.py"), is_written=True)
    assert (folder / "a.py").read_bytes() == SOURCE.encode()
    assert [note.split(": ", 1)[1] for note in view.files[0].notes] == ["It is too hot."] * 2


def test_a_file_that_has_changed_meanwhile_is_left_alone(folder: Path) -> None:
    path = folder / "a.py"
    path.write_text("x = 2\n")
    with pytest.raises(EditCommandError, match="has changed meanwhile"):
        write_atomically(path, "x = 1\n", "x = 3\n")
    assert path.read_text() == "x = 2\n"
    assert [it.name for it in folder.iterdir()] == ["a.py"]


def test_writing_keeps_mode_and_link(folder: Path) -> None:
    path, link = folder / "a.py", folder / "link.py"
    path.chmod(0o750)
    link.symlink_to(path)
    write_atomically(link, SOURCE, "x = 1\r\n")
    assert link.is_symlink()
    assert path.read_bytes() == b"x = 1\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert sorted(it.name for it in folder.iterdir()) == ["a.py", "link.py"]


BATCH = """
import json, sys
from pathlib import Path
from lsp_server.edit_command import find_targets, parse_wish, read_source, run_edit
from lsp_server.edit_view import EditView
from lsp_server.settings import Settings
targets = find_targets("*.py")
sources = [(target, read_source(target.path, 10**6)) for target in targets]
with EditView(shows_diff=False) as view:
    run_edit(sources, parse_wish("Do it.", None), Settings(), view, is_written=True,
             engine_command=json.loads(sys.argv[1]))
"""


def test_kill_9_leaves_each_file_old_or_new(folder: Path, place: StubPlace) -> None:
    old, answer = "def f():\n    return 1\n", "def f():\n    return 2\n"
    for index in range(20):
        (folder / f"{index:02}.py").write_text(old)
    (folder / "a.py").unlink()
    place.write_script(Answer([answer], delays_ms=[20]))
    arguments = [sys.executable, "-c", BATCH, json.dumps(place.command)]
    process = subprocess.Popen(
        arguments, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    try:
        deadline = time.monotonic() + 30
        while (folder / "03.py").read_text() == old and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    texts = [(folder / f"{index:02}.py").read_text() for index in range(20)]
    assert set(texts) == {old, answer}
    assert texts == sorted(texts, key=lambda text: text == old)


@pytest.mark.parametrize(
    ("arguments", "expected_words"),
    [
        (["a.py:3-4"], "say what is to be done"),
        (["a.py", "x", "--action", "explode"], "there is no action 'explode'; known are rewrite"),
        (["a.py", "--action", "fix"], "needs words"),
        (["nope.py", "x"], "there is no file nope.py"),
        (["nope.py:1-2", "x"], "there is no file nope.py"),
        ([".", "x"], "is a folder"),
        (["*.rs", "x"], "no source files"),
        ([".env", "x"], "its name is one for credentials"),
        (["latin.py", "x"], "is not UTF-8 text"),
        (["a.py:7-99", "x"], "so there are no lines 7-99"),
        (["a.py:0-1", "x"], "so there are no lines 0-1"),
        (["a.py:2", "x"], "are blank"),
        (["notes.txt", "x"], "name its lines"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], expected_words: str, folder: Path
) -> None:
    (folder / ".env").write_text("A=1\n")
    (folder / "notes.txt").write_text("Dear all\n")
    (folder / "latin.py").write_bytes(b"# \xe9\n")
    (folder / "fake.gguf").write_bytes(b"GGUF")
    assert_refused(seed_lsp("edit", *arguments, folder=folder), expected_words)
