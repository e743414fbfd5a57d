"""Code actions: what can be done to a selection, said at once and worked out when chosen.

A title costs no forward: the model is asked when an action is resolved or its command is run. Edits
carry the version they are for; nothing is edited if the document has changed. Knows the server's
parts, not how code is rewritten.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from lsp_server.documents import LINE_BREAK, Document, Position
from lsp_server.edit_progress import EditProgress
from lsp_server.last_edit import LastEdit, ends_of
from lsp_server.rewrite import RewriteError, Rewritten, Wish, rewrite
from lsp_server.translate import to_position
from lsp_server.workspace_edit import Abilities, abilities_of, workspace_edit
from model.format.propagation import Edited, leftover, propagated
from model.format.rewriting import ACTIONS, AGAIN, FIX, REWRITE, Action, action_named, is_offered
from model.format.selection import Selection, hunks, select
from model.format.syntax import language_of

if TYPE_CHECKING:
    from lsp_server.server import SeedServer

REWRITE_COMMAND = "seed.rewrite"
ASK_COMMAND = "seed.askInstruction"
"""The client's own: it asks for an instruction and runs `REWRITE_COMMAND` with it."""

WINDOW_CHARS = 10_000
"""Before and behind a place: what is read just to offer titles."""
MOST_ERRORS = 3
_TOP_LEVEL = re.compile(r"(?<=\n)(?=[^\W\d])")
"""The start of a line on which something begins that is in nothing else."""
_STALE = "The document has changed since the action was offered: nothing was edited."
_KINDS = [types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite]


@dataclass(frozen=True)
class _Order:
    """A wish for a place in a version of a document."""

    uri: str
    version: int | None
    start: Position
    end: Position
    wish: Wish

    def as_data(self) -> dict[str, Any]:
        """What an action carries until it is resolved."""
        return {
            "uri": self.uri,
            "version": self.version,
            "range": {
                "start": {"line": self.start.line, "character": self.start.character},
                "end": {"line": self.end.line, "character": self.end.character},
            },
            "action": self.wish.action.name,
            "instruction": self.wish.detail,
        }


