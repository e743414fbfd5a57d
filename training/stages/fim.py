"""Stage `fim`: next-token prediction of the completion, an update of the base itself."""

from collections.abc import Sequence

import torch

from model.network import Transformer
from training.batch import pack_clean
from training.loss import ar_loss
from training.recipes import Recipe
from training.stages.common import (
    StageLoss,
    TrainingRecord,
    clean_attention,
    cut_record,
    told,
)


def fim(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """AR loss of the completion, its end included; the update acts on every row.

    Bavarian et al. 2207.14255: fill-in-the-middle is next-token prediction in another order.
    """
    cuts = [cut_record(record, recipe) for record in records]
    clean = pack_clean([cut.ids_S for cut in cuts])
    starts = torch.tensor([max(cut.target_start, 1) for cut in cuts])
    is_target_S = clean.position_S >= starts[clean.record_S]
    hidden_BSD = model.hidden(
        clean.ids_S[None],
        attention=clean_attention(clean),
        gate_BT=torch.ones_like(clean.ids_S, dtype=torch.bool)[None],
        positions_T=clean.position_S,
    )
    return told(ar_loss(hidden_BSD[0], model.head.weight, clean.ids_S, is_target_S))
