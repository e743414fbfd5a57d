"""What typing is found to cost: from what the server tells, and from what an editor sees."""

import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from lsp_server import loopback, wire
from lsp_server.bench import keystroke
from lsp_server.bench.cancel import Cancelled, Look, num_begun_after, summarize
from lsp_server.bench.traces import (
    LONGEST_JUMP_S,
    LONGEST_REST_S,
    OWN_FILE,
    Edit,
    Trace,
    own_trace,
    read_trace,
)
from lsp_server.bench.typist import Key
from lsp_server.settings import Settings
from sampler.sample import cut_holes
from sampler.stub import Answer
from tests.e2e.servers import server_command
from tests.engines import StubPlace

NOW = time.perf_counter()


def key(
    shown_ms: float | None = None,
    asked_ms: float | None = 50.0,
    before: Key | None = None,
    **more: object,
) -> Key:
    made = Key(2 if before is None else before.version + 1, NOW, before)
    made.asked_at = None if asked_ms is None else NOW + asked_ms / 1000
    made.shown_at = None if shown_ms is None else NOW + shown_ms / 1000
    for name, value in more.items():
        setattr(made, name, value)
    return made


def cost(tier: str, prefill_tokens: int = 3, forwards: int = 2) -> wire.Cost:
    return wire.Cost(tier, 5, forwards, prefill_tokens, 100, 10.0, 20.0)


def test_a_whole_answer_says_what_it_cost() -> None:
    live = key()
    live.learn(cost("live"))
    assert (live.tier, live.prefill_tokens, live.forwards) == ("live", 3, 2)
    recent = key()
    recent.learn(cost("recent"))
    assert (recent.tier, recent.prefill_tokens) == ("recent", 0), "computed for another key"


def test_what_was_typed_through_was_computed_for_the_first_key() -> None:
    origin = key(80.0)
    second = key(55.0, before=origin, is_followed=True)
    third = key(55.0, before=second, is_followed=True)
    third.learn(cost("typed", prefill_tokens=7))
    assert (third.tier, third.prefill_tokens) == ("typed", 0)
    assert (origin.tier, origin.prefill_tokens, origin.forwards) == ("live", 7, 2)
    assert [keystroke.tier_of(one) for one in (origin, second, third)] == ["live", "typed", "typed"]
    later = key(55.0, before=third, is_followed=True)
    later.learn(cost("typed", prefill_tokens=9))
    assert origin.prefill_tokens == 7, "it was known already"


def test_context_is_what_the_engine_says_of_each_key() -> None:
    keys = [
        key(computed_tokens=3, is_stroke=True),
        key(asked_ms=None, computed_tokens=0, is_stroke=True),
        key(computed_tokens=17),
        key(),
    ]
    record = keystroke.summarize(keys)
    computed, strokes = record["computed_context"], record["computed_context_strokes"]
    assert (computed["n"], computed["most_tokens"], computed["above_16"]) == (3, 17, 1)
    assert (strokes["n"], strokes["most_tokens"], strokes["above_16"]) == (2, 3, 0)


@pytest.mark.parametrize(
    ("patches", "is_stroke"),
    [
        ([(3, 0, "a")], True),
        ([(3, 0, "()")], True),
        ([(3, 0, "\n    ")], True),
        ([(3, 0, "\n    \n")], True),
        ([(3, 1, "")], True),
        ([(3, 40, "x")], True),
        ([(3, 0, "stringify")], False),
        ([(3, 0, "\ntotal = 0")], False),
        ([(9, 0, "h"), (3, 0, "h")], False),
    ],
)
def test_what_one_key_makes(patches: list[tuple[int, int, str]], is_stroke: bool) -> None:
    assert Edit(tuple(patches)).is_stroke == is_stroke


def test_latency_is_told_by_tier_and_without_forwards(capsys: pytest.CaptureFixture[str]) -> None:
    live = key(150.0, tier="live", prefill_tokens=2, forwards=3)
    replayed = key(60.0, tier="live", prefill_tokens=0, forwards=0)
    grown = key(20.0, asked_ms=None, before=live, is_followed=True)
    record = keystroke.summarize([live, replayed, grown, key(is_empty=True)])
    assert record["keystrokes"] == 4
    assert record["with_text"] == 3
    assert record["answered_empty"] == 1
    assert record["without_forward_share"] == pytest.approx(2 / 3, abs=0.001)
    assert record["latency_by_tier"]["typed"]["from_request"] == {"n": 0}, "it was not asked for"
    assert record["latency_by_tier"]["live"]["from_key"]["most_ms"] == pytest.approx(150.0)
    assert record["latency_by_tier"]["live"]["from_request"]["most_ms"] == pytest.approx(100.0)
    trace = {"name": "a.py", "edits": 4}
    keystroke.show({"trace": trace, **record}, Console(width=100, highlight=False))
    told = capsys.readouterr().out
    assert "a.py: 4 keystrokes, 3 with text, 1 answered without any" in told
    assert "67% of the keystrokes with text needed no forward" in told
    keystroke.show({"trace": trace, **keystroke.summarize([])}, Console(width=100))
    assert "needed no forward" not in capsys.readouterr().out


def trace_of(folder: Path, *changes: tuple[int, tuple[int, int, str]]) -> Trace:
    """A trace of changes at seconds of a minute."""
    txns = [
        {"time": f"2026-01-01T00:00:{second:02}", "patches": [patch]} for second, patch in changes
    ]
    path = folder / "work.py.json"
    path.write_text(json.dumps({"startContent": "", "txns": txns}))
    return read_trace(path)


