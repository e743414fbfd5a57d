"""Measuring: the sums by property, the sample, and the measurement itself on the debug model."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.format.tokenizer import Tokenizer
from sampler import measure as measuring
from sampler.drafting import LONGEST_BRANCH
from sampler.measure import Measured, Plan, count_hits, estimate, extrapolated, lowered, measure
from sampler.runner import Runner
from sampler.sample import cut_holes, read_holes, sample_prompts
from tests.tiny import tiny_vocabulary
from tests.tuning import network

VOCABULARY = tiny_vocabulary()
TOKENIZER = Tokenizer(VOCABULARY)


# What timings and drafts are turned into


def test_a_larger_forward_bounds_the_smaller_ones() -> None:
    assert lowered([(1, 5.0), (2, 9.0), (4, 6.0), (8, 7.0)]) == [
        *[(1, 5.0), (2, 6.0), (4, 6.0), (8, 7.0)]
    ]


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=9))
def test_lowered_curves_rise(times_ms: list[float]) -> None:
    curve = lowered(list(enumerate(times_ms, 1)))
    assert [ms for _, ms in curve] == sorted(ms for _, ms in curve)
    assert all(ms <= before + 1e-3 for (_, ms), before in zip(curve, times_ms, strict=True))


def test_what_was_too_slow_is_extrapolated() -> None:
    assert extrapolated([(64, 100.0)], 128) == 200.0
    assert extrapolated([(1, 10.0), (4, 13.0), (8, 17.0)], 16) == 25.0
    assert extrapolated([(1, 10.0), (8, 9.0)], 16) == 9.0
    assert measuring.completed([(1, 10.0), (8, 17.0)], 64) == ((1, 10.0), (8, 17.0), (64, 73.0))
    assert measuring.completed([(1, 10.0), (64, 17.0)], 64) == ((1, 10.0), (64, 17.0))


def test_drafts_count_up_to_the_first_wrong_one() -> None:
    greedy = [10, 11, 12, 13, 14]
    # The draft behind greedy[i] stands for greedy[i + 2] and what follows it.
    drafted = [[12, 13, 99], [13, 0, 0], [0, 0, 0], [7, 7, 7]]
    assert count_hits(greedy, drafted, 3) == [(2, 3), (1, 2), (0, 1)]


def test_estimates_lean_on_the_place_before() -> None:
    first, second, third = estimate([80, 0, 0], [100, 0, 0])
    assert 0.75 < first < 0.8
    assert second == third == first, "nothing is known of them"
    assert estimate([0] * 2, [1000] * 2)[1] < 0.01
    assert estimate([], []) == ()


def test_forwards_are_mixed_as_the_engine_mixes_them() -> None:
    for num_rows in measuring.ROWS:
        for has_drafts in (False, True):
            sizes = measuring.layout_of(num_rows, has_drafts=has_drafts)
            assert len(sizes) + sum(sizes) == num_rows
            assert has_drafts or not any(sizes)
    assert measuring.layout_of(8, has_drafts=True) == (3, 3)


# The sample


def test_holes_of_the_sample_are_cut_out() -> None:
    holes = read_holes()
    assert len(holes) >= 16
    assert len({hole.prefix[:40] for hole in holes[:4]}) == 4, "one of each file in turn"
    for hole in holes:
        whole = hole.prefix + hole.middle + hole.suffix
        compile(whole, "sample", "exec")
        assert hole.middle.strip()
    for prompt in sample_prompts(VOCABULARY, TOKENIZER):
        assert 0 < len(prompt) <= 512
    with pytest.raises(ValueError, match="pairs"):
        cut_holes("a ⟦b⟧ c ⟧ d ⟦")


# The measurement, on the debug model


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "NUM_ROUNDS", 2)


class Time:
    """A clock that moves as a forward would: so much, and a share for each row."""

    def __init__(self, runner: Runner, ms: float = 5.0, ms_per_row: float = 1.0) -> None:
        self.seconds = 0.0
        forward = runner._forward

        def timed(ids_BT: torch.Tensor, *args: object, **fields: object) -> object:
            self.seconds += (ms + ms_per_row * ids_BT.shape[1]) / 1000
            return forward(ids_BT, *args, **fields)  # type: ignore[arg-type]

        runner._forward = timed  # type: ignore[assignment, method-assign]

    def __call__(self) -> float:
        return self.seconds


def run(slices: Iterator[float]) -> tuple[list[float], Measured]:
    shares = []
    while True:
        try:
            shares.append(next(slices))
        except StopIteration as done:
            return shares, done.value


def plan(num_drafts: int = LONGEST_BRANCH, **fields: object) -> Plan:
    prompts = sample_prompts(VOCABULARY, TOKENIZER)[:3]
    return Plan(prompts, VOCABULARY.end_ids, num_drafts, **fields)  # type: ignore[arg-type]


def test_the_measurement_finds_what_forwards_cost() -> None:
    runner = Runner(network(True))
    clock = Time(runner, ms=5.0, ms_per_row=0.5)
    shares, measured = run(measure(runner, plan(), clock))
    assert measured.costs_ms == tuple((rows, 5.0 + 0.5 * rows) for rows in measuring.ROWS)
    assert dict(measured.prefill_ms) == pytest.approx({64: 37.0, 128: 69.0, 256: 133.0})
    assert len(measured.acceptance) == LONGEST_BRANCH
    assert measured.num_judged > 20
    assert measured.spent_s == pytest.approx(clock.seconds)
    assert all(0 <= share <= 1 for share in shares)
    assert len(shares) == runner.num_forwards, "suspended behind each forward"


def test_a_slow_machine_is_measured_within_the_budget() -> None:
    runner = Runner(network(True))
    slowest = 0.0
    clock = Time(runner, ms=60.0, ms_per_row=3.0)
    slices, before = measure(runner, plan(budget_s=10.0), clock), 0.0
    while True:
        try:
            next(slices)
        except StopIteration as done:
            measured = done.value
            break
        slowest, before = max(slowest, clock.seconds - before), clock.seconds
    assert measured.spent_s <= 10.0 + slowest
    assert slowest <= 1.3 * measuring.LONGEST_MS / 1000 or slowest == pytest.approx(0.252)
    assert measured.costs_ms[-1] == (64, pytest.approx(60 + 3 * 64))
    assert measured.prefill_ms == ((64, pytest.approx(252.0)),)


def test_without_an_adapter_only_costs_are_measured() -> None:
    runner = Runner(network(False))
    _, measured = run(measure(runner, plan(num_drafts=0), Time(runner)))
    assert measured.acceptance == ()
    assert measured.num_judged == 0
    assert measured.costs_ms[0] == (1, pytest.approx(6.0))


def test_drafts_are_compared_with_the_base_s_own_text() -> None:
    """What the rows of a chain give beside a branch is what the plain network gives."""
    runner = Runner(network(True))
    prompt = sample_prompts(VOCABULARY, TOKENIZER)[0]
    watch = measuring._Watch(100.0, Time(runner))
    sequence = measuring.CachedSequence(runner.allocate(600))
    slices = measuring._draft_along(runner, sequence, prompt, plan(), watch, 0)
    _, (greedy, drafted) = run(slices)  # type: ignore[arg-type, misc]
    ids = list(prompt)
    for token in greedy:
        logits_V = network(True)(torch.tensor([ids]))[0, -1]
        assert token == int(logits_V.argmax())
        ids.append(token)
    assert len(drafted) == len(greedy) - 1
    assert {len(drafts) for drafts in drafted} == {LONGEST_BRANCH}
