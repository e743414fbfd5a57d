"""Whole sessions of typing, as editors of three kinds; nothing that a user must not see happens."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampler.stub import Answer
from tests.e2e.buffer import LINE_BREAK
from tests.e2e.client import Client
from tests.e2e.files import FILES, everywhere
from tests.e2e.gestures import Accept, Ask, Edit, Think, Write
from tests.e2e.profiles import NEOVIM, PROFILES, VS_CODE, Profile
from tests.e2e.replay import open_window
from tests.e2e.servers import oracle_command, server_command
from tests.e2e.sessions import END, PATIENT_SESSION, SESSION, SHORT_SESSION, START, random_session
from tests.e2e.window import INLINE_COMPLETION, Window
from tests.engines import StubPlace, eventually

PARTS = VS_CODE, NEOVIM  # one position encoding each

FAST = {"debounce_ms": 4}
"""These hands type twenty times as fast as a person; the server must not wait as for one."""


@pytest.fixture
async def client(place: StubPlace) -> AsyncIterator[Client]:
    """A client whose engine reads the script; in the end nothing may have gone wrong."""
    client = await Client.start(server_command(place.command, **FAST), place.environment)
    yield client
    await client.leave()
    print(*client.problems[:5], sep="\n")
    assert client.problems == []


def assert_engine_saw_only_what_was_there(place: StubPlace, *windows: Window) -> None:
    """What the engine was asked is the head of a text that a window had, character for character.

    A speculative request is for a text that is not there yet: an offer of ours taken in full.
    """
    texts = set().union(*(window.texts for window in windows))
    unknown = [
        record
        for record in place.records("Complete")
        if not any(text.startswith(record["prefix"] + record["suffix"]) for text in texts)
    ]
    offered = [text for window in windows for text in window.offers]
    for record in unknown:
        assert any(record["prefix"].endswith(text.strip()) for text in offered), record


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
async def test_a_python_session(place: StubPlace, profile: Profile) -> None:
    client = await Client.start(oracle_command(place, END, **FAST), place.environment)
    window = await open_window(client, profile, START, scale=0.05)
    await window.play(SESSION)
    await client.leave()
    print(window.counts, *client.problems[:5], sep="\n")
    assert client.problems == []
    assert window.buffer.text == END
    assert window.counts.keystrokes >= 500
    assert window.counts.shown >= 5
    assert window.counts.accepted >= 2
    assert window.counts.vanished == 0
    assert_engine_saw_only_what_was_there(place, window)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
async def test_anything_in_any_order(place: StubPlace, profile: Profile) -> None:
    client = await Client.start(oracle_command(place, END, **FAST), place.environment)
    window = await open_window(client, profile, START, scale=0.03)
    await window.play([*random_session(seed=1, num_gestures=100), Ask()])
    await client.leave()
    print(window.counts, *client.problems[:5], sep="\n")
    assert client.problems == []
    assert_engine_saw_only_what_was_there(place, window)
    assert window.counts.shown >= 5


@pytest.mark.parametrize("profile", PARTS, ids=lambda profile: profile.name)
async def test_files_of_all_kinds(place: StubPlace, client: Client, profile: Profile) -> None:
    """Every position that was ever meant is the one that was understood."""
    place.write_script(Answer(["v(", "w)\n    '😀' + é\n", "\tx"], delays_ms=[2]))
    capabilities = await client.initialize(profile.capabilities)
    windows = []
    for name, text in FILES.items():
        window = await open_window(
            client,
            profile,
            text,
            uri=f"file:///project/{name}.py",
            scale=0.02,
            capabilities=capabilities,
        )
        windows.append(window)
        before = len(place.records("Complete"))
        await window.play(everywhere(text))
        assert window.counts.shown >= 2, name
        asked = place.records("Complete")[before:]
        last = asked[-1]["prefix"] + asked[-1]["suffix"]
        assert last == LINE_BREAK.sub("\n", window.buffer.text), name
    assert_engine_saw_only_what_was_there(place, *windows)


def ids(place: StubPlace, kind: str) -> list[str]:
    return sorted(record["request_id"] for record in place.records(kind))


async def test_a_storm_of_cancels(place: StubPlace, client: Client) -> None:
    """Each is answered once, and the engine is at rest afterwards."""
    place.write_script(Answer(["never"], delays_ms=[60_000]))
    window = await open_window(client, VS_CODE, "x = \n", scale=0.01)
    hands = window.hands.random
    for _ in range(300):
        params = {
            "textDocument": {"uri": window.uri},
            "position": {"line": 0, "character": 4},
            "context": {"triggerKind": hands.choice([1, 2])},
        }
        calls = [client.request(INLINE_COMPLETION, params) for _ in range(hands.randint(1, 3))]
        await asyncio.sleep(hands.choice([0, 0, 0.001, 0.003]))
        for call in hands.sample(calls, len(calls)):
            client.cancel(call)
            if hands.random() < 0.1:
                client.notify("$/cancelRequest", {"id": call.id})  # once more
    await eventually(lambda: all(call.num_answers for call in client.calls.values()))
    await eventually(lambda: ids(place, "Cancel") == ids(place, "Complete"))
    place.write_script(Answer(["1"]))
    await window.do(Edit(((4, 0, "y"),)))
    await window.do(Ask())
    assert window.ghost is not None
    assert window.ghost.text == "1"


async def test_a_change_while_a_request_is_open(place: StubPlace, client: Client) -> None:
    place.write_script(Answer(["1\n"], delays_ms=[150]))
    window = await open_window(client, NEOVIM, "x = \n", scale=0.01)
    await window.do(Edit(((4, 0, "f"),)))
    await eventually(lambda: len(place.records("Complete")) == 1)
    await window.do(Edit(((5, 0, "g"),), pause_s=2))
    [first, *_] = [call for call in client.calls.values() if call.method == INLINE_COMPLETION]
    assert await first.result in ([], None)
    assert await window.wait_for_ghost()
    await window.settle()
    assert_engine_saw_only_what_was_there(place, window)


async def test_a_server_that_is_killed_leaves_its_engine_to_the_next(place: StubPlace) -> None:
    place.write_script(Answer(["never"], delays_ms=[60_000]))
    client = await Client.start(server_command(place.command, **FAST), place.environment)
    window = await open_window(client, VS_CODE, "x = \n", scale=0.01)
    await window.do(Edit(((4, 0, "f"),)))
    await eventually(lambda: place.records("Complete"))
    await client.kill()
    await eventually(lambda: place.records("cancelled"))  # nobody waits for it
    place.write_script(Answer(["1"]))
    client = await Client.start(server_command(place.command, **FAST), place.environment)
    window = await open_window(client, VS_CODE, window.buffer.text, scale=0.01)
    await window.play([Edit(((5, 0, "g"),)), Accept()])
    assert window.buffer.text == "x = fg1\n"
    await client.leave()
    assert client.problems == []
    assert len(place.pids()) == 1


async def test_an_engine_that_is_killed_while_somebody_types(place: StubPlace) -> None:
    client = await Client.start(oracle_command(place, END, **FAST), place.environment)
    window = await open_window(client, VS_CODE, START, scale=0.06)
    await eventually(lambda: place.records("Complete") or client.is_ready)
    typing = asyncio.create_task(window.play(SHORT_SESSION))
    await asyncio.sleep(0.5)
    os.kill(place.pids()[0], signal.SIGKILL)
    await typing
    await eventually(lambda: len(place.pids()) == 2 and client.is_ready)
    await window.play([Write("\n    # as before"), Accept()])
    assert window.ghost is not None or window.counts.accepted
    await client.leave()
    assert client.problems == []
    assert_engine_saw_only_what_was_there(place, window)


async def test_two_windows_with_the_same_file(place: StubPlace) -> None:
    """Two editors, both encodings, one engine; neither sees what the other types."""
    clients, windows = [], []
    for profile in PARTS:
        clients.append(await Client.start(oracle_command(place, END, **FAST), place.environment))
        windows.append(await open_window(clients[-1], profile, START, scale=0.06))
    await asyncio.gather(
        windows[0].play(SHORT_SESSION),
        windows[1].play([*SHORT_SESSION[3:], Write("  # só 😀"), Think(0.2)]),
    )
    for client in clients:
        await client.leave()
        assert client.problems == []
    assert len(place.pids()) == 1
    assert windows[0].buffer.text != windows[1].buffer.text
    assert_engine_saw_only_what_was_there(place, *windows)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("profile", PARTS, ids=lambda profile: profile.name)
async def test_a_session_with_the_real_weights(
    place: StubPlace, weights_path: Path, profile: Profile
) -> None:
    engine = [sys.executable, "-I", "-m", "sampler.serve", "--idle-exit", "5"]
    command = server_command(engine, model=str(weights_path), offline=True, tune="off")
    client = await Client.start(command, place.environment)
    window = await open_window(client, profile, START, scale=0.5)
    await eventually(lambda: client.is_ready, timeout_s=120)
    await window.play(PATIENT_SESSION)
    await client.leave(timeout_s=60)
    print(window.counts, [sample.from_keystroke_ms for sample in window.samples])
    assert client.problems == []
    assert window.counts.shown >= 4
    assert window.counts.accepted >= 3
    assert "self.price" in window.buffer.text
