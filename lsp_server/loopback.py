"""A real LSP client of this server, as a subprocess over stdio: what an editor sees, in Python.

For `demo`, `doctor` and `bench`. Knows only the protocol: nothing is shared with the server but the
wire.
"""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient
from pygls.protocol import LanguageServerProtocol, default_converter

from lsp_server import __version__, wire
from lsp_server.settings import PREFIX, Settings, as_text

SERVER_COMMAND = (sys.executable, "-I", "-m", "lsp_server", "--stdio")
_MOST_SILENCE_S = 30.0
_SOME_WORK_S = 0.05


class LoopbackError(Exception):
    """The server did not behave; one sentence for a person."""


@dataclass(frozen=True)
class Growth:
    """All predicted text so far, and milliseconds since the request."""

    text: str
    elapsed_ms: float
    cost: wire.Cost | None = None
    """Of the whole prediction, with its last growth."""


class _Protocol(LanguageServerProtocol):
    def get_message_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        return wire.MESSAGE_TYPES.get(method) or super().get_message_type(method)


class Loopback(LanguageClient):
    """The client's side: statuses are handed on, updates wait in a queue."""

    def __init__(self, on_status: Callable[[wire.StatusParams], None]):
        super().__init__(
            "seed-lsp-loopback",
            __version__,
            protocol_cls=_Protocol,
            converter_factory=default_converter,
        )
        self.updates: asyncio.Queue[wire.InlineCompletionUpdateParams] = asyncio.Queue()
        self.states: asyncio.Queue[wire.StatusParams] = asyncio.Queue()
        self.initialize_ms = 0.0
        self.has_inline_completion = False

        def on_any_status(params: wire.StatusParams) -> None:
            on_status(params)
            self.states.put_nowait(params)

        def ignore(_: types.LogMessageParams) -> None:
            """Problems with settings; whoever uses this client has shown them already."""

        self.feature(wire.UPDATE)(lambda params: self.updates.put_nowait(params))
        self.feature(wire.STATUS)(on_any_status)
        self.feature(types.WINDOW_LOG_MESSAGE)(ignore)

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Return when the engine serves.

        Raises:
            LoopbackError: if it failed for good, or takes too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (status := await self.states.get()).state != "ready":
                    if status.state == "failed":
                        raise LoopbackError(status.message)
        except TimeoutError as error:
            raise LoopbackError(f"the engine was not ready after {timeout_s:.0f} s") from error

    def open_file(self, path: Path, language: str, text: str) -> str:
        """Open a document with this text and return its uri."""
        uri = path.absolute().as_uri()
        document = types.TextDocumentItem(uri, language, 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(document))
        return uri

    async def complete(self, uri: str, position: types.Position) -> AsyncIterator[Growth]:
        """Ask once and follow the prediction until it is done."""
        while not self.updates.empty():
            self.updates.get_nowait()  # of an earlier prediction
        start = time.perf_counter()
        reply = await self.text_document_inline_completion_async(
            types.InlineCompletionParams(
                context=types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked),
                text_document=types.TextDocumentIdentifier(uri),
                position=position,
            )
        )
        items = reply.items if isinstance(reply, types.InlineCompletionList) else reply or []
        if not items:
            return
        yield Growth(inserted_text(items[0]), 1000 * (time.perf_counter() - start))
        while True:
            try:
                update = await asyncio.wait_for(self.updates.get(), _MOST_SILENCE_S)
            except TimeoutError as error:
                raise LoopbackError("the server does not finish its answer") from error
            if update.uri == uri:
                yield Growth(update.text, 1000 * (time.perf_counter() - start), update.cost)
                if update.done:
                    return

    async def cancel(self, uri: str, position: types.Position) -> float:
        """Ask, give up at once, and return the milliseconds until the server has let go.

        Raises:
            LoopbackError: if it answers too late, or with an error that is none of a cancel.
        """
        document = types.TextDocumentIdentifier(uri)
        context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
        params = types.InlineCompletionParams(context, document, position)
        request_id = str(uuid.uuid4())
        answer = self.protocol.send_request(
            types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=request_id
        )
        await asyncio.sleep(_SOME_WORK_S)
        start = time.perf_counter()
        self.cancel_request(types.CancelParams(request_id))
        try:
            await asyncio.wait_for(asyncio.wrap_future(answer), _MOST_SILENCE_S)
        except TimeoutError as error:
            raise LoopbackError("the server does not answer a cancel") from error
        except JsonRpcException as error:
            if error.code != types.LSPErrorCodes.RequestCancelled:
                raise LoopbackError(f"a cancelled request ended with: {error.message}") from error
        return 1000 * (time.perf_counter() - start)


def inserted_text(item: types.InlineCompletionItem) -> str:
    """The text at the cursor: an item of several lines repeats the rest of the line it replaces."""
    assert item.range is not None, "the server always sends a range"
    num_repeated = item.range.end.character - item.range.start.character
    text = str(item.insert_text)
    return text[: len(text) - num_repeated]


@asynccontextmanager
async def open_loopback(
    settings: Settings, on_status: Callable[[wire.StatusParams], None]
) -> AsyncIterator[Loopback]:
    """Start the server with these settings, introduce ourselves, and in the end say goodbye.

    Raises:
        LoopbackError: if the server does not answer `initialize`.
    """
    client = Loopback(on_status)
    start = time.perf_counter()
    environment = _environment(replace(settings, stats=False))  # nobody is typing
    await client.start_io(*SERVER_COMMAND, env={**os.environ, **environment})
    capabilities = types.ClientCapabilities(
        text_document=types.TextDocumentClientCapabilities(
            inline_completion=types.InlineCompletionClientCapabilities()
        ),
        experimental=wire.CLIENT_CAPABILITY,
    )
    try:
        async with asyncio.timeout(30):
            result = await client.initialize_async(types.InitializeParams(capabilities))
    except (TimeoutError, RuntimeError) as error:
        raise LoopbackError(f"the server did not answer initialize: {error}") from error
    client.initialize_ms = 1000 * (time.perf_counter() - start)
    client.has_inline_completion = bool(result.capabilities.inline_completion_provider)
    client.initialized(types.InitializedParams())
    try:
        yield client
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()  # type: ignore[no-untyped-call]


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, which win over all files the server reads."""
    return {
        PREFIX + name.upper(): as_text(value)
        for name, value in asdict(settings).items()
        if value is not None
    }
