"""A connection of the bench's own to an engine process: frames out, frames in, with their times.

Mostly the process is no editor's: it is started for the bench and ended behind it. Knows neither
what is asked nor what is measured.
"""

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from lsp_server.engine_place import EngineError, log_path
from lsp_server.engine_process import EngineProcess, kill, peer_pid
from lsp_server.headless import EngineFailedError
from model.format.plan import HolePlan
from model.weight_file import Progress
from sampler.messages import (
    BlockCommitted,
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
    Pong,
    Ready,
    Shutdown,
    encode,
)

Report = Callable[[Progress], None]

LEAVE_S = 5.0
"""For a process that is asked to end; then it is killed."""
NUM_SEQUENCES = 4
"""So many prompts an engine keeps (`EngineSettings.num_sequences`)."""
PLAN = HolePlan("python", "block", 12, "", "", "", "")
"""What is asked for: up to twelve lines, wherever the cursor stands."""


class Line:
    """Frames to and from one process. Times are of `time.perf_counter`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: Path
    ) -> None:
        """Take over a connection to the process that writes this log."""
        self.ready = Ready("", "", has_adapter=False, pid=0)
        """What the process said of itself."""
        self._reader, self._writer, self._log = reader, writer, log
        self._decoder = FrameDecoder()
        self._events: list[Event] = []
        self._received_at = 0.0
        self._numbers = itertools.count(1)

    def send(self, *commands: Command) -> float:
        """Send all of them at once; when that was."""
        self._writer.write(b"".join(map(encode, commands)))
        return time.perf_counter()

    async def receive(self) -> tuple[Event, float]:
        """The next event and when it came.

        Raises:
            EngineFailedError: if the process has ended, or says that it cannot serve.
        """
        while not self._events:
            try:
                data = await self._reader.read(1 << 16)
                self._received_at = time.perf_counter()
                self._events += self._decoder.feed(data)  # type: ignore[arg-type]
            except (OSError, FrameError) as error:
                raise EngineFailedError(f"The engine cannot be reached: {error}.") from error
            if not data:
                raise EngineFailedError(f"The engine stopped unexpectedly, its log is {self._log}.")
        event = self._events.pop(0)
        if isinstance(event, Failed):
            raise EngineFailedError(event.message)
        return event, self._received_at

    async def greet(self, report: Report) -> None:
        """Wait until the process serves.

        Raises:
            EngineFailedError: if it cannot.
        """
        self.send(Hello("seed-lsp bench"))
        while True:
            event, _ = await self.receive()
            if isinstance(event, Loading):
                report(Progress(event.message, event.fraction))
            elif isinstance(event, Ready):
                self.ready = event
                return

    async def complete(self, request: Complete) -> Finished:
        """Ask, and wait for the end.

        Raises:
            EngineFailedError: if there is no answer.
        """
        self.send(request)
        while True:
            event, _ = await self.receive()
            if isinstance(event, Finished) and event.request_id == request.request_id:
                return event
            assert isinstance(event, BlockCommitted), event

    async def count_context(self) -> int:
        """Tokens of prompts that the process has computed for requests that somebody waited for.

        Raises:
            EngineFailedError: if the process has ended.
        """
        self.send(Ping())
        while True:
            event, _ = await self.receive()
            if isinstance(event, Pong):
                return event.context_tokens

    async def forget(self) -> None:
        """Push everything out of the engine's prefix cache, by short prompts that share nothing."""
        for _ in range(NUM_SEQUENCES):
            number = next(self._numbers)
            text = hashlib.sha256(str(number).encode()).hexdigest()[:24]
            await self.complete(
                Complete(
                    f"forget {number}",
                    f"forget {number}",
                    text,
                    "",
                    PLAN,
                    mode="ar",
                    max_new_tokens=1,
                )
            )

    async def leave(self, *, ends_process: bool = True) -> None:
        """Hang up, behind the process if it is to end."""
        pid = peer_pid(self._writer) if ends_process else None
        if ends_process:
            with contextlib.suppress(OSError, TimeoutError):
                self.send(Shutdown())
                async with asyncio.timeout(LEAVE_S):
                    while await self._reader.read(1 << 16):
                        pass
                pid = None
        if pid is not None:
            kill(pid)
        self._writer.close()


@asynccontextmanager
async def open_line(
    command: Sequence[str], report: Report, *, is_shared: bool = False
) -> AsyncIterator[Line]:
    """Start a process that speaks the engine's frames; it is ended in the end unless it is shared.

    Raises:
        EngineFailedError: if it cannot serve.
    """
    process, log = EngineProcess(), log_path(command)
    try:
        line = Line(*await process.connect(command), log)
    except (OSError, EngineError) as error:
        message = f"The engine cannot be reached: {error}; its log is {log}."
        raise EngineFailedError(message) from error
    try:
        await line.greet(report)
        yield line
    finally:
        await line.leave(ends_process=not is_shared)
        process.describe_end(command)  # it is no zombie while we go on
