"""How many drafts the next forward verifies, and what it drafts behind each possible end of them.

A row costs time and may bring tokens. The layout that is worth most follows from what rows cost on
this machine and from how often drafts have been right; neither changes the text of mode `exact`.
Pure: knows neither model nor cache. The rows themselves: `model.masks.Branches`.
"""

import bisect
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampler.lookup import Copied

LONGEST_BRANCH = 5
"""Rows of a branch; of ten drafts in the sixth place hardly one is right."""
LEAST_REACHED = 0.02
"""Where all drafts before are right so seldom, copied ones are not looked up, and chains end."""
VERIFY_SHARE = 0.65
"""How likely the first token of a branch is put to the test in the next forward, the second if the
first is, and so on: chains are cut short, and copied drafts may promise more."""

CostCurve = tuple[tuple[int, float], ...]
"""Milliseconds of a forward over so many rows, for a few numbers of rows, ascending."""

NATIVE_COSTS: CostCurve = (
    *((1, 13.4), (2, 14.9), (4, 16.3), (8, 18.2), (9, 20.5), (16, 27.5), (17, 34.0), (24, 42.5)),
    *((25, 45.0), (32, 54.5), (64, 108.0)),
)
"""The default model and adapter on the native kernels and two cores, MASK rows among them; weights
serve eight rows at once, hence the steps. Where nothing was measured, the ratios of these hold well
enough."""
TORCH_COSTS: CostCurve = ((1, 39.0), (16, 75.0), (64, 190.0))
CUDA_COSTS: CostCurve = ((1, 1.0), (64, 1.05), (128, 1.3))

CONFIDENCE_EDGES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)
_PRIOR_WEIGHT = 8.0
_MEMORY = 400.0
"""So many observations count; older ones fade, for projects and hours differ."""


@dataclass
class Rate:
    """A running share, drawn towards a prior while little was seen."""

    prior: float
    right: float = 0.0
    total: float = 0.0

    @property
    def value(self) -> float:
        """In (0, 1)."""
        return (self.right + self.prior * _PRIOR_WEIGHT) / (self.total + _PRIOR_WEIGHT)

    def count(self, is_right: bool) -> None:
        """One more observation."""
        fading = min(1.0, _MEMORY / (self.total + 1.0))
        self.right = self.right * fading + float(is_right)
        self.total = self.total * fading + 1.0


@dataclass(frozen=True)
class Draft:
    """A token that may follow."""

    token: int
    rates: tuple[Rate, ...]
    """What the draft is evidence for; the first one tells its chance."""
    is_copied: bool = False
    """Whether no model has proposed it."""

    @property
    def chance(self) -> float:
        """Probability that it is right if the drafts before it are."""
        return self.rates[0].value


def _rates(*priors: float) -> list[Rate]:
    return [Rate(prior) for prior in priors]


