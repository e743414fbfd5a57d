"""GGUF files of tiny models, written in llama.cpp's layout, against the folder they came from."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from model.weights import load_model

CPU = torch.device("cpu")
HEADS, KV_HEADS = 4, 2
SHAPE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE)),
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_model(family):
    torch.manual_seed(0)
    theirs = FAMILIES[family]().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.1 * noise if parameter.dim() == 1 else 0.15 * noise)
    return theirs


def permute(weight, num_heads):
    """The row order that llama.cpp's converter gives to q and k of the llama architecture."""
    halves = weight.reshape(num_heads, 2, weight.shape[0] // num_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write(path, theirs, kind):
    """Write the model as `kind`, and round its own weights to what the file then holds."""
    architecture = theirs.config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(SHAPE["hidden_size"] // HEADS)
    if architecture == "llama" and theirs.model.rotary_emb.rope_type == "llama3":
        plain = 10_000.0 ** -(np.arange(0, 16, 2) / 16)
        factors = (plain / theirs.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    for name, parameter in theirs.state_dict().items():
        values = parameter.numpy().copy()
        short = name
        for long, replacement in NAMES.items():
            short = short.replace(long, replacement)
        if values.ndim == 2:
            raw = gguf.quants.quantize(values, kind)
            values = gguf.quants.dequantize(raw, kind)
            parameter.copy_(torch.from_numpy(values))
        if architecture == "llama" and ("attn_q." in short or "attn_k." in short):
            values = permute(values, HEADS if "attn_q." in short else KV_HEADS)
        if values.ndim == 1:
            writer.add_tensor(short, values)
        else:  # rows are whole multiples of a block, so quantizing permuted rows gives the same
            writer.add_tensor(short, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_1", "Q4_0"])
@torch.inference_mode()
def test_a_gguf_file_gives_the_logits_of_the_folder(tmp_path, family, kind):
    theirs = random_model(family)
    write(tmp_path / "model.gguf", theirs, Kind[kind])
    folder = tmp_path / "folder"
    theirs.save_pretrained(folder)
    ids_BT = torch.randint(0, SHAPE["vocab_size"], (1, 100))
    ours = load_model(tmp_path / "model.gguf", dtype=torch.float32, device=CPU)(ids_BT)
    from_folder = load_model(folder, dtype=torch.float32, device=CPU)(ids_BT)
    # A second quantization may move a rounding by a step; F32 leaves nothing to round.
    tolerance = 1e-4 if kind in ("F32", "F16", "BF16") else 2e-2
    torch.testing.assert_close(ours, from_folder, atol=tolerance, rtol=0)
    torch.testing.assert_close(ours, theirs(ids_BT).logits, atol=tolerance, rtol=0)


@torch.inference_mode()
def test_what_the_tolerance_would_hide(tmp_path):
    """Rows in the wrong order, or a forgotten factor, are far beyond it."""
    theirs = random_model("llama3")
    write(tmp_path / "model.gguf", theirs, Kind.Q8_0)
    ids_BT = torch.randint(0, SHAPE["vocab_size"], (1, 100))
    expected = theirs(ids_BT).logits
    q_proj = theirs.model.layers[0].self_attn.q_proj.weight
    kept = q_proj.clone()
    q_proj.copy_(torch.from_numpy(permute(kept.numpy(), HEADS)))
    assert (theirs(ids_BT).logits - expected).abs().max() > 0.2
    q_proj.copy_(kept)
    theirs.model.rotary_emb.inv_freq.copy_(10_000.0 ** -(torch.arange(0, 16, 2) / 16))
    assert (theirs(ids_BT).logits - expected).abs().max() > 0.2
