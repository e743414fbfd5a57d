"""Commands, counts, status reasons and items of the popup menu, as an editor sees them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from lsp_server import commands
from sampler.stub import Answer
from tests.e2e.editors import LSP_MODE, NEOVIM, URI, VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually, has_ended


@pytest.fixture
async def editor(request: pytest.FixtureRequest, place: StubPlace) -> AsyncIterator[Editor]:
    editor = await start_editor(place, getattr(request, "param", VS_CODE))
    yield editor
    await stop_editor(editor)


async def counts(editor: Editor) -> dict[str, Any]:
    stats: dict[str, Any] = await editor.execute(commands.STATS)
    return stats


async def test_commands_are_announced_with_our_prefix(editor: Editor) -> None:
    provider = editor.server_capabilities.execute_command_provider
    assert provider is not None
    assert set(provider.commands) >= {
        *("seed.accept", "seed.dismiss", "seed.snooze", "seed.toggle", "seed.restart"),
        *("seed.lastSuggestion", "seed.stats"),
    }
    assert all(name.startswith("seed.") for name in provider.commands)


SENSELESS = [
    ("seed.snooze", ["soon"], "takes the minutes"),
    ("seed.snooze", [-1], "takes the minutes"),
    ("seed.snooze", [True], "takes the minutes"),
    ("seed.snooze", [1, 2], "takes the minutes"),
    ("seed.toggle", ["on"], "true, false"),
    ("seed.dismiss", [], "the uri"),
    ("seed.lastSuggestion", [7], "the uri"),
    ("seed.inspect", [], "the uri"),
    ("seed.restart", [1], "takes no arguments"),
    ("seed.unheardOf", [], "seed.unheardOf"),
]


async def test_wrong_arguments_are_refused_in_one_sentence(editor: Editor) -> None:
    for command, arguments, expected_words in SENSELESS:
        with pytest.raises(JsonRpcException) as error:
            await editor.execute(command, *arguments)
        assert error.value.code == JsonRpcInvalidParams.CODE
        assert expected_words in error.value.message
        assert error.value.data is None


async def test_an_items_command_never_fails(editor: Editor) -> None:
    for arguments in ([], [1], ["file:///x", "7"], [{}, []], ["a", "b", "c"]):
        assert await editor.execute("seed.accept", *arguments) is None


@pytest.mark.parametrize("editor", [VS_CODE, NEOVIM], ids=["vscode", "neovim"], indirect=True)
async def test_acceptance_is_counted_with_and_without_the_items_command(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer(["foo(a)"], stop="line"))
    editor.open("x = \ny = \nz = \n")
    await editor.wait_for_state("ready")
    [item] = await editor.ask(0, 4)
    editor.type("foo(a)", 0, 4, 2)
    assert item.command.command == "seed.accept"
    await editor.execute(item.command.command, *item.command.arguments)
    await editor.ask(1, 4)
    editor.type("foo(a)", 1, 4, 3)
    await editor.ask(2, 4)
    editor.type("other", 2, 4, 4)
    found = await counts(editor)
    assert (found["shown"], found["accepted"], found["dismissed"]) == (3, 2, 1)
    assert found["characters_accepted"] == 12
    assert found["requests"] == 3
    assert sum(sum(buckets) for buckets in found["latency_ms"].values()) == 3


async def test_counts_are_kept_without_any_text(place: StubPlace) -> None:
    place.write_script(Answer(["SECRET"], stop="line"))
    editor = await start_editor(place, VS_CODE)
    editor.open("SECRET = \n")
    await editor.ask(0, 9)
    await stop_editor(editor)
    [path] = (place.folder / "state").rglob("stats.json")
    assert "SECRET" not in path.read_text()
    assert json.loads(path.read_text())["shown"] == 1
    editor = await start_editor(place, VS_CODE)
    assert (await counts(editor))["shown"] == 1
    await stop_editor(editor)


async def test_counting_can_be_switched_off(place: StubPlace) -> None:
    editor = await start_editor(place, VS_CODE, stats=False)
    editor.open("x = \n")
    await editor.ask(0, 4)
    await stop_editor(editor)
    assert list((place.folder / "state").rglob("stats.json")) == []


async def test_toggle_answers_nothing_and_says_why(place: StubPlace, editor: Editor) -> None:
    editor.open("x = \n")
    await editor.wait_for_state("ready")
    assert await editor.execute("seed.toggle") is False
    assert (await editor.wait_for_state("disabled")).reason == "off"
    assert await editor.ask(0, 4) == []
    assert place.records("Complete") == []
    assert await editor.execute("seed.toggle", True) is True
    await editor.wait_for_state("ready")
    assert len(await editor.ask(0, 4)) == 1


async def test_snoozing_is_for_what_comes_by_itself(place: StubPlace, editor: Editor) -> None:
    editor.open("x = \n")
    await editor.wait_for_state("ready")
    assert await editor.execute("seed.snooze") == 5
    status = await editor.wait_for_state("disabled")
    assert (status.reason, status.message) == ("snoozed", "Completions are snoozed for 5 min.")
    assert await editor.ask(0, 4) == []
    await editor.execute("seed.snooze", 0)
    await editor.wait_for_state("ready")
    assert len(await editor.ask(0, 4)) == 1


async def test_a_document_without_completions_shows_in_the_status(editor: Editor) -> None:
    await editor.wait_for_state("ready")
    editor.open("\0", uri="file:///project/binary")
    assert await editor.ask(0, 0, uri="file:///project/binary") == []
    status = await editor.wait_for_state("disabled")
    assert status.reason == "excluded"
    assert "binary" in status.message
    editor.open("x = \n")
    await editor.ask(0, 4)
    await editor.wait_for_state("ready")


async def test_restart_brings_a_fresh_engine(place: StubPlace, editor: Editor) -> None:
    editor.open("x = \n")
    await editor.wait_for_state("ready")
    await editor.execute("seed.restart")
    await eventually(lambda: len(place.pids()) == 2)
    await editor.wait_for_state("ready")
    assert has_ended(place.pids()[0])
    assert len(await editor.ask(0, 4)) == 1


async def test_the_last_suggestion_can_be_had_again(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["foo(a)"], stop="line"))
    assert await editor.execute("seed.lastSuggestion", URI) is None
    editor.open("x = \n")
    await editor.ask(0, 4)
    found = await editor.execute("seed.lastSuggestion", URI)
    assert (found["text"], found["line"]) == ("foo(a)", 0)


async def test_what_was_used_can_be_inspected_by_command(editor: Editor) -> None:
    assert await editor.execute("seed.inspect", URI) is None
    editor.open("x = \n")
    await editor.ask(0, 4)
    found = await editor.execute("seed.inspect", URI)
    assert found["uri"] == URI
    assert [part["source"] for part in found["parts"]] == ["prefix", "suffix"]


async def test_what_was_overtaken_by_typing_is_not_counted(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer(["never"], delays_ms=[60_000]))
    editor.open("x = \n")
    overtaken = editor.ask(0, 4)
    await eventually(lambda: place.records("Complete"))
    editor.type("y", 0, 4, 2)
    assert await overtaken == []
    assert (await counts(editor))["requests"] == 0


async def test_busy_shows_while_the_engine_works(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["a"], delays_ms=[700]))
    editor.open("x = \n")
    await editor.wait_for_state("ready")
    answer = editor.ask(0, 4)
    await editor.wait_for_state("busy")
    await answer
    await editor.wait_for_state("ready")


ITEMS = attrs.evolve(LSP_MODE, experimental={"seed": {"completionItems": True}})


@pytest.mark.parametrize("editor", [LSP_MODE, VS_CODE], indirect=True)
async def test_items_are_an_opt_in(editor: Editor) -> None:
    assert editor.server_capabilities.completion_provider is None


async def test_a_client_without_inline_completion_gets_an_item(place: StubPlace) -> None:
    place.write_script(Answer(["merate(x)\n", "    pass\n"]))
    editor = await start_editor(place, LSP_MODE, completion_items=True)
    assert editor.server_capabilities.completion_provider is not None
    editor.open("y = enu\n")
    place_of_cursor = types.TextDocumentPositionParams(
        types.TextDocumentIdentifier(URI), types.Position(0, 7)
    )
    found = await editor.text_document_completion_async(
        types.CompletionParams(place_of_cursor.text_document, place_of_cursor.position)
    )
    assert isinstance(found, types.CompletionList)
    [item] = found.items
    assert item.label == "enumerate(x)"
    assert isinstance(item.text_edit, types.TextEdit)
    assert item.text_edit.new_text.startswith("enumerate(x)\n")
    assert item.text_edit.range.start == types.Position(0, 4)
    await stop_editor(editor)


async def test_a_client_may_ask_for_items(place: StubPlace) -> None:
    editor = await start_editor(place, ITEMS)
    assert editor.server_capabilities.completion_provider is not None
    await stop_editor(editor)


async def test_an_engine_that_hangs_is_told_and_replaced(place: StubPlace) -> None:
    """With the watchdog's real patience: some twenty seconds."""
    place.write_script(Answer([], is_frozen=True), Answer(["pass"]))
    editor = await start_editor(place, VS_CODE)
    editor.open("x = \n")
    assert await asyncio.wait_for(editor.ask(0, 4), 40) == []
    await editor.wait_for_state("ready")
    assert any("hung" in s.message for s in editor.statuses if s.state == "restarting")
    assert len(await editor.ask(0, 4)) == 1
    await stop_editor(editor)
