"""K/V of all cached sequences in two tensors at fixed addresses, which captured graphs need.

A sequence is an index that the kernels read on the device, so one graph serves all sequences.
Knows neither tokens nor policy.

Shape suffixes: Q sequences, N layers, G key/value heads, S slots, K head dim, B sequences of one
forward.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ModelConfig
from model.network import KVCache


@dataclass(frozen=True)
class Contexts:
    """What the rows of a forward stand behind."""

    sequences_B: Tensor
    """Which sequences, int64, on the device."""
    lengths_B: Tensor
    """Slots of their contexts, int64, on the device."""


class Arena:
    """Room for `num_sequences` sequences of `num_positions` tokens and a forward behind each."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_sequences: int,
        num_positions: int,
        num_scratch: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_sequences, self.num_positions = num_sequences, num_positions
        self.num_slots = num_positions + num_scratch
        shape = (
            num_sequences,
            config.num_layers,
            config.num_kv_heads,
            self.num_slots,
            config.head_dim,
        )
        self.keys_QNGSK = torch.zeros(shape, dtype=dtype, device=device)
        self.values_QNGSK = torch.zeros(shape, dtype=dtype, device=device)

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values (Q, G, S, K) of one layer."""
        return self.keys_QNGSK[:, index], self.values_QNGSK[:, index]

    def sequence(self, index: int) -> KVCache:
        """The same memory as the network's own cache of one sequence."""
        layers = range(self.keys_QNGSK.shape[1])
        return KVCache(
            [self.keys_QNGSK[index : index + 1, layer] for layer in layers],
            [self.values_QNGSK[index : index + 1, layer] for layer in layers],
        )
