import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from training.loss import (
    ar_loss,
    certainty_loss,
    chunked_cross_entropy,
    ending_loss,
    masked_cross_entropy,
)

R, D, V = 7, 5, 11


def random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rows(seed=0, dtype=torch.float64):
    """Hidden states, head, targets and weights; one row has no weight and an impossible target."""
    generator = torch.Generator().manual_seed(seed)
    targets_R = torch.randint(V, (R,), generator=generator)
    weights_R = torch.rand(R, generator=generator, dtype=torch.float64) * 3
    targets_R[2], weights_R[2] = -1, 0
    hidden_RD, head_VD = random(seed + 1, R, D).to(dtype), random(seed + 2, V, D).to(dtype)
    return hidden_RD.requires_grad_(), head_VD, targets_R, weights_R.to(dtype)


def naive_cross_entropy(logits, targets, weights):
    """Row by row, in plain Python and float64."""
    total = weight_sum = 0.0
    columns = logits.tolist(), targets.tolist(), weights.tolist()
    for logits_V, target, weight in zip(*columns, strict=True):
        if weight:
            log_sum = math.log(sum(math.exp(z) for z in logits_V))
            total += weight * (log_sum - logits_V[target])
            weight_sum += weight
    return total / weight_sum if weight_sum else 0.0


def naive_kl(teacher_logits, logits, weights, temperature=1.0):
    total = 0.0
    columns = teacher_logits.tolist(), logits.tolist(), weights.tolist()
    for zt, zs, weight in zip(*columns, strict=True):
        q = [math.exp(z / temperature) for z in zt]
        p = [math.exp(z / temperature) for z in zs]
        for a, b in zip(q, p, strict=True):
            share = a / sum(q)
            total += weight * temperature**2 * share * math.log(share / (b / sum(p)))
    return total / sum(weights.tolist())


# --- masked cross-entropy


@pytest.mark.parametrize("seed", range(3))
def test_masked_cross_entropy_is_the_weighted_mean(seed):
    hidden_RD, head_VD, targets_R, weights_R = rows(seed)
    logits_RV = (hidden_RD @ head_VD.T).detach()
    loss = masked_cross_entropy(logits_RV, targets_R, weights_R)
    assert loss.item() == pytest.approx(naive_cross_entropy(logits_RV, targets_R, weights_R))


def test_rows_without_weight_get_no_gradient():
    logits_RV = random(0, 3, V).requires_grad_()
    masked_cross_entropy(
        logits_RV, torch.tensor([1, 999, 2]), torch.tensor([1.0, 0.0, 2.0])
    ).backward()
    assert (logits_RV.grad[1] == 0).all()
    assert (logits_RV.grad[[0, 2]] != 0).all()


def test_no_weight_at_all_is_no_loss():
    logits_RV = random(0, 3, V).requires_grad_()
    loss = masked_cross_entropy(logits_RV, torch.zeros(3, dtype=torch.long), torch.zeros(3))
    loss.backward()
    assert loss == 0
    assert (logits_RV.grad == 0).all()


def test_gradcheck_of_masked_cross_entropy():
    _, _, targets_R, weights_R = rows()
    logits_RV = random(5, R, V).requires_grad_()
    torch.autograd.gradcheck(lambda z: masked_cross_entropy(z, targets_R, weights_R), (logits_RV,))


