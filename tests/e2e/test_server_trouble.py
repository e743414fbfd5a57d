"""Everything that goes wrong: engines that die, senseless requests, files that are no text."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from sampler.stub import Answer
from tests.e2e.editors import URI, VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually


@pytest.fixture
async def editor(place: StubPlace) -> AsyncIterator[Editor]:
    editor = await start_editor(place, VS_CODE)
    yield editor
    await stop_editor(editor)


async def assert_completes(editor: Editor, text: str = "pass") -> None:
    """The server is still there and completes a sound document."""
    editor.open("x = \n", uri="file:///project/sound.py")
    items = await editor.ask(0, 4, uri="file:///project/sound.py")
    assert [item.insert_text for item in items] == [text]


async def test_an_engine_that_crashes_is_started_again(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["f("], is_crash=True), Answer(["pass"]))
    editor.open("x = \n")
    items = await editor.ask(0, 4)
    assert [item.insert_text for item in items] == ["f("]  # what there was before the crash
    await eventually(lambda: "restarting" in [status.state for status in editor.statuses])
    await assert_completes(editor)
    assert len(place.pids()) == 2


async def test_a_killed_engine_is_started_again(place: StubPlace, editor: Editor) -> None:
    await assert_completes(editor)
    os.kill(place.pids()[0], signal.SIGKILL)
    await eventually(lambda: len(place.pids()) == 2)
    await editor.wait_for_state("ready")
    editor.open("y = \n")
    assert [item.insert_text for item in await editor.ask(0, 4)] == ["pass"]


async def test_an_engine_that_never_loads_is_told_once(place: StubPlace) -> None:
    place.write_script(load_failure="There is no file /models/x.gguf.")
    editor = await start_editor(place, VS_CODE)
    status = await editor.wait_for_state("failed")
    assert status.message == "There is no file /models/x.gguf."
    editor.open("x = \n")
    assert await editor.ask(0, 4) == []
    assert await editor.ask(0, 4) == []
    [message] = editor.log_messages
    assert message.message == "There are no completions: There is no file /models/x.gguf."
    assert len(place.pids()) == 1
    await stop_editor(editor)


async def test_an_engine_that_fails_one_request_serves_the_next(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer([], failure="out of memory"), Answer(["pass"]))
    editor.open("x = \n")
    assert await editor.ask(0, 4) == []
    await assert_completes(editor)


async def test_an_unknown_document_is_answered_empty(editor: Editor) -> None:
    assert await editor.ask(0, 0, uri="file:///never/opened.py") == []
    editor.type("x", 0, 0, 2)  # a change of a document that is not open
    await assert_completes(editor)


async def test_a_position_outside_the_file_is_clamped(place: StubPlace, editor: Editor) -> None:
    editor.open("ab\n")
    items = await editor.ask(99, 99)
    assert items[0].range.start == types.Position(1, 0)
    assert place.records("Complete")[0]["prefix"] == "ab\n"


POSITION = {"line": 0, "character": 0}


SENSELESS_REQUESTS: list[Any] = [
    {},
    None,
    {"textDocument": {"uri": URI}, "position": POSITION},
    {"textDocument": {"uri": URI}, "position": {"line": -1, "character": 0}, "context": {}},
    {"textDocument": {"uri": 7}, "position": POSITION, "context": {"triggerKind": 9}},
    {"textDocument": {"uri": URI}, "position": [0, 0], "context": {"triggerKind": 1}},
]
SENSELESS_NOTIFICATIONS: list[tuple[str, Any]] = [
    ("textDocument/didChange", {"textDocument": {"uri": URI, "version": 2}}),
    ("textDocument/didOpen", {"textDocument": {"uri": URI}}),
    ("textDocument/didClose", {"textDocument": {"uri": "file:///not/open"}}),
    ("$/cancelRequest", {"id": "no such request"}),
    ("seed/unheardOf", {"a": [1]}),
    ("seed/cursorRest", {}),
    (
        "seed/cursorRest",
        {"uri": "file:///no", "version": 1, "range": {"start": POSITION, "end": POSITION}},
    ),
    ("seed/cursorRest", {"uri": URI, "version": "1", "range": {"line": -3}}),
    ("workspace/didChangeConfiguration", {"settings": None}),
]


async def test_senseless_requests_are_refused_and_not_left_open(editor: Editor) -> None:
    for params in SENSELESS_REQUESTS:
        with pytest.raises(JsonRpcException) as error:
            await editor.request(types.TEXT_DOCUMENT_INLINE_COMPLETION, params)[1]
        assert error.value.code == JsonRpcInvalidParams.CODE, params
        assert error.value.data is None, "tracebacks stay here"
        await assert_completes(editor)


async def test_senseless_notifications_are_ignored(editor: Editor) -> None:
    for method, params in SENSELESS_NOTIFICATIONS:
        editor.notify(method, params)
        await assert_completes(editor)


async def test_versions_may_be_anything(editor: Editor) -> None:
    editor.open("x = \n", version=-3)
    assert len(await editor.ask(0, 4)) == 1
    editor.type("p", 0, 4, -7)
    assert [item.insert_text for item in await editor.ask(0, 5)] == ["ass"]


async def test_a_reversed_range_and_a_full_change(place: StubPlace, editor: Editor) -> None:
    editor.open("abc\n")
    reverse = {"start": {"line": 0, "character": 3}, "end": {"line": 0, "character": 1}}
    for version, change in enumerate([{"range": reverse, "text": "X"}, {"text": "y = \n"}], 2):
        editor.notify(
            "textDocument/didChange",
            {"textDocument": {"uri": URI, "version": version}, "contentChanges": [change]},
        )
        await editor.ask(0, 2)
    assert [record["prefix"] for record in place.records("Complete")] == ["aX", "y "]


async def test_a_file_with_nul_bytes_gets_nothing(place: StubPlace, editor: Editor) -> None:
    editor.open("\x7fELF\0\0\0", language="plaintext")
    assert await editor.ask(0, 1) == []
    await assert_completes(editor)
    assert len(place.records("Complete")) == 1


async def test_the_log_says_once_why_there_is_nothing(place: StubPlace, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    editor = await start_editor(place, VS_CODE, log_file=str(log), max_file_bytes=100)
    editor.open("\0", uri="file:///binary")
    editor.open("x" * 101, uri="file:///large")
    for name in ("binary", "large", "unknown") * 2:
        assert await editor.ask(0, 0, uri=f"file:///{name}") == []
    lines = [line for line in log.read_text().splitlines() if "no completions for" in line]
    assert len(lines) == 3
    for name, reason in [("binary", "NUL"), ("large", "max_file_bytes"), ("unknown", "not open")]:
        assert any(f"file:///{name}: " in line and reason in line for line in lines)
    await stop_editor(editor)


async def test_five_megabytes_are_too_large_but_harmless(place: StubPlace) -> None:
    editor = await start_editor(place, VS_CODE)
    editor.open("x = 'é'  # a line\n" * 280_000)
    for version in range(2, 50):
        editor.type("y", version * 1000, 0, version)
    assert await editor.ask(100_000, 3) == []
    await assert_completes(editor)
    await stop_editor(editor)


async def test_five_megabytes_complete_if_the_limit_allows(place: StubPlace) -> None:
    editor = await start_editor(place, VS_CODE, max_file_bytes=10_000_000)
    editor.open("x = 'é'  # a line\n" * 280_000)
    editor.type("y = \n", 100_000, 0, 2)
    assert [item.insert_text for item in await editor.ask(100_000, 4)] == ["pass"]
    assert place.records("Complete")[0]["prefix"].endswith("# a line\ny = ")
    await stop_editor(editor)


async def test_half_a_surrogate_pair_does_no_harm(place: StubPlace, editor: Editor) -> None:
    editor.open("x = '\ud83d'\n")
    assert len(await editor.ask(0, 7)) == 1
    assert place.records("Complete")[0]["prefix"] == "x = '\ufffd'"


async def test_an_unknown_language_completes_as_text(editor: Editor) -> None:
    editor.open("dear all,\n", language="klingon")
    assert [item.insert_text for item in await editor.ask(0, 9)] == ["pass"]
