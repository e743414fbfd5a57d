import math
import sys
from itertools import product

import pytest

from training.evaluation.scores import (
    MissingExtraError,
    edit_similarity,
    is_exact_match,
    mcnemar,
    percentile,
    proportion_interval,
)


@pytest.mark.parametrize(
    ("completion", "reference", "is_exact"),
    [
        ("    return x", "    return x\n", True),
        ("    return x  \n\n", "    return x", True),
        ("\n    a\n    b", "    a \n    b\n", True),
        ("a\r\nb", "a\nb\n", True),
        ("", "\n", True),
        ("return x", "    return x\n", False),
        ("    a\n  b", "    a\n    b\n", False),
        ("a\n\nb", "a\nb", False),
        ("return X", "return x", False),
        ("", "x", False),
        ("'a\x0cb'", "'a\nb'", False),
    ],
)
def test_exact_match(completion: str, reference: str, is_exact: bool) -> None:
    assert is_exact_match(completion, reference) is is_exact
    assert is_exact_match(reference, completion) is is_exact
    assert (edit_similarity(completion, reference) == 1) is is_exact


def test_edit_similarity() -> None:
    assert edit_similarity("abcd", "abxd\n") == 0.75
    assert edit_similarity("ab", "abcd") == 0.5
    assert edit_similarity("abc", "xyz") == 0
    assert edit_similarity("", "xyz") == 0
    assert edit_similarity("", "") == 1


def test_proportion_interval() -> None:
    # Wilson 1927 as in Newcombe 1998 (Stat. Med. 17, 857), table I, method 3.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]:
        assert proportion_interval(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert proportion_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert proportion_interval(0, 0) == (0, 1)


def outcomes(both: int, only_first: int, only_second: int, neither: int):
    passed = (
        [(True, True)] * both
        + [(True, False)] * only_first
        + [(False, True)] * only_second
        + [(False, False)] * neither
    )
    first = {str(index): one for index, (one, _) in enumerate(passed)}
    second = {str(index): other for index, (_, other) in enumerate(passed)}
    return first, second


def test_paired_comparison() -> None:
    # Altman and others, Statistics with Confidence (2000), table 6.2: 0.011 to 0.226.
    paired = mcnemar(*outcomes(14, 0, 5, 22))
    assert (paired.n, paired.only_first, paired.only_second) == (41, 0, 5)
    assert paired.difference == pytest.approx(100 * 5 / 41)
    assert paired.interval == pytest.approx((1.148, 22.649), abs=1e-3)
    assert paired.p_value == pytest.approx(2 / 2**5)

    paired = mcnemar(*outcomes(36, 2, 12, 0))
    assert paired.difference == pytest.approx(20)
    assert paired.interval == pytest.approx((5.693, 34.043), abs=1e-3)
    expected = 2 * sum(math.comb(14, k) for k in range(3)) / 2**14
    assert paired.p_value == pytest.approx(expected)


def test_order_turns_the_sign() -> None:
    first, second = outcomes(30, 7, 3, 10)
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there.difference == -back.difference == -8
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p_value == back.p_value


@pytest.mark.parametrize("counts", [(50, 0, 0, 0), (0, 0, 0, 50), (25, 0, 0, 25)])
def test_twice_the_same_is_no_difference(counts: tuple[int, int, int, int]) -> None:
    paired = mcnemar(*outcomes(*counts))
    assert (paired.difference, paired.p_value) == (0, 1)
    assert paired.interval[0] < 0 < paired.interval[1]


def test_only_common_tasks_count() -> None:
    paired = mcnemar({"a": True, "b": True}, {"b": False, "c": True})
    assert (paired.n, paired.only_first, paired.only_second) == (1, 1, 0)
    assert paired.difference == -100
    nothing = mcnemar({"a": True}, {"b": True})
    assert (nothing.n, nothing.interval, nothing.p_value) == (0, (-100, 100), 1)


def test_the_paired_interval_holds_what_it_says() -> None:
    """Exact coverage, summed over all tables of 14 tasks."""
    n, shares = 14, (0.5, 0.1, 0.2, 0.2)
    coverage = 0.0
    for counts in product(range(n + 1), repeat=3):
        table = (*counts, n - sum(counts))
        if table[3] < 0:
            continue
        ways = math.factorial(n) / math.prod(math.factorial(count) for count in table)
        low, high = mcnemar(*outcomes(*table)).interval
        if low <= 100 * (shares[2] - shares[1]) <= high:
            coverage += ways * math.prod(
                share**count for share, count in zip(shares, table, strict=True)
            )
    assert 0.94 < coverage < 0.985


def test_percentile() -> None:
    assert percentile([5], 0.95) == 5
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile(range(101), 0.95) == 95
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("library", "score"),
    [
        ("rapidfuzz.distance.Levenshtein", lambda: edit_similarity("a", "b")),
        ("scipy.stats", lambda: proportion_interval(1, 2)),
    ],
)
def test_a_missing_extra_is_named(library: str, score, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"install seed-lsp\[train\]"):
        score()
