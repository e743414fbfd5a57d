"""From the profile of a machine to the way of working that is fastest there.

Pure: knows neither how measuring works nor who uses what is chosen.
"""

import functools
from collections.abc import Sequence

from sampler.drafting import CostCurve, choose_layout, cost_ms
from sampler.profile import Choice, Profile

CHUNK_LIMIT_MS = 150.0
"""What one forward of prefill may take: so long may a cancellation wait."""


@functools.lru_cache(maxsize=4)  # asked for between two forwards, it must not take their time
def choose(profile: Profile, max_rows: int) -> Choice:
    """How to work on a machine with this profile, with so many rows in a forward at most."""
    ar_ms = cost_ms(profile.costs_ms, 1)
    tokens, ms, layout = expected_cycle(profile.acceptance, profile.costs_ms, max_rows)
    return Choice(
        mode="exact" if tokens / ms >= 1 / ar_ms else "ar",
        prefill_chunk=choose_chunk(profile.prefill_ms),
        layout=layout,
        tokens_per_forward=round(tokens, 2),
        exact_tokens_per_s=round(1000 * tokens / ms, 1),
        ar_tokens_per_s=round(1000 / ar_ms, 1),
    )


def choose_chunk(prefill_ms: Sequence[tuple[int, float]]) -> int:
    """The size with the most tokens a second among those that keep a cancellation waiting for no
    longer than it should; the smallest if none does."""
    quick = [(size / ms, size) for size, ms in prefill_ms if ms <= CHUNK_LIMIT_MS]
    return max(quick)[1] if quick else prefill_ms[0][0]


def expected_cycle(
    acceptance: Sequence[float], costs: CostCurve, max_rows: int
) -> tuple[float, float, tuple[int, ...]]:
    """Tokens and milliseconds of an average forward of mode `exact`, and the most frequent layout.

    The engine's forwards are a Markov chain: what is at hand are the drafts of the branch that the
    last forward turned out to end in, from none to a whole branch, each as likely to be right as
    its place was measured to be. Drafts copied from the context are left out.
    """
    future, reached = [], 1.0
    for probability in acceptance:
        reached *= probability
        future.append(reached)
    num_states = len(acceptance) + 1
    token_ms = cost_ms(costs, 1)
    cycles = []
    for _ in range(8):  # what a token is worth depends on the layouts, and these on that
        layouts = [
            choose_layout(acceptance[:at_hand], future, costs, token_ms=token_ms, max_rows=max_rows)
            for at_hand in range(num_states)
        ]
        share = _stationary(layouts, acceptance)
        tokens = sum(
            share[state] * sum(_reached(acceptance, len(layout)))
            for state, layout in enumerate(layouts)
        )
        ms = sum(
            share[state] * cost_ms(costs, len(layout) + sum(layout))
            for state, layout in enumerate(layouts)
        )
        token_ms = ms / tokens
        most_frequent = max(range(num_states), key=lambda state: share[state])
        cycles.append((tokens, ms, layouts[most_frequent]))
    # Where layouts tie, there may be no fixed point but two that lead to each other.
    return min(cycles, key=lambda cycle: cycle[1] / cycle[0])


def _reached(acceptance: Sequence[float], num_chain: int) -> list[float]:
    """For each chain row, the probability that it is right."""
    reached = [1.0]
    for probability in acceptance[: num_chain - 1]:
        reached.append(reached[-1] * probability)
    return reached


def _stationary(layouts: Sequence[Sequence[int]], acceptance: Sequence[float]) -> list[float]:
    """How often each number of drafts is at hand in the long run."""
    share = [1.0] + [0.0] * (len(layouts) - 1)
    for _ in range(200):
        following = [0.0] * len(layouts)
        for state, layout in enumerate(layouts):
            reached = [*_reached(acceptance, len(layout)), 0.0]
            for row, size in enumerate(layout):
                following[size] += share[state] * (reached[row] - reached[row + 1])
        share = [(before + after) / 2 for before, after in zip(share, following, strict=True)]
    return share
