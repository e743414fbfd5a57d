"""Low-rank updates of a network and the file they live in.

One file format, two kinds. `gated`: the adapter that drafts, kept apart from the base and applied
to MASK rows only, with a learned MASK embedding (gated LoRA, arXiv 2507.11851). `merge`: an update
of the base itself (stage `fim`), added to the weights when they are loaded. A gated adapter's file
holds the update of the base that it was trained over, too: each is of no use without the other.

Knows the shapes of a network through its config, nothing of attention or of training.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.config import ModelConfig
from model.coupling import Coupling
from model.early import EarlyKV

FORMAT_VERSION = "1"
PACKED_VERSION = "2"
"""Of files that hold a base update beside the adapter, or 8-bit numbers."""
COUPLED_VERSION = "3"
"""Of files with a coupling."""
EARLY_VERSION = "4"
"""Of files with a map for rows that leave early."""
_KNOWN_VERSIONS = (FORMAT_VERSION, PACKED_VERSION, COUPLED_VERSION, EARLY_VERSION)
Kind = Literal["gated", "merge"]
_UPDATE = "update."
_EARLY = "early."
_SCALE = ".scale"


class AdapterError(ValueError):
    """An adapter file that cannot be used; one sentence for a person."""


@dataclass(frozen=True)
class AdapterConfig:
    """Rank of the updates and the scale alpha / rank that they are added with."""

    rank: int
    alpha: float
    block_size: int | None = None
    """Slots of the blocks that the adapter was trained to draft."""
    coupling_rank: int = 0
    """Of the coupling of a block's rows; 0: they are chosen each for itself."""


