"""Noise of the masked diffusion: how much is hidden at time t, which slots, and what they weigh.

Knows shares and slots only: no token, no model, no optimizer.

Maths names of Seed Diffusion (arXiv 2508.02193, section 3.1): t in [0, 1] is time, γ_t the share of
masked tokens, γ'_t its slope, α_t the share of edits. Shape suffixes: N blocks, L slots of a block.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Schedule = Literal["linear", "cosine"]
MAX_EDIT_SHARE = 0.1


def gamma(schedule: Schedule, t_N: Tensor) -> Tensor:
    """γ_t, the probability that a token is masked at time t; rises from 0 to 1.

    `linear` is t; `cosine` is 1 − cos(πt/2), which stays longer among the lightly masked blocks.
    """
    if schedule == "linear":
        return t_N.clone()
    return 1 - torch.cos(t_N * (math.pi / 2))


def gamma_slope(schedule: Schedule, t_N: Tensor) -> Tensor:
    """γ'_t = dγ_t/dt."""
    if schedule == "linear":
        return torch.ones_like(t_N)
    return torch.sin(t_N * (math.pi / 2)) * (math.pi / 2)


def mask_weight(schedule: Schedule, t_N: Tensor) -> Tensor:
    """γ'_t / γ_t, the weight of a masked token's loss (arXiv 2508.02193, L_diff, second term).

    It diverges as t goes to 0, where hardly anything is masked; `sample_mask` has a bounded twin.
    """
    return gamma_slope(schedule, t_N) / gamma(schedule, t_N)


def edit_share(schedule: Schedule, t_N: Tensor, max_share: float = MAX_EDIT_SHARE) -> Tensor:
    """α_t in [0, max_share]: edits per token, rising like γ_t (arXiv 2508.02193, q_edit)."""
    return max_share * gamma(schedule, t_N)


def seeded_generator(seed: int, *counters: int) -> torch.Generator:
    """A CPU generator that depends on nothing but the seed and the counters (stage, step, rank …).

    A resumed run asks for the counters of the step it stands at and draws the same noise.
    """
    state = np.random.SeedSequence(seed, spawn_key=counters).generate_state(1, np.uint64)
    generator = torch.Generator()
    generator.manual_seed(int(state[0]))
    return generator


def sample_times(generator: torch.Generator, count: int) -> Tensor:
    """`count` times in (0, 1], (count,) float32: one in each of `count` equal strata, shuffled.

    Every time is uniform on its own; together they cover the range, which lowers the variance of
    a batch's loss (low-discrepancy sampler, VDM 2107.00630, appendix I.1).
    """
    shift = 1 - torch.rand((), generator=generator)
    order_N = torch.randperm(count, generator=generator)
    return (order_N + shift) / max(count, 1)


@dataclass(frozen=True)
class MaskNoise:
    """What is hidden in each of N blocks.

    `is_masked_NL` bool, never in slot 0, which holds the settled AR token; `weight_NL` float32, the
    weight of each slot's loss, 0 where nothing is masked; `place_N` int64 in 0 … num_places − 1,
    the place of the text that the block shows: the two blocks of a complementary pair share one.
    """

    is_masked_NL: Tensor
    weight_NL: Tensor
    place_N: Tensor

    @property
    def num_places(self) -> int:
        """How many different places of the text the blocks show."""
        return int(self.place_N[-1]) + 1


def sample_mask(
    generator: torch.Generator,
    num_blocks: int,
    block_size: int,
    *,
    schedule: Schedule = "linear",
    full_share: float = 0.375,
    has_pairs: bool = True,
) -> MaskNoise:
    """Draw the masks of N blocks: first pairs, then those without a partner, then the full ones.

    A slot is masked with probability γ_t. A block that came out without a mask gets one at random,
    and the first of a pair gives one back where it took all, for its partner masks exactly what it
    left visible (complementary masking, Fast-dLLM v2 2509.26328). So a slot's true probability is
    p_t = γ_t + ((1 − γ_t)^n − γ_t^n·[pair]) / n with n = L − 1, and its weight is γ'_t / p_t in the
    first block of a pair, γ'_t / (1 − p_t) in the second and 1 in a full block. Hence the expected
    weighted loss of a constant loss c is c per slot, as with γ'_t / γ_t (`mask_weight`), while no
    weight exceeds n·γ'_t.

    Args:
        generator: CPU generator, the only source of chance.
        block_size: L >= 2, the settled slot included; L >= 3 with pairs.
        full_share: share of blocks masked in all slots but slot 0, as at the start of decoding;
            a fraction of a block is rounded up or down at random.
        has_pairs: whether the other blocks come as complementary pairs of one place.
    """
    num_slots = block_size - 1
    assert num_slots >= (2 if has_pairs else 1), "too small a block to mask"
    assert 0 <= full_share <= 1, "not a share"
    num_full = int(full_share * num_blocks + torch.rand((), generator=generator).item())
    num_full = min(num_full, num_blocks)
    num_partial = num_blocks - num_full
    num_pairs = num_partial // 2 if has_pairs else 0
    num_first = num_partial - num_pairs

    t_N = sample_times(generator, num_first)
    gamma_N, slope_N = gamma(schedule, t_N), gamma_slope(schedule, t_N)
    is_first_of_pair_N = torch.arange(num_first) < num_pairs
    is_masked_NL = torch.rand(num_first, num_slots, generator=generator) < gamma_N[:, None]
    lucky_N = torch.randint(num_slots, (num_first,), generator=generator)
    is_lucky_NL = torch.arange(num_slots) == lucky_N[:, None]
    is_empty_N = ~is_masked_NL.any(dim=1)
    takes_all_N = is_masked_NL.all(dim=1) & is_first_of_pair_N
    is_masked_NL ^= is_lucky_NL & (is_empty_N | takes_all_N)[:, None]

    forced_N = (1 - gamma_N) ** num_slots - gamma_N**num_slots * is_first_of_pair_N
    probability_N = gamma_N + forced_N / num_slots
    first_NL = (slope_N / probability_N)[:, None] * is_masked_NL
    second_N = slope_N[:num_pairs] / (1 - probability_N[:num_pairs])
    second_NL = second_N[:, None] * ~is_masked_NL[:num_pairs]

    # Partners lie side by side, so that a place's blocks can be read together.
    pairs_NL = torch.stack([is_masked_NL[:num_pairs], ~is_masked_NL[:num_pairs]], dim=1)
    pair_weights_NL = torch.stack([first_NL[:num_pairs], second_NL], dim=1)
    full_NL = torch.ones(num_full, num_slots)
    masked_NL = torch.cat(
        [pairs_NL.flatten(0, 1), is_masked_NL[num_pairs:], full_NL.bool()],
    )
    weight_NL = torch.cat([pair_weights_NL.flatten(0, 1), first_NL[num_pairs:], full_NL])
    is_partner_N = torch.zeros(num_blocks, dtype=torch.long)
    is_partner_N[1 : 2 * num_pairs : 2] = 1
    slot_0 = (1, 0)  # one column on the left, never masked
    return MaskNoise(
        is_masked_NL=F.pad(masked_NL, slot_0),
        weight_NL=F.pad(weight_NL, slot_0),
        place_N=(1 - is_partner_N).cumsum(0) - 1,
    )
