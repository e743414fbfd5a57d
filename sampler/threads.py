"""How many threads compute fastest here, tried on a few layers of a network's shape.

Where two logical CPUs share a core, both answers occur. The number has to be known before weights
are packed for the native kernels, so whole networks cannot be tried. Knows no weights.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from model.config import ModelConfig
from model.network import Transformer
from model.packed import pack
from sampler.kernels.cpu.native import NativeModel

NUM_LAYERS = 4
"""Enough that their weights do not stay in a cache, as those of a whole network do not."""
VOCABULARY = 4096
ROWS = (1, 16)
NUM_ROUNDS = 4
WORTH_MORE_THREADS = 0.97
"""More threads have to be faster by so much: the fewer leave the editor more of the machine."""


@torch.inference_mode()
def time_threads(
    config: ModelConfig, counts: Iterable[int], *, is_native: bool, dtype: torch.dtype
) -> dict[int, float]:
    """Milliseconds of a forward over 1 row and one over 16, together, by the number of threads."""
    shape = replace(
        config,
        num_layers=min(NUM_LAYERS, config.num_layers),
        vocab_size=min(VOCABULARY, config.vocab_size),
    )
    with torch.device("meta"):
        model = Transformer(shape)
    model = model.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    for parameter in model.parameters():  # what a weight is decides no time
        parameter.fill_(0.01)
    if not is_native:
        pack(model)
    before = torch.get_num_threads()
    times_ms = {}
    try:
        for count in counts:
            torch.set_num_threads(count)
            network = NativeModel(model, threads=count) if is_native else model
            times_ms[count] = sum(_best_ms(network, rows) for rows in ROWS)
    finally:
        torch.set_num_threads(before)
    return times_ms


def _best_ms(network: Transformer | NativeModel, num_rows: int) -> float:
    """The shortest of a few forwards; the first one warms up."""
    ids_BT = torch.arange(num_rows)[None]
    times_s = []
    for _ in range(NUM_ROUNDS + 1):
        begin = time.perf_counter()
        network(ids_BT)
        times_s.append(time.perf_counter() - begin)
    return 1000 * min(times_s[1:])


def choose_threads(times_ms: Mapping[int, float]) -> int:
    """The number to use: the smallest one that no larger one clearly beats."""
    chosen = min(times_ms)
    for count in sorted(times_ms):
        if times_ms[count] < WORTH_MORE_THREADS * times_ms[chosen]:
            chosen = count
    return chosen
