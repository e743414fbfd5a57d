"""Low-rank updates of a network and the file they live in.

One file format, two kinds. `gated`: the adapter that drafts, kept apart from the base and applied
to MASK rows only, with a learned MASK embedding (gated LoRA, arXiv 2507.11851). `merge`: an update
of the base itself (stage `fim`), added to the weights when they are loaded.

Knows the shapes of a network through its config, nothing of attention or of training.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.config import ModelConfig

FORMAT_VERSION = "1"
Kind = Literal["gated", "merge"]


class AdapterError(ValueError):
    """An adapter file that cannot be used; one sentence for a person."""


@dataclass(frozen=True)
class AdapterConfig:
    """Rank of the updates and the scale alpha / rank that they are added with."""

    rank: int
    alpha: float


class LowRank(nn.Module):
    """x → (alpha / rank) · B A x. B starts at zero, so a fresh update changes nothing."""

    def __init__(self, in_width: int, out_width: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        self.a = nn.Parameter(torch.randn(config.rank, in_width) / in_width**0.5)
        self.b = nn.Parameter(torch.zeros(out_width, config.rank))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out), in the type of `x`; training keeps A and B in float32."""
        return F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype)) * self.scale

    def delta(self) -> Tensor:
        """The update as a weight, (out, in) float32."""
        return (self.b.float() @ self.a.float()) * self.scale


class LayerUpdate(nn.Module):
    """The updates of one block's linear layers."""

    def __init__(self, model: ModelConfig, config: AdapterConfig) -> None:
        super().__init__()
        q_width, kv_width = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
        self.qkv = LowRank(model.width, q_width + 2 * kv_width, config)
        self.out = LowRank(q_width, model.width, config)
        self.gate_up = LowRank(model.width, 2 * model.ffn_width, config)
        self.down = LowRank(model.ffn_width, model.width, config)


class Adapter(nn.Module):
    """A low-rank update of every block, and the embedding of MASK."""

    def __init__(self, model: ModelConfig, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(LayerUpdate(model, config) for _ in range(model.num_layers))
        self.mask_embedding = nn.Parameter(torch.zeros(model.width))

    @torch.no_grad()
    def start_mask_at(self, embedding_VD: Tensor) -> None:
        """Start MASK at the mean embedding plus noise.

        The rows of unused ids are near zero in AR checkpoints and blow gradients up.
        """
        mean_D, deviation_D = embedding_VD.float().mean(0), embedding_VD.float().std(0)
        self.mask_embedding.copy_(mean_D + 0.1 * deviation_D * torch.randn_like(mean_D))

    @torch.no_grad()
    def randomize(self, scale: float = 1.0) -> None:
        """Random B: an adapter that proposes nonsense, which is what tests of `exact` need."""
        for update in self.modules():
            if isinstance(update, LowRank):
                update.b.normal_(std=scale / update.a.shape[0] ** 0.5)


def fingerprint(model: ModelConfig) -> str:
    """Short hash of the shapes that an adapter must fit."""
    shape = (
        model.architecture,
        model.vocab_size,
        model.num_layers,
        model.width,
        model.num_heads,
        model.num_kv_heads,
        model.head_dim,
        model.ffn_width,
    )
    return hashlib.sha256(repr(shape).encode()).hexdigest()[:16]


def save_adapter(adapter: Adapter, model: ModelConfig, path: Path, kind: Kind = "gated") -> None:
    """Write a safetensors file that names its format, kind, rank, alpha and base."""
    metadata = {
        "format": "seed-lsp-adapter",
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "rank": str(adapter.config.rank),
        "alpha": repr(adapter.config.alpha),
        "base": model.name,
        "base_fingerprint": fingerprint(model),
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in adapter.state_dict().items()}
    save_file(tensors, path, metadata)


def load_adapter(path: Path, model: ModelConfig, kind: Kind = "gated") -> Adapter:
    """Read an adapter for a network of this shape.

    Raises:
        AdapterError: if the file is missing, foreign, of another version or kind, or does not fit.
    """
    if not path.is_file():
        raise AdapterError(f"There is no adapter file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path} is not a readable safetensors file ({error}).") from error
    if metadata.get("format") != "seed-lsp-adapter":
        raise AdapterError(f"{path} is not an adapter of seed-lsp.")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise AdapterError(
            f"{path} has adapter format {metadata.get('format_version')}, this version reads "
            f"{FORMAT_VERSION}; update seed-lsp or fetch the adapter again."
        )
    if metadata.get("kind") != kind:
        raise AdapterError(f"{path} is an update of kind {metadata.get('kind')}, not {kind}.")
    if metadata.get("base_fingerprint") != fingerprint(model):
        raise AdapterError(
            f"{path} was made for {metadata.get('base')}, which has another shape than "
            f"{model.name}; choose the model it was made for."
        )
    try:
        config = AdapterConfig(int(metadata["rank"]), float(metadata["alpha"]))
        with torch.device("meta"):  # shapes are compared before anything of that size is made
            adapter = Adapter(model, config)
        adapter.load_state_dict(tensors, assign=True)
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise AdapterError(f"The tensors in {path} are not those of an adapter.") from error
    return adapter


@torch.no_grad()
def merge_update(update: Adapter, blocks: nn.ModuleList) -> None:
    """Add a `merge` update to the linear layers of a network's blocks, in place."""
    for block, layer in zip(blocks, update.layers, strict=True):
        assert isinstance(layer, LayerUpdate)
        for linear, low_rank in (
            (block.attention.qkv, layer.qkv),  # type: ignore[union-attr]
            (block.attention.out, layer.out),  # type: ignore[union-attr]
            (block.ffn.gate_up, layer.gate_up),  # type: ignore[union-attr]
            (block.ffn.down, layer.down),  # type: ignore[union-attr]
        ):
            weight: Tensor = linear.weight  # type: ignore[union-attr,assignment]
            delta = low_rank.delta().to(weight.device)
            weight.copy_((weight.float() + delta).to(weight.dtype))
