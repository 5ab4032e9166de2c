import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import IndependentNormal, NormalParamExtractor, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import CQLLoss, SACLoss, conservative_penalty


def test_penalty_by_hand():
    # Two actions of densities 1/2 and 2: mean of exp(value) / density = (2 / 0.5 + 8 / 2) / 2 = 4; less data value 1.
    values, density = torch.tensor([[2.0], [8.0]]).log(), torch.tensor([[0.5], [2.0]]).log()
    torch.testing.assert_close(
        conservative_penalty(values, density, torch.tensor([1.0])), torch.tensor([math.log(4.0) - 1.0])
    )


def test_penalty_is_the_logarithm_of_the_integral():
    # The integral of exp(2 a) over [-1, 1] is sinh(2).
    action = torch.rand(200_000, 1) * 2.0 - 1.0
    estimate = conservative_penalty(2.0 * action, torch.full_like(action, math.log(0.5)), torch.zeros(1))
    torch.testing.assert_close(estimate, torch.tensor([math.log(math.sinh(2.0))]), atol=0.01, rtol=0)
    # From a normal distribution, over all numbers: exp(2 a - a ** 2) has the integral sqrt(pi) e.
    dist = torch.distributions.Normal(0.0, 1.5)
    action = dist.sample((200_000, 1))
    estimate = conservative_penalty(2.0 * action - action.square(), dist.log_prob(action), torch.zeros(1))
    torch.testing.assert_close(estimate, torch.tensor([0.5 * math.log(math.pi) + 1.0]), atol=0.02, rtol=0)


def test_penalty_checks_shapes():
    with pytest.raises(ValueError, match=r"data_value of the shape of values\[0\], \[4\], found \[4, 1\]"):
        conservative_penalty(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(4, 1))


@pytest.fixture
def parts(linear):
    net = nn.Sequential(linear([0.0], [0.0]), NormalParamExtractor())
    net = TensorDictModule(net, ["observation"], ["loc", "scale"])
    actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=IndependentNormal)
    critics = [ValueOperator(linear(row), in_keys=["observation", "action"]) for row in ([1.0, 0.0], [2.0, 0.0])]
    done = torch.zeros(8, 1, dtype=torch.bool)
    after = {"observation": torch.randn(8, 1), "reward": torch.randn(8, 1), "done": done, "terminated": done}
    steps = TensorDict({"observation": torch.randn(8, 1), "action": torch.rand(8, 1), "next": after}, [8])
    return actor, critics, steps


def test_losses_beside_the_penalty_are_those_of_sac(parts):
    actor, critics, steps = parts
    for weight in (0.0, 2.0):
        loss = CQLLoss(actor, critics, bounds=(-1.0, 1.0), min_q_weight=weight)
        sac = SACLoss(actor, critics)
        torch.manual_seed(1)
        expected = sac.qvalue_loss(steps.clone())
        torch.manual_seed(1)
        results = loss.qvalue_loss(steps.clone())
        torch.testing.assert_close(results["loss_qvalue"], expected["loss_qvalue"])
        assert (results["loss_cql"] == 0.0) == (weight == 0.0)


def test_weight_of_the_penalty_and_pushes_drawn_actions_down(parts):
    actor, critics, steps = parts
    loss = CQLLoss(actor, critics, bounds=(-1.0, 1.0), min_q_weight=3.0, num_random=500)
    torch.manual_seed(1)
    triple = loss.qvalue_loss(steps)["loss_cql"]
    loss.min_q_weight = 1.0
    torch.manual_seed(1)
    once = loss.qvalue_loss(steps)["loss_cql"]
    torch.testing.assert_close(triple, 3.0 * once)
    # The actions of the data are above the average of what is drawn, so their value is to rise with the action.
    once.backward()
    assert all(critic.module.weight.grad[0, 1] < 0 for critic in critics)


def test_uniform_actions_have_their_density(parts):
    actor, critics, steps = parts
    low, high = torch.tensor([-2.0]), torch.tensor([6.0])
    action, log_density = CQLLoss(actor, critics, bounds=(low, high), num_random=400)._drawn_actions(steps)
    uniform, own = action.split(400)
    assert -2.0 <= uniform.min() < -1.9
    assert 5.9 < uniform.max() < 6.0
    torch.testing.assert_close(log_density[:400], torch.full((400, 8), -math.log(8.0)))
    torch.testing.assert_close(log_density[400:], actor.get_dist(steps).log_prob(own))
