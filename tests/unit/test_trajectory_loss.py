"""Losses over ways from a masked block to a whole one."""

import pytest
import torch

from training.loss import onpolicy_loss, order_loss, step_cost

M = 99


def test_order_loss_weighs_states_by_lambda():
    log_probs_S = torch.tensor([-1.0, -2.0, -4.0], dtype=torch.float64, requires_grad=True)
    lambda_S = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    loss = order_loss(log_probs_S, lambda_S)
    assert loss.item() == pytest.approx((1 * 1 + 0.5 * 2 + 0 * 4) / 3)
    torch.autograd.gradcheck(lambda x: order_loss(x, lambda_S), (log_probs_S,))


def path(*states):
    return [torch.tensor(state) for state in states]


def test_step_cost_is_the_mean_inverse_distance_of_all_pairs():
    states = path([M, M, M, M], [1, M, M, M], [1, 2, 3, 4])
    # distances 1, 4 and 3
    assert step_cost(states) == pytest.approx((1 / 1 + 1 / 4 + 1 / 3) / 3)


def test_step_cost_rises_with_the_number_of_steps():
    def equal_steps(count, size=8):
        width = size // count
        return path(*[list(range(i * width)) + [M] * (size - i * width) for i in range(count + 1)])

    costs = [step_cost(equal_steps(count)) for count in (1, 2, 4, 8)]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(1 / 8)


def test_step_cost_knows_insertions_and_idle_steps():
    # Shifted by one insertion: one edit apart, although every slot differs.
    assert step_cost(path([1, 2, 3, 4], [9, 1, 2, 3, 4])) == 1
    assert step_cost(path([1, 2], [1, 2])) == 1
    assert step_cost(path([1, 2])) == 0
    assert step_cost([]) == 0


def test_costs_weigh_steps_against_rewards():
    fast, slow = path([M, M], [1, 2]), path([M, M], [1, M], [1, 2])
    log_probs = [torch.zeros(2), torch.zeros(2)]
    result = onpolicy_loss(log_probs, [fast, slow], [1.0, 0.25], step_weight=3.0)
    expected = [3 * 0.5 - 1, 3 * (1 + 1 + 0.5) / 3 - 0.25]
    assert result.costs_N.tolist() == pytest.approx(expected)


def test_following_the_gradient_makes_the_cheaper_trajectory_likelier():
    fast, slow = path([M, M], [1, 2]), path([M, M], [1, M], [1, 2])
    fast_logs = torch.full((2,), -1.0, requires_grad=True)
    slow_logs = torch.full((3,), -1.0, requires_grad=True)
    onpolicy_loss([fast_logs, slow_logs], [fast, slow], [1.0, 1.0]).loss.backward()
    assert (fast_logs.grad < 0).all()
    assert (slow_logs.grad > 0).all()


def test_the_baseline_is_the_mean_of_the_others():
    states = path([M, M], [1, 2])
    logs = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    onpolicy_loss(logs, [states] * 3, [0.0, 1.0, 5.0]).loss.backward()
    advantages = [3 * log_prob.grad.item() for log_prob in logs]
    assert advantages == pytest.approx([3.0, 1.5, -4.5])


def test_a_single_trajectory_needs_a_baseline():
    states = path([M, M], [1, 2])
    logs = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError, match="baseline"):
        onpolicy_loss([logs], [states], [0.0])
    onpolicy_loss([logs], [states], [0.0], baseline=0.2).loss.backward()
    assert logs.grad.item() == pytest.approx(0.5 - 0.2)


@pytest.mark.parametrize("baseline", [None, 0.0, 0.7])
def test_the_estimate_is_unbiased(baseline):
    """Two independent draws among three trajectories, all nine pairs weighed by probability."""
    paths = [
        path([M, M], [1, 2]),
        path([M, M], [1, M], [1, 2]),
        path([M, M], [3, M], [3, 4], [3, 5]),
    ]
    rewards = [0.2, 1.0, 0.4]
    scores = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)

    costs = [step_cost(states) - v for states, v in zip(paths, rewards, strict=True)]
    costs = torch.tensor(costs, dtype=torch.float64)
    (exact,) = torch.autograd.grad((scores.softmax(0) * costs).sum(), scores)

    estimate = torch.zeros(3, dtype=torch.float64)
    for a in range(3):
        for b in range(3):
            log_p = scores.log_softmax(0)
            result = onpolicy_loss(
                [log_p[a : a + 1], log_p[b : b + 1]],
                [paths[a], paths[b]],
                [rewards[a], rewards[b]],
                baseline=baseline,
            )
            (gradient,) = torch.autograd.grad(result.loss, scores)
            estimate += (log_p[a] + log_p[b]).exp().detach() * gradient
    torch.testing.assert_close(estimate, exact)
