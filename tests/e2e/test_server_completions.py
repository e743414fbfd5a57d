"""Completions as an editor sees them: first paint, growth, typing through, superseding, cancel."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcRequestCancelled

from lsp_server import wire
from sampler.stub import Answer
from tests.e2e.editors import LSP_MODE, NEOVIM, URI, VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually


@pytest.fixture
async def editor(request: pytest.FixtureRequest, place: StubPlace) -> AsyncIterator[Editor]:
    """VS Code, unless a test asks for others."""
    editor = await start_editor(place, getattr(request, "param", VS_CODE))
    yield editor
    await stop_editor(editor)


in_both_editors = pytest.mark.parametrize(
    "editor", [VS_CODE, NEOVIM], ids=["vscode", "neovim"], indirect=True
)


def parts(items: Any) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Text, start and end of each item."""
    return [
        (
            item.insert_text,
            (item.range.start.line, item.range.start.character),
            (item.range.end.line, item.range.end.character),
        )
        for item in items
    ]


@in_both_editors
async def test_a_completion_arrives_in_blocks_and_only_grows(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer(["a, ", "b)\n", "    pass", "\n"], delays_ms=[10]))
    editor.open("def f()\n")
    items = await editor.ask(0, 6)
    assert parts(items) == [("a, b)\n)", (0, 6), (0, 7))]
    await eventually(lambda: editor.updates and editor.updates[-1].done)
    assert {update.session for update in editor.updates} == {editor.updates[0].session}
    texts = ["a, b)\n", *(update.text for update in editor.updates)]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    last = editor.updates[-1]
    assert (last.uri, last.version, last.text) == (URI, 1, "a, b)\n    pass\n")
    assert parts([last.item]) == [("a, b)\n    pass\n)", (0, 6), (0, 7))]


async def test_a_single_line_is_one_answer_at_its_end(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["1 + ", "2"], stop="line"))
    editor.open("x = \n")
    assert parts(await editor.ask(0, 4)) == [("1 + 2", (0, 4), (0, 4))]


@pytest.mark.parametrize("editor", [NEOVIM], indirect=True)
async def test_a_client_without_updates_is_not_left_with_half_a_line(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer(["f(", "a)\n", "g("], delays_ms=[0, 600, 60_000]))
    editor.open("x = \n")
    assert parts(await editor.ask(0, 4)) == [("f(a)\n", (0, 4), (0, 4))]


async def test_after_the_deadline_the_first_block_is_shown(place: StubPlace) -> None:
    editor = await start_editor(place, VS_CODE, first_paint_ms=250)
    place.write_script(Answer(["f(", "a)"], delays_ms=[400, 60_000]))
    editor.open("x = \n")
    assert parts(await editor.ask(0, 4)) == [("f(", (0, 4), (0, 4))]
    editor.text_document_did_close(
        types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(URI))
    )
    await eventually(lambda: place.records("cancelled"))
    await stop_editor(editor)


@in_both_editors
async def test_cancel_reaches_the_engine(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["never"], delays_ms=[60_000]))
    editor.open("x = \n")
    request_id, answer = editor.request(
        types.TEXT_DOCUMENT_INLINE_COMPLETION,
        {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": 4},
            "context": {"triggerKind": 1},
        },
    )
    await eventually(lambda: place.records("Complete"))
    editor.notify("$/cancelRequest", {"id": request_id})
    with pytest.raises(JsonRpcException) as error:
        await answer
    assert error.value.code == JsonRpcRequestCancelled.CODE
    assert error.value.data is None
    await eventually(lambda: place.records("cancelled"))
    assert place.records("cancelled")[0]["num_sent"] == 0


@in_both_editors
async def test_a_newer_request_supersedes(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["never"], delays_ms=[60_000]), Answer(["2"]))
    editor.open("x = \ny = \n")
    older = editor.ask(0, 4)
    await eventually(lambda: place.records("Complete"))
    newer = editor.ask(1, 4)
    assert await older == []
    assert parts(await newer) == [("2", (1, 4), (1, 4))]
    assert len(place.records("cancelled")) == 1


