import math

import pytest
import torch

from agents.nn import IndependentNormal, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import IQLLoss, advantage_weighted_loss, expectile_loss


def test_expectile_by_hand():
    value = torch.tensor([1.0, 1.0], requires_grad=True)
    losses = expectile_loss(value, torch.tensor([3.0, -1.0]), 0.9)
    torch.testing.assert_close(losses.detach(), torch.tensor([3.6, 0.4]))
    losses.sum().backward()
    torch.testing.assert_close(value.grad, torch.tensor([-3.6, 0.4]))


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.5), (0.9, 0.9)])
def test_minimum_is_the_expectile(expectile, expected):
    # Of the targets 0 and 1: where (1 - e) v = e (1 - v), so v = e.
    value = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([value], 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        expectile_loss(value.expand(2), torch.tensor([0.0, 1.0]), expectile).mean().backward()
        optimizer.step()
    torch.testing.assert_close(value.item(), expected, atol=1e-5, rtol=0)


def test_advantage_weights_by_hand():
    log_prob, advantage = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([math.log(2.0), -math.log(2.0), 90.0])
    losses = advantage_weighted_loss(log_prob, advantage.requires_grad_(), 2.0)
    torch.testing.assert_close(losses.detach(), torch.tensor([4.0, 0.5, 300.0]))
    assert not losses.requires_grad


@pytest.fixture
def loss(linear):
    # Mean action x; values of action a at x are x + a and 3 x - a; the state is worth x.
    net = TensorDictModule(linear([1.0]), ["observation"], ["loc"])
    actor = ProbabilisticActor(
        net, ["loc"], distribution_class=IndependentNormal, distribution_kwargs={"scale": torch.ones(1)}
    )
    critics = [ValueOperator(linear(row), in_keys=["observation", "action"]) for row in ([1.0, 1.0], [3.0, -1.0])]
    return IQLLoss(
        actor, critics, ValueOperator(linear([1.0])), loss_function="l2", temperature=2.0, expectile=0.75, gamma=0.5
    )


def test_by_hand(loss, make_step):
    steps = make_step([1.0, 2.0], [[0.5], [-1.0]], [10.0, 20.0], [3.0, 4.0], [False, True])
    results = loss(steps)
    # Targets of the critics: 10 + 3 / 2 and 20; their values are 1.5, 1 and 2.5, 7.
    assert results["target_value"].tolist() == [11.5, 20.0]
    assert results["pred_value"].tolist() == [[1.5, 1.0], [2.5, 7.0]]
    assert results["loss_qvalue"].item() == (10.0**2 + 19.0**2 + 9.0**2 + 13.0**2) / 2
    # The smaller values 1.5 and 1 are 0.5 above and 1 below those of the states.
    assert results["loss_value"].item() == (0.75 * 0.25 + 0.25 * 1.0) / 2
    # Log-densities of 0.5 around 1 and of -1 around 2, weighted by exp(1) and exp(-2).
    half = 0.5 * math.log(2.0 * math.pi)
    expected = (math.exp(1.0) * (half + 0.125) + math.exp(-2.0) * (half + 4.5)) / 2
    torch.testing.assert_close(results["loss_actor"].item(), expected)


def test_each_network_learns_from_its_own_loss(loss, make_step):
    steps = make_step([1.0, 2.0], [[0.5], [-1.0]], [10.0, 20.0], [3.0, 4.0], [False, True])
    parts = {"loss_actor": "actor_network", "loss_qvalue": "qvalue_network", "loss_value": "value_network"}
    for key, name in parts.items():
        loss.zero_grad()
        loss(steps)[key].backward()
        learning = {path.split(".")[0] for path, parameter in loss.named_parameters() if parameter.grad is not None}
        assert learning == {name}


def test_values_come_from_the_delayed_critics(loss, make_step):
    steps = make_step([1.0], [[0.5]], [10.0], [3.0], [False])
    expected = loss(steps)["loss_value"]
    loss.qvalue_network[0].module.weight.data.zero_()
    assert torch.equal(loss(steps)["loss_value"], expected)
    loss.target_qvalue_network[0].module.weight.zero_()
    assert not torch.equal(loss(steps)["loss_value"], expected)


def test_refuses(loss):
    with pytest.raises(ValueError, match=r"expected expectile between 0 and 1, found 1\.0"):
        IQLLoss(loss.actor_network, list(loss.qvalue_network), loss.value_network, expectile=1.0)
