import math

import torch
from tensordict import TensorDict

from agents.nn import Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import ReinforceLoss
from agents.returns import GAE, reward_to_go


def make(linear, critic=None, **options):
    net = TensorDictModule(linear([1.0], [-1.0]), ["observation"], ["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical)
    return ReinforceLoss(actor, critic, gamma=0.5, **options)


def make_steps():
    # Two episodes, of which the second goes on.
    done = torch.tensor([[False], [True], [False]])
    after = {"reward": torch.tensor([[1.0], [2.0], [4.0]]), "observation": torch.tensor([[0.0], [0.0], [6.0]])}
    after |= {"done": done, "terminated": done}
    return TensorDict({"observation": torch.zeros(3, 1), "action": torch.tensor([0, 1, 1]), "next": after}, [3])


def test_by_hand(linear):
    # The sums of rewards to come are 1 + 2 / 2, 2 and 4; all probabilities are one half.
    steps = make_steps()
    results = make(linear)(steps)
    assert set(results.keys()) == {"loss_actor"}
    torch.testing.assert_close(results["loss_actor"].item(), math.log(2.0) * (2.0 + 2.0 + 4.0) / 3)
    assert steps["advantage"].flatten().tolist() == [2.0, 2.0, 4.0]
    expected = reward_to_go(steps["next", "reward"], steps["next", "done"], gamma=0.5)
    assert torch.equal(steps["advantage"], expected)


def test_with_a_baseline_by_hand(linear):
    # The critic says 2 x: 0 before, 12 after the last step, which is not an end: 4 + 12 / 2.
    loss = make(linear, ValueOperator(linear([2.0])), loss_critic_type="l2")
    steps = make_steps()
    results = loss(steps)
    assert steps["value_target"].flatten().tolist() == [2.0, 2.0, 10.0]
    torch.testing.assert_close(results["loss_actor"].item(), math.log(2.0) * (2.0 + 2.0 + 10.0) / 3)
    assert results["loss_value"].item() == (4.0 + 4.0 + 100.0) / 3


def test_other_estimators(linear):
    critic = ValueOperator(linear([2.0]))
    loss = make(linear, critic)
    loss.make_value_estimator("gae", gamma=0.5, lmbda=0.5)
    steps = make_steps()
    expected = GAE(0.5, 0.5, critic)(steps.clone())["advantage"]
    loss(steps)
    assert torch.equal(steps["advantage"], expected)


def test_advantages_that_are_there_are_taken(linear):
    steps = make_steps()
    steps["advantage"] = torch.tensor([[1.0], [1.0], [1.0]])
    torch.testing.assert_close(make(linear)(steps)["loss_actor"].item(), math.log(2.0))
