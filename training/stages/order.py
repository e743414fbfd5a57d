"""Stage `order`: distill the orders of unmasking under which the text is most likely.

Shape suffixes: N states, L slots of a block, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import Transformer
from training.batch import Noisy, weigh_path
from training.corruption import EditMix, corrupt
from training.loss import chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import StageLoss, TrainingRecord, cut_record, told
from training.stages.context import (
    Context,
    block_size_of,
    num_slots_N,
    pick,
    read_context,
    text_of,
    with_tokens,
)
from training.stages.trajectory import ORDERS, Trajectory, reveal_text, unmask

_SUBSTITUTE = EditMix(delete=0.0, insert=0.0, own_argmax=0.0)


def order(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Constrained-order training (Seed Diffusion 2508.02193, section 3.2).

    For each place a pool of trajectories towards the text is made with the adapter as it is. Those
    with the largest ELBO are kept, and from each of their states, behind the augmentation f, the
    text is predicted: `loss.order_loss` with λ = 1 / number of tokens predicted.
    """
    context = read_context(model, [cut_record(record, recipe) for record in records])
    pool = make_pool(context, recipe, step, generator)
    if pool is None:
        return StageLoss(torch.zeros(()), {"rows": 0.0, "correct": 0.0})
    kept = choose(pool, recipe)
    states = lay_states(context, pool, kept, recipe, generator)
    if recipe.off_path_weight != 1:
        states = weigh_path(states, context.is_greedy_S(), recipe.off_path_weight)
    hidden_NLD = context.denoise(states, gates_visible=recipe.gates_visible)
    is_row_T = states.weight_T > 0
    rows = states.rows(is_row_T)
    result = told(
        chunked_cross_entropy(
            hidden_NLD.flatten(0, 1)[is_row_T],
            model.head.weight,
            rows.target_T,
            rows.weight_T,
            teacher_hidden_RD=context.hidden_SD[rows.clean_T] if recipe.kl_weight > 0 else None,
            kl_weight=recipe.kl_weight,
            vocabulary_ids=context.vocabulary_ids,
            normalizer=float(len(hidden_NLD)),
        )
    )
    paths = pool.trajectories
    figures = {
        "trajectories": float(len(kept)),
        "steps": float(sum(paths[index].num_steps for index in kept)),
        "elbo": sum(paths[index].log_p for index in kept),
        "pool_elbo": sum(path.log_p for path in paths) * len(kept) / len(paths),
    }
    return replace(result, figures={**result.figures, **figures})


@dataclass(frozen=True)
class Pool:
    """Trajectories of all places, those of a place one after another."""

    noisy: Noisy
    """The block that each begins with."""
    trajectories: list[Trajectory]


def make_pool(
    context: Context, recipe: Recipe, step: int, generator: torch.Generator
) -> Pool | None:
    """Trajectories towards the text; None where records have no place for a block."""
    size = recipe.block_size(step)
    noisy = context.blocks(recipe.blocks_per_record, size, generator, repeats=recipe.pool_size)
    if not len(noisy.ids_T):
        return None
    num_places = len(noisy.ids_T) // size // recipe.pool_size
    policies = [ORDERS[index % len(ORDERS)] for index in range(recipe.pool_size)] * num_places
    decide = reveal_text(text_of(noisy), policies, recipe.temperature, generator)
    return Pool(noisy, unmask(context, noisy, decide, gates_visible=recipe.gates_visible))


def choose(pool: Pool, recipe: Recipe) -> list[int]:
    """Numbers of the trajectories to keep, of each place as many."""
    kept: list[int] = []
    for begin in range(0, len(pool.trajectories), recipe.pool_size):
        numbers = list(range(begin, begin + recipe.pool_size))
        if recipe.has_order_filter:
            numbers.sort(key=lambda index: -pool.trajectories[index].log_p)
        kept += numbers[: recipe.num_kept]
    return kept


def lay_states(
    context: Context,
    pool: Pool,
    kept: Sequence[int],
    recipe: Recipe,
    generator: torch.Generator,
) -> Noisy:
    """All states of trajectories but the last ones, with edit noise and the weights λ.

    Masked slots are predicted; where the adapter acts on visible rows, visible ones are, too.
    """
    mask_id, num_slots = context.model.config.mask_id, block_size_of(pool.noisy)
    device = pool.noisy.ids_T.device
    paths = [pool.trajectories[index].states_XL[:-1] for index in kept]
    owner_N = torch.tensor(kept).repeat_interleave(torch.tensor([len(path) for path in paths]))
    states = pick(pool.noisy, owner_N.to(device))
    ids_NL = torch.cat(paths)
    exists_NL = torch.arange(num_slots, device=device) < num_slots_N(states)[:, None]
    is_masked_NL = ids_NL == mask_id
    if recipe.order_noise > 0:
        ids_NL = torch.stack(
            [_noise(context, ids_L, recipe, generator) for ids_L in ids_NL.cpu()]
        ).to(device)
    is_predicted_NL = exists_NL & (is_masked_NL | recipe.gates_visible)
    # Slot 1 is the base's own: no adapter changes what the settled row predicts.
    is_predicted_NL[:, :2] = False
    decay_L = recipe.offset_decay ** torch.arange(num_slots, device=device).sub(2).clamp(min=0)
    lambda_N1 = 1 / is_predicted_NL.sum(1, keepdim=True).clamp(min=1)
    weight_NL = is_predicted_NL * lambda_N1 * decay_L
    weight_T = F.pad(weight_NL[:, 1:], (0, 1)).flatten()
    return replace(with_tokens(states, ids_NL, mask_id), weight_T=weight_T)


def _noise(context: Context, ids_L: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The augmentation f: some visible tokens are replaced by neighbors or by any others.

    The settled token and the base's own behind it stay.
    """
    is_visible_L = ids_L != context.model.config.mask_id
    is_visible_L[:2] = False
    visible = ids_L[is_visible_L]
    share = recipe.order_noise + float(torch.rand((), generator=generator)) / max(len(visible), 1)
    changed = corrupt(
        visible,
        share,
        generator,
        id_range=context.text_range(),
        mix=_SUBSTITUTE,
    )
    return ids_L.masked_scatter(is_visible_L, changed)
