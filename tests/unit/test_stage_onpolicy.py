"""Stage `onpolicy`: what trajectories are drawn, what they are worth, and where that leads."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.noise import seeded_generator
from tests.stage_parts import (
    MASK,
    SPECIAL,
    adapted_model,
    counting_record,
    text_record,
    with_gradient,
)
from training.loss import row_likelihoods, unmask_log_probs
from training.recipes import RecipeError, debug, onpolicy
from training.stages import STAGES, TrainingRecord
from training.stages.context import read_context, with_tokens
from training.stages.onpolicy import log_probs_of
from training.stages.reward import CodeRecord, judge
from training.stages.trajectory import reveal_drawn, unmask

SIZE = 6
RECIPE = replace(
    debug(),
    stage="onpolicy",
    gates_visible=True,
    blocks_per_record=3,
    block_sizes=(SIZE,),
    pool_size=3,
    kl_weight=0.0,
    agree_weight=1.0,
)


@pytest.fixture(scope="module")
def model():
    return adapted_model()


def paths_of(model, recipe, seed, record=None):
    context = read_context(model, [record or text_record(seed)])
    generator = seeded_generator(seed)
    noisy = context.blocks(
        recipe.blocks_per_record, recipe.block_size(0), generator, repeats=recipe.pool_size
    )
    decide = reveal_drawn(context, recipe.temperature, generator)
    return context, noisy, unmask(context, noisy, decide, gates_visible=recipe.gates_visible)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([0.0, 0.7]))
def test_states_differ_by_what_was_revealed(model, seed, temperature):
    _, noisy, paths = paths_of(model, replace(RECIPE, temperature=temperature), seed)
    has_text_NL = (noisy.target_T >= 0).view(-1, SIZE)[:, :-1]
    for path, has_text_L in zip(paths, has_text_NL, strict=True):
        assert (path.states_XL[0, 1:] == MASK).all()
        assert torch.equal(path.states_XL[-1, 1:] != MASK, has_text_L)
        for before_L, after_L in zip(path.states_XL[:-1], path.states_XL[1:], strict=True):
            is_revealed_L = before_L != after_L
            assert is_revealed_L.any()
            assert (before_L[is_revealed_L] == MASK).all()
            assert (after_L[is_revealed_L] != MASK).all()


@pytest.mark.parametrize("num_open", [1, 2, 4])
def test_what_a_step_reveals_is_a_distribution(num_open):
    confidence_L = torch.tensor([0.3, 0.9, 0.2, 0.6])
    is_open_L = torch.arange(4) < num_open
    surest = int(confidence_L.masked_fill(~is_open_L, 0).argmax())
    total = 0.0
    for choice in product([False, True], repeat=num_open):
        if not choice[surest]:
            continue
        is_revealed_L = torch.zeros(4, dtype=torch.bool)
        is_revealed_L[:num_open] = torch.tensor(choice)
        expected = 1.0
        for slot in range(num_open):
            if slot != surest:
                p = float(confidence_L[slot])
                expected *= p if choice[slot] else 1 - p
        log_p = unmask_log_probs(confidence_L.log()[None], is_open_L[None], is_revealed_L[None])
        assert log_p.exp().item() == pytest.approx(expected, rel=1e-5)
        total += log_p.exp().item()
    assert total == pytest.approx(1.0)


def test_a_slot_that_is_certain_has_a_finite_gradient():
    log_confidence = torch.tensor([[-1e-9, 0.0, -0.5]], requires_grad=True)
    is_open = torch.ones(1, 3, dtype=torch.bool)
    is_revealed = torch.tensor([[False, False, True]])
    log_p = unmask_log_probs(log_confidence, is_open, is_revealed)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert log_confidence.grad.isfinite().all()


def test_draws_follow_that_distribution(model):
    context = read_context(model, [text_record(1)])
    logits_LV = torch.zeros(3, 512)
    for slot, p in enumerate((0.9, 0.3, 0.6)):
        logits_LV[slot, 7] = math.log(511 * p / (1 - p))
    decide = reveal_drawn(context, 0.0, seeded_generator(4))
    count_L = torch.zeros(3)
    for _ in range(2000):
        is_revealed_L, token_L = decide(0, logits_LV, torch.tensor([True] * 3))
        count_L += is_revealed_L
        assert (token_L == 7).all()
    assert (count_L / 2000).tolist() == pytest.approx([1.0, 0.3, 0.6], abs=0.04)
    # With a temperature, tokens are drawn, too.
    decide = reveal_drawn(context, 1.0, seeded_generator(4))
    drawn = [int(decide(0, logits_LV, torch.tensor([True] * 3))[1][1]) for _ in range(1000)]
    assert drawn.count(7) / 1000 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_likelihoods_and_their_gradients(temperature):
    generator = torch.Generator().manual_seed(2)
    hidden_RD = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    head_VD = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    targets_R = torch.randint(11, (7,), generator=generator)
    weights_R2 = torch.randn(7, 2, generator=generator, dtype=torch.float64)

    def gradient(values):
        loss = sum((value * weights_R2[:, i]).sum() for i, value in enumerate(values))
        return torch.autograd.grad(loss, hidden_RD)[0]

    logits_RV = hidden_RD @ head_VD.T
    soft_RV = (logits_RV / temperature).log_softmax(-1)
    naive = (
        logits_RV.log_softmax(-1).max(-1).values,
        soft_RV[torch.arange(7), targets_R],
    )
    ours = row_likelihoods(hidden_RD, head_VD, targets_R, temperature=temperature, chunk=3)
    for a, b in zip(naive, ours, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(gradient(naive), gradient(ours))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_log_probs_are_those_of_each_step_alone(model, temperature):
    recipe = replace(RECIPE, temperature=temperature)
    context, noisy, paths = paths_of(model, recipe, 6)
    record, starts = context.cuts[0], noisy.start_T.view(-1, SIZE)[:, 0].tolist()
    log_probs = log_probs_of(context, noisy, paths, recipe)
    for path, start, ours in zip(paths, starts, log_probs, strict=True):
        assert len(ours) == path.num_steps
        for index, (before_L, after_L) in enumerate(
            zip(path.states_XL[:-1], path.states_XL[1:], strict=True)
        ):
            ids = torch.cat([record.ids_S[:start], before_L])[None]
            mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
            mask[start + 1 :, start:] = True
            gate = torch.arange(ids.shape[1])[None] > start
            logits_LV = model(ids, attention=mask, gate_BT=gate)[0, start - 1 : -1].detach()
            p_L = logits_LV.softmax(-1).max(-1).values
            is_open_L = (before_L == MASK) & (path.states_XL[-1] != MASK)
            surest = int(p_L.masked_fill(~is_open_L, 0).argmax())
            expected = 0.0
            for slot in is_open_L.nonzero()[:, 0].tolist():
                is_revealed = before_L[slot] != after_L[slot]
                if slot != surest:
                    expected += math.log(p_L[slot] if is_revealed else 1 - p_L[slot])
                if is_revealed and temperature:
                    soft_V = (logits_LV[slot] / temperature).log_softmax(-1)
                    expected += float(soft_V[after_L[slot]])
            assert ours[index].item() == pytest.approx(expected, abs=1e-3)


def test_the_verifier_counts_what_the_base_would_have_written(model):
    record = text_record(4)
    recipe = replace(RECIPE, blocks_per_record=2, pool_size=2)
    context, noisy, _ = paths_of(model, recipe, 4, record)
    ids_NL = noisy.ids_T.view(4, SIZE).clone()
    num_N = [int(n) + 1 for n in (noisy.target_T >= 0).view(4, SIZE)[:, :-1].sum(1)]
    for block, start in enumerate(noisy.start_T.view(4, SIZE)[:, 0].tolist()):
        tokens = record.ids_S[: start + 1].tolist()
        for _ in range(num_N[block] - 1):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        ids_NL[block, : num_N[block]] = torch.tensor(tokens[start:])
    whole = judge(context, with_tokens(noisy, ids_NL, MASK), recipe)
    assert whole.accepted == [num - 1 for num in num_N]
    assert whole.values == [1.0] * 4
    # One wrong token, and what is right behind it counts no more.
    ids_NL[0, 2] = (ids_NL[0, 2] + 1) % 500
    broken = judge(context, with_tokens(noisy, ids_NL, MASK), recipe)
    assert broken.accepted == [1, *whole.accepted[1:]]
    assert broken.values[0] == pytest.approx(1 / (num_N[0] - 1))


def decode(ids):
    return "".join(map(chr, ids))


def code_record(text):
    ids = torch.tensor([508, *map(ord, text), 510])
    return CodeRecord(ids, 1, SPECIAL, decode=decode)


def test_the_verifier_reads_code(model):
    text = "x = f(1)\ny = 2\n"
    recipe = replace(RECIPE, syntax_weight=0.5, agree_weight=0.0, blocks_per_record=8, pool_size=2)
    context, noisy, _ = paths_of(model, recipe, 1, code_record(text))
    starts = noisy.start_T.view(-1, SIZE)[:, 0].tolist()
    own_NL = noisy.ids_T.view(-1, SIZE).clone()
    for block, start in enumerate(starts):
        own = context.cuts[0].ids_S[start : start + SIZE]
        own_NL[block, : len(own)] = own
    open_NL = own_NL.clone()
    open_NL[:, 1] = ord("(")  # one that nothing closes

    rewards = judge(context, with_tokens(noisy, own_NL, MASK), recipe)
    assert rewards.parses == [True] * len(starts)
    assert rewards.values == [0.5] * len(starts)
    rewards = judge(context, with_tokens(noisy, open_NL, MASK), recipe)
    # Over "(" it changes nothing, and a token that ends the record is no text.
    is_same_N = (open_NL == own_NL).all(1).tolist()
    assert sum(rewards.parses) <= sum(is_same_N)
    assert rewards.values == [0.5 * parses for parses in rewards.parses]
    with pytest.raises(RecipeError, match="cannot be read as code"):
        STAGES["onpolicy"](model, [text_record(1)], recipe, 0, seeded_generator(1))


@pytest.mark.parametrize("gates_visible", [True, False])
def test_gradients_reach_the_adapter_only(gates_visible):
    model = adapted_model()
    recipe = replace(
        RECIPE,
        gates_visible=gates_visible,
        certainty_weight=0.1,
        anchor_weight=0.5,
        off_path_weight=0.5,
        temperature=0.5,
    )
    records = [text_record(1), text_record(2, 30)]
    result = STAGES["onpolicy"](model, records, recipe, 0, seeded_generator(2))
    result.loss.backward()
    assert result.figures["trajectories"] == 18
    names = with_gradient(model)
    assert "adapter.mask_embedding" in names
    assert all(name.startswith("adapter.") for name in names)


def test_a_record_without_text_has_no_loss(model):
    record = TrainingRecord(torch.tensor([508, 508]), 1, SPECIAL)
    assert STAGES["onpolicy"](model, [record], RECIPE, 0, seeded_generator(2)).loss == 0


def test_it_leads_to_fewer_steps():
    """With nothing to lose, a block is soon revealed in fewer steps."""
    model = adapted_model(scale=0.0)
    with torch.no_grad():
        model.head.weight.mul_(5)  # a network that is never sure has one way only
    recipe = replace(RECIPE, agree_weight=0.0, step_weight=4.0, pool_size=4, blocks_per_record=6)
    optimizer = torch.optim.AdamW(model.adapter.parameters(), lr=2e-3, weight_decay=0.0)
    steps = []
    for step in range(25):
        records = [counting_record(step)]
        result = STAGES["onpolicy"](model, records, recipe, 0, seeded_generator(3, step))
        steps.append(result.figures["steps"] / result.figures["trajectories"])
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(steps[-5:]) < 0.7 * sum(steps[:3]) * 5 / 3


def test_recipes_that_cannot_be():
    with pytest.raises(RecipeError, match="compared with others"):
        replace(onpolicy(), pool_size=1)
