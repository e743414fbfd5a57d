"""Stage `onpolicy`: the model's own trajectories, with fewer steps for the same result.

Shape suffixes: N blocks or states, L slots of a block, R rows, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.network import Transformer
from training.batch import Noisy, weigh_path
from training.loss import (
    certainty_loss,
    chunked_cross_entropy,
    onpolicy_loss,
    row_likelihoods,
    unmask_log_probs,
)
from training.recipes import Recipe
from training.stages.common import StageLoss, TrainingRecord, cut_record
from training.stages.context import Context, block_size_of, pick, read_context, with_tokens
from training.stages.reward import Rewards, judge
from training.stages.trajectory import Trajectory, reveal_drawn, unmask


def onpolicy(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Minimize E[|τ| − V] over the model's own trajectories (Seed Diffusion 2508.02193, §3.3).

    Trajectories are drawn without gradient; then all their states run once more, in one batch, for
    the log-probabilities of what was decided in them. Those of one place are each other's baseline.
    """
    context = read_context(model, [cut_record(record, recipe) for record in records])
    pool_size = recipe.pool_size
    noisy = context.blocks(
        recipe.blocks_per_record, recipe.block_size(step), generator, repeats=pool_size
    )
    if not len(noisy.ids_T):
        return StageLoss(torch.zeros(()), {"rows": 0.0, "correct": 0.0})
    decide = reveal_drawn(context, recipe.temperature, generator)
    paths = unmask(context, noisy, decide, gates_visible=recipe.gates_visible)
    mask_id = model.config.mask_id
    ends_NL = torch.stack([path.states_XL[-1] for path in paths])
    rewards = judge(context, with_tokens(noisy, ends_NL, mask_id), recipe)
    log_probs = log_probs_of(context, noisy, paths, recipe)

    loss = torch.zeros((), device=ends_NL.device)
    costs = 0.0
    for begin in range(0, len(paths), pool_size):
        part = slice(begin, begin + pool_size)
        result = onpolicy_loss(
            log_probs[part],
            [list(path.states_XL) for path in paths[part]],
            rewards.values[part],
            step_weight=recipe.step_weight,
        )
        loss = loss + result.loss * pool_size / len(paths)
        costs += float(result.costs_N.sum())
    loss = loss + _first_loss(context, noisy, ends_NL, rewards, recipe)
    return StageLoss(
        loss,
        {
            "rows": float((ends_NL != mask_id)[:, 1:].sum()),
            "correct": float(sum(rewards.accepted)),
            "trajectories": float(len(paths)),
            "steps": float(sum(path.num_steps for path in paths)),
            "cost": costs,
            "reward": sum(rewards.values),
            "parses": float(sum(rewards.parses)),
        },
    )


def log_probs_of(
    context: Context, noisy: Noisy, paths: Sequence[Trajectory], recipe: Recipe
) -> list[Tensor]:
    """For each trajectory the log-probability of each of its steps, with gradient.

    A step decides which slots become visible and, if tokens are drawn, as what.
    """
    num_slots, mask_id = block_size_of(noisy), context.model.config.mask_id
    num_steps = [path.num_steps for path in paths]
    owner_N = torch.arange(len(paths)).repeat_interleave(torch.tensor(num_steps))
    before_NL = torch.cat([path.states_XL[:-1] for path in paths])
    after_NL = torch.cat([path.states_XL[1:] for path in paths])
    states = with_tokens(pick(noisy, owner_N.to(before_NL.device)), before_NL, mask_id)
    hidden_NLD = context.denoise(states, gates_visible=recipe.gates_visible)
    # Row i decides about slot i + 1.
    is_revealed_NL = (before_NL != after_NL)[:, 1:]
    last_NL = torch.cat([path.states_XL[-1:].expand(path.num_steps, -1) for path in paths])
    is_open_NL = (before_NL == mask_id)[:, 1:] & (last_NL != mask_id)[:, 1:]
    index_NL, _ = context.index(after_NL[:, 1:])
    sure_R, log_p_R = row_likelihoods(
        hidden_NLD[:, :-1].flatten(0, 1),
        context.head_VD,
        index_NL.flatten(),
        temperature=recipe.temperature or 1.0,
    )
    log_p_N = unmask_log_probs(sure_R.view(-1, num_slots - 1), is_open_NL, is_revealed_NL)
    if recipe.temperature > 0:
        log_p_N = log_p_N + log_p_R.view_as(is_open_NL).where(is_revealed_NL, 0).sum(1)
    return list(torch.split(log_p_N, num_steps))


def _first_loss(
    context: Context, noisy: Noisy, ends_NL: Tensor, rewards: Rewards, recipe: Recipe
) -> Tensor:
    """What is asked of the states that trajectories begin with, one for each place.

    Certainty where the base agreed with the draft, and stage `adapt`'s loss, as the recipe says.
    """
    loss = torch.zeros((), device=ends_NL.device)
    if recipe.certainty_weight == 0 and recipe.anchor_weight == 0:
        return loss
    num_slots = block_size_of(noisy)
    place_N = torch.arange(0, len(ends_NL), recipe.pool_size, device=ends_NL.device)
    first = pick(noisy, place_N)
    if recipe.off_path_weight != 1:
        first = weigh_path(first, context.is_greedy_S(), recipe.off_path_weight)
    hidden_NLD = context.denoise(first, gates_visible=recipe.gates_visible)
    if recipe.certainty_weight > 0:
        accepted_N = torch.tensor(rewards.accepted, device=place_N.device)[place_N]
        slot_L = torch.arange(num_slots - 1, device=place_N.device)
        # The first row is the base's, which is not to get surer.
        is_agreed_NL = (slot_L < accepted_N[:, None]) & (slot_L > 0)
        index_NL, _ = context.index(ends_NL[place_N, 1:])
        logits_RV = hidden_NLD[:, :-1][is_agreed_NL] @ context.head_VD.T
        loss = loss + recipe.certainty_weight * certainty_loss(logits_RV, index_NL[is_agreed_NL])
    if recipe.anchor_weight > 0:
        is_row_T = first.weight_T > 0
        rows = first.rows(is_row_T)
        anchor = chunked_cross_entropy(
            hidden_NLD.flatten(0, 1)[is_row_T],
            context.model.head.weight,
            rows.target_T,
            rows.weight_T,
            teacher_hidden_RD=context.hidden_SD[rows.clean_T] if recipe.kl_weight > 0 else None,
            kl_weight=recipe.kl_weight,
            vocabulary_ids=context.vocabulary_ids,
        )
        loss = loss + recipe.anchor_weight * anchor.loss
    return loss
