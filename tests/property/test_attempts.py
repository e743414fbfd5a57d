"""What the engine does beyond the most likely text: second attempts, drawn texts, work ahead."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.format.soundness import Soundness
from model.format.syntax import plan_hole
from sampler.messages import Complete, Failed, Finished
from tests.property.test_engine import complete, make_engine

CODE = st.text("ab (,\n):=é.+'", max_size=30)
MARKED = st.sampled_from(
    ["x = █\n", "f(█)\n", "f(█\n", "def f():\n    █\n", "x = [\n    █\n]\n", "x = 1 +█\n", "█\n"]
)


def request(prefix: str, suffix: str, **fields: object) -> Complete:
    plan = plan_hole("python", prefix, suffix, max_lines=4)
    given_fields = {"mode": "exact", "max_new_tokens": 24, **fields}
    return Complete("r", "d", prefix, suffix, plan, **given_fields)  # type: ignore[arg-type]


@given(
    before=CODE,
    marked=MARKED,
    mode=st.sampled_from(["ar", "exact", "balanced", "fast", "diffusion"]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_shown_is_sound(before: str, marked: str, mode: str) -> None:
    prefix, suffix = f"{before}\n{marked}".split("█")
    asked = request(prefix, suffix, mode=mode)
    text = complete(make_engine(), asked).text
    assert Soundness(asked.plan, prefix, suffix).is_sound(text)


@given(before=CODE, marked=MARKED)
@settings(max_examples=30, deadline=None)
def test_second_attempts_are_the_same_in_both_exact_modes(before: str, marked: str) -> None:
    prefix, suffix = f"{before}\n{marked}".split("█")
    engine = make_engine()
    first = complete(engine, request(prefix, suffix))
    assert complete(make_engine(), request(prefix, suffix, mode="ar")).text == first.text
    assert complete(engine, request(prefix, suffix)).text == first.text  # with a warm cache


def test_a_second_attempt_is_made() -> None:
    """The debug model writes nonsense, so some of these need one, and it costs a forward."""
    asked = [request(f"x{n} = ", "\n", mode="ar") for n in range(12)]
    results = [complete(make_engine(), one) for one in asked]
    unchecked = [complete(make_engine(), one) for one in map(_as_text, asked)]
    assert any(
        mine.stats.forwards > plain.stats.forwards
        for mine, plain in zip(results, unchecked, strict=True)
    ) or any(mine.text != plain.text for mine, plain in zip(results, unchecked, strict=True))


def _as_text(asked: Complete) -> Complete:
    """The same without a grammar, so that nothing is checked."""
    plan = plan_hole("text", asked.prefix, asked.suffix, max_lines=1)
    return Complete("r", "d", asked.prefix, asked.suffix, plan, mode="ar", max_new_tokens=24)


@pytest.mark.parametrize("prefix", ["x = ", "retu", "def f(self):\n    "])
def test_drawn_texts(prefix: str) -> None:
    """The same for the same seed, whatever the cache holds, and others for others."""

    def drawn(engine: object, seed: int, temperature: float = 1.5) -> str:
        return complete(engine, request(prefix, "\n", temperature=temperature, seed=seed)).text

    engine = make_engine()
    texts = [drawn(engine, seed) for seed in range(6)]
    assert texts == [drawn(make_engine(), seed) for seed in range(6)]
    assert len(set(texts)) > 1
    greedy = complete(make_engine(), request(prefix, "\n", mode="ar")).text
    assert drawn(engine, 1, temperature=1e-4) == greedy
    assert complete(engine, request(prefix, "\n", mode="ar")).text == greedy


def test_drawn_texts_of_different_ranks_differ_from_the_first_token_on() -> None:
    engine = make_engine()
    texts = [
        complete(engine, request("x = ", "\n", temperature=0.7, first_rank=rank)).text
        for rank in (0, 1, 2)
    ]
    assert len(set(texts)) > 1


def test_work_ahead_gives_way() -> None:
    engine = make_engine()
    ahead = [
        Complete(f"{n}", f"d{n}", "x = ", "\n", plan_hole("python", "x = ", "\n"), is_ahead=True)
        for n in range(2)
    ]
    assert [engine.submit(one) for one in ahead] == [[], []]
    engine.step()
    failed = engine.submit(request("y = ", "\n"))
    assert [(type(event), event.request_id) for event in failed] == [(Failed, "0"), (Failed, "1")]
    events = []
    while engine.has_work:
        events += engine.step()
    assert isinstance(events[-1], Finished)
    assert {event.request_id for event in events} == {"r"}
