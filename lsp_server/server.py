"""The language server: LSP in, our types through the middle, LSP out.

Handlers translate and delegate; they hold no state of their own. What pygls does by itself and must
not is changed in `Wire`: its copy of the documents, tracebacks on the wire, requests left hanging.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter, lsp_method
from pygls.uris import to_fs_path

from lsp_server import __version__, wire
from lsp_server.completions import Completions
from lsp_server.context import refusal
from lsp_server.documents import Change, DocumentStore, Encoding, Position
from lsp_server.edits import make_edit
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.session import Offer
from lsp_server.settings import Problem, Settings
from lsp_server.snapshot import take_snapshot
from sampler.messages import Stats

logger = logging.getLogger(__name__)

Resolve = Callable[[object, Path | None], tuple[Settings, Sequence[Problem]]]
"""Settings given what only `initialize` tells: the editor's own, and the project's folder."""

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}
_OWN_DOCUMENTS = (
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
)


class Wire(LanguageServerProtocol):
    """pygls' protocol with our extensions, without its document store and its tracebacks."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for method in _OWN_DOCUMENTS:  # then ours, registered as features, are the only handlers
            del self.fm.builtin_features[method]

    def get_message_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        """The type of a message, ours included."""
        return wire.MESSAGE_TYPES.get(method) or super().get_message_type(method)

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(
        self, params: types.InitializeParams
    ) -> Generator[Any, Any, types.InitializeResult]:
        """Answer `initialize`, announcing our extensions."""
        result = yield from super().lsp_initialize(params)
        result.capabilities.experimental = wire.CAPABILITY
        return result

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Type a message; a request that has no type is refused, where pygls would leave it open.

        Of client capabilities that lsprotocol is too old for only the position encodings are kept.
        """
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if data.get("method") == types.INITIALIZE and _forget_capabilities(data):
                return self.structure_message(data)
            if "method" in data and "id" in data:
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def _send_response(
        self, msg_id: str | int, result: Any = None, error: types.ResponseError | None = None
    ) -> None:
        if error is not None:
            is_internal = error.code == types.ErrorCodes.InternalError
            message = "Internal error, see the server's log." if is_internal else error.message
            error = types.ResponseError(error.code, message)
        super()._send_response(msg_id, result, error)


def _forget_capabilities(data: dict[str, Any]) -> bool:
    """Reduce what a client says it can do to what we use; False if that was all of it."""
    params = data.get("params") or {}
    capabilities = params.get("capabilities") or {}
    general = capabilities.get("general") or {}
    reduced = {
        "general": {"positionEncodings": general.get("positionEncodings")},
        "experimental": capabilities.get("experimental"),
    }
    is_new = params.get("capabilities") != reduced
    params["capabilities"] = reduced
    return is_new


class SeedServer(LanguageServer):
    """What the handlers share: settings, documents, the engine's client, the sessions."""

    def __init__(
        self, settings: Settings, problems: Sequence[Problem], engine_command: Sequence[str]
    ):
        super().__init__(
            "seed-lsp", __version__, protocol_cls=Wire, converter_factory=default_converter
        )
        self.engine_command = engine_command
        self.documents = DocumentStore()
        self.refused: dict[str, str] = {}
        self.has_shut_down = False
        self.configure(settings, problems)

    def configure(self, settings: Settings, problems: Sequence[Problem]) -> None:
        """Take over settings; before the engine is started."""
        self.settings = settings
        self.problems = problems
        configure_logging(settings)
        self.engine = EngineClient(settings, self.send_status, self.engine_command)
        self.completions = Completions(self.engine, settings, self.send_update)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log by type only: pygls would show a pop-up, and messages may quote source text."""
        logger.error("%s: %s", source.__name__, type(error).__name__)

    def is_refused(self, uri: str) -> bool:
        """Whether a document gets no completions; the reason is logged once."""
        reason = refusal(self.documents.get(uri), self.settings)
        if reason is not None and self.refused.get(uri) != reason:
            logger.warning("no completions for %s: %s", uri, reason)
            self.refused[uri] = reason
        return reason is not None

    def item(self, offer: Offer) -> types.InlineCompletionItem:
        """An offer in LSP's terms."""
        edit = make_edit(offer.snapshot, offer.text, self.documents.encoding)
        return types.InlineCompletionItem(
            insert_text=edit.text,
            range=types.Range(types.Position(*edit.start), types.Position(*edit.end)),
        )

    def send_update(self, offer: Offer) -> None:
        """Tell the client that a prediction has grown or ended."""
        snapshot = offer.snapshot
        params = wire.InlineCompletionUpdateParams(
            session=offer.session,
            uri=snapshot.uri,
            version=snapshot.version,
            text=offer.text,
            done=offer.is_final,
            item=self.item(offer),
            cost=_cost(offer.stats) if offer.stats else None,
        )
        self.protocol.notify(wire.UPDATE, params)

    def send_status(self, status: EngineStatus) -> None:
        """Tell the client and the log how the engine is; a failure also into the client's log."""
        params = wire.StatusParams(status.state, status.message, status.progress)
        self.protocol.notify(wire.STATUS, params)
        logger.info("engine %s: %s", status.state, status.message)
        if status.state == "failed":
            self.tell(f"There are no completions: {status.message}")

    def tell(self, message: str) -> None:
        """Log here and in the client's log, which is no pop-up."""
        logger.warning("%s", message)
        self.window_log_message(types.LogMessageParams(types.MessageType.Warning, message))


