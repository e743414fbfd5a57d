"""Stage `fim`: next-token prediction of the completion, an update of the base itself."""

from collections.abc import Sequence
from functools import partial

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from model.network import Transformer
from training.batch import pack_clean
from training.loss import ar_loss, ending_loss
from training.recipes import Recipe
from training.stages.common import (
    StageLoss,
    TrainingRecord,
    clean_attention,
    cut_record,
    told,
)
from training.stages.edit import PairRecord

TYPICAL_ROWS = 32
"""Tokens with a loss in a record, about: what a sum over them is divided by."""


def fim(
    model: Transformer,
    records: Sequence[TrainingRecord],
    recipe: Recipe,
    step: int,
    generator: torch.Generator,
) -> StageLoss:
    """AR loss of the completion, its end included; the update acts on every row.

    Bavarian et al. 2207.14255: fill-in-the-middle is next-token prediction in another order. So is
    an edit, whose question is the context and whose answer is the completion; of that the loss is
    mostly where it is not the old code.

    With `keep_weight` the tokens before an end are mostly distilled from the base itself (forward
    KL, Hinton et al. 1503.02531), so that the update learns to end and forgets nothing. Then all
    tokens weigh alike. In a mean of each record's tokens the end of a short hole would weigh twenty
    times that of a long one, and the model would end wherever a short hole may.
    """
    cuts = [cut_record(record, recipe) for record in records]
    clean = pack_clean([cut.ids_S for cut in cuts])
    weights = [_weights(cut, recipe.kept_weight) for cut in cuts]
    weight_S = torch.cat(weights).to(clean.ids_S.device)
    read = partial(
        model.hidden,
        clean.ids_S[None],
        attention=clean_attention(clean),
        positions_T=clean.position_S,
    )
    hidden_BSD = read(gate_BT=torch.ones_like(clean.ids_S, dtype=torch.bool)[None])
    if not recipe.keep_weight:
        return told(ar_loss(hidden_BSD[0], model.head.weight, clean.ids_S, weight_S))
    with torch.no_grad():
        base_BSD = read()
    is_row_T = weight_S[1:] > 0
    return told(
        ending_loss(
            hidden_BSD[0, :-1][is_row_T],
            base_BSD[0, :-1][is_row_T],
            model.head.weight,
            clean.ids_S[1:][is_row_T],
            weight_S[1:][is_row_T],
            cuts[0].special_ids.to(clean.ids_S.device),
            recipe.keep_weight,
            normalizer=TYPICAL_ROWS * len(cuts),
        )
    )


def _weights(cut: TrainingRecord, kept_weight: float) -> Tensor:
    """(S,) weight of the loss of each token."""
    weight_S = torch.zeros(len(cut.ids_S))
    start = max(cut.target_start, 1)
    weight_S[start:] = 1.0
    if isinstance(cut, PairRecord):
        weight_S[start:][is_kept(cut.old_ids, cut.ids_S[start:])] = kept_weight
    return weight_S


def is_kept(old_I: Tensor, new_J: Tensor) -> Tensor:
    """(J,) bool: whether a token of an answer follows from its being a copy of the old code.

    The first token behind a difference does not: it is there that copying begins again.
    """
    is_kept_J = torch.zeros(len(new_J), dtype=torch.bool)
    for part in Levenshtein.opcodes(old_I.tolist(), new_J.tolist()):
        if part.tag == "equal":
            is_kept_J[part.dest_start + (part.dest_start > 0) : part.dest_end] = True
    return is_kept_J
