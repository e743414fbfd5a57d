"""Weights from a GGUF file: names, row order and configuration as Hugging Face has them.

Tensors are dequantized by the gguf library, row range by row range, so that memory stays bounded.
Knows nothing of the network that they are poured into.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from torch import Tensor

from model.config import ModelConfig
from model.format.gguf_file import GGUFError, GGUFHead, read_head
from model.source import WeightsError

_TYPES = {
    GGMLQuantizationType[name]
    for name in (
        *("F32", "F16", "BF16"),
        *("Q8_0", "Q6_K", "Q5_K", "Q5_0", "Q5_1", "Q4_K", "Q4_1", "Q4_0"),
    )
}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "output_norm": "model.norm",
}
_LAYER_NAMES = {
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


class GGUFSource:
    """A GGUF file; tensors are dequantized by the gguf library, row range by row range."""

    def __init__(self, path: Path) -> None:
        try:
            self._head = read_head(path)
        except GGUFError as error:
            raise WeightsError(str(error)) from error
        self._path = path
        self._infos = {_hugging_face_name(name): info for name, info in self._head.tensors.items()}
        for info in self._head.tensors.values():
            if info.type not in _TYPES:
                raise WeightsError(
                    f"{path}: tensor {info.name} is of type {info.type.name}, which is not read; "
                    f"known are {', '.join(sorted(kind.name for kind in _TYPES))}."
                )
        self.shapes = {name: info.shape for name, info in self._infos.items()}
        if "model.embed_tokens.weight" not in self._infos:
            raise WeightsError(f"{path} lacks the tensor token_embd.weight.")
        has_head = "lm_head.weight" in self._infos
        is_tied = not has_head or self._is_same_matrix()
        if has_head and is_tied:
            # One matrix at two precisions: the head's is the better one in published files.
            self._infos["model.embed_tokens.weight"] = self._infos["lm_head.weight"]
        self.config = _config(path, self._head, self.shapes, is_tied)

    def read(self, name: str, begin: int, end: int) -> Tensor:
        """Rows `begin` … `end` - 1 of a tensor in float32, in Hugging Face's row order."""
        is_permuted = ".q_proj." in name or ".k_proj." in name
        if self.config.architecture == "llama" and is_permuted:
            return self._unpermute(name, begin, end)
        return self._rows(name, begin, end)

    def _rows(self, name: str, begin: int, end: int) -> Tensor:
        info = self._infos[name]
        block_size, block_bytes = GGML_QUANT_SIZES[info.type]
        row_bytes = math.prod(info.shape[1:]) // block_size * block_bytes
        # Not mapped: mapped pages would count as this process's memory until all is read.
        raw = np.fromfile(
            self._path, np.uint8, (end - begin) * row_bytes, offset=info.offset + begin * row_bytes
        ).reshape(end - begin, row_bytes)
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
        return f"model.layers.{stem[1]}.{_LAYER_NAMES.get(stem[2], stem[2])}.{kind}"
    return f"{_NAMES.get('.'.join(stem), '.'.join(stem))}.{kind}"


def _config(
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
        if metadata.get(f"{architecture}.rope.dimension_count", head_dim) != head_dim:
            raise WeightsError(f"{path} rotates a part of each head only, which is not supported.")
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
            rope_factors=_rope_factors(path, head),
        )
    except KeyError as error:
        raise WeightsError(f"{path} lacks the entry {error.args[0]}.") from error
    except (TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} is damaged: its metadata makes no sense.") from error


def _rope_factors(path: Path, head: GGUFHead) -> tuple[float, ...] | None:
    """Llama 3's scaling, which GGUF files hold as the tensor of its factors."""
    info = head.tensors.get("rope_freqs.weight")
    if info is None:
        return None
    if info.type != GGMLQuantizationType.F32 or len(info.shape) != 1:
        raise WeightsError(
            f"{path}: the rotary factors in rope_freqs.weight are not plain numbers."
        )
    factors = np.fromfile(path, dtype="<f4", count=info.shape[0], offset=info.offset)
    return tuple(float(factor) for factor in factors)
