"""GGUF files written with the gguf library, and everything that is not one."""

import contextlib
import json

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file

from model.config import NAMED
from model.format.gguf_file import GGUFError, read_head
from model.network import Transformer
from model.weights import WeightsError, load_model, save_model

CPU = torch.device("cpu")
WIDTH, FFN, VOCAB, HEADS, KV_HEADS = 256, 512, 300, 8, 2
"""Multiples of 256, the block size of the K-quants."""
WRITABLE = ["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_1", "Q4_0"]
K_QUANTS = ["Q6_K", "Q5_K", "Q4_K"]


def tensors(architecture):
    random = np.random.default_rng(0)
    kv_width = WIDTH // HEADS * KV_HEADS
    shapes = {
        "token_embd.weight": (VOCAB, WIDTH),
        "output.weight": (VOCAB, WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(2):
        prefix = f"blk.{layer}."
        shapes |= {
            prefix + "attn_norm.weight": (WIDTH,),
            prefix + "ffn_norm.weight": (WIDTH,),
            prefix + "attn_q.weight": (WIDTH, WIDTH),
            prefix + "attn_k.weight": (kv_width, WIDTH),
            prefix + "attn_v.weight": (kv_width, WIDTH),
            prefix + "attn_output.weight": (WIDTH, WIDTH),
            prefix + "ffn_gate.weight": (FFN, WIDTH),
            prefix + "ffn_up.weight": (FFN, WIDTH),
            prefix + "ffn_down.weight": (WIDTH, FFN),
        }
        if architecture == "qwen2":
            shapes |= {
                prefix + "attn_q.bias": (WIDTH,),
                prefix + "attn_k.bias": (kv_width,),
                prefix + "attn_v.bias": (kv_width,),
            }
    return {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def random_blocks(values, kind):
    """Valid K-quant blocks: random bytes, with scales that are finite."""
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(1).integers(
        0, 256, (len(values), values.shape[1] // block_size, block_bytes), dtype=np.uint8
    )
    scales = np.full((*raw.shape[:2], 2), 0.001, np.float16).view(np.uint8)
    if kind == Kind.Q6_K:
        raw[..., -2:] = scales[..., :2]
    else:
        raw[..., :4] = scales
    return raw.reshape(len(values), -1)


def write(path, architecture, values, kind_name, **extra):
    kind = Kind[kind_name]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    for key, value in extra.items():
        writer.add_string(key.replace("__", "."), value)
    expected = {}
    for name, value in values.items():
        if value.ndim == 1 or kind == Kind.F32:
            writer.add_tensor(name, value)
            expected[name] = value
            continue
        raw = (
            random_blocks(value, kind)
            if kind_name in K_QUANTS
            else gguf.quants.quantize(value, kind)
        )
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = gguf.quants.dequantize(raw, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def unpermute(weight):
    """llama.cpp's converter interleaves the halves of each head; this is its inverse."""
    head_dim = WIDTH // HEADS
    return (
        weight.reshape(-1, head_dim // 2, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
    )


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("kind", WRITABLE + K_QUANTS)
def test_every_type_of_both_families(tmp_path, architecture, kind):
    path = tmp_path / "model.gguf"
    expected = write(path, architecture, tensors(architecture), kind)
    model = load_model(path, dtype=torch.float32, device=CPU)
    q, k = expected["blk.1.attn_q.weight"], expected["blk.1.attn_k.weight"]
    if architecture == "llama":
        q, k = unpermute(q), unpermute(k)
    block = model.blocks[1]
    fused = np.concatenate([q, k, expected["blk.1.attn_v.weight"]])
    np.testing.assert_array_equal(block.attention.qkv.weight.numpy(), fused)
    np.testing.assert_array_equal(block.ffn.down.weight.numpy(), expected["blk.1.ffn_down.weight"])
    np.testing.assert_array_equal(
        block.ffn.gate_up.weight.numpy(),
        np.concatenate([expected["blk.1.ffn_gate.weight"], expected["blk.1.ffn_up.weight"]]),
    )
    np.testing.assert_array_equal(model.norm.weight.numpy(), expected["output_norm.weight"])
    if architecture == "qwen2":
        biases = [expected[f"blk.1.attn_{letter}.bias"] for letter in "qkv"]
        np.testing.assert_array_equal(block.attention.qkv.bias.numpy(), np.concatenate(biases))
    if kind not in K_QUANTS:  # there the random blocks make both matrices the same
        assert not model.config.is_tied
        np.testing.assert_array_equal(model.head.weight.numpy(), expected["output.weight"])
    assert torch.isfinite(model(torch.arange(20)[None])).all()


def test_a_tied_matrix_at_two_precisions_is_one(tmp_path):
    values = tensors("qwen2")
    coarse = gguf.quants.quantize(values["output.weight"], Kind.Q4_0)
    values["token_embd.weight"] = gguf.quants.dequantize(coarse, Kind.Q4_0)
    path = tmp_path / "model.gguf"
    write(path, "qwen2", values, "F32")
    model = load_model(path, dtype=torch.float32, device=CPU)
    assert model.config.is_tied
    assert model.head.weight.data_ptr() == model.embedding.weight.data_ptr()
    np.testing.assert_array_equal(model.embedding.weight.numpy(), values["output.weight"])


def test_a_missing_head_is_the_embedding(tmp_path):
    values = tensors("llama")
    del values["output.weight"]
    write(tmp_path / "model.gguf", "llama", values, "F32")
    assert load_model(tmp_path / "model.gguf", dtype=torch.float32, device=CPU).config.is_tied


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.gguf"
    write(path, "qwen2", tensors("qwen2"), "Q8_0")
    return path


def refused(path, words):
    with pytest.raises(WeightsError, match=words) as caught:
        load_model(path, dtype=torch.float32, device=CPU)
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_in_one_sentence(good, tmp_path):
    content = good.read_bytes()
    for name, data, words in [
        ("empty.gguf", b"", "cannot be read|not a GGUF"),
        ("page.gguf", b"<html>not found</html>", "not a GGUF"),
        ("zip.gguf", b"PK\x03\x04" + content[4:], "not a GGUF"),
        ("short.gguf", content[: len(content) - 5000], "truncated"),
        ("head.gguf", content[:200], "damaged or truncated"),
        ("stub.gguf", b"GGUF", "damaged or truncated"),
        ("future.gguf", b"GGUF\x09" + content[5:], "version 9"),
        ("weights.pt", content, "pickle"),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        refused(path, words)
    refused(tmp_path / "nothing.gguf", "no weights at")


def test_any_damaged_byte_of_the_head_is_survived(good):
    """Either it still parses, or it is refused; never another exception."""
    content = bytearray(good.read_bytes())
    random = np.random.default_rng(3)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[int(random.integers(0, 1500))] = int(random.integers(0, 256))
        good.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            load_model(good, dtype=torch.float32, device=CPU)


def test_foreign_models_are_refused(tmp_path):
    path = tmp_path / "model.gguf"
    write(path, "gpt2", tensors("llama"), "F32")
    refused(path, "architecture 'gpt2'")
    write(path, "llama", tensors("llama"), "F32", llama__rope__scaling__type="yarn")
    refused(path, "rope scaling")
    values = tensors("llama")
    del values["blk.1.ffn_up.weight"]
    write(path, "llama", values, "F32")
    refused(path, "lacks the tensor model.layers.1.mlp.up_proj.weight")
    values = tensors("llama")
    values["blk.1.ffn_up.weight"] = values["blk.1.ffn_up.weight"][:-1]
    write(path, "llama", values, "F32")
    refused(path, "has shape")
    values = tensors("llama")
    values["blk.1.attn_q_norm.weight"] = np.ones(WIDTH // HEADS, np.float32)
    write(path, "llama", values, "F32")
    refused(path, "attn_q_norm.weight, which a plain llama network has no place for")
    values = tensors("llama")
    values["rope_freqs.weight"] = np.ones(3, np.float32)
    write(path, "llama", values, "F32")
    refused(path, "network that cannot be")


def test_bad_folders_are_refused(tmp_path):
    refused(tmp_path, "no weights")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    refused(tmp_path, "only pickles")
    save_model(Transformer(NAMED["debug"]), tmp_path)
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json cannot be read")
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    refused(tmp_path, "mamba")
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    refused(tmp_path, "damaged")


@pytest.fixture
def folder(tmp_path):
    save_model(Transformer(NAMED["debug"]), tmp_path)
    return tmp_path


def change(folder, **entries):
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(record | entries))


def shard(folder):
    """Cut the one file in two, with the index that Hugging Face writes for that."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: whole[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_sharded_folder_is_the_same_model(folder):
    whole = load_model(folder, dtype=torch.float32, device=CPU)
    shard(folder)
    save_file({"model.norm.weight": torch.zeros(64)}, folder / "unrelated.safetensors")
    again = load_model(folder, dtype=torch.float32, device=CPU)
    ids_BT = torch.arange(20)[None]
    assert torch.equal(again(ids_BT), whole(ids_BT))
    (folder / "b.safetensors").unlink()
    refused(folder, "lacks the file b.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    refused(folder, "does not say which file")


def test_what_would_be_dropped_in_silence_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")

    def rewrite(**more):
        save_file(tensors | more, folder / "model.safetensors")

    rewrite(**{"model.layers.0.self_attn.o_proj.bias": torch.zeros(64)})
    refused(folder, "o_proj.bias, which a plain qwen2 network has no place for")
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(**{name: tensors[name].to(torch.float8_e4m3fn)})
    refused(folder, "is of type F8_E4M3, which is not read")
    rewrite()
    change(folder, hidden_act="gelu")
    refused(folder, "activation 'gelu'")
    change(folder, hidden_act="silu", rope_scaling={"rope_type": "yarn", "factor": 4.0})
    refused(folder, "rope scaling 'yarn'")
    change(folder, rope_scaling=None, use_sliding_window=True)
    refused(folder, "sliding-window")
    change(folder, use_sliding_window=False)
    load_model(folder, dtype=torch.float32, device=CPU)
    del tensors["lm_head.weight"]
    rewrite()
    refused(folder, "lacks the tensor lm_head.weight")
    change(folder, tie_word_embeddings=True)
    assert load_model(folder, dtype=torch.float32, device=CPU).config.is_tied


@pytest.mark.parametrize("value", [None, "x", -1, 0, 1e400, 10**40, True, [], {}, 0.5, 7])
def test_any_odd_entry_of_a_configuration_is_survived(folder, value):
    """Either it still loads, or it is refused; never another exception."""
    record = json.loads((folder / "config.json").read_text())
    for key in [*record, "rope_scaling", "rope_parameters"]:
        (folder / "config.json").write_text(json.dumps(record | {key: value}))
        with contextlib.suppress(WeightsError):
            load_model(folder, dtype=torch.float32, device=CPU)
    for text in ("[]", "3", "[" * 5000):
        (folder / "config.json").write_text(text)
        refused(folder, "config.json")


def test_the_head_tells_where_tensors_lie(good):
    head = read_head(good)
    info = head.tensors["blk.0.ffn_down.weight"]
    assert (info.shape, info.type) == ((WIDTH, FFN), Kind.Q8_0)
    with pytest.raises(GGUFError):
        read_head(good.parent)
