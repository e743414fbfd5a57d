"""The job of a lent GPU from end to end, on a CPU: packed, sent in parts, trained, brought back."""

import json
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from model.adapter import load_adapter
from model.config import NAMED
from model.format.vocabulary import read_vocabulary
from model.network import Transformer
from model.weights import load_model, open_source
from tests.tiny import tiny_vocabulary
from tests.unit.test_distributed import write_data
from training.data.shards import Shards
from training.gpu import job
from training.gpu.cargo import CargoError, pack_cargo, unpack_cargo
from training.gpu.cli import join_command
from training.gpu.parts import PartsError, join_parts, split
from training.gpu.trim import kept_ids, trim_gguf
from training.rates import record_operations
from training.recipes import RECIPES, debug

CONFIG = NAMED["debug"]
CPU = torch.device("cpu")


def write_gguf(path):
    """The debug model with the tiny vocabulary; its matrices are quantized where that is usual."""
    torch.manual_seed(3)
    model = Transformer(CONFIG)
    vocabulary = tiny_vocabulary()
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_uint32("qwen2.block_count", CONFIG.num_layers)
    writer.add_uint32("qwen2.embedding_length", CONFIG.width)
    writer.add_uint32("qwen2.feed_forward_length", CONFIG.ffn_width)
    writer.add_uint32("qwen2.attention.head_count", CONFIG.num_heads)
    writer.add_uint32("qwen2.attention.head_count_kv", CONFIG.num_kv_heads)
    writer.add_uint32("qwen2.context_length", CONFIG.max_positions)
    writer.add_float32("qwen2.rope.freq_base", CONFIG.rope_theta)
    writer.add_float32("qwen2.attention.layer_norm_rms_epsilon", CONFIG.norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types([3 if i in vocabulary.special_ids else 1 for i in range(512)])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    tensors = {
        "token_embd.weight": model.embedding.weight,
        "output.weight": model.head.weight,
        "output_norm.weight": model.norm.weight,
    }
    for index, block in enumerate(model.blocks):
        q, k, v = torch.split(block.attention.qkv.weight, block.attention.widths)
        bias = torch.split(block.attention.qkv.bias, block.attention.widths)
        gate, up = block.ffn.gate_up.weight.chunk(2)
        layer = {
            "attn_norm.weight": block.attention_norm.weight,
            "ffn_norm.weight": block.ffn_norm.weight,
            "attn_q.weight": q,
            "attn_k.weight": k,
            "attn_v.weight": v,
            "attn_q.bias": bias[0],
            "attn_k.bias": bias[1],
            "attn_v.bias": bias[2],
            "attn_output.weight": block.attention.out.weight,
            "ffn_gate.weight": gate,
            "ffn_up.weight": up,
            "ffn_down.weight": block.ffn.down.weight,
        }
        tensors |= {f"blk.{index}.{name}": tensor for name, tensor in layer.items()}
    for name, tensor in tensors.items():
        values = tensor.detach().numpy().astype(np.float32)
        if values.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(values, Kind.Q8_0), raw_dtype=Kind.Q8_0)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("weights") / "debug.gguf")


def test_parts_are_whole_again_or_refused(tmp_path):
    content = bytes(range(256)) * 5
    source = tmp_path / "whole.bin"
    source.write_bytes(content)
    parts = split(source, lambda number: tmp_path / "parts" / str(number), 500)
    assert [part.stat().st_size for part in parts] == [500, 500, 280]
    back = join_parts(tmp_path / "parts", "whole.bin", tmp_path / "back.bin")
    assert back.read_bytes() == content
    parts[1].write_bytes(bytes(500))
    with pytest.raises(PartsError, match="damaged"):
        join_parts(tmp_path / "parts", "whole.bin", tmp_path / "back.bin")
    parts[1].unlink()
    with pytest.raises(PartsError, match="lacks part 2 of 3"):
        join_parts(tmp_path / "parts", "whole.bin", tmp_path / "back.bin")
    with pytest.raises(PartsError, match="no parts"):
        join_parts(tmp_path / "parts", "other.bin", tmp_path / "back.bin")


def test_parts_replace_those_of_before(tmp_path):
    source = tmp_path / "whole.bin"
    for content in (b"a" * 900, b"b" * 300):
        source.write_bytes(content)
        split(source, lambda number: tmp_path / "parts", 200)
    back = join_parts(tmp_path / "parts", "whole.bin", tmp_path / "back.bin")
    assert back.read_bytes() == b"b" * 300


def test_a_trimmed_model_is_the_model_without_the_other_tokens(weights, tmp_path):
    ids = kept_ids(weights, np.array([300, 310, 4]))
    trim_gguf(weights, tmp_path / "trimmed.gguf", ids)
    whole = load_model(weights, dtype=torch.float32, device=CPU)
    trimmed = load_model(tmp_path / "trimmed.gguf", dtype=torch.float32, device=CPU)
    assert trimmed.config.vocab_size == len(ids) < CONFIG.vocab_size
    text = torch.tensor([[300, 97, 310, 4, 511]])
    renumbered = torch.from_numpy(np.searchsorted(ids, text.numpy()))
    assert torch.equal(trimmed(renumbered), whole(text)[..., torch.from_numpy(ids)])
    old, new = read_vocabulary(weights), read_vocabulary(tmp_path / "trimmed.gguf")
    assert new.tokens == tuple(old.tokens[id_] for id_ in ids)
    assert new.tokens[new.fim.middle] == old.tokens[old.fim.middle]
    assert len(new.special_ids) == len(old.special_ids)