# --- chunked cross-entropy


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), chunk=st.integers(1, R + 2))
def test_chunks_give_the_value_and_gradients_of_the_whole(seed, chunk):
    hidden_RD, head_VD, targets_R, weights_R = rows(seed)
    head_VD.requires_grad_()
    whole = masked_cross_entropy(hidden_RD @ head_VD.T, targets_R, weights_R)
    expected = torch.autograd.grad(whole, (hidden_RD, head_VD))
    result = chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R, chunk=chunk)
    actual = torch.autograd.grad(result.loss, (hidden_RD, head_VD))
    torch.testing.assert_close(result.loss, whole)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradcheck_with_teacher_and_trimmed_vocabulary(temperature):
    hidden_RD, head_VD, targets_R, weights_R = rows()
    head_VD.requires_grad_()
    teacher_RD = random(9, R, D)

    def loss(hidden_RD, head_VD):
        return chunked_cross_entropy(
            hidden_RD,
            head_VD,
            targets_R,
            weights_R,
            chunk=3,
            teacher_hidden_RD=teacher_RD,
            kl_weight=0.3,
            temperature=temperature,
            vocabulary_ids=torch.tensor([0, 1, 3, 4, 7, 8, 10]),
        ).loss

    torch.autograd.gradcheck(lambda hidden_RD: loss(hidden_RD, head_VD.detach()), (hidden_RD,))
    # The teacher reads the same head without gradient, so the check leaves the teacher out there.
    torch.autograd.gradcheck(
        lambda head_VD: (
            chunked_cross_entropy(hidden_RD.detach(), head_VD, targets_R, weights_R, chunk=3).loss
        ),
        (head_VD,),
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kl_weight", [0.0, 0.5, 1.0])
def test_loss_mixes_cross_entropy_and_kl(temperature, kl_weight):
    hidden_RD, head_VD, targets_R, weights_R = rows()
    teacher_RD = random(8, R, D)
    result = chunked_cross_entropy(
        hidden_RD,
        head_VD,
        targets_R,
        weights_R,
        chunk=2,
        teacher_hidden_RD=teacher_RD,
        kl_weight=kl_weight,
        temperature=temperature,
    )
    logits_RV = (hidden_RD @ head_VD.T).detach()
    ce = naive_cross_entropy(logits_RV, targets_R, weights_R)
    kl = naive_kl(teacher_RD @ head_VD.T, logits_RV, weights_R, temperature)
    total = weights_R.sum().item()
    assert result.ce.item() == pytest.approx(ce * total)
    assert result.kl.item() == pytest.approx(kl * total)
    assert result.loss.item() == pytest.approx((1 - kl_weight) * ce + kl_weight * kl)
    assert result.weight.item() == pytest.approx(total)


def test_gradient_of_the_heads_student_side_with_a_teacher():
    """Against autograd on the plain formula, the teacher's logits detached."""
    hidden_RD, head_VD, targets_R, weights_R = rows()
    head_VD.requires_grad_()
    teacher_RD = random(8, R, D)
    result = chunked_cross_entropy(
        hidden_RD, head_VD, targets_R, weights_R, chunk=4, teacher_hidden_RD=teacher_RD
    )
    log_p_RV = (hidden_RD @ head_VD.T).log_softmax(-1)
    log_q_RV = (teacher_RD @ head_VD.T).log_softmax(-1).detach()
    kl_R = (log_q_RV.exp() * (log_q_RV - log_p_RV)).sum(-1)
    expected = 0.5 * masked_cross_entropy(log_p_RV, targets_R, weights_R)
    expected = expected + 0.5 * (kl_R * weights_R).sum() / weights_R.sum()
    torch.testing.assert_close(
        torch.autograd.grad(result.loss, (hidden_RD, head_VD)),
        torch.autograd.grad(expected, (hidden_RD, head_VD)),
    )


def test_a_student_like_its_teacher_has_no_kl():
    hidden_RD, head_VD, targets_R, weights_R = rows()
    result = chunked_cross_entropy(
        hidden_RD, head_VD, targets_R, weights_R, teacher_hidden_RD=hidden_RD, kl_weight=1.0
    )
    result.loss.backward()
    assert result.loss.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(hidden_RD.grad, torch.zeros_like(hidden_RD), atol=1e-12, rtol=0)


def test_trimmed_vocabulary_is_the_softmax_over_its_ids():
    hidden_RD, head_VD, _, _ = rows()
    ids = torch.tensor([1, 4, 5, 9])
    targets_R = torch.tensor([1, 4, 5, 9, 0, 10, 9])
    weights_R = torch.tensor([1, 2, 0, 1, 3, 1, 0.5], dtype=torch.float64)
    result = chunked_cross_entropy(
        hidden_RD, head_VD, targets_R, weights_R, chunk=3, vocabulary_ids=ids
    )
    others = torch.ones(V, dtype=torch.bool)
    others[ids] = False
    logits_RV = (hidden_RD @ head_VD.T).masked_fill(others, -torch.inf)
    inside_R = torch.isin(targets_R, ids)
    expected = masked_cross_entropy(logits_RV[inside_R], targets_R[inside_R], weights_R[inside_R])
    torch.testing.assert_close(result.loss, expected)
    assert result.num_outside == 2
    assert result.num_rows == 4
    assert result.weight == 4.5
    result.loss.backward()
    assert (hidden_RD.grad[[2, 4, 5]] == 0).all()


def test_rows_are_counted_by_weight_and_by_argmax():
    head_VD = torch.eye(4)
    hidden_RD = torch.eye(4) * 5
    result = chunked_cross_entropy(
        hidden_RD, head_VD, torch.tensor([0, 1, 0, 3]), torch.tensor([1.0, 0.0, 1.0, 0.5]), chunk=3
    )
    assert (result.num_rows, result.num_correct, result.num_outside) == (3, 2, 0)
    assert not result.loss.requires_grad


def test_a_split_batch_counts_like_a_whole_one():
    hidden_RD, head_VD, targets_R, weights_R = rows()
    whole = chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R)
    (expected,) = torch.autograd.grad(whole.loss, hidden_RD)
    parts = [slice(0, 3), slice(3, R)]
    losses = [
        chunked_cross_entropy(
            hidden_RD[part],
            head_VD,
            targets_R[part],
            weights_R[part],
            normalizer=weights_R.sum(),
        ).loss
        for part in parts
    ]
    torch.testing.assert_close(sum(losses), whole.loss)
    torch.testing.assert_close(torch.autograd.grad(sum(losses), hidden_RD)[0], expected)


