"""Weights in from GGUF files and safetensors folders, out to safetensors folders.

Every source is seen as tensors under their Hugging Face names, read in row ranges so that memory
stays bounded, and poured into the fused layers of `model.network`, or of whatever else computes
them. Weights are data: nothing here unpickles or runs code from a file. Knows no tokens.
"""

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.adapter import (
    Adapter,
    LowRank,
    load_adapter,
    load_early,
    load_update,
    merge_update,
)
from model.config import ModelConfig
from model.early import EarlyKV
from model.folder_source import FolderSource
from model.gguf_source import GGUFSource
from model.layout import Place, places
from model.network import Transformer
from model.packed import PackedLinear
from model.source import PICKLES, Source, WeightsError

__all__ = [
    "StoredWeights",
    "WeightsError",
    "load_model",
    "one_torch_thread",
    "open_source",
    "save_model",
]

NUMBERS_AT_ONCE = 1 << 17
"""Numbers dequantized in one go: half a MiB, so that steps of it stay in cache (1 << 19 takes twice
the time), and memory stays bounded."""

Sink = Callable[[str, int, Tensor], None]
"""Takes rows of a parameter: its name in `Transformer`, the first row, the rows. Called by several
threads at a time, each with rows of its own, and in any order."""

_WITHOUT_EFFECT = ("rotary_emb.inv_freq", "rope_freqs.weight")
"""Tensors that some files hold and that the configuration already tells."""


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
        adapter: file of a gated adapter, attached to the network; the update of the base that it
            was trained over, if the file holds one, is added to the base weights.
        merge: file of another update of the base, to be taken instead of the adapter's.

    Raises:
        WeightsError: if the weights are missing, foreign, damaged or of an unknown kind.
        AdapterError: if an adapter file does not fit.
    """
    source = _open_checked(path)
    with torch.device("meta"):
        model = Transformer(source.config)
    model = model.to(dtype).to_empty(device=device)
    if source.config.is_tied:
        model.head.weight = model.embedding.weight
    parameters = dict(model.named_parameters())

    def take(name: str, begin: int, rows: Tensor) -> None:
        parameters[name].data[begin : begin + len(rows)].copy_(rows)

    _pour(source, take)
    update = None
    if merge is not None:
        update = load_adapter(merge, source.config, "merge")
    elif adapter is not None:
        update = load_update(adapter, source.config)
    if update is not None:
        merge_update(update.to(device), model.blocks)
    if adapter is not None:
        model.adapter = load_adapter(adapter, source.config).to(device, dtype)
        early = load_early(adapter, source.config)
        if merge is None and early is not None:  # it was fitted to the adapter's own update
            model.early = early.to(device)
    return model.requires_grad_(False).eval()


class StoredWeights:
    """What `load_model` would load, poured out piece by piece: there is never a whole network."""

    def __init__(self, path: Path, *, adapter: Path | None = None) -> None:
        """Read no more than the head of the weights; arguments and errors as in `load_model`."""
        self._source = _open_checked(path)
        self._adapter = adapter
        self.config: ModelConfig = self._source.config

    def pour(self, sink: Sink) -> None:
        """Give `sink` all rows of all parameters; a tied head is given as the embedding alone."""
        with one_torch_thread():
            update = None if self._adapter is None else load_update(self._adapter, self.config)
        low_ranks = {} if update is None else _low_ranks(update)

        def take(name: str, begin: int, rows: Tensor) -> None:
            low_rank = low_ranks.get(name)
            if low_rank is not None:
                b = low_rank.b[begin : begin + len(rows)]
                rows = torch.addmm(rows.float(), b, low_rank.a, alpha=low_rank.scale)
            sink(name, begin, rows)

        _pour(self._source, take)

    def read_adapter(self) -> Adapter | None:
        """The gated adapter, in float32."""
        return None if self._adapter is None else load_adapter(self._adapter, self.config)

    def read_early(self) -> EarlyKV | None:
        """The map for rows that leave early, in float32."""
        return None if self._adapter is None else load_early(self._adapter, self.config)


def _low_ranks(update: Adapter) -> dict[str, LowRank]:
    """The updates of the base by the names of the parameters that they are added to."""
    kinds = {"attention": ("qkv", "out"), "ffn": ("gate_up", "down")}
    return {
        f"blocks.{index}.{part}.{kind}.weight": getattr(layer, kind)
        for index, layer in enumerate(update.layers)
        for part, names in kinds.items()
        for kind in names
    }


def _open_checked(path: Path) -> Source:
    source = open_source(path)
    _check_config(source, path)
    _check_shapes(source, path)
    return source


def open_source(path: Path) -> Source:
    """The weights at `path`, not yet read.

    Raises:
        WeightsError: if there is nothing there that can be loaded.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}.")
    if path.suffix in PICKLES:
        raise WeightsError(
            f"{path} is a pickle, which can run code when loaded; only GGUF and safetensors are "
            "accepted."
        )
    if path.suffix == ".safetensors":
        raise WeightsError(
            f"{path} is one file of a model; name the folder that holds it and its config.json."
        )
    return GGUFSource(path)


