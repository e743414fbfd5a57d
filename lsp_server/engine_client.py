"""The way to the engine: connect to the one that runs, or spawn it; restart it if it crashes.

One engine serves all editor windows of a user that want the same settings: they meet at a Unix
socket whose name is a hash of those settings. The engine is no child in any lasting sense: it has
its own session, outlives this process and leaves by itself when idle. Knows neither LSP nor torch.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs

from lsp_server import __version__
from lsp_server.settings import Settings, engine_arguments
from sampler.messages import (
    PROTOCOL_VERSION,
    BlockCommitted,
    Cancel,
    Command,
    Complete,
    Event,
    Failed,
    Finished,
    FrameDecoder,
    FrameError,
    Hello,
    Loading,
    Ready,
    encode,
)

logger = logging.getLogger(__name__)

ENGINE_COMMAND = (sys.executable, "-I", "-m", "sampler.serve")
"""-I: a folder named `sampler` in the editor's working directory is never imported."""

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
MAX_CRASHES = 5
"""In a row, without one finished completion in between."""

SPAWN_TIMEOUT_S = 30.0
"""Until a new engine accepts connections, which it does before it loads anything."""

_POLL_S = 0.02
_MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 104 on macOS, 108 on Linux
_MAX_LOG_BYTES = 1_000_000

EngineState = Literal["starting", "loading", "ready", "restarting", "failed"]
EngineEvent = BlockCommitted | Finished | Failed


@dataclass(frozen=True)
class EngineStatus:
    """What the engine is doing; `message` is for a person, `progress` in [0, 1] or None."""

    state: EngineState
    message: str
    progress: float | None = None


class EngineError(Exception):
    """The engine cannot serve and trying again would not help; one sentence for a person."""


@dataclass
class _Pending:
    request: Complete
    events: asyncio.Queue[EngineEvent] = field(default_factory=asyncio.Queue)
    is_sent: bool = False


