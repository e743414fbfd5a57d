"""What is chosen from measurements, and how a person is told."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server import tune as command
from sampler.drafting import (
    CUDA_COSTS,
    LONGEST_BRANCH,
    NATIVE_COSTS,
    TORCH_COSTS,
    choose_layout,
    cost_ms,
)
from sampler.messages import Tuned
from sampler.tune import CHUNK_LIMIT_MS, choose, choose_chunk, expected_cycle
from tests.tuning import profile

CHANCE = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("prefill_ms", "expected"),
    [
        (((64, 70.0), (128, 130.0), (256, 250.0)), 128),
        (((64, 70.0), (128, 151.0)), 64),
        (((64, 400.0),), 64),
        (((64, 30.0), (128, 70.0), (256, 145.0)), 64),  # the smaller one reads more a second
        (((64, 1.0), (128, 1.1), (256, 1.3)), 256),
    ],
)
def test_chunks_keep_a_cancellation_short(
    prefill_ms: tuple[tuple[int, float], ...], expected: int
) -> None:
    assert choose_chunk(prefill_ms) == expected
    assert expected == 64 or dict(prefill_ms)[expected] <= CHUNK_LIMIT_MS


def test_drafts_pay_where_rows_are_cheap() -> None:
    flat = choose(profile(costs_ms=((1, 20.0), (64, 21.0))), 32)
    assert flat.mode == "exact"
    assert flat.tokens_per_forward > 1.9
    assert flat.exact_tokens_per_s > 1.8 * flat.ar_tokens_per_s == pytest.approx(90.0)
    steep = choose(profile(costs_ms=((1, 20.0), (64, 1280.0))), 32)
    assert steep.layout == (0,)
    assert steep.exact_tokens_per_s == steep.ar_tokens_per_s == 50.0
    assert choose(profile(acceptance=()), 32).tokens_per_forward == 1.0


@given(
    acceptance=st.lists(CHANCE, max_size=LONGEST_BRANCH),
    costs=st.sampled_from([NATIVE_COSTS, TORCH_COSTS, CUDA_COSTS]),
    max_rows=st.integers(1, 40),
)
def test_expectations_are_possible(
    acceptance: list[float], costs: tuple[tuple[int, float], ...], max_rows: int
) -> None:
    tokens, ms, layout = expected_cycle(acceptance, costs, max_rows)
    assert 1.0 <= tokens <= 1 + len(acceptance)
    assert ms >= costs[0][1]
    assert len(layout) + sum(layout) <= max_rows


# By the first of these costs one layout is best. By the second two tie, and the engine goes to and
# fro between them: the expectation is that of one, but a token costs what it costs with the other.
ONE_LAYOUT = ((1, 13.4), (8, 20.0), (9, 22.8), (16, 29.5), (64, 120.0))


@pytest.mark.parametrize("costs", [ONE_LAYOUT, NATIVE_COSTS])
def test_the_expectation_is_what_a_simulation_gives(costs: tuple[tuple[int, float], ...]) -> None:
    acceptance = (0.7, 0.6, 0.5, 0.4)
    tokens, ms, most_frequent = expected_cycle(acceptance, costs, 32)
    chance = random.Random(0)
    reached = [0.7, 0.42, 0.21, 0.084]
    at_hand, num_tokens, num_forwards, spent_ms = 0, 0, 20_000, 0.0
    seen = dict[tuple[int, ...], int]()
    for _ in range(num_forwards):
        layout = choose_layout(
            acceptance[:at_hand], reached, costs, token_ms=ms / tokens, max_rows=32
        )
        seen[layout] = seen.get(layout, 0) + 1
        spent_ms += cost_ms(costs, len(layout) + sum(layout))
        end = 0
        while end < len(layout) - 1 and chance.random() < acceptance[end]:
            end += 1
        num_tokens += 1 + end
        at_hand = layout[end]
    assert spent_ms / num_tokens == pytest.approx(ms / tokens, rel=0.02)
    if costs == ONE_LAYOUT:
        assert num_tokens / num_forwards == pytest.approx(tokens, rel=0.02)
        assert max(seen, key=lambda layout: seen[layout]) == most_frequent


def test_what_came_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    measured = profile(load=0.9)
    command.show(Tuned("1", measured, choose(measured, 32), "/home/profiles/1.json"))
    told = capsys.readouterr().out
    assert "64 tokens of context in 70 ms, 914 tokens/s" in told
    assert "55% 50% 50%" in told
    assert "suggested mode: exact" in told
    assert "kept /home/profiles/1.json" in told
    assert "busy" in told
    bare = profile(acceptance=())
    command.show(Tuned("1", bare, choose(bare, 32)))
    told = capsys.readouterr().out
    assert "there is no adapter" in told
    assert "kept nowhere" in told
    assert "busy" not in told


def test_layouts_in_words() -> None:
    assert command.describe_layout((0,)) == "1 row: verifies no draft, drafts none"
    assert command.describe_layout((2, 1, 3)) == "9 rows: verifies 2, drafts 2 + 1 + 3 behind"
