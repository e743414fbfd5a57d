"""The engine process around a scripted engine: who is answered when. Loads no torch."""

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampler.messages import FrameDecoder, Hello, Loading, Ping, Pong, Shutdown, encode
from sampler.serve import Server, run
from tests.fakes import IdleTuner, SlowEngine


class Client:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self._decoder = FrameDecoder()
        self.send(Hello("test"))
        assert self.receive() == Loading("starting")

    def send(self, message: Any) -> None:
        self.socket.sendall(encode(message))

    def receive(self) -> Any:
        while True:
            data = self.socket.recv(1 << 16)
            assert data, "the engine has hung up"
            for message in self._decoder.feed(data):
                return message


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="seed-") as folder:
        yield Path(folder) / "s"


def start(server: Server, engine: SlowEngine) -> threading.Thread:
    arguments: Any = (server, engine, IdleTuner(), 60.0)
    thread = threading.Thread(target=run, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_ping_is_answered_while_the_device_is_at_a_step(path: Path) -> None:
    server, engine = Server(path), SlowEngine()
    client = Client(path)
    client.send(Ping())
    assert client.receive() == Pong(None)
    engine.has_work = True
    thread = start(server, engine)
    time.sleep(0.2)
    client.send(Ping())
    pong = client.receive()
    assert isinstance(pong, Pong)
    assert pong.step_s is not None
    assert 0.1 < pong.step_s < 5
    engine.is_let_go.set()
    client.send(Shutdown())
    thread.join(5)
    assert not thread.is_alive()


def test_shutdown_only_if_alone_waits_for_the_last_client(path: Path) -> None:
    server = Server(path)
    first, second = Client(path), Client(path)
    thread = start(server, SlowEngine())
    first.send(Shutdown(only_if_alone=True))
    first.send(Ping())
    assert first.receive() == Pong(None)
    time.sleep(0.1)
    assert thread.is_alive()
    first.socket.close()
    deadline = time.monotonic() + 5
    while server.num_clients > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    second.send(Shutdown(only_if_alone=True))
    thread.join(5)
    assert not thread.is_alive()