class LowRank(nn.Module):
    """x → (alpha / rank) · B A x. B starts at zero, so a fresh update changes nothing."""

    def __init__(self, in_width: int, out_width: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        a = torch.empty(config.rank, in_width)
        if not a.is_meta:  # random numbers there would load a compiler: 170 MB and two seconds
            a = a.normal_() / in_width**0.5
        self.a = nn.Parameter(a)
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
    """A low-rank update of every block, the embedding of MASK, and what couples MASK rows."""

    def __init__(self, model: ModelConfig, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(LayerUpdate(model, config) for _ in range(model.num_layers))
        self.mask_embedding = nn.Parameter(torch.zeros(model.width))
        rank = config.coupling_rank
        self.coupling = Coupling(model.width, rank) if rank else None

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
        if self.coupling is not None:
            self.coupling.back.normal_(std=scale)


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


def save_adapter(
    adapter: Adapter,
    model: ModelConfig,
    path: Path,
    kind: Kind = "gated",
    *,
    update: Adapter | None = None,
    early: EarlyKV | None = None,
    is_int8: bool = False,
) -> None:
    """Write a safetensors file that names its format, kind, rank, alpha and base.

    Args:
        adapter: what to write.
        model: shapes of the base.
        path: the file.
        kind: what the adapter is.
        update: update of the base that a gated adapter was trained over.
        early: map for rows that leave early, fitted to the base with this update.
        is_int8: store matrices as 8-bit numbers with one scale a row, for a file that travels.
    """
    version = PACKED_VERSION if update is not None or is_int8 else FORMAT_VERSION
    version = version if adapter.coupling is None else COUPLED_VERSION
    metadata = {
        "format": "seed-lsp-adapter",
        "format_version": version if early is None else EARLY_VERSION,
        "kind": kind,
        **_as_metadata(adapter.config),
        "base": model.name,
        "base_fingerprint": fingerprint(model),
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in adapter.state_dict().items()}
    if update is not None:
        metadata |= _as_metadata(update.config, _UPDATE)
        state = update.layers.state_dict(prefix=f"{_UPDATE}layers.")
        tensors |= {name: tensor.detach().contiguous() for name, tensor in state.items()}
    if is_int8:
        tensors = _pack_int8(tensors)
    if early is not None:
        metadata |= {"early_layer": str(early.layer)}
        weight, bias = early.weight.detach().contiguous(), early.bias.detach().float()
        state = {f"{_EARLY}weight": weight}
        # Biases of keys are large beside what tells one token from another: they stay whole.
        tensors |= (_pack_int8(state) if is_int8 else state) | {f"{_EARLY}bias": bias}
    save_file(tensors, path, metadata)


def kind_of(path: Path) -> str:
    """The kind that a file says it is; empty where it says nothing.

    Raises:
        AdapterError: if it cannot be read.
    """
    return _open(path)[0].get("kind", "")


def load_adapter(path: Path, model: ModelConfig, kind: Kind = "gated") -> Adapter:
    """Read an adapter for a network of this shape.

    Raises:
        AdapterError: if the file is missing, foreign, of another version or kind, or does not fit.
    """
    metadata, tensors = _read(path, model, kind, "")
    return _assemble(path, model, tensors, metadata, "")


def load_update(path: Path, model: ModelConfig) -> Adapter | None:
    """The update of the base that the gated adapter in a file was trained over, if there is one.

    Raises:
        AdapterError: as `load_adapter`.
    """
    metadata, parts = _read(path, model, "gated", _UPDATE)
    if f"{_UPDATE}rank" not in metadata:
        return None
    parts["mask_embedding"] = torch.zeros(model.width)  # the base has no use for MASK
    return _assemble(path, model, parts, metadata, _UPDATE)


def load_early(path: Path, model: ModelConfig) -> EarlyKV | None:
    """The map for rows that leave early in the file of a gated adapter, if there is one.

    Raises:
        AdapterError: as `load_adapter`.
    """
    metadata, tensors = _read(path, model, "gated", _EARLY)
    if "early_layer" not in metadata:
        return None
    try:
        early = EarlyKV(model, int(metadata["early_layer"]))
        early.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AdapterError(f"The tensors in {path} are not those of an adapter.") from error
    return early.requires_grad_(False)


def _as_metadata(config: AdapterConfig, prefix: str = "") -> dict[str, str]:
    told = {f"{prefix}rank": str(config.rank), f"{prefix}alpha": repr(config.alpha)}
    if config.block_size is not None:
        told[f"{prefix}block_size"] = str(config.block_size)
    if config.coupling_rank:
        told[f"{prefix}coupling_rank"] = str(config.coupling_rank)
    return told


def _open(path: Path, part: str | None = None) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of any safetensors file; of one part, under their names in it."""
    if not path.is_file():
        raise AdapterError(f"There is no adapter file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if part in (None, _part_of(name))]  # noqa: SIM118
            tensors = {name.removeprefix(part or ""): file.get_tensor(name) for name in names}
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path} is not a readable safetensors file ({error}).") from error


def _part_of(name: str) -> str:
    """The prefix of a tensor's name that tells its part of the file; the adapter's have none."""
    return next((part for part in (_UPDATE, _EARLY) if name.startswith(part)), "")


def _read(
    path: Path, model: ModelConfig, kind: Kind, part: str
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and one part's tensors of a file that is for this network and of this kind."""
    metadata, tensors = _open(path, part)
    if metadata.get("format") != "seed-lsp-adapter":
        raise AdapterError(f"{path} is not an adapter of seed-lsp.")
    if metadata.get("format_version") not in _KNOWN_VERSIONS:
        raise AdapterError(
            f"{path} has adapter format {metadata.get('format_version')}, this version reads "
            f"{FORMAT_VERSION} to {EARLY_VERSION}; update seed-lsp or fetch the adapter again."
        )
    if metadata.get("kind") != kind:
        raise AdapterError(f"{path} is an update of kind {metadata.get('kind')}, not {kind}.")
    if metadata.get("base_fingerprint") != fingerprint(model):
        raise AdapterError(
            f"{path} was made for {metadata.get('base')}, which has another shape than "
            f"{model.name}; choose the model it was made for."
        )
    return metadata, _unpack_int8(tensors)


def _assemble(
    path: Path,
    model: ModelConfig,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    prefix: str,
) -> Adapter:
    try:
        block_size = metadata.get(f"{prefix}block_size")
        config = AdapterConfig(
            int(metadata[f"{prefix}rank"]),
            float(metadata[f"{prefix}alpha"]),
            None if block_size is None else int(block_size),
            int(metadata.get(f"{prefix}coupling_rank", 0)),
        )
        with torch.device("meta"):  # shapes are compared before anything of that size is made
            adapter = Adapter(model, config)
        adapter.load_state_dict(dict(tensors), assign=True)
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise AdapterError(f"The tensors in {path} are not those of an adapter.") from error
    return adapter


def _pack_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as multiples of 1/127 of the largest number of their row, vectors as bf16."""
    packed = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            packed[name] = tensor.to(torch.bfloat16)
            continue
        scale_R1 = tensor.float().abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        packed[name] = (tensor.float() / scale_R1).round().to(torch.int8)
        packed[f"{name}{_SCALE}"] = scale_R1[:, 0]
    return packed


def _unpack_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    unpacked = {}
    for name, tensor in tensors.items():
        scale_R = tensors.get(f"{name}{_SCALE}")
        if scale_R is not None:
            unpacked[name] = tensor.float() * scale_R[:, None]
        elif not name.endswith(_SCALE):
            unpacked[name] = tensor
    return unpacked


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
