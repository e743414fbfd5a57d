"""Weights in from GGUF files and safetensors folders, out to safetensors folders.

Every source is seen as tensors under their Hugging Face names, read in row ranges so that memory
stays bounded, and poured into the fused layers of `model.network`. Weights are data: nothing here
unpickles or runs code from a file. Knows no tokens.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.adapter import load_adapter, merge_update
from model.config import ModelConfig
from model.format.gguf_file import GGUFError, GGUFHead, read_head
from model.network import Transformer

ROWS_AT_ONCE = 2048
"""Rows dequantized in one go: small enough to stay in cache and to bound memory."""

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_GGUF_TYPES = {
    GGMLQuantizationType[name]
    for name in (
        *("F32", "F16", "BF16"),
        *("Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q5_1", "Q4_K", "Q4_1", "Q4_0"),
    )
}
_GGUF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "output_norm": "model.norm",
}
_GGUF_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class WeightsError(ValueError):
    """Weights that cannot be loaded; one sentence for a person."""


class Source(Protocol):
    """Tensors under their Hugging Face names."""

    config: ModelConfig
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str, begin: int, end: int) -> Tensor:
        """Rows `begin` … `end` - 1 of a tensor, on the CPU, in any float type."""


@torch.inference_mode(mode=False)  # the mode is per thread, and threads fill the parameters
def load_model(
    path: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    adapter: Path | None = None,
    merge: Path | None = None,
) -> Transformer:
    """The network of a .gguf file or of a folder with config.json and *.safetensors.

    Args:
        path: file or folder.
        dtype: of the weights in memory.
        device: where they go.
        adapter: file of a gated adapter, attached to the network.
        merge: file of an update that is added to the base weights.

    Raises:
        WeightsError: if the weights are missing, foreign, damaged or of an unknown kind.
        AdapterError: if an adapter file does not fit.
    """
    source = open_source(path)
    _check_config(source, path)
    with torch.device("meta"):
        model = Transformer(source.config)
    _check_shapes(source, model, path)
    model = model.to(dtype).to_empty(device=device)
    if source.config.is_tied:
        model.head.weight = model.embedding.weight
    _pour(source, model)
    if merge is not None:
        merge_update(load_adapter(merge, source.config, "merge").to(device), model.blocks)
    if adapter is not None:
        model.adapter = load_adapter(adapter, source.config).to(device, dtype)
    return model.requires_grad_(False).eval()


def open_source(path: Path) -> Source:
    """The weights at `path`, not yet read.

    Raises:
        WeightsError: if there is nothing there that can be loaded.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}.")
    if path.suffix in _PICKLES:
        raise WeightsError(
            f"{path} is a pickle, which can run code when loaded; only GGUF and safetensors are "
            "accepted."
        )
    if path.suffix == ".safetensors":
        raise WeightsError(
            f"{path} is one file of a model; name the folder that holds it and its config.json."
        )
    return _GGUF(path)


def _check_config(source: Source, path: Path) -> None:
    """Refuse numbers that no network has, before anything is built from them."""
    config = source.config
    numbers = [value for value in vars(config).values() if isinstance(value, int | float)]
    is_sane = (
        all(math.isfinite(number) and number >= 0 for number in numbers)
        and 0 < config.num_layers <= len(source.shapes)
        and min(config.num_heads, config.num_kv_heads, config.max_positions) > 0
        and config.num_heads % config.num_kv_heads == 0
        and config.head_dim > 0
        and config.head_dim % 2 == 0
        and max(config.width, config.ffn_width, config.head_dim, config.max_positions) < 1 << 24
    )
    if not is_sane:
        raise WeightsError(f"{path} describes a network that cannot be: {config}.")


