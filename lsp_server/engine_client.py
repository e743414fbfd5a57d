"""The way to the engine: connect to the one that runs, or spawn it; replace it if it dies or hangs.

One engine serves all editor windows of a user that want the same settings: they meet at a Unix
socket whose name is a hash of those settings. The engine is no child in any lasting sense: it has
its own session, outlives this process and leaves by itself when idle. Knows neither LSP nor torch.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lsp_server import __version__, watchdog
from lsp_server.engine_place import EngineError, log_path
from lsp_server.engine_process import EngineProcess, kill, peer_pid
from lsp_server.settings import Settings, engine_arguments
from lsp_server.watchdog import Watchdog
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
    Ping,
    Ready,
    Shutdown,
    encode,
)

logger = logging.getLogger(__name__)

ENGINE_COMMAND = (sys.executable, "-I", "-m", "sampler.serve")
"""-I: a folder named `sampler` in the editor's working directory is never imported."""

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
MAX_CRASHES = 5
"""In a row, without one finished completion in between."""
MAX_HANGS = 2
"""The same for engines that had to be killed."""

LEAVE_TIMEOUT_S = 5.0
"""For an engine that is asked to end; then it is killed."""

SETTLE_S = 0.5
"""For a person who is still typing a setting: an engine for each would load weights for nothing."""

BUSY_AFTER_S = 0.2
"""What takes less is not worth a change of the status."""

EngineState = Literal["starting", "loading", "ready", "busy", "restarting", "failed"]
EngineEvent = BlockCommitted | Finished | Failed


