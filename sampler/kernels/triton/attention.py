"""Attention of a few rows over a context of any length and over each other, as told by a mask.

The slots are split into chunks of a fixed size, one program each (flash-decoding); a second launch
adds the chunks in their order. Where the context ends is read on the device, so one launch serves
all lengths up to its bucket. Chunks lie at fixed slots and the first operands are of fixed size,
so that what a row gets depends neither on the rows beside it nor on the bucket.

Knows neither layers nor tokens. Shape suffixes: R rows, H query heads, G key/value heads, K head
dim, Q sequences, S slots, M = R · H/G, C chunks.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

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
    sequence_1: Tensor,
    length_1: Tensor,
    bucket: int,
) -> Tensor:
    """What the rows attend to, (R, H · K) in the queries' type.

    Args:
        queries_RHK: rotated queries; query heads that share a key/value head are neighbors.
        keys_QGSK: keys of all sequences; those of row i are at slot `length + i`.
        values_QGSK: values likewise.
        is_visible_RR: bool, whether a row sees another; every row sees the whole context.
        sequence_1: which sequence, int64, on the device.
        length_1: slots of its context, int64, on the device.
        bucket: slots that are looked at; at least `length + R`.
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
    _chunks[(triton.cdiv(num_members, block_members), num_kv_heads, num_chunks)](
        queries_RHK,
        keys_QGSK,
        values_QGSK,
        is_visible_RR.view(torch.int8),
        sequence_1,
        length_1,
        sums_CGMK,
        tops_CGM,
        weights_CGM,
        num_rows,
        num_slots,
        keys_QGSK.stride(0),
        keys_QGSK.stride(1),
        num_kv_heads,
        head_dim**-0.5,
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
        length_1,
        attended_RHK,
        num_rows,
        num_chunks,
        num_kv_heads,
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
    sequence_1: Tensor,
    length_1: Tensor,
    bucket: int,
) -> Tensor:
    """See `attention`."""
    num_rows, num_heads, head_dim = queries_RHK.shape
    sequence, length = int(sequence_1), int(length_1)
    end = length + num_rows
    assert end <= bucket, "the bucket is too small for the context"
    group_size = num_heads // keys_QGSK.shape[1]
    keys_HSK = keys_QGSK[sequence, :, :end].float().repeat_interleave(group_size, 0)
    values_HSK = values_QGSK[sequence, :, :end].float().repeat_interleave(group_size, 0)
    scores_HRS = queries_RHK.float().transpose(0, 1) @ keys_HSK.transpose(1, 2) * head_dim**-0.5
    scores_HRS[:, :, length:].masked_fill_(~is_visible_RR, -torch.inf)
    attended_HRK: Tensor = scores_HRS.softmax(-1) @ values_HSK
    return attended_HRK.transpose(0, 1).reshape(num_rows, -1).to(queries_RHK.dtype)


@triton.jit
def _chunks(
    queries,
    keys,
    values,
    is_visible,
    sequence,
    length,
    sums,
    tops,
    weights,
    num_rows,
    num_slots,
    sequence_stride,
    head_stride,
    num_kv_heads,
    scale,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    kv_head, chunk = tl.program_id(1), tl.program_id(2)
    start = tl.load(length)
    if chunk * CHUNK < start + num_rows:
        m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
        s = chunk * CHUNK + tl.arange(0, CHUNK)
        k = tl.arange(0, HEAD_DIM)
        row = m // GROUP
        head = kv_head * GROUP + m % GROUP
        is_member = row < num_rows
        is_slot = (s < start + num_rows) & (s < num_slots)
        base = tl.load(sequence) * sequence_stride + kv_head * head_stride
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
            is_visible + row[None, :] * num_rows + fresh[:, None],
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
    length,
    attended,
    num_rows,
    num_chunks,
    num_kv_heads,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row, head = tl.program_id(0), tl.program_id(1)
    k = tl.arange(0, HEAD_DIM)
    kv_head = head // GROUP
    member = row * GROUP + head % GROUP
    used = tl.minimum(tl.cdiv(tl.load(length) + num_rows, CHUNK), num_chunks)
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
