"""Weights from a folder in the Hugging Face layout: config.json and one or more safetensors files.

Knows nothing of the network that they are poured into.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.config import ModelConfig
from model.source import PICKLES, WeightsError

_DTYPES = ("F32", "F16", "BF16", "F64")


class FolderSource:
    """A folder in the Hugging Face layout: config.json and one or more safetensors files."""

    def __init__(self, path: Path) -> None:
        files = _files(path)
        if not files:
            has_pickle = any(file.suffix in PICKLES for file in path.iterdir())
            why = "only pickles, which can run code when loaded" if has_pickle else "no weights"
            raise WeightsError(f"{path} holds {why}; *.safetensors and config.json are needed.")
        self._files: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="pt")
                for name in opened.keys():  # noqa: SIM118
                    self._files[name] = opened
                    entry = opened.get_slice(name)
                    self.shapes[name] = tuple(entry.get_shape())
                    if entry.get_dtype() not in _DTYPES:
                        raise WeightsError(
                            f"{file}: tensor {name} is of type {entry.get_dtype()}, which is not "
                            f"read; known are {', '.join(_DTYPES)}."
                        )
            except (SafetensorError, OSError) as error:
                raise WeightsError(
                    f"{file} is damaged or no safetensors file ({error}); fetch it again."
                ) from error
        self.config = _config(path, self.shapes)

    def read(self, name: str, begin: int, end: int) -> Tensor:
        """Rows `begin` … `end` - 1 of a tensor, in the type of the file."""
        rows: Tensor = self._files[name].get_slice(name)[begin:end]
        return rows


def _files(path: Path) -> list[Path]:
    """The files that hold the weights: those that an index names, else all that are there."""
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return sorted(path.glob("*.safetensors"))
    parts = _read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
        raise WeightsError(f"{index} is damaged: it does not say which file holds which tensor.")
    files = [path / name for name in sorted(set(parts.values()))]
    for file in files:
        if file.parent != path or not file.is_file():
            raise WeightsError(f"{path} lacks the file {file.name} that its index names.")
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read ({error}).") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path} is damaged: it is not a JSON object.")
    return record


def _config(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    config = _read_json(path / "config.json")
    if "model.embed_tokens.weight" not in shapes:
        raise WeightsError(f"{path} lacks the tensor model.embed_tokens.weight.")
    architecture = config.get("model_type")
    if architecture not in ("qwen2", "llama"):
        raise WeightsError(
            f"{path} has the architecture {architecture!r}; known are qwen2 and llama."
        )
    if config.get("use_sliding_window"):
        raise WeightsError(f"{path} uses sliding-window attention, which is not supported.")
    if config.get("hidden_act", "silu") != "silu":
        raise WeightsError(f"{path} uses the activation {config['hidden_act']!r}; known is 'silu'.")
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
            is_tied=config.get("tie_word_embeddings") is True,
            max_positions=config["max_position_embeddings"],
            rope_factors=_rope_factors(path, rope, rope_theta, head_dim),
        )
    except KeyError as error:
        raise WeightsError(f"{path / 'config.json'} lacks the entry {error.args[0]}.") from error
    except (AttributeError, OverflowError, TypeError, ZeroDivisionError) as error:
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
