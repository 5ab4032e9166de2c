import math

import pytest
import torch
from tensordict import TensorDict

from agents.nn import Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import A2CLoss, policy_gradient_loss
from agents.returns import ValueEstimators


def test_function_by_hand():
    log_prob, advantage = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([3.0, -1.0], requires_grad=True)
    losses = policy_gradient_loss(log_prob, advantage)
    assert losses.tolist() == [3.0, -2.0]
    losses.sum().backward()
    assert (log_prob.grad.tolist(), advantage.grad) == ([-3.0, 1.0], None)
    with pytest.raises(ValueError, match=r"advantage of the shape of log_prob, \[2\], found \[2, 1\]"):
        policy_gradient_loss(log_prob, advantage.unsqueeze(-1))


def test_gradient_is_that_of_the_expected_return():
    """Of a bandit with two arms that pay 1 and 3, from every action weighted by its probability."""
    logits = torch.tensor([0.3, -0.2], requires_grad=True)
    pay, log_probs = torch.tensor([1.0, 3.0]), logits.log_softmax(0)
    (expected,) = torch.autograd.grad(-(log_probs.exp() * pay).sum(), logits, retain_graph=True)
    loss = (log_probs.exp().detach() * policy_gradient_loss(log_probs, pay)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, expected)


def test_by_hand(linear):
    # Equal probabilities at 0; the critic says 2 x.
    net = TensorDictModule(linear([1.0], [-1.0]), ["observation"], ["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
    loss = A2CLoss(actor, ValueOperator(linear([2.0])), loss_critic_type="l2", entropy_coef=0.5, critic_coef=0.25)
    steps = TensorDict(
        {
            "observation": torch.zeros(2, 1),
            "action": torch.tensor([0, 1]),
            "advantage": torch.tensor([[1.0], [3.0]]),
            "value_target": torch.tensor([[2.0], [4.0]]),
        },
        [2],
    )
    results = loss(steps)
    torch.testing.assert_close(results["loss_objective"].item(), 2.0 * math.log(2.0))
    assert results["loss_critic"].item() == 0.25 * (4.0 + 16.0) / 2
    torch.testing.assert_close(results["loss_entropy"].item(), -0.5 * math.log(2.0))
    assert set(results.keys()) == {"loss_objective", "loss_critic", "loss_entropy", "entropy"}


def test_log_probabilities_of_the_past_are_not_needed(make_loss):
    loss, data = make_loss("a2c")
    assert "sample_log_prob" not in loss.in_keys
    steps = data(8)
    expected = loss(steps)["loss_objective"]
    steps["sample_log_prob"] += 1.0
    assert torch.equal(loss(steps)["loss_objective"], expected)


def test_shared_parameters_learn_from_the_policy_alone():
    body = torch.nn.Linear(4, 4)
    net = TensorDictModule(torch.nn.Sequential(body, torch.nn.Linear(4, 2)), ["observation"], ["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
    critic = ValueOperator(torch.nn.Sequential(body, torch.nn.Linear(4, 1)))
    steps = actor(TensorDict({"observation": torch.randn(8, 4)}, [8])).detach()
    steps["advantage"], steps["value_target"] = torch.randn(8, 1), torch.randn(8, 1)
    for separate in (True, False):
        loss = A2CLoss(actor, critic, separate_losses=separate)
        loss.zero_grad(set_to_none=True)
        loss(steps)["loss_critic"].backward()
        assert (body.weight.grad is None) == separate
        assert critic.module[1].weight.grad is not None


@pytest.mark.parametrize("kind", list(ValueEstimators))
def test_every_estimator_writes_advantages(make_loss, kind):
    loss, data = make_loss("a2c")
    loss.make_value_estimator(kind, gamma=0.9)
    steps = data(2, 6).exclude("advantage", "value_target")
    estimator = kind.estimator_class
    assert type(loss.value_estimator) is estimator
    options = {"lmbda": 0.95} if kind in ("gae", "td_lambda") else {}
    options |= {"actor_network": loss.actor_network} if kind == "vtrace" else {}
    expected = estimator(gamma=0.9, value_network=loss.critic_network, **options)(steps.clone())
    loss(steps)
    for key in ("advantage", "value_target"):
        assert torch.equal(steps[key], expected[key])