class Edits:
    """Offers and carries out edits for one client."""

    def __init__(self, server: "SeedServer") -> None:
        self.abilities = Abilities()
        self.last_edit = LastEdit()
        self._server = server

    def introduce(self, capabilities: types.ClientCapabilities) -> None:
        """The client says what it can do."""
        self.abilities = abilities_of(capabilities)

    def offer(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """The actions for a range; costs no forward."""
        uri, context = params.text_document.uri, params.context
        document = self._server.documents.get(uri)
        if document is None or self._server.is_refused(uri):
            return []
        start, end = sorted(map(to_position, (params.range.start, params.range.end)))
        is_asked = context.trigger_kind is not types.CodeActionTriggerKind.Automatic
        again = self._again(document, context)
        selection, num_lines_before = _nearby(document, start, end)
        if selection is None:
            return again
        errors = _errors(context.diagnostics, selection, num_lines_before)
        return again + [
            self._action(_Order(uri, document.version, start, end, Wish(action, detail)), context)
            for action in ACTIONS
            for detail in [errors if action == FIX else ""]
            # Unasked, only what a tool complains about: a lamp at every line would say nothing.
            if (is_asked or start != end or action == FIX)
            if action != FIX or errors
            if action != REWRITE or self.abilities.can_ask
            if _is_wanted(_kind(action), context.only) and is_offered(action, selection)
        ]

    async def resolve(self, action: types.CodeAction) -> types.CodeAction:
        """Work out an action's edit; without one it says why in `disabled`."""
        try:
            action.edit, _ = await self._carry_out(_order(action.data))
        except RewriteError as error:
            action.disabled = types.CodeActionDisabled(str(error))
        return action

    async def run(self, argument: Any) -> dict[str, Any]:
        """Work out an edit and have the client apply it; tells whether it did, or why not."""
        order = _order(argument)
        try:
            edit, message = await self._carry_out(order)
        except RewriteError as error:
            return {"applied": False, "message": str(error)}
        params = types.ApplyWorkspaceEditParams(edit, label=_label(order.wish.action))
        try:
            answer = await self._server.workspace_apply_edit_async(params)
        except JsonRpcException:
            return {"applied": False, "message": "The editor has refused the edit."}
        if not answer.applied:
            message = answer.failure_reason or "The editor has not applied the edit."
        return {"applied": answer.applied, "message": message}

    def _again(
        self, document: Document, context: types.CodeActionContext
    ) -> list[types.CodeAction]:
        """What carries on the edit that was made last, by hand."""
        last = self.last_edit.of(document)
        if last is None or not _is_wanted(_kind(AGAIN), context.only):
            return []
        edited = Edited(last.before, *ends_of(document, last.line, last.last_line))
        left = leftover(language_of(document.language), document.text, edited)
        if left is None:
            return []
        places = Position(last.line, 0), Position(last.last_line, 0)
        order = _Order(document.uri, document.version, *places, Wish(AGAIN, last.before))
        offered = self._action(order, context)
        offered.title = left.title
        return [offered]

    def _action(self, order: _Order, context: types.CodeActionContext) -> types.CodeAction:
        action = order.wish.action
        offered = types.CodeAction(title=action.title, kind=_kind(action))
        if self.abilities.has_tags and action != AGAIN:
            offered.tags = [types.CodeActionTag.LlmGenerated]
        if action == FIX:
            offered.diagnostics = context.diagnostics
        if action == REWRITE:
            arguments = [{key: order.as_data()[key] for key in ("uri", "range", "version")}]
            offered.command = types.Command(
                title=action.title, command=ASK_COMMAND, arguments=arguments
            )
        elif self.abilities.can_resolve:
            offered.data = order.as_data()
        else:
            offered.command = types.Command(
                title=action.title, command=REWRITE_COMMAND, arguments=[order.as_data()]
            )
        return offered

    async def _carry_out(self, order: _Order) -> tuple[types.WorkspaceEdit, str]:
        """The edit, and what is to be said about it; cancelling it stops the engine.

        Raises:
            RewriteError: if there is none; that is in the client's log, too.
        """
        label = _label(order.wish.action)
        task: asyncio.Task[tuple[types.WorkspaceEdit, str]] | None = None
        progress = EditProgress(self._server, label, lambda: task and task.cancel("display"))
        task = asyncio.create_task(self._edit(order, progress))
        if self.abilities.has_progress:
            progress.start()
        message = "Cancelled."
        try:
            edit, message = await task
            return edit, message
        except RewriteError as error:
            message = str(error)
            self._server.tell(f"{label}: {message}")
            raise
        except asyncio.CancelledError as error:
            if error.args != ("display",):  # the request itself was cancelled
                raise
            raise RewriteError("The edit was cancelled.") from None
        finally:
            task.cancel()
            progress.end(message)

    async def _edit(self, order: _Order, progress: EditProgress) -> tuple[types.WorkspaceEdit, str]:
        server, wish = self._server, order.wish
        document = server.documents.get(order.uri)
        if document is None or server.is_refused(order.uri):
            raise RewriteError("This document is not edited: it is not open, or it is too large.")
        exclusion = await server.informed.exclusion(order.uri)
        if exclusion is not None:
            raise RewriteError(f"This document is not shown to the model: {exclusion}.")
        version = document.version
        if order.version not in (None, version):
            raise RewriteError(_STALE)
        if wish.action == AGAIN:
            return self._carry_on(document, order)
        selection = _select(document, order.start, order.end)
        if selection is None:
            raise RewriteError("There is no code at this place.")
        rewritten = await rewrite(
            server.engine,
            selection,
            wish,
            server.settings,
            document=order.uri,
            on_progress=progress.report,
        )
        if server.documents.get(order.uri) is not document or document.version != version:
            raise RewriteError(_STALE)
        message = _description(rewritten)
        edit = workspace_edit(
            document,
            hunks(selection.old, rewritten.new, selection.start),
            label=_label(wish.action),
            description=message,
            abilities=self.abilities,
        )
        return edit, message

    def _carry_on(self, document: Document, order: _Order) -> tuple[types.WorkspaceEdit, str]:
        """The edit of `AGAIN`, whose detail is the edited lines as they were before."""
        ends = ends_of(document, order.start.line, order.end.line)
        edited = Edited(order.wish.detail, *ends)
        found = propagated(language_of(document.language), document.text, edited)
        if found is None:
            raise RewriteError("There is no other place to change.")
        edit = workspace_edit(
            document,
            found.hunks,
            label=_label(AGAIN),
            description=found.sentence,
            abilities=self.abilities,
        )
        return edit, found.sentence


def register(server: "SeedServer") -> Edits:
    """Add code actions and the command; what comes back wants to know the client."""
    edits = Edits(server)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=_KINDS, resolve_provider=True),
    )
    def code_action(params: types.CodeActionParams) -> list[types.CodeAction]:
        return edits.offer(params)

    @server.feature(types.CODE_ACTION_RESOLVE)
    async def resolve(action: types.CodeAction) -> types.CodeAction:
        return await edits.resolve(action)

    @server.command(REWRITE_COMMAND)
    async def run(*arguments: Any) -> dict[str, Any]:
        if len(arguments) != 1:
            raise _refuse()
        return await edits.run(arguments[0])

    return edits


