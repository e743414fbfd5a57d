"""Stage `edit`: what is corrupted, what is asked for it, and what learns from it."""

import importlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.noise import seeded_generator
from tests.stage_parts import (
    CONFIG,
    MASK,
    SPECIAL,
    adapted_model,
    counting_record,
    text_record,
    with_gradient,
)
from training.labels import DELETE, INSERT, KEEP, SUBSTITUTE, apply, label_edits
from training.recipes import RecipeError, debug, edit
from training.stages import STAGES, TrainingRecord
from training.stages.context import read_context

editing = importlib.import_module("training.stages.edit")
RECIPE = replace(
    debug(),
    stage="edit",
    gates_visible=True,
    edit_share=0.5,
    blocks_per_record=12,
    block_sizes=(6,),
)


@pytest.fixture(scope="module")
def model():
    return adapted_model()


def edited(model, recipe, seed, record=None):
    context = read_context(model, [record or text_record(seed)])
    generator = seeded_generator(seed)
    blocks = context.blocks(recipe.blocks_per_record, recipe.block_size(0), generator)
    special = editing.choose_ids(context.cuts[0])
    return context, blocks, editing.corrupt_blocks(context, blocks, special, recipe, generator)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), draft_share=st.sampled_from([0.0, 0.5]))
def test_labels_lead_back_to_the_text(model, seed, draft_share):
    recipe = replace(RECIPE, draft_share=draft_share)
    context, blocks, made = edited(model, recipe, seed)
    special = editing.choose_ids(context.cuts[0])
    draft_NL = made.noisy.ids_T.view(12, 6)
    end_id = special.end

    assert torch.equal(draft_NL[:, :2], blocks_text(context, blocks)[:, :2])
    label_NL = made.labels.targets(delete_id=special.delete, insert_id=special.insert)
    assert torch.equal(made.noisy.target_T.view(12, 6)[:, :-1], label_NL[:, 1:])
    # As a model that is always right would go on from round to round.
    labels = made.labels
    for _ in range(12):
        draft_NL = apply(labels, mask_id=MASK, fill_id=MASK)
        labels = label_edits(draft_NL, made.text_NL, end_id=end_id, mask_id=MASK)
    assert torch.equal(draft_NL, made.text_NL)


def blocks_text(context, blocks):
    """(N, L) read from the record, the end token behind its end."""
    ids = context.cuts[0].ids_S.tolist()
    size = int((blocks.block_T == 0).sum())
    starts = blocks.position_T.view(-1, size)[:, 0].tolist()
    rows = [(ids[start : start + size] + [ids[-1]] * size)[:size] for start in starts]
    return torch.tensor(rows)


def test_all_visible_slots_have_a_loss_but_the_settled_ones(model):
    context, blocks, made = edited(model, RECIPE, 3)
    draft_NL, weight_NL = made.noisy.ids_T.view(12, 6), made.noisy.weight_T.view(12, 6)
    assert torch.equal(made.text_NL, blocks_text(context, blocks))
    num_N = (blocks.target_T >= 0).view(12, 6)[:, :-1].sum(1) + 1
    expected_NL = ((draft_NL != MASK) | (torch.arange(6) < num_N[:, None])).float()
    expected_NL[:, :2] = 0
    assert (expected_NL[:, 2:] == 0).any(), "a block ends behind the record"
    assert torch.equal(weight_NL[:, :-1], expected_NL[:, 1:])
    assert not weight_NL[:, -1].any(), "the last row predicts beyond the block"
    # No carry-over: most of these slots are right already, and asked for all the same.
    is_kept_NL = (made.labels.operation_NL == KEEP) & (expected_NL > 0)
    assert is_kept_NL.sum() > 12


def test_every_kind_of_edit_occurs(model):
    operations = torch.cat(
        [edited(model, RECIPE, seed)[2].labels.operation_NL.flatten() for seed in range(8)]
    )
    counts = torch.bincount(operations, minlength=4)
    assert (counts[[KEEP, SUBSTITUTE, DELETE, INSERT]] > 5).all()


