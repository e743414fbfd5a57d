"""Adding a layer's output to the residual stream and norming the sum, in one launch.

Knows no layers. Shape suffixes: R rows, D width, P parts of a sum (see `linear`).
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor


def add_norm(
    x_RD: Tensor, parts_PRD: Tensor | None, weight_D: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """RMS norm (Zhang & Sennrich 2019) of the stream plus the parts, (R, D) in `dtype`.

    Args:
        x_RD: residual stream, float32; the parts are added to it in place, in their order.
        parts_PRD: parts of a layer's output, float32; None to norm the stream as it stands.
        weight_D: the learned scale.
        eps: keeps the root away from zero.
        dtype: of the result.
    """
    num_rows, width = x_RD.shape
    normed_RD = torch.empty(num_rows, width, dtype=dtype, device=x_RD.device)
    _add_norm[(num_rows,)](
        x_RD,
        x_RD if parts_PRD is None else parts_PRD,
        weight_D,
        normed_RD,
        num_rows,
        width,
        eps,
        NUM_PARTS=0 if parts_PRD is None else len(parts_PRD),
        BLOCK_D=triton.next_power_of_2(width),
        num_warps=4,
    )
    return normed_RD


def add_norm_twin(
    x_RD: Tensor, parts_PRD: Tensor | None, weight_D: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """See `add_norm`."""
    if parts_PRD is not None:
        x_RD += parts_PRD.sum(0)
    return F.rms_norm(x_RD, weight_D.shape, weight_D.float(), eps).to(dtype)


@triton.jit
def _add_norm(
    x,
    parts,
    weight,
    normed,
    num_rows,
    width,
    eps,
    NUM_PARTS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0)
    d = tl.arange(0, BLOCK_D)
    is_input = d < width
    stream = tl.load(x + row * width + d, mask=is_input, other=0.0)
    for part in range(NUM_PARTS):
        stream += tl.load(parts + (part * num_rows + row) * width + d, mask=is_input, other=0.0)
    if NUM_PARTS > 0:
        tl.store(x + row * width + d, stream, mask=is_input)
    scale = tl.rsqrt(tl.sum(stream * stream, axis=0) / width + eps)
    learned = tl.load(weight + d, mask=is_input, other=0.0).to(tl.float32)
    tl.store(
        normed + row * width + d,
        (stream * scale * learned).to(normed.dtype.element_ty),
        mask=is_input,
    )
