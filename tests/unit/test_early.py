"""Rows that leave early: the network's side, the file, the fit, and what training does."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from model.adapter import (
    Adapter,
    AdapterConfig,
    AdapterError,
    load_adapter,
    load_early,
    load_update,
    save_adapter,
)
from model.config import NAMED
from model.early import EarlyKV
from model.network import KVCache, Transformer, first_rows
from model.weights import StoredWeights, load_model, save_model
from tests.stage_parts import text_record, with_gradient
from training.early import SteeredEarly
from training.export import export_adapter
from training.held_out import held_out_figures
from training.recipes import Recipe, RecipeError, early
from training.stages import STAGES
from training.stages.context import read_context
from training.stages.early import read_behind, read_in_full
from training.train import Run, train

CONFIG = replace(NAMED["debug"], num_layers=5)
LAYER = 2
CPU = torch.device("cpu")
RECIPE = replace(
    early(), num_steps=6, records_per_step=2, num_fitted=8, early_layer=LAYER, warmup_steps=1
)
RECIPE = replace(RECIPE, vocabulary_size=None)


def network(seed=3):
    torch.manual_seed(seed)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    for block in model.blocks:
        block.attention_norm.weight.uniform_(0.5, 1.5)
    return model


def random_map(model):
    made = EarlyKV(model.config, LAYER).requires_grad_(False)
    made.weight.normal_(std=0.1)
    made.bias.normal_()
    return made


def linear_network():
    """Layers from `LAYER` on add nothing, so their K/V are linear in what that layer gets."""
    model = network()
    for block in model.blocks[LAYER:]:
        block.attention.out.weight.zero_()
        block.ffn.down.weight.zero_()
    return model


def ids(num_tokens=40, seed=1):
    return torch.randint(0, 500, (num_tokens,), generator=torch.Generator().manual_seed(seed))


def cache(num_positions=60):
    return KVCache.allocate(CONFIG, num_positions, dtype=torch.float32, device=CPU)


@pytest.mark.parametrize("layer", [-1, 0, CONFIG.num_layers - 1, CONFIG.num_layers])
def test_rows_leave_between_layers(layer):
    with pytest.raises(ValueError, match="cannot leave"):
        EarlyKV(CONFIG, layer)


def test_who_leaves_has_made_keys_and_values_and_all_others_their_own():
    model, full, part = network(), cache(), cache()
    model.early = random_map(model)
    logits = model(ids()[None], cache=full)
    early_logits = model(ids()[None], cache=part, num_early=30)
    assert not torch.allclose(logits[0, 30:], early_logits[0, 30:], atol=1e-3)
    normed = read_in_full(model, ids(), LAYER).normed_SD
    made = model.early(normed[None, :30])
    for layer in range(CONFIG.num_layers):
        same_keys, same_values = full.keys[layer], full.values[layer]
        if layer <= LAYER - 1:
            assert torch.equal(part.keys[layer], same_keys)
            assert torch.equal(part.values[layer], same_values)
            continue
        assert torch.equal(part.keys[layer][:, :, 0], same_keys[:, :, 0])  # the first position
        assert torch.equal(part.values[layer][:, :, 0], same_values[:, :, 0])
        torch.testing.assert_close(part.values[layer][:, :, 1:30], made[layer - LAYER][1][:, :, 1:])
    # Behind a cache no row is at position 0.
    again = cache()
    model(ids()[None, :10], cache=again, num_early=10, rows=slice(0, 0))
    model(ids()[None, 10:], cache=again, start=10, num_early=20)
    for one, other in zip(again.keys + again.values, part.keys + part.values, strict=True):
        torch.testing.assert_close(one[:, :, :40], other[:, :, :40], atol=1e-5, rtol=1e-4)


def test_without_a_map_nobody_leaves():
    model = network()
    assert torch.equal(model(ids()[None], num_early=30), model(ids()[None]))


def test_a_fit_of_what_is_linear_changes_nothing():
    model = linear_network()
    steered = SteeredEarly(model, LAYER)
    steered.fit(model, [ids(60, seed) for seed in range(2, 14)])
    model.early = steered.finished(model)
    expected, actual = model(ids()[None]), model(ids()[None], num_early=30)
    # The norms of the layers differ in weights only, but for the ridge.
    torch.testing.assert_close(actual[0, 30:], expected[0, 30:], atol=2e-2, rtol=0)
    full, part = cache(), cache()
    model(ids()[None], cache=full)
    model(ids()[None], cache=part, num_early=30)
    torch.testing.assert_close(part.keys[LAYER], full.keys[LAYER])


@pytest.mark.parametrize("num_records", [1, 2])
def test_stages_read_prompts_as_the_sampler_does(num_records):
    model = network()
    model.early = random_map(model)
    cuts = [text_record(index, length=30 + 4 * index) for index in range(2)]
    context = read_context(model, cuts[:num_records])
    begin = 0
    for cut in cuts[:num_records]:
        alone, end = cache(), begin + len(cut.ids_S)
        hidden_BSD = model.hidden(
            cut.ids_S[None], cache=alone, is_early_T=first_rows(cut.ids_S[None], cut.target_start)
        )
        torch.testing.assert_close(context.hidden_SD[begin:end], hidden_BSD[0])
        pairs = zip(
            context.cache.keys + context.cache.values, alone.keys + alone.values, strict=True
        )
        for packed, one in pairs:
            torch.testing.assert_close(packed[:, :, begin:end], one[:, :, : end - begin])
        begin = end


def test_training_reads_behind_a_seam_what_the_network_reads():
    model = network()
    model.early = random_map(model)
    read = read_in_full(model, ids(), LAYER)
    expected = model(ids()[None, :39], num_early=25)
    states = read_behind(model, model.early, read, 25, 39)
    torch.testing.assert_close(model.head(states), expected[0, 25:], atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_change_of_the_map_only():
    model = network()
    model.early = SteeredEarly(model, LAYER)
    model.early.fit(model, [ids(60, seed) for seed in range(2, 10)])
    record = text_record(4)
    result = STAGES["early"](model, [record], RECIPE, 0, torch.Generator().manual_seed(0))
    result.loss.backward()
    assert with_gradient(model) == {"early.change"}
    own = 2 * CONFIG.num_kv_heads * CONFIG.head_dim
    assert not model.early.change.grad[:own].any()  # the layer's own are exact
    assert model.early.change.grad[own:].any()
    assert result.figures["rows"] > 0


def test_records_without_room_for_a_seam_count_nothing():
    model = network()
    model.early = SteeredEarly(model, LAYER)
    short = text_record(4, length=12)
    result = STAGES["early"](model, [short], RECIPE, 0, torch.Generator().manual_seed(0))
    assert float(result.loss) == 0.0
    assert not result.loss.requires_grad


@pytest.fixture
def started(tmp_path):
    """Folder of a network, file of an adapter with an update."""
    model = network()
    save_model(model, tmp_path / "model")
    adapter = Adapter(CONFIG, AdapterConfig(4, 8.0)).requires_grad_(False)
    adapter.randomize(0.3)
    path = tmp_path / "start.safetensors"
    save_adapter(adapter, CONFIG, path, update=copy.deepcopy(adapter))
    return tmp_path / "model", path


class Records:
    def draw(self, index):
        return text_record(100 + index)


def run(folder, started, recipe=RECIPE, **fields):
    model = load_model(started[0], dtype=torch.float32, device=CPU, adapter=started[1])
    records = [text_record(seed) for seed in range(3)]
    told = Run(folder, start=started[1], evaluate=held_out_figures(recipe, records), **fields)
    return train(model, recipe, Records(), told, lambda _step, _figures: None)


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_lowers_what_early_rows_cost_and_its_file_brings_all(started, tmp_path):
    recipe = replace(RECIPE, num_steps=40, peak_lr=2e-2)
    path = run(tmp_path / "run", started, recipe)
    lines = (tmp_path / "run/evaluations.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["early_kl"] < 0.97 * first["early_kl"]
    assert load_early(path, CONFIG).layer == LAYER
    assert load_update(path, CONFIG) is not None
    assert load_adapter(path, CONFIG).config == load_adapter(started[1], CONFIG).config


def test_a_run_that_was_stopped_goes_on_the_same(started, tmp_path):
    whole = run(tmp_path / "whole", started)
    for _ in range(3):
        parts = run(tmp_path / "parts", started, stop_after=2)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"))
    one, other = load_early(whole, CONFIG), load_early(parts, CONFIG)
    torch.testing.assert_close(one.weight, other.weight)


def test_a_run_needs_an_adapter_and_a_layer(started, tmp_path):
    model = network()
    with pytest.raises(RecipeError, match="--start"):
        train(model, RECIPE, Records(), Run(tmp_path / "run"), lambda _step, _figures: None)
    with pytest.raises(RecipeError, match="cannot leave"):
        run(tmp_path / "run", started, replace(RECIPE, early_layer=4))
    with pytest.raises(RecipeError, match="fitted"):
        Recipe("x", "early", "gated", 1, 1, 64)


def test_a_map_travels_in_the_adapters_file(started, tmp_path):
    path = run(tmp_path / "run", started)
    exported = tmp_path / "exported.safetensors"
    export_adapter(started[0], path, [path], exported)
    one, other = load_early(path, CONFIG), load_early(exported, CONFIG)
    assert torch.equal(one.bias, other.bias)  # biases of keys are large: they are not rounded
    assert (one.weight - other.weight).abs().max() <= one.weight.abs().max() / 127
    loaded = load_model(started[0], dtype=torch.float32, device=CPU, adapter=exported)
    stored = StoredWeights(started[0], adapter=exported).read_early()
    assert torch.equal(loaded.early.weight, stored.weight)
    assert StoredWeights(started[0]).read_early() is None
    assert load_early(started[1], CONFIG) is None
    # An adapter that was trained on has lost it, the update that it was fitted to brings it.
    export_adapter(started[0], started[1], [path], exported)
    assert load_early(exported, CONFIG) is not None
    # To half of an update it was not fitted.
    export_adapter(started[0], path, [path], exported, update_share=0.5)
    assert load_early(exported, CONFIG) is None
    # Unless that is what is wanted.
    export_adapter(started[0], path, [path, path], exported, early=path)
    assert load_early(exported, CONFIG) is not None
    with pytest.raises(AdapterError, match="no map"):
        export_adapter(started[0], path, [path], exported, early=started[1])


def test_a_file_whose_map_does_not_fit_is_refused(started, tmp_path):
    path = tmp_path / "bad.safetensors"
    adapter = load_adapter(started[1], CONFIG)
    wrong = EarlyKV(replace(CONFIG, num_layers=6), LAYER)
    save_adapter(adapter, CONFIG, path, early=wrong)
    with pytest.raises(AdapterError, match="not those of an adapter"):
        load_early(path, CONFIG)
