"""How good completions are, as numbers: per completion, per set, and between two runs.

Pure. Knows neither tasks nor stored runs: texts, booleans and counts come in. Needs the extra
`train`, which is imported at use, because SciPy takes a second that most commands can save.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class MissingExtraError(ValueError):
    """A library of the extra `train` is not installed."""


@dataclass(frozen=True)
class Paired:
    """Two contenders on the same tasks."""

    n: int
    """Tasks that both have."""
    only_first: int
    only_second: int
    """Tasks that one alone passed."""
    difference: float
    """Pass rate of the second minus that of the first, in percentage points."""
    interval: tuple[float, float]
    """95 % interval of `difference`, by Newcombe's method 10."""
    p_value: float
    """Of the exact two-sided McNemar test: how likely at least this imbalance among the tasks that
    one alone passed would be if both were equally good."""


def is_exact_match(completion: str, reference: str) -> bool:
    """Whether both are the same code, apart from white space that nobody sees.

    Blank lines around it and white space at the ends of lines do not count: a reference often ends
    in a line break that the completion leaves to the suffix. Indentation counts, that of the first
    line too, because it decides what the code means.
    """
    return _normalize(completion) == _normalize(reference)


def edit_similarity(completion: str, reference: str) -> float:
    """1 - Levenshtein distance / length of the longer, in characters; 1 if both are empty.

    Both are normalized as in `is_exact_match`, so that an exact match has similarity 1.

    Raises:
        MissingExtraError: without the extra `train`.
    """
    levenshtein = _import("rapidfuzz.distance.Levenshtein")
    return float(levenshtein.normalized_similarity(_normalize(completion), _normalize(reference)))


def proportion_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share, in [0, 1]; (0, 1) if nothing was tried.

    Raises:
        MissingExtraError: without the extra `train`.
    """
    if n == 0:
        return 0.0, 1.0
    interval = _import("scipy.stats").binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: Mapping[str, bool], second: Mapping[str, bool]) -> Paired:
    """Compare two contenders by the tasks that both have; each maps task id to passed.

    The interval is method 10 of Newcombe, "Improved confidence intervals for the difference between
    binomial proportions based on paired data" (1998): Wilson intervals of both rates, joined by
    their correlation. Unlike Wald's it keeps its promise for few tasks and for rates close to 1.

    Raises:
        MissingExtraError: without the extra `train`.
    """
    common = first.keys() & second.keys()
    n = len(common)
    both = sum(first[task_id] and second[task_id] for task_id in common)
    only_first = sum(first[task_id] and not second[task_id] for task_id in common)
    only_second = sum(second[task_id] and not first[task_id] for task_id in common)
    if n == 0:
        return Paired(0, 0, 0, 0.0, (-100.0, 100.0), 1.0)
    num_discordant = only_first + only_second
    p_value = (
        float(_import("scipy.stats").binomtest(only_first, num_discordant).pvalue)
        if num_discordant
        else 1.0
    )
    low, high = _newcombe(both, only_first, only_second, n - both - num_discordant)
    return Paired(
        n,
        only_first,
        only_second,
        100 * (only_second - only_first) / n,
        (100 * low, 100 * high),
        p_value,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Value below which a share in [0, 1] of the values lies, interpolated; 0.5 is the median.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("A percentile of no values was asked for.")
    return float(np.quantile(np.asarray(values, dtype=np.float64), share))


def _normalize(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")


def _newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Interval of second minus first, as shares; the names of the paper stand in the comments."""
    n = both + only_first + only_second + neither
    num_first, num_second = both + only_first, both + only_second
    first, second = num_first / n, num_second / n
    first_low, first_high = proportion_interval(num_first, n)
    second_low, second_high = proportion_interval(num_second, n)
    # phi, the correlation, corrected for continuity if it is positive: (ad - bc - n/2)
    covariance: float = both * neither - only_first * only_second
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    spread = math.sqrt(num_first * (n - num_first) * num_second * (n - num_second))
    phi = covariance / spread if spread else 0.0

    def reach(one: float, other: float) -> float:  # delta and epsilon
        return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    difference = second - first
    return (
        difference - reach(second - second_low, first_high - first),
        difference + reach(second_high - second, first - first_low),
    )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{name.split('.')[0]} is needed for scores: install seed-lsp[train]."
        ) from error