def test_switches_leave_out_edits_and_sources(model):
    recipe = replace(RECIPE, edit_operations=("substitute",), edit_sources=("own_argmax",))
    context, blocks, made = edited(model, recipe, 2)
    draft_NL, text_NL = made.noisy.ids_T.view(12, 6), blocks_text(context, blocks)
    hidden_NLD = context.denoise(blocks, gates_visible=True)
    guess_NL = torch.cat(
        [text_NL[:, :1], (hidden_NLD @ model.head.weight.T).argmax(-1)[:, :-1]], dim=1
    )
    is_other_NL = (draft_NL != text_NL) & (draft_NL != MASK)
    assert is_other_NL.any()
    assert torch.equal(draft_NL[is_other_NL], guess_NL[is_other_NL])
    # Edits are of the block and what lies behind it: 10 of at most 12 tokens are free.
    assert int(is_other_NL.sum(1).max()) <= 6 * recipe.max_edit_share * 2


def test_a_draft_is_what_the_adapter_writes_in_one_step(model):
    context, blocks, made = edited(model, replace(RECIPE, draft_share=1.0), 4)
    hidden_NLD = context.denoise(blocks, gates_visible=True)
    guess_NL = (hidden_NLD @ model.head.weight.T).argmax(-1)
    draft_NL = made.noisy.ids_T.view(12, 6)
    is_own_NL = draft_NL[:, 2:] != MASK
    assert torch.equal(draft_NL[:, 2:][is_own_NL], guess_NL[:, 1:-1][is_own_NL])


def test_without_operations_one_round_reaches_the_text(model):
    _, _, made = edited(model, replace(RECIPE, has_operations=False), 5)
    assert set(made.labels.operation_NL.unique().tolist()) == {KEEP, SUBSTITUTE}
    assert torch.equal(apply(made.labels, mask_id=MASK, fill_id=MASK), made.text_NL)


def test_the_loss_is_that_of_each_row_alone(model):
    recipe = replace(RECIPE, edit_share=1.0, kl_weight=0.4, draft_share=0.3)
    record = text_record(7)
    result = STAGES["edit"](model, [record], recipe, 0, seeded_generator(9))

    context = read_context(model, [record])
    generator = seeded_generator(9)
    num_edited = editing._num_edited(recipe, 0, generator)
    blocks = context.blocks(num_edited, 6, generator)
    special = editing.choose_ids(record)
    noisy = editing.corrupt_blocks(context, blocks, special, recipe, generator).noisy
    total, count = 0.0, 0
    for block in range(num_edited):
        rows = noisy.rows(noisy.block_T == block)
        start = int(rows.start_T[0])
        ids = torch.cat([record.ids_S[:start], rows.ids_T])[None]
        is_gated = torch.arange(ids.shape[1])[None] > start
        mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        mask[start + 1 :, start:] = True
        log_p = model(ids, attention=mask, gate_BT=is_gated)[0, start:].log_softmax(-1)
        log_q = model(record.ids_S[None])[0].log_softmax(-1)
        for row in range(1, 5):
            target, place = int(rows.target_T[row]), start + row
            if rows.weight_T[row] == 0:
                continue
            loss = -log_p[row, target]
            if place + 1 < len(record.ids_S) and target == record.ids_S[place + 1]:
                q = log_q[place].exp()
                loss = 0.6 * loss + 0.4 * (q * (log_q[place] - log_p[row])).sum()
            total, count = total + float(loss.detach()), count + 1
    assert result.loss.item() == pytest.approx(total / count, rel=1e-4)
    assert result.figures["rows"] == count


def test_without_edits_it_is_stage_adapt(model):
    recipe = replace(RECIPE, edit_share=0.0, gates_visible=False, off_path_weight=0.5)
    for records in ([text_record(1)], [text_record(2), text_record(3, 30)]):
        ours, theirs = (
            STAGES[stage](model, records, recipe, 0, seeded_generator(6))
            for stage in ("edit", "adapt")
        )
        assert ours.loss.item() == pytest.approx(theirs.loss.item(), rel=1e-5)
        assert ours.figures == pytest.approx(theirs.figures, rel=1e-4)


