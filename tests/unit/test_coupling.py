"""Rows of a branch chosen one after the other, against the plain computation."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from model.adapter import Adapter, AdapterConfig, AdapterError, load_adapter, save_adapter
from model.config import NAMED
from model.coupling import NUM_CANDIDATES, Coupling, choose_coupled, read_candidates
from model.network import Transformer
from model.weights import save_model
from tests.stage_parts import adapted_model, text_record, with_gradient
from training.base_update import load_base_update
from training.export import export_adapter
from training.recipes import RecipeError, short
from training.stages import STAGES

CONFIG = NAMED["debug"]


def coupled_model(*, is_tied=False):
    torch.manual_seed(3)
    config = replace(CONFIG, is_tied=is_tied)
    model = Transformer(config).eval().requires_grad_(False)
    model.adapter = Adapter(config, AdapterConfig(4, 8.0, coupling_rank=6)).requires_grad_(False)
    model.adapter.start_mask_at(model.embedding.weight)
    model.adapter.randomize(0.3)
    return model


def states(num_rows):
    return torch.randn(num_rows, CONFIG.width, generator=torch.Generator().manual_seed(1))


def plainly(model, hidden_LD, first):
    """All logits of all rows, and of these the candidates."""
    token, chosen, probabilities = first, [], []
    for hidden_D in hidden_LD:
        logits_V = model.head(hidden_D)
        few_K = logits_V.topk(NUM_CANDIDATES).indices
        change_1D = model.adapter.coupling(hidden_D[None], model.embedding.weight[[token]])
        coupled_V = model.head(hidden_D + change_1D[0])
        share_K = coupled_V[few_K].softmax(-1) * logits_V.softmax(-1)[few_K].sum()
        token = int(few_K[share_K.argmax()])
        chosen.append(token)
        probabilities.append(float(share_K.max()))
    return chosen, probabilities


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_choices_are_those_of_corrected_states(is_tied, num_rows):
    model, hidden_LD = coupled_model(is_tied=is_tied), states(num_rows)
    tokens, probabilities = model.couple(read_candidates(hidden_LD, model.head(hidden_LD)), 9)
    expected, shares = plainly(model, hidden_LD, 9)
    assert tokens == expected
    assert probabilities == pytest.approx(shares, rel=1e-4)
    if num_rows == 5 and not is_tied:  # whose logits are so large that little moves them
        assert tokens != model.head(hidden_LD).argmax(-1).tolist()
        others = plainly(model, hidden_LD, 10)[1]
        assert probabilities[0] != pytest.approx(others[0], rel=1e-4), "the token before counts"


def test_a_fresh_coupling_changes_nothing():
    model, hidden_LD = coupled_model(), states(4)
    candidates = read_candidates(hidden_LD, model.head(hidden_LD))
    fresh = Coupling(CONFIG.width, 6)
    tokens, probabilities = choose_coupled(
        fresh, candidates, 0, lambda ids_N: model.embedding.weight[ids_N]
    )
    best = model.head(hidden_LD).softmax(-1).max(-1)
    assert tokens == best.indices.tolist()
    assert probabilities == pytest.approx(best.values.tolist())


def test_it_travels_in_the_adapters_file(tmp_path):
    model = coupled_model()
    path = tmp_path / "adapter.safetensors"
    save_adapter(model.adapter, CONFIG, path)
    again = load_adapter(path, CONFIG)
    assert again.config == model.adapter.config
    assert torch.equal(again.coupling.back, model.adapter.coupling.back)
    save_adapter(model.adapter, CONFIG, path, is_int8=True)
    token_RD = states(2)
    torch.testing.assert_close(
        load_adapter(path, CONFIG).coupling(states(2), token_RD),
        model.adapter.coupling(states(2), token_RD),
        atol=0.3,
        rtol=0.03,
    )


def test_an_adapter_brings_the_update_for_the_next_one(tmp_path):
    """What `train --start SHIPPED` makes is exported with the update that SHIPPED came with."""
    save_model(coupled_model(), tmp_path / "base")
    update = Adapter(CONFIG, AdapterConfig(3, 6.0)).requires_grad_(False)
    update.randomize(0.1)
    shipped, made, out = (tmp_path / name for name in ("shipped", "made", "out"))
    save_adapter(coupled_model().adapter, CONFIG, shipped, update=update, is_int8=True)
    save_adapter(coupled_model().adapter, CONFIG, made)
    export_adapter(tmp_path / "base", made, [shipped], out)
    ours, theirs = load_file(out), load_file(shipped)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(AdapterError, match="brings no update"):
        export_adapter(tmp_path / "base", made, [made], out)


def test_updates_of_different_alpha_have_a_mean(tmp_path):
    """What is added is the mean of what each adds, where they share one of their two matrices."""
    save_model(coupled_model(), tmp_path / "base")
    update = Adapter(CONFIG, AdapterConfig(3, 6.0)).requires_grad_(False)
    update.randomize(0.1)
    plain, shipped, made, out = (tmp_path / name for name in ("plain", "shipped", "made", "out"))
    save_adapter(update, CONFIG, plain, "merge")
    halved = copy.deepcopy(update)
    halved.config = replace(update.config, alpha=3.0)
    save_adapter(coupled_model().adapter, CONFIG, shipped, update=halved)
    save_adapter(coupled_model().adapter, CONFIG, made)
    whole, half = load_base_update(plain, CONFIG), load_base_update(shipped, CONFIG, 6.0)
    assert half.config == whole.config
    torch.testing.assert_close(half.layers[0].qkv.delta(), whole.layers[0].qkv.delta() / 2)
    export_adapter(tmp_path / "base", made, [shipped, plain], out)
    mean = load_base_update(out, CONFIG, 6.0).layers[1].down.delta()
    expected = 0.75 * whole.layers[1].down.delta()
    assert (mean - expected).norm() < 0.02 * expected.norm()  # eight bits


def stage_recipe(**fields):
    return replace(short(), rank=4, alpha=8.0, blocks_per_record=8, vocabulary_size=None, **fields)


def test_it_learns_along_with_the_adapter():
    recipe = stage_recipe(coupling_rank=6)
    model = adapted_model()
    model.adapter.coupling = Coupling(CONFIG.width, 6)
    generator = torch.Generator().manual_seed(0)
    result = STAGES["adapt"](model, [text_record(1)], recipe, 0, generator)
    # B is zero yet, so both halves of the loss are one.
    assert result.figures["coupled_kl"] == pytest.approx(result.figures["kl"])
    result.loss.backward()
    assert "adapter.coupling.back" in with_gradient(model)
    assert any(name.startswith("adapter.layers") for name in with_gradient(model))
    assert not any(
        name.startswith(("embedding", "blocks", "head")) for name in with_gradient(model)
    )
    plain = STAGES["adapt"](
        adapted_model(),
        [text_record(1)],
        stage_recipe(coupling_rank=0),
        0,
        torch.Generator().manual_seed(0),
    )
    assert float(plain.loss.detach()) == pytest.approx(float(result.loss.detach()), rel=1e-5)


def test_it_learns_what_the_token_before_says():
    """Text in which each token follows from the one before and from nothing else."""
    torch.manual_seed(0)
    hidden_RD = torch.randn(1, CONFIG.width).expand(64, -1)
    embedding = torch.nn.Embedding(64, CONFIG.width)
    head = torch.randn(64, CONFIG.width) / CONFIG.width**0.5
    coupling, before = Coupling(CONFIG.width, 32), torch.arange(64)
    optimizer = torch.optim.AdamW(coupling.parameters(), lr=3e-3)
    for _ in range(150):
        logits = (hidden_RD + coupling(hidden_RD, embedding(before).detach())) @ head.T
        loss = F.cross_entropy(logits, (before * 7 + 3) % 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("stage", ["fim", "edit", "order", "onpolicy"])
def test_other_stages_refuse_to_train_one(stage):
    with pytest.raises(RecipeError, match="coupling"):
        replace(short(), stage=stage, pool_size=2)
