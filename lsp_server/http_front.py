"""`seed-lsp serve`: the same engine for plugins that speak HTTP, on this machine alone.

Listens on the loopback address unless an API key is set. Requests that a web page could have made,
or that came in under a foreign host name, are refused: any page that a person visits can reach
127.0.0.1. Knows the dialects only through `http_messages`; the log holds no text of a request.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import itertools
import json
import logging
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lsp_server import http_messages
from lsp_server.edits import with_line_breaks
from lsp_server.engine_client import ENGINE_COMMAND, EngineClient, EngineStatus
from lsp_server.http_messages import Ask, BadRequestError
from lsp_server.settings import Settings
from sampler.messages import BlockCommitted, Failed, Finished

logger = logging.getLogger(__name__)

DEFAULT_PORT = 8012
"""Where llama.vim and llama.vscode look first."""
MAX_BODY_BYTES = 16 * 1024 * 1024
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

Growth = tuple[str, Finished | None, bool]
"""More text; the end, with the last of it; whether a stop text has cut it."""


class HttpError(ValueError):
    """The server cannot be started like this; one sentence for a person."""


class Front:
    """The handlers, and the one client of the engine behind them."""

    def __init__(self, settings: Settings, engine_command: Sequence[str]):
        self._settings = settings
        self._status = EngineStatus("starting", "The engine is starting.")
        self._engine = EngineClient(settings, self._follow, engine_command)
        self._ids = (str(number) for number in itertools.count(1))

    @contextlib.asynccontextmanager
    async def run(self, _: Starlette) -> AsyncIterator[None]:
        """Keep the engine while the server runs."""
        await self._engine.start()
        try:
            yield
        finally:
            await self._engine.close()

    def _follow(self, status: EngineStatus) -> None:
        self._status = status
        logger.info("engine %s: %s", status.state, status.message)

    async def health(self, _: Request) -> Response:
        """Whether completions can be had now."""
        if self._status.state in ("ready", "busy"):
            return JSONResponse({"status": "ok"})
        return _error(503, self._status.message, "unavailable_error")

    async def models(self, _: Request) -> Response:
        """The one model."""
        model = {"id": self._settings.model, "object": "model", "owned_by": "seed-lsp"}
        return JSONResponse({"object": "list", "data": [model]})

    async def infill(self, request: Request) -> Response:
        """`/infill` as llama.cpp's server has it."""
        ask = await _read(request, http_messages.read_infill)
        model = self._settings.model

        def piece(growth: Growth) -> dict[str, Any]:
            text, finished, is_cut = growth
            if finished is None:
                return http_messages.infill_piece(text)
            return http_messages.infill_answer(text, finished, model, is_cut=is_cut)

        return await self._answer(request, ask, piece, b"")

    async def completion(self, request: Request) -> Response:
        """`/v1/completions` as OpenAI had it."""
        ask = await _read(request, http_messages.read_completion)
        created = int(time.time())

        def piece(growth: Growth) -> dict[str, Any]:
            text, finished, is_cut = growth
            return http_messages.completion_answer(
                text, self._settings.model, created, finished, is_cut=is_cut
            )

        return await self._answer(request, ask, piece, b"data: [DONE]\n\n")

    async def _answer(
        self, request: Request, ask: Ask, piece: Callable[[Growth], dict[str, Any]], end: bytes
    ) -> Response:
        """All of the answer, or a stream of its pieces; a client that leaves cancels it."""
        if ask.is_streamed:

            async def stream() -> AsyncIterator[bytes]:
                try:
                    async with aclosing(self._grow(ask)) as growths:
                        async for growth in growths:
                            yield http_messages.server_sent(piece(growth))
                except HTTPException as error:  # the status line is sent already
                    yield http_messages.server_sent({"error": {"message": error.detail}})
                yield end

            return StreamingResponse(stream(), media_type="text/event-stream")
        collecting = asyncio.create_task(self._collect(ask))
        leaving = asyncio.create_task(_wait_until_gone(request))
        try:
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                raise ClientDisconnect
            return JSONResponse(piece(collecting.result()))
        finally:
            leaving.cancel()
            collecting.cancel()

    async def _collect(self, ask: Ask) -> Growth:
        text = ""
        async with aclosing(self._grow(ask)) as growths:
            async for more, finished, is_cut in growths:
                text += more
                if finished is not None:
                    return text, finished, is_cut
        raise AssertionError("the last growth has the end")

    async def _grow(self, ask: Ask) -> AsyncGenerator[Growth, None]:
        """The answer piece by piece.

        Raises:
            HTTPException: if the engine cannot give it.
        """
        request, line_break = http_messages.to_request(ask, self._settings, next(self._ids))
        raw, num_sent = "", 0
        async with aclosing(self._engine.complete(request)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    if request.is_ahead:  # who writes goes first; nobody waits for what was read
                        yield "", Finished(request.request_id, "", "limit"), False
                        return
                    raise HTTPException(503, event.message)
                raw = raw + event.text if isinstance(event, BlockCommitted) else event.text
                text, is_cut = http_messages.cut_at_stop(
                    with_line_breaks(raw, line_break), ask.stop
                )
                if isinstance(event, Finished):
                    yield text[num_sent:], event, is_cut
                    return
                if is_cut:
                    stopped = Finished(request.request_id, text, "end_of_hole")
                    yield text[num_sent:], stopped, True
                    return
                num_safe = http_messages.num_safe(text, ask.stop)
                if num_safe > num_sent:
                    yield text[num_sent:num_safe], None, False
                    num_sent = num_safe


class Guard:
    """Lets through only what this machine's own programs can have sent."""

    def __init__(self, app: ASGIApp, host: str, api_key: str | None):
        self._app = app
        self._host = host
        self._api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname
        if _is_local(self._host) and name not in (*_LOCAL_NAMES, self._host):
            return _error(403, "this host name is not ours", "forbidden")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).hostname not in _LOCAL_NAMES:
            return _error(403, "web pages have no access", "forbidden")
        if self._api_key is not None and request.url.path != "/health":
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._api_key.encode()):
                return _error(401, "the API key is missing or wrong", "authentication_error")
        return None