def _select(document: Document, start: Position, end: Position) -> Selection | None:
    """The statements at a place."""
    ends = document.offset_at(start), document.offset_at(end)
    return select(language_of(document.language), document.text, *ends)


def _nearby(document: Document, start: Position, end: Position) -> tuple[Selection | None, int]:
    """The statements at a place, read from the text around it, and the lines before that text.

    Good enough for titles: to read a long document's syntax takes longer than they may take.
    """
    text, first, last = document.text, document.offset_at(start), document.offset_at(end)
    begin = 0
    for found in _TOP_LEVEL.finditer(text, 0, max(first - WINDOW_CHARS, 0)):
        begin = found.start()
    stop = text.find("\n", last + WINDOW_CHARS)
    window = text[begin : stop if stop >= 0 else len(text)]
    selection = select(language_of(document.language), window, first - begin, last - begin)
    return selection, len(LINE_BREAK.findall(text, 0, begin))


def _errors(
    diagnostics: Sequence[types.Diagnostic], selection: Selection, num_lines_before: int
) -> str:
    """What tools have found in a selection, on lines counted from its first one."""
    first = num_lines_before + selection.first_line
    last = first + selection.code.count("\n") - 1
    found = [it for it in diagnostics if first <= it.range.start.line <= last]
    return "; ".join(
        f"line {it.range.start.line - first + 1}: {' '.join(it.message.split())}"
        for it in sorted(found, key=lambda it: it.range.start.line)[:MOST_ERRORS]
    )


def _description(rewritten: Rewritten) -> str:
    return " ".join(rewritten.faults) or "Written by the model, checked for syntax and names."


def _label(action: Action) -> str:
    return "Rewrite" if action == REWRITE else action.title


def _kind(action: Action) -> types.CodeActionKind:
    is_fix = action == FIX
    return types.CodeActionKind.QuickFix if is_fix else types.CodeActionKind.RefactorRewrite


def _is_wanted(kind: types.CodeActionKind, only: Any) -> bool:
    """Kinds are a hierarchy: `refactor` asks for `refactor.rewrite` as well."""
    wanted = [getattr(it, "value", it) for it in only or []]
    return not wanted or any(kind.value == it or kind.value.startswith(f"{it}.") for it in wanted)


def _order(data: Any) -> _Order:
    """What an action or a command asks for.

    Raises:
        JsonRpcInvalidParams: if it is nothing that this server could have offered.
    """
    try:
        name = data.get("action") or REWRITE.name
        action = AGAIN if name == AGAIN.name else action_named(name)
        places = [data["range"][end] for end in ("start", "end")]
        start, end = sorted(Position(int(it["line"]), int(it["character"])) for it in places)
        uri, version, detail = data["uri"], data.get("version"), data.get("instruction", "")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _refuse() from None
    is_sound = isinstance(uri, str) and isinstance(detail, str) and isinstance(version, int | None)
    if not is_sound or action is None:
        raise _refuse()
    return _Order(uri, version, start, end, Wish(action, detail))


def _refuse() -> JsonRpcInvalidParams:
    return JsonRpcInvalidParams(
        f"{REWRITE_COMMAND} takes one object {{uri, range, instruction}}, and perhaps the name of "
        "an action and the version that it is for."
    )
