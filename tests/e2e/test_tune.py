"""`seed-lsp tune` and measuring unasked, in real processes on the debug model."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server import tune
from lsp_server.headless import EngineFailedError
from lsp_server.settings import Settings
from lsp_server.tune import describe_profile
from model.format.plan import HolePlan
from sampler.messages import (
    Command,
    Complete,
    Event,
    Failed,
    Finished,
    FrameDecoder,
    Hello,
    Ready,
    Shutdown,
    Tune,
    Tuned,
    Tuning,
    encode,
)
from sampler.profile import BUSY_LOAD
from tests.engines import StubPlace, eventually, has_ended
from tests.tiny_model import write_tiny_model


class Place:
    """Where this test's engines, profiles and weights are; real engines, not stubs."""

    def __init__(self) -> None:
        self._stubs = StubPlace()
        self.model = write_tiny_model(self._stubs.folder / "model")
        self.profiles = self._stubs.folder / "cache" / "profiles"
        self.environment = {
            **os.environ,
            **self._stubs.environment,
            "SEED_LSP_CACHE": str(self.profiles.parent),
            "OMP_NUM_THREADS": "1",
        }
        self.environment.pop("SEED_LSP_TUNE", None)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-m", "lsp_server", *arguments, "--model", str(self.model)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sockets(self) -> list[Path]:
        return list(self._stubs.runtime.rglob("*.sock"))

    def kept(self) -> list[Path]:
        return list(self.profiles.glob("*.json"))

    def close(self) -> None:
        for path in self.sockets():
            with Client(path) as client:
                pid = client.ready.pid
                client.send(Shutdown())
            assert has_ended(pid, 20)
        self._stubs.close()


class Client:
    """One connection, for scripts."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._decoder = FrameDecoder()
        self._events: list[Event] = []
        self.send(Hello("test"))
        while not isinstance(event := self.receive(), Ready):
            assert not isinstance(event, Failed), event
        self.ready = event

    def send(self, command: Command) -> None:
        self._socket.sendall(encode(command))

    def receive(self) -> Event:
        while not self._events:
            data = self._socket.recv(1 << 16)
            assert data, "the engine has hung up"
            self._events += self._decoder.feed(data)  # type: ignore[arg-type]
        return self._events.pop(0)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def request(request_id: str) -> Complete:
    plan = HolePlan("python", "block", 12, "", "", "", "")
    return Complete(request_id, "d", f"# {request_id}\nx = ", "\n", plan, max_new_tokens=8)


def test_tune_measures_keeps_and_tells(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    done = place.run("tune", "--json")
    assert done.returncode == 0, done.stderr
    assert "measuring this machine (100%)" in done.stderr
    record = json.loads(done.stdout)
    assert list(record) == ["profile", "choice", "path"]
    assert [Path(record["path"])] == place.kept()
    assert [rows for rows, _ in record["profile"]["costs_ms"]][:4] == [1, 2, 4, 8]
    assert record["profile"]["target"]["threads"] == 1
    assert record["profile"]["acceptance"] == [], "the debug model has no adapter"
    assert record["choice"]["mode"] in ("exact", "ar")
    assert record["choice"]["ar_tokens_per_s"] > 0
    again = place.run("tune")
    assert again.returncode == 0, again.stderr
    assert "context is read" in again.stdout
    assert str(place.kept()[0]) in again.stdout.replace("\n", "")
    assert len(place.sockets()) == 1, "the same engine did both"
    assert len(place.kept()) == 1
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(model=str(place.model))
    assert "tokens/s" in asyncio.run(describe_profile(settings)), "what doctor says"
    assert "off" in asyncio.run(describe_profile(replace(settings, tune="off")))
    assert len(place.sockets()) == 1


async def test_an_engine_without_an_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = StubPlace()  # a stub knows nothing of tuning
    for name, value in stubs.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tune, "ANSWER_S", 0.2)
    question = Tune("1", is_question=True)
    try:
        with pytest.raises(EngineFailedError, match="no answer"):
            await tune.ask_engine(Settings(), question, lambda _: None, stubs.command)
    finally:
        stubs.close()


def test_a_wrong_model_is_one_sentence(place: Place) -> None:
    (place.model / "tokenizer.json").unlink()
    done = place.run("tune")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


async def test_an_idle_engine_measures_by_itself(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    if os.getloadavg()[0] / (os.cpu_count() or 1) > BUSY_LOAD:
        pytest.skip("this machine is busy, so the engine would wait")
    done = place.run("complete", f"{tmp_path / 'a.py'}:1:5", "--json")
    assert done.returncode == 0, done.stderr
    assert place.kept() == []
    (path,) = place.sockets()
    with Client(path) as client:

        def is_kept() -> bool:
            client.send(Tune("0", is_question=True))  # a question is no use of the engine
            client.receive()
            return bool(place.kept())

        await eventually(is_kept, 60)
        client.send(Tune("1", is_question=True))
        event = client.receive()
        assert isinstance(event, Tuned)
        assert event.profile is not None
        assert event.path == str(place.kept()[0])


def test_tune_off_measures_nothing(place: Place, tmp_path: Path) -> None:
    place.environment["SEED_LSP_TUNE"] = "off"
    (tmp_path / "a.py").write_text("x = 1\n")
    done = place.run("complete", f"{tmp_path / 'a.py'}:1:5", "--json")
    assert done.returncode == 0, done.stderr
    time.sleep(3)
    (path,) = place.sockets()
    with Client(path) as client:
        client.send(Tune("1", is_question=True))
        assert client.receive() == Tuned("1")
    assert place.kept() == []


def test_requests_come_first_while_measuring(place: Place, tmp_path: Path) -> None:
    place.environment["SEED_LSP_TUNE"] = "off"
    (tmp_path / "a.py").write_text("x = 1\n")
    assert place.run("complete", f"{tmp_path / 'a.py'}:1:5", "--json").returncode == 0
    (path,) = place.sockets()
    with Client(path) as tuning, Client(path) as completing:
        completing.send(request("before"))
        while not isinstance(event := completing.receive(), Finished):
            assert not isinstance(event, Failed), event
        tuning.send(Tune("t"))
        assert isinstance(tuning.receive(), Tuning)
        texts = []
        for index in range(5):
            completing.send(request(str(index)))
            while not isinstance(event := completing.receive(), Finished):
                assert not isinstance(event, Failed), event
            texts.append(event.text)
        assert len(texts) == 5
        while isinstance(event := tuning.receive(), Tuning):
            pass
        assert isinstance(event, Tuned)


def test_who_leaves_ends_the_measurement(place: Place, tmp_path: Path) -> None:
    place.environment["SEED_LSP_TUNE"] = "off"
    (tmp_path / "a.py").write_text("x = 1\n")
    assert place.run("complete", f"{tmp_path / 'a.py'}:1:5", "--json").returncode == 0
    (path,) = place.sockets()
    with Client(path) as client:
        client.send(Tune("t"))
        assert isinstance(client.receive(), Tuning)
    time.sleep(3)
    assert place.kept() == []
    with Client(path) as client:
        client.send(Tune("q", is_question=True))
        assert client.receive() == Tuned("q")


def test_an_engine_without_clients_leaves_though_it_would_measure(place: Place) -> None:
    path = place.profiles.parent.parent / "run" / "e.sock"
    command = [sys.executable, "-I", "-m", "sampler.serve", "--socket", str(path)]
    engine = subprocess.Popen(
        [*command, "--model", str(place.model), "--idle-exit", "0.5"],
        env=place.environment,
        stderr=subprocess.DEVNULL,
    )
    assert engine.wait(60) == 0
    assert not path.exists()
