"""Edits as an editor sees them: titles at once, work when chosen, progress, cancel, refusals."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams, JsonRpcRequestCancelled

from lsp_server.actions import ASK_COMMAND, REWRITE_COMMAND
from lsp_server.documents import Change, Document, Encoding, Position
from sampler.stub import Answer
from tests.e2e.editors import NEOVIM, URI, VS_CODE, Editor, start_editor, stop_editor
from tests.engines import StubPlace, eventually

TEXT = "class Ä:\r\n    def f(self, a):\r\n        b = '😀'; return a + 1\r\n\r\nx = 1\r\n"
ANSWER = "def f(self, a):\n    b = '😀'; return a + 2\n"


def capable(
    base: types.ClientCapabilities, *, resolves: bool = True, annotates: bool = True
) -> types.ClientCapabilities:
    """An editor that knows code actions, and what goes with them."""
    return types.ClientCapabilities(
        general=base.general,
        text_document=types.TextDocumentClientCapabilities(
            code_action=types.CodeActionClientCapabilities(
                data_support=resolves,
                resolve_support=types.ClientCodeActionResolveOptions(["edit"])
                if resolves
                else None,
                tag_support=types.CodeActionTagOptions([types.CodeActionTag.LlmGenerated]),
            )
        ),
        workspace=types.WorkspaceClientCapabilities(
            apply_edit=True,
            workspace_edit=types.WorkspaceEditClientCapabilities(
                document_changes=annotates,
                change_annotation_support=types.ChangeAnnotationsSupportOptions()
                if annotates
                else None,
            ),
        ),
        window=types.WindowClientCapabilities(work_done_progress=True),
        experimental={"seed": {"updates": True, "instructions": annotates}},
    )


@dataclass
class Desk:
    """An editor and what it was asked to do."""

    editor: Editor
    encoding: Encoding
    applied: list[types.WorkspaceEdit] = field(default_factory=list)
    is_stubborn: bool = False

    async def offers(
        self, line: int, character: int, *, errors: tuple[str, ...] = (), **context: Any
    ) -> list[types.CodeAction]:
        place = types.Position(line, character)
        where = types.Range(place, place)
        diagnostics = [types.Diagnostic(where, error) for error in errors]
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(URI),
            where,
            types.CodeActionContext(diagnostics, **context),
        )
        converter = self.editor.protocol._converter
        request_id, answer = self.editor.request(
            types.TEXT_DOCUMENT_CODE_ACTION, converter.unstructure(params)
        )
        # By itself lsprotocol takes an action with a command for a command.
        self.editor.protocol._result_types[request_id] = types.ExecuteCommandResponse
        return [converter.structure(action, types.CodeAction) for action in await answer or []]

    async def offer(self, title: str, line: int = 2, character: int = 8) -> types.CodeAction:
        offers = await self.offers(line, character)
        return next(action for action in offers if action.title == title)

    async def rewrite(self, wish: str, **fields: object) -> Any:
        place = {"line": 2, "character": 8}
        argument = {"uri": URI, "range": {"start": place, "end": place}, "instruction": wish}
        return await self.editor.workspace_execute_command_async(
            types.ExecuteCommandParams(REWRITE_COMMAND, [{**argument, **fields}])
        )

    def text_with(
        self, edit: types.WorkspaceEdit | None, text: str = TEXT, *, version: int = 1
    ) -> str:
        """What the document is after an edit, as the editor would apply it."""
        assert edit is not None
        document = Document(URI, "python", 1, text, self.encoding)
        if edit.document_changes:
            (change,) = edit.document_changes
            assert isinstance(change, types.TextDocumentEdit)
            assert change.text_document.version == version
            edits: Any = change.edits
        else:
            assert edit.changes is not None
            edits = edit.changes[URI]
        changes = [
            Change(it.new_text, (_position(it.range.start), _position(it.range.end)))
            for it in sorted(edits, key=lambda it: (it.range.start.line, it.range.start.character))
        ]
        document.apply(reversed(changes), 2)
        return document.text


def _position(position: types.Position) -> Position:
    return Position(position.line, position.character)


@pytest.fixture
async def desk(request: pytest.FixtureRequest, place: StubPlace) -> AsyncIterator[Desk]:
    """VS Code, unless a test asks for others."""
    base, options = getattr(request, "param", (VS_CODE, {}))
    editor = await start_editor(place, capable(base, **options))
    desk = Desk(editor, "utf-8" if base is NEOVIM else "utf-16")

    def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        if desk.is_stubborn:
            raise JsonRpcInvalidParams("no")
        desk.applied.append(params.edit)
        return types.ApplyWorkspaceEditResult(applied=True)

    editor.feature(types.WORKSPACE_APPLY_EDIT)(apply)
    yield desk
    await stop_editor(editor)


in_both_editors = pytest.mark.parametrize(
    "desk", [(VS_CODE, {}), (NEOVIM, {})], ids=["vscode", "neovim"], indirect=True
)


@in_both_editors
async def test_an_action_is_a_title_until_it_is_resolved(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([ANSWER]))
    desk.editor.open(TEXT)
    action = await desk.offer("Simplify")
    assert action.edit is None
    assert action.command is None
    assert list(action.tags or []) == [types.CodeActionTag.LlmGenerated]
    assert action.kind == types.CodeActionKind.RefactorRewrite
    assert place.records("Complete") == []
    action = await desk.editor.code_action_resolve_async(action)
    assert desk.text_with(action.edit) == TEXT.replace("a + 1", "a + 2")
    assert action.edit is not None
    annotations = action.edit.change_annotations
    assert annotations is not None
    assert [it.needs_confirmation for it in annotations.values()] == [True]
    (asked,) = place.records("Complete")
    assert "class Ä:" in asked["prefix"]
    assert "\n```python\ndef f(self, a):\n    b = '😀'; return a + 1\n```\n\n" in asked["prefix"]


@in_both_editors
async def test_an_instruction_is_carried_out(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([ANSWER]))
    desk.editor.open(TEXT)
    result = await desk.rewrite("Add two")
    assert result["applied"] is True
    assert [desk.text_with(edit) for edit in desk.applied] == [TEXT.replace("a + 1", "a + 2")]
    assert place.records("Complete")[0]["prefix"].endswith("\n```\n\nAdd two.")


async def test_what_was_not_kept_is_said(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer(["def f(self, c):\n    return Counter(c)\n"]))
    desk.editor.open(TEXT)
    result = await desk.rewrite("Count")
    expected = "The signature of `f` has changed. Not defined: `Counter`."
    assert result == {"applied": True, "message": expected}
    annotations = desk.applied[0].change_annotations
    assert annotations is not None
    assert [it.description for it in annotations.values()] == [expected]


@pytest.mark.parametrize(
    "desk", [(VS_CODE, {"resolves": False, "annotates": False})], indirect=True
)
async def test_a_client_that_cannot_resolve_gets_a_command(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([ANSWER]))
    desk.editor.open(TEXT)
    action = await desk.offer("Simplify")
    assert action.command is not None
    assert action.data is None
    result = await desk.editor.workspace_execute_command_async(
        types.ExecuteCommandParams(action.command.command, action.command.arguments)
    )
    assert result["applied"] is True
    assert desk.applied[0].document_changes is None
    assert desk.text_with(desk.applied[0]) == TEXT.replace("a + 1", "a + 2")


async def test_only_what_is_asked_for_is_offered(desk: Desk) -> None:
    desk.editor.open(TEXT)
    titles = [action.title for action in await desk.offers(2, 8)]
    assert titles == [
        *("Rewrite with an instruction…", "Add type hints", "Add docstring", "Simplify"),
    ]
    automatic = types.CodeActionTriggerKind.Automatic
    assert await desk.offers(2, 8, trigger_kind=automatic) == []
    (fix,) = await desk.offers(2, 8, trigger_kind=automatic, errors=("a is odd",))
    assert (fix.title, fix.kind) == ("Fix with the model", types.CodeActionKind.QuickFix)
    assert fix.data["instruction"] == "line 2: a is odd"
    only = [types.CodeActionKind.QuickFix]
    assert await desk.offers(2, 8, only=only) == []
    refactor = await desk.offers(2, 8, only=[types.CodeActionKind.Refactor])
    assert len(refactor) == 4
    assert await desk.offers(3, 0) == [], "there is no code on that line"
    ask = refactor[0].command
    assert ask is not None
    assert ask.command == ASK_COMMAND


async def test_titles_come_at_once(desk: Desk) -> None:
    lines = [f"def f{i}(a, b):\n    return [a for c in b if c]\n\n" for i in range(2000)]
    desk.editor.open("".join(lines))
    await desk.offers(1, 5)
    took = []
    for line in range(4, 34, 3):
        start = time.perf_counter()
        assert await desk.offers(line, 5)
        took.append(time.perf_counter() - start)
    assert sorted(took)[len(took) // 2] < 0.5, "50 ms on an idle machine"


async def test_a_stale_action_is_refused(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([ANSWER], delays_ms=[0, 300]))
    desk.editor.open(TEXT)
    action = await desk.offer("Simplify")
    desk.editor.type("# ", 4, 0, 2)
    early = await desk.editor.code_action_resolve_async(action)
    assert place.records("Complete") == []
    late = asyncio.ensure_future(
        desk.editor.code_action_resolve_async(await desk.offer("Simplify"))
    )
    await eventually(lambda: place.records("Complete"))
    desk.editor.type("# ", 4, 0, 3)
    for resolved in (early, await late):
        assert resolved.edit is None
        assert resolved.disabled is not None
        assert "has changed" in resolved.disabled.reason
    assert any("has changed" in it.message for it in desk.editor.log_messages)


async def test_cancelling_the_display_stops_the_engine(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer(["def f(self, a):\n", "never"], delays_ms=[0, 60_000]))
    desk.editor.open(TEXT)
    resolving = asyncio.ensure_future(
        desk.editor.code_action_resolve_async(await desk.offer("Simplify"))
    )
    await eventually(lambda: desk.editor.progress_values and place.records("Complete"))
    desk.editor.window_work_done_progress_cancel(
        types.WorkDoneProgressCancelParams(desk.editor.progress_tokens[0])
    )
    resolved = await resolving
    assert resolved.edit is None
    assert resolved.disabled == types.CodeActionDisabled("The edit was cancelled.")
    await eventually(lambda: place.records("cancelled"))
    await eventually(lambda: desk.editor.progress_values[-1]["kind"] == "end")


async def test_a_display_that_comes_too_late_is_not_begun(
    place: StubPlace, desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    place.write_script(Answer(["def f(self, a):\n        return a"]))
    desk.editor.open(TEXT)
    desk.editor.may_show_progress.clear()
    await desk.editor.code_action_resolve_async(await desk.offer("Simplify"))
    desk.editor.may_show_progress.set()
    for _ in range(2):  # the answer leaves during the first; the server reads it before the second
        await desk.offer("Simplify")
    assert len(desk.editor.progress_tokens) == 1
    assert desk.editor.progress_values == []
    assert "Error" not in capfd.readouterr().err


async def test_cancelling_the_request_stops_the_engine(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer(["never"], delays_ms=[60_000]))
    desk.editor.open(TEXT)
    action = await desk.offer("Simplify")
    request_id, answer = desk.editor.request(
        types.CODE_ACTION_RESOLVE, {"title": action.title, "data": action.data}
    )
    await eventually(lambda: place.records("Complete"))
    desk.editor.notify("$/cancelRequest", {"id": request_id})
    with pytest.raises(JsonRpcException) as error:
        await answer
    assert error.value.code == JsonRpcRequestCancelled.CODE
    await eventually(lambda: place.records("cancelled"))


async def test_no_edit_is_said_in_one_sentence(place: StubPlace, desk: Desk) -> None:
    desk.editor.open(TEXT)
    for answer, words in [
        (Answer(["def f(self, a):\n    b = '😀'; return a + 1\n"]), "nothing to change"),
        (Answer([""]), "nothing to change"),
        (Answer([ANSWER], stop="limit"), "cut off"),
        (Answer(failure="It is too hot."), "It is too hot."),
    ]:
        place.write_script(answer)
        result = await desk.rewrite("Add two")
        assert result["applied"] is False
        assert words in result["message"]
    assert desk.applied == []


async def test_broken_syntax_is_asked_for_again_in_other_words(
    place: StubPlace, desk: Desk
) -> None:
    place.write_script(Answer(["def f(self, a:\n    return 2\n"]), Answer([ANSWER]))
    desk.editor.open(TEXT)
    result = await desk.rewrite("Add two")
    assert result["applied"] is True
    assert desk.text_with(desk.applied[0]) == TEXT.replace("a + 1", "a + 2")
    first, second = place.records("Complete")
    assert first["prefix"] != second["prefix"]


OLD_CODE = "def f(self, a):\n    b = '😀'; return a + 1\n"


async def test_the_old_code_is_refused_before_it_is_asked_for_in_other_words(
    place: StubPlace, desk: Desk
) -> None:
    place.write_script(Answer([OLD_CODE]), Answer([ANSWER]))
    desk.editor.open(TEXT)
    result = await desk.rewrite("Add two")
    assert result["applied"] is True
    assert desk.text_with(desk.applied[0]) == TEXT.replace("a + 1", "a + 2")
    first, second = place.records("Complete")
    assert first["prefix"] == second["prefix"]
    assert (first["must_change"], second["must_change"]) == (False, True)


async def test_what_is_simple_may_stay(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([OLD_CODE]))
    desk.editor.open(TEXT)
    action = await desk.offer("Simplify")
    resolved = await desk.editor.code_action_resolve_async(action)
    assert resolved.disabled is not None
    assert "nothing to change" in resolved.disabled.reason
    assert not any(request["must_change"] for request in place.records("Complete"))


async def test_an_editor_that_refuses_an_edit_breaks_nothing(place: StubPlace, desk: Desk) -> None:
    place.write_script(Answer([ANSWER]))
    desk.editor.open(TEXT)
    desk.is_stubborn = True
    result = await desk.rewrite("Add two")
    assert result == {"applied": False, "message": "The editor has refused the edit."}


async def test_bad_arguments_are_refused(desk: Desk) -> None:
    desk.editor.open(TEXT)
    for fields in (
        {"uri": 3},
        {"range": None},
        {"version": "1"},
        {"instruction": []},
        {"action": "explode"},
        {"range": {"start": {}, "end": {}}},
    ):
        with pytest.raises(JsonRpcException, match="takes one object"):
            await desk.rewrite("Add two", **fields)


async def test_what_cannot_be_edited_is_said(desk: Desk) -> None:
    desk.editor.open(TEXT)
    for fields, words in (
        ({"uri": "file:///nowhere.py"}, "not open"),
        ({"instruction": "  "}, "no instruction"),
        ({"instruction": "```"}, "cannot be rewritten"),
        ({"version": 7}, "has changed"),
    ):
        result = await desk.rewrite("Add two", **fields)
        assert result["applied"] is False
        assert words in result["message"]


async def test_a_rename_by_hand_is_finished_without_the_model(place: StubPlace, desk: Desk) -> None:
    desk.editor.open("def f(total, tax):\n    return total * tax\n")
    desk.editor.type("ratio", 0, 13, 2, removed=3)
    action = (await desk.offers(1, 4))[0]
    assert action.title == "Rename the other tax to ratio, too"
    assert action.tags is None
    resolved = await desk.editor.code_action_resolve_async(action)
    renamed = "def f(total, ratio):\n    return total * "
    text = desk.text_with(resolved.edit, f"{renamed}tax\n", version=2)
    assert text == f"{renamed}ratio\n"
    desk.editor.type("ratio", 1, 19, 3, removed=3)
    assert "Rename" not in (await desk.offers(1, 4))[0].title
    assert place.records("Complete") == []


async def test_another_signature_reaches_the_calls(place: StubPlace, desk: Desk) -> None:
    calls = "def h(a):\n    return f(a)\n"
    desk.editor.open(f"def f(a):\n    return a\n\n{calls}")
    desk.editor.type(",\n      b", 0, 7, 2)
    action = (await desk.offers(1, 4))[0]
    assert action.title == "Change the other calls of f, too"
    resolved = await desk.editor.code_action_resolve_async(action)
    text = f"def f(a,\n      b):\n    return a\n\n{calls}"
    expected = text.replace("return f(a)", "return f(a, ...)")
    assert desk.text_with(resolved.edit, text, version=2) == expected
    assert place.records("Complete") == []
