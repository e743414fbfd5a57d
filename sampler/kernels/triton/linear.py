"""Linear layers over few rows, with the gated low-rank update in the same launch.

Few rows read each weight once and do little with it, so time is the bytes of the weights. The
weights are the first operand of the product and the rows the second: a row's sum is then formed in
the same order whatever stands beside it, and one tile holds all rows. The sum over the inputs is
split over programs so that all multiprocessors read at once; whoever comes next adds the parts.

Knows neither layers nor what the rows mean.

Shape suffixes: R rows, D inputs, N outputs, F outputs of a gated pair (N = 2 F), E rank of the
update (padded), P parts of the sum.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from model.adapter import LowRank

NUM_PROGRAMS = 132
"""How many programs a launch is cut into at least, where it can be: an H200's multiprocessors."""
BLOCK_N = 64
"""Outputs per program."""
BLOCK_GATE = 32
"""Outputs per program of `swiglu`, each with what it gates."""
NUM_WARPS, NUM_STAGES = 4, 3
MIN_TILE = 16
"""Smallest side of a matrix product's operands."""


@dataclass(frozen=True)
class Update:
    """A low-rank update in the network's type; the rank is padded with zeros, B is scaled."""

    a_ED: Tensor
    b_NE: Tensor

    @staticmethod
    def of(low_rank: LowRank, dtype: torch.dtype) -> "Update":
        """What the kernels read of a `LowRank`."""
        a_ED, b_NE = low_rank.a.detach(), low_rank.b.detach().float() * low_rank.scale
        missing = max(triton.next_power_of_2(len(a_ED)), MIN_TILE) - len(a_ED)
        return Update(
            F.pad(a_ED, (0, 0, 0, missing)).to(dtype).contiguous(),
            F.pad(b_NE, (0, missing)).to(dtype).contiguous(),
        )


