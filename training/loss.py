"""The losses of all stages as pure functions of tensors.

Knows neither network nor data nor sampler: hidden states, logits, log-probabilities and token ids
come in, a scalar to differentiate and sums to report come out. Each has a naive float64 twin in
`tests/unit/test_loss.py`.

Stages `fim` and `ar` use `ar_loss`; `adapt` the cross-entropy of masked rows with the weights of
`model.noise` and the KL to the base; `edit` adds the cross-entropy of all rows of a corrupted block
with weight 1 (the two terms of L_diff, Seed Diffusion 2508.02193, section 3.1).

Shape suffixes: R rows with a loss, D width, V vocabulary, T tokens, N trajectories, S states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS_PER_CHUNK = 256


@dataclass(frozen=True)
class ChunkedLoss:
    """A loss and what it is made of. All are scalar tensors; only `loss` carries a gradient."""

    loss: Tensor
    """((1 − kl_weight) · ce + kl_weight · kl) / normalizer."""
    ce: Tensor
    """Σ w · cross-entropy over the rows, nats."""
    kl: Tensor
    """Σ w · KL(teacher ‖ student) over the rows, nats; 0 without a teacher."""
    weight: Tensor
    """Σ w, the default normalizer."""
    num_rows: Tensor
    """Rows with a weight above 0."""
    num_correct: Tensor
    """Those of them whose target is the most likely token."""
    num_outside: Tensor
    """Rows that lost their weight because the trimmed vocabulary lacks their target."""


def masked_cross_entropy(logits_RV: Tensor, targets_R: Tensor, weights_R: Tensor) -> Tensor:
    """Σ w_r · −log p(target_r) / Σ w_r; 0 if no row weighs anything.

    With w = γ'_t / γ_t on masked rows this is the mask term of L_diff (arXiv 2508.02193). Targets
    of rows with weight 0 may be anything.
    """
    targets_R = targets_R.masked_fill(weights_R == 0, -100)
    ce_R = F.cross_entropy(_precise(logits_RV), targets_R, reduction="none", ignore_index=-100)
    return (ce_R * weights_R).sum() / _not_zero(weights_R.sum())


def chunked_cross_entropy(
    hidden_RD: Tensor,
    head_weight_VD: Tensor,
    targets_R: Tensor,
    weights_R: Tensor,
    *,
    chunk: int = ROWS_PER_CHUNK,
    teacher_hidden_RD: Tensor | None = None,
    kl_weight: float = 0.5,
    unsaid_ids: Tensor | None = None,
    temperature: float = 1.0,
    vocabulary_ids: Tensor | None = None,
    normalizer: Tensor | float | None = None,
) -> ChunkedLoss:
    """`masked_cross_entropy` of a linear head, without ever holding all logits.

    The gradient is taken chunk by chunk along with the value, so a row's logits are computed once
    and only (R, D) survives until the backward pass (Liger Kernel, arXiv 2410.10989, section 3.2).

    With a teacher, whose logits come from the same head without gradient, the loss mixes in
    T² · KL(p_teacher ‖ p_student), both softened by the temperature T (Hinton et al. 1503.02531;
    forward KL to the frozen AR base as in OPDLM).

    Args:
        hidden_RD: states after the final norm, of rows that need a loss.
        head_weight_VD: the head; gets a gradient if it asks for one.
        targets_R: int64 ids; anything where the weight is 0.
        weights_R: weight of each row, not negative.
        chunk: rows whose logits exist at a time.
        teacher_hidden_RD: states of the teacher that predict the same tokens.
        kl_weight: share of the loss that is KL; of no account without a teacher.
        unsaid_ids: ids that the teacher is not to predict: its distribution over the others counts.
            Not with a trimmed vocabulary.
        temperature: T of the KL.
        vocabulary_ids: ascending ids of a trimmed vocabulary; the head's other rows take no part,
            as if their logits were −∞. A row whose target is not among them gets weight 0, in the
            KL too: no prediction of a trimmed head would be right there.
        normalizer: what the sum is divided by, Σ w by default; the Σ w of all micro-batches and
            processes makes a split batch count like a whole one.
    """
    assert unsaid_ids is None or vocabulary_ids is None, "their places in it are not looked up"
    weights_R = weights_R.to(_precise(hidden_RD).dtype)
    targets_R = targets_R.masked_fill(weights_R == 0, 0)
    num_outside = torch.zeros((), dtype=torch.long, device=targets_R.device)
    if vocabulary_ids is not None:
        head_weight_VD = head_weight_VD[vocabulary_ids]
        index_R = torch.searchsorted(vocabulary_ids, targets_R).clamp(max=len(vocabulary_ids) - 1)
        is_outside_R = (vocabulary_ids[index_R] != targets_R) & (weights_R > 0)
        num_outside = is_outside_R.sum()
        targets_R, weights_R = index_R, weights_R.masked_fill(is_outside_R, 0)
    weight = weights_R.sum()
    divisor = weight if normalizer is None else torch.as_tensor(normalizer).to(weight)
    scaled_R = weights_R / _not_zero(divisor)
    kl_share = 0.0 if teacher_hidden_RD is None else kl_weight
    if not torch.is_grad_enabled():  # the function itself cannot tell and would take gradients
        hidden_RD, head_weight_VD = hidden_RD.detach(), head_weight_VD.detach()
    loss, ce_R, kl_R, is_correct_R = _ChunkedLinearLoss.apply(  # type: ignore[no-untyped-call]
        hidden_RD,
        head_weight_VD,
        targets_R,
        scaled_R,
        teacher_hidden_RD,
        unsaid_ids,
        chunk,
        kl_share,
        temperature,
    )
    return ChunkedLoss(
        loss=loss,
        ce=(ce_R * weights_R).sum(),
        kl=(kl_R * weights_R).sum(),
        weight=weight,
        num_rows=(weights_R > 0).sum(),
        num_correct=(is_correct_R & (weights_R > 0)).sum(),
        num_outside=num_outside,
    )


def ar_loss(
    hidden_TD: Tensor,
    head_weight_VD: Tensor,
    tokens_T: Tensor,
    weight_T: Tensor,
    *,
    chunk: int = ROWS_PER_CHUNK,
) -> ChunkedLoss:
    """Mean of −log p(x_p | x_<p), weighed by `weight_T`, from the rows p − 1.

    A bool weight says which tokens count. The first token of a packed record has no row that
    predicts it, so its weight must be 0.
    """
    is_row_T = weight_T[1:] > 0
    return chunked_cross_entropy(
        hidden_TD[:-1][is_row_T],
        head_weight_VD,
        tokens_T[1:][is_row_T],
        weight_T[1:][is_row_T].float(),
        chunk=chunk,
    )


def ending_loss(
    hidden_RD: Tensor,
    base_hidden_RD: Tensor,
    head_weight_VD: Tensor,
    targets_R: Tensor,
    weights_R: Tensor,
    end_ids: Tensor,
    keep_weight: float,
    *,
    chunk: int = ROWS_PER_CHUNK,
    normalizer: float | None = None,
) -> ChunkedLoss:
    """Cross-entropy of the ends; before them, mostly KL to what the base says where it must go on.

    Mean over Σ w of −log p(end) where the target is an end, and elsewhere of
    (1 − k) · −log p(target) + k · KL(q ‖ p), q the base's distribution without the end ids. A row
    that ends too early pays for it in both: −log(1 − p(end)) is part of each.

    Args:
        hidden_RD: states of the model that is trained.
        base_hidden_RD: states of the base, which predict the same tokens.
        head_weight_VD: of both.
        targets_R: int64 ids.
        weights_R: weight of each row, not negative.
        end_ids: those that end a completion.
        keep_weight: k.
        chunk: rows whose logits exist at a time.
        normalizer: what the sum is divided by, Σ w by default.
    """
    is_end_R = torch.isin(targets_R, end_ids)
    ends, others = (
        chunked_cross_entropy(
            hidden_RD[is_part_R],
            head_weight_VD,
            targets_R[is_part_R],
            weights_R[is_part_R],
            chunk=chunk,
            teacher_hidden_RD=teacher_RD,
            kl_weight=keep_weight,
            unsaid_ids=end_ids,
            normalizer=weights_R.sum() if normalizer is None else normalizer,
        )
        for is_part_R, teacher_RD in ((is_end_R, None), (~is_end_R, base_hidden_RD[~is_end_R]))
    )
    names = [field.name for field in fields(ChunkedLoss)]
    return ChunkedLoss(**{name: getattr(ends, name) + getattr(others, name) for name in names})


def certainty_loss(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """Mean entropy, in nats, of the rows whose most likely token is already the target; 0 if none.

    Certainty forcing (dParallel 2509.26488), L_conf of CAP (LLaDA2.0 2512.15745): cross-entropy
    hardly pushes a prediction that is right, but decoding in parallel needs it to be sure.
    """
    log_p_RV = _precise(logits_RV).log_softmax(dim=-1)
    entropy_R = -(log_p_RV.exp() * log_p_RV).sum(dim=-1)
    is_correct_R = logits_RV.argmax(dim=-1) == targets_R
    return (entropy_R * is_correct_R).sum() / is_correct_R.sum().clamp_min(1)


def order_loss(log_probs_S: Tensor, lambda_S: Tensor) -> Tensor:
    """L_c = E over (x_i, x0) in τ, τ in T of −λ(x_i) · log pθ(x0 | f(x_i)).

    Constrained-order training (arXiv 2508.02193, section 3.2).

    Args:
        log_probs_S: log pθ(x0 | f(x_i)) of each state x_i of the kept trajectories, summed over
            the tokens that are predicted from it.
        lambda_S: λ(x_i).
    """
    return -(lambda_S * log_probs_S).mean()


def step_cost(states: Sequence[Tensor]) -> float:
    """E over i ≠ j of 1 / d_Lev(τ[i], τ[j]), which grows with the number of steps |τ|.

    The surrogate of arXiv 2508.02193, section 3.3. States that are equal count as one edit apart,
    for a step that changed nothing has no finite cost; a single state costs nothing.

    Args:
        states: the block after each step, first the one before any: 1-D ids of any length.
    """
    texts = [state.tolist() for state in states]
    inverse = [1 / max(Levenshtein.distance(a, b), 1) for a, b in combinations(texts, 2)]
    return sum(inverse) / max(len(inverse), 1)


@dataclass(frozen=True)
class OnPolicyLoss:
    """A loss whose gradient estimates that of the expected cost, and the costs themselves."""

    loss: Tensor
    costs_N: Tensor
    """Surrogate of |τ| − V of each trajectory, for a running baseline and for the log."""


def onpolicy_loss(
    log_probs: Sequence[Tensor],
    states: Sequence[Sequence[Tensor]],
    rewards: Sequence[float],
    *,
    step_weight: float = 1.0,
    baseline: float | None = None,
) -> OnPolicyLoss:
    """Estimate the gradient of E_τ[|τ| − V(τ)], on-policy learning (arXiv 2508.02193, section 3.3).

    With c(τ) = step_weight · E_{i,j}[1 / d_Lev(τ[i], τ[j])] − V in the place of |τ| − V,
    ∇E[c] = E[(c(τ) − b) · ∇ log p(τ)] (REINFORCE). The baseline b does not depend on τ itself: it
    is the mean cost of the other trajectories (leave-one-out, RLOO 2402.14740), or a given number.

    Args:
        log_probs: for each trajectory, log-probabilities of all its unmasking decisions (1-D).
        states: for each trajectory, its states (`step_cost`).
        rewards: V of each trajectory's result.
        step_weight: price of steps against reward; it carries the factor of |τ| ∝ E[1 / d_Lev].
        baseline: e.g. a running mean of costs; a single trajectory cannot do without.
    """
    num_trajectories = len(log_probs)
    assert baseline is not None or num_trajectories > 1, "one trajectory needs a baseline"
    costs = [
        step_weight * step_cost(path) - reward for path, reward in zip(states, rewards, strict=True)
    ]
    log_prob_N = torch.stack([decisions.sum() for decisions in log_probs])
    costs_N = torch.tensor(costs, dtype=log_prob_N.dtype, device=log_prob_N.device)
    if baseline is None:
        baseline_N = (costs_N.sum() - costs_N) / (num_trajectories - 1)
    else:
        baseline_N = torch.full_like(costs_N, baseline)
    return OnPolicyLoss(((costs_N - baseline_N) * log_prob_N).mean(), costs_N)


def row_likelihoods(
    hidden_RD: Tensor,
    head_weight_VD: Tensor,
    targets_R: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int = ROWS_PER_CHUNK,
) -> tuple[Tensor, Tensor]:
    """Of each row, log of the largest probability, and log-probability of a target, (R,) each.

    With gradient to the states, which is taken along with the value, so that only (R, D) survives
    until the backward pass, as in `chunked_cross_entropy`. The second is that of the distribution
    softened by the temperature.
    """
    sure_R, log_p_R = _RowLikelihoods.apply(  # type: ignore[no-untyped-call]
        hidden_RD, head_weight_VD.detach(), targets_R, temperature, chunk
    )
    return sure_R, log_p_R


def unmask_log_probs(
    log_confidence_NL: Tensor, is_open_NL: Tensor, is_revealed_NL: Tensor
) -> Tensor:
    """log p of which masked slots each of N steps reveals, (N,).

    The most confident slot is revealed in any case, every other one with its confidence for a
    probability: a policy with the sampler's shape that has a gradient, under which surer
    predictions make fewer steps.

    Args:
        log_confidence_NL: log of the largest probability of each slot.
        is_open_NL: slots that were masked.
        is_revealed_NL: those of them that were revealed, at least one of each step.
    """
    first_N = log_confidence_NL.masked_fill(~is_revealed_NL, -torch.inf).argmax(1, keepdim=True)
    is_free_NL = is_open_NL.scatter(1, first_N, False)
    almost_sure = -torch.finfo(log_confidence_NL.dtype).eps
    log_hidden_NL = torch.log(-torch.expm1(log_confidence_NL.clamp(max=almost_sure)))
    log_p_NL = torch.where(is_revealed_NL, log_confidence_NL, log_hidden_NL)
    return log_p_NL.where(is_free_NL, 0).sum(1)


class _ChunkedLinearLoss(torch.autograd.Function):
    """Loss of a linear head and, with its value, its gradient; see `chunked_cross_entropy`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RD: Tensor,
        head_VD: Tensor,
        targets_R: Tensor,
        scaled_R: Tensor,
        teacher_RD: Tensor | None,
        unsaid: Tensor | None,
        chunk: int,
        kl_share: float,
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        ce_R = torch.zeros_like(scaled_R)
        kl_R = torch.zeros_like(scaled_R)
        is_correct_R = torch.zeros_like(targets_R, dtype=torch.bool)
        hidden_grad_RD = torch.empty_like(hidden_RD) if needs_hidden else None
        head_grad_VD = torch.zeros_like(_precise(head_VD)) if needs_head else None
        for begin in range(0, len(hidden_RD), chunk):
            rows = slice(begin, begin + chunk)
            target_R1 = targets_R[rows, None]
            logits_RV = _precise(hidden_RD[rows] @ head_VD.T)
            log_p_RV = logits_RV.log_softmax(-1)
            ce_R[rows] = -log_p_RV.gather(1, target_R1)[:, 0]
            is_correct_R[rows] = logits_RV.argmax(-1) == target_R1[:, 0]
            # d ce / d logits = p − onehot; d kl / d logits = T · (p_T − q_T).
            grad_RV = log_p_RV.exp()
            grad_RV.scatter_add_(1, target_R1, torch.full_like(target_R1, -1).to(grad_RV))
            if teacher_RD is not None:
                teacher_RV = _precise(teacher_RD[rows] @ head_VD.T) / temperature
                if unsaid is not None:
                    # Not −∞, of which 0 times is no number.
                    teacher_RV[:, unsaid] = torch.finfo(teacher_RV.dtype).min
                log_q_RV = teacher_RV.log_softmax(-1)
                log_p_RV = (logits_RV / temperature).log_softmax(-1)
                q_RV = log_q_RV.exp()
                kl_R[rows] = (q_RV * (log_q_RV - log_p_RV)).sum(-1) * temperature**2
                difference_RV = log_p_RV.exp_().sub_(q_RV)
                grad_RV.mul_(1 - kl_share).add_(difference_RV, alpha=kl_share * temperature)
            grad_RV = grad_RV.mul_(scaled_R[rows, None]).to(hidden_RD.dtype)
            if hidden_grad_RD is not None:
                hidden_grad_RD[rows] = grad_RV @ head_VD
            if head_grad_VD is not None:
                head_grad_VD += grad_RV.T @ hidden_RD[rows]
        ctx.save_for_backward(
            hidden_grad_RD, None if head_grad_VD is None else head_grad_VD.to(head_VD.dtype)
        )
        ctx.mark_non_differentiable(ce_R, kl_R, is_correct_R)
        loss = (((1 - kl_share) * ce_R + kl_share * kl_R) * scaled_R).sum()
        return loss, ce_R, kl_R, is_correct_R

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grads = [None if grad is None else grad * loss_grad for grad in ctx.saved_tensors]
        return (*grads, *[None] * 7)


