"""A small network with an adapter that proposes nonsense, and records for the stages."""

import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from training.stages import TrainingRecord

CONFIG = NAMED["debug"]
MASK = CONFIG.mask_id
SPECIAL = torch.tensor([508, 509, 510])


def adapted_model(seed=5, scale=1.0):
    torch.manual_seed(seed)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0))
    model.adapter.start_mask_at(model.embedding.weight)
    if scale:
        model.adapter.randomize(scale)
    return model


def text_record(seed, length=40, vocabulary_ids=None):
    """Random text between special tokens, the last of which ends it."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 500, (length,), generator=generator)
    ids[[0, length // 2, -1]] = SPECIAL
    return TrainingRecord(ids, length // 2 + 1, SPECIAL, vocabulary_ids)


def counting_record(seed, length=40):
    """Text over ten tokens that follow one another: what comes next can be learnt."""
    ids = (torch.arange(length) + seed) % 10
    ids[[0, length // 2, -1]] = SPECIAL
    return TrainingRecord(ids, length // 2 + 1, SPECIAL)


def with_gradient(model):
    """Names of the parameters that have one other than zero."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
