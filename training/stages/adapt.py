"""Stage `adapt`: mask noise, what turns an AR model into one that denoises blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.network import Transformer
from training.batch import weigh_path
from training.loss import chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import StageLoss, TrainingRecord, cut_record, lay_noise, told
from training.stages.context import read_context


def adapt(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Mask noise over blocks of clean records (Seed Diffusion 2508.02193, stage A of section 3.1).

    The clean part runs once, without gradient and without adapter; its K/V serve all blocks. Beside
    the cross-entropy against the text stands the forward KL to the AR model's own prediction at the
    same place, which costs no forward, for the clean part has made it. A coupling has the same loss
    again, for rows that know the token in their place.
    """
    cuts = [cut_record(record, recipe) for record in records]
    context = read_context(model, cuts)
    clean = context.clean.to(torch.device("cpu"))
    noisy = lay_noise(model, cuts, clean, recipe, step, generator).to(context.clean.ids_S.device)
    if recipe.off_path_weight != 1:
        noisy = weigh_path(noisy, context.is_greedy_S(), recipe.off_path_weight)
    hidden_NLD = context.denoise(noisy, gates_visible=False)
    is_row_T = noisy.weight_T > 0
    rows = noisy.rows(is_row_T)
    hidden_RD = hidden_NLD.flatten(0, 1)[is_row_T]

    def loss(hidden_RD: Tensor) -> StageLoss:
        return told(
            chunked_cross_entropy(
                hidden_RD,
                model.head.weight,
                rows.target_T,
                rows.weight_T,
                teacher_hidden_RD=context.hidden_SD[rows.clean_T] if recipe.kl_weight > 0 else None,
                kl_weight=recipe.kl_weight,
                vocabulary_ids=context.vocabulary_ids,
            )
        )

    alone = loss(hidden_RD)
    if not recipe.coupling_rank:
        return alone
    assert model.adapter is not None
    assert model.adapter.coupling is not None
    # What stands in a row's place is the text's token, as its teacher has read it.
    token_RD = model.embedding.weight[context.clean.ids_S[rows.clean_T]]
    coupled = loss(hidden_RD + model.adapter.coupling(hidden_RD, token_RD).to(hidden_RD.dtype))
    figures = {"coupled_correct": coupled.figures["correct"], "coupled_kl": coupled.figures["kl"]}
    return StageLoss((alone.loss + coupled.loss) / 2, {**alone.figures, **figures})
