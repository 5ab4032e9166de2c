import pytest
import torch
from torch import nn

from agents.nn import TensorDictModule
from agents.objectives import QuantileDQNLoss, quantile_huber_loss


def slow_loss(quantiles, target, kappa):
    total = 0.0
    for i, quantile in enumerate(quantiles):
        tau = (i + 0.5) / len(quantiles)
        for sample in target:
            u = sample - quantile
            huber = 0.5 * u * u if abs(u) <= kappa else kappa * (abs(u) - 0.5 * kappa)
            total += abs(tau - (u < 0)) * huber / kappa / len(target)
    return total


@pytest.mark.parametrize("kappa", [0.3, 1.0])
def test_same_as_the_double_sum(kappa):
    quantiles, target = torch.randn(20, 7, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64)
    rows = zip(quantiles.tolist(), target.tolist(), strict=True)
    expected = torch.tensor([slow_loss(*row, kappa) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(quantile_huber_loss(quantiles, target, kappa), expected)


def test_by_hand():
    # Two quantiles, tau 1/4 and 3/4, of one sample, 1: errors 1 and -1, |tau - 0| = 1/4 and |tau - 1| = 1/4.
    assert quantile_huber_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0]])).item() == 0.25
    assert quantile_huber_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0]]), 0.0).item() == 0.5


def test_minimum_is_at_the_quantiles():
    samples = torch.randn(4_000)
    quantiles = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([quantiles], 1.0)
    for _ in range(60):
        optimizer.zero_grad()
        quantile_huber_loss(quantiles, samples, 0.0).backward()
        optimizer.step()
    expected = samples.quantile(torch.tensor([1 / 6, 3 / 6, 5 / 6]))
    torch.testing.assert_close(quantiles.detach(), expected, atol=0.02, rtol=0)


def test_loss_by_hand(linear, make_step):
    # Two quantiles for two actions at x: x, 2 x (first quantile of each) and 3 x, 5 x (second).
    net = nn.Sequential(linear([1.0], [2.0], [3.0], [5.0]), nn.Unflatten(-1, (2, 2)))
    loss = QuantileDQNLoss(TensorDictModule(net, ["observation"], ["action_value"]), gamma=0.5)
    steps = make_step([1.0, 2.0], [0, 1], [1.0, 1.0], [2.0, 1.0], [False, True])
    # At 2 the second action is the better one: its quantiles 4 and 10 make targets 1 + 2 and 1 + 5.
    assert loss.target_quantiles(steps).tolist() == [[3.0, 6.0], [1.0, 1.0]]
    chosen, target = torch.tensor([[1.0, 3.0], [4.0, 10.0]]), torch.tensor([[3.0, 6.0], [1.0, 1.0]])
    expected = quantile_huber_loss(chosen, target)
    results = loss(steps)
    torch.testing.assert_close(results["td_error"], expected)
    torch.testing.assert_close(results["loss"].detach(), expected.mean())
    steps["next", "action_mask"] = torch.tensor([[True, False], [True, True]])
    assert loss.target_quantiles(steps)[0].tolist() == [2.0, 4.0]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"target of shape \[5, 'M'\], found \[4, 3\]"):
        quantile_huber_loss(torch.zeros(5, 3), torch.zeros(4, 3))
