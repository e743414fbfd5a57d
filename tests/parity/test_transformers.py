"""Our network against Hugging Face's, on tiny random models of both families."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from model.network import KVCache
from model.weights import load_model, save_model

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
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
    "qwen2-tied": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama-wide-heads": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=32)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE)),
}


def randomize(theirs):
    """Biases and norms too, which Hugging Face starts at 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * noise if parameter.dim() == 1 else 0.15 * noise)
    return theirs.eval()


@pytest.fixture(scope="module", params=list(FAMILIES))
def pair(request, tmp_path_factory):
    theirs = randomize(FAMILIES[request.param]())
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return theirs, load_model(folder, dtype=torch.float32, device=CPU)


def tokens(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE["vocab_size"], (1, count), generator=generator)


@torch.inference_mode()
def test_logits_agree(pair):
    theirs, ours = pair
    ids_BT = tokens(90)
    torch.testing.assert_close(ours(ids_BT), theirs(ids_BT).logits, atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 79), max_size=6), seed=st.integers(0, 99))
@torch.inference_mode()
def test_any_split_into_cached_chunks_gives_the_uncached_logits(pair, cuts, seed):
    theirs, ours = pair
    ids_BT = tokens(80, seed)
    cache = KVCache.allocate(ours.config, 80, dtype=torch.float32, device=CPU)
    edges = [0, *sorted(set(cuts)), 80]
    chunks = [
        ours(ids_BT[:, begin:end], cache=cache, start=begin) for begin, end in pairwise(edges)
    ]
    torch.testing.assert_close(torch.cat(chunks, 1), theirs(ids_BT).logits, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_canvas_behind_a_causal_context(pair):
    theirs, ours = pair
    num_context, num_slots = 50, 8
    ids_BT = tokens(num_context + num_slots)
    total = num_context + num_slots
    may_attend = torch.ones(total, total, dtype=torch.bool).tril()
    may_attend[num_context + 1 :, num_context:] = True
    bias = torch.zeros(1, 1, total, total).masked_fill(~may_attend, -torch.inf)
    expected = theirs(ids_BT, attention_mask=bias).logits[:, num_context:]

    cache = KVCache.allocate(ours.config, 60, dtype=torch.float32, device=CPU)
    ours(ids_BT[:, :num_context], cache=cache, rows=slice(0, 0))
    block = {"cache": cache, "start": num_context, "attention": "canvas"}
    cached = ours(ids_BT[:, num_context:], **block)
    torch.testing.assert_close(cached, expected, atol=1e-4, rtol=0)
    some = ours(ids_BT[:, num_context:], **block, rows=slice(2, 5))
    torch.testing.assert_close(some, expected[:, 2:5], atol=1e-4, rtol=0)
    dense = ours(ids_BT, attention=may_attend)[:, num_context:]
    torch.testing.assert_close(dense, expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_what_we_save_is_what_we_loaded(pair, tmp_path):
    theirs, ours = pair
    if ours.config.rope_factors is not None:
        with pytest.raises(ValueError, match="scaled rotary"):
            save_model(ours, tmp_path)
        return
    save_model(ours, tmp_path)
    again = type(theirs).from_pretrained(tmp_path)
    ids_BT = tokens(40)
    torch.testing.assert_close(again(ids_BT).logits, theirs(ids_BT).logits, atol=1e-5, rtol=0)
