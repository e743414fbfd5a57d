"""Editors for tests: pytest-lsp clients that introduce themselves as VS Code or as Neovim."""

import asyncio
import json
import os
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest_lsp
from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import ClientServerConfig
from pytest_lsp.protocol import LanguageClientProtocol

from lsp_server import wire
from tests.engines import StubPlace, eventually

ROOT_URI = "file:///project"
URI = f"{ROOT_URI}/main.py"

VS_CODE = types.ClientCapabilities(
    general=types.GeneralClientCapabilities(position_encodings=["utf-16"]),
    text_document=types.TextDocumentClientCapabilities(
        inline_completion=types.InlineCompletionClientCapabilities(dynamic_registration=True)
    ),
    experimental=wire.CLIENT_CAPABILITY,
)
"""VS Code with a plugin that follows updates."""

NEOVIM = types.ClientCapabilities(
    general=types.GeneralClientCapabilities(position_encodings=["utf-8", "utf-16", "utf-32"]),
    text_document=types.TextDocumentClientCapabilities(
        inline_completion=types.InlineCompletionClientCapabilities(dynamic_registration=False)
    ),
)
LSP_MODE = types.ClientCapabilities()
"""Announces nothing that matters here."""
PATIENT_MS = 10_000


class _Protocol(LanguageClientProtocol):
    def get_message_type(self, method: str) -> Any:
        return wire.MESSAGE_TYPES.get(method) or super().get_message_type(method)


class Editor(pytest_lsp.LanguageClient):
    """A client that remembers what it is told, with the few gestures that the tests need."""

    def __init__(self) -> None:
        super().__init__(protocol_cls=_Protocol, converter_factory=default_converter)
        self.updates: list[wire.InlineCompletionUpdateParams] = []
        self.statuses: list[wire.StatusParams] = []
        for method, received in (
            (wire.UPDATE, self.updates),
            (wire.STATUS, self.statuses),
            (types.WINDOW_LOG_MESSAGE, self.log_messages),
            (types.WINDOW_SHOW_MESSAGE, self.messages),
        ):
            self.feature(method)(partial(list.append, received))  # type: ignore[arg-type]
        self.section: object = None
        """What it answers to `workspace/configuration`."""
        self.registrations: list[types.Registration] = []
        self.progress_tokens: list[types.ProgressToken] = []
        self.progress_values: list[Any] = []
        self.may_show_progress = asyncio.Event()
        """Until it is set, no request for a progress display is answered."""
        self.may_show_progress.set()

        @self.feature(types.WORKSPACE_CONFIGURATION)
        def configuration(params: types.ConfigurationParams) -> list[Any]:
            return [self.section for item in params.items if item.section == "seed-lsp"]

        @self.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(params: types.RegistrationParams) -> None:
            self.registrations += params.registrations

        @self.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)
        async def create_progress(params: types.WorkDoneProgressCreateParams) -> None:
            self.progress_tokens.append(params.token)
            await self.may_show_progress.wait()

        @self.feature(types.PROGRESS)
        def progress(params: types.ProgressParams) -> None:
            self.progress_values.append(params.value)

    @property
    def server_pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def open(
        self, text: str, *, uri: str = URI, language: str = "python", version: int = 1
    ) -> None:
        item = types.TextDocumentItem(uri, language, version, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def type(self, text: str, line: int, character: int, version: int, *, removed: int = 0) -> None:
        """Insert at a position, in place of `removed` units behind it."""
        change = types.TextDocumentContentChangePartial(
            range=types.Range(
                types.Position(line, character), types.Position(line, character + removed)
            ),
            text=text,
        )
        self.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(version, URI), [change]
            )
        )

    def ask(self, line: int, character: int, uri: str = URI) -> asyncio.Future[Any]:
        """Ask for an inline completion; the future's result is the list of items."""
        return self.request(
            types.TEXT_DOCUMENT_INLINE_COMPLETION,
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 2},
            },
        )[1]

    def request(self, method: str, params: object) -> tuple[str, asyncio.Future[Any]]:
        """Send any JSON at all as a request, past the checks of the client's types."""
        request_id = f"raw-{len(self.protocol._request_futures)}-{id(params)}"
        future: Future[Any] = Future()
        self.protocol._request_futures[request_id] = future
        self.protocol._result_types[request_id] = self.protocol.get_result_type(method)
        self.notify(method, params, id=request_id)
        return request_id, asyncio.wrap_future(future)

    def notify(self, method: str, params: object, **fields: object) -> None:
        self.protocol._send_data({"jsonrpc": "2.0", "method": method, "params": params, **fields})

    async def execute(self, command: str, *arguments: object) -> Any:
        """Run a command of the server."""
        params = types.ExecuteCommandParams(command, list(arguments))
        return await self.workspace_execute_command_async(params)

    async def wait_for_state(self, state: str) -> wire.StatusParams:
        await eventually(lambda: [status.state for status in self.statuses][-1:] == [state])
        return self.statuses[-1]


async def start_editor(
    place: StubPlace,
    capabilities: types.ClientCapabilities,
    *,
    section: object = None,
    root_uri: str = ROOT_URI,
    **settings: object,
) -> Editor:
    """A server with a stub engine, and an editor that has been through `initialize` with it.

    `settings` go to the server's command line, `section` is what the editor has in its own. Unless
    they say otherwise the editor waits long for a complete line: the machine may be busy.
    """
    settings = {"first_paint_ms": PATIENT_MS, **settings}
    return await connect(
        [
            sys.executable,
            str(Path(__file__).with_name("stub_server.py")),
            str(place.script_path),
            json.dumps(settings),
        ],
        place,
        capabilities,
        section,
        root_uri,
    )


async def connect(
    command: list[str],
    place: StubPlace,
    capabilities: types.ClientCapabilities,
    section: object = None,
    root_uri: str = ROOT_URI,
) -> Editor:
    """An editor that has been through `initialize` with the server of that command."""
    environment = {**os.environ, **place.environment}
    config = ClientServerConfig(command, client_factory=Editor, server_env=environment)
    editor = await config.start()
    assert isinstance(editor, Editor)
    editor.section = section
    result = await editor.initialize_session(
        types.InitializeParams(capabilities=capabilities, root_uri=root_uri)
    )
    editor.server_capabilities = result.capabilities
    return editor


async def stop_editor(editor: Editor) -> None:
    """Leave in good order; the server must end with code 0 and have shown no pop-up."""
    await editor.shutdown_session()
    assert editor._server is not None
    assert editor._server.returncode == 0
    await editor.stop()
    assert editor.messages == [], "the editor showed a pop-up"
