"""Embeddings of a few rows, MASK included, as the residual stream starts.

Knows no layers. Shape suffixes: R rows, D width, V vocabulary.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


def embed(ids_R: Tensor, weight_VD: Tensor, mask_D: Tensor) -> Tensor:
    """Rows (R, D) float32 of the tokens; any id past the vocabulary is MASK and gets `mask_D`."""
    num_rows, (vocab_size, width) = len(ids_R), weight_VD.shape
    x_RD = torch.empty(num_rows, width, dtype=torch.float32, device=weight_VD.device)
    _embed[(num_rows,)](
        ids_R,
        weight_VD,
        mask_D,
        x_RD,
        vocab_size,
        width,
        BLOCK_D=triton.next_power_of_2(width),
        num_warps=4,
    )
    return x_RD


def embed_twin(ids_R: Tensor, weight_VD: Tensor, mask_D: Tensor) -> Tensor:
    """See `embed`."""
    is_mask_R1 = (ids_R >= len(weight_VD))[:, None]
    return torch.where(is_mask_R1, mask_D, weight_VD[ids_R.clamp(max=len(weight_VD) - 1)]).float()


@triton.jit
def _embed(
    ids,
    weight,
    mask,
    x,
    vocab_size,
    width,
    BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0)
    d = tl.arange(0, BLOCK_D)
    token = tl.load(ids + row)
    if token >= vocab_size:
        value = tl.load(mask + d, mask=d < width, other=0.0)
    else:
        value = tl.load(weight + token * width + d, mask=d < width, other=0.0)
    tl.store(x + row * width + d, value.to(tl.float32), mask=d < width)
