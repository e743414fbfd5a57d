from hypothesis import given
from hypothesis import strategies as st

from sampler.drafting import (
    CUDA_COSTS,
    LONGEST_BRANCH,
    NATIVE_COSTS,
    Chances,
    choose_layout,
    cost_ms,
    expected_accepted,
)
from sampler.lookup import Copied, Evidence

CHANCE = st.floats(0.01, 0.99)


def test_costs_are_lines_between_measurements():
    costs = ((1, 10.0), (8, 17.0), (16, 33.0))
    assert [cost_ms(costs, rows) for rows in (0, 1, 4, 8, 12, 16, 20)] == [
        *(10.0, 10.0, 13.0, 17.0, 25.0, 33.0, 41.0)
    ]
    assert cost_ms(((1, 5.0),), 7) == 5.0


def test_free_rows_are_all_taken():
    free = ((1, 1.0), (99, 1.0))
    sizes = choose_layout([0.5, 0.1], [0.4, 0.2], free, token_ms=1.0, max_rows=99)
    assert sizes == (2, 2, 2)


def test_what_is_unlikely_is_not_paid_for():
    steep = ((1, 10.0), (2, 19.0), (3, 28.0))
    assert choose_layout([0.01], [0.01], steep, token_ms=10.0, max_rows=9) == (0,)
    assert choose_layout([0.99], [], steep, token_ms=10.0, max_rows=9) == (0, 0)


def test_a_sure_draft_is_drafted_behind_and_a_doubtful_one_before():
    future = [0.5, 0.25]
    costs = ((1, 18.0), (8, 19.0))
    sure = choose_layout([0.98], future, costs, token_ms=11.0, max_rows=4)
    assert sure == (0, 2)
    doubtful = choose_layout([0.2], future, costs, token_ms=11.0, max_rows=4)
    assert doubtful == (2, 0)


@given(
    chances=st.lists(CHANCE, max_size=8),
    future=st.lists(CHANCE, max_size=LONGEST_BRANCH).map(lambda c: sorted(c, reverse=True)),
    token_ms=st.floats(0.1, 40.0),
    max_rows=st.integers(1, 40),
    costs=st.sampled_from([NATIVE_COSTS, CUDA_COSTS]),
)
def test_layouts_fit(chances, future, token_ms, max_rows, costs):
    sizes = choose_layout(chances, future, costs, token_ms=token_ms, max_rows=max_rows)
    assert 1 <= len(sizes) <= len(chances) + 1
    assert len(sizes) + sum(sizes) <= max_rows
    assert max(sizes) <= len(future)


def test_estimates_follow_what_happens():
    chances = Chances()
    drafts = chances.denoised([1, 2], [0.95, 0.02])
    assert drafts[0].chance > 0.8 > 0.1 > drafts[1].chance
    before = chances.future
    for _ in range(200):
        chances.count(drafts, 2)
    assert chances.denoised([2], [0.02])[0].chance > 0.9
    assert chances.future[1] > before[1]
    places = [Copied(7, length, Evidence.SINGLE) for length in (2, 3, 4)]
    copied = chances.copied(places)
    assert copied[0].chance < copied[1].chance < copied[2].chance
    agreed = chances.copied([places[0]._replace(evidence=Evidence.AGREED)])
    assert copied[0].chance < agreed[0].chance
    for _ in range(100):
        chances.count(copied, 0)
    assert chances.copied(places[:1])[0].chance < 0.1
    assert chances.copied(places[1:])[0].chance == copied[1].chance, "never put to the test"
    assert chances.copied(places[1:], 0.01) == [], "it will hardly come to that"
    assert agreed[0].chance > 0.5, "nor was that"
    assert 0 < expected_accepted(copied) < 3


def test_old_code_is_trusted_the_more_the_longer_it_was_followed():
    chances = Chances()
    drafts = chances.aligned(range(20), 0)
    assert [draft.chance for draft in drafts] == sorted(draft.chance for draft in drafts)
    assert drafts[0].chance == chances.by_run[0].value
    assert drafts[16].chance == chances.by_run[5].value
    assert chances.aligned([1], 9)[0].chance == drafts[9].chance
    long = choose_layout(
        [draft.chance for draft in chances.aligned(range(40), 16)],
        chances.future,
        NATIVE_COSTS,
        token_ms=11.0,
        max_rows=32,
    )
    assert len(long) > 20
