import math

import pytest
import torch

from agents.returns import td1, vtrace


def slow_vtrace(reward, value, next_value, done, terminated, log_prob, old, gamma, rho_thresh, c_thresh):
    """Equation 1 of the paper, as a double sum; lists of one trajectory or several."""
    steps = len(reward)
    ratio = [math.exp(a - b) for a, b in zip(log_prob, old, strict=True)]
    rho = [min(rho_thresh, r) for r in ratio]
    after = [gamma * (not terminated[t]) * next_value[t] for t in range(steps)]
    targets = []
    for s in range(steps):
        total, weight = value[s], 1.0
        for t in range(s, steps):
            total += weight * rho[t] * (reward[t] + after[t] - value[t])
            if done[t]:
                break
            weight *= gamma * min(c_thresh, ratio[t])
        targets.append(total)
    advantages = []
    for s in range(steps):
        within = s + 1 < steps and not done[s]
        advantages.append(rho[s] * (reward[s] + (gamma * targets[s + 1] if within else after[s]) - value[s]))
    return advantages, targets


@pytest.mark.parametrize("thresholds", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("shape", [(1,), (9,), (3, 20)])
def test_same_as_the_equation(make_columns, shape, thresholds):
    columns = make_columns(*shape)
    probs = [torch.randn(*shape, 1, dtype=torch.float64) for _ in range(2)]
    results = vtrace(*columns, *probs, gamma=0.9, rho_thresh=thresholds[0], c_thresh=thresholds[1])
    rows = [tensor.reshape(-1, shape[-1]).tolist() for tensor in (*columns, *probs)]
    expected = zip(*[slow_vtrace(*row, 0.9, *thresholds) for row in zip(*rows, strict=True)], strict=True)
    for result, numbers in zip(results, expected, strict=True):
        torch.testing.assert_close(result.reshape(-1, shape[-1]), torch.tensor(numbers, dtype=torch.float64))


def test_by_hand():
    # Ratios 2 and 1/2, values 0, gamma 1/2, and the second step bootstraps from 8. The second: rho = 1/2, so
    # 1/2 (4 + 4) = 4, which is its advantage as well. The first: rho and c are cut to 1, so 1 + 4/2 = 3.
    zeros = torch.zeros(2, 1)
    log_prob, reward, after = torch.tensor([[2.0], [0.5]]).log(), torch.tensor([[1.0], [4]]), torch.tensor([[0.0], [8]])
    advantage, target = vtrace(reward, zeros, after, zeros.bool(), zeros.bool(), log_prob, zeros, gamma=0.5)
    torch.testing.assert_close(target, torch.tensor([[3.0], [4.0]]))
    torch.testing.assert_close(advantage, torch.tensor([[3.0], [4.0]]))


def test_on_policy_targets_are_those_of_td1(make_columns):
    reward, value, next_value, done, terminated = make_columns(4, 20)
    next_value[:, :-1] = torch.where(done[:, :-1], next_value[:, :-1], value[:, 1:])
    columns, log_prob = (reward, value, next_value, done, terminated), torch.randn_like(reward)
    for ours, expected in zip(vtrace(*columns, log_prob, log_prob, gamma=0.9), td1(*columns, gamma=0.9), strict=True):
        torch.testing.assert_close(ours, expected)


def test_dtypes_and_gradients(make_columns):
    columns = make_columns(3, 12, dtype=torch.bfloat16)
    log_prob = torch.randn_like(columns[0]).requires_grad_()
    results = vtrace(*columns, log_prob, torch.zeros_like(log_prob), gamma=0.9)
    assert all(result.dtype is torch.bfloat16 and not result.requires_grad for result in results)


def test_shapes_are_checked(make_columns):
    columns = make_columns(3, 12)
    with pytest.raises(ValueError, match=r"vtrace: expected old_log_prob of shape \[3, 12, 1\], found \[3, 12\]"):
        vtrace(*columns, columns[0], columns[0].squeeze(-1), gamma=0.9)
