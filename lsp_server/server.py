"""The language server: LSP in, our types through the middle, LSP out.

Handlers translate and delegate; what they share is in `SeedServer`. What pygls does by itself and
must not is changed in `rpc`.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter
from pygls.uris import to_fs_path

from lsp_server import (
    __version__,
    actions,
    commands,
    completion_items,
    editor_settings,
    wire,
    workspace_features,
)
from lsp_server.completions import Completions
from lsp_server.configuration import Configuration, changed_keys
from lsp_server.context import refusal
from lsp_server.counters import CounterFile, counters_path
from lsp_server.documents import Change, Document, DocumentStore, Encoding
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.informed_engine import InformedEngine
from lsp_server.logs import configure_logging, take_stdout
from lsp_server.progress import LoadingProgress
from lsp_server.rpc import SeedProtocol
from lsp_server.selection import edit_of, take_selected
from lsp_server.session import Offer
from lsp_server.settings import ENGINE_KEYS, Settings
from lsp_server.snapshot import Snapshot, take_snapshot, take_without
from lsp_server.status import Quiet, Status, StatusBoard, quiet_of
from lsp_server.switch import Switch
from lsp_server.translate import to_change, to_position
from lsp_server.usage import Usage
from sampler.messages import Stats

logger = logging.getLogger(__name__)

REFRESH_EVERY_S = 1.0
"""Least time between two looks at the settings files."""

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


class SeedServer(LanguageServer):
    """What the handlers share: settings, documents, the engine's client, the sessions."""

    edits: actions.Edits

    def __init__(self, configuration: Configuration, engine_command: Sequence[str]):
        super().__init__(
            "seed-lsp",
            __version__,
            protocol_cls=SeedProtocol,
            converter_factory=default_converter,
            notebook_document_sync=workspace_features.NOTEBOOKS,
        )
        self.configuration = configuration
        self.documents = DocumentStore()
        self.refused: dict[str, str] = {}
        self.has_shut_down = False
        self.board = StatusBoard(self.send_status)
        self.switch = Switch(self.board.set_switch)
        self.loading = LoadingProgress(self)
        self.usage = Usage(None, self.text_of)
        self._engine_command = engine_command
        self._refreshed_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.configure()

    @property
    def settings(self) -> Settings:
        """What holds now: it may change between any two messages."""
        return self.configuration.settings

    def configure(self) -> None:
        """Set up everything for the settings; before the engine is started."""
        self._applied = self.settings
        configure_logging(self.settings)
        self.engine = EngineClient(self.settings, self.follow_engine, self._engine_command)
        self.informed = InformedEngine(self.engine, self.documents, lambda: self.settings)
        self.completions = Completions(self.informed, self.settings, self.send_update)
        self.usage.use(CounterFile(counters_path()) if self.settings.stats else None)

    def apply_settings(self) -> None:
        """Go on with the settings that hold now; only some of them need another engine."""
        for problem in self.configuration.new_problems():
            self.tell(str(problem))
        changed = changed_keys(self._applied, self.settings)
        if not changed:
            return
        logger.info("changed settings: %s", ", ".join(changed))
        self._applied = self.settings
        if {"log_level", "log_file"} & set(changed):
            configure_logging(self.settings)
        self.completions.settings = self.settings
        self.usage.use(CounterFile(counters_path()) if self.settings.stats else None)
        of_engine = [key for key in changed if key in ENGINE_KEYS]
        if of_engine:
            reason = f"The engine is started anew for a change of {', '.join(of_engine)}."
            self.engine.use(self.settings, reason)

    def refresh_settings(self) -> None:
        """Follow changes of the settings files; cheap enough for each request."""
        now = time.monotonic()
        if now - self._refreshed_at < REFRESH_EVERY_S:
            return
        self._refreshed_at = now
        if self.configuration.refresh():
            self.apply_settings()

    def snooze(self, seconds: float) -> None:
        """Offer nothing by itself for a while; 0 ends that."""
        self.completions.snooze(time.monotonic() + seconds if seconds else None)
        self.switch.snooze(seconds)

    def run(self, work: Any) -> None:
        """Let a coroutine run beside the handlers."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def text_of(self, uri: str) -> str | None:
        """The present text of an open document."""
        document = self.documents.get(uri)
        return None if document is None else document.text

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log by type only: pygls would show a pop-up, and messages may quote source text."""
        logger.error("%s: %s", source.__name__, type(error).__name__)

    def is_refused(self, uri: str) -> bool:
        """Whether a document gets no completions; the reason is logged once."""
        reason = refusal(self.documents.get(uri), self.settings)
        if reason is None:
            return False
        self.board.set_place(_excluded(uri, reason))
        if self.refused.get(uri) != reason:
            logger.warning("no completions for %s: %s", uri, reason)
            self.refused[uri] = reason
        return True

    def open_document(self, item: types.TextDocumentItem) -> None:
        """A document, perhaps a cell, is open in the editor."""
        self.completions.close(item.uri)
        self.documents.open(item.uri, item.language_id, item.version, item.text)
        self.informed.open(item.uri)

    def change_document(self, uri: str, version: int, changes: Sequence[Change]) -> None:
        """An open document was edited."""
        known = self.documents.get(uri)
        if known is not None:
            self.edits.last_edit.watch(known, changes)
        document = self.documents.change(uri, version, changes)
        if document is None:
            logger.warning("a change of %s is ignored: the document is not open", uri)
            return
        self.informed.change(uri, changes)
        self.usage.change(uri, document.text)
        self.completions.change(document)

    def close_document(self, uri: str) -> None:
        """A document is no longer open."""
        self.usage.leave(uri)
        self.completions.close(uri)
        self.documents.close(uri)
        self.informed.close(uri)

    async def complete(
        self,
        uri: str,
        position: types.Position,
        *,
        is_invoked: bool = False,
        selected: types.SelectedCompletionInfo | None = None,
    ) -> Offer | None:
        """What is offered at a position of a document, or None; counted either way.

        Args:
            uri: the document.
            position: the cursor.
            is_invoked: a person has asked, not the editor by itself.
            selected: the item of the popup menu that the offer has to continue.
        """
        start = time.perf_counter()
        was_ready = self.engine.ready is not None
        self.refresh_settings()
        document = self.documents.get(uri)
        offer, quiet = None, "off"
        if self.is_refused(uri) or document is None:
            quiet = "excluded"
        elif self.switch.is_on:
            snapshot = self._snapshot(document, position, selected)
            quiet = "nothing"
            if snapshot is not None:
                offer = await self.completions.request(snapshot, is_invoked=is_invoked)
                quiet = self.completions.quiet_reason(uri) or "nothing"
            if snapshot is not None and offer is None and document.version != snapshot.version:
                return None  # the person typed on: nobody has seen that there was nothing
            exclusion = self.informed.refusal(uri)
            quiet = "excluded" if exclusion else quiet
            self.board.set_place(_excluded(uri, exclusion) if exclusion else quiet_of(quiet))
        # How long an engine takes to load is no latency of its answers.
        elapsed_ms = 1000 * (time.perf_counter() - start) if was_ready else None
        self.usage.answer(offer, quiet, elapsed_ms)
        return offer

    def rest(self, uri: str, version: int, selected: types.Range) -> None:
        """The cursor or a selection has come to rest; what is there is read ahead of a request."""
        document = self.documents.get(uri)
        if document is None or document.version != version or not self.switch.is_on:
            return
        if refusal(document, self.settings) is None:
            start, end = to_position(selected.start), to_position(selected.end)
            self.completions.rest(take_without(document, start, end))

    def _snapshot(
        self,
        document: Document,
        position: types.Position,
        selected: types.SelectedCompletionInfo | None,
    ) -> Snapshot | None:
        """None if no offer can continue the selected item."""
        cursor = to_position(position)
        if selected is None:
            return take_snapshot(document, cursor)
        if not self.settings.selected_item:
            return None
        start, end = selected.range.start, selected.range.end
        return take_selected(document, cursor, selected.text, to_position(start), to_position(end))

    def items(self, offer: Offer) -> list[types.InlineCompletionItem]:
        """An offer and its alternatives in LSP's terms."""
        return [self.item(offer, text) for text in (offer.text, *offer.alternatives)]

    def item(self, offer: Offer, text: str) -> types.InlineCompletionItem:
        """One text for the place of an offer."""
        edit = edit_of(offer.snapshot, text, self.documents.encoding)
        return types.InlineCompletionItem(
            insert_text=edit.text,
            range=types.Range(types.Position(*edit.start), types.Position(*edit.end)),
            command=commands.accept_command(offer),
        )

    def send_update(self, offer: Offer) -> None:
        """Tell the client that a prediction has grown or ended."""
        snapshot = offer.snapshot
        self.usage.show(offer)
        params = wire.InlineCompletionUpdateParams(
            session=offer.session,
            uri=snapshot.uri,
            version=snapshot.version,
            text=offer.text,
            done=offer.is_final,
            item=self.item(offer, offer.text),
            cost=_cost(offer.stats, offer.tier) if offer.stats else None,
        )
        self.protocol.notify(wire.UPDATE, params)

    def follow_engine(self, status: EngineStatus) -> None:
        """Tell the client and the log how the engine is; a failure also into the client's log."""
        logger.info("engine %s: %s", status.state, status.message)
        self.board.set_engine(status)
        self.loading.follow(status)
        if status.state == "failed":
            self.tell(f"There are no completions: {status.message}")

    def send_status(self, status: Status) -> None:
        """Tell the client what its status line should say."""
        params = wire.StatusParams(status.state, status.message, status.progress, status.reason)
        self.protocol.notify(wire.STATUS, params)

    def tell(self, message: str) -> None:
        """Log here and in the client's log, which is no pop-up."""
        logger.warning("%s", message)
        self.window_log_message(types.LogMessageParams(types.MessageType.Warning, message))