def test_cargo_brings_the_same_records(weights, tmp_path):
    data = write_data(tmp_path / "data")
    told = pack_cargo(data, weights, tmp_path / "cargo", mib=1, data_mib=1, seed=0)
    cargo = unpack_cargo(tmp_path / "cargo", tmp_path / "work")
    vocabulary = read_vocabulary(cargo / "model.gguf")
    spelled = read_vocabulary(weights).tokens
    before = {
        (tuple(spelled[i] for i in record.tokens), record.target_start, record.kind)
        for record in map(Shards(data).__getitem__, range(200))
    }
    records = Shards(cargo / "data")
    after = {
        (tuple(vocabulary.tokens[i] for i in record.tokens), record.target_start, record.kind)
        for record in map(records.__getitem__, range(len(records)))
    }
    assert after == before
    assert told["num_records"] == 200
    assert [len(part) for part in records.split(0.3)] == [len(p) for p in Shards(data).split(0.3)]


def test_a_folder_does_not_travel(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(CargoError, match="GGUF"):
        pack_cargo(tmp_path, tmp_path / "model", tmp_path / "out", mib=1, data_mib=1, seed=0)


def small(name):
    recipe = RECIPES[name]

    def made():
        # A random base is no teacher, and four records vary less than two.
        whole = replace(recipe(), max_tokens=64, rank=4, alpha=8.0, kl_weight=0.0)
        return replace(whole, blocks_per_record=8, block_sizes=(4,)) if whole.block_sizes else whole

    return made


def test_a_job_goes_on_call_by_call_and_its_adapters_fit(weights, tmp_path, monkeypatch):
    for name in job.SHARES:
        if name in RECIPES:
            monkeypatch.setitem(job.RECIPES, name, small(name))
    monkeypatch.setattr(job, "CHECKPOINT_S", 1.0)
    monkeypatch.setitem(job.RECORDS_PER_STEP, "cpu", 4)
    monkeypatch.setattr(job, "PART_BYTES", 20_000)
    data = write_data(tmp_path / "data")
    pack_cargo(data, weights, tmp_path / "cargo", mib=1, data_mib=1, seed=0)
    steps = []
    for call in range(6):
        out = tmp_path / f"out-{call}"
        arguments = ["--parts", str(tmp_path / "cargo"), "--work", str(tmp_path / "work")]
        minutes = "0.5" if call else "0.04"  # the first call cannot come to the end
        arguments += ["--out", str(out), "--device", "cpu", "--minutes", minutes]
        job.main([*arguments, "--budget-minutes", "0.06"])
        lines = json.loads((out / "report.json").read_text())
        steps.append(sum(line["steps"] for line in lines))
        if len(lines) == len(job.SHARES) and lines[-1]["is_done"]:
            break
    assert lines[-1]["is_done"]
    assert steps == sorted(steps)
    assert len(steps) > 1, "nothing was left for a second call"
    assert {"accepted", "ended"} <= {key for line in lines for key in line["evaluated"]}
    join_command(parts=out, out=tmp_path / "back")
    config = open_source(weights).config
    adapter = load_adapter(tmp_path / "back" / "adapter.safetensors", config)
    assert adapter.layers[0].qkv.b.abs().sum() > 0
    assert load_adapter(tmp_path / "back" / "fim.safetensors", config, "merge")
    # What has been trained is what another job begins with.
    pack_cargo(
        data,
        weights,
        tmp_path / "again",
        mib=1,
        data_mib=1,
        seed=0,
        base_update=tmp_path / "back" / "fim.safetensors",
        start=tmp_path / "back" / "adapter.safetensors",
    )
    cargo = unpack_cargo(tmp_path / "again", tmp_path / "work-again")
    trimmed = open_source(cargo / "model.gguf").config
    start = load_adapter(cargo / "start.safetensors", trimmed)
    for one, other in zip(start.parameters(), adapter.parameters(), strict=True):
        assert torch.equal(one, other)


def test_operations_of_a_record():
    config = NAMED["qwen2.5-coder-0.5b"]
    recipe = replace(RECIPES["adapt"](), max_tokens=512, blocks_per_record=96, block_sizes=(8,))
    one = record_operations(config, recipe, [512])
    # 512 clean rows once and 768 noisy ones twice, of 2 · 358 million operations, and attention,
    # heads and updates on top.
    assert 1.467e12 < one < 1.3 * 1.467e12
    assert record_operations(config, recipe, [512, 9999]) == pytest.approx(one)
    assert record_operations(CONFIG, debug(), [64]) > 0
