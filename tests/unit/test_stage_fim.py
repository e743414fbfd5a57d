"""Stage `fim`: holes, and edits whose loss is where the old code does not tell what comes."""

from dataclasses import replace

import pytest
import torch

from tests.stage_parts import SPECIAL, adapted_model, text_record, with_gradient
from training.held_out import endings
from training.recipes import debug
from training.stages.edit import PairRecord
from training.stages.fim import TYPICAL_ROWS, fim, is_kept

RECIPE = replace(debug(), stage="fim", kind="merge", kept_weight=0.1)


def edit_record() -> PairRecord:
    ids_S = torch.tensor([508, 1, 2, 3, 4, 5, 6, 509, 1, 2, 9, 4, 5, 6, 510])
    return PairRecord(ids_S, 8, SPECIAL, old_ids=ids_S[1:7])


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 9, 4, 5], [True, True, False, False, True]),
        ([1, 2, 3, 4], [1, 3, 4], [True, False, True]),
        ([1, 2], [7, 1, 2], [False, False, True]),
        ([1, 2], [1, 2, 7], [True, True, False]),
        ([1, 2], [1, 2], [True, True]),
        ([], [1], [False]),
    ],
)
def test_kept_is_what_follows_from_being_a_copy(old, new, kept):
    found = is_kept(torch.tensor(old, dtype=torch.long), torch.tensor(new))
    assert found.tolist() == kept


def test_the_loss_of_an_edit_is_mostly_where_it_differs():
    model, record = adapted_model(), edit_record()
    result = fim(model, [record], RECIPE, 0, torch.Generator())
    gate_BT = torch.ones_like(record.ids_S, dtype=torch.bool)[None]
    log_p_SV = model(record.ids_S[None], gate_BT=gate_BT)[0].log_softmax(-1)
    weights = torch.tensor([0.1, 0.1, 1.0, 1.0, 0.1, 0.1, 1.0])
    nats = -log_p_SV[7:-1].gather(1, record.ids_S[8:, None])[:, 0]
    expected = float((weights * nats).sum().detach() / 3.4)
    assert float(result.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert result.figures["rows"] == 7


def test_an_update_that_keeps_the_base_begins_without_loss_but_for_ends():
    model, recipe = adapted_model(scale=0.0), replace(RECIPE, keep_weight=1.0)
    record = text_record(1)
    result = fim(model, [record], recipe, 0, torch.Generator())
    logits_SV = model(record.ids_S[None])[0]
    log_p_SV = logits_SV.log_softmax(-1)
    ends = -float(log_p_SV[-2, record.ids_S[-1]].detach())
    # Elsewhere KL(q || p) is only what the base itself gives to ends.
    goes_on = -(1 - log_p_SV[record.target_start - 1 : -2][:, SPECIAL].exp().sum(-1)).log().sum()
    expected = (ends + float(goes_on.detach())) / TYPICAL_ROWS
    assert float(result.loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_edits_are_packed_with_holes_and_teach_the_update_only():
    model, records = adapted_model(), [text_record(1), edit_record()]
    for parameter in model.adapter.parameters():
        parameter.requires_grad_(True)
    result = fim(model, records, RECIPE, 0, torch.Generator())
    result.loss.backward()
    assert result.figures["weight"] == pytest.approx(len(records[0].ids_S) // 2 - 1 + 3.4)
    names = with_gradient(model)
    assert names
    assert all(name.startswith("adapter.") for name in names)


def test_figures_of_edits_are_told_apart_from_those_of_holes():
    model, hole = adapted_model(), text_record(1)
    figures = endings(model, [hole, edit_record()])
    assert {"ended", "nats", "edited", "edit_nats"} <= figures.keys()
    assert figures["nats"] == endings(model, [hole])["nats"]
    assert 0 <= figures["edited"] <= 1
    assert endings(model, [edit_record()]).keys() == {"edited", "edit_nats"}
