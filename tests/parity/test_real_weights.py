"""Our reading of the real weights against transformers' own GGUF loading."""

import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.weights import load_model

NUM_TOKENS = 2000
NUM_STRICT = 500


@pytest.mark.weights
@pytest.mark.slow
@torch.inference_mode()
def test_top_1_agrees_with_transformers(weights_path: Path):
    """What differs: transformers takes the embedding from `token_embd` (Q5_0) and the head from
    `output` (Q8_0), untied; we take both from `output`, the same matrix at a higher precision. With
    our embedding in theirs nothing is left that may differ, so that part is strict."""
    tokenizer = Tokenizer(read_vocabulary(weights_path))
    ids_BT = torch.tensor([tokenizer.encode(inspect.getsource(textwrap))[:NUM_TOKENS]])
    assert ids_BT.shape[1] == NUM_TOKENS

    theirs = AutoModelForCausalLM.from_pretrained(
        weights_path.parent, gguf_file=weights_path.name, dtype=torch.float32
    )
    ours = load_model(weights_path, dtype=torch.float32, device=torch.device("cpu"))
    assert torch.equal(ours.head.weight, theirs.lm_head.weight)
    actual_TV = ours(ids_BT)[0]
    expected_T = theirs(ids_BT).logits[0].argmax(-1)
    agreement = (actual_TV.argmax(-1) == expected_T).float().mean().item()
    print(f"top-1 agreement over {NUM_TOKENS} tokens: {agreement:.4f}")
    assert agreement >= 0.99

    theirs.model.embed_tokens.weight.copy_(ours.embedding.weight)
    expected_TV = theirs(ids_BT[:, :NUM_STRICT]).logits[0]
    torch.testing.assert_close(actual_TV[:NUM_STRICT], expected_TV, atol=5e-3, rtol=0)