@dataclass
class Chances:
    """How often drafts have been right: denoised ones by confidence and by place, copied ones by
    what they were found behind."""

    acceptance: tuple[float, ...] = (0.55, 0.5, 0.5, 0.45, 0.45)
    """By place in a branch: the chance that a draft is right if those before it are."""
    by_confidence: list[Rate] = field(
        default_factory=lambda: _rates(0.03, 0.08, 0.15, 0.25, 0.38, 0.53, 0.68, 0.83, 0.95)
    )
    by_match: list[list[Rate]] = field(
        default_factory=lambda: [
            _rates(0.25, 0.25, 0.25, 0.3),
            _rates(0.2, 0.45, 0.64, 0.68),
            _rates(0.6, 0.7, 0.85, 0.93),
        ]
    )
    """By what the places of a match say (`Evidence`), for matches of 1, 2, 3, 4 and more tokens."""
    by_run: list[Rate] = field(default_factory=lambda: _rates(0.4, 0.6, 0.8, 0.9, 0.96, 0.98))
    """For old code that was followed for 0, 1, 2 … 3, 4 … 7, 8 … 15 tokens, or more."""
    by_place: list[Rate] = field(init=False)

    def __post_init__(self) -> None:
        padded = self.acceptance + (self.acceptance[-1:] or (0.5,)) * LONGEST_BRANCH
        self.by_place = _rates(*padded[:LONGEST_BRANCH])

    def denoised(self, tokens: Sequence[int], confidences: Sequence[float]) -> list[Draft]:
        """Drafts of a branch."""
        rates = [self.by_confidence[bisect.bisect(CONFIDENCE_EDGES, one)] for one in confidences]
        return [
            Draft(token, (rate, place))
            for token, rate, place in zip(tokens, rates, self.by_place, strict=False)
        ]

    def copied(self, drafts: Iterable[Copied], reached: float = 1.0) -> list[Draft]:
        """Drafts that have followed the like before, as far as it is likely to come to them.

        Args:
            drafts: in their order, looked up as they are taken.
            reached: the probability that all drafts before them are right.
        """
        taken = []
        for one in drafts:
            draft = Draft(
                one.token, (self.by_match[one.evidence][min(one.match_length, 4) - 1],), True
            )
            reached *= draft.chance
            if reached < LEAST_REACHED:
                break
            taken.append(draft)
        return taken

    def aligned(self, tokens: Sequence[int], run: int) -> list[Draft]:
        """Drafts from the old code, which the last `run` tokens have followed (`OldCode`)."""
        return [
            Draft(token, (self.by_run[min((run + i).bit_length(), len(self.by_run) - 1)],), True)
            for i, token in enumerate(tokens)
        ]

    def count(self, drafts: Sequence[Draft], num_accepted: int) -> None:
        """Learn from a verified chain: it tested all drafts up to the first wrong one."""
        for place, draft in enumerate(drafts[: num_accepted + 1]):
            for rate in draft.rates:
                rate.count(place < num_accepted)

    @property
    def future(self) -> list[float]:
        """For each place, the chance that the drafts of a branch are right up to it."""
        chances, product = [], 1.0
        for rate in self.by_place:
            product *= rate.value
            chances.append(product)
        return chances


def expected_accepted(drafts: Sequence[Draft]) -> float:
    """Drafts that will be accepted on average."""
    total, product = 0.0, 1.0
    for draft in drafts:
        product *= draft.chance
        total += product
    return total


