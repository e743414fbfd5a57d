"""Stage `adapt`: mask noise, what turns an AR model into one that denoises blocks.

Shape suffixes: B batch (1), S clean tokens, T noisy rows, R rows with a loss, D width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import KVCache, Transformer
from training.batch import group_blocks, noisy_visibility, pack_clean, weigh_path
from training.loss import ROWS_PER_CHUNK, chunked_cross_entropy
from training.recipes import Recipe
from training.stages.common import (
    StageLoss,
    TrainingRecord,
    clean_attention,
    cut_record,
    lay_noise,
    told,
)

GROUP_ROWS = {"cpu": 192, "cuda": 8192}
"""Noisy rows of one forward: enough to keep the matrix units busy, few enough to skip most of the
attention that the mask hides."""


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
    weight = model.embedding.weight
    clean = pack_clean([cut.ids_S for cut in cuts])
    noisy = lay_noise(model, cuts, clean, recipe, step, generator).to(weight.device)
    clean = clean.to(weight.device)
    vocabulary_ids = cuts[0].vocabulary_ids
    if vocabulary_ids is not None:
        vocabulary_ids = vocabulary_ids.to(weight.device)
    cache = KVCache.allocate(
        model.config, len(clean.ids_S), dtype=weight.dtype, device=weight.device
    )
    with torch.no_grad():
        clean_BSD = model.hidden(
            clean.ids_S[None],
            cache=cache,
            attention=clean_attention(clean),
            positions_T=clean.position_S,
        )
        if recipe.off_path_weight != 1:
            is_ar_S = _writes_next(clean.ids_S, clean_BSD[0], model.head.weight, vocabulary_ids)
            noisy = weigh_path(noisy, is_ar_S, recipe.off_path_weight)
    hidden, groups = [], group_blocks(noisy, GROUP_ROWS[weight.device.type])
    for group in groups:
        num_seen = int(group.clean_T[group.position_T == group.start_T].max())
        hidden_BTD = model.hidden(
            group.ids_T[None],
            cache=cache,
            start=num_seen,
            attention=noisy_visibility(clean.head(num_seen), group)[None, None],
            gate_BT=group.is_masked_T[None],
            positions_T=group.position_T,
            keeps_kv=False,
        )
        hidden.append(hidden_BTD[0, group.weight_T > 0])
    rows = [group.rows(group.weight_T > 0) for group in groups]
    has_teacher = recipe.kl_weight > 0
    return told(
        chunked_cross_entropy(
            torch.cat(hidden),
            model.head.weight,
            torch.cat([part.target_T for part in rows]),
            torch.cat([part.weight_T for part in rows]),
            teacher_hidden_RD=(
                torch.cat([clean_BSD[0, part.clean_T] for part in rows]) if has_teacher else None
            ),
            kl_weight=recipe.kl_weight,
            vocabulary_ids=vocabulary_ids,
        )
    )


def _writes_next(
    ids_S: Tensor, hidden_SD: Tensor, head_VD: Tensor, vocabulary_ids: Tensor | None
) -> Tensor:
    """(S,) bool: whether a row's most likely token is the one that follows."""
    if vocabulary_ids is not None:
        head_VD = head_VD[vocabulary_ids]
    best_S = torch.cat(
        [(part @ head_VD.T).argmax(-1) for part in torch.split(hidden_SD, ROWS_PER_CHUNK)]
    )
    if vocabulary_ids is not None:
        best_S = vocabulary_ids[best_S]
    return F.pad(best_S[:-1] == ids_S[1:], (0, 1))
