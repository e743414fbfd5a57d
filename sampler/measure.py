"""Measures what a forward costs on this machine and how often drafts are right.

A generator over a `Runner` that is suspended between any two forwards, so that whoever owns the
device can serve requests in between. Works on a sequence of its own. Knows no request, no file and
not what is chosen from its results.
"""

import functools
import math
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch

from sampler.judgment import Judgment
from sampler.kv_cache import CachedSequence
from sampler.runner import Runner

ROWS = (1, 2, 4, 8, 9, 12, 16, 17, 24, 32, 48, 64)
CHUNKS = (64, 128, 256)
NUM_CACHED = 512
"""Tokens behind which forwards are timed: about what a cursor has around it."""
SURE_ROWS = 8
"""So many are timed however long it takes: on a slow machine drafts pay all the more."""
NUM_ROUNDS = 5
LONGEST_MS = 200.0
"""What would take longer is left out: a request may have to wait for one forward."""
COSTS_SHARE, PREFILL_SHARE = 0.35, 0.5
"""Of the time there is, so much may have passed at the end of these parts."""
PRIOR_TRIALS = 4.0
"""A draft's probability is estimated as if so many more trials had gone as for the one before."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    prompts: Sequence[Sequence[int]]
    """Contexts that the base continues by its own greedy text; at least one."""
    end_ids: AbstractSet[int]
    num_drafts: int
    """Rows of a branch, whose drafts are compared with that text; 0 where nothing drafts."""
    max_tokens: int = 28
    """Of that text, for each prompt."""
    budget_s: float = 18.0
    """Forwards begin as long as all before them took less."""


@dataclass(frozen=True)
class Measured:
    """Results, see `sampler.profile.Profile`."""

    costs_ms: tuple[tuple[int, float], ...]
    prefill_ms: tuple[tuple[int, float], ...]
    acceptance: tuple[float, ...]
    num_judged: int
    spent_s: float


Slices = Generator[float, None, Measured]
"""Yields the share that is done after each forward, in [0, 1]; returns what came out."""


@dataclass
class _Watch:
    """Adds up the time of forwards: what happens between them is not ours."""

    budget_s: float
    clock: Callable[[], float]
    spent_s: float = 0.0

    def time_ms(self, forward: Callable[[], Judgment]) -> tuple[Judgment, float]:
        begin = self.clock()
        judgment = forward()
        if judgment.tokens_L.is_cuda:
            torch.cuda.synchronize()
        elapsed_s = self.clock() - begin
        self.spent_s += elapsed_s
        return judgment, 1000 * elapsed_s

    def is_past(self, share: float) -> bool:
        return self.spent_s >= share * self.budget_s

    @property
    def share(self) -> float:
        return min(self.spent_s / self.budget_s, 1.0)


def measure(runner: Runner, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Slices:
    """Cost of a forward by its rows, time of prefill by its tokens, acceptance by place."""
    watch = _Watch(plan.budget_s, clock)
    largest = NUM_CACHED + max(*ROWS, *CHUNKS)
    tokens = [token for prompt in plan.prompts for token in prompt]
    context = (tokens * math.ceil(largest / len(tokens)))[:largest]
    longest = max(len(prompt) for prompt in plan.prompts) + plan.max_tokens + plan.num_drafts + 1
    sequence = CachedSequence(runner.allocate(max(longest, largest)))
    # The first chunks are not timed: they warm the kernels up.
    for begin in range(0, NUM_CACHED, CHUNKS[0]):
        yield from _read(runner, sequence, context[begin : begin + CHUNKS[0]], watch)

    def time_rows(num_rows: int) -> float:
        sizes = layout_of(num_rows, has_drafts=plan.num_drafts > 0)
        chain = context[NUM_CACHED : NUM_CACHED + len(sizes)]
        return watch.time_ms(lambda: runner.advance(sequence, chain, sizes))[1]

    def time_chunk(num_tokens: int) -> float:
        chunk = context[NUM_CACHED : NUM_CACHED + num_tokens]
        return watch.time_ms(
            lambda: runner.advance(sequence, chunk, num_judged=0, num_early=num_tokens)
        )[1]

    costs = yield from _time_sizes(ROWS, SURE_ROWS, time_rows, watch, COSTS_SHARE)
    prefills = yield from _time_sizes(CHUNKS, CHUNKS[0], time_chunk, watch, PREFILL_SHARE)

    num_hits, num_trials = [0] * plan.num_drafts, [0] * plan.num_drafts
    num_judged = 0
    for index, prompt in enumerate(plan.prompts if plan.num_drafts else ()):
        greedy, drafted = yield from _draft_along(runner, sequence, prompt, plan, watch, index)
        num_judged += len(drafted)
        for place, (hits, trials) in enumerate(count_hits(greedy, drafted, plan.num_drafts)):
            num_hits[place] += hits
            num_trials[place] += trials
    return Measured(
        costs_ms=completed(lowered(costs), ROWS[-1]),
        prefill_ms=tuple(prefills),
        acceptance=estimate(num_hits, num_trials),
        num_judged=num_judged,
        spent_s=watch.spent_s,
    )


def _time_sizes(
    sizes: Sequence[int],
    sure: int,
    time_ms: Callable[[int], float],
    watch: _Watch,
    share: float,
) -> Generator[float, None, list[tuple[int, float]]]:
    """Median times, each size once a round, so that a disturbance hits all of them alike.

    Two rounds at least, and no more when that share of the time has passed. Sizes above `sure` that
    are likely to take too long are left out.
    """
    times_ms: dict[int, list[float]] = {}
    for size in sizes:
        best = [(known, min(times)) for known, times in times_ms.items()]
        if size > sure and extrapolated(best, size) > LONGEST_MS:
            break
        times_ms[size] = []
        for _ in range(2):  # the first one may find the kernels cold
            times_ms[size].append(time_ms(size))
            yield watch.share
    for _ in range(NUM_ROUNDS - 2):
        for times_of_size, size in zip(times_ms.values(), times_ms, strict=True):
            if not watch.is_past(share):
                times_of_size.append(time_ms(size))
                yield watch.share
    return [(size, statistics.median_low(times)) for size, times in times_ms.items()]


def _read(
    runner: Runner, sequence: CachedSequence, chunk: list[int], watch: _Watch
) -> Generator[float, None, None]:
    """Append context tokens to the sequence."""
    judgment, _ = watch.time_ms(lambda: runner.advance(sequence, chunk, num_judged=1))
    sequence.extend(chunk, judgment.predicted(slice(0, 1)))
    yield watch.share


def layout_of(num_rows: int, *, has_drafts: bool) -> tuple[int, ...]:
    """`Branches.sizes` of so many rows, mixed as the engine does: one in four is of the chain."""
    if not has_drafts:
        return (0,) * num_rows
    num_chain = max(num_rows // 4, 1)
    size, rest = divmod(num_rows - num_chain, num_chain)
    return tuple(size + (index < rest) for index in range(num_chain))


def _draft_along(
    runner: Runner,
    sequence: CachedSequence,
    prompt: Sequence[int],
    plan: Plan,
    watch: _Watch,
    index: int,
) -> Generator[float, None, tuple[list[int], list[list[int]]]]:
    """The base's greedy text behind `prompt` and what was drafted behind each of its tokens.

    One forward gives both: its chain is the base's and sees nothing of the branch behind it.
    """
    greedy: list[int] = []
    drafted: list[list[int]] = []
    sequence.truncate(0)
    for begin in range(0, len(prompt), CHUNKS[0]):
        if watch.is_past(1.0):
            return greedy, drafted
        yield from _read(runner, sequence, list(prompt[begin : begin + CHUNKS[0]]), watch)
    greedy.append(sequence.next_tokens[-1])
    while len(greedy) <= plan.max_tokens and greedy[-1] not in plan.end_ids:
        if watch.is_past(1.0):
            break
        settled = greedy[-1:]
        forward = functools.partial(runner.advance, sequence, settled, (plan.num_drafts,))
        judgment, _ = watch.time_ms(forward)
        following, *drafts = judgment.tokens_L.tolist()
        sequence.extend(settled, judgment.predicted(slice(0, 1)))
        greedy.append(following)
        drafted.append(drafts)
        done = (index + len(greedy) / plan.max_tokens) / len(plan.prompts)
        yield min(max(watch.share, PREFILL_SHARE + (1 - PREFILL_SHARE) * done), 1.0)
    return greedy, drafted


def count_hits(
    greedy: Sequence[int], drafted: Sequence[Sequence[int]], num_drafts: int
) -> list[tuple[int, int]]:
    """(hits, trials) of each draft, given that those before it in its block were right.

    `drafted[i]` was drafted behind `greedy[i]`: its draft j stands for `greedy[i + 2 + j]`, because
    what follows directly comes from the base itself.
    """
    counts = [(0, 0)] * num_drafts
    for place, drafts in enumerate(drafted):
        for slot, (draft, right) in enumerate(zip(drafts, greedy[place + 2 :], strict=False)):
            hits, trials = counts[slot]
            counts[slot] = (hits + (draft == right), trials + 1)
            if draft != right:
                break
    return counts


def estimate(num_hits: Sequence[int], num_trials: Sequence[int]) -> tuple[float, ...]:
    """Probability of each draft; where few trials reached it, mostly that of the one before."""
    probabilities = []
    before = 0.5
    for hits, trials in zip(num_hits, num_trials, strict=True):
        before = (hits + PRIOR_TRIALS * before) / (trials + PRIOR_TRIALS)
        probabilities.append(round(before, 4))
    return tuple(probabilities)


def lowered(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """No size costs more than a larger one, to which it could be padded: that was a disturbance."""
    lowest = math.inf
    result = []
    for size, ms in reversed(curve):
        lowest = min(lowest, ms)
        result.append((size, round(lowest, 3)))
    return result[::-1]


def extrapolated(curve: Sequence[tuple[int, float]], size: int) -> float:
    """Milliseconds of a size beyond the curve, on the line through its ends.

    In proportion to the size if the curve is one point.
    """
    (first, first_ms), (last, last_ms) = curve[0], curve[-1]
    if first == last:
        return last_ms * size / last
    return last_ms + max(last_ms - first_ms, 0.0) * (size - last) / (last - first)


def completed(curve: Sequence[tuple[int, float]], largest: int) -> tuple[tuple[int, float], ...]:
    """The curve up to `largest`, which may have been too slow to measure."""
    if curve[-1][0] >= largest:
        return tuple(curve)
    return (*curve, (largest, round(extrapolated(curve, largest), 3)))
