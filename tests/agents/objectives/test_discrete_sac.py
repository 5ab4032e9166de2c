import math

import pytest
import torch

from agents.nn import Categorical, ProbabilisticActor, TensorDictModule
from agents.objectives import DiscreteSACLoss, discrete_soft_value

QUARTER = torch.tensor([0.25, 0.75])
ENTROPY = -(QUARTER * QUARTER.log()).sum().item()


def test_function_by_hand():
    values = torch.tensor([[4.0, 8.0]])
    torch.testing.assert_close(
        discrete_soft_value(values, QUARTER.log().unsqueeze(0), 2.0), torch.tensor([7.0 + 2.0 * ENTROPY])
    )


def test_impossible_actions_are_as_if_they_were_not_there():
    log_probs = torch.tensor([0.25, 0.75, 0.0]).log().requires_grad_()
    value = discrete_soft_value(torch.tensor([4.0, 8.0, 100.0]), log_probs, 2.0)
    torch.testing.assert_close(value.item(), 7.0 + 2.0 * ENTROPY)
    value.backward()
    assert torch.isfinite(log_probs.grad).all()


def test_function_is_an_expectation():
    values, logits = torch.randn(4), torch.randn(4)
    dist = Categorical(logits)
    drawn = dist.sample((100_000,))
    expected = (values[drawn] - 0.5 * dist.log_prob(drawn)).mean()
    torch.testing.assert_close(discrete_soft_value(values, dist.logits, 0.5), expected, atol=0.02, rtol=0)


@pytest.fixture
def loss(linear):
    # At x = 1 the policy has probabilities 1/4 and 3/4, at 0 the same for all; values are (x, 2 x) and (3 x, x).
    rows = [[number] for number in QUARTER.log().tolist()]
    net = TensorDictModule(linear(*rows), ["observation"], ["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
    critics = [
        TensorDictModule(linear(*net), ["observation"], ["action_value"]) for net in ([[1.0], [2.0]], [[3.0], [1.0]])
    ]
    return DiscreteSACLoss(actor, critics, loss_function="l2", alpha_init=2.0, gamma=0.5)


def test_by_hand(loss, make_step):
    steps = make_step([1.0, 1.0], [0, 1], [10.0, 20.0], [1.0, 4.0], [False, True])
    results = loss(steps)
    # The smaller values are 1 and 1, so the next state is worth 1 + 2 * entropy.
    target = torch.tensor([10.0 + 0.5 * (1.0 + 2.0 * ENTROPY), 20.0])
    torch.testing.assert_close(results["target_value"], target)
    values = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    assert torch.equal(results["pred_value"], values)
    torch.testing.assert_close(results["loss_qvalue"].detach(), (values - target).square().mean(1).sum())
    torch.testing.assert_close(results["loss_actor"].item(), -(1.0 + 2.0 * ENTROPY))
    torch.testing.assert_close(results["entropy"].item(), ENTROPY)
    wanted = 0.98 * math.log(2.0)
    torch.testing.assert_close(results["loss_alpha"].item(), -math.log(2.0) * (wanted - ENTROPY))


def test_one_hot_actions(loss, make_step):
    steps = make_step([1.0, 1.0], [0, 1], [10.0, 20.0], [1.0, 4.0], [False, True])
    expected = loss(steps.clone())
    steps["action"] = torch.nn.functional.one_hot(steps["action"], 2).bool()
    results = loss(steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected.keys())
