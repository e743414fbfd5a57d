"""Requests that share forwards: each gets the text that it gets alone."""

import copy
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampler.drafting import CUDA_COSTS, NATIVE_COSTS
from sampler.engine import Engine
from sampler.generation import EngineSettings
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel
from sampler.messages import BlockCommitted, Complete, Failed, Finished
from sampler.runner import Runner
from tests.property.test_engine import ANYTHING, MODES, TEXT, TOKENIZER, VOCABULARY, model

FREE = ((1, 1.0),)
"""Costs of rows that take no time, so that all that can share do."""
SOURCES = ["torch"] + ["native"] * library.is_available()


class Sharing(Runner):
    """Computes for several requests in one step, if only one after the other."""

    most_shared_rows = 99


@functools.cache
def native():
    return NativeModel(copy.deepcopy(model(True)), threads=2)


def make_engine(source, costs=FREE, **fields):
    runner = Sharing(model(True)) if source == "torch" else Runner(native())
    fields = {"num_positions": 400, "prefill_chunk": 16, "block_size": 6, **fields}
    return Engine(runner, VOCABULARY, TOKENIZER, EngineSettings(costs_ms=costs, **fields))


def run(engine, requests, starts):
    """The finished events by request; `starts` are the steps before which they are submitted."""
    waiting = sorted(zip(starts, requests, strict=True), key=lambda pair: pair[0])
    finished, num_steps = {}, 0
    while waiting or engine.has_work:
        while waiting and (waiting[0][0] <= num_steps or not engine.has_work):
            assert engine.submit(waiting.pop(0)[1]) == []
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Finished):
                finished[event.request_id] = event
        num_steps += 1
    engine.cache.check_integrity()
    assert engine.cache.has_free
    return finished


@st.composite
def some_requests(draw):
    requests = []
    context = draw(st.tuples(TEXT, TEXT))
    for number in range(draw(st.integers(2, 4))):
        prefix, suffix = draw(st.one_of(st.just(context), st.tuples(TEXT, TEXT)))
        is_drawn = draw(st.booleans())
        requests.append(
            Complete(
                str(number),
                f"document {number}",
                prefix,
                suffix,
                ANYTHING,
                mode="exact" if is_drawn else draw(st.sampled_from(MODES)),
                max_new_tokens=draw(st.integers(1, 30)),
                temperature=0.7 if is_drawn else 0.0,
                seed=number,
                first_rank=number if is_drawn else 0,
            )
        )
    return requests


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=25, deadline=None)
@given(
    requests=some_requests(),
    starts=st.lists(st.integers(0, 12), min_size=4, max_size=4),
    costs=st.sampled_from([FREE, NATIVE_COSTS, CUDA_COSTS]),
    num_sequences=st.integers(1, 4),
)
def test_each_request_gets_the_text_it_gets_alone(source, requests, starts, costs, num_sequences):
    engine = make_engine(source, costs, num_sequences=num_sequences)
    together = run(engine, requests, starts[: len(requests)])
    for request in requests:
        (alone,) = run(make_engine(source, costs), [request], [0]).values()
        found = together[request.request_id]
        assert (found.text, found.stop, found.stats.tokens) == (
            *(alone.text, alone.stop),
            alone.stats.tokens,
        )


@pytest.mark.skipif(not library.is_available(), reason="the native kernels are not built")
def test_forwards_are_shared_where_rows_are_cheap():
    requests = [
        Complete(name, name, f"{name}(a)\n" * 9, "", ANYTHING, max_new_tokens=40) for name in "ab"
    ]
    engines = [make_engine("native"), make_engine("native"), make_engine("native")]
    for engine, some in zip(engines, (requests[:1], requests[1:], requests), strict=True):
        run(engine, some, [0] * len(some))
    first, second, both = (engine.runner.num_forwards for engine in engines)
    assert both <= max(first, second) + 3


def test_the_oldest_request_is_not_held_up():
    """It gets its rows as ever; others come along only where that costs little."""
    oldest = Complete("1", "d", "ab = (a)\n" * 8, "", ANYTHING, max_new_tokens=40)
    later = Complete("2", "e", "b(a)\n" * 12, "", ANYTHING, max_new_tokens=40)
    steep = ((1, 1.0), (64, 64.0))
    for costs in (FREE, steep):
        (alone,) = run(make_engine("torch", costs), [oldest], [0]).values()
        engine = make_engine("torch", costs)
        found = run(engine, [oldest, later], [0, 0])
        assert list(found) == ["1", "2"] or costs is FREE
        assert found["1"].stats.forwards == alone.stats.forwards


@pytest.mark.parametrize("source", SOURCES)
def test_other_texts_for_a_place_are_drawn_together_from_one_reading_of_it(source):
    engine = make_engine(source)
    place = ("d", "ab = (a)\n" * 8, "\nend", ANYTHING)
    others = [
        Complete(str(rank), *place, is_ahead=True, temperature=0.7, seed=rank, first_rank=rank)
        for rank in (1, 2, 3)
    ]
    run(engine, [Complete("0", *place)], [0])
    for other in others:
        assert engine.submit(other) == [], "work ahead does not supersede work ahead"
    found, num_steps = {}, 0
    while engine.has_work:
        found |= {event.request_id: event for event in engine.step() if isinstance(event, Finished)}
        num_steps += 1
    assert len({event.text for event in found.values()}) == 3
    assert all(event.stats.prefill_tokens <= 1 for event in found.values())
    assert num_steps <= max(event.stats.forwards for event in found.values()) + 2


def test_a_request_that_is_waited_for_replaces_work_ahead():
    engine = make_engine("torch")
    place = ("d", "ab = (a)\n" * 8, "\nend", ANYTHING)
    for name in "123":
        engine.submit(Complete(name, *place, is_ahead=True))
    for _ in range(9):
        engine.step()
    failed = engine.submit(Complete("9", *place))
    assert {event.request_id for event in failed} == {"1", "2", "3"}
    assert not any(sequence.is_busy for sequence in engine.cache._sequences)


def test_a_forward_that_fails_takes_no_other_request_along():
    engine = make_engine("torch")
    for name in "ab":
        engine.submit(Complete(name, name, "ab = (a)\n" * 8, "", ANYTHING, max_new_tokens=20))
    together = engine.runner.advance_together

    def advance_together(forwards, **how):
        if any(forward.sequence in engine.cache._sequences[1:] for forward in forwards):
            raise RuntimeError("out of memory")
        return together(forwards, **how)

    engine.runner.advance_together = advance_together
    events = []
    while engine.has_work:
        events += engine.step()
    ends = [event for event in events if not isinstance(event, BlockCommitted)]
    assert [(type(event), event.request_id) for event in ends] == [(Failed, "b"), (Finished, "a")]
    assert not any(sequence.is_busy for sequence in engine.cache._sequences)
