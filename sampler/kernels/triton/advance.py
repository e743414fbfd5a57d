"""The verdict on a chain, on the device: how much is committed, what is settled and drafted next.

A chain is a settled token and drafts behind it. Its forward judged every row, and in the same
forward, for each number of drafts that might be accepted, a branch of MASK rows drafted what would
follow. So the verdict picks a branch, and the next chain is ready without the host.

Knows neither network nor text. Shape suffixes: R rows of the forward (the chain's C rows, then the
branches), C chain, V vocabulary.
"""

from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from sampler.kernels.triton.head import Verdict

Acceptance = Literal["exact", "ratio", "all"]
LENGTH, SEQUENCE, LEFT, IS_DONE = range(4)
"""Places in the state: slots of the context, which sequence, tokens that may still be emitted, and
whether an end was met (then nothing changes any more)."""
HAS_ENDED, NUM_EMITTED, NUM_ACCEPTED, EMITTED = range(4)
"""Places in a report: is it done, how many tokens it emits, how many drafts were accepted, and from
`EMITTED` on the tokens: the accepted drafts and the token that is settled behind them."""


def advance(
    acceptance: Acceptance,
    verdict: Verdict,
    chain_C: Tensor,
    starts_C: Tensor,
    sizes_C: Tensor,
    state: Tensor,
    report: Tensor,
    is_end_V: Tensor,
    *,
    mask_id: int,
    log_delta: float,
) -> None:
    """Commit the accepted head of the chain and put the next one in its place.

    Args:
        acceptance: `exact` accepts a draft that is the row's most likely token; `ratio` one whose
            logit is no more than -`log_delta` below the highest; `all` every draft.
        verdict: on all rows; `wanted_R` of a chain row is the logit of the draft behind it.
        chain_C: tokens of the chain, int64, replaced in place.
        starts_C: first row of the branch behind each chain row, int64.
        sizes_C: rows of that branch, int64; what it has no draft for is MASK in the next chain.
        state: int64, see `LENGTH` …, changed in place.
        report: int64, (EMITTED + C,), written.
        is_end_V: bool, tokens that end a completion; the end token itself is emitted.
        mask_id: what stands where nothing was drafted.
        log_delta: natural logarithm of the least share that `ratio` accepts.
    """
    num_slots = len(chain_C)
    _advance[(1,)](
        verdict.tokens_R,
        verdict.logits_R,
        verdict.wanted_R,
        chain_C,
        starts_C,
        sizes_C,
        state,
        report,
        is_end_V.view(torch.int8),
        num_slots,
        mask_id,
        log_delta,
        IS_EXACT=acceptance == "exact",
        HAS_RATIO=acceptance == "ratio",
        BLOCK_C=triton.next_power_of_2(num_slots),
        num_warps=1,
    )


def advance_twin(
    acceptance: Acceptance,
    verdict: Verdict,
    chain_C: Tensor,
    starts_C: Tensor,
    sizes_C: Tensor,
    state: Tensor,
    report: Tensor,
    is_end_V: Tensor,
    *,
    mask_id: int,
    log_delta: float,
) -> None:
    """See `advance`."""
    num_drafts = len(chain_C) - 1
    report.fill_(-1)
    if bool(state[IS_DONE]):
        report[HAS_ENDED], report[NUM_EMITTED], report[NUM_ACCEPTED] = 1, 0, 0
        return
    drafts_L = chain_C[1:]
    if acceptance == "exact":
        is_accepted_L = drafts_L == verdict.tokens_R[:num_drafts]
    elif acceptance == "ratio":
        is_accepted_L = verdict.wanted_R[:num_drafts] >= verdict.logits_R[:num_drafts] + log_delta
    else:
        is_accepted_L = torch.ones_like(drafts_L, dtype=torch.bool)
    accepted = int(is_accepted_L.long().cumprod(0).sum())
    settled = int(verdict.tokens_R[accepted])
    emitted = [*drafts_L[:accepted].tolist(), settled][: int(state[LEFT])]
    ends = [index for index, token in enumerate(emitted) if bool(is_end_V[token])]
    if ends:
        emitted = emitted[: ends[0] + 1]
    state[LENGTH] += len(emitted)
    state[LEFT] -= len(emitted)
    state[IS_DONE] = int(bool(ends) or int(state[LEFT]) <= 0)
    report[HAS_ENDED] = state[IS_DONE]
    report[NUM_EMITTED], report[NUM_ACCEPTED] = len(emitted), accepted
    report[EMITTED : EMITTED + len(emitted)] = torch.tensor(emitted)
    start, size = int(starts_C[accepted]), int(sizes_C[accepted])
    drafts = [*verdict.tokens_R[start : start + size].tolist(), *[mask_id] * num_drafts][
        :num_drafts
    ]
    chain_C.copy_(torch.tensor([settled, *drafts]))


@triton.jit
def _advance(
    tokens,
    logits,
    wanted,
    chain,
    starts,
    sizes,
    state,
    report,
    is_end,
    num_slots,
    mask_id,
    log_delta,
    IS_EXACT: tl.constexpr,
    HAS_RATIO: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    slot = tl.arange(0, BLOCK_C)
    is_slot, has_draft = slot < num_slots, slot < num_slots - 1
    length, left, was_done = tl.load(state), tl.load(state + 2), tl.load(state + 3) != 0
    draft = tl.load(chain + slot + 1, mask=has_draft, other=0)
    if IS_EXACT:
        is_refused = draft != tl.load(tokens + slot, mask=has_draft, other=0)
    elif HAS_RATIO:
        best = tl.load(logits + slot, mask=has_draft, other=0.0)
        is_refused = tl.load(wanted + slot, mask=has_draft, other=0.0) < best + log_delta
    else:
        is_refused = slot < 0
    accepted = tl.min(tl.where(has_draft & is_refused, slot, num_slots - 1), axis=0)
    settled = tl.load(tokens + accepted)
    token = tl.where(slot < accepted, draft, settled)
    emitted = tl.minimum((accepted + 1).to(tl.int64), left)
    ends = (tl.load(is_end + token, mask=slot < emitted, other=0) != 0) & (slot < emitted)
    first_end = tl.min(tl.where(ends, slot, BLOCK_C), axis=0)
    emitted = tl.where(was_done, 0, tl.minimum(emitted, (first_end + 1).to(tl.int64)))
    is_done = was_done | (first_end < BLOCK_C) | (emitted >= left)
    tl.store(report, is_done.to(tl.int64))
    tl.store(report + 1, emitted)
    tl.store(report + 2, tl.where(was_done, 0, accepted).to(tl.int64))
    tl.store(report + 3 + slot, tl.where(slot < emitted, token, -1), mask=is_slot)
    # Every load of the chain has gone into `emitted` or `accepted`, so writing it is safe.
    tl.store(state, length + emitted)
    tl.store(state + 2, left - emitted)
    tl.store(state + 3, is_done.to(tl.int64))
    place = tl.load(starts + accepted) + slot - 1
    is_drafted = (slot > 0) & (slot <= tl.load(sizes + accepted)) & is_slot
    following = tl.load(tokens + place, mask=is_drafted, other=mask_id)
    following = tl.where(slot == 0, settled, following)
    tl.store(chain + slot, following, mask=slot < tl.where(was_done, 0, num_slots))
