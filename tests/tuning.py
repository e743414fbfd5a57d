"""What tests of measuring and tuning share: a target, a profile of it and debug networks."""

import functools

import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED
from model.network import Transformer
from sampler.drafting import NATIVE_COSTS
from sampler.profile import Profile, Target

CONFIG = NAMED["debug"]
TARGET = Target("CPU", 2, 2, None, "torch", "debug", "none")


def profile(**fields: object) -> Profile:
    """What was measured on `TARGET`, apart from these fields."""
    values = {
        "target": TARGET,
        "measured_at": "2026-11-21T12:00:00+00:00",
        "measured_s": 1.0,
        "threads": 1,
        "costs_ms": NATIVE_COSTS,
        "prefill_ms": ((64, 70.0), (128, 140.0), (256, 280.0)),
        "acceptance": (0.55, 0.5, 0.5),
    }
    return Profile(**{**values, **fields})  # type: ignore[arg-type]


@functools.cache
def network(has_adapter: bool) -> Transformer:
    """Random weights, the same in each test; the adapter, too."""
    torch.manual_seed(7)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    if has_adapter:
        model.adapter = Adapter(CONFIG, AdapterConfig(4, 8.0)).requires_grad_(False)
        model.adapter.start_mask_at(model.embedding.weight)
    return model
