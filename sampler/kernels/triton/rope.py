"""From the parts of a query-key-value product to rotated queries and the cache.

Adds the parts and the bias, rotates by each row's own position (RoFormer 2104.09864, halves
convention) and writes keys and values behind the context, in one launch. Knows no attention.

Shape suffixes: R rows, N outputs of the product (H · K + 2 · G · K), H query heads, G key/value
heads, K head dim, P parts of a sum (see `linear`), Q sequences, S slots, T positions, B segments
(see `segments`).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sampler.kernels.triton.segments import segment_of, segments


def rotate_and_store(
    parts_PRN: Tensor,
    bias_N: Tensor | None,
    cos_TK: Tensor,
    sin_TK: Tensor,
    offsets_R: Tensor,
    bounds: Tensor,
    sequences_B: Tensor,
    lengths_B: Tensor,
    keys_QGSK: Tensor,
    values_QGSK: Tensor,
) -> Tensor:
    """Rotated queries (R, H, K) in the cache's type.

    K/V of a segment's row i go to slot `length + i` of its sequence.

    Args:
        parts_PRN: parts of the product, float32.
        bias_N: its bias.
        cos_TK: cosines of all positions.
        sin_TK: sines likewise.
        offsets_R: where each row stands, counted from `length`, int64.
        bounds: see `segments`.
        sequences_B: which sequence the rows of a segment are of, int64, on the device.
        lengths_B: slots of its context, int64, on the device.
        keys_QGSK: keys of all sequences, written to.
        values_QGSK: values likewise.
    """
    num_parts, num_rows, num_outputs = parts_PRN.shape
    _, num_kv_heads, num_slots, head_dim = keys_QGSK.shape
    num_heads = num_outputs // head_dim - 2 * num_kv_heads
    assert keys_QGSK.stride() == values_QGSK.stride()
    queries_RHK = torch.empty(
        num_rows, num_heads, head_dim, dtype=keys_QGSK.dtype, device=keys_QGSK.device
    )
    _rotate_and_store[(num_rows, num_heads + 2 * num_kv_heads)](
        parts_PRN,
        parts_PRN if bias_N is None else bias_N,
        cos_TK,
        sin_TK,
        offsets_R,
        bounds,
        sequences_B,
        lengths_B,
        queries_RHK,
        keys_QGSK,
        values_QGSK,
        num_rows,
        num_outputs,
        num_slots,
        len(cos_TK),
        keys_QGSK.stride(0),
        keys_QGSK.stride(1),
        num_heads,
        num_kv_heads,
        NUM_SEGMENTS=len(sequences_B),
        NUM_PARTS=num_parts,
        HAS_BIAS=bias_N is not None,
        HALF=head_dim // 2,
        num_warps=1,
    )
    return queries_RHK


def rotate_and_store_twin(
    parts_PRN: Tensor,
    bias_N: Tensor | None,
    cos_TK: Tensor,
    sin_TK: Tensor,
    offsets_R: Tensor,
    bounds: Tensor,
    sequences_B: Tensor,
    lengths_B: Tensor,
    keys_QGSK: Tensor,
    values_QGSK: Tensor,
) -> Tensor:
    """See `rotate_and_store`."""
    _, num_rows, num_outputs = parts_PRN.shape
    _, num_kv_heads, num_slots, head_dim = keys_QGSK.shape
    qkv_RN = parts_PRN.sum(0)
    if bias_N is not None:
        qkv_RN = qkv_RN + bias_N.float()
    heads_RHK = qkv_RN.view(num_rows, -1, head_dim)
    num_heads = num_outputs // head_dim - 2 * num_kv_heads
    values_RGK = heads_RHK[:, num_heads + num_kv_heads :].to(values_QGSK.dtype)
    rotated_RHK = torch.empty_like(heads_RHK[:, : num_heads + num_kv_heads])
    for rows, sequence, length in segments(bounds, sequences_B, lengths_B):
        positions_R = (length + offsets_R[rows]).clamp(max=len(cos_TK) - 1)
        cos_R1K, sin_R1K = cos_TK[positions_R, None].float(), sin_TK[positions_R, None].float()
        unrotated_RHK = heads_RHK[rows, : num_heads + num_kv_heads]
        low, high = unrotated_RHK.chunk(2, dim=-1)
        rotated_RHK[rows] = unrotated_RHK * cos_R1K + torch.cat((-high, low), dim=-1) * sin_R1K
        num_stored = min(rows.stop - rows.start, num_slots - length)
        stored, slots = (
            slice(rows.start, rows.start + num_stored),
            slice(length, length + num_stored),
        )
        keys_RGK = rotated_RHK[stored, num_heads:].to(keys_QGSK.dtype)
        keys_QGSK[sequence, :, slots] = keys_RGK.transpose(0, 1)
        values_QGSK[sequence, :, slots] = values_RGK[stored].transpose(0, 1)
    return rotated_RHK[:, :num_heads].to(keys_QGSK.dtype)


@triton.jit
def _rotate_and_store(
    parts,
    bias,
    cos,
    sin,
    offsets,
    bounds,
    sequences,
    lengths,
    queries,
    keys,
    values,
    num_rows,
    num_outputs,
    num_slots,
    num_positions,
    sequence_stride,
    head_stride,
    num_heads,
    num_kv_heads,
    NUM_SEGMENTS: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HALF: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    k = tl.arange(0, HALF)
    column = head * 2 * HALF + k
    low = tl.zeros((HALF,), tl.float32)
    high = tl.zeros((HALF,), tl.float32)
    for part in range(NUM_PARTS):
        source = parts + (part * num_rows + row) * num_outputs + column
        low += tl.load(source)
        high += tl.load(source + HALF)
    if HAS_BIAS:
        low += tl.load(bias + column).to(tl.float32)
        high += tl.load(bias + column + HALF).to(tl.float32)
    segment, first, _ = segment_of(bounds, row, NUM_SEGMENTS)
    start = tl.load(lengths + segment)
    if head < num_heads + num_kv_heads:
        position = tl.minimum(start + tl.load(offsets + row), num_positions - 1)
        angle = position * 2 * HALF + k
        cos_low, sin_low = tl.load(cos + angle).to(tl.float32), tl.load(sin + angle).to(tl.float32)
        cos_high = tl.load(cos + angle + HALF).to(tl.float32)
        sin_high = tl.load(sin + angle + HALF).to(tl.float32)
        rotated = low * cos_low - high * sin_low
        high = high * cos_high + low * sin_high
        low = rotated
    if head < num_heads:
        query = queries + (row * num_heads + head) * 2 * HALF + k
        tl.store(query, low.to(queries.dtype.element_ty))
        tl.store(query + HALF, high.to(queries.dtype.element_ty))
    else:
        slot = start + row - first
        is_slot = slot + k * 0 < num_slots
        kv_head = (head - num_heads) % num_kv_heads
        place = tl.load(sequences + segment) * sequence_stride + kv_head * head_stride
        place += slot * 2 * HALF + k
        if head < num_heads + num_kv_heads:
            tl.store(keys + place, low.to(keys.dtype.element_ty), mask=is_slot)
            tl.store(keys + place + HALF, high.to(keys.dtype.element_ty), mask=is_slot)
        else:
            tl.store(values + place, low.to(values.dtype.element_ty), mask=is_slot)
            tl.store(values + place + HALF, high.to(values.dtype.element_ty), mask=is_slot)
