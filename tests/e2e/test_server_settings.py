"""Settings of a running server: pulled from the editor, followed in files, applied live."""

import asyncio
from pathlib import Path

import attrs
from lsprotocol import types

from tests.e2e.editors import NEOVIM, VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually, has_ended

PULLS = attrs.evolve(
    VS_CODE,
    workspace=types.WorkspaceClientCapabilities(
        configuration=True,
        did_change_configuration=types.DidChangeConfigurationClientCapabilities(
            dynamic_registration=True
        ),
    ),
)


async def change_section(editor: Editor, section: object) -> None:
    """The person has changed the editor's settings."""
    editor.section = section
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    for _ in range(2):  # the server has asked for the section, and has used the answer
        await editor.execute("seed.stats")


async def test_the_editors_section_holds_from_the_start(place: StubPlace) -> None:
    editor = await start_editor(place, PULLS, section={"threads": 3})
    await editor.wait_for_state("ready")
    [started] = place.records("started")
    assert "--threads 3" in " ".join(started["arguments"])
    await eventually(lambda: editor.registrations)
    [registration] = editor.registrations
    assert registration.method == "workspace/didChangeConfiguration"
    await stop_editor(editor)


async def test_a_change_that_needs_no_engine_is_live(place: StubPlace) -> None:
    editor = await start_editor(place, PULLS)
    await editor.wait_for_state("ready")
    editor.open("x = \ny = \n")
    await editor.ask(0, 4)
    await change_section(editor, {"maxNewTokens": 7})
    await editor.ask(1, 4)
    assert [record["max_new_tokens"] for record in place.records("Complete")] == [128, 7]
    assert len(place.pids()) == 1
    await stop_editor(editor)


async def test_a_change_of_the_engines_settings_starts_another_and_says_so(
    place: StubPlace,
) -> None:
    editor = await start_editor(place, PULLS)
    await editor.wait_for_state("ready")
    await change_section(editor, {"threads": 2})
    await eventually(lambda: len(place.pids()) == 2)
    await editor.wait_for_state("ready")
    messages = [status.message for status in editor.statuses if status.state == "restarting"]
    assert messages == ["The engine is started anew for a change of threads."]
    assert has_ended(place.pids()[0])
    editor.open("x = \n")
    assert len(await editor.ask(0, 4)) == 1
    await stop_editor(editor)


async def test_an_unknown_key_is_told_once_with_the_nearest(place: StubPlace) -> None:
    editor = await start_editor(place, PULLS, section={"thread": 2})
    await editor.wait_for_state("ready")
    await change_section(editor, {"thread": 2, "mode": "ar"})
    await change_section(editor, {"mode": "xact"})
    await eventually(lambda: len(editor.log_messages) == 2)
    assert "did you mean 'threads'" in editor.log_messages[0].message
    assert "did you mean 'exact'" in editor.log_messages[1].message
    await stop_editor(editor)


async def test_a_client_that_pushes_its_settings_is_understood(place: StubPlace) -> None:
    editor = await start_editor(place, NEOVIM)
    await editor.wait_for_state("ready")
    pushed = {"settings": {"seed-lsp": {"max_new_tokens": 5}, "other": {"a": 1}}}
    editor.notify("workspace/didChangeConfiguration", pushed)
    editor.open("x = \n")
    await editor.ask(0, 4)
    assert place.records("Complete")[0]["max_new_tokens"] == 5
    await stop_editor(editor)


async def test_a_projects_file_is_followed(place: StubPlace, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    uri = (tmp_path / "main.py").as_uri()
    editor = await start_editor(place, VS_CODE, root_uri=tmp_path.as_uri())
    editor.open("x = \ny = \n", uri=uri)
    await editor.ask(0, 4, uri=uri)
    (tmp_path / "seed-lsp.toml").write_text("max_new_tokens = 9\nmax_line = 2\n")
    await asyncio.sleep(1.1)  # files are looked at once a second
    await editor.ask(1, 4, uri=uri)
    assert [record["max_new_tokens"] for record in place.records("Complete")] == [128, 9]
    assert "did you mean 'max_lines'" in editor.log_messages[0].message
    await stop_editor(editor)


async def test_an_editor_that_does_not_answer_has_no_settings(place: StubPlace) -> None:
    editor = await start_editor(place, PULLS, section=[1, 2])
    await editor.wait_for_state("ready")
    assert "must be a table" in editor.log_messages[0].message
    await stop_editor(editor)


PROGRESS = attrs.evolve(VS_CODE, window=types.WindowClientCapabilities(work_done_progress=True))


async def test_loading_is_shown_as_progress_where_the_editor_can(place: StubPlace) -> None:
    place.write_script(load_ms=1500)
    editor = await start_editor(place, PROGRESS)
    await editor.wait_for_state("ready")
    await eventually(lambda: [value["kind"] for value in editor.progress_values][-1:] == ["end"])
    begin, *_, end = editor.progress_values
    assert (begin["kind"], begin["title"]) == ("begin", "seed-lsp")
    assert (begin["message"], begin["percentage"]) == ("loading the script", 50)
    assert end["message"] == "stub on cpu"
    await stop_editor(editor)


async def test_quick_loading_shows_no_progress(place: StubPlace) -> None:
    editor = await start_editor(place, PROGRESS)
    await editor.wait_for_state("ready")
    await asyncio.sleep(0.7)
    assert editor.progress_values == []
    await stop_editor(editor)
