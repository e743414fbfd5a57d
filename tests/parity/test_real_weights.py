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


@pytest.mark.weights
@pytest.mark.slow
@torch.inference_mode()
def test_top_1_agrees_with_transformers(weights_path: Path):
    """What differs: transformers starts the embedding from `token_embd` (Q5_0), we start it from
    `output` (Q8_0), the same tied matrix at a higher precision."""
    tokenizer = Tokenizer(read_vocabulary(weights_path))
    ids_BT = torch.tensor([tokenizer.encode(inspect.getsource(textwrap))[:NUM_TOKENS]])
    assert ids_BT.shape[1] == NUM_TOKENS

    theirs = AutoModelForCausalLM.from_pretrained(
        weights_path.parent, gguf_file=weights_path.name, dtype=torch.float32
    )
    expected_T = theirs(ids_BT).logits[0].argmax(-1)
    del theirs
    ours = load_model(weights_path, dtype=torch.float32, device=torch.device("cpu"))
    actual_T = ours(ids_BT)[0].argmax(-1)
    agreement = (actual_T == expected_T).float().mean().item()
    print(f"top-1 agreement over {NUM_TOKENS} tokens: {agreement:.4f}")
    assert agreement >= 0.99