class _RowLikelihoods(torch.autograd.Function):
    """See `row_likelihoods`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RD: Tensor,
        head_VD: Tensor,
        targets_R: Tensor,
        temperature: float,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        sure, log_p, sure_grad, log_p_grad = [], [], [], []
        for rows_CD, target_C in zip(
            torch.split(hidden_RD, chunk), torch.split(targets_R, chunk), strict=True
        ):
            logits_CV = _precise(rows_CD @ head_VD.T)
            p_CV = logits_CV.log_softmax(-1)
            best_C = p_CV.argmax(-1)
            soft_CV = (logits_CV / temperature).log_softmax(-1)
            sure.append(p_CV.gather(1, best_C[:, None])[:, 0])
            log_p.append(soft_CV.gather(1, target_C[:, None])[:, 0])
            # d log p(k) / d logits = onehot(k) − p, over T where the distribution is softened.
            sure_grad.append(head_VD[best_C] - p_CV.exp().to(head_VD.dtype) @ head_VD)
            expected_CD = soft_CV.exp().to(head_VD.dtype) @ head_VD
            log_p_grad.append((head_VD[target_C] - expected_CD) / temperature)
        ctx.save_for_backward(torch.cat(sure_grad), torch.cat(log_p_grad))
        return torch.cat(sure), torch.cat(log_p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sure_R: Tensor, log_p_R: Tensor) -> tuple[Tensor | None, ...]:
        sure_RD, log_p_RD = ctx.saved_tensors
        grad_RD = sure_R[:, None].to(sure_RD.dtype) * sure_RD
        grad_RD = grad_RD + log_p_R[:, None].to(log_p_RD.dtype) * log_p_RD
        return (grad_RD, *[None] * 4)


def _precise(x: Tensor) -> Tensor:
    """At least float32: a softmax over a vocabulary is no work for eight bits of mantissa."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _not_zero(x: Tensor) -> Tensor:
    """A divisor for sums over no rows, which are zero themselves."""
    return torch.where(x == 0, torch.ones_like(x), x)
