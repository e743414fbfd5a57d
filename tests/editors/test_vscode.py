"""The extension in a real VS Code, with a scripted engine, as somebody sees it who types.

Needs what `make editors` installs, and the .vsix; where they are missing the tests are skipped and
say so. One window serves all of them, each in a file of its own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sampler.stub import Answer
from tests.editors.vscode.installation import Installation, NotInstalledError, find_installation
from tests.editors.vscode.session import EditorPlace, VsCode, open_vs_code
from tests.editors.vscode.window import Window, changes_while_idle
from tests.engines import has_ended

STUB_SERVER = Path(__file__).parents[1] / "e2e" / "stub_server.py"

SOURCE = "def add(items):\n    "
BLOCKS = ["otal = 0\n", "    for item in items:\n", "        total += item\n", "    return total"]
"""Behind a `t` that is typed."""
TEXT = "".join(BLOCKS)
FIRST_LINE = "otal = 0"
NOTHING = ""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def installation() -> Installation:
    try:
        return find_installation()
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def editor(installation: Installation) -> Iterator[VsCode]:
    """VS Code with a scripted engine; at the end no process of it is left."""
    place = EditorPlace()
    command = [sys.executable, str(STUB_SERVER), str(place.script_path), "{}"]
    with open_vs_code(installation, place, command) as editor:
        yield editor
    place.close()


@pytest.fixture
def window(editor: VsCode, request: pytest.FixtureRequest) -> Window:
    """The window with a file named after the test, the cursor behind four blanks of a body."""
    window = editor.window
    window.open(f"{request.node.name}.py", SOURCE)
    editor.wait_until_ready()
    return window


def shows(editor: VsCode, *blocks: str, delay_ms: float = 0) -> None:
    """The engine answers with these blocks, `t` is typed, and all of them are on screen."""
    editor.place.begin(Answer(list(blocks), delays_ms=[0, delay_ms]))
    editor.window.type("t")
    editor.window.wait_for_ghost("".join(blocks))
    editor.window.pause(0.5)  # who is to press a key has to see it


def test_text_appears_and_grows_without_a_flicker(editor: VsCode, window: Window) -> None:
    editor.place.begin(Answer(BLOCKS, delays_ms=[0, 1500]))
    window.frames()
    window.type("t")
    window.wait_for_ghost(TEXT)
    frames = window.frames()
    shown = [frame.ghost for frame in frames if frame.ghost]
    assert len(shown) >= 3, shown
    assert shown[0].startswith(FIRST_LINE)
    assert all(after.startswith(before) for before, after in pairwise(shown))
    assert changes_while_idle(frames) == []


def test_where_the_cursor_comes_to_stand_is_read(editor: VsCode, window: Window) -> None:
    editor.place.begin(Answer([]))

    def has_read(prefix: str, suffix: str) -> bool:
        reads = [(read["prefix"], read["suffix"]) for read in editor.place.records("Read")]
        return reads[-1:] == [(prefix, suffix)]

    # Not the top: a file opens there, and no place is told twice in turn.
    window.press("ArrowUp", "End")
    window.wait_for(lambda: has_read("def add(items):", "\n    "), "reading at a line's end")
    window.press("Shift+Home")
    window.wait_for(lambda: has_read("", "\n    "), "reading without what is selected")
    assert editor.place.records("Complete") == []


def test_tab_accepts_all_of_it(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    window.press("Tab")
    window.wait_for_text(SOURCE + "t" + TEXT)
    window.wait_for_saved(SOURCE + "t" + TEXT)


def test_an_accepted_text_is_undone_in_one_step(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    window.press("Tab")
    window.wait_for_text(SOURCE + "t" + TEXT)
    window.press("Control+z")
    window.wait_for_text(SOURCE + "t")


def test_a_word_at_a_time(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    window.press("Control+ArrowRight")
    window.wait_for_text(SOURCE + "total")
    window.wait_for_ghost(TEXT.removeprefix("otal"))
    window.press("Control+ArrowRight")
    window.wait_for_text(SOURCE + "total ")
    window.wait_for_ghost(TEXT.removeprefix("otal "))


def test_typing_on_keeps_it(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    window.frames()
    window.type("otal", delay_ms=150)
    window.wait_for_text(SOURCE + "total")
    window.wait_for_ghost(TEXT.removeprefix("otal"))
    window.pause(0.5)
    for frame in window.frames():
        assert frame.text + frame.ghost == SOURCE + "t" + TEXT
    assert len(editor.place.records("Complete")) == 1


def test_other_text_replaces_it(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    editor.place.begin(Answer(["eam = []"]))
    window.type("_")
    window.wait_for_ghost("eam = []")


def test_escape_hides_it_for_good(editor: VsCode, window: Window) -> None:
    shows(editor, *BLOCKS)
    window.press("Escape")
    window.wait_for_ghost(NOTHING)
    window.frames()
    window.pause(2)
    assert {frame.ghost for frame in window.frames()} == {NOTHING}


def test_a_code_action_is_shown_before_it_changes_anything(editor: VsCode, window: Window) -> None:
    before = "def double(x):\n    return x * 2\n"
    after = "def double(x: int) -> int:\n    return x * 2\n"
    window.open("action.py", before)
    editor.place.begin(Answer([after]))
    window.press("Control+Home")
    window.choose_action("Add type hints")
    window.wait_for_preview()
    assert window.text == before
    window.apply_preview()
    window.wait_for_text(after)
    window.press("Control+z")
    window.wait_for_text(before)


def test_a_server_that_was_killed_comes_back(editor: VsCode, window: Window) -> None:
    (server,) = editor.server.processes(str(STUB_SERVER))
    os.kill(server, signal.SIGKILL)
    assert has_ended(server)
    window.wait_for(lambda: window.status() != "Seed", "the news of it")
    editor.wait_until_ready()
    shows(editor, *BLOCKS)
    assert window.notifications() == []


def test_a_closed_window_leaves_no_server_behind(editor: VsCode, window: Window) -> None:
    assert editor.server.processes(str(STUB_SERVER))
    window.page.goto("about:blank")
    window.wait_for(lambda: not editor.server.processes(str(STUB_SERVER)), "the server's end")
