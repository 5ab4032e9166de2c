import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import IndependentNormal, NormalParamExtractor, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import SACLoss, sac_actor_loss, soft_value

LOG_TWO_PI = math.log(2.0 * math.pi)


class Narrow(IndependentNormal):
    """Always draws its mean, whose density is that of a standard normal's."""

    def rsample(self, sample_shape=()):
        return self.loc


def narrow_actor(linear, weight):
    net = TensorDictModule(linear([weight]), ["observation"], ["loc"])
    return ProbabilisticActor(net, ["loc"], distribution_class=Narrow, distribution_kwargs={"scale": torch.ones(1)})


@pytest.fixture
def loss(linear):
    # The actor takes 2 x; the values of action a at x are x + 3 a and 10 x - a.
    critics = [ValueOperator(linear(row), in_keys=["observation", "action"]) for row in ([1.0, 3.0], [10.0, -1.0])]
    return SACLoss(narrow_actor(linear, 2.0), critics, loss_function="l2", alpha_init=0.5, gamma=0.5)


@pytest.fixture
def steps(make_step):
    return make_step([1.0, 2.0], [[0.5], [1.0]], [10.0, 20.0], [3.0, 4.0], [False, True])


def test_functions_by_hand():
    value, log_prob = torch.tensor([1.0, 2.0]), torch.tensor([-4.0, 2.0])
    assert soft_value(value, log_prob, 0.25).tolist() == [2.0, 1.5]
    assert sac_actor_loss(value, log_prob, torch.tensor(0.25)).tolist() == [-2.0, -1.5]
    with pytest.raises(ValueError, match=r"log_prob of the shape of value, \[2\], found \[2, 1\]"):
        soft_value(value, log_prob.unsqueeze(-1), 0.25)


def test_by_hand(loss, steps):
    entropy = 0.5 * LOG_TWO_PI  # minus the log-density at the mean
    results = loss(steps)
    # Next action 6, values 21 and 24: target 10 + (21 + 0.5 * entropy) / 2.
    target = torch.tensor([20.5 + 0.25 * entropy, 20.0])
    torch.testing.assert_close(results["target_value"], target)
    values = torch.tensor([[2.5, 5.0], [9.5, 19.0]])
    torch.testing.assert_close(results["pred_value"], values)
    torch.testing.assert_close(results["loss_qvalue"].detach(), (values - target).square().mean(1).sum())
    torch.testing.assert_close(results["td_error"], (values - target).abs().amax(0))
    # Actions 2 and 4: the smaller values are 7 (of 7 and 8) and 14 (of 14 and 16).
    torch.testing.assert_close(results["loss_actor"].item(), -10.5 - 0.5 * entropy)
    # -log(1/2) * (-entropy - 1), for the target entropy is -1.
    torch.testing.assert_close(results["loss_alpha"].item(), math.log(2.0) * (-entropy - 1.0))
    torch.testing.assert_close((results["alpha"].item(), results["entropy"].item()), (0.5, entropy))


def test_temperature_moves_towards_the_target_entropy(loss, steps):
    for wanted, sign in ((5.0, -1.0), (-5.0, 1.0)):
        loss.target_entropy = wanted
        loss.zero_grad()
        loss(steps)["loss_alpha"].backward()
        # Descent raises the temperature where there is too little entropy.
        assert math.copysign(1.0, loss.log_alpha.grad.item()) == sign


def test_only_the_temperature_learns_from_its_loss(loss, steps):
    loss(steps)["loss_alpha"].backward()
    assert [name for name, parameter in loss.named_parameters() if parameter.grad is not None] == [
        "temperature.log_alpha"
    ]


def test_fixed_temperature(linear, steps):
    critic = ValueOperator(linear([1.0, 3.0]), in_keys=["observation", "action"])
    loss = SACLoss(narrow_actor(linear, 2.0), critic, fixed_alpha=True, alpha_init=0.25)
    results = loss(steps)
    assert "loss_alpha" not in results.keys()
    assert results["alpha"].item() == 0.25
    assert not [name for name, _ in loss.named_parameters() if "alpha" in name]
    assert "temperature.log_alpha" in loss.state_dict()


def test_gradient_of_the_actor_is_that_of_the_objective():
    """Against finite differences, with the noise held fixed."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(2, 2), NormalParamExtractor()).double()
    net = TensorDictModule(net, ["observation"], ["loc", "scale"])
    actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=IndependentNormal)

    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()

        def forward(self, observation, action):
            return self.net(torch.cat([observation, action], -1))

    critic = ValueOperator(Critic(), in_keys=["observation", "action"])
    loss = SACLoss(actor, critic, alpha_init=0.3)
    steps = TensorDict({"observation": torch.randn(16, 2, dtype=torch.float64)}, [16])

    def value():
        torch.manual_seed(0)
        return loss.actor_loss(steps)["loss_actor"]

    (gradient,) = torch.autograd.grad(value(), net.module[0].bias)
    for index in range(2):
        with torch.no_grad():
            moved = []
            for step in (1e-5, -1e-5):
                net.module[0].bias[index] += step
                moved.append(value().item())
                net.module[0].bias[index] -= step
        torch.testing.assert_close(gradient[index].item(), (moved[0] - moved[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_refuses(linear):
    critic = ValueOperator(linear([1.0, 3.0]), in_keys=["observation", "action"])
    with pytest.raises(ValueError, match="expected target_entropy to be a number or 'auto', found 'automatic'"):
        SACLoss(narrow_actor(linear, 2.0), critic, target_entropy="automatic")
    with pytest.raises(ValueError, match=r"alpha_init: expected a positive number from 0\.0 to inf, found 0\.0"):
        SACLoss(narrow_actor(linear, 2.0), critic, alpha_init=0.0)
