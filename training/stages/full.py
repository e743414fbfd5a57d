"""Stage `adapt` where every weight is trained: no base is frozen, so the text has a loss, too.

Clean tokens and noisy blocks are one forward here. What the frozen base gets for nothing, a clean
part without gradient, does not exist; and processes that share the weights (FSDP) must run equally
many forwards, however many blocks their records have room for.

Shape suffixes: S clean tokens, T noisy rows, R rows with a loss, D width.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network import Transformer
from training.batch import Clean, Noisy, clean_visibility, noisy_visibility, pack_clean, weigh_path
from training.loss import ar_loss, chunked_cross_entropy
from training.recipes import Recipe
from training.stages.ar import text_targets
from training.stages.common import StageLoss, TrainingRecord, cut_record, lay_noise, told
from training.stages.context import best_ids

AR_WEIGHT = 0.5
"""Of the AR loss beside that of the noisy rows: the same weights verify what they draft."""


def full_adapt(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """Mask noise as in `adapt`, plus `AR_WEIGHT` times the AR loss of the clean tokens.

    The teacher of the KL is the network itself on the clean rows; no gradient reaches it there.
    """
    cuts = [cut_record(record, recipe) for record in records]
    device = model.embedding.weight.device
    clean = pack_clean([cut.ids_S for cut in cuts])
    noisy = lay_noise(model, cuts, clean, recipe, step, generator).to(device)
    is_target_S = text_targets(clean, cuts[0].special_ids).to(device)
    clean = clean.to(device)
    vocabulary_ids = cuts[0].vocabulary_ids
    if vocabulary_ids is not None:
        vocabulary_ids = vocabulary_ids.to(device)
    num_clean = len(clean.ids_S)
    hidden_BRD = model.hidden(
        torch.cat([clean.ids_S, noisy.ids_T])[None],
        attention=joint_visibility(clean, noisy)[None, None],
        positions_T=torch.cat([clean.position_S, noisy.position_T]),
    )
    clean_SD, noisy_TD = hidden_BRD[0, :num_clean], hidden_BRD[0, num_clean:]
    if recipe.off_path_weight != 1:
        head_VD = model.head.weight
        head_VD = head_VD if vocabulary_ids is None else head_VD[vocabulary_ids]
        best_S = best_ids(clean_SD, head_VD, vocabulary_ids)
        is_greedy_S = F.pad(best_S[:-1] == clean.ids_S[1:], (0, 1))
        noisy = weigh_path(noisy, is_greedy_S, recipe.off_path_weight)
    rows = noisy.rows(noisy.weight_T > 0)
    drafted = chunked_cross_entropy(
        noisy_TD[noisy.weight_T > 0],
        model.head.weight,
        rows.target_T,
        rows.weight_T,
        teacher_hidden_RD=clean_SD[rows.clean_T].detach() if recipe.kl_weight > 0 else None,
        kl_weight=recipe.kl_weight,
        vocabulary_ids=vocabulary_ids,
    )
    written = ar_loss(clean_SD, model.head.weight, clean.ids_S, is_target_S)
    result = told(drafted)
    return replace(
        result,
        loss=drafted.loss + AR_WEIGHT * written.loss,
        figures={**result.figures, "ar": float(written.ce), "ar_rows": float(written.num_rows)},
    )


def joint_visibility(clean: Clean, noisy: Noisy) -> Tensor:
    """(S + T, S + T) bool: clean rows see clean ones as text does, noisy rows what blocks see."""
    clean_SS = clean_visibility(clean)
    nothing_ST = clean_SS.new_zeros(len(clean.ids_S), len(noisy.ids_T))
    return torch.cat(
        [torch.cat([clean_SS, nothing_ST], dim=1), noisy_visibility(clean, noisy)], dim=0
    )