@dataclass(frozen=True)
class EngineStatus:
    """What the engine is doing; `message` is for a person, `progress` in [0, 1] or None."""

    state: EngineState
    message: str
    progress: float | None = None


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
        self._program = command
        self._command = [*command, *engine_arguments(settings)]
        self._on_status = on_status
        self._pending: dict[str, _Pending] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._failure: str | None = None
        self._num_crashes = 0
        self._num_hangs = 0
        self._ready: Ready | None = None
        self._watchdog = Watchdog()
        self._hang: str | None = None
        self._is_leaving = False
        self._wanted = self._command
        self._replacing = asyncio.Lock()
        self._switching: asyncio.Task[None] | None = None
        self._has_heard = False
        self._has_started = False
        self._is_busy = False
        self._busy_timer: asyncio.TimerHandle | None = None
        self._process = EngineProcess()
        self._pid: int | None = None
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin connecting; returns at once, completions wait until the engine is ready."""
        assert self._task is None, "a client starts once"
        self._has_started = True
        self._task = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Disconnect, failing what is pending. The engine itself stays for other windows."""
        self._is_closed = True
        if self._switching is not None:
            self._switching.cancel()
        await self._stop()
        self._fail_all("The connection to the engine is closed.")

    def use(self, settings: Settings, reason: str) -> None:
        """Go on with the engine of these settings; of calls in quick succession the last counts.

        The engine of the old settings is ended if no window but this one uses it.
        """
        self._wanted = [*self._program, *engine_arguments(settings)]
        if not self._has_started:
            self._command = self._wanted
        elif self._switching is None and self._wanted != self._command:
            self._switching = asyncio.create_task(self._switch(reason))

    async def restart(self, reason: str) -> None:
        """Go on with a fresh engine, for all windows; what the old one was working at fails."""
        async with self._replacing:
            await self._replace(reason)

    async def _switch(self, reason: str) -> None:
        await asyncio.sleep(SETTLE_S)
        self._switching = None
        async with self._replacing:
            if self._wanted != self._command:
                await self._replace(reason)

    async def _replace(self, reason: str) -> None:
        """Leave the engine that there is, and connect to that of the command that is wanted."""
        self._on_status(EngineStatus("restarting", reason))
        if self._command == self._wanted:
            await self._end_engine()
        else:
            self._send(Shutdown(only_if_alone=True))
        self._command = self._wanted
        await self._stop()
        self._fail_sent(reason)
        if not self._is_closed:
            self._failure, self._num_crashes, self._num_hangs = None, 0, 0
            await self.start()

    @property
    def ready(self) -> Ready | None:
        """What the engine said of itself, while it serves."""
        return self._ready

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
            if self._ready is not None:
                self._submit(pending)
            while not is_over:
                event = await pending.events.get()
                is_over = not isinstance(event, BlockCommitted)
                yield event
        finally:
            self._pending.pop(request.request_id, None)
            if pending.is_sent and not is_over:
                self._send(Cancel(request.request_id))
            self._note_load()

    async def _keep_connected(self) -> None:
        """Connect, serve, and after a crash connect again; ends when there is no use in it."""
        while True:
            try:
                self._on_status(EngineStatus("starting", "The engine is starting."))
                await self._serve(*await self._process.connect(self._command))
                message = self._hang or "The engine stopped unexpectedly."
            except (OSError, ValueError) as error:  # ValueError: bad frames, NUL in an argument
                message = f"The engine cannot be reached: {error}."
            except EngineError as error:
                self._give_up(str(error))
                return
            finally:
                self._disconnect()
            if self._is_leaving:
                return
            self._num_crashes += 1
            self._num_hangs += self._hang is not None
            if self._num_crashes >= MAX_CRASHES or self._num_hangs >= MAX_HANGS:
                self._give_up(
                    f"{message} It was started {self._num_crashes} times in vain, "
                    f"its log is {log_path(self._command)}."
                )
                return
            logger.warning("%s %s", message, self._process.describe_end(self._command))
            self._fail_sent(message)
            self._on_status(EngineStatus("restarting", message))
            await asyncio.sleep(back_off_s(self._num_crashes))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Exchange frames until the engine hangs up."""
        self._writer, self._hang, self._has_heard = writer, None, False
        self._pid = peer_pid(writer)
        self._send(Hello(f"seed-lsp {__version__} pid {os.getpid()}"))
        decoder = FrameDecoder()
        watch = asyncio.create_task(self._watch())
        try:
            while data := await reader.read(1 << 16):
                for message in decoder.feed(data):
                    if isinstance(message, Command):
                        raise FrameError(f"an engine does not send {type(message).__name__}")
                    self._receive(message)
        except ConnectionResetError:
            if self._hang is None:  # else we have killed it
                raise
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """Kill an engine that hangs, which ends the connection to it."""
        self._watchdog = Watchdog()
        while True:
            await asyncio.sleep(watchdog.PING_EVERY_S)
            is_owed = any(pending.is_sent for pending in self._pending.values())
            if self._has_heard and not is_owed:
                self._watchdog.rest()
                continue
            self._hang = self._watchdog.pass_round()
            if self._hang is None:
                self._send(Ping())
            elif self._pid is not None:
                kill(self._pid)
            else:
                self._disconnect()

    def _receive(self, event: Event) -> None:
        self._watchdog.hear(event)
        self._has_heard = True
        if isinstance(event, Loading):
            self._on_status(EngineStatus("loading", event.message, event.fraction))
        elif isinstance(event, Ready):
            if event.protocol != PROTOCOL_VERSION:
                raise EngineError(
                    f"The engine speaks protocol {event.protocol}, this server {PROTOCOL_VERSION}: "
                    "stop the old engine or restart the editor."
                )
            self._ready, self._pid = event, event.pid
            self._say_ready(event)
            for pending in self._pending.values():
                self._submit(pending)
        elif isinstance(event, Failed) and event.request_id is None:
            raise EngineError(event.message)
        elif isinstance(event, EngineEvent):
            if isinstance(event, Finished):
                self._num_crashes = self._num_hangs = 0
            if event.request_id in self._pending:
                self._pending[event.request_id].events.put_nowait(event)

    def _submit(self, pending: _Pending) -> None:
        pending.is_sent = True
        self._send(pending.request)
        self._note_load()

    def _note_load(self) -> None:
        """Say that the engine is busy if it stays so; what it works out ahead does not count."""
        has_load = self._ready is not None and any(
            pending.is_sent and not pending.request.is_ahead for pending in self._pending.values()
        )
        if has_load and self._busy_timer is None:
            loop = asyncio.get_running_loop()
            self._busy_timer = loop.call_later(BUSY_AFTER_S, self._say_busy)
        elif not has_load and self._busy_timer is not None:
            self._busy_timer.cancel()
            self._busy_timer = None
            if self._is_busy and self._ready is not None:
                self._say_ready(self._ready)
            self._is_busy = False

    def _say_busy(self) -> None:
        self._is_busy = True
        self._on_status(EngineStatus("busy", "The engine is completing."))

    def _say_ready(self, ready: Ready) -> None:
        self._on_status(EngineStatus("ready", f"{ready.model} on {ready.device}"))

    def _send(self, command: Command) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(command))

    async def _end_engine(self) -> None:
        """Ask the engine to end and wait until it has; kill it if it does not."""
        task = self._task
        if task is None or self._writer is None:
            return
        self._is_leaving = True
        self._send(Shutdown())
        await asyncio.wait({task}, timeout=LEAVE_TIMEOUT_S)
        if not task.done() and self._pid is not None:
            kill(self._pid)
            await asyncio.wait({task}, timeout=LEAVE_TIMEOUT_S)
        self._is_leaving = False

    async def _stop(self) -> None:
        """End the connection and the task that keeps it up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _disconnect(self) -> None:
        self._ready, self._is_busy = None, False
        if self._busy_timer is not None:
            self._busy_timer.cancel()
            self._busy_timer = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _fail_sent(self, message: str) -> None:
        """End the requests that the lost engine was working at; the others wait for the next."""
        for request_id, pending in self._pending.items():
            if pending.is_sent:
                pending.is_sent = False
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


def back_off_s(num_crashes: int) -> float:
    """Seconds to wait before the next start after so many crashes in a row."""
    return min(FIRST_BACK_OFF_S * 2.0 ** (num_crashes - 1), LONGEST_BACK_OFF_S)
