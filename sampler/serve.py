"""Entry point of the engine process: one per machine and user, shared by all editor windows.

`python -I -m sampler.serve --socket PATH --model …`. The main thread owns the device: it loads the
weights, then drains the inbox before each `Engine.step()`. One reader thread per client turns bytes
into inbox entries. Knows nothing of LSP.
"""

import argparse
import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
    Pong,
    Ready,
    Shutdown,
    Tune,
    Tuned,
    Tuning,
    encode,
)

if TYPE_CHECKING:  # torch takes seconds to import: clients can connect before that
    from sampler.engine import Engine
    from sampler.tuner import Tuner

logger = logging.getLogger("sampler.serve")

SEND_TIMEOUT_S = 5.0
"""A client that does not read for so long is dropped: it must not stall the others."""


@dataclass
class _Client:
    id: int
    connection: socket.socket
    has_greeted: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, event: Event) -> bool:
        """False if the client is gone."""
        try:
            with self.lock:
                self.connection.sendall(encode(event))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class _Gone:
    """Inbox entry: a client has closed its connection."""


class Server:
    """Accepts clients and carries frames; `inbox` is read by the thread that owns the device."""

    def __init__(self, path: Path) -> None:
        self.inbox: queue.SimpleQueue[tuple[int, Command | _Gone]] = queue.SimpleQueue()
        self.on_arrival: Callable[[int, Command | _Gone], None] | None = None
        """Called in a reader's thread, once something is in the inbox."""
        self.step_started: float | None = None
        """When the device began its present step, by `time.monotonic`; None while it is idle."""
        self.context_tokens = 0
        """As `Pong` has them."""
        self._status: Loading | Ready | Failed = Loading("starting")
        self._clients: dict[int, _Client] = {}
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old_umask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(old_umask)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True, name="accept").start()

    @property
    def num_clients(self) -> int:
        """Clients connected now."""
        return len(self._clients)

    def announce(self, status: Loading | Ready | Failed) -> None:
        """Tell every client, and each later one as it greets."""
        with self._lock:
            self._status = status
            greeted = [client for client in self._clients.values() if client.has_greeted]
        for client in greeted:
            client.send(status)

    def send(self, client_id: int, event: Event) -> None:
        """Send to one client; a client that is gone or stuck is dropped."""
        client = self._clients.get(client_id)
        if client is not None and not client.send(event):
            # Its reader wakes up, and reports it as gone.
            with contextlib.suppress(OSError):
                client.connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            # SO_SNDTIMEO bounds sends only: a reader may wait for ever.
            seconds = int(SEND_TIMEOUT_S).to_bytes(8, sys.byteorder) + bytes(8)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
            client = _Client(next(self._ids), connection)
            with self._lock:
                self._clients[client.id] = client
            threading.Thread(
                target=self._read, args=(client,), daemon=True, name=f"client-{client.id}"
            ).start()

    def _read(self, client: _Client) -> None:
        decoder = FrameDecoder()
        try:
            while data := client.connection.recv(1 << 16):
                for message in decoder.feed(data):
                    self._receive(client, message)
        except FrameError as error:
            client.send(Failed(f"The connection is closed: {error}."))
        except OSError:
            pass
        with self._lock:
            del self._clients[client.id]
        client.connection.close()
        self._put(client.id, _Gone())

    def _put(self, client_id: int, command: Command | _Gone) -> None:
        self.inbox.put((client_id, command))
        if self.on_arrival is not None:
            self.on_arrival(client_id, command)

    def _receive(self, client: _Client, message: object) -> None:
        if isinstance(message, Hello):
            if message.protocol != PROTOCOL_VERSION:
                raise FrameError(
                    f"this engine speaks protocol {PROTOCOL_VERSION}, the client "
                    f"{message.protocol}; restart the editor after an update"
                )
            with self._lock:
                client.has_greeted = True
                status = self._status
            client.send(status)
        elif isinstance(message, Ping):
            client.send(self._pong())
        elif isinstance(message, Complete | Cancel | Tune | Shutdown):
            self._put(client.id, message)
        else:
            raise FrameError(f"{type(message).__name__} is not for an engine")

    def _pong(self) -> Pong:
        started = self.step_started
        step_s = None if started is None else time.monotonic() - started
        return Pong(step_s, self.context_tokens)


def run(server: Server, engine: "Engine", tuner: "Tuner", idle_exit_s: float) -> None:
    """The device thread's loop: drain the inbox, one step, send what came out; blocks when idle.

    Where there is something to measure, what would be idle time goes to that, a forward at a time.
    Returns on `Shutdown`, or after `idle_exit_s` seconds without a client.
    """
    server.on_arrival = partial(_interrupt, engine)
    idle_since = time.monotonic()
    while True:
        engine.end_interrupt()
        wait = not engine.has_work
        pause_s = tuner.pause_s() if wait else None
        while True:
            try:
                patience_s = idle_exit_s if pause_s is None else pause_s
                client_id, command = server.inbox.get(wait, patience_s if wait else None)
            except queue.Empty:
                has_waited = pause_s is None or time.monotonic() - idle_since >= idle_exit_s
                if wait and has_waited and server.num_clients == 0:
                    logger.info("no client for %.0f s, leaving", idle_exit_s)
                    return
                break
            wait, idle_since = False, time.monotonic()
            if isinstance(command, Shutdown):
                if server.num_clients <= 1 or not command.only_if_alone:
                    return
                continue
            _apply(server, engine, tuner, client_id, command)
        server.step_started = time.monotonic()
        if wait and pause_s is not None:  # nothing came in, and the engine has no work
            events = tuner.step()
        else:
            if engine.has_work:
                tuner.note_work()
            events = engine.step()
        server.step_started = None
        server.context_tokens = engine.context_tokens
        _deliver(server, events)


