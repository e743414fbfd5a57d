"""Attention of a few rows over a context of any length and over each other, as told by a mask.

The slots are split into chunks of a fixed size, one program each (flash-decoding); a second launch
adds the chunks in their order. Where the context ends is read on the device, so one launch serves
all lengths up to its bucket. Rows may be of several sequences; a program's are of one. Chunks lie
at fixed slots and the first operands are of fixed size, so that what a row gets depends neither on
the rows beside it nor on the bucket.

Knows neither layers nor tokens. Shape suffixes: R rows, H query heads, G key/value heads, K head
dim, Q sequences, S slots, M = R · H/G, C chunks, B segments (see `segments`).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sampler.kernels.triton.segments import segment_of, segment_of_tile, segments

CHUNK = 128
"""Slots per program."""
MOST_MEMBERS = 32
"""Queries per program; 64 do not fit the registers."""
NUM_WARPS = 4


def attention(
    queries_RHK: Tensor,
    keys_QGSK: Tensor,
    values_QGSK: Tensor,
    is_visible_RR: Tensor,
    bounds: Tensor,
    sequences_B: Tensor,
    lengths_B: Tensor,
    bucket: int,
) -> Tensor:
    """What the rows attend to, (R, H · K) in the queries' type.

    Args:
        queries_RHK: rotated queries; query heads that share a key/value head are neighbors.
        keys_QGSK: keys of all sequences; those of a segment's row i are at slot `length + i`.
        values_QGSK: values likewise.
        is_visible_RR: bool, whether a row sees another one of its segment; every row sees the whole
            context of its sequence, and none sees a row of another segment.
        bounds: see `segments`.
        sequences_B: which sequence the rows of a segment are of, int64, on the device.
        lengths_B: slots of its context, int64, on the device.
        bucket: slots that are looked at; for each segment at least `length` and its rows.
    """
    num_rows, num_heads, head_dim = queries_RHK.shape
    _, num_kv_heads, num_slots, _ = keys_QGSK.shape
    assert head_dim >= 16
    assert head_dim == triton.next_power_of_2(head_dim), "tiles have powers of two"
    assert queries_RHK.is_contiguous()
    assert keys_QGSK.stride() == values_QGSK.stride()
    group_size = num_heads // num_kv_heads
    num_members = num_rows * group_size
    block_members = min(max(triton.next_power_of_2(num_members), 16), MOST_MEMBERS)
    num_chunks = triton.cdiv(min(bucket, num_slots), CHUNK)
    shape = (num_chunks, num_kv_heads, num_members)
    sums_CGMK = torch.empty((*shape, head_dim), dtype=torch.float32, device=queries_RHK.device)
    tops_CGM = torch.empty(shape, dtype=torch.float32, device=queries_RHK.device)
    weights_CGM = torch.empty_like(tops_CGM)
    num_segments = len(sequences_B)
    # Each segment may leave its last tile unfilled.
    num_tiles = triton.cdiv(num_members, block_members) + num_segments - 1
    _chunks[(num_tiles, num_kv_heads, num_chunks)](
        queries_RHK,
        keys_QGSK,
        values_QGSK,
        is_visible_RR.view(torch.int8),
        bounds,
        sequences_B,
        lengths_B,
        sums_CGMK,
        tops_CGM,
        weights_CGM,
        num_rows,
        num_slots,
        keys_QGSK.stride(0),
        keys_QGSK.stride(1),
        num_kv_heads,
        head_dim**-0.5,
        NUM_SEGMENTS=num_segments,
        GROUP=group_size,
        HEAD_DIM=head_dim,
        CHUNK=CHUNK,
        BLOCK_M=block_members,
        num_warps=NUM_WARPS,
        num_stages=2,
    )
    attended_RHK = torch.empty_like(queries_RHK)
    _combine[(num_rows, num_heads)](
        sums_CGMK,
        tops_CGM,
        weights_CGM,
        bounds,
        lengths_B,
        attended_RHK,
        num_chunks,
        num_kv_heads,
        num_rows,
        NUM_SEGMENTS=num_segments,
        GROUP=group_size,
        HEAD_DIM=head_dim,
        CHUNK=CHUNK,
        num_warps=1,
    )
    return attended_RHK.view(num_rows, -1)


def attention_twin(
    queries_RHK: Tensor,
    keys_QGSK: Tensor,
    values_QGSK: Tensor,
    is_visible_RR: Tensor,
    bounds: Tensor,
    sequences_B: Tensor,
    lengths_B: Tensor,
    bucket: int,
) -> Tensor:
    """See `attention`."""
    num_heads, head_dim = queries_RHK.shape[1:]
    group_size = num_heads // keys_QGSK.shape[1]
    attended_RHK = torch.empty_like(queries_RHK)
    for rows, sequence, length in segments(bounds, sequences_B, lengths_B):
        end = length + rows.stop - rows.start
        assert end <= bucket, "the bucket is too small for the context"
        keys_HSK = keys_QGSK[sequence, :, :end].float().repeat_interleave(group_size, 0)
        values_HSK = values_QGSK[sequence, :, :end].float().repeat_interleave(group_size, 0)
        queries_HRK = queries_RHK[rows].float().transpose(0, 1)
        scores_HRS = queries_HRK @ keys_HSK.transpose(1, 2) * head_dim**-0.5
        scores_HRS[:, :, length:].masked_fill_(~is_visible_RR[rows, rows], -torch.inf)
        attended_RHK[rows] = (
            (scores_HRS.softmax(-1) @ values_HSK).transpose(0, 1).to(queries_RHK.dtype)
        )
    return attended_RHK.view(len(queries_RHK), -1)


@triton.jit
def _chunks(
    queries,
    keys,
    values,
    is_visible,
    bounds,
    sequences,
    lengths,
    sums,
    tops,
    weights,
    num_rows,
    num_slots,
    sequence_stride,
    head_stride,
    num_kv_heads,
    scale,
    NUM_SEGMENTS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    kv_head, chunk = tl.program_id(1), tl.program_id(2)
    segment, tile = segment_of_tile(bounds, tl.program_id(0), GROUP, BLOCK_M, NUM_SEGMENTS)
    first = tl.load(bounds + segment).to(tl.int32)
    end = tl.load(bounds + segment + 1).to(tl.int32)
    start = tl.load(lengths + segment)
    stop = start + end - first
    if (tile * BLOCK_M < (end - first) * GROUP) & (chunk * CHUNK < stop):
        m = first * GROUP + tile * BLOCK_M + tl.arange(0, BLOCK_M)
        s = chunk * CHUNK + tl.arange(0, CHUNK)
        k = tl.arange(0, HEAD_DIM)
        row = m // GROUP
        head = kv_head * GROUP + m % GROUP
        is_member = row < end
        is_slot = (s < stop) & (s < num_slots)
        base = tl.load(sequences + segment) * sequence_stride + kv_head * head_stride
        # Columns are queries: (head dim, members), so that the slots are the first operand.
        query = tl.load(
            queries + (row[None, :] * GROUP * num_kv_heads + head[None, :]) * HEAD_DIM + k[:, None],
            mask=is_member[None, :],
            other=0.0,
        )
        at = base + s[:, None] * HEAD_DIM + k[None, :]
        key = tl.load(keys + at, mask=is_slot[:, None], other=0.0)
        score = tl.dot(key, query, input_precision="ieee") * scale
        fresh = s - start
        is_fresh = (fresh >= 0) & is_slot
        sees = tl.load(
            is_visible + row[None, :] * num_rows + first + fresh[:, None],
            mask=is_fresh[:, None] & is_member[None, :],
            other=0,
        )
        is_seen = is_slot[:, None] & ((fresh < 0)[:, None] | (sees != 0))
        score = tl.where(is_seen, score, float("-inf"))
        top = tl.max(score, axis=0)
        # A row that sees nothing of this chunk has weight 0 here, not NaN.
        weight = tl.exp(score - tl.where(top == float("-inf"), 0.0, top)[None, :])
        value = tl.load(values + at, mask=is_slot[:, None], other=0.0)
        mixed = tl.dot(tl.trans(value), weight.to(value.dtype), input_precision="ieee")
        part = (chunk * num_kv_heads + kv_head) * num_rows * GROUP + m
        tl.store(sums + part[None, :] * HEAD_DIM + k[:, None], mixed, mask=is_member[None, :])
        tl.store(tops + part, top, mask=is_member)
        tl.store(weights + part, tl.sum(weight, axis=0), mask=is_member)


@triton.jit
def _combine(
    sums,
    tops,
    weights,
    bounds,
    lengths,
    attended,
    num_chunks,
    num_kv_heads,
    num_rows,
    NUM_SEGMENTS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    k = tl.arange(0, HEAD_DIM)
    kv_head = head // GROUP
    member = row * GROUP + head % GROUP
    segment, _, count = segment_of(bounds, row, NUM_SEGMENTS)
    used = tl.minimum(tl.cdiv(tl.load(lengths + segment) + count, CHUNK), num_chunks)
    highest = float("-inf")
    total = 0.0
    mixed = tl.zeros((HEAD_DIM,), tl.float32)
    # The first chunk holds the context's first slot or the row itself: never is all weight zero.
    for chunk in range(0, used):
        part = (chunk * num_kv_heads + kv_head) * num_rows * GROUP + member
        top = tl.load(tops + part)
        rise = tl.maximum(highest, top)
        safe = tl.where(rise == float("-inf"), 0.0, rise)
        before, here = tl.exp(highest - safe), tl.exp(top - safe)
        mixed = mixed * before + tl.load(sums + part * HEAD_DIM + k) * here
        total = total * before + tl.load(weights + part) * here
        highest = rise
    at = attended + (row * num_kv_heads * GROUP + head) * HEAD_DIM + k
    tl.store(at, (mixed / total).to(attended.dtype.element_ty))
