"""Stage `adapt`: mask noise, what turns an AR model into one that denoises blocks.

Shape suffixes: B batch (1), S clean tokens, T noisy rows, R rows with a loss, D width.
"""

from collections.abc import Sequence

import torch

from model.network import KVCache, Transformer
from training.batch import noisy_visibility, pack_clean
from training.loss import chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import (
    StageLoss,
    TrainingRecord,
    clean_attention,
    cut_record,
    lay_noise,
    told,
)


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
    same place, which costs no forward, for the clean part has made it.
    """
    cuts = [cut_record(record, recipe) for record in records]
    clean = pack_clean([cut.ids_S for cut in cuts])
    noisy = lay_noise(model, cuts, clean, recipe, step, generator)
    size = len(clean.ids_S)
    weight = model.embedding.weight
    cache = KVCache.allocate(model.config, size, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        clean_BSD = model.hidden(
            clean.ids_S[None],
            cache=cache,
            attention=clean_attention(clean),
            positions_T=clean.position_S,
        )
    hidden_BTD = model.hidden(
        noisy.ids_T[None],
        cache=cache,
        start=size,
        attention=noisy_visibility(clean, noisy)[None, None],
        gate_BT=noisy.is_masked_T[None],
        positions_T=noisy.position_T,
        keeps_kv=False,
    )
    is_row_T = noisy.weight_T > 0
    has_teacher = recipe.kl_weight > 0
    return told(
        chunked_cross_entropy(
            hidden_BTD[0, is_row_T],
            model.head.weight,
            noisy.target_T[is_row_T],
            noisy.weight_T[is_row_T],
            teacher_hidden_RD=clean_BSD[0, noisy.clean_T[is_row_T]] if has_teacher else None,
            kl_weight=recipe.kl_weight,
        )
    )