def _project_folder(params: types.InitializeParams) -> Path | None:
    """The first folder that the editor has open, if it is on this machine's disk."""
    folders = params.workspace_folders or []
    path = to_fs_path(folders[0].uri if folders else params.root_uri or "")
    return Path(path) if path else None


def _cost(stats: Stats) -> wire.Cost:
    return wire.Cost(
        tokens=stats.tokens,
        forwards=stats.forwards,
        prefill_tokens=stats.prefill_tokens,
        cached_tokens=stats.cached_tokens,
        first_block_ms=stats.first_block_ms,
        total_ms=stats.total_ms,
    )


def _position(position: types.Position) -> Position:
    return Position(position.line, position.character)


def _change(change: types.TextDocumentContentChangeEvent) -> Change:
    if isinstance(change, types.TextDocumentContentChangeWholeDocument):
        return Change(change.text)
    return Change(change.text, (_position(change.range.start), _position(change.range.end)))


def make_server(
    settings: Settings,
    problems: Sequence[Problem] = (),
    resolve: Resolve | None = None,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> SeedServer:
    """A server with all handlers, not yet listening."""
    server = SeedServer(settings, problems, engine_command)

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.documents.encoding = _ENCODINGS[server.workspace.position_encoding or "utf-16"]
        if resolve is not None:
            server.configure(*resolve(params.initialization_options, _project_folder(params)))
        server.completions.is_followed = wire.follows_updates(params.capabilities.experimental)

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        for problem in server.problems:
            server.tell(str(problem))
        await server.engine.start()

    @server.feature(types.SHUTDOWN)
    async def shutdown(_: None) -> None:
        server.has_shut_down = True
        await server.engine.close()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        server.completions.close(document.uri)
        server.documents.open(document.uri, document.language_id, document.version, document.text)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        uri, version = params.text_document.uri, params.text_document.version
        document = server.documents.change(uri, version, map(_change, params.content_changes))
        if document is not None:
            server.completions.change(document)
        else:
            logger.warning("a change of %s is ignored: the document is not open", uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        server.completions.close(params.text_document.uri)
        server.documents.close(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(
        params: types.InlineCompletionParams,
    ) -> list[types.InlineCompletionItem]:
        document = server.documents.get(params.text_document.uri)
        if server.is_refused(params.text_document.uri) or document is None:
            return []
        offer = await server.completions.request(
            take_snapshot(document, _position(params.position))
        )
        return [server.item(offer)] if offer else []

    return server


def configure_logging(settings: Settings) -> None:
    """Log to stderr and the file of the settings; stdout is the wire."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file is not None:
        with contextlib.suppress(OSError):
            handlers.append(logging.FileHandler(settings.log_file, encoding="utf-8"))
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )
    # pygls logs whole message bodies at INFO, and at ERROR tracebacks that quote them.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)


def main(
    settings: Settings,
    problems: Sequence[Problem] = (),
    resolve: Resolve | None = None,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> int:
    """Serve one editor on stdin and stdout until it leaves; the exit code is LSP's.

    Args:
        settings: what holds until the editor has introduced itself.
        problems: what was wrong with the settings, told to the editor's log.
        resolve: called at `initialize` for the settings that hold from then on.
        engine_command: starts the engine, which gets the flags of the settings and `--socket`.
    """
    with _take_stdout() as stream:
        server = make_server(settings, problems, resolve, engine_command)
        server.start_io(sys.stdin.buffer, stream)
    return 0 if server.has_shut_down else 1


@contextlib.contextmanager
def _take_stdout() -> Generator[Any, None, None]:
    """Move the wire away from descriptor 1: whatever else prints there goes to stderr."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # pygls has closed it, or the editor is gone
            stream.close()
