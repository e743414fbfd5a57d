"""The head without its logits: the most likely token of each row, its probability, its logit.

A program judges the rows over its share of the vocabulary while it multiplies; a second launch
joins the shares. Logits are not written: for 64 rows over 151,936 tokens they would be 39 MB. The
exception are rows whose candidates are asked for. The K likeliest tokens lie in the K shares with
the highest tops, so that of what is written the second launch reads a few KB a row.
MASK has no row in the head, so no row is ever judged to be MASK.

Knows neither canvas nor acceptance. Shape suffixes: R rows, D width, V vocabulary, C shares,
K candidates.
"""

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.coupling import NUM_CANDIDATES, Candidates, read_candidates

BLOCK_V = 128
"""Tokens per program."""
NUM_WARPS = 4
NUM_STAGES = 2
"""Three need more shared memory than smaller GPUs have."""


@dataclass(frozen=True)
class Verdict:
    """What the head says about each row."""

    tokens_R: Tensor
    """The most likely token, int64; the first of equally likely ones."""
    confidence_R: Tensor
    """Its probability, float32."""
    logits_R: Tensor
    """Its logit, float32."""
    wanted_R: Tensor
    """Logit of the token that was asked about, float32; -inf for one without a row in the head."""
    candidates: Candidates | None = None
    """If they were asked for, with states in the network's type; other rows of it mean nothing."""


def judge(
    x_RD: Tensor, weight_VD: Tensor, wanted_R: Tensor, has_candidates_R: Tensor | None = None
) -> Verdict:
    """What the head says about normed rows.

    Args:
        x_RD: the rows.
        weight_VD: the head.
        wanted_R: a token for each, int64.
        has_candidates_R: bool, the rows whose candidates are asked for; None for none.
    """
    (num_rows, width), vocab_size = x_RD.shape, len(weight_VD)
    assert x_RD.is_contiguous()
    assert weight_VD.is_contiguous()
    num_shares = triton.cdiv(vocab_size, BLOCK_V)
    block_rows = min(max(triton.next_power_of_2(num_rows), 16), 64)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=x_RD.device)

    tops_CR, sums_CR = empty(num_shares, num_rows), empty(num_shares, num_rows)
    ids_CR = empty(num_shares, num_rows, dtype=torch.int32)
    tokens_R = empty(num_rows, dtype=torch.int64)
    verdict = Verdict(tokens_R, empty(num_rows), empty(num_rows), empty(num_rows))
    # Without candidates, nothing of these is read or written.
    gate, written, ids, log_p = wanted_R, tops_CR, tokens_R, tops_CR
    if has_candidates_R is not None:
        assert vocab_size >= NUM_CANDIDATES
        gate, written = has_candidates_R.view(torch.int8), empty(num_rows, vocab_size)
        ids = empty(num_rows, NUM_CANDIDATES, dtype=torch.int64)
        log_p = empty(num_rows, NUM_CANDIDATES)
        verdict = replace(verdict, candidates=Candidates(x_RD, ids, log_p))
    _shares[(num_shares, triton.cdiv(num_rows, block_rows))](
        x_RD,
        weight_VD,
        wanted_R,
        tops_CR,
        ids_CR,
        sums_CR,
        verdict.wanted_R,
        gate,
        written,
        num_rows,
        vocab_size,
        width,
        HAS_CANDIDATES=has_candidates_R is not None,
        BLOCK_V=BLOCK_V,
        BLOCK_D=128 if x_RD.dtype == torch.bfloat16 else 64,
        BLOCK_R=block_rows,
        num_warps=NUM_WARPS,
        num_stages=NUM_STAGES,
    )
    _join[(num_rows,)](
        tops_CR,
        ids_CR,
        sums_CR,
        wanted_R,
        verdict.tokens_R,
        verdict.confidence_R,
        verdict.logits_R,
        verdict.wanted_R,
        gate,
        written,
        ids,
        log_p,
        num_rows,
        num_shares,
        vocab_size,
        NUM_CANDIDATES=0 if has_candidates_R is None else NUM_CANDIDATES,
        BLOCK_V=BLOCK_V,
        BLOCK_C=triton.next_power_of_2(num_shares),
        num_warps=4,
    )
    return verdict


def judge_twin(
    x_RD: Tensor, weight_VD: Tensor, wanted_R: Tensor, has_candidates_R: Tensor | None = None
) -> Verdict:
    """See `judge`."""
    logits_RV = x_RD.float() @ weight_VD.float().T
    logits_R, tokens_R = logits_RV.max(dim=-1)
    candidates = None
    if has_candidates_R is not None:
        candidates = replace(read_candidates(x_RD, logits_RV), hidden_LD=x_RD)
    has_row_R = wanted_R < len(weight_VD)
    known_R = wanted_R.clamp(max=len(weight_VD) - 1)
    wanted_logits_R = logits_RV.gather(1, known_R[:, None])[:, 0]
    return Verdict(
        tokens_R,
        (logits_R - logits_RV.logsumexp(-1)).exp(),
        logits_R,
        wanted_logits_R.masked_fill(~has_row_R, -torch.inf),
        candidates,
    )


