import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server import engine_client, watchdog
from lsp_server.engine_client import EngineClient, EngineStatus, back_off_s
from lsp_server.engine_place import EngineError, socket_path
from lsp_server.settings import Settings
from model.format.plan import HolePlan
from sampler.messages import BlockCommitted, Complete, Failed, Finished
from sampler.stub import Answer
from tests.engines import StubPlace, eventually, has_ended

PLAN = HolePlan("python", "line", 1, "", "", "", "")


def complete(request_id: str = "1") -> Complete:
    return Complete(request_id, "file:///a.py", "x = ", "\n", PLAN)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubPlace]:
    place = StubPlace()
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine_client, "FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr(engine_client, "SETTLE_S", 0.1)
    yield place
    place.close()


@pytest.fixture
def statuses() -> list[EngineStatus]:
    return []


@pytest.fixture
async def client(place: StubPlace, statuses: list[EngineStatus]) -> AsyncIterator[EngineClient]:
    client = EngineClient(Settings(), statuses.append, place.command)
    yield client
    await client.close()


async def collect(client: EngineClient, request: Complete) -> list[object]:
    async with aclosing(client.complete(request)) as events:
        return [event async for event in events]


async def test_a_request_before_the_engine_is_up_is_answered(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(Answer(["a", "b"]), load_ms=200)
    await client.start()
    events = await collect(client, complete())
    assert events[:2] == [BlockCommitted("1", "a"), BlockCommitted("1", "b")]
    assert isinstance(events[2], Finished)
    assert events[2].text == "ab"
    assert [status.state for status in statuses] == ["starting", "loading", "ready"]


async def test_the_engine_is_detached_and_runs_in_no_users_folder(
    place: StubPlace, client: EngineClient
) -> None:
    await client.start()
    await collect(client, complete())
    [started] = place.records("started")
    assert started["folder"] == "/"
    assert os.getsid(started["pid"]) == started["pid"]
    socket = socket_path(client._command)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    await client.close()
    await asyncio.sleep(0.05)
    assert not has_ended(started["pid"], timeout_s=0.1)  # it waits for the next window


async def test_windows_share_one_engine(place: StubPlace) -> None:
    clients = [EngineClient(Settings(), lambda _: None, place.command) for _ in range(4)]
    await asyncio.gather(*(client.start() for client in clients))
    answers = await asyncio.gather(*(collect(client, complete()) for client in clients))
    assert len(answers) == 4
    assert len(place.pids()) == 1
    await asyncio.gather(*(client.close() for client in clients))


def test_other_settings_other_engine(place: StubPlace) -> None:
    assert socket_path([*place.command, "--block-size", "4"]) != socket_path(place.command)


def test_another_name_of_the_same_interpreter_finds_the_same_engine(place: StubPlace) -> None:
    interpreter, *flags = place.command
    assert socket_path([f"{interpreter}3", *flags]) == socket_path(place.command)


async def test_leaving_a_request_cancels_it_in_the_engine(
    place: StubPlace, client: EngineClient
) -> None:
    place.write_script(Answer(["a", "b", "c"], delays_ms=[0, 60_000]))
    await client.start()
    async with aclosing(client.complete(complete())) as events:
        assert await anext(events) == BlockCommitted("1", "a")
    await eventually(lambda: place.records("cancelled"))
    assert place.records("cancelled") == [{"type": "cancelled", "request_id": "1", "num_sent": 1}]


async def test_cancelling_the_task_cancels_the_request(
    place: StubPlace, client: EngineClient
) -> None:
    place.write_script(Answer(["a"], delays_ms=[60_000]))
    await client.start()
    task = asyncio.create_task(collect(client, complete()))
    await eventually(lambda: place.records("Complete"))
    task.cancel()
    await eventually(lambda: place.records("cancelled"))


async def test_a_finished_request_is_not_cancelled(place: StubPlace, client: EngineClient) -> None:
    await client.start()
    await collect(client, complete("1"))
    await collect(client, complete("2"))
    assert place.records("Cancel") == []


async def test_a_crash_fails_the_request_and_the_next_one_gets_a_new_engine(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(Answer(["a"], is_crash=True), Answer(["b"]))
    await client.start()
    events = await collect(client, complete("1"))
    assert isinstance(events[-1], Failed)
    events = await collect(client, complete("2"))
    assert isinstance(events[-1], Finished)
    assert len(place.pids()) == 2
    assert "restarting" in [status.state for status in statuses]


async def test_a_killed_engine_leaves_a_stale_socket_that_is_replaced(
    place: StubPlace, client: EngineClient
) -> None:
    await client.start()
    await collect(client, complete("1"))
    os.kill(place.pids()[0], signal.SIGKILL)
    assert socket_path(client._command).exists()
    await eventually(lambda: len(place.pids()) == 2)
    assert isinstance((await collect(client, complete("2")))[-1], Finished)


async def test_an_engine_that_always_crashes_is_given_up(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(is_load_crash=True)
    await client.start()
    events = await collect(client, complete("1"))
    assert isinstance(events[-1], Failed)
    assert "5 times" in events[-1].message
    assert len(place.pids()) == engine_client.MAX_CRASHES
    assert [status.state for status in statuses].count("failed") == 1
    assert isinstance((await collect(client, complete("2")))[-1], Failed)  # at once


async def test_an_engine_that_cannot_load_says_why_and_is_not_started_again(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(load_failure="There is no file /models/x.gguf.", load_ms=50)
    await client.start()
    assert await collect(client, complete()) == [Failed("There is no file /models/x.gguf.", "1")]
    assert statuses[-1] == EngineStatus("failed", "There is no file /models/x.gguf.")
    await asyncio.sleep(0.3)
    assert len(place.pids()) == 1


async def test_an_engine_command_that_does_not_exist_is_given_up(
    place: StubPlace, statuses: list[EngineStatus]
) -> None:
    client = EngineClient(Settings(), statuses.append, ["/nonexistent/python"])
    await client.start()
    assert isinstance((await collect(client, complete()))[-1], Failed)
    assert statuses[-1].state == "failed"
    await client.close()


async def test_a_folder_that_others_can_enter_is_not_used(
    place: StubPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposed = place.runtime / "seed-lsp"
    exposed.mkdir()
    exposed.chmod(0o755)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(place.folder))
    assert socket_path(place.command).parent == place.folder / f"seed-lsp-{os.getuid()}"
    (place.folder / f"seed-lsp-{os.getuid()}").chmod(0o777)
    with pytest.raises(EngineError, match="XDG_RUNTIME_DIR"):
        socket_path(place.command)


async def test_socket_paths_fit_the_kernel(
    place: StubPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = place.folder / ("d" * 120)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(place.folder))
    assert Path(place.folder) in socket_path(place.command).parents
    assert len(os.fsencode(socket_path(place.command))) <= 100


def test_back_off_doubles_and_is_bounded() -> None:
    assert [back_off_s(n) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert back_off_s(20) == 30.0


@pytest.fixture
def quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PING_EVERY_S", 0.05)


@pytest.mark.usefixtures("quick_watchdog")
async def test_a_slow_engine_that_answers_pings_is_left_alone(
    place: StubPlace, client: EngineClient
) -> None:
    place.write_script(Answer(["a"], delays_ms=[600], step_s=1.0))
    await client.start()
    assert isinstance((await collect(client, complete()))[-1], Finished)
    assert len(place.records("Ping")) > watchdog.MOST_UNANSWERED
    assert len(place.pids()) == 1


@pytest.mark.usefixtures("quick_watchdog")
@pytest.mark.parametrize(
    ("answer", "expected_words"),
    [
        (Answer(["a"], is_frozen=True), "no sign of life"),
        (Answer(["a"], delays_ms=[60_000], step_s=3600.0), "one step took more"),
    ],
    ids=["frozen", "stuck"],
)
async def test_an_engine_that_hangs_is_replaced(
    place: StubPlace,
    client: EngineClient,
    statuses: list[EngineStatus],
    answer: Answer,
    expected_words: str,
) -> None:
    place.write_script(answer, Answer(["b"]))
    await client.start()
    failed = (await collect(client, complete("1")))[-1]
    assert isinstance(failed, Failed)
    assert expected_words in failed.message
    assert [s.message for s in statuses if s.state == "restarting"] == [failed.message]
    assert isinstance((await collect(client, complete("2")))[-1], Finished)
    assert len(place.pids()) == 2
    assert has_ended(place.pids()[0])


@pytest.mark.usefixtures("quick_watchdog")
async def test_an_engine_that_hangs_again_is_given_up(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(Answer([], is_frozen=True))
    await client.start()
    await collect(client, complete("1"))
    await collect(client, complete("2"))
    await eventually(lambda: statuses[-1].state == "failed")
    assert "in vain" in statuses[-1].message
    assert len(place.pids()) == 2


@pytest.mark.usefixtures("quick_watchdog")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell whose socket it is")
async def test_an_engine_that_does_not_even_greet_is_replaced(
    place: StubPlace, client: EngineClient
) -> None:
    other = EngineClient(Settings(), lambda _: None, place.command)
    await other.start()
    await collect(other, complete("1"))
    await other.close()
    os.kill(place.pids()[0], signal.SIGSTOP)
    await client.start()
    assert isinstance((await collect(client, complete("2")))[-1], Finished)
    assert len(place.pids()) == 2


@pytest.mark.usefixtures("quick_watchdog")
async def test_an_idle_engine_is_not_pinged(place: StubPlace, client: EngineClient) -> None:
    await client.start()
    await collect(client, complete())
    await asyncio.sleep(0.3)
    assert place.records("Ping") == []


async def test_restart_ends_the_engine_and_brings_a_fresh_one(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(Answer(["a"], delays_ms=[60_000]), Answer(["b"]))
    await client.start()
    under_way = asyncio.create_task(collect(client, complete("1")))
    await eventually(lambda: place.records("Complete"))
    await client.restart("You asked for it.")
    assert (await under_way)[-1] == Failed("You asked for it.", "1")
    assert isinstance((await collect(client, complete("2")))[-1], Finished)
    assert len(place.pids()) == 2
    assert has_ended(place.pids()[0])
    assert statuses[-1].state == "ready"


async def test_restart_revives_a_client_that_had_given_up(
    place: StubPlace, client: EngineClient
) -> None:
    place.write_script(load_failure="no weights")
    await client.start()
    assert isinstance((await collect(client, complete("1")))[-1], Failed)
    await asyncio.to_thread(has_ended, place.pids()[0])
    place.write_script()
    await client.restart("You asked for it.")
    assert isinstance((await collect(client, complete("2")))[-1], Finished)


async def test_other_settings_get_another_engine_and_the_old_one_leaves_if_alone(
    place: StubPlace, client: EngineClient
) -> None:
    other = EngineClient(Settings(), lambda _: None, place.command)
    await client.start()
    await other.start()
    for one in (client, other):
        await collect(one, complete("1"))
    assert len(place.pids()) == 1
    client.use(Settings(threads=1), "threads has changed")
    await eventually(lambda: len(place.pids()) == 2)
    assert isinstance((await collect(client, complete("2")))[-1], Finished)
    assert len(place.pids()) == 2
    assert isinstance((await collect(other, complete("2")))[-1], Finished)  # the old one is there
    assert not has_ended(place.pids()[0], timeout_s=0.1)
    other.use(Settings(threads=1), "threads has changed")
    await asyncio.to_thread(has_ended, place.pids()[0])
    assert isinstance((await collect(other, complete("3")))[-1], Finished)
    assert len(place.pids()) == 2
    assert has_ended(place.pids()[0])
    await other.close()


async def test_settings_that_are_still_being_typed_start_one_engine(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    await client.start()
    await collect(client, complete("1"))
    for number in (1, 16, 12):
        client.use(Settings(threads=number), "changed")
        await asyncio.sleep(0.02)
    await eventually(lambda: len(place.pids()) == 2)
    assert isinstance((await collect(client, complete("2")))[-1], Finished)
    assert "--threads 12" in " ".join(place.records("started")[-1]["arguments"])
    client.use(Settings(threads=1), "changed")
    client.use(Settings(threads=12), "changed back")
    await asyncio.sleep(0.3)
    assert len(place.pids()) == 2
    assert [status.state for status in statuses].count("restarting") == 1


async def test_settings_before_the_start_are_the_first_engines(
    place: StubPlace, client: EngineClient
) -> None:
    client.use(Settings(threads=3), "not said")
    await client.start()
    assert isinstance((await collect(client, complete("1")))[-1], Finished)
    [started] = place.records("started")
    assert "--threads 3" in " ".join(started["arguments"])


async def test_a_client_that_closes_while_it_restarts_stays_closed(
    place: StubPlace, client: EngineClient
) -> None:
    await client.start()
    await collect(client, complete("1"))
    restart = asyncio.create_task(client.restart("asked"))
    await asyncio.sleep(0)
    await client.close()
    await restart
    assert isinstance((await collect(client, complete("2")))[-1], Failed)


async def test_busy_is_said_after_a_moment_and_taken_back(
    place: StubPlace, client: EngineClient, statuses: list[EngineStatus]
) -> None:
    place.write_script(Answer(["a"], delays_ms=[300]), Answer(["b"]))
    await client.start()
    await collect(client, complete("1"))
    states = [status.state for status in statuses]
    assert states[-3:] == ["ready", "busy", "ready"]
    await collect(client, complete("2"))
    place.write_script(Answer(["c"], delays_ms=[300]))
    await collect(client, replace(complete("3"), is_ahead=True))
    assert len(statuses) == len(states)
