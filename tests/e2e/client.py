"""An LSP client that keeps the books: what it asked, what came back, and what never should have.

Speaks JSON-RPC over a server's stdio by hand, so that nothing is typed, repaired or swallowed on
the way. Knows nothing of documents, cursors or ghost text.
"""

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REQUEST_CANCELLED = -32800
CONTENT_MODIFIED = -32801
METHOD_NOT_FOUND = -32601
POP_UPS = ("window/showMessage", "window/showMessageRequest")
TRACEBACK = "Traceback (most recent call last)"

Json = Any


@dataclass
class Call:
    """One request of ours."""

    id: int
    method: str
    sent_at: float
    """Of `time.monotonic`, as all times here: processes of one machine share that clock."""
    result: asyncio.Future[Json] = field(repr=False)
    """None if the answer was an error."""
    was_cancelled: bool = False
    num_answers: int = 0
    error_code: int | None = None
    answered_at: float = 0.0


class Client:
    """One server process and everything that was said.

    Attributes:
        problems: what a user must never see or what LSP forbids, a sentence each.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.problems: list[str] = []
        self.calls: dict[int, Call] = {}
        self.log_messages: list[str] = []
        self.statuses: list[Json] = []
        self._handlers: dict[str, list[Callable[[Json], None]]] = {}
        self._process = process
        self._ids = itertools.count(1)
        self._errors = bytearray()
        self._is_leaving = False
        self._is_over = False
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]
        self.on("window/logMessage", lambda params: self.log_messages.append(params["message"]))
        self.on("seed/status", self.statuses.append)

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> "Client":
        """Spawn a server; it has been told nothing yet."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
            limit=1 << 24,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        return self._errors.decode(errors="replace")

    @property
    def is_ready(self) -> bool:
        """Whether the engine serves, as the server last said."""
        return bool(self.statuses) and self.statuses[-1]["state"] in ("ready", "busy")

    def on(self, method: str, handler: Callable[[Json], None]) -> None:
        """Call `handler` with the parameters of each such notification."""
        self._handlers.setdefault(method, []).append(handler)

    async def initialize(self, capabilities: Json) -> Json:
        """Introduce ourselves; the server's capabilities."""
        params = {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities}
        try:
            result = await self.request("initialize", params).result
        except asyncio.CancelledError as error:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 5)  # it may have more to say
            await self.kill()
            raise RuntimeError(f"the server did not start: {self.stderr[-2000:]}") from error
        self.notify("initialized", {})
        return result["capabilities"]

    def request(self, method: str, params: Json) -> Call:
        """Send a request."""
        call = Call(
            next(self._ids), method, time.monotonic(), asyncio.get_running_loop().create_future()
        )
        self.calls[call.id] = call
        if self._is_over:
            call.result.cancel()
        self._send({"id": call.id, "method": method, "params": params})
        return call

    def cancel(self, call: Call) -> None:
        """Say that the answer is not needed any more; LSP wants one all the same."""
        if call.num_answers == 0 and not call.was_cancelled:
            call.was_cancelled = True
            self.notify("$/cancelRequest", {"id": call.id})

    def notify(self, method: str, params: Json) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    async def leave(self, timeout_s: float = 20.0) -> None:
        """End in good order, then look whether everything was answered and nothing broke."""
        async with asyncio.timeout(timeout_s):
            with contextlib.suppress(asyncio.CancelledError):
                await self.request("shutdown", None).result
            self._is_leaving = True
            self.notify("exit", None)
            await self._process.wait()
            await asyncio.gather(*self._tasks)
        if self._process.returncode != 0:
            self.problems.append(f"the server ended with code {self._process.returncode}")
        open_calls = [call for call in self.calls.values() if call.num_answers == 0]
        self.problems += [f"{call.method} {call.id} was never answered" for call in open_calls]

    async def kill(self) -> None:
        """End the server as a crash would."""
        self._is_leaving = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks)

    def _send(self, message: Json) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while header := await stream.readline():
            length = 0
            while header not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                header = await stream.readline()
            body = await stream.readexactly(length)
            if TRACEBACK.encode() in body:
                self.problems.append(f"a traceback on the wire: {body.decode()[:2000]}")
            self._receive(json.loads(body))
        if not self._is_leaving:
            self.problems.append("the server has ended by itself")
        self._is_over = True
        for call in self.calls.values():
            call.result.cancel()

    async def _read_errors(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while data := await stream.read(1 << 16):
            self._errors += data
        if TRACEBACK in self.stderr:
            self.problems.append(f"a traceback in the log: {self.stderr[-2000:]}")

    def _receive(self, message: Json) -> None:
        if message.get("method") in POP_UPS:
            self.problems.append(f"a pop-up: {message['params']['message']}")
        if "method" not in message:
            self._receive_answer(message)
        elif "id" in message:
            self._answer(message)
        else:
            for handler in self._handlers.get(message["method"], []):
                handler(message["params"])

    def _receive_answer(self, message: Json) -> None:
        call = self.calls.get(message.get("id"))
        if call is None:
            self.problems.append(f"an answer to no request of ours: {message}")
            return
        call.num_answers += 1
        if call.num_answers > 1:
            self.problems.append(f"{call.method} {call.id} was answered twice")
            return
        call.answered_at = time.monotonic()
        if "error" in message:
            call.error_code = message["error"]["code"]
            is_agreed = call.error_code == REQUEST_CANCELLED and call.was_cancelled
            if not is_agreed and call.error_code != CONTENT_MODIFIED:
                self.problems.append(f"{call.method} {call.id} got an error: {message['error']}")
        if not call.result.done():
            call.result.set_result(message.get("result"))

    def _answer(self, message: Json) -> None:
        """What editors answer to a server's own requests: their defaults."""
        method = message["method"]
        if method == "workspace/configuration":
            self._send({"id": message["id"], "result": [None] * len(message["params"]["items"])})
        elif method.startswith(("client/", "window/workDoneProgress/", "workspace/")):
            self._send({"id": message["id"], "result": None})
        else:
            error = {"code": METHOD_NOT_FOUND, "message": f"there is no {method} here"}
            self._send({"id": message["id"], "error": error})