def make_app(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    engine_command: Sequence[str] = ENGINE_COMMAND,
) -> ASGIApp:
    """The application, guarded, with an engine of its own connection."""
    front = Front(settings, engine_command)
    routes = [
        Route("/health", front.health),
        Route("/v1/health", front.health),
        Route("/v1/models", front.models),
        Route("/infill", front.infill, methods=["POST"]),
        Route("/v1/completions", front.completion, methods=["POST"]),
    ]
    handlers: Any = {
        HTTPException: _refuse,
        BadRequestError: _refuse_body,
        ClientDisconnect: _let_go,
    }
    return Guard(
        Starlette(routes=routes, exception_handlers=handlers, lifespan=front.run), host, api_key
    )


def serve(settings: Settings, host: str, port: int, api_key: str | None) -> int:
    """Serve until interrupted; the exit code.

    Raises:
        HttpError: if the address cannot be used like this.
    """
    if not _is_local(host) and api_key is None:
        raise HttpError(f"{host} can be reached by others: set an API key, or listen on 127.0.0.1")
    with _listen(host, port) as listener:
        sys.stderr.write(f"listening on http://{host}:{port}, stop with Ctrl-C\n")
        app = make_app(settings, host=host, api_key=api_key)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise HttpError(f"{host}:{port} cannot be used: {reason}; try another --port") from error
    return listener


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _read(request: Request, read: Callable[[object], Ask]) -> Ask:
    """The body of a request.

    Raises:
        BadRequestError: if it is too long, no JSON, or not what `read` reads.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise BadRequestError(f"the body is over the limit of {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(content)
    except ValueError as error:
        raise BadRequestError("the body must be JSON in UTF-8") from error
    return read(body)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(status: int, message: str, kind: str) -> Response:
    body = {"error": {"code": status, "message": message, "type": kind}}
    return JSONResponse(body, status_code=status)


async def _refuse(_: Request, error: HTTPException) -> Response:
    kind = "unavailable_error" if error.status_code == 503 else "invalid_request_error"
    return _error(error.status_code, error.detail, kind)


async def _refuse_body(_: Request, error: BadRequestError) -> Response:
    return _error(400, str(error), "invalid_request_error")


async def _let_go(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it
