"""The debug model with the tiny vocabulary, as a folder that `open_engine` reads."""

import json
from pathlib import Path

import torch

from model.config import NAMED
from model.network import Transformer
from model.weights import save_model
from tests.tiny import tiny_vocabulary, tokenizer_json


def write_tiny_model(folder: Path) -> Path:
    """Random weights; what they complete is nonsense, but always the same."""
    torch.manual_seed(3)
    save_model(Transformer(NAMED["debug"]), folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(tiny_vocabulary())))
    return folder