@in_both_editors
async def test_typing_through_asks_the_engine_nothing(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["foo(a)"]), Answer(["not asked"]))
    editor.open("x = \n")
    assert parts(await editor.ask(0, 4)) == [("foo(a)", (0, 4), (0, 4))]
    for version, (typed, rest) in enumerate([("f", "oo(a)"), ("o", "o(a)"), ("o", "(a)")], start=2):
        editor.type(typed, 0, 2 + version, version)
        assert parts(await editor.ask(0, 3 + version)) == [
            (rest, (0, 3 + version), (0, 3 + version))
        ]
    editor.type("", 0, 6, 5, removed=1)  # backspace
    assert parts(await editor.ask(0, 6)) == [("o(a)", (0, 6), (0, 6))]
    assert len(place.records("Complete")) == 1


async def test_typing_through_keeps_the_running_request(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["foo\n", "bar\n"], delays_ms=[0, 300]))
    editor.open("")
    assert parts(await editor.ask(0, 0)) == [("foo\n", (0, 0), (0, 0))]
    editor.type("fo", 0, 0, 2)
    assert parts(await editor.ask(0, 2)) == [("o\n", (0, 2), (0, 2))]
    await eventually(lambda: editor.updates and editor.updates[-1].done)
    assert [(update.version, update.text) for update in editor.updates][-1] == (2, "o\nbar\n")
    assert len(place.records("Complete")) == 1
    assert place.records("cancelled") == []


async def test_typing_something_else_cancels_and_asks_anew(
    place: StubPlace, editor: Editor
) -> None:
    place.write_script(Answer(["foo\n", "never"], delays_ms=[0, 60_000]), Answer(["2"]))
    editor.open("x = \n")
    await editor.ask(0, 4)
    editor.type("g", 0, 4, 2)
    await eventually(lambda: place.records("cancelled"))
    assert parts(await editor.ask(0, 5)) == [("2", (0, 5), (0, 5))]
    assert place.records("Complete")[1]["prefix"] == "x = g"
    await eventually(lambda: editor.updates)
    assert [(update.version, update.text, update.done) for update in editor.updates] == [
        (2, "2", True)
    ]


async def test_invoked_and_automatic_are_alike(place: StubPlace, editor: Editor) -> None:
    editor.open("x = \n")
    for trigger in types.InlineCompletionTriggerKind:
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(trigger),
            text_document=types.TextDocumentIdentifier(URI),
            position=types.Position(0, 4),
        )
        assert parts(await editor.text_document_inline_completion_async(params)) == [
            ("pass", (0, 4), (0, 4))
        ]


async def test_crlf_documents_get_crlf(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["\n    return 1\n"]))
    editor.open("def f():  # x\r\ny\r\n")
    items = await editor.ask(0, 8)
    assert parts(items) == [("\r\n    return 1\r\n  # x", (0, 8), (0, 13))]
    assert place.records("Complete")[0]["suffix"] == "  # x\ny\n"


async def test_a_request_while_the_weights_load_is_answered_when_they_are_there(
    place: StubPlace,
) -> None:
    place.write_script(load_ms=500)
    editor = await start_editor(place, VS_CODE)
    editor.open("x = \n")
    answer = editor.ask(0, 4)
    await editor.wait_for_state("loading")
    assert not answer.done()
    assert parts(await answer) == [("pass", (0, 4), (0, 4))]
    await stop_editor(editor)


