"""From names and files to an engine that is ready: device, dtype, weights, vocabulary."""

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from model.config import ModelConfig
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from model.network import Transformer
from model.packed import pack
from model.weights import StoredWeights, load_model
from sampler.drafting import CUDA_COSTS, NATIVE_COSTS, TORCH_COSTS
from sampler.engine import Engine
from sampler.generation import EngineSettings
from sampler.kernels.cpu import library
from sampler.kernels.cpu.native import NativeModel, check_shape
from sampler.runner import Runner

logger = logging.getLogger(__name__)

BLOCK_SIZE = 16
"""Where no adapter says otherwise."""
Kernels = Literal["auto", "native", "torch"]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def choose_device(device: str, dtype: str, threads: int | None) -> tuple[torch.device, torch.dtype]:
    """What `auto` means here: CUDA if there is one, bf16 wherever the hardware multiplies it.

    Raises:
        ValueError: for a device that is not here or an unknown name.
    """
    if threads is not None:
        torch.set_num_threads(max(threads, 1))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device {device!r}; known are auto, cpu and cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("Device cuda was asked for, but PyTorch finds no CUDA GPU here.")
    if dtype == "auto":
        has_bfloat16 = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        dtype = "bfloat16" if has_bfloat16 else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}; known are auto, {', '.join(DTYPES)}.")
    return torch.device(device), DTYPES[dtype]


def choose_kernels(kernels: str, device: torch.device, dtype: str) -> Kernels:
    """What computes on this machine: `torch` wherever the native kernels cannot.

    Args:
        kernels: as a person gave it; `auto` is the native ones on a CPU if they are built, Triton's
            on a GPU if it is installed.
        device: where the network runs.
        dtype: as a person gave it; to name one on a CPU is to ask for PyTorch, which has it.

    Raises:
        ValueError: for an unknown name, or if native kernels are asked for where there are none.
    """
    if kernels == "native":
        if device.type != "cpu":
            raise ValueError(f"The native kernels compute on a CPU, not on {device}.")
        library.load_library()
        return "native"
    if kernels not in ("auto", "torch"):
        raise ValueError(f"Unknown kernels {kernels!r}; known are auto, native and torch.")
    has_own = device.type == "cpu" and dtype == "auto" and library.is_available()
    has_own |= device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return "auto" if kernels == "auto" and has_own else "torch"


def open_engine(
    path: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    adapter: Path | None = None,
    block_size: int | None = None,
    has_lookup: bool = True,
    kernels: Kernels = "torch",
) -> Engine:
    """Load weights and vocabulary from a GGUF file or a folder; one forward warms the kernels up.

    Args:
        path: the file or folder.
        device: where the network runs.
        dtype: of its weights.
        adapter: file of a gated adapter.
        block_size: slots of a canvas; None for what the adapter was trained to draft.
        has_lookup: whether drafts are copied from the context where it has the like.
        kernels: what computes; `auto` is the native ones, or on a GPU Triton's, if the network
            suits them.

    Raises:
        ValueError: with one sentence for a person, whatever is wrong with the files.
    """
    if block_size is not None and block_size < 1:
        raise ValueError(f"A block has at least 1 slot, not {block_size}.")
    vocabulary = read_vocabulary(path)
    tokenizer = Tokenizer(vocabulary)
    # The tokenizer has them now; as Python's objects they are 25 MB.
    vocabulary = replace(vocabulary, merges=())
    network: Transformer | NativeModel
    has_native = kernels == "native" or (kernels == "auto" and device.type == "cpu")
    stored = StoredWeights(path, adapter=adapter) if has_native else None
    if stored is not None and (kernels == "native" or _suits_native(stored.config)):
        network = NativeModel(stored)
    else:
        network = load_model(path, dtype=dtype, device=device, adapter=adapter)
        pack(network)
    if block_size is None and network.adapter is not None:
        block_size = network.adapter.config.block_size
    block_size = block_size or BLOCK_SIZE
    with torch.inference_mode():
        network(torch.zeros(1, block_size, dtype=torch.long, device=device))
    is_native = isinstance(network, NativeModel)
    costs_ms = CUDA_COSTS if device.type == "cuda" else NATIVE_COSTS if is_native else TORCH_COSTS
    settings = EngineSettings(block_size=block_size, has_lookup=has_lookup, costs_ms=costs_ms)
    runner = _choose_runner(network, settings, kernels)
    return Engine(runner, vocabulary, tokenizer, settings)


def _choose_runner(
    network: Transformer | NativeModel, settings: EngineSettings, kernels: Kernels
) -> Runner:
    """Captured forwards on a GPU, if the network's heads suit their kernels; else plain ones."""
    if isinstance(network, NativeModel) or kernels != "auto":
        return Runner(network)
    head_dim = network.config.head_dim
    is_cuda = network.embedding.weight.is_cuda
    if not is_cuda or head_dim < 16 or head_dim & (head_dim - 1):
        return Runner(network)
    from sampler.cuda.runner import GraphRunner  # Triton is there on machines with a GPU only

    runner = GraphRunner(
        network,
        num_sequences=settings.num_sequences + 1,  # one to measure with, beside the cache's
        num_positions=settings.num_positions,
    )
    try:
        runner.warm_up()
        runner.prove()
    except Exception:  # Triton, the driver or the proof refuses: slower, but the text is right
        logger.exception("no captured forwards on this GPU")
        return Runner(network)
    return runner


def _suits_native(config: ModelConfig) -> bool:
    try:
        check_shape(config)
    except library.NativeError:
        return False
    return True
