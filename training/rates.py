"""What a machine can do, and what a step of training needs: floating-point operations.

Counts are of useful work: what a mask hides is not counted, so their share of the machine's
measured rate shows that waste, too. Knows no clock but for the measurement itself.
"""

import time
from collections.abc import Sequence

import torch

from model.config import ModelConfig
from training.recipes import Recipe

_SIZES = {"cuda": 8192, "cpu": 512}


def matmul_rate(device: torch.device, dtype: torch.dtype, *, repeats: int = 20) -> float:
    """Operations a second of a large matrix product of random numbers, by the median of repeats."""
    size = _SIZES[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        torch.mm(a, b)
        wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / sorted(seconds[3:])[repeats // 2]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def record_operations(config: ModelConfig, recipe: Recipe, lengths: Sequence[int]) -> float:
    """Operations of a mean record, forward and backward, of a low-rank update of a frozen base.

    A multiplication by a frozen weight counts twice (value, and gradient of its input), by a
    trained one three times.

    Args:
        config: of the network.
        recipe: stage `fim` or one that denoises, which counts as stage `adapt` does.
        lengths: tokens of records, before they are cut.
    """
    cut = torch.tensor([min(length, recipe.max_tokens) for length in lengths]).double()
    num_tokens, num_pairs = float(cut.mean()), float((cut**2).mean()) / 2
    q_width = config.num_heads * config.head_dim
    kv_width = config.num_kv_heads * config.head_dim
    shapes = (
        (config.width, q_width + 2 * kv_width),
        (q_width, config.width),
        (config.width, 2 * config.ffn_width),
        (config.ffn_width, config.width),
    )
    linear = 2 * config.num_layers * sum(a * b for a, b in shapes)
    low_rank = 2 * config.num_layers * recipe.rank * sum(a + b for a, b in shapes)
    pair = 4 * config.num_layers * q_width
    head = 2 * config.width * config.vocab_size
    if recipe.stage == "fim":
        rows = num_tokens * (2 * linear + 3 * low_rank)
        return rows + 3 * pair * num_pairs + 2 * head * num_tokens / 2
    if recipe.vocabulary_size is not None:
        head = 2 * config.width * min(recipe.vocabulary_size, config.vocab_size)
    slots = sum(recipe.block_sizes) / max(len(recipe.block_sizes), 1)
    num_rows = recipe.blocks_per_record * slots
    clean = num_tokens * (linear + head) + pair * num_pairs
    noisy = num_rows * (2 * linear + 3 * low_rank + 3 * pair * (num_tokens / 2 + slots))
    return clean + noisy + 3 * head * num_rows * (slots - 1) / max(slots, 1)
