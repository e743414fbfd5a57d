"""Stage `ar`: next-token prediction of all text, the twin that a diffusion model is held against.

The same records in the same order as `adapt` and, with all weights trained, the same number of
weights: what differs between the two is the loss alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.network import Transformer
from training.batch import Clean, pack_clean
from training.loss import ar_loss
from training.recipes import Recipe
from training.stages.common import (
    StageLoss,
    TrainingRecord,
    clean_attention,
    cut_record,
    told,
)


def ar(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """AR loss of every token of text and of the end of each record; draws nothing.

    With a low-rank update in the place of all weights, the update acts on every row.
    """
    cuts = [cut_record(record, recipe) for record in records]
    device = model.embedding.weight.device
    clean = pack_clean([cut.ids_S for cut in cuts])
    is_target_S = text_targets(clean, cuts[0].special_ids).to(device)
    clean = clean.to(device)
    gate_BT = None
    if not recipe.is_full:
        gate_BT = torch.ones_like(clean.ids_S, dtype=torch.bool)[None]
    hidden_BSD = model.hidden(
        clean.ids_S[None],
        attention=clean_attention(clean),
        gate_BT=gate_BT,
        positions_T=clean.position_S,
    )
    return told(ar_loss(hidden_BSD[0], model.head.weight, clean.ids_S, is_target_S))


def text_targets(clean: Clean, special_ids: Tensor) -> Tensor:
    """(S,) bool: text that a row of its own record predicts, and the token that ends a record."""
    is_last_S = torch.ones_like(clean.record_S, dtype=torch.bool)
    is_last_S[:-1] = clean.record_S[1:] != clean.record_S[:-1]
    is_text_S = ~torch.isin(clean.ids_S, special_ids)
    return (is_text_S | is_last_S) & (clean.position_S > 0)
