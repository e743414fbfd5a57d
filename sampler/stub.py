"""A scripted engine process: the command line and frames of `sampler.serve`, answers from a file.

`python -I -m sampler.stub --script FILE --socket PATH [flags of sampler.serve, ignored]`. For tests
of everything above the engine; loads neither torch nor weights, knows nothing of tokens.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cattrs

from sampler.messages import (
    BlockCommitted,
    Cancel,
    Complete,
    Event,
    Failed,
    Finished,
    FrameDecoder,
    Hello,
    Loading,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Stop,
    encode,
)


@dataclass(frozen=True)
class Answer:
    """What one request gets: each block after its delay, then the end."""

    blocks: list[str] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    """Before each block; the last entry counts for all further ones and for `Finished`."""
    stop: Stop = "end_of_hole"
    failure: str | None = None
    """Sent in place of `Finished`."""
    is_crash: bool = False
    """The process dies in place of `Finished`."""
    is_frozen: bool = False
    """The process stops, and does nothing ever after, in place of `Finished`."""
    step_s: float | None = None
    """What a `Ping` is answered while this is the last answer."""

    def delay_s(self, block_index: int) -> float:
        """Seconds before a block, or before the end if the index is past the last block."""
        if not self.delays_ms:
            return 0.0
        return self.delays_ms[min(block_index, len(self.delays_ms) - 1)] / 1000


@dataclass(frozen=True)
class Script:
    """The behavior of the process. Requests get `answers` in turn, the last one again and again."""

    record: str
    """File that receives a JSON line for everything that happens; counts over restarts."""
    answers: list[Answer] = field(default_factory=lambda: [Answer(["pass"])])
    ahead: Answer = field(default_factory=Answer)
    """What requests get that nobody waits for; they do not use up the others."""
    load_ms: float = 0.0
    load_failure: str | None = None
    is_load_crash: bool = False


class Stub:
    """Serves the script on a socket; the file is read again for each request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._status: Loading | Ready | Failed = Loading("loading the script", 0.5)
        self._writers: set[asyncio.StreamWriter] = set()
        self._answering: dict[tuple[asyncio.StreamWriter, str], asyncio.Task[None]] = {}
        self._is_over = asyncio.Event()
        self._step_s: float | None = None

    @property
    def _script(self) -> Script:
        return cattrs.structure(json.loads(self._path.read_text()), Script)

    async def run(self, path: Path, idle_exit_s: float) -> int:
        """Serve until shut down or idle; the exit code is 1 if loading was to fail."""
        self.record("started", pid=os.getpid(), folder=str(Path.cwd()), arguments=sys.argv[1:])
        server = await asyncio.start_unix_server(self._talk, path)
        await asyncio.sleep(self._script.load_ms / 1000)
        if self._script.is_load_crash:
            os._exit(70)
        if self._script.load_failure is not None:
            self._announce(Failed(self._script.load_failure))
            await asyncio.sleep(0.1)  # for clients that greet just now
            return 1
        self._announce(Ready("stub", "cpu", has_adapter=False, pid=os.getpid()))
        async with server:
            while not self._is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_over.wait(), idle_exit_s)
                    break
                if not self._writers:
                    break
            # Before the connections end: a client would start another engine in this place.
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        return 0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        decoder = FrameDecoder()
        while data := await reader.read(1 << 16):
            for message in decoder.feed(data):
                self._obey(writer, message)
        self._writers.discard(writer)
        for (owner, _), task in self._answering.items():
            if owner is writer:
                task.cancel()
        writer.close()

    def _obey(self, writer: asyncio.StreamWriter, message: object) -> None:
        if isinstance(message, Hello):
            writer.write(encode(self._status))
        elif isinstance(message, Complete) and message.max_new_tokens == 0:
            place = {"prefix": message.prefix, "suffix": message.suffix}
            self.record("Read", request_id=message.request_id, document=message.document, **place)
            writer.write(encode(Finished(message.request_id, "", "limit")))
        elif isinstance(message, Complete):
            answer = self.choose(message)
            self._step_s = answer.step_s
            self.record(
                "Ahead" if message.is_ahead else "Complete",
                request_id=message.request_id,
                document=message.document,
                prefix=message.prefix,
                suffix=message.suffix,
                max_new_tokens=message.max_new_tokens,
                must_change=message.must_change,
            )
            task = asyncio.create_task(self._answer(writer, message.request_id, answer))
            self._answering[writer, message.request_id] = task
        elif isinstance(message, Cancel):
            self.record("Cancel", request_id=message.request_id)
            if (writer, message.request_id) in self._answering:
                self._answering[writer, message.request_id].cancel()
        elif isinstance(message, Ping):
            self.record("Ping")
            writer.write(encode(Pong(self._step_s)))
        elif isinstance(message, Shutdown):
            self.record("Shutdown", only_if_alone=message.only_if_alone)
            if len(self._writers) <= 1 or not message.only_if_alone:
                self._is_over.set()

    def choose(self, request: Complete) -> Answer:
        """What a request gets: the script's answers in turn. An engine that reads the request to
        decide overrides this."""
        if request.is_ahead:
            return self._script.ahead
        answers = self._script.answers
        return answers[min(self._num_recorded("Complete"), len(answers) - 1)]

    async def _answer(self, writer: asyncio.StreamWriter, request_id: str, answer: Answer) -> None:
        num_sent = 0
        try:
            for block in answer.blocks:
                await asyncio.sleep(answer.delay_s(num_sent))
                writer.write(encode(BlockCommitted(request_id, block)))
                num_sent += 1
            await asyncio.sleep(answer.delay_s(num_sent))
            if answer.is_crash:
                os._exit(70)
            if answer.is_frozen:
                os.kill(os.getpid(), signal.SIGSTOP)
            end: Event = Finished(request_id, "".join(answer.blocks), answer.stop)
            if answer.failure is not None:
                end = Failed(answer.failure, request_id)
            writer.write(encode(end))
        except asyncio.CancelledError:
            self.record("cancelled", request_id=request_id, num_sent=num_sent)
        finally:
            del self._answering[writer, request_id]

    def _announce(self, status: Ready | Failed) -> None:
        self._status = status
        for writer in self._writers:
            writer.write(encode(status))

    def record(self, kind: str, **fields: object) -> None:
        """Write down that something happened, for the test to read."""
        with Path(self._script.record).open("a") as file:
            file.write(json.dumps({"type": kind, **fields}) + "\n")

    def _num_recorded(self, kind: str) -> int:
        lines = Path(self._script.record).read_text().splitlines()
        return sum(json.loads(line)["type"] == kind for line in lines)


def main(argv: Sequence[str] | None = None, engine: type[Stub] = Stub) -> int:
    """Serve the script; unknown flags are those of the real engine."""
    parser = argparse.ArgumentParser(prog="sampler.stub", description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--idle-exit", type=float, default=600.0, metavar="SECONDS")
    arguments, _ = parser.parse_known_args(argv)

    async def run() -> int:
        return await engine(arguments.script).run(arguments.socket, arguments.idle_exit)

    os.umask(0o177)  # the socket is for this user alone
    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
