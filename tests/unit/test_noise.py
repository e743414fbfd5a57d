import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.noise import (
    edit_share,
    gamma,
    gamma_slope,
    mask_weight,
    sample_mask,
    sample_times,
    seeded_generator,
)

SCHEDULES = ["linear", "cosine"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gamma_rises_from_nothing_to_everything(schedule):
    gamma_N = gamma(schedule, torch.linspace(0, 1, 101))
    assert gamma_N[0] == 0
    assert gamma_N[-1] == pytest.approx(1)
    assert (gamma_N.diff() > 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_slope_is_the_derivative_of_gamma(schedule):
    t_N = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    (slope_N,) = torch.autograd.grad(gamma(schedule, t_N).sum(), t_N)
    torch.testing.assert_close(gamma_slope(schedule, t_N), slope_N)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weight_times_share_masked_integrates_to_one(schedule):
    t_N = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    integral = (mask_weight(schedule, t_N) * gamma(schedule, t_N)).mean().item()
    assert integral == pytest.approx(1, abs=1e-6)


def test_linear_weight_is_one_over_t():
    t_N = torch.tensor([0.1, 0.5, 1.0])
    torch.testing.assert_close(mask_weight("linear", t_N), 1 / t_N)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_edit_share_stays_in_its_range(schedule):
    share_N = edit_share(schedule, torch.linspace(0, 1, 11))
    assert share_N[0] == 0
    assert share_N[-1] == pytest.approx(0.1)
    assert (share_N.diff() > 0).all()


@pytest.mark.parametrize("count", [1, 7, 64])
def test_times_fall_into_each_stratum_once(count):
    t_N = sample_times(seeded_generator(3), count)
    assert ((t_N > 0) & (t_N <= 1)).all()
    # A time on the upper edge of its stratum counts as inside: (i, i + 1] / count.
    strata = (t_N.double() * count - 1e-4).floor().long().sort().values
    assert strata.tolist() == list(range(count))


def test_no_blocks_have_no_times():
    assert sample_times(seeded_generator(3), 0).shape == (0,)


def test_seeded_generator_depends_on_every_counter():
    def draw(*seeds):
        return torch.rand(4, generator=seeded_generator(*seeds)).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*seeds)) for seeds in [(1,), (1, 0), (0, 1), (1, 2, 3), (1, 3, 2)]}) == 5


@given(
    seed=st.integers(0, 10_000),
    num_blocks=st.integers(1, 40),
    block_size=st.integers(3, 17),
    schedule=st.sampled_from(SCHEDULES),
    full_share=st.floats(0, 1),
    has_pairs=st.booleans(),
)
def test_masks_keep_their_promises(seed, num_blocks, block_size, schedule, full_share, has_pairs):
    noise = sample_mask(
        seeded_generator(seed),
        num_blocks,
        block_size,
        schedule=schedule,
        full_share=full_share,
        has_pairs=has_pairs,
    )
    assert noise.is_masked_NL.shape == noise.weight_NL.shape == (num_blocks, block_size)
    assert noise.is_masked_NL.dtype == torch.bool
    assert not noise.is_masked_NL[:, 0].any()
    assert noise.is_masked_NL.any(dim=1).all()
    assert ((noise.weight_NL > 0) == noise.is_masked_NL).all()
    largest = (block_size - 1) * (math.pi / 2 if schedule == "cosine" else 1)
    assert (noise.weight_NL <= largest * 1.01).all()

    num_full = int(noise.is_masked_NL[:, 1:].all(dim=1).sum())
    assert num_full >= math.floor(full_share * num_blocks)
    assert noise.place_N.unique().tolist() == list(range(noise.num_places))
    partners = noise.place_N.bincount()
    if not has_pairs:
        assert (partners == 1).all()
    for place in (partners == 2).nonzero()[:, 0]:
        first_L, second_L = noise.is_masked_NL[noise.place_N == place]
        assert (first_L[1:] == ~second_L[1:]).all()


def test_same_seed_same_noise():
    first, again = (sample_mask(seeded_generator(5, 9), 32, 8) for _ in range(2))
    other = sample_mask(seeded_generator(5, 10), 32, 8)
    assert torch.equal(first.is_masked_NL, again.is_masked_NL)
    assert torch.equal(first.weight_NL, again.weight_NL)
    assert not torch.equal(first.is_masked_NL, other.is_masked_NL)


def test_pairs_and_full_blocks_come_in_the_asked_shares():
    noise = sample_mask(seeded_generator(1), 48, 8, full_share=0.5)
    assert noise.is_masked_NL[24:, 1:].all()
    assert noise.place_N[:24].tolist() == [i // 2 for i in range(24)]
    assert noise.num_places == 12 + 24


def test_a_fraction_of_a_full_block_comes_out_right_on_average():
    num_full = sum(
        int(sample_mask(seeded_generator(s), 1, 40, full_share=0.25).weight_NL.sum() == 39)
        for s in range(800)
    )
    assert num_full / 800 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("has_pairs", [False, True])
def test_share_masked_follows_gamma(schedule, has_pairs):
    """Many slots, so that forced masks are rare and the mean share is the mean of gamma."""
    noise = sample_mask(
        seeded_generator(2), 4000, 101, schedule=schedule, full_share=0, has_pairs=has_pairs
    )
    share_N = noise.is_masked_NL[:, 1:].float().mean(dim=1)
    mean_gamma = 0.5 if schedule == "linear" else 1 - 2 / math.pi
    firsts = share_N[::2] if has_pairs else share_N
    assert firsts.mean().item() == pytest.approx(mean_gamma, abs=0.005)
    if has_pairs:
        assert share_N.mean().item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("has_pairs", [False, True])
@pytest.mark.parametrize("full_share", [0.0, 0.5])
@pytest.mark.parametrize("block_size", [3, 4, 8])
def test_expected_weighted_loss_of_a_constant_is_that_constant(
    schedule, has_pairs, full_share, block_size
):
    """Small blocks, where a wrong weight of the forced masks would show."""
    noise = sample_mask(
        seeded_generator(4),
        60_000,
        block_size,
        schedule=schedule,
        full_share=full_share,
        has_pairs=has_pairs,
    )
    constant = 0.7
    per_slot_L = (noise.weight_NL * constant).mean(dim=0)[1:]
    torch.testing.assert_close(
        per_slot_L, torch.full((block_size - 1,), constant), atol=0.012, rtol=0
    )


def test_both_blocks_of_a_pair_weigh_the_same_in_expectation():
    noise = sample_mask(seeded_generator(6), 60_000, 4, full_share=0)
    assert noise.weight_NL[0::2, 1:].mean().item() == pytest.approx(1, abs=0.015)
    assert noise.weight_NL[1::2, 1:].mean().item() == pytest.approx(1, abs=0.015)