@triton.jit
def _shares(
    x,
    weight,
    wanted,
    tops,
    ids,
    sums,
    wanted_logits,
    gate,
    written,
    num_rows,
    vocab_size,
    width,
    HAS_CANDIDATES: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    share = tl.program_id(0)
    v = share * BLOCK_V + tl.arange(0, BLOCK_V)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    is_token, is_row = v < vocab_size, r < num_rows
    logits = tl.zeros((BLOCK_V, BLOCK_R), tl.float32)
    for offset in range(0, width, BLOCK_D):
        d = offset + tl.arange(0, BLOCK_D)
        is_input = d < width
        w_tile = tl.load(
            weight + v[:, None].to(tl.int64) * width + d[None, :],
            mask=is_token[:, None] & is_input[None, :],
            other=0.0,
        )
        x_tile = tl.load(
            x + r[None, :] * width + d[:, None],
            mask=is_row[None, :] & is_input[:, None],
            other=0.0,
        )
        logits = tl.dot(w_tile, x_tile, logits, input_precision="ieee")
    logits = tl.where(is_token[:, None], logits, float("-inf"))
    top, at = tl.max(logits, axis=0, return_indices=True, return_indices_tie_break_left=True)
    total = tl.sum(tl.exp(logits - top[None, :]), axis=0)
    out = share * num_rows + r
    tl.store(tops + out, top, mask=is_row)
    tl.store(ids + out, share * BLOCK_V + at, mask=is_row)
    tl.store(sums + out, total, mask=is_row)
    asked = tl.load(wanted + r, mask=is_row, other=-1)
    answer = tl.sum(tl.where(v[:, None] == asked[None, :], logits, 0.0), axis=0)
    is_here = (asked >= share * BLOCK_V) & (asked < tl.minimum((share + 1) * BLOCK_V, vocab_size))
    tl.store(wanted_logits + r, answer, mask=is_row & is_here)
    if HAS_CANDIDATES:
        is_written = tl.load(gate + r, mask=is_row, other=0) != 0
        tl.store(
            written + r[None, :] * vocab_size + v[:, None],
            logits,
            mask=is_token[:, None] & is_written[None, :],
        )


@triton.jit
def _join(
    tops,
    ids,
    sums,
    wanted,
    tokens,
    confidence,
    logits,
    wanted_logits,
    gate,
    written,
    candidates,
    log_p,
    num_rows,
    num_shares,
    vocab_size,
    NUM_CANDIDATES: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    row = tl.program_id(0)
    c = tl.arange(0, BLOCK_C)
    at = c * num_rows + row
    top = tl.load(tops + at, mask=c < num_shares, other=float("-inf"))
    highest, share = tl.max(top, axis=0, return_indices=True, return_indices_tie_break_left=True)
    total = tl.sum(
        tl.exp(top - highest) * tl.load(sums + at, mask=c < num_shares, other=0.0), axis=0
    )
    tl.store(tokens + row, tl.load(ids + share * num_rows + row).to(tl.int64))
    tl.store(confidence + row, 1.0 / total)
    tl.store(logits + row, highest)
    if tl.load(wanted + row) >= vocab_size:
        tl.store(wanted_logits + row, float("-inf"))
    if NUM_CANDIDATES > 0:
        _store_candidates(
            top,
            highest + tl.log(total),
            gate + row,
            written + row * vocab_size,
            candidates + row * NUM_CANDIDATES,
            log_p + row * NUM_CANDIDATES,
            num_shares,
            vocab_size,
            NUM_CANDIDATES,
            BLOCK_V,
            BLOCK_C,
        )


@triton.jit
def _store_candidates(
    top,
    log_total,
    gate,
    written,
    candidates,
    log_p,
    num_shares,
    vocab_size,
    NUM_CANDIDATES: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Of one row, if they are asked for; `top` are the highest logits of its shares."""
    if tl.load(gate) != 0:
        c, k = tl.arange(0, BLOCK_C), tl.arange(0, NUM_CANDIDATES)
        best_shares = tl.full((NUM_CANDIDATES,), num_shares, tl.int32)
        for place in tl.static_range(NUM_CANDIDATES):
            best = tl.max(top, axis=0)
            taken = tl.min(tl.where(top == best, c, BLOCK_C), axis=0)
            # Where there are fewer shares, the last ones are behind the vocabulary.
            last = tl.where(best > float("-inf"), taken, num_shares)
            best_shares = tl.where(k == place, last, best_shares)
            top = tl.where(c == taken, float("-inf"), top)
        v = best_shares[:, None] * BLOCK_V + tl.arange(0, BLOCK_V)[None, :]
        v = tl.reshape(v, [NUM_CANDIDATES * BLOCK_V])
        logit = tl.load(written + v, mask=v < vocab_size, other=float("-inf"))
        for place in tl.static_range(NUM_CANDIDATES):
            best = tl.max(logit, axis=0)
            # Never behind the vocabulary, not even where logits are no numbers.
            token = tl.min(tl.where(logit == best, v, vocab_size - 1), axis=0)
            logit = tl.where(v == token, float("-inf"), logit)
            tl.store(candidates + place, token.to(tl.int64))
            tl.store(log_p + place, best - log_total)
