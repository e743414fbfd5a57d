"""Pure decisions over logits: what to unmask, what to accept. Knows no model, cache or request.

Shape suffixes: L slots of a canvas, V vocabulary. Row i of any `logits_LV` here scores slot i (the
off-by-one between rows and slots is the caller's business).
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sampler.judgment import Judgment, Predicted

MIN_SHARE = 0.1
"""Least probability of a drawn token, as a share of the best one's."""


@dataclass(frozen=True)
class UnmaskPolicy:
    """Which masked slots one denoising step reveals; always at least one that is allowed.

    `threshold` reveals where confidence >= `threshold` (Fast-dLLM 2505.22618, section 3.3) ·
    `top_k` the `count` most confident · `entropy_bound` the lowest entropies while their sum,
    without the largest, stays below `entropy_bound` nats (EB-Sampler 2505.24857, eq. 5) ·
    `random` `count` slots drawn uniformly.
    """

    kind: Literal["threshold", "top_k", "entropy_bound", "random"] = "threshold"
    threshold: float = 0.9
    count: int = 1
    entropy_bound: float = 0.1
    order_window: int | None = None
    """Constrained order: reveal only among the next so many ranks; None leaves all slots free."""

    @property
    def needs_logits(self) -> bool:
        """Whether tokens and their confidence are not enough."""
        return self.kind == "entropy_bound"


def predict(logits_LV: Tensor) -> tuple[Tensor, Tensor]:
    """Most likely token of each slot and its probability, (L,) int64 and (L,) float32."""
    logits_LV = logits_LV.float()
    best_L, tokens_L = logits_LV.max(dim=-1)
    return tokens_L, (best_L - logits_LV.logsumexp(dim=-1)).exp()


def entropy(logits_LV: Tensor) -> Tensor:
    """Shannon entropy of each slot's distribution in nats, (L,) float32."""
    log_p_LV = logits_LV.float().log_softmax(dim=-1)
    return -(log_p_LV.exp() * log_p_LV).sum(dim=-1)


def allowed_by_order(is_masked_L: Tensor, order_L: Tensor, window: int) -> Tensor:
    """Masked slots that a constrained order lets go next.

    `order_L` holds a rank per slot, equal ranks may be revealed together; allowed are the masked
    slots whose rank lies less than `window` above the lowest rank still masked.
    """
    lowest = order_L[is_masked_L].min()
    return is_masked_L & (order_L < lowest + window)


def select_unmask(
    policy: UnmaskPolicy,
    logits_LV: Tensor | None,
    confidence_L: Tensor,
    is_allowed_L: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Slots to reveal in this step, (L,) bool: a non-empty subset of `is_allowed_L`.

    `is_allowed_L` must name at least one slot, and masked slots only. A policy whose
    `needs_logits` is false does without the logits.
    """
    assert bool(is_allowed_L.any()), "nothing is left to unmask"
    if policy.kind == "threshold":
        score_L = confidence_L.masked_fill(~is_allowed_L, -1.0)
        return is_allowed_L & (score_L >= score_L.max().clamp(max=policy.threshold))
    if policy.kind == "entropy_bound":
        assert logits_LV is not None
        entropy_L = entropy(logits_LV).masked_fill(~is_allowed_L, torch.inf)
        sorted_L, slots_L = entropy_L.sort()
        # Sorted ascending, so the largest of the first n is the n-th: its own share is left out.
        is_within_L = (sorted_L.cumsum(0) - sorted_L) <= policy.entropy_bound
        is_within_L[0] = True
        return torch.zeros_like(is_allowed_L).scatter(0, slots_L, is_within_L) & is_allowed_L
    if policy.kind == "top_k":
        score_L = confidence_L.masked_fill(~is_allowed_L, -1.0)
    else:
        noise_L = torch.rand(is_allowed_L.shape, generator=generator).to(is_allowed_L.device)
        score_L = noise_L.masked_fill(~is_allowed_L, -1.0)
    count = min(max(policy.count, 1), int(is_allowed_L.sum()))
    chosen_L = score_L.topk(count).indices
    return torch.zeros_like(is_allowed_L).scatter(0, chosen_L, True)


def judge(logits_LV: Tensor, next_L: Tensor) -> Judgment:
    """What rows with these logits say; `next_L` are the ids in the rows behind them."""
    return Judgment(*predict(logits_LV), shares(logits_LV, next_L), logits_LV)


def shares(logits_LV: Tensor, tokens_L: Tensor) -> Tensor:
    """Probability of a token over that of the most likely one, (L,); 0 for ids outside of V."""
    num_ids = logits_LV.shape[-1]
    wanted_L = logits_LV.gather(-1, tokens_L.clamp(max=num_ids - 1)[:, None])[:, 0]
    shares_L = (wanted_L.float() - logits_LV.max(dim=-1).values.float()).exp()
    return shares_L.masked_fill(tokens_L >= num_ids, 0.0)


def num_accepted(
    drafts: Sequence[int],
    tokens: Sequence[int],
    shares: Sequence[float],
    least_shares: Sequence[float],
) -> int:
    """Length of the accepted head of a draft, judged left to right by the AR model itself.

    Args:
        drafts: what is judged.
        tokens: the AR model's own choice in each place, given all drafts before it.
        shares: probability of the draft over that of the model's own choice.
        least_shares: a draft is accepted that has it (typical acceptance, Medusa 2401.10774), or is
            the model's choice. Above 1, the text equals greedy decoding.
    """
    for place, draft in enumerate(drafts):
        if draft != tokens[place] and shares[place] < least_shares[place]:
            return place
    return len(drafts)


def draw(
    ids_K: Tensor, log_p_K: Tensor, temperature: float, generator: torch.Generator
) -> tuple[int, float]:
    """One of the likeliest tokens, drawn at a temperature, and the probability that the model
    itself gives it.

    Tokens less than `MIN_SHARE` times as likely as the best one are left out (min-p sampling,
    2407.01082): small models have many that are merely not impossible.
    """
    weight_K = (log_p_K / temperature).softmax(dim=-1)
    weight_K = weight_K.masked_fill(log_p_K < log_p_K.max() + math.log(MIN_SHARE), 0.0)
    which = int(torch.multinomial(weight_K, 1, generator=generator))
    return int(ids_K[which]), float(log_p_K[which].exp())


def ranked(ids_K: Tensor, log_p_K: Tensor, rank: int, left_out: Set[int]) -> Predicted:
    """The token of that rank, 0 being the most likely, among the likeliest, of which some are left
    out; the last of them if there are too few.
    """
    tokens = [(token, p) for token, p in zip(ids_K.tolist(), log_p_K.tolist(), strict=True)]
    allowed = [pair for pair in tokens if pair[0] not in left_out] or tokens
    token, log_p = allowed[min(rank, len(allowed) - 1)]
    return Predicted([token], [math.exp(log_p)])