@pytest.mark.parametrize("count", [0, 3])
def test_no_weighted_row_is_no_loss(count):
    hidden_RD = random(0, count, D).requires_grad_()
    result = chunked_cross_entropy(
        hidden_RD, random(1, V, D), torch.full((count,), -1), torch.zeros(count)
    )
    result.loss.backward()
    assert result.loss == 0
    assert (hidden_RD.grad == 0).all()


def test_bf16_stays_near_the_float64_twin():
    hidden_RD, head_VD, targets_R, weights_R = rows(dtype=torch.bfloat16)
    result = chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R, chunk=3)
    result.loss.backward()
    twin_RD = hidden_RD.detach().double().requires_grad_()
    twin = masked_cross_entropy(twin_RD @ head_VD.double().T, targets_R, weights_R.double())
    twin.backward()
    assert result.loss.dtype == torch.float32
    assert hidden_RD.grad.dtype == torch.bfloat16
    torch.testing.assert_close(result.loss.double(), twin, rtol=0.01, atol=0.01)
    torch.testing.assert_close(hidden_RD.grad.double(), twin_RD.grad, rtol=0.05, atol=0.01)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation made."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.num_elements = max(self.num_elements, tensor.numel())
        return result


@pytest.mark.parametrize("chunk", [4, 8, 64])
def test_never_more_logits_than_those_of_a_chunk(chunk):
    hidden_RD, head_VD = random(0, 64, 3).requires_grad_(), random(1, 200, 3)
    targets_R = torch.arange(64)
    with LargestTensor() as largest:
        result = chunked_cross_entropy(
            hidden_RD,
            head_VD,
            targets_R,
            torch.ones(64),
            chunk=chunk,
            teacher_hidden_RD=hidden_RD * 2,
        )
        result.loss.backward()
    assert largest.num_elements == chunk * 200


def test_the_teacher_gets_no_gradient():
    hidden_RD, head_VD, targets_R, weights_R = rows()
    teacher_RD = random(8, R, D).requires_grad_()
    chunked_cross_entropy(
        hidden_RD, head_VD, targets_R, weights_R, teacher_hidden_RD=teacher_RD
    ).loss.backward()
    assert teacher_RD.grad is None


def test_only_gradients_that_are_asked_for_are_computed():
    hidden_RD, head_VD, targets_R, weights_R = rows()

    def num_products():
        with FlopCounterMode(display=False) as counter:
            chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R, chunk=3)
        return counter.get_total_flops() / (2 * R * D * V)

    with torch.no_grad():
        assert num_products() == 1
    assert num_products() == 2
    head_VD.requires_grad_()
    assert num_products() == 3


def test_without_gradients_the_values_are_the_same():
    hidden_RD, head_VD, targets_R, weights_R = rows()
    with torch.no_grad():
        silent = chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R)
    loud = chunked_cross_entropy(hidden_RD, head_VD, targets_R, weights_R)
    assert not silent.loss.requires_grad
    assert silent.loss == loud.loss


# --- next-token loss


