"""Linear layers whose weights lie in oneDNN's own blocked order, for inference on a CPU.

A plain linear layer reorders its weights on every call; with few rows that costs as much as the
product itself. One row to 16 rows, bf16, one Zen 4 core: 1.7 to 2.8 times as fast; 512 rows: equal
(`tests/bench/bench_forward.py`). Packed layers can be neither trained, saved nor moved.

Knows nothing of the network: any module's linear layers can be packed.
"""

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer for inference, bit for bit the product that oneDNN gives for the plain one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # Not a buffer: a packed tensor has no strides, so nothing may copy, move or save it.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return y


def is_packable(linear: nn.Linear) -> bool:
    """Whether oneDNN multiplies weights of this type, on this device, on this machine."""
    weight = linear.weight
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    has_bfloat16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_bfloat16)


@torch.no_grad()
def pack(module: nn.Module) -> None:
    """Replace every linear layer below `module` by a packed one, where that is possible.

    Memory: a layer's plain weights are freed as it goes, unless something else still holds them,
    as the input embedding holds a tied head.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and is_packable(child):
                setattr(parent, name, PackedLinear(child))