class EngineClient:
    """One connection to the engine, kept up in the background from `start` to `close`."""

    def __init__(
        self,
        settings: Settings,
        on_status: Callable[[EngineStatus], None],
        command: Sequence[str] = ENGINE_COMMAND,
    ):
        self._command = [*command, *engine_arguments(settings)]
        self._on_status = on_status
        self._pending: dict[str, _Pending] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._is_ready = False
        self._failure: str | None = None
        self._num_crashes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin connecting; returns at once, completions wait until the engine is ready."""
        assert self._task is None, "a client starts once"
        self._task = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Disconnect, failing what is pending. The engine itself stays for other windows."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._fail_all("The connection to the engine is closed.")

    async def complete(self, request: Complete) -> AsyncGenerator[EngineEvent, None]:
        """The request's events; the last one is `Finished` or `Failed`.

        Closing the iterator early, or cancelling the task that reads it, cancels the request.
        """
        if self._failure is not None:
            yield Failed(self._failure, request.request_id)
            return
        pending = _Pending(request)
        self._pending[request.request_id] = pending
        is_over = False
        try:
            if self._is_ready:
                self._submit(pending)
            while not is_over:
                event = await pending.events.get()
                is_over = not isinstance(event, BlockCommitted)
                yield event
        finally:
            self._pending.pop(request.request_id, None)
            if pending.is_sent and not is_over:
                self._send(Cancel(request.request_id))

    async def _keep_connected(self) -> None:
        """Connect, serve, and after a crash connect again; ends when there is no use in it."""
        while True:
            try:
                self._on_status(EngineStatus("starting", "The engine is starting."))
                await self._serve(*await self._connect())
                message = "The engine stopped unexpectedly."
            except (OSError, ValueError) as error:  # ValueError: bad frames, NUL in an argument
                message = f"The engine cannot be reached: {error}."
            except EngineError as error:
                self._give_up(str(error))
                return
            finally:
                self._disconnect()
            self._num_crashes += 1
            if self._num_crashes >= MAX_CRASHES:
                self._give_up(
                    f"{message} It was started {MAX_CRASHES} times in vain, "
                    f"its log is {self._log_path()}."
                )
                return
            logger.warning("%s %s", message, self._exit_code())
            self._fail_sent(message)
            self._on_status(EngineStatus("restarting", message))
            await asyncio.sleep(back_off_s(self._num_crashes))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Exchange frames until the engine hangs up."""
        self._writer = writer
        self._send(Hello(f"seed-lsp {__version__} pid {os.getpid()}"))
        decoder = FrameDecoder()
        while data := await reader.read(1 << 16):
            for message in decoder.feed(data):
                if isinstance(message, Command):
                    raise FrameError(f"an engine does not send {type(message).__name__}")
                self._receive(message)

    def _receive(self, event: Event) -> None:
        if isinstance(event, Loading):
            self._on_status(EngineStatus("loading", event.message, event.fraction))
        elif isinstance(event, Ready):
            if event.protocol != PROTOCOL_VERSION:
                raise EngineError(
                    f"The engine speaks protocol {event.protocol}, this server {PROTOCOL_VERSION}: "
                    "stop the old engine or restart the editor."
                )
            self._is_ready = True
            self._on_status(EngineStatus("ready", f"{event.model} on {event.device}"))
            for pending in self._pending.values():
                self._submit(pending)
        elif isinstance(event, Failed) and event.request_id is None:
            raise EngineError(event.message)
        else:
            if isinstance(event, Finished):
                self._num_crashes = 0
            if event.request_id in self._pending:
                self._pending[event.request_id].events.put_nowait(event)

    def _submit(self, pending: _Pending) -> None:
        pending.is_sent = True
        self._send(pending.request)

    def _send(self, command: Command) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(command))

    def _disconnect(self) -> None:
        self._is_ready = False
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _fail_sent(self, message: str) -> None:
        """End the requests that the lost engine was working at; the others wait for the next."""
        for request_id, pending in self._pending.items():
            if pending.is_sent:
                pending.events.put_nowait(Failed(message, request_id))

    def _give_up(self, message: str) -> None:
        """Say once that there will be no engine."""
        self._fail_all(message)
        self._on_status(EngineStatus("failed", message))

    def _fail_all(self, message: str) -> None:
        """From now on every request fails at once."""
        self._failure = message
        for request_id, pending in self._pending.items():
            pending.events.put_nowait(Failed(message, request_id))

    def _exit_code(self) -> str:
        """What is known about the end of a process that we spawned; reaps it."""
        code = None if self._process is None else self._process.poll()
        return "" if code is None else f"Its exit code was {code}, its log is {self._log_path()}."

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the engine of these settings, which is spawned if none answers.

        Raises:
            EngineError: if there is no safe place for the socket.
            OSError: if no engine comes up.
        """
        path = socket_path(self._command)
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(path)
        async with _file_lock(path.with_suffix(".lock")):
            with contextlib.suppress(OSError):  # another window was faster
                return await asyncio.open_unix_connection(path)
            path.unlink(missing_ok=True)
            self._spawn(path)
            return await self._first_connection(path)

    def _spawn(self, path: Path) -> None:
        log_path = self._log_path()
        log_path.parent.mkdir(parents=True, exist_ok=True)
        is_long = log_path.exists() and log_path.stat().st_size > _MAX_LOG_BYTES
        with log_path.open("wb" if is_long else "ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--socket", str(path)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        logger.info("engine %d spawned, its log is %s", self._process.pid, log_path)

    async def _first_connection(
        self, path: Path
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + SPAWN_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                return await asyncio.open_unix_connection(path)
            if self._process.poll() is not None:
                raise ConnectionError("it ended before it accepted a connection")
            await asyncio.sleep(_POLL_S)
        raise TimeoutError(f"it accepts no connection after {SPAWN_TIMEOUT_S:.0f} s")

    def _log_path(self) -> Path:
        name = socket_name(self._command)
        return platformdirs.user_log_path("seed-lsp", appauthor=False) / f"engine-{name}.log"


def back_off_s(num_crashes: int) -> float:
    """Seconds to wait before the next start after so many crashes in a row."""
    return min(FIRST_BACK_OFF_S * 2.0 ** (num_crashes - 1), LONGEST_BACK_OFF_S)


def socket_name(command: Sequence[str]) -> str:
    """Equal for clients that may share an engine: same environment, flags, version and protocol."""
    # `python` and `python3` of one environment are the same interpreter: its prefix counts.
    identity = json.dumps([sys.prefix, list(command[1:]), __version__, PROTOCOL_VERSION])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def socket_path(command: Sequence[str]) -> Path:
    """Where the engine of that command listens, in a folder that only this user can enter.

    Raises:
        EngineError: if there is no such folder.
    """
    name = f"{socket_name(command)}.sock"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs tells that there is no XDG_RUNTIME_DIR
        folders = []
        with contextlib.suppress(OSError):
            folders.append(platformdirs.user_runtime_path("seed-lsp", appauthor=False))
    folders.append(Path(tempfile.gettempdir()) / f"seed-lsp-{os.getuid()}")
    for folder in folders:
        if len(os.fsencode(folder / name)) <= _MAX_SOCKET_PATH_BYTES and _is_private(folder):
            return folder / name
    raise EngineError(
        f"There is no private folder for the engine's socket: {folders[-1]} is not a folder that "
        "only you can read; set XDG_RUNTIME_DIR to one."
    )


def _is_private(folder: Path) -> bool:
    """Create the folder if need be; whether it is ours alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    is_own_folder = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return is_own_folder and not status.st_mode & 0o077


@contextlib.asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock, so that two windows that open together spawn one engine."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