def _project_folder(params: types.InitializeParams) -> Path | None:
    """The first folder that the editor has open, if it is on this machine's disk."""
    folders = params.workspace_folders or []
    path = to_fs_path(folders[0].uri if folders else params.root_uri or "")
    return Path(path) if path else None


def _excluded(uri: str, reason: str) -> Quiet:
    name = uri.rsplit("/", 1)[-1]
    return Quiet("excluded", f"There are no completions for {name}: {reason}.")


def _cost(stats: Stats, tier: str) -> wire.Cost:
    return wire.Cost(
        tier=tier,
        tokens=stats.tokens,
        forwards=stats.forwards,
        prefill_tokens=stats.prefill_tokens,
        cached_tokens=stats.cached_tokens,
        first_block_ms=stats.first_block_ms,
        total_ms=stats.total_ms,
    )


def make_server(
    configuration: Configuration, engine_command: Sequence[str] = ENGINE_COMMAND
) -> SeedServer:
    """A server with all handlers, not yet listening."""
    server = SeedServer(configuration, engine_command)
    commands.register(server)
    workspace_features.register(server)
    server.edits = actions.register(server)

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.documents.encoding = _ENCODINGS[server.workspace.position_encoding or "utf-16"]
        server.configuration.introduce(params.initialization_options, _project_folder(params))
        server.configure()
        server.informed.use_folders(workspace_features.workspace_folders(server))
        server.completions.is_followed = wire.follows_updates(params.capabilities.experimental)
        window = params.capabilities.window
        server.loading.is_supported = bool(window and window.work_done_progress)
        server.edits.introduce(params.capabilities)
        completion_items.register(server, params.capabilities)

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        await editor_settings.pull(server, server.configuration)
        server.apply_settings()
        await server.engine.start()
        server.run(server.informed.prepare())
        await editor_settings.watch(server)

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        if not await editor_settings.pull(server, server.configuration) and params.settings:
            server.configuration.use_section(params.settings)
        server.apply_settings()

    @server.feature(types.SHUTDOWN)
    async def shutdown(_: None) -> None:
        server.has_shut_down = True
        await server.engine.close()
        await server.usage.close()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        server.open_document(params.text_document)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        document, changes = params.text_document, [*map(to_change, params.content_changes)]
        server.change_document(document.uri, document.version, changes)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        server.close_document(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(
        params: types.InlineCompletionParams,
    ) -> list[types.InlineCompletionItem]:
        is_invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
        uri = params.text_document.uri
        offer = await server.complete(
            uri,
            params.position,
            is_invoked=is_invoked,
            selected=params.context.selected_completion_info,
        )
        return server.items(offer) if offer else []

    @server.feature(wire.REST)
    def cursor_rest(params: wire.CursorRestParams) -> None:
        server.rest(params.uri, params.version, params.range)

    return server


def main(configuration: Configuration, engine_command: Sequence[str] = ENGINE_COMMAND) -> int:
    """Serve one editor on stdin and stdout until it leaves; the exit code is LSP's.

    Args:
        configuration: what holds until the editor has introduced itself, and from then on.
        engine_command: starts the engine, which gets the flags of the settings and `--socket`.
    """
    with take_stdout() as stream:
        server = make_server(configuration, engine_command)
        server.start_io(sys.stdin.buffer, stream)
    return 0 if server.has_shut_down else 1
