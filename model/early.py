"""Keys and values of rows that leave the network early.

Most of a prompt is only read: of its tokens nothing is wanted but their keys and values. Those of
the upper layers are, for most tokens, nearly a linear function of what a middle layer gets, so such
rows leave there, and the layers above never see them. The rows that go on, those that predict
something, look at keys and values that are made in this way. The first position of a text never
leaves: all rows look at it more than at anything else (attention sink, 2309.17453).

Source: SingleInputKV of SwiftKV (2410.03960), which trains the layers above; here they are as they
were, and one matrix is fitted to them (`training.early`).

Shape suffixes: B batch, T rows, L layers from the one where rows leave, G key/value heads, K head
dim, D width.
"""

import torch
from torch import Tensor, nn

from model.config import ModelConfig


class EarlyKV(nn.Module):
    """What a layer gets, normed → keys, not yet rotated, and values of it and of all above it."""

    def __init__(self, model: ModelConfig, layer: int) -> None:
        """A map of zeros.

        Args:
            model: shapes of the network.
            layer: where rows leave, counted from 0; neither the first nor the last.

        Raises:
            ValueError: if there is no such layer.
        """
        super().__init__()
        if not 0 < layer < model.num_layers - 1:
            raise ValueError(f"Rows cannot leave a network of {model.num_layers} at {layer}.")
        self.layer = layer
        self._shape = (model.num_layers - layer, 2, model.num_kv_heads, model.head_dim)
        num_outputs = self._shape[0] * 2 * model.num_kv_heads * model.head_dim
        self.weight = nn.Parameter(torch.zeros(num_outputs, model.width))
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, normed_BTD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, two of (B, G, T, K), in the type of the rows."""
        return self.apply_map(normed_BTD, self.weight, self.bias)

    def apply_map(
        self, normed_BTD: Tensor, weight: Tensor, bias: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """`forward` with other numbers than its own."""
        dtype = normed_BTD.dtype
        outputs = nn.functional.linear(normed_BTD, weight.to(dtype), bias.to(dtype))
        kv_L2BGTK = outputs.view(*normed_BTD.shape[:2], *self._shape).permute(2, 3, 0, 4, 1, 5)
        return [(kv_2BGTK[0], kv_2BGTK[1]) for kv_2BGTK in kv_L2BGTK]
