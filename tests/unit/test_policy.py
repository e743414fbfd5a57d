import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sampler.policy import (
    UnmaskPolicy,
    allowed_by_order,
    draw,
    entropy,
    judge,
    num_accepted,
    predict,
    ranked,
    select_unmask,
    shares,
)

POLICIES = [
    UnmaskPolicy("threshold", threshold=0.5),
    UnmaskPolicy("threshold", threshold=1.0),
    UnmaskPolicy("top_k", count=1),
    UnmaskPolicy("top_k", count=100),
    UnmaskPolicy("entropy_bound", entropy_bound=0.0),
    UnmaskPolicy("entropy_bound", entropy_bound=2.0),
    UnmaskPolicy("random", count=2),
]


def select(policy, logits_LV, is_masked_L):
    _, confidence_L = predict(logits_LV)
    return select_unmask(policy, logits_LV, confidence_L, is_masked_L)


def of_probabilities(*rows):
    return torch.tensor(rows).log()


@given(
    st.sampled_from(POLICIES),
    st.lists(st.booleans(), min_size=1, max_size=12).filter(any),
    st.integers(0, 10_000),
)
def test_every_policy_unmasks_something_masked_and_nothing_else(policy, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    logits_LV = 5 * torch.randn(len(masked), 17, generator=generator)
    is_masked_L = torch.tensor(masked)
    chosen_L = select(policy, logits_LV, is_masked_L)
    assert chosen_L.any()
    assert not (chosen_L & ~is_masked_L).any()


def test_threshold_reveals_all_confident_slots_or_the_best_one():
    logits_LV = of_probabilities([0.95, 0.05], [0.6, 0.4], [0.92, 0.08])
    masked_L = torch.ones(3, dtype=torch.bool)
    assert select(UnmaskPolicy(threshold=0.9), logits_LV, masked_L).tolist() == [True, False, True]
    assert select(UnmaskPolicy(threshold=0.99), logits_LV, masked_L).tolist() == [
        True,
        False,
        False,
    ]


def test_top_k_takes_the_most_confident():
    logits_LV = of_probabilities([0.7, 0.3], [0.6, 0.4], [0.9, 0.1])
    masked_L = torch.ones(3, dtype=torch.bool)
    assert select(UnmaskPolicy("top_k", count=2), logits_LV, masked_L).tolist() == [
        True,
        False,
        True,
    ]


def test_entropy_bound_counts_all_but_the_largest_share():
    logits_LV = of_probabilities([0.99, 0.01], [0.5, 0.5], [0.9, 0.1])
    shares_L = entropy(logits_LV)
    assert shares_L[1] == pytest.approx(0.6931, abs=1e-3)
    masked_L = torch.ones(3, dtype=torch.bool)
    tight = UnmaskPolicy("entropy_bound", entropy_bound=float(shares_L[0]) + 0.01)
    assert select(tight, logits_LV, masked_L).tolist() == [True, False, True]
    nothing = UnmaskPolicy("entropy_bound", entropy_bound=0.0)
    assert select(nothing, logits_LV, masked_L).tolist() == [True, False, False]


def test_constrained_order_lets_the_lowest_ranks_go_first():
    masked_L = torch.tensor([False, True, True, True])
    order_L = torch.tensor([0, 2, 1, 1])
    assert allowed_by_order(masked_L, order_L, 1).tolist() == [False, False, True, True]
    assert allowed_by_order(masked_L, order_L, 2).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("least_share", "drafts", "expected"),
    [
        (2.0, [0, 1, 0], 3),
        (2.0, [0, 0, 0], 1),
        (2.0, [1, 1, 0], 0),
        (0.5, [1, 1, 0], 3),  # 0.4 is at least half of 0.6
        (0.5, [1, 0, 0], 1),  # 0.2 is not at least half of 0.8
        ([0.5, 2.0, 2.0], [1, 1, 1], 2),
        ([2.0, 0.1, 0.1], [1, 1, 1], 0),
        (2.0, [], 0),
    ],
)
def test_acceptance(least_share, drafts, expected):
    logits_LV = of_probabilities([0.6, 0.4], [0.2, 0.8], [0.9, 0.1])[: len(drafts)]
    drafts_L = torch.tensor(drafts, dtype=torch.long)
    judgment = judge(logits_LV, drafts_L)
    least = least_share if isinstance(least_share, list) else [least_share] * len(drafts)
    assert num_accepted(drafts, judgment.tokens, judgment.shares, least) == expected


def test_shares_are_of_the_best_and_mask_has_none():
    logits_LV = of_probabilities([0.6, 0.4], [0.2, 0.8], [0.9, 0.1])
    found = shares(logits_LV, torch.tensor([1, 1, 2]))
    assert found.tolist() == pytest.approx([0.4 / 0.6, 1.0, 0.0])


def test_confidence_is_the_probability_of_the_chosen_token():
    tokens_L, confidence_L = predict(of_probabilities([0.25, 0.75], [0.9, 0.1]))
    assert tokens_L.tolist() == [1, 0]
    assert confidence_L.tolist() == pytest.approx([0.75, 0.9])


IDS = torch.tensor([7, 2, 9, 4])
LOG_P = torch.tensor([0.5, 0.3, 0.16, 0.04]).log()


def test_drawn_tokens_are_likely_ones_and_follow_the_seed() -> None:
    seeds = [torch.Generator().manual_seed(seed) for seed in [*range(50)] * 2]
    draws = [draw(IDS, LOG_P, 1.0, generator) for generator in seeds]
    assert draws[:50] == draws[50:]
    assert {token for token, _ in draws} == {7, 2, 9}  # 4 is less than a tenth as likely
    probabilities = dict(zip(IDS.tolist(), LOG_P.exp().tolist(), strict=True))
    assert all(probability == pytest.approx(probabilities[token]) for token, probability in draws)


def test_ranks_leave_out_what_they_are_told_to() -> None:
    found = [ranked(IDS, LOG_P, rank, {2}).tokens for rank in (0, 1, 2, 9)]
    assert found == [[7], [9], [4], [4]]
    assert ranked(IDS, LOG_P, 1, {7, 2, 9, 4}).tokens == [2], "there is nothing else"