def _apply(
    server: Server, engine: "Engine", tuner: "Tuner", client_id: int, command: Command | _Gone
) -> None:
    if isinstance(command, Complete):
        _deliver(server, engine.submit(_scoped(client_id, command)))
    elif isinstance(command, Tune):
        command = replace(command, request_id=f"{client_id}/{command.request_id}")
        _deliver(server, tuner.ask(command))
    elif isinstance(command, Cancel):
        engine.cancel(f"{client_id}/{command.request_id}")
        tuner.cancel(f"{client_id}/{command.request_id}")
    elif isinstance(command, _Gone):
        engine.cancel_all(f"{client_id}/")
        tuner.cancel_all(f"{client_id}/")


def _scoped(client_id: int, request: Complete) -> Complete:
    """Ids and documents are per client; the engine sees one name space."""
    return replace(
        request,
        request_id=f"{client_id}/{request.request_id}",
        document=f"{client_id}/{request.document}",
    )


def _interrupt(engine: "Engine", client_id: int, command: Command | _Gone) -> None:
    """Nobody waits for a forward that a command makes useless; in a reader's thread."""
    if isinstance(command, Complete):
        engine.interrupt(_scoped(client_id, command).supersedes)
    elif isinstance(command, Cancel):
        engine.interrupt(lambda one: one.request_id == f"{client_id}/{command.request_id}")
    elif isinstance(command, _Gone):
        engine.interrupt(lambda one: one.request_id.startswith(f"{client_id}/"))


def _deliver(server: Server, events: Sequence[Event]) -> None:
    for event in events:
        assert isinstance(event, BlockCommitted | Finished | Failed | Tuning | Tuned)
        assert event.request_id is not None
        client_id, request_id = event.request_id.split("/", 1)
        server.send(int(client_id), replace(event, request_id=request_id))


def load_engine(arguments: argparse.Namespace, server: Server) -> tuple["Engine", "Tuner", Ready]:
    """Fetch and read weights and vocabulary, saying so; runs one forward to warm up.

    Raises:
        ValueError: with one sentence for a person.
    """
    from model.hub import Progress, resolve
    from model.shipped import choose_adapter

    def report(progress: Progress) -> None:
        server.announce(Loading(progress.message, progress.fraction))

    path = resolve(arguments.model, offline=arguments.offline, report=report)
    server.announce(Loading("loading PyTorch"))
    from sampler.load import choose_device, choose_kernels, open_engine
    from sampler.tuner import Tuner, describe_target, prepare_threads

    device, dtype = choose_device(arguments.device, arguments.dtype, arguments.threads)
    kernels = choose_kernels(arguments.kernels, device, arguments.dtype)
    adapter = choose_adapter(arguments.adapter, arguments.model)
    target = describe_target(
        path, adapter, device=device, dtype=dtype, kernels=kernels, threads=arguments.threads
    )
    if arguments.tune == "auto":
        prepare_threads(target, device, dtype)
    server.announce(Loading(f"reading {path.name}"))
    engine = open_engine(
        path,
        device=device,
        dtype=dtype,
        adapter=adapter,
        block_size=arguments.block_size,
        kernels=kernels,
    )
    tuner = Tuner(engine, target, is_automatic=arguments.tune == "auto")
    ready = Ready(
        model=path.name,
        device=str(device),
        has_adapter=engine.runner.model.adapter is not None,
        pid=os.getpid(),
        kernels=engine.runner.kernels,
    )
    return engine, tuner, ready


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line of the engine process."""
    parser = argparse.ArgumentParser(prog="sampler.serve", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--adapter", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--tune", choices=("auto", "off"), default="auto")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--idle-exit", type=float, default=600.0, metavar="SECONDS")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until shut down or idle; the exit code is 1 if the engine could not be loaded."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(arguments.socket)
    try:
        try:
            engine, tuner, ready = load_engine(arguments, server)
        except Exception as error:
            known = isinstance(error, ValueError)
            logger.log(logging.ERROR, "%s", error, exc_info=not known)
            server.announce(Failed(str(error) if known else f"The engine did not start: {error!r}"))
            return 1
        logger.info("ready: %s on %s", ready.model, ready.device)
        server.announce(ready)
        run(server, engine, tuner, arguments.idle_exit)
        return 0
    finally:
        with contextlib.suppress(FileNotFoundError):
            arguments.socket.unlink()


if __name__ == "__main__":
    sys.exit(main())
