"""Drafts that know the draft before them: the coupling of `model.coupling`, on the device.

What it says of a token depends on the token alone, so it is multiplied out for all of them once.
What is left of a forward is one small product for the states, and a few table rows for each row of
a branch, one after the other; a program takes a branch. So drafts come coupled out of the forward
that made them, without a word to the host.

Knows neither network nor acceptance. Shape suffixes: R rows, C rows of the chain, K candidates,
E rank of the coupling, D width, V vocabulary, P parts of a sum (see `linear`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from model.coupling import Candidates, Coupling
from sampler.kernels.triton.linear import linear

NUM_AT_A_TIME = 8192
"""Tokens that are multiplied out together."""


@dataclass(frozen=True)
class Tables:
    """A coupling multiplied out, in the network's type: 78 MB for rank 128 and 152,000 tokens."""

    state_ED: Tensor
    """What makes an inner layer of normed states."""
    tokens_VE: Tensor
    """What each token in the place of a row brings to the inner layer."""
    answers_VE: Tensor
    """What the inner layer adds to the logit of each token."""

    @staticmethod
    @torch.no_grad()
    def of(coupling: Coupling, embedding_VD: Tensor, head_VD: Tensor) -> "Tables":
        """The tables of a network with these weights."""
        dtype, back_DE = embedding_VD.dtype, coupling.scaled_back
        return Tables(
            coupling.state.detach().to(dtype).contiguous(),
            torch.cat([coupling.of_token(x).to(dtype) for x in embedding_VD.split(NUM_AT_A_TIME)]),
            torch.cat([(x.float() @ back_DE).to(dtype) for x in head_VD.split(NUM_AT_A_TIME)]),
        )


def couple(
    tokens_R: Tensor,
    confidence_R: Tensor,
    candidates: Candidates,
    tables: Tables,
    starts_C: Tensor,
    sizes_C: Tensor,
) -> None:
    """Choose the tokens of all branches, each knowing the one before it, as `choose_coupled` does.

    Args:
        tokens_R: most likely tokens, int64; those of branches are replaced in place. The one of the
            chain row before a branch stands in the place of its first row.
        confidence_R: their probabilities, float32, likewise.
        candidates: of all rows; those of branches are looked at.
        tables: the coupling.
        starts_C: first row of the branch behind each chain row, int64.
        sizes_C: rows of that branch, int64.
    """
    num_rows, width = candidates.hidden_LD.shape
    num_candidates = candidates.ids_LK.shape[1]
    assert num_candidates == triton.next_power_of_2(num_candidates), "tiles have powers of two"
    rank = len(tables.state_ED)
    states_PRE = linear(candidates.hidden_LD, tables.state_ED)
    _couple[(len(sizes_C),)](
        tokens_R,
        confidence_R,
        candidates.ids_LK,
        candidates.log_p_LK,
        candidates.hidden_LD,
        states_PRE,
        tables.tokens_VE,
        tables.answers_VE,
        starts_C,
        sizes_C,
        num_rows,
        width,
        rank,
        NUM_PARTS=len(states_PRE),
        NUM_CANDIDATES=num_candidates,
        BLOCK_E=triton.next_power_of_2(rank),
        BLOCK_D=triton.next_power_of_2(width),
        num_warps=4,
    )


def couple_twin(
    tokens_R: Tensor,
    confidence_R: Tensor,
    candidates: Candidates,
    tables: Tables,
    starts_C: Tensor,
    sizes_C: Tensor,
) -> None:
    """See `couple`."""
    hidden_RD = candidates.hidden_LD.float()
    normed_RD = hidden_RD * (hidden_RD.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    states_RE = F.linear(normed_RD, tables.state_ED.float())
    for slot, (start, size) in enumerate(zip(starts_C.tolist(), sizes_C.tolist(), strict=True)):
        token = tokens_R[slot]
        for row in range(start, start + size):
            z_E = F.silu(states_RE[row] + tables.tokens_VE[token].float())
            ids_K, log_p_K = candidates.ids_LK[row], candidates.log_p_LK[row]
            logits_K = log_p_K + tables.answers_VE[ids_K].float() @ z_E
            best, index = logits_K.softmax(-1).max(-1)
            token = ids_K[index]
            tokens_R[row], confidence_R[row] = token, best * log_p_K.exp().sum()


@triton.jit
def _couple(
    tokens,
    confidence,
    ids,
    log_p,
    hidden,
    states,
    of_tokens,
    answers,
    starts,
    sizes,
    num_rows,
    width,
    rank,
    NUM_PARTS: tl.constexpr,
    NUM_CANDIDATES: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    slot = tl.program_id(0)
    start, size = tl.load(starts + slot), tl.load(sizes + slot)
    token = tl.load(tokens + slot)
    k, e, d = tl.arange(0, NUM_CANDIDATES), tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_D)
    for row in range(start, start + size):
        state = tl.zeros((BLOCK_E,), tl.float32)
        for part in range(NUM_PARTS):
            state += tl.load(states + (part * num_rows + row) * rank + e, mask=e < rank, other=0.0)
        of_row = tl.load(hidden + row * width + d, mask=d < width, other=0.0).to(tl.float32)
        state *= tl.rsqrt(tl.sum(of_row * of_row, axis=0) / width + 1e-6)
        inner = state + tl.load(of_tokens + token * rank + e, mask=e < rank, other=0.0)
        inner = inner * tl.sigmoid(inner)
        candidate = tl.load(ids + row * NUM_CANDIDATES + k)
        answer = tl.load(
            answers + candidate[:, None] * rank + e[None, :], mask=e[None, :] < rank, other=0.0
        )
        log_share = tl.load(log_p + row * NUM_CANDIDATES + k)
        logit = log_share + tl.sum(answer.to(tl.float32) * inner[None, :], axis=1)
        top = tl.max(logit, axis=0)
        at = tl.min(tl.where(logit == top, k, NUM_CANDIDATES), axis=0)
        token = tl.sum(tl.where(k == at, candidate, 0), axis=0)
        # What the row gives to all other tokens stays as it was.
        share = tl.sum(tl.exp(log_share), axis=0) / tl.sum(tl.exp(logit - top), axis=0)
        tl.store(tokens + row, token)
        tl.store(confidence + row, share)