def _check_config(source: Source, path: Path) -> None:
    """Refuse numbers that no network has, before anything is built from them."""
    config = source.config
    is_number = [
        _is_number(getattr(config, field.name), field.type)
        for field in fields(config)
        if field.type in (int, float)
    ]
    is_sane = (
        all(is_number)
        and 0 < config.num_layers <= len(source.shapes)
        and all(
            0 < length < 1 << 24
            for length in (
                config.width,
                config.num_heads,
                config.num_kv_heads,
                config.head_dim,
                config.ffn_width,
                config.max_positions,
            )
        )
        and config.num_heads % config.num_kv_heads == 0
        and config.head_dim % 2 == 0
        and config.rope_theta > 0
    )
    if is_sane and config.rope_factors is not None:
        is_sane = len(config.rope_factors) == config.head_dim // 2 and all(
            math.isfinite(factor) and factor > 0 for factor in config.rope_factors
        )
    if not is_sane:
        raise WeightsError(f"{path} describes a network that cannot be: {config}.")


def _is_number(value: object, kind: object) -> bool:
    """Whether files gave what a field of type `kind` (int or float) needs: finite, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (kind is float or isinstance(value, int)) and 0 <= value < math.inf


def _check_shapes(source: Source, path: Path) -> None:
    """Refuse what is missing or misshapen, and also what is left over.

    A tensor that this network has no place for, such as a bias or a norm of a close relative, would
    otherwise be dropped in silence and the text come out wrong.
    """
    expected = {place.name: place.shape for place in places(source.config)}
    left_over = set(source.shapes) - expected.keys()
    if source.config.is_tied:
        left_over.discard("lm_head.weight")
    left_over = {name for name in left_over if not name.endswith(_WITHOUT_EFFECT)}
    for name, expected_shape in expected.items():
        shape = source.shapes.get(name)
        if shape is None:
            raise WeightsError(f"{path} lacks the tensor {name}.")
        if shape != expected_shape:
            raise WeightsError(
                f"{path}: tensor {name} has shape {list(shape)}, but its configuration asks for "
                f"{list(expected_shape)}."
            )
    if left_over:
        raise WeightsError(
            f"{path} has the tensor {min(left_over)}, which a plain {source.config.architecture} "
            "network has no place for."
        )


def _step_back() -> None:
    """Give this thread a low priority: whoever loads weights loads every core with it for seconds,
    and an editor that starts meanwhile must not wait for that."""
    if sys.platform == "linux":  # elsewhere priorities are the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep PyTorch from sharing out what is done meanwhile.

    Pieces are read side by side, and each is small: PyTorch's threads would wait for each other, on
    a busy machine forty times as long as a piece takes.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _pour(source: Source, sink: Sink) -> None:
    """Read all tensors and give them to `sink`, several pieces at a time."""
    jobs = []
    for place in places(source.config):
        num_rows = place.shape[0]
        step = max(NUMBERS_AT_ONCE // math.prod(place.shape[1:]), 1)
        jobs += [(place, begin, min(begin + step, num_rows)) for begin in range(0, num_rows, step)]

    @torch.no_grad()  # the mode is per thread
    def pour(job: tuple[Place, int, int]) -> None:
        place, begin, end = job
        sink(place.parameter, place.begin + begin, source.read(place.name, begin, end))

    workers = ThreadPoolExecutor(os.cpu_count() or 1, initializer=_step_back)
    with one_torch_thread(), workers as pool:
        list(pool.map(pour, jobs))


def save_model(model: Transformer, folder: Path) -> None:
    """Write safetensors and config.json in the Hugging Face layout; the adapter is not included."""
    config = model.config
    is_packed = any(isinstance(module, PackedLinear) for module in model.modules())
    assert not is_packed, "packed weights cannot be saved"
    if config.rope_factors is not None:
        raise WeightsError("Saving a model with scaled rotary frequencies is not supported.")
    folder.mkdir(parents=True, exist_ok=True)
    parameters = dict(model.named_parameters())
    tensors = {}
    for place in places(config):
        rows = parameters[place.parameter].detach()[place.begin : place.begin + place.shape[0]]
        tensors[place.name] = rows.contiguous().cpu()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    names = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
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
