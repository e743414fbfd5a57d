"""Ways from a masked block to a whole one: which slots become visible in which step.

Knows neither losses nor rewards.

Shape suffixes: N blocks, L slots of a block, X states of a trajectory, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sampler.policy import UnmaskPolicy, allowed_by_order, predict, select_unmask
from training.batch import Noisy
from training.loss import ROWS_PER_CHUNK
from training.stages.context import (
    Context,
    block_size_of,
    num_slots_N,
    pick,
    with_tokens,
)

ORDERS: tuple[UnmaskPolicy, ...] = (
    UnmaskPolicy("top_k", count=1),
    UnmaskPolicy("threshold", threshold=0.9),
    UnmaskPolicy("top_k", count=1, order_window=1),
    UnmaskPolicy("entropy_bound", entropy_bound=0.5),
    UnmaskPolicy("random", count=1),
)
"""Candidates of a pool: the surest slot first, all sure slots, from left to right, all that are
sure together, any order. A larger pool goes through them again, and noise makes them differ."""


@dataclass(frozen=True)
class Trajectory:
    """One trajectory of a block."""

    states_XL: Tensor
    """The tokens before each step, and last those after all."""
    log_p: float
    """Σ log p of each token in the step that revealed it, nats: its ELBO."""

    @property
    def num_steps(self) -> int:
        """|τ|."""
        return len(self.states_XL) - 1


Step = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a block's number, the logits (L − 1, V) of its slots 1 … and which of them are masked (at
least one): which ones to reveal (at least one), and as which ids."""


@torch.no_grad()
def unmask(context: Context, noisy: Noisy, step: Step, *, gates_visible: bool) -> list[Trajectory]:
    """Denoise blocks until nothing is masked but what lies behind the end of a record.

    Args:
        context: what the blocks look into.
        noisy: N blocks, numbered from 0.
        step: what decides.
        gates_visible: as in the recipe.
    """
    num_slots, mask_id = block_size_of(noisy), context.model.config.mask_id
    ids_NL = noisy.ids_T.view(-1, num_slots).clone()
    slot_L = torch.arange(num_slots, device=ids_NL.device)
    exists_NL = slot_L < num_slots_N(noisy)[:, None]
    states = [[ids_L.clone()] for ids_L in ids_NL]
    log_p = [0.0] * len(states)
    while True:
        is_open_NL = (ids_NL == mask_id) & exists_NL
        active = is_open_NL.any(1).nonzero()[:, 0]
        if not len(active):
            return [
                Trajectory(torch.stack(path), score)
                for path, score in zip(states, log_p, strict=True)
            ]
        part = with_tokens(pick(noisy, active), ids_NL[active], mask_id)
        hidden_NLD = context.denoise(part, gates_visible=gates_visible)
        blocks = active.tolist()
        size = max(ROWS_PER_CHUNK // num_slots, 1)
        for begin in range(0, len(blocks), size):
            # Two dimensions: in three, this matrix product is many times slower on a CPU.
            hidden_RD = hidden_NLD[begin : begin + size, :-1].flatten(0, 1)
            logits_RV = (hidden_RD @ context.head_VD.T).float()
            logits_CLV = logits_RV.view(-1, num_slots - 1, logits_RV.shape[-1])
            for block, logits_LV in zip(blocks[begin : begin + size], logits_CLV, strict=True):
                is_revealed_L, token_L = step(block, logits_LV, is_open_NL[block, 1:])
                log_p[block] += _log_p(context, logits_LV[is_revealed_L], token_L[is_revealed_L])
                ids_NL[block, 1:] = token_L.where(is_revealed_L, ids_NL[block, 1:])
                states[block].append(ids_NL[block].clone())


def _log_p(context: Context, logits_LV: Tensor, token_L: Tensor) -> float:
    """Of tokens; those that a trimmed vocabulary lacks do not count."""
    index_L, is_known_L = context.index(token_L)
    log_p_L = logits_LV.log_softmax(-1).gather(1, index_L[:, None])[:, 0]
    return float(log_p_L.where(is_known_L, 0).sum())


def reveal_text(
    text_NL: Tensor,
    policies: Sequence[UnmaskPolicy],
    temperature: float,
    generator: torch.Generator,
) -> Step:
    """Reveal the record's own tokens, in the order that a policy takes by the model's confidence.

    Args:
        text_NL: tokens of each block.
        policies: of each block.
        temperature: of Gumbel noise on the log of the confidence, which makes orders differ.
        generator: of that noise and of random orders.
    """

    def step(block: int, logits_LV: Tensor, is_open_L: Tensor) -> tuple[Tensor, Tensor]:
        policy = policies[block]
        _, confidence_L = predict(logits_LV)
        if temperature > 0:
            uniform_L = torch.rand(confidence_L.shape, generator=generator).clamp(min=1e-9)
            gumbel_L = -torch.log(-torch.log(uniform_L)).to(confidence_L.device)
            confidence_L = (confidence_L.log() + temperature * gumbel_L).exp().clamp(max=1)
        is_allowed_L = is_open_L
        if policy.order_window is not None:
            slot_L = torch.arange(len(is_open_L), device=is_open_L.device)
            is_allowed_L = allowed_by_order(is_open_L, slot_L, policy.order_window)
        is_revealed_L = select_unmask(policy, logits_LV, confidence_L, is_allowed_L, generator)
        return is_revealed_L, text_NL[block, 1:]

    return step


def reveal_drawn(context: Context, temperature: float, generator: torch.Generator) -> Step:
    """Reveal the surest slot, and every other one with its confidence for a probability.

    `training.loss.unmask_log_probs` is the log-probability of this.

    Args:
        context: whose vocabulary it is.
        temperature: of the tokens; 0 takes the most likely ones.
        generator: the only source of chance.
    """

    def step(block: int, logits_LV: Tensor, is_open_L: Tensor) -> tuple[Tensor, Tensor]:
        index_L, confidence_L = predict(logits_LV)
        draw_L = torch.rand(confidence_L.shape, generator=generator).to(confidence_L.device)
        is_revealed_L = is_open_L & (draw_L < confidence_L)
        is_revealed_L[confidence_L.masked_fill(~is_open_L, -1).argmax()] = True
        if temperature > 0:
            p_LV = (logits_LV / temperature).softmax(-1).cpu()
            index_L = torch.multinomial(p_LV, 1, generator=generator)[:, 0].to(index_L.device)
        return is_revealed_L, context.ids(index_L)

    return step
