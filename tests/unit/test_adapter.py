from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model import shipped
from model.adapter import (
    Adapter,
    AdapterConfig,
    AdapterError,
    fingerprint,
    load_adapter,
    load_update,
    save_adapter,
)
from model.config import NAMED
from model.network import KVCache, Transformer
from model.weights import load_model, save_model
from training.cli import app

CPU = torch.device("cpu")
CONFIG = NAMED["debug"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Transformer(CONFIG).eval().requires_grad_(False)


@pytest.fixture
def adapter(model):
    adapter = Adapter(CONFIG, AdapterConfig(rank=4, alpha=8.0)).requires_grad_(False)
    adapter.start_mask_at(model.embedding.weight)
    adapter.randomize()
    return adapter


IDS = torch.arange(3, 15)[None]


def test_ungated_rows_are_exactly_the_base(model, adapter):
    base = model(IDS)
    gate_BT = torch.zeros_like(IDS, dtype=torch.bool)
    model.adapter = adapter
    assert torch.equal(model(IDS, gate_BT=gate_BT), base)
    assert torch.equal(model(IDS), base)
    gate_BT[:, 7:] = True
    gated = model(IDS, gate_BT=gate_BT)
    assert torch.equal(gated[:, :7], base[:, :7])  # causal: they see no gated row
    assert not torch.allclose(gated[:, 7:], base[:, 7:])


def test_a_fresh_adapter_changes_nothing(model):
    base = model(IDS)
    model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0))
    assert torch.equal(model(IDS, gate_BT=torch.ones_like(IDS, dtype=torch.bool)), base)


def test_cached_context_never_depends_on_the_adapter(model, adapter):
    def context_kv():
        cache = KVCache.allocate(CONFIG, 32, dtype=torch.float32, device=CPU)
        model(IDS, cache=cache, rows=slice(0, 0))
        block_BT = torch.full((1, 4), CONFIG.mask_id)
        is_masked_BT = torch.ones_like(block_BT, dtype=torch.bool)
        model(block_BT, cache=cache, start=12, attention="canvas", gate_BT=is_masked_BT)
        return [kv[:, :, :12].clone() for kv in cache.keys + cache.values]

    plain = context_kv()
    model.adapter = adapter
    assert all(torch.equal(a, b) for a, b in zip(plain, context_kv(), strict=True))


def test_mask_has_an_embedding_but_no_logit(model, adapter):
    ids_BT = torch.full((1, 3), CONFIG.mask_id)
    without = model(ids_BT)
    assert without.shape[-1] == CONFIG.vocab_size
    model.adapter = adapter
    assert not torch.allclose(model(ids_BT), without)