def _check_shapes(source: Source, model: Transformer, path: Path) -> None:
    for name, target in _targets(model):
        shape = source.shapes.get(name)
        if shape is None:
            raise WeightsError(f"{path} lacks the tensor {name}.")
        if shape != tuple(target.shape):
            raise WeightsError(
                f"{path}: tensor {name} has shape {list(shape)}, but its configuration asks for "
                f"{list(target.shape)}."
            )


def _pour(source: Source, model: Transformer) -> None:
    """Read all tensors into the network's parameters, several at a time."""
    jobs = [
        (name, begin, min(begin + ROWS_AT_ONCE, len(target)), target)
        for name, target in _targets(model)
        for begin in range(0, len(target), ROWS_AT_ONCE)
    ]

    def pour(job: tuple[str, int, int, Tensor]) -> None:
        name, begin, end, target = job
        target[begin:end].copy_(source.read(name, begin, end))

    with torch.no_grad(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(pour, jobs))


@torch.no_grad()
def _targets(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Each Hugging Face tensor and the (slice of a) parameter that holds it here."""
    yield "model.embed_tokens.weight", model.embedding.weight.data
    if not model.config.is_tied:
        yield "lm_head.weight", model.head.weight.data
    yield "model.norm.weight", model.norm.weight.data
    for index, block in enumerate(model.blocks):
        prefix = f"model.layers.{index}."
        parameters = {name: value.data for name, value in block.named_parameters()}
        yield prefix + "input_layernorm.weight", parameters["attention_norm.weight"]
        yield prefix + "post_attention_layernorm.weight", parameters["ffn_norm.weight"]
        widths: list[int] = block.attention.widths  # type: ignore[union-attr,assignment]
        for kind in ("weight", "bias") if model.config.has_qkv_bias else ("weight",):
            parts = torch.split(parameters[f"attention.qkv.{kind}"], widths)
            for letter, part in zip("qkv", parts, strict=True):
                yield f"{prefix}self_attn.{letter}_proj.{kind}", part
        yield prefix + "self_attn.o_proj.weight", parameters["attention.out.weight"]
        gate, up = parameters["ffn.gate_up.weight"].chunk(2)
        yield prefix + "mlp.gate_proj.weight", gate
        yield prefix + "mlp.up_proj.weight", up
        yield prefix + "mlp.down_proj.weight", parameters["ffn.down.weight"]


class _GGUF:
    """A GGUF file; tensors are dequantized by the gguf library, row range by row range."""

    def __init__(self, path: Path) -> None:
        try:
            self._head = read_head(path)
        except GGUFError as error:
            raise WeightsError(str(error)) from error
        self._data = np.memmap(path, dtype=np.uint8, mode="r")
        self._infos = {_hugging_face_name(name): info for name, info in self._head.tensors.items()}
        for info in self._head.tensors.values():
            if info.type not in _GGUF_TYPES:
                raise WeightsError(
                    f"{path}: tensor {info.name} is of type {info.type.name}, which is not read; "
                    f"known are {', '.join(sorted(kind.name for kind in _GGUF_TYPES))}."
                )
        self.shapes = {name: info.shape for name, info in self._infos.items()}
        if "model.embed_tokens.weight" not in self._infos:
            raise WeightsError(f"{path} lacks the tensor token_embd.weight.")
        has_head = "lm_head.weight" in self._infos
        is_tied = not has_head or self._is_same_matrix()
        if has_head and is_tied:
            # One matrix at two precisions: the head's is the better one in published files.
            self._infos["model.embed_tokens.weight"] = self._infos["lm_head.weight"]
        self.config = _gguf_config(path, self._head, self.shapes, is_tied)

    def read(self, name: str, begin: int, end: int) -> Tensor:
        is_permuted = ".q_proj." in name or ".k_proj." in name
        if self.config.architecture == "llama" and is_permuted:
            return self._unpermute(name, begin, end)
        return self._rows(name, begin, end)

    def _rows(self, name: str, begin: int, end: int) -> Tensor:
        info = self._infos[name]
        block_size, block_bytes = GGML_QUANT_SIZES[info.type]
        row_bytes = math.prod(info.shape[1:]) // block_size * block_bytes
        first = info.offset + begin * row_bytes
        raw = self._data[first : first + (end - begin) * row_bytes].reshape(end - begin, row_bytes)
        if info.type in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            # View, not library: it has nothing to dequantize here.
            kind = np.float32 if info.type == GGMLQuantizationType.F32 else np.float16
            values = raw.view(kind).astype(np.float32)
        else:
            values = dequantize(raw, info.type)
        return torch.from_numpy(values).reshape(end - begin, *info.shape[1:])

    def _unpermute(self, name: str, begin: int, end: int) -> Tensor:
        """Undo the row order that llama.cpp gives to q and k of the llama architecture.

        There the two halves of a head are interleaved; the rows of one head stay together, so a
        range is widened to whole heads and cut again.
        """
        width = self.config.head_dim
        first, last = begin // width * width, -(-end // width) * width
        rows = self._rows(name, first, last)
        halves = rows.view(-1, width // 2, 2, *rows.shape[1:]).transpose(1, 2)
        return halves.reshape(rows.shape)[begin - first : end - first]

    def _is_same_matrix(self) -> bool:
        """Whether embedding and head are one tied matrix that was quantized twice."""
        names = ("model.embed_tokens.weight", "lm_head.weight")
        if self.shapes[names[0]] != self.shapes[names[1]]:
            return False
        num_rows = self.shapes[names[0]][0]
        for row in range(0, num_rows, max(num_rows // 16, 1)):
            embedding, head = (self._rows(name, row, row + 1)[0] for name in names)
            error = (embedding - head).norm()
            if error > 0.2 * head.norm() + 1e-6:
                return False
        return True


def _hugging_face_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`."""
    *stem, kind = name.split(".")
    if len(stem) == 3 and stem[0] == "blk":
        return f"model.layers.{stem[1]}.{_GGUF_LAYER_NAMES.get(stem[2], stem[2])}.{kind}"
    return f"{_GGUF_NAMES.get('.'.join(stem), '.'.join(stem))}.{kind}"


def _gguf_config(
    path: Path, head: GGUFHead, shapes: Mapping[str, tuple[int, ...]], is_tied: bool
) -> ModelConfig:
    metadata = head.metadata
    architecture = metadata.get("general.architecture")
    if architecture not in ("qwen2", "llama"):
        raise WeightsError(
            f"{path} has the architecture {architecture!r}; known are qwen2 and llama."
        )
    if metadata.get(f"{architecture}.rope.scaling.type", "none") not in ("none", ""):
        raise WeightsError(f"{path} uses a rope scaling that is not supported.")
    try:

        def number(key: str) -> Any:
            return metadata[f"{architecture}.{key}"]

        num_heads = number("attention.head_count")
        head_dim = metadata.get(
            f"{architecture}.attention.key_length", number("embedding_length") // num_heads
        )
        return ModelConfig(
            name=path.stem,
            architecture=architecture,
            vocab_size=shapes["model.embed_tokens.weight"][0],
            num_layers=number("block_count"),
            width=number("embedding_length"),
            num_heads=num_heads,
            num_kv_heads=metadata.get(f"{architecture}.attention.head_count_kv", num_heads),
            head_dim=head_dim,
            ffn_width=number("feed_forward_length"),
            rope_theta=metadata.get(f"{architecture}.rope.freq_base", 10_000.0),
            norm_eps=number("attention.layer_norm_rms_epsilon"),
            has_qkv_bias="model.layers.0.self_attn.q_proj.bias" in shapes,
            is_tied=is_tied,
            max_positions=number("context_length"),
            rope_factors=_gguf_rope_factors(path, head),
        )
    except KeyError as error:
        raise WeightsError(f"{path} lacks the entry {error.args[0]}.") from error
    except (TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} is damaged: its metadata makes no sense.") from error


def _gguf_rope_factors(path: Path, head: GGUFHead) -> tuple[float, ...] | None:
    """Llama 3's scaling, which GGUF files hold as the tensor of its factors."""
    info = head.tensors.get("rope_freqs.weight")
    if info is None:
        return None
    factors = np.fromfile(path, dtype="<f4", count=info.shape[0], offset=info.offset)
    return tuple(float(factor) for factor in factors)


class _Folder:
    """A folder in the Hugging Face layout: config.json and one or more safetensors files."""

    def __init__(self, path: Path) -> None:
        files = sorted(path.glob("*.safetensors"))
        if not files:
            has_pickle = any(file.suffix in _PICKLES for file in path.iterdir())
            why = "only pickles, which can run code when loaded" if has_pickle else "no weights"
            raise WeightsError(f"{path} holds {why}; *.safetensors and config.json are needed.")
        self._files: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="pt")
                for name in opened.keys():  # noqa: SIM118
                    self._files[name] = opened
                    self.shapes[name] = tuple(opened.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise WeightsError(
                    f"{file} is damaged or no safetensors file ({error}); fetch it again."
                ) from error
        self.config = _folder_config(path, self.shapes)

    def read(self, name: str, begin: int, end: int) -> Tensor:
        rows: Tensor = self._files[name].get_slice(name)[begin:end]
        return rows


def _folder_config(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path / 'config.json'} cannot be read ({error}).") from error
    architecture = config.get("model_type")
    if architecture not in ("qwen2", "llama"):
        raise WeightsError(
            f"{path} has the architecture {architecture!r}; known are qwen2 and llama."
        )
    if config.get("use_sliding_window"):
        raise WeightsError(f"{path} uses sliding-window attention, which is not supported.")
    # Transformers 5 keeps all rotary settings in `rope_parameters`, earlier versions in two places.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    try:
        head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        rope_theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
        return ModelConfig(
            name=path.name,
            architecture=architecture,
            vocab_size=shapes["model.embed_tokens.weight"][0],
            num_layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            num_heads=config["num_attention_heads"],
            num_kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
            head_dim=head_dim,
            ffn_width=config["intermediate_size"],
            rope_theta=rope_theta,
            norm_eps=config["rms_norm_eps"],
            has_qkv_bias="model.layers.0.self_attn.q_proj.bias" in shapes,
            is_tied="lm_head.weight" not in shapes,
            max_positions=config["max_position_embeddings"],
            rope_factors=_rope_factors(path, rope, rope_theta, head_dim),
        )
    except KeyError as error:
        raise WeightsError(f"{path / 'config.json'} lacks the entry {error.args[0]}.") from error
    except (TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"{path / 'config.json'} makes no sense.") from error


def _rope_factors(
    path: Path, rope: Mapping[str, Any], theta: float, head_dim: int
) -> tuple[float, ...] | None:
    """Llama 3's scaling: long wavelengths are stretched, short ones kept, between them blended."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise WeightsError(f"{path} uses the rope scaling {kind!r}; known is llama3.")
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for index in range(0, head_dim, 2):
        frequency = theta ** -(index / head_dim)
        turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
        blend = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - blend) / rope["factor"] + blend))
    return tuple(factors)


def save_model(model: Transformer, folder: Path) -> None:
    """Write safetensors and config.json in the Hugging Face layout; the adapter is not included."""
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: part.detach().contiguous().cpu() for name, part in _targets(model)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    names = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
    if config.rope_factors is not None:
        raise WeightsError("Saving a model with scaled rotary frequencies is not supported.")
    record = {
        "architectures": [names[config.architecture]],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.width,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_width,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.has_qkv_bias,
        "tie_word_embeddings": config.is_tied,
        "max_position_embeddings": config.max_positions,
        "hidden_act": "silu",
    }
    (folder / "config.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