def within_reach(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts without copied ones at the end that hardly any forward will come to."""
    product = 1.0
    for place, draft in enumerate(drafts):
        product *= draft.chance
        if draft.is_copied and product < LEAST_REACHED:
            return list(drafts[:place])
    return list(drafts)


@functools.lru_cache(maxsize=64)
def costs_by_rows(costs: CostCurve, first: int, last: int) -> tuple[float, ...]:
    """`cost_ms` of each number of rows from `first` to `last`."""
    return tuple(cost_ms(costs, num_rows) for num_rows in range(first, last + 1))


def cost_ms(costs: CostCurve, num_rows: int) -> float:
    """Milliseconds of a forward over `num_rows` rows: between measurements a straight line."""
    place = bisect.bisect_left(costs, (num_rows, 0.0))
    if place == 0:
        return costs[0][1]
    if place == len(costs):
        if len(costs) == 1:
            return costs[0][1]
        place -= 1
    (rows, ms), (more_rows, more_ms) = costs[place - 1], costs[place]
    return ms + (more_ms - ms) * (num_rows - rows) / (more_rows - rows)


def choose_layout(
    chances: Sequence[float],
    future: Sequence[float],
    costs: CostCurve,
    *,
    token_ms: float,
    max_rows: int,
    num_before: int = 0,
) -> tuple[int, ...]:
    """`Branches.sizes` of the forward that brings most: so many chain rows, so long branches.

    Args:
        chances: of each draft at hand, that it is right if those before it are.
        future: of each row of a branch, that the drafts up to it will be right if the branch is
            taken; empty if nothing can be drafted.
        costs: of forwards by rows.
        token_ms: what a token is worth, in milliseconds: what it costs now.
        max_rows: chain and branches together, at least 1.
        num_before: rows that the forward has before the chain in any case.

    For a chain of each length the branch rows are taken in the order of their worth, which is the
    probability that they bring a token, for as long as that is more than they cost.
    """
    best_worth = float("-inf")
    best: tuple[int, ...] = (0,)
    # Of the rows of a branch each is worth less than the one before it; behind the last is none.
    shares = [chance * VERIFY_SHARE ** (place + 1) for place, chance in enumerate(future)] + [0.0]
    costs_ms = costs_by_rows(costs, num_before, num_before + max_rows)
    reached = [1.0]
    for chance in chances[: max_rows - 1]:
        if reached[-1] * chance < LEAST_REACHED:
            break
        reached.append(reached[-1] * chance)
    for num_chain in range(1, len(reached) + 1):
        ends = [
            reached[row] * (1.0 if row == num_chain - 1 else 1.0 - chances[row])
            for row in range(num_chain)
        ]
        worth = sum(reached[:num_chain]) * token_ms
        sizes = [0] * num_chain
        gains = [end * shares[0] for end in ends]
        top, chosen = worth - costs_ms[num_chain], tuple(sizes)
        for num_rows in range(num_chain + 1, max_rows + 1):
            gain = max(gains)
            if not gain:
                break
            row = gains.index(gain)
            sizes[row] += 1
            gains[row] = ends[row] * shares[sizes[row]]
            worth += gain * token_ms
            if worth - costs_ms[num_rows] > top:
                top, chosen = worth - costs_ms[num_rows], tuple(sizes)
        if top > best_worth:
            best_worth, best = top, chosen
    return best


class Drafting:
    """Chooses layouts from what rows cost and what drafts have been worth so far.

    Args:
        costs: of forwards by rows.
        acceptance: to begin with, see `Chances`; its defaults if empty.
        max_rows: of a forward, at least 1.
        longest_branch: rows of a branch; 0 if nothing can be drafted.
        learns: whether estimates follow what happens. Where the text depends on the layout they
            must not, or a request's answer would depend on those before it.
    """

    def __init__(
        self,
        costs: CostCurve,
        acceptance: tuple[float, ...],
        *,
        max_rows: int,
        longest_branch: int,
        learns: bool,
    ) -> None:
        self.chances = Chances(acceptance) if acceptance else Chances()
        self._costs = costs
        self._max_rows = max_rows
        self._longest_branch = longest_branch
        self._learns = learns
        # As if some forwards had been made already, each with a token and a half.
        self._spent_ms, self._num_tokens = 10 * cost_ms(costs, 8), 15.0

    @property
    def token_ms(self) -> float:
        """Milliseconds that a token costs now."""
        return self._spent_ms / self._num_tokens

    def choose(
        self, drafts: Sequence[Draft], *, num_positions: int, num_before: int = 0
    ) -> tuple[int, ...]:
        """`Branches.sizes` of the next forward, whose rows all need one of `num_positions`."""
        return choose_layout(
            [draft.chance for draft in drafts],
            self.chances.future[: self._longest_branch],
            self._costs,
            token_ms=self.token_ms,
            max_rows=max(1, min(self._max_rows, num_positions)),
            num_before=num_before,
        )

    def learn(self, sizes: tuple[int, ...], drafts: Sequence[Draft], num_accepted: int) -> None:
        """What came of a forward: of its chain so many drafts were right."""
        if not self._learns:
            return
        self.chances.count(drafts[: len(sizes) - 1], num_accepted)
        self._spent_ms = 0.97 * self._spent_ms + cost_ms(self._costs, len(sizes) + sum(sizes))
        self._num_tokens = 0.97 * self._num_tokens + num_accepted + 1