def test_a_saved_adapter_is_the_same(model, adapter, tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(adapter, CONFIG, path)
    gate_BT = torch.ones_like(IDS, dtype=torch.bool)
    model.adapter = adapter
    expected = model(IDS, gate_BT=gate_BT)
    model.adapter = load_adapter(path, CONFIG)
    assert torch.equal(model(IDS, gate_BT=gate_BT), expected)


def test_merging_equals_an_update_on_every_row(model, adapter, tmp_path):
    save_model(model, tmp_path / "base")
    save_adapter(adapter, CONFIG, tmp_path / "update.safetensors", kind="merge")
    merged = load_model(
        tmp_path / "base",
        dtype=torch.float32,
        device=CPU,
        merge=tmp_path / "update.safetensors",
    )
    model.adapter = adapter
    expected = model(IDS, gate_BT=torch.ones_like(IDS, dtype=torch.bool))
    torch.testing.assert_close(merged(IDS), expected, atol=1e-4, rtol=0)


def test_files_that_do_not_fit_are_refused(adapter, tmp_path):
    path = tmp_path / "adapter.safetensors"

    def refused(words, model=CONFIG, kind="gated"):
        with pytest.raises(AdapterError, match=words):
            load_adapter(path, model, kind)

    refused("no adapter file")
    path.write_bytes(b"nonsense")
    refused("not a readable safetensors")
    save_file({"x": torch.zeros(1)}, path)
    refused("not an adapter of seed-lsp")
    save_adapter(adapter, CONFIG, path)
    refused("kind gated, not merge", kind="merge")
    refused("made for debug", model=NAMED["qwen2.5-coder-0.5b"])
    tensors = {name: tensor for name, tensor in adapter.state_dict().items() if "down" not in name}
    metadata = {"format": "seed-lsp-adapter", "format_version": "1", "kind": "gated"}
    save_file(tensors, path, {**metadata, "format_version": "9"})
    refused("adapter format 9")
    for rank in ("0", "-1", "x", "5", "99999999999999", "9" * 40):
        broken = {"rank": rank, "alpha": "8.0", "base_fingerprint": fingerprint(CONFIG)}
        save_file(adapter.state_dict(), path, metadata | broken)
        refused("not those of an adapter")


@pytest.mark.parametrize("seed", [None, 7])
def test_init_adapter_writes_what_the_model_loads(model, tmp_path, seed):
    save_model(model, tmp_path / "base")
    out = tmp_path / "adapter.safetensors"
    words = ["init-adapter", "--model", str(tmp_path / "base"), "--rank", "4", "--out", str(out)]
    app([*words, "--random", str(seed)] if seed else words, result_action="return_value")
    loaded = load_model(tmp_path / "base", dtype=torch.float32, device=CPU, adapter=out)
    assert loaded.adapter.config == AdapterConfig(rank=4, alpha=8.0)
    gate_BT = torch.ones_like(IDS, dtype=torch.bool)
    is_base = torch.equal(loaded(IDS, gate_BT=gate_BT), loaded(IDS))
    assert is_base == (seed is None)
    mean_D = model.embedding.weight.mean(0)
    assert 0 < (loaded.adapter.mask_embedding - mean_D).abs().mean() < 0.5


def update_of_the_base():
    update = Adapter(CONFIG, AdapterConfig(rank=3, alpha=6.0)).requires_grad_(False)
    update.randomize(0.1)
    return update


def test_a_file_of_8_bit_numbers_holds_nearly_the_same(tmp_path, model, adapter):
    adapter.config = AdapterConfig(4, 8.0, block_size=8)
    path = tmp_path / "small.safetensors"
    save_adapter(adapter, CONFIG, path, is_int8=True)
    again = load_adapter(path, CONFIG)
    assert again.config == adapter.config
    for name, tensor in adapter.named_parameters():
        other = again.get_parameter(name)
        assert (other - tensor).abs().max() <= tensor.abs().max() / 127
    assert load_update(path, CONFIG) is None


def test_an_adapter_brings_the_update_that_it_was_trained_over(tmp_path, model, adapter):
    save_model(model, tmp_path / "base")
    update = update_of_the_base()
    save_adapter(update, CONFIG, tmp_path / "fim.safetensors", "merge")
    save_adapter(adapter, CONFIG, tmp_path / "both.safetensors", update=update)

    def loaded(**files):
        return load_model(tmp_path / "base", dtype=torch.float32, device=CPU, **files)

    both = loaded(adapter=tmp_path / "both.safetensors")
    merged = loaded(merge=tmp_path / "fim.safetensors")
    assert torch.equal(both(IDS), merged(IDS))
    assert not torch.allclose(both(IDS), model(IDS))
    assert both.adapter is not None
    assert torch.equal(both.adapter.mask_embedding, adapter.mask_embedding)


def test_what_the_package_brings_is_chosen_by_the_models_name(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "known.safetensors").touch()
    assert shipped.choose_adapter("auto", "known") == tmp_path / "known.safetensors"
    assert shipped.choose_adapter("auto", "other/model") is None
    assert shipped.choose_adapter("auto", str(tmp_path / "known.gguf")) is None
    assert shipped.choose_adapter("none", "known") is None
    assert shipped.choose_adapter("my.safetensors", "known") == Path("my.safetensors")
