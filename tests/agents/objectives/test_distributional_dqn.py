import math

import pytest
import torch
from torch import nn

from agents.nn import MLP, DistributionalQValueActor, TensorDictModule
from agents.objectives import DistributionalDQNLoss, categorical_target, distributional_dqn_loss

SUPPORT = torch.tensor([0.0, 1.0, 2.0])


def slow_target(reward, probs, terminated, gamma, support):
    """The loop of the paper's algorithm 1, for one step."""
    out, spacing = [0.0] * len(support), support[1] - support[0]
    for p, z in zip(probs, support, strict=True):
        moved = min(max(reward + (0.0 if terminated else gamma) * z, support[0]), support[-1])
        place = (moved - support[0]) / spacing
        low, high = math.floor(place), math.ceil(place)
        if low == high:
            out[low] += p
        else:
            out[low] += p * (high - place)
            out[high] += p * (place - low)
    return out


def test_target_same_as_the_loop():
    support = torch.linspace(-1.0, 3.0, 9, dtype=torch.float64)
    reward, terminated = torch.randn(50, dtype=torch.float64), torch.rand(50) < 0.3
    gamma, probs = torch.rand(50, dtype=torch.float64), torch.rand(50, 9, dtype=torch.float64).softmax(-1)
    target = categorical_target(reward, probs, terminated, gamma, support)
    rows = zip(reward.tolist(), probs.tolist(), terminated.tolist(), gamma.tolist(), strict=True)
    expected = [slow_target(*row, support.tolist()) for row in rows]
    torch.testing.assert_close(target, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(target.sum(-1), torch.ones(50, dtype=torch.float64))


def test_target_by_hand():
    probs = torch.tensor([[0.5, 0.0, 0.5]]).expand(4, 3)
    reward, terminated = torch.tensor([0.5, 1.25, -9.0, 9.0]), torch.tensor([False, True, False, False])
    target = categorical_target(reward, probs, terminated, 0.5, SUPPORT)
    # Returns 0.5 and 1.5, half each; 1.25, a quarter of which goes to 2; below and above the support.
    assert target.tolist() == [[0.25, 0.5, 0.25], [0.0, 0.75, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_target_keeps_the_mean_within_the_support():
    support, probs = torch.linspace(-10.0, 10.0, 51), torch.randn(20, 51).softmax(-1)
    reward = torch.randn(20)
    target = categorical_target(reward, probs, torch.zeros(20, dtype=torch.bool), 0.5, support)
    torch.testing.assert_close(target @ support, reward + 0.5 * probs @ support)


def test_loss_by_hand():
    log_probs = torch.tensor([[[0.2, 0.5], [0.3, 0.25], [0.5, 0.25]]]).log()
    target = torch.tensor([[0.0, 0.5, 0.5]])
    first = -0.5 * math.log(0.3) - 0.5 * math.log(0.5)
    torch.testing.assert_close(distributional_dqn_loss(log_probs, torch.tensor([0]), target), torch.tensor([first]))
    second = torch.tensor([math.log(4.0)])
    for action in (torch.tensor([1]), torch.tensor([[1]]), torch.tensor([[0, 1]]), torch.tensor([[False, True]])):
        torch.testing.assert_close(distributional_dqn_loss(log_probs, action, target), second)


def make_network(linear):
    # Logits of three returns for two actions, which do not depend on x = 1.
    rows = torch.tensor([[0.5, 0.25], [0.25, 0.25], [0.25, 0.5]]).log().flatten().unsqueeze(-1).tolist()
    net = nn.Sequential(linear(*rows), nn.Unflatten(-1, (3, 2)))
    return DistributionalQValueActor(
        TensorDictModule(net, ["observation"], ["action_value"]), action_space="categorical", support=SUPPORT
    )


def test_by_hand(linear, make_step):
    loss = DistributionalDQNLoss(make_network(linear), gamma=0.5)
    steps = make_step([1.0, 1.0], [0, 1], [0.0, 1.0], [1.0, 1.0], [False, True])
    # The best next action is the second: its returns 0, 1, 2 become 0, 0.5, 1 with 1/4, 1/4, 1/2.
    target = loss.target_probs(steps)
    torch.testing.assert_close(target, torch.tensor([[0.375, 0.625, 0.0], [0.0, 1.0, 0.0]]))
    expected = torch.tensor([-0.375 * math.log(0.5) - 0.625 * math.log(0.25), math.log(4.0)])
    results = loss(steps)
    torch.testing.assert_close(results["td_error"], expected)
    torch.testing.assert_close(results["loss"].detach(), expected.mean())
    assert torch.equal(steps["td_error"], results["td_error"])


def test_only_possible_actions_follow(linear, make_step):
    loss = DistributionalDQNLoss(make_network(linear), gamma=0.5)
    steps = make_step([1.0], [0], [0.0], [1.0], [False])
    steps["next", "action_mask"] = torch.tensor([[True, False]])
    torch.testing.assert_close(loss.target_probs(steps), torch.tensor([[0.625, 0.375, 0.0]]))


def test_double_chooses_by_the_network_that_learns(linear, make_step):
    loss = DistributionalDQNLoss(make_network(linear), double_dqn=True, gamma=0.5)
    first = loss.target_value_network[0].module[0]
    first.weight.copy_(torch.tensor([0.7, 0.6, 0.2, 0.2, 0.1, 0.2]).log().unsqueeze(-1))
    target = loss.target_probs(make_step([1.0], [0], [0.0], [1.0], [False]))
    torch.testing.assert_close(target, torch.tensor([[0.7, 0.3, 0.0]]))


def test_a_support_is_needed():
    net = TensorDictModule(MLP(3, 2), ["observation"], ["action_value"])
    with pytest.raises(ValueError, match="expected a support"):
        DistributionalDQNLoss(net)
    with pytest.raises(ValueError, match=r"expected value_type to be one of \['td0'\], found 'td1'"):
        DistributionalDQNLoss(net, support=SUPPORT).make_value_estimator("td1")


def test_shapes_are_checked():
    reward, over = torch.zeros(4), torch.zeros(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"next_probs of shape \[4, 3\], found \[4, 2\]"):
        categorical_target(reward, torch.zeros(4, 2), over, 0.9, SUPPORT)
    with pytest.raises(ValueError, match=r"terminated of the shape of reward, \[4\], found \[4, 1\]"):
        categorical_target(reward, torch.zeros(4, 3), over.unsqueeze(-1), 0.9, SUPPORT)
    with pytest.raises(ValueError, match=r"target of the shape of chosen, \[4, 3\], found \[4, 2\]"):
        distributional_dqn_loss(torch.zeros(4, 3, 2), over.long(), torch.zeros(4, 2))
