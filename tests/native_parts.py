"""Networks for tests of the native kernels."""

import functools
from dataclasses import replace

import pytest
import torch

from model.adapter import Adapter, AdapterConfig
from model.config import NAMED, ModelConfig
from model.network import Transformer
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel

CPU = torch.device("cpu")
DEBUG = NAMED["debug"]
SHAPES = {
    "debug": DEBUG,
    "tied": replace(DEBUG, is_tied=True, num_heads=6, num_kv_heads=2),
    # A vocabulary that ends within a tile, groups of 16 inputs, panels that are half full.
    "odd": replace(DEBUG, vocab_size=517, width=48, num_heads=3, num_kv_heads=1, ffn_width=144),
    "llama": replace(
        DEBUG, architecture="llama", has_qkv_bias=False, head_dim=32, rope_factors=(2.0,) * 16
    ),
    # So large that weights are kept in fewer bits, the head's in 4 + 4, those of the ffn in 6; and
    # with ids that drafts do not choose among.
    "large": replace(DEBUG, vocab_size=70_011, width=128, ffn_width=4096, is_tied=True),
}
MASK = DEBUG.mask_id

has_library = library.is_available()
PATHS = library.paths() if has_library else []
needs_library = pytest.mark.skipif(not has_library, reason="the native kernels are not built")


def random_network(config: ModelConfig, adapter_scale: float = 0.0) -> Transformer:
    """Norms and attention that are not all alike; with an adapter unless its scale is zero."""
    torch.manual_seed(5)
    model = Transformer(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.uniform_(0.5, 1.5)
        elif "qkv" in name:
            parameter.mul_(2.0)
    if adapter_scale:
        # A rank that fills no panel.
        model.adapter = Adapter(config, AdapterConfig(5, 10.0)).requires_grad_(False)
        model.adapter.start_mask_at(model.embedding.weight)
        model.adapter.randomize(adapter_scale)
    return model


@functools.cache
def network(shape: str = "debug", has_adapter: bool = False) -> Transformer:
    return random_network(SHAPES[shape], 1.0 if has_adapter else 0.0)


@functools.cache
def native(
    shape: str = "debug", has_adapter: bool = False, path: str = "", threads: int = 2
) -> NativeModel:
    return NativeModel(network(shape, has_adapter), threads=threads, path=path)


def random_ids(num_rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, DEBUG.vocab_size, (1, num_rows), generator=generator)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())