@pytest.mark.parametrize(
    ("capabilities", "encoding", "column"), [(VS_CODE, "utf-16", 9), (NEOVIM, "utf-8", 13)]
)
async def test_columns_are_in_the_units_of_the_editor(
    place: StubPlace, capabilities: types.ClientCapabilities, encoding: str, column: int
) -> None:
    editor = await start_editor(place, capabilities)
    assert editor.server_capabilities.position_encoding == encoding
    place.write_script(Answer(["1\n2"]))
    editor.open("x\nab\u2028 = '😀é\n")
    after_emoji = {"utf-16": 9, "utf-8": 13}[encoding]
    assert after_emoji == column
    items = await editor.ask(1, column)
    end = column + {"utf-16": 1, "utf-8": 2}[encoding]
    assert parts(items) == [("1\n2é", (1, column), (1, end))]
    assert place.records("Complete")[0]["prefix"] == "x\nab\u2028 = '😀"
    editor.type("", 1, column - 1, 2)  # inside the emoji: rounds down, changes nothing
    editor.type("é", 1, column, 3)
    await editor.ask(1, column)
    assert place.records("Complete")[-1]["suffix"] == "éé\n"
    await stop_editor(editor)


async def test_what_the_server_announces(place: StubPlace) -> None:
    """Inline completion is there even for a client that does not announce it (lsp-mode)."""
    editor = await start_editor(place, LSP_MODE)
    capabilities = editor.server_capabilities
    assert capabilities.position_encoding == "utf-16"
    assert capabilities.inline_completion_provider
    sync = capabilities.text_document_sync
    assert isinstance(sync, types.TextDocumentSyncOptions)
    assert (sync.open_close, sync.change) == (True, types.TextDocumentSyncKind.Incremental)
    assert capabilities.experimental["seed"]["notifications"] == [wire.UPDATE, wire.STATUS]
    await stop_editor(editor)


async def test_many_requests_at_once_leave_one_at_work(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["x\n"], delays_ms=[100]))
    editor.open("\n" * 50)
    answers = await asyncio.gather(*(editor.ask(line, 0) for line in range(50)))
    assert answers[:-1] == [[]] * 49
    assert parts(answers[-1]) == [("x\n", (49, 0), (49, 0))]
    assert len(place.records("Complete")) - len(place.records("cancelled")) == 1


@in_both_editors
async def test_where_the_cursor_rests_is_read_ahead(place: StubPlace, editor: Editor) -> None:
    def rest(line: int, length: int = 0, version: int = 1) -> None:
        place = types.Range(types.Position(line, 0), types.Position(line, length))
        editor.protocol.notify(wire.REST, wire.CursorRestParams(URI, version, place))

    editor.open("x = 1\ny = 2\n")
    rest(1, version=7)
    rest(1)
    await eventually(lambda: place.records("Read"))
    rest(1)
    await editor.ask(1, 0)
    rest(1)
    rest(2)
    await eventually(lambda: len(place.records("Read")) == 2)
    rest(0, length=3)
    await eventually(lambda: len(place.records("Read")) == 3)
    assert [(read["prefix"], read["suffix"]) for read in place.records("Read")] == [
        ("x = 1\n", "y = 2\n"),
        ("x = 1\ny = 2\n", ""),
        ("", " 1\ny = 2\n"),
    ]
    assert len(place.records("Complete")) == 1


@in_both_editors
async def test_after_an_acceptance_the_next_line_is_there(place: StubPlace, editor: Editor) -> None:
    place.write_script(Answer(["foo(a)"]), ahead=Answer(["y = 2"]))
    editor.open("x = \n")
    await editor.ask(0, 4)
    await eventually(lambda: place.records("Ahead"))
    assert place.records("Ahead")[0]["prefix"] == "x = foo(a)\n"
    editor.type("foo(a)", 0, 4, 2)
    assert parts(await editor.ask(0, 10)) == [("\ny = 2", (0, 10), (0, 10))]
    editor.type("\n", 0, 10, 3)
    assert parts(await editor.ask(1, 0)) == [("y = 2", (1, 0), (1, 0))]
    assert len(place.records("Complete")) == 1
    await eventually(lambda: editor.updates and editor.updates[-1].cost)
    assert {update.cost.tier for update in editor.updates if update.cost} >= {
        "speculative",
        "typed",
    }
