"""What `Completions` adds to sessions: waiting, gating, counting, and the engine's requests."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from lsp_server.completions import TEMPERATURE, Completions
from lsp_server.session import Offer
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from sampler.messages import BlockCommitted, Complete, Failed, Finished
from tests.engines import eventually
from tests.fakes import document_at, snapshot_at

URI = "file:///fake.py"


class ScriptedEngine:
    """Answers with `text` after a delay; the texts drawn end with their seed."""

    def __init__(self, text: str = "foo", delay_s: float = 0.0, confidence: float = 1.0) -> None:
        self.text, self.delay_s, self.confidence = text, delay_s, confidence
        self.requests: list[Complete] = []
        self.num_cancelled = 0

    async def complete(
        self, request: Complete
    ) -> AsyncGenerator[BlockCommitted | Finished | Failed, None]:
        self.requests.append(request)
        text = f"{self.text}{request.seed or ''}"
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        yield BlockCommitted(request.request_id, text, self.confidence)
        yield Finished(request.request_id, text, "line")


def completions(engine: ScriptedEngine, **given: object) -> Completions:
    settings = Settings(**{"ahead": False, **given})  # type: ignore[arg-type]
    return Completions(engine, settings, lambda _: None)


def text_of(offer: Offer | None) -> str | None:
    return None if offer is None else offer.text


def change(completing: Completions, marked: str, version: int) -> Snapshot:
    completing.change(document_at(marked, version=version)[0])
    return snapshot_at(marked, version=version)


async def test_keys_in_quick_succession_start_one_request() -> None:
    engine = ScriptedEngine(delay_s=0.05)
    completing = completions(engine, debounce_ms=200)
    asking = []
    for version, typed in enumerate(["a", "ab", "abc", "abcd"], start=2):
        snapshot = change(completing, f"{typed}█", version)
        asking.append(asyncio.create_task(completing.request(snapshot)))
        await asyncio.sleep(0.02)
    assert [text_of(await one) for one in asking] == [None, None, None, "foo"]
    # The first one could not know yet how fast the keys come.
    assert [request.prefix for request in engine.requests][1:] == ["abcd"]


async def test_a_request_superseded_in_the_same_moment_is_never_started() -> None:
    engine = ScriptedEngine()
    completing = completions(engine)
    older = asyncio.create_task(completing.request(snapshot_at("a█\nb\n")))
    await asyncio.sleep(0)
    assert text_of(await completing.request(snapshot_at("a\nb█\n"))) == "foo"
    assert await older is None
    assert len(engine.requests) == 1


async def test_what_is_there_already_is_not_waited_for() -> None:
    completing = completions(ScriptedEngine("foo(a)"), debounce_ms=10_000)
    await completing.request(snapshot_at("x = █"))
    for version, typed in enumerate(["f", "fo", "foo"], start=2):
        snapshot = change(completing, f"x = {typed}█", version)
        async with asyncio.timeout(0.1):
            assert text_of(await completing.request(snapshot)) == "foo(a)"[len(typed) :]
    assert completing.tally == {"live": 1, "typed": 3}


async def test_what_is_asked_for_by_hand_is_not_waited_for() -> None:
    completing = completions(ScriptedEngine(), debounce_ms=10_000)
    snapshot = snapshot_at("█")
    for version, typed in enumerate(["a", "ab"], start=2):
        snapshot = change(completing, f"{typed}█", version)
    async with asyncio.timeout(0.1):
        assert text_of(await completing.request(snapshot, is_invoked=True)) == "foo"


async def test_manual_answers_by_hand_and_keeps_that_while_it_is_typed() -> None:
    engine = ScriptedEngine("foo(a)")
    completing = completions(engine, trigger="manual")
    snapshot = snapshot_at("x = █")
    assert await completing.request(snapshot) is None
    assert completing.quiet_reason(URI) == "manual"
    assert engine.requests == []
    assert text_of(await completing.request(snapshot, is_invoked=True)) == "foo(a)"
    assert completing.quiet_reason(URI) is None
    snapshot = change(completing, "x = f█", 2)
    assert text_of(await completing.request(snapshot)) == "oo(a)"
    snapshot = change(completing, "x = g█", 3)
    assert await completing.request(snapshot) is None


async def test_a_snooze_ends() -> None:
    completing = completions(ScriptedEngine())
    completing.snooze(time.monotonic() + 0.05)
    assert await completing.request(snapshot_at("x = █")) is None
    assert completing.quiet_reason(URI) == "snoozed"
    await asyncio.sleep(0.06)
    assert text_of(await completing.request(snapshot_at("x = █"))) == "foo"
    completing.snooze(time.monotonic() + 1000)
    assert await completing.request(snapshot_at("x = █")) is None
    completing.snooze(None)
    assert text_of(await completing.request(snapshot_at("x = █"))) == "foo"


async def test_settings_hold_from_the_next_request_on() -> None:
    completing = completions(ScriptedEngine())
    completing.settings = Settings(show="never")
    assert await completing.request(snapshot_at("x = █")) is None
    assert completing.quiet_reason(URI) == "off"
    assert completing.tally == {"off": 1}


async def test_unsure_and_nothing_are_told_apart() -> None:
    engine = ScriptedEngine(confidence=0.01)
    completing = completions(engine, show="subtle")
    assert await completing.request(snapshot_at("x = █")) is None
    assert completing.quiet_reason(URI) == "unsure"
    engine.text = " "
    assert await completing.request(snapshot_at("y = █")) is None
    assert completing.quiet_reason(URI) == "nothing"


async def test_dismissed_and_called_back() -> None:
    completing = completions(ScriptedEngine())
    snapshot = snapshot_at("x = █")
    assert completing.last_suggestion(URI) is None
    await completing.request(snapshot)
    completing.dismiss(URI)
    assert await completing.request(snapshot) is None
    assert text_of(completing.last_suggestion(URI)) == "foo"


async def test_other_texts_are_drawn_after_the_most_likely_one() -> None:
    engine = ScriptedEngine()
    completing = completions(engine, num_candidates=3)
    snapshot = snapshot_at("x = █")
    assert text_of(await completing.request(snapshot, is_invoked=True)) == "foo"
    await eventually(lambda: len(engine.requests) == 3)
    await asyncio.sleep(0.01)
    offer = await completing.request(snapshot, is_invoked=True)
    assert offer is not None
    assert offer.alternatives == ("foo1", "foo2")
    drawn = [(request.temperature, request.seed, request.is_ahead) for request in engine.requests]
    assert drawn == [(0.0, 0, False), (TEMPERATURE, 1, True), (TEMPERATURE, 2, True)]


async def test_the_next_block_is_there_after_an_acceptance() -> None:
    engine = ScriptedEngine()
    completing = completions(engine, ahead=True)
    await completing.request(snapshot_at("x = █"))
    await eventually(lambda: len(engine.requests) == 2)
    assert (engine.requests[1].prefix, engine.requests[1].is_ahead) == ("x = foo\n", True)
    await asyncio.sleep(0.01)
    snapshot = change(completing, "x = foo█", 2)
    offer = await completing.request(snapshot)
    assert offer is not None
    assert (offer.text, offer.tier) == ("\nfoo", "speculative")


def reads(engine: ScriptedEngine) -> list[str]:
    for request in engine.requests:
        assert request.is_ahead == (request.max_new_tokens == 0)
    return [request.prefix for request in engine.requests if request.max_new_tokens == 0]


async def test_where_the_cursor_rests_is_read_ahead() -> None:
    engine = ScriptedEngine(" ")
    completing = completions(engine, ahead=True)
    completing.rest(snapshot_at("x = \ny█\n"))
    await eventually(lambda: reads(engine) == ["x = \ny"])
    assert completing.tally == {}, "nobody has asked"
    quiet = completions(engine, ahead=True, trigger="manual")
    quiet.rest(snapshot_at("x█\n"))
    completions(engine, ahead=False).rest(snapshot_at("x█\n"))
    await asyncio.sleep(0.02)
    assert len(engine.requests) == 1


async def test_after_a_pause_the_place_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.completions.READ_AFTER_S", 0.05)
    engine = ScriptedEngine(" ")
    completing = completions(engine, ahead=True)
    await completing.request(snapshot_at("x = █\n"))
    await eventually(lambda: reads(engine) == ["x = "])
    await asyncio.sleep(0.1)
    assert len(engine.requests) == 2, "once"
    await completing.request(change(completing, "x = 1█\n", 2))
    completing.close(URI)
    await asyncio.sleep(0.1)
    assert reads(engine) == ["x = "]


async def test_who_is_told_where_the_cursor_is_anyway_still_waits_for_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plugin tells of a place a moment after each key, too."""
    monkeypatch.setattr("lsp_server.completions.READ_AFTER_S", 0.05)
    engine = ScriptedEngine(" ")
    completing = completions(engine, ahead=True)
    await completing.request(snapshot_at("x = █\n"))
    completing.rest(snapshot_at("x = █\n"))
    await eventually(lambda: reads(engine) == ["x = "])


async def test_closing_stops_work_ahead() -> None:
    engine = ScriptedEngine()
    completing = completions(engine, ahead=True)
    await completing.request(snapshot_at("x = █"))
    engine.delay_s = 60
    await asyncio.sleep(0.01)
    completing.close(URI)
    await asyncio.sleep(0.01)
    assert engine.num_cancelled <= 1
    assert len(asyncio.all_tasks()) == 1