def part_width(width: int, num_outputs: int) -> int:
    """Inputs per part of a sum; depends on the layer only, so that any number of rows agrees."""
    num_tiles = triton.cdiv(num_outputs, BLOCK_N)
    num_parts = max(NUM_PROGRAMS // num_tiles, 1)
    return int(triton.cdiv(triton.cdiv(width, num_parts), 128) * 128)


def linear(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None = None, is_gated_R: Tensor | None = None
) -> Tensor:
    """Parts (P, R, N) float32 of x W^T, the update added on gated rows; their sum is the output."""
    (num_rows, width), num_outputs = x_RD.shape, len(weight_ND)
    per_part = part_width(width, num_outputs)
    num_parts = triton.cdiv(width, per_part)
    parts_PRN = torch.empty(
        num_parts, num_rows, num_outputs, dtype=torch.float32, device=x_RD.device
    )
    grid = (triton.cdiv(num_outputs, BLOCK_N), num_parts, _num_row_blocks(num_rows))
    _linear[grid](
        out=parts_PRN,
        num_outputs=num_outputs,
        per_part=per_part,
        BLOCK_N=BLOCK_N,
        **_arguments(x_RD, weight_ND, update, is_gated_R),
    )
    return parts_PRN


def linear_twin(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None = None, is_gated_R: Tensor | None = None
) -> Tensor:
    """See `linear`; one part."""
    return _product(x_RD, weight_ND, update, is_gated_R)[None]


def swiglu(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None = None, is_gated_R: Tensor | None = None
) -> Tensor:
    """silu(gate) · up (R, F) in the type of `x_RD`; the first half of the outputs is the gate."""
    num_rows, num_outputs = len(x_RD), len(weight_ND) // 2
    product_RF = torch.empty(num_rows, num_outputs, dtype=x_RD.dtype, device=x_RD.device)
    grid = (triton.cdiv(num_outputs, BLOCK_GATE), _num_row_blocks(num_rows))
    _swiglu[grid](
        out=product_RF,
        num_outputs=num_outputs,
        BLOCK_N=BLOCK_GATE,
        **_arguments(x_RD, weight_ND, update, is_gated_R),
    )
    return product_RF


def swiglu_twin(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None = None, is_gated_R: Tensor | None = None
) -> Tensor:
    """See `swiglu`."""
    gate_RF, up_RF = _product(x_RD, weight_ND, update, is_gated_R).chunk(2, dim=-1)
    return (F.silu(gate_RF) * up_RF).to(x_RD.dtype)


def _product(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None, is_gated_R: Tensor | None
) -> Tensor:
    y_RN = F.linear(x_RD.float(), weight_ND.float())
    if update is None:
        return y_RN
    assert is_gated_R is not None, "an update needs to know its rows"
    low_RE = F.linear(x_RD.float(), update.a_ED.float()).to(x_RD.dtype)
    return y_RN + F.linear(low_RE.float(), update.b_NE.float()) * is_gated_R[:, None]


def _arguments(
    x_RD: Tensor, weight_ND: Tensor, update: Update | None, is_gated_R: Tensor | None
) -> dict[str, Any]:
    """What both kernels are launched with; without an update, nothing of it is read."""
    assert x_RD.is_contiguous()
    assert weight_ND.is_contiguous()
    a, b, gate = weight_ND, weight_ND, weight_ND
    if update is not None:
        assert is_gated_R is not None, "an update needs to know its rows"
        a, b, gate = update.a_ED, update.b_NE, is_gated_R.view(torch.int8)
    num_rows, width = x_RD.shape
    return {
        "x": x_RD,
        "weight": weight_ND,
        "a": a,
        "b": b,
        "gate": gate,
        "num_rows": num_rows,
        "width": width,
        "HAS_UPDATE": update is not None,
        "RANK": MIN_TILE if update is None else len(update.a_ED),
        # The bytes of a step of the sum are the same for both types.
        "BLOCK_D": 128 if x_RD.dtype == torch.bfloat16 else 64,
        "BLOCK_R": _block_rows(num_rows),
        "num_warps": NUM_WARPS,
        "num_stages": NUM_STAGES,
    }


def _block_rows(num_rows: int) -> int:
    return int(min(max(triton.next_power_of_2(num_rows), MIN_TILE), 64))


def _num_row_blocks(num_rows: int) -> int:
    return int(triton.cdiv(num_rows, _block_rows(num_rows)))


@triton.jit
def _gated(low, b, gate, n, r, is_output, is_row, RANK: tl.constexpr):
    """B times the low-rank product of the gated rows, (outputs, rows)."""
    e = tl.arange(0, RANK)
    is_gated = tl.load(gate + r, mask=is_row, other=0) != 0
    b_tile = tl.load(b + n[:, None] * RANK + e[None, :], mask=is_output[:, None], other=0.0)
    low = tl.where(is_gated[None, :], low, 0.0).to(b_tile.dtype)
    return tl.dot(b_tile, low, input_precision="ieee")


@triton.jit
def _linear(
    x,
    weight,
    a,
    b,
    gate,
    out,
    num_rows,
    num_outputs,
    width,
    per_part,
    HAS_UPDATE: tl.constexpr,
    RANK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(1)
    r = tl.program_id(2) * BLOCK_R + tl.arange(0, BLOCK_R)
    e = tl.arange(0, RANK)
    is_output, is_row = n < num_outputs, r < num_rows
    total = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    low = tl.zeros((RANK, BLOCK_R), tl.float32)
    begin = part * per_part
    for offset in range(begin, min(begin + per_part, width), BLOCK_D):
        d = offset + tl.arange(0, BLOCK_D)
        is_input = d < width
        w_tile = tl.load(
            weight + n[:, None].to(tl.int64) * width + d[None, :],
            mask=is_output[:, None] & is_input[None, :],
            other=0.0,
        )
        x_tile = tl.load(
            x + r[None, :] * width + d[:, None],
            mask=is_row[None, :] & is_input[:, None],
            other=0.0,
        )
        total = tl.dot(w_tile, x_tile, total, input_precision="ieee")
        if HAS_UPDATE:
            a_tile = tl.load(a + e[:, None] * width + d[None, :], mask=is_input[None, :], other=0.0)
            low = tl.dot(a_tile, x_tile, low, input_precision="ieee")
    if HAS_UPDATE:
        total += _gated(low, b, gate, n, r, is_output, is_row, RANK)
    tl.store(
        out + (part * num_rows + r[None, :]) * num_outputs + n[:, None],
        total,
        mask=is_output[:, None] & is_row[None, :],
    )


@triton.jit
def _swiglu(
    x,
    weight,
    a,
    b,
    gate,
    out,
    num_rows,
    num_outputs,
    width,
    HAS_UPDATE: tl.constexpr,
    RANK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    e = tl.arange(0, RANK)
    is_output, is_row = n < num_outputs, r < num_rows
    first = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    second = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    low = tl.zeros((RANK, BLOCK_R), tl.float32)
    for offset in range(0, width, BLOCK_D):
        d = offset + tl.arange(0, BLOCK_D)
        is_input = d < width
        is_weight = is_output[:, None] & is_input[None, :]
        at = weight + n[:, None].to(tl.int64) * width + d[None, :]
        first_tile = tl.load(at, mask=is_weight, other=0.0)
        second_tile = tl.load(at + num_outputs * width, mask=is_weight, other=0.0)
        x_tile = tl.load(
            x + r[None, :] * width + d[:, None],
            mask=is_row[None, :] & is_input[:, None],
            other=0.0,
        )
        first = tl.dot(first_tile, x_tile, first, input_precision="ieee")
        second = tl.dot(second_tile, x_tile, second, input_precision="ieee")
        if HAS_UPDATE:
            a_tile = tl.load(a + e[:, None] * width + d[None, :], mask=is_input[None, :], other=0.0)
            low = tl.dot(a_tile, x_tile, low, input_precision="ieee")
    if HAS_UPDATE:
        first += _gated(low, b, gate, n, r, is_output, is_row, RANK)
        second += _gated(low, b + num_outputs * RANK, gate, n, r, is_output, is_row, RANK)
    tl.store(
        out + r[None, :] * num_outputs + n[:, None],
        (first * tl.sigmoid(first) * second).to(out.dtype.element_ty),
        mask=is_output[:, None] & is_row[None, :],
    )