def test_before_a_change_at_another_place_the_cursor_has_stood_there(tmp_path: Path) -> None:
    edits = trace_of(
        tmp_path,
        (0, (0, 0, "abc")),
        (2, (3, 0, "d")),
        (2, (3, 1, "")),
        (3, (3, 0, "defg")),
        (3, (0, 0, "x")),
        (5, (6, 1, "")),
        (30, (0, 0, "y")),
        (40, (3, 2, "")),
        (41, (3, 2, "")),
    ).edits
    assert [(edit.pause_s, edit.rest_s) for edit in edits] == [
        (0.0, None),
        (1.0, None),
        (0.0, None),
        (0.0, None),
        (0.0, 0.0),
        (2.0, 1.0),
        (LONGEST_JUMP_S, LONGEST_REST_S),
        (LONGEST_JUMP_S, LONGEST_REST_S),
        (0.0, None),
    ]
    assert [edit.selected for edit in edits[4:8]] == [(0, 0), (7, 7), (0, 0), (3, 5)]


def test_the_cursor_is_where_the_next_change_goes_on(tmp_path: Path) -> None:
    """Enter with an indentation takes the blanks away that stood before it."""
    txns = [
        [[5, 0, "\n\t\t"], [3, 2, ""]],
        [[6, 0, "b"]],
        [[9, 0, " */"], [2, 0, "/* "]],
        [[0, 0, "x"]],
    ]
    path = tmp_path / "work.py.json"
    changes = [{"time": "2026-01-01T00:00:00", "patches": patches} for patches in txns]
    path.write_text(json.dumps({"startContent": "{\n\t  }\n", "txns": changes}))
    edits = read_trace(path).edits
    assert edits[0].ends == (6, 3)
    assert [edit.end for edit in edits] == [6, 7, 5, 1]
    assert [edit.rest_s for edit in edits] == [None, None, None, 0.0]


def test_the_own_trace_writes_its_file() -> None:
    trace = own_trace()
    assert trace.language == "python"
    hole = cut_holes(OWN_FILE.read_text("utf-8"))[0]
    whole = hole.prefix + hole.middle + hole.suffix
    assert trace.part(len(trace.edits), 0).text == whole
    assert len(trace.edits) >= 300
    for edit in trace.edits:
        ((_, length, text),) = edit.patches
        assert length == 0
        assert len(text) == 1 or text.startswith("\n")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> StubPlace:
    place = StubPlace()
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(loopback, "SERVER_COMMAND", server_command(place.command))
    return place


async def test_a_typist_sees_what_an_editor_would(place: StubPlace) -> None:
    """The real server, an engine that says `ass`: behind `p` it is shown, then typed through."""
    place.write_script(Answer(["a", "ss"], [0.0, 30.0]), Answer(["y = 1"]))
    text = "def work():\n    "
    typed = [Edit(((len(text) + index, 0, letter),)) for index, letter in enumerate("pasx")]
    trace = Trace("work.py", text, tuple(typed))
    heard: list[float | None] = []
    totals = iter([100, 107, 107, 107, 110])

    async def count() -> int:
        return next(totals)

    try:
        record = await keystroke.measure(
            Settings(ahead=False),
            trace,
            lambda progress: heard.append(progress.fraction),
            count,
            speed=2.0,
            waits=True,
        )
    finally:
        place.close()
    assert record["keystrokes"] == 4
    assert record["trace"]["name"] == "work.py"
    assert (record["computed_context"]["n"], record["computed_context"]["most_tokens"]) == (4, 7)
    tiers = record["latency_by_tier"]
    assert tiers["typed"]["from_key"]["n"] == 2
    assert tiers["live"]["from_key"]["n"] == 2
    assert tiers["typed"]["from_request"]["p50_ms"] < tiers["live"]["from_key"]["p50_ms"]
    assert record["latency"]["from_key"]["p50_ms"] >= record["debounce_ms"]
    assert heard


async def test_a_typist_tells_where_the_cursor_rests(place: StubPlace) -> None:
    place.write_script(Answer([]))
    edits = (Edit(((7, 0, "y"),), 0.5, 0.5), Edit(((0, 0, "x"),), 0.2, 0.05))

    async def count() -> int:
        return 0

    try:
        await keystroke.measure(
            Settings(),
            Trace("work.py", "a = 1\nb\n", edits),
            lambda _: None,
            count,
            speed=1.0,
            waits=True,
        )
        reads = [record["prefix"] for record in place.records("Read")]
    finally:
        place.close()
    assert reads == ["a = 1\nb"], "the second one was on its way for too short a time"


ARRIVED = Look(10.000, 10.001, 0.020)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([Look(10.010, 10.011, 0.030)], 0),  # the one that ran goes on
        ([Look(10.010, 10.011, None)], 0),
        ([Look(10.010, 10.011, 0.005)], 1),
        ([Look(10.010, 10.011, 0.0001)], 0),  # the engine looks whether there is work
        ([Look(10.010, 10.011, 0.005), Look(10.014, 10.015, 0.009)], 1),
        ([Look(10.010, 10.011, 0.005), Look(10.020, 10.021, 0.002)], 2),
        ([Look(10.010, 10.011, None), Look(10.020, 10.021, 0.002)], 1),
        ([Look(10.0015, 10.012, 0.0009)], 0),  # it may have begun before the cancel was there
    ],
)
def test_a_forward_that_begins_after_the_cancel_is_seen(looks: list[Look], expected: int) -> None:
    assert num_begun_after([ARRIVED, *looks]) == expected


def test_cancels_are_summed_up() -> None:
    assert summarize([]) == {"n": 0, "hit_a_forward": 0, "forwards_begun_after": 0}
    record = summarize([Cancelled(10.0, True, 0), Cancelled(30.0, False, 1)])
    assert record["p50_ms"] == 20.0
    assert record["most_ms"] == 30.0
    assert record["hit_a_forward"] == record["forwards_begun_after"] == 1
