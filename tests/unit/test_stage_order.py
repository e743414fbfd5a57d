"""Stage `order`: trajectories towards the text, the pool, and what is distilled."""

import importlib
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.noise import seeded_generator
from tests.stage_parts import CONFIG, MASK, SPECIAL, adapted_model, text_record, with_gradient
from training.loss import order_loss
from training.recipes import RecipeError, debug, order
from training.stages import STAGES, TrainingRecord
from training.stages.context import read_context, text_of
from training.stages.trajectory import ORDERS

ordering = importlib.import_module("training.stages.order")
SIZE = 6
RECIPE = replace(
    debug(),
    stage="order",
    gates_visible=True,
    blocks_per_record=4,
    block_sizes=(SIZE,),
    pool_size=5,
    kl_weight=0.0,
    order_noise=0.0,
)


@pytest.fixture(scope="module")
def model():
    return adapted_model()


def pool_of(model, recipe, seed, record=None):
    context = read_context(model, [record or text_record(seed)])
    return context, ordering.make_pool(context, recipe, 0, seeded_generator(seed))


def log_p_alone(model, record, start, state_L, gates_visible=True):
    """(L, V): log p of slot i from row i − 1 of one block, without cache or packing."""
    ids = torch.cat([record.ids_S[:start], state_L])[None]
    mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    mask[start + 1 :, start:] = True
    place = torch.arange(ids.shape[1])[None]
    gate = place > start if gates_visible else ids == MASK
    return model(ids, attention=mask, gate_BT=gate)[0, start - 1 : -1].log_softmax(-1)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.0, 1.0]),
    gates_visible=st.booleans(),
)
def test_states_differ_by_what_was_revealed(model, seed, temperature, gates_visible):
    recipe = replace(RECIPE, temperature=temperature, gates_visible=gates_visible)
    context, pool = pool_of(model, recipe, seed)
    text_NL = text_of(pool.noisy)
    starts = pool.noisy.start_T.view(-1, SIZE)[:, 0].tolist()
    assert len(pool.trajectories) == len(text_NL) == 20
    for path, text_L, start in zip(pool.trajectories, text_NL, starts, strict=True):
        exists_L = text_L >= 0
        states_XL = path.states_XL
        assert states_XL[0, 0] == text_L[0]
        assert (states_XL[0, 1:] == MASK).all()
        assert torch.equal(states_XL[-1], text_L.masked_fill(~exists_L, MASK))
        score = 0.0
        for before_L, after_L in pairwise(states_XL):
            is_revealed_L = before_L != after_L
            assert is_revealed_L.any()
            assert (before_L[is_revealed_L] == MASK).all()
            assert torch.equal(after_L[is_revealed_L], text_L[is_revealed_L])
            log_p_LV = log_p_alone(model, context.cuts[0], start, before_L, gates_visible)
            score += float(log_p_LV[is_revealed_L, text_L[is_revealed_L]].sum().detach())
        assert path.log_p == pytest.approx(score, abs=1e-3)


def test_a_pool_has_different_orders(model):
    assert ORDERS[2].order_window == 1
    _, pool = pool_of(model, RECIPE, 1)
    surest, _, left_to_right, _, chance = pool.trajectories[:5]
    assert left_to_right.num_steps == chance.num_steps == surest.num_steps
    for step, state_L in enumerate(left_to_right.states_XL):
        assert (state_L == MASK).tolist() == [i > step for i in range(SIZE)]
    orders = {tuple(map(tuple, path.states_XL.tolist())) for path in pool.trajectories}
    assert len(orders) >= 4
    # Noise on the confidence makes another pool of the same policies.
    recipe = replace(RECIPE, pool_size=15, temperature=1.0)
    _, larger = pool_of(model, recipe, 1)
    firsts = {tuple(map(tuple, larger.trajectories[i].states_XL.tolist())) for i in (0, 5, 10)}
    assert len(firsts) > 1


def test_the_filter_keeps_what_makes_the_text_most_likely(model):
    recipe = replace(RECIPE, num_kept=2)
    _, pool = pool_of(model, recipe, 3)
    kept = ordering.choose(pool, recipe)
    scores = [path.log_p for path in pool.trajectories]
    for begin in range(0, 20, 5):
        ours = [scores[index] for index in kept if begin <= index < begin + 5]
        assert ours == sorted(scores[begin : begin + 5], reverse=True)[:2]
    kept = ordering.choose(pool, replace(recipe, has_order_filter=False))
    assert kept == [0, 1, 5, 6, 10, 11, 15, 16]