def test_blocks_over_a_pair_hold_the_older_text(model):
    new = torch.arange(100, 130)
    old = torch.cat([torch.arange(100, 110), torch.tensor([7, 8]), torch.arange(112, 130)])
    old = torch.cat([old[:20], old[23:]])
    ids_S = torch.cat([SPECIAL[:1], torch.arange(50), SPECIAL[1:2], new, SPECIAL[2:]])
    record = editing.PairRecord(ids_S=ids_S, target_start=52, special_ids=SPECIAL, old_ids=old)
    recipe = replace(RECIPE, blocks_per_record=40)
    _, blocks, made = edited(model, recipe, 3, record)
    draft_NL = made.noisy.ids_T.view(-1, 6)
    has_old = False
    for draft_L, start in zip(draft_NL, blocks.start_T[::6].tolist(), strict=True):
        if start >= 52 and start < 52 + 24:
            tail = draft_L[2:][draft_L[2:] != MASK].tolist()
            text = old.tolist()
            assert any(text[i : i + len(tail)] == tail for i in range(len(text)))
            has_old |= bool({7, 8} & set(tail))
            # What did not change stands in its place.
            if start == 53:
                assert draft_L.tolist() == ids_S[53:59].tolist()
    assert has_old
    plain = edited(model, replace(recipe, uses_old_text=False), 3, record)[2]
    assert not torch.equal(plain.noisy.ids_T, made.noisy.ids_T)
    result = STAGES["edit"](model, [record], recipe, 0, seeded_generator(2))
    assert result.loss.isfinite()


def test_the_curriculum_begins_to_edit_after_a_share_of_the_steps():
    recipe = replace(RECIPE, num_steps=10, edit_start=0.8, edit_share=0.5)
    counts = [editing._num_edited(recipe, step, seeded_generator(step)) for step in range(10)]
    assert counts == [0] * 8 + [6] * 2


@pytest.mark.parametrize("gates_visible", [True, False])
def test_gradients_reach_the_adapter_only(gates_visible):
    model = adapted_model()
    recipe = replace(RECIPE, gates_visible=gates_visible)
    result = STAGES["edit"](model, [text_record(1)], recipe, 0, seeded_generator(2))
    result.loss.backward()
    names = with_gradient(model)
    assert "adapter.mask_embedding" in names
    assert all(name.startswith("adapter.") for name in names)


def test_the_context_is_frozen(model):
    context, blocks, _ = edited(model, RECIPE, 1)
    keys = [key.clone() for key in context.cache.keys]
    hidden_NLD = context.denoise(blocks, gates_visible=True)
    assert hidden_NLD.requires_grad
    assert not context.hidden_SD.requires_grad
    assert not any(key.requires_grad for key in (*context.cache.keys, *context.cache.values))
    assert all(torch.equal(a, b) for a, b in zip(keys, context.cache.keys, strict=True))


def test_a_trimmed_vocabulary_keeps_the_operations(model):
    known = torch.arange(0, 508, 2)
    record = text_record(3, vocabulary_ids=torch.cat([known, SPECIAL[2:]]))
    special = editing.choose_ids(record)
    context = read_context(model, [record], (special.delete, special.insert))
    assert {508, 509, 510} <= set(context.vocabulary_ids.tolist())
    result = STAGES["edit"](model, [record], RECIPE, 0, seeded_generator(2))
    assert result.loss.isfinite()
    assert result.figures["rows"] > 0


def test_ids_of_a_record_that_was_cut_off():
    whole, cut = text_record(1), text_record(1)
    assert editing.choose_ids(whole) == editing.SpecialIds(end=510, delete=508, insert=509)
    cut = replace(cut, ids_S=cut.ids_S[:-1])
    assert editing.choose_ids(cut) == editing.SpecialIds(end=508, delete=509, insert=510)


def test_a_record_without_text_has_no_loss(model):
    record = TrainingRecord(torch.tensor([508, 508]), 1, SPECIAL)
    recipe = replace(RECIPE, edit_share=1.0)
    result = STAGES["edit"](model, [record], recipe, 0, seeded_generator(2))
    assert result.loss == 0
    assert not result.loss.requires_grad


def test_it_learns_to_correct():
    model = adapted_model(scale=0.0)
    recipe = replace(RECIPE, edit_share=1.0, kl_weight=0.0, edit_operations=("substitute",))
    optimizer = torch.optim.AdamW(model.adapter.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for step in range(25):
        records = [counting_record(step)]
        result = STAGES["edit"](model, records, recipe, 0, seeded_generator(1, step))
        losses.append(result.loss.item())
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_recipes_that_cannot_be():
    assert edit().gates_visible
    with pytest.raises(RecipeError, match="frozen base"):
        replace(edit(), is_full=True)
    with pytest.raises(RecipeError, match="needs blocks"):
        replace(edit(), block_sizes=())
    with pytest.raises(RecipeError, match="MASK rows only"):
        replace(debug(), gates_visible=True)
    assert CONFIG.mask_id not in SPECIAL