def test_ar_loss_predicts_each_target_from_the_row_before():
    hidden_TD, head_VD, tokens_T, _ = rows()
    tokens_T = tokens_T.clamp(min=0)
    is_target_T = torch.tensor([True, False, True, True, False, False, True])
    result = ar_loss(hidden_TD, head_VD, tokens_T, is_target_T, chunk=2)
    log_p_TV = (hidden_TD @ head_VD.T).log_softmax(-1)
    expected = -sum(log_p_TV[p - 1, tokens_T[p]] for p in (2, 3, 6)) / 3
    torch.testing.assert_close(result.loss, expected)
    assert result.num_rows == 3
    (gradient_TD,) = torch.autograd.grad(result.loss, hidden_TD)
    assert gradient_TD.abs().sum(-1).nonzero()[:, 0].tolist() == [1, 2, 5]


# --- certainty


def test_ends_are_learnt_and_the_rest_is_kept():
    hidden_RD, head_VD, targets_R, weights_R = rows(3)
    base_RD, end_ids = random(9, R, D), torch.tensor([4, 7])
    targets_R[[0, 5]] = torch.tensor([7, 4])
    result = ending_loss(hidden_RD, base_RD, head_VD, targets_R, weights_R, end_ids, 0.75, chunk=3)
    logits_RV, base_RV = hidden_RD @ head_VD.T, base_RD @ head_VD.T
    base_RV[:, end_ids] = -600.0
    total = 0.0
    for row in range(R):
        one = slice(row, row + 1)
        ce = naive_cross_entropy(logits_RV[one], targets_R[one], torch.ones(1))
        kl = naive_kl(base_RV[one], logits_RV[one], torch.ones(1)) if row not in (0, 5) else ce
        total += float(weights_R[row]) * (0.25 * ce + 0.75 * kl) if row != 2 else 0.0
    assert float(result.loss.detach()) == pytest.approx(total / float(weights_R.sum()))
    assert int(result.num_rows) == R - 1
    assert float(result.weight) == pytest.approx(float(weights_R.sum()))


def test_gradcheck_of_ends():
    hidden_RD, head_VD, targets_R, weights_R = rows(3)
    base_RD, end_ids = random(9, R, D), torch.tensor([4, 7])
    targets_R[[0, 5]] = torch.tensor([7, 4])

    def loss(hidden_RD):
        return ending_loss(
            hidden_RD, base_RD, head_VD, targets_R, weights_R, end_ids, 0.75, chunk=3
        ).loss

    assert torch.autograd.gradcheck(loss, (hidden_RD,))


def test_a_base_that_ends_is_not_followed():
    """Where text goes on, the least loss is at a p(end) of 0 whatever the base says."""
    base_RD = torch.tensor([[0.0, 3.0]], dtype=torch.float64)  # sure of the end, id 1
    head_VD, end_ids = torch.eye(2, dtype=torch.float64), torch.tensor([1])
    losses = [
        float(
            ending_loss(
                torch.tensor([[0.0, logit]], dtype=torch.float64),
                base_RD,
                head_VD,
                torch.tensor([0]),
                torch.ones(1),
                end_ids,
                1.0,
            ).loss
        )
        for logit in (3.0, 0.0, -30.0)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(0, abs=1e-9)


def test_certainty_is_the_entropy_of_right_rows():
    logits_RV = torch.tensor([[2.0, 0, 0], [0, 3.0, 0], [0, 0, 1.0]], dtype=torch.float64)
    targets_R = torch.tensor([0, 2, 2])  # the second is wrong

    def entropy(z):
        p = [math.exp(x) / sum(map(math.exp, z)) for x in z]
        return -sum(x * math.log(x) for x in p)

    expected = (entropy([2, 0, 0]) + entropy([0, 0, 1])) / 2
    assert certainty_loss(logits_RV, targets_R).item() == pytest.approx(expected)


def test_certainty_leaves_wrong_rows_alone():
    logits_RV = random(3, 6, V).requires_grad_()
    targets_R = logits_RV.argmax(-1)
    targets_R[4] = (targets_R[4] + 1) % V
    certainty_loss(logits_RV, targets_R).backward()
    assert logits_RV.grad.abs().sum(-1).gt(0).tolist() == [True] * 4 + [False, True]
    none_right = certainty_loss(logits_RV, (targets_R + 1) % V)
    assert none_right.item() >= 0


def test_certainty_of_nothing_right_is_zero():
    logits_RV = random(3, 6, V)
    assert certainty_loss(logits_RV, logits_RV.argmin(-1)) == 0


def test_gradcheck_of_certainty():
    logits_RV = random(4, 4, V).requires_grad_()
    targets_R = logits_RV.argmax(-1)
    torch.autograd.gradcheck(lambda z: certainty_loss(z, targets_R), (logits_RV,))