@pytest.mark.parametrize("gates_visible", [True, False])
def test_the_loss_is_that_of_the_paper(model, gates_visible):
    recipe = replace(RECIPE, gates_visible=gates_visible)
    record = text_record(7)
    result = STAGES["order"](model, [record], recipe, 0, seeded_generator(8))
    context = read_context(model, [record])
    pool = ordering.make_pool(context, recipe, 0, seeded_generator(8))
    starts = pool.noisy.start_T.view(-1, SIZE)[:, 0].tolist()
    log_probs, lambdas = [], []
    for index in ordering.choose(pool, recipe):
        path = pool.trajectories[index]
        text_L = path.states_XL[-1]
        for state_L in path.states_XL[:-1]:
            log_p_LV = log_p_alone(model, record, starts[index], state_L, gates_visible)
            is_predicted_L = text_L != MASK
            if not gates_visible:
                is_predicted_L &= state_L == MASK
            is_predicted_L[:2] = False
            log_probs.append(log_p_LV[is_predicted_L, text_L[is_predicted_L]].sum())
            lambdas.append(1 / max(int(is_predicted_L.sum()), 1))
    expected = order_loss(torch.stack(log_probs), torch.tensor(lambdas))
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert result.figures["steps"] == len(lambdas)
    assert result.figures["elbo"] >= result.figures["pool_elbo"]


def test_noise_changes_some_visible_tokens_only(model):
    recipe = replace(RECIPE, order_noise=0.4, blocks_per_record=12)
    context, pool = pool_of(model, recipe, 2)
    kept = ordering.choose(pool, recipe)
    states = torch.cat([pool.trajectories[index].states_XL[:-1] for index in kept])
    noisy = ordering.lay_states(context, pool, kept, recipe, seeded_generator(1))
    noised = noisy.ids_T.view_as(states)
    is_changed_NL = noised != states
    assert 5 < is_changed_NL.sum() < 0.5 * (states != MASK).sum()
    assert not is_changed_NL[:, :2].any()
    assert not is_changed_NL[states == MASK].any()
    assert (noised[is_changed_NL] < SPECIAL[0]).all()
    # The wrong token is to be corrected: its slot's target is the text, with a weight.
    row_NL = is_changed_NL.roll(-1, dims=1).flatten()
    assert (noisy.weight_T[row_NL] > 0).all()
    assert (noisy.target_T[row_NL] == states.flatten()[is_changed_NL.flatten()]).all()


def test_tokens_outside_a_trimmed_vocabulary_do_not_count(model):
    record = text_record(5)
    known = torch.tensor(sorted({*record.ids_S[::2].tolist(), 510}))
    trimmed = replace(record, vocabulary_ids=known)
    _, pool = pool_of(model, RECIPE, 5, trimmed)
    starts = pool.noisy.start_T.view(-1, SIZE)[:, 0].tolist()
    path, start = pool.trajectories[2], starts[2]  # from left to right
    score = 0.0
    for slot in range(1, path.num_steps + 1):
        token = int(path.states_XL[-1, slot])
        if token in known.tolist():
            log_p_LV = log_p_alone(model, record, start, path.states_XL[slot - 1])
            kept_V = log_p_LV[slot, known].log_softmax(-1)
            score += float(kept_V[known.tolist().index(token)].detach())
    assert path.log_p == pytest.approx(score, abs=1e-3)
    result = STAGES["order"](model, [trimmed], RECIPE, 0, seeded_generator(5))
    assert result.loss.isfinite()


def test_gradients_reach_the_adapter_only():
    model = adapted_model()
    recipe = replace(RECIPE, kl_weight=0.5, off_path_weight=0.5, order_noise=0.2)
    records = [text_record(1), text_record(2, 30)]
    STAGES["order"](model, records, recipe, 0, seeded_generator(2)).loss.backward()
    names = with_gradient(model)
    assert "adapter.mask_embedding" in names
    assert all(name.startswith("adapter.") for name in names)


def test_a_record_without_text_has_no_loss(model):
    record = TrainingRecord(torch.tensor([508, 508]), 1, SPECIAL)
    assert STAGES["order"](model, [record], RECIPE, 0, seeded_generator(2)).loss == 0


def test_recipes_that_cannot_be():
    assert order().pool_size >= len(ORDERS)
    with pytest.raises(RecipeError, match="kept"):
        replace(order(), num_kept=6)
    assert CONFIG.vocab_size == MASK
