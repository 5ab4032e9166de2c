import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from agents.nn import Actor, ValueOperator
from agents.objectives import DDPGLoss, SoftUpdate


@pytest.fixture
def networks(linear):
    # The actor takes 2 x; the value of action a at x is x + 3 a.
    return Actor(linear([2.0])), ValueOperator(linear([1.0, 3.0]), in_keys=["observation", "action"])


@pytest.fixture
def steps(make_step):
    return make_step([1.0, 2.0], [[0.5], [1.0]], [10.0, 20.0], [3.0, 4.0], [False, True])


def test_by_hand(networks, steps):
    # Next actions 6 and 8, next values 3 + 18 and 4 + 24; targets 10 + 21 / 2 and 20. Values 2.5 and 5.
    results = DDPGLoss(*networks, gamma=0.5)(steps)
    assert results["target_value"].tolist() == [20.5, 20.0]
    assert results["pred_value"].tolist() == [2.5, 5.0]
    assert results["td_error"].tolist() == steps["td_error"].tolist() == [18.0, 15.0]
    assert results["loss_value"].item() == (18.0**2 + 15.0**2) / 2
    # Values of the actor's actions 2 and 4: 1 + 6 and 2 + 12.
    assert results["loss_actor"].item() == -(7.0 + 14.0) / 2
    assert (results["pred_value_max"].item(), results["target_value_max"].item()) == (5.0, 20.5)


def test_gradients_by_hand(networks, steps):
    loss = DDPGLoss(*networks, gamma=0.5)
    results = loss(steps)
    (results["loss_actor"] + results["loss_value"]).backward()
    # -d/dw mean(x + 3 w x) = -3 mean(x); -mean(2 (target - value) * (x, a)).
    assert loss.actor_network.module.weight.grad.item() == -4.5
    assert loss.value_network.module.weight.grad.tolist() == [[-(18.0 * 1 + 15.0 * 2), -(18.0 * 0.5 + 15.0 * 1)]]


def test_delayed_networks(networks, steps):
    loss = DDPGLoss(*networks, delay_actor=True, gamma=0.5)
    with torch.no_grad():
        loss.actor_network.module.weight.zero_()
        loss.value_network.module.weight.zero_()
    assert loss(steps)["target_value"].tolist() == [20.5, 20.0]
    SoftUpdate(loss, tau=1.0).step()
    assert loss(steps)["target_value"].tolist() == [10.0, 20.0]
    current = DDPGLoss(*networks, delay_value=False, gamma=0.5)
    assert not list(current.delayed_networks())
    assert current(steps)["target_value"].tolist() == [10.0, 20.0]


class ConcatModule(nn.Linear):
    def forward(self, obs, action):
        return super().forward(torch.cat([obs, action], -1))


def test_the_snippet_of_the_meta_learning_page():
    actor_module = nn.Linear(3, 1)
    actor = TensorDictModule(actor_module, in_keys=["observation"], out_keys=["action"])
    value_module = ConcatModule(4, 1)
    value = TensorDictModule(value_module, in_keys=["observation", "action"], out_keys=["state_action_value"])
    loss_fn = DDPGLoss(actor, value)
    loss_fn.make_value_estimator(loss_fn.default_value_estimator, gamma=0.99)
    tensordict = TensorDict(
        {
            "observation": torch.randn(10, 3),
            "next": {
                "observation": torch.randn(10, 3),
                "reward": torch.randn(10, 1),
                "done": torch.zeros(10, 1, dtype=torch.bool),
            },
            "action": torch.randn(10, 1),
        },
        batch_size=[10],
        device="cpu",
    )
    loss_td = loss_fn(tensordict)
    shapes = {key: value.shape for key, value in loss_td.items()}
    scalars = ["loss_actor", "loss_value", "pred_value_max", "target_value_max"]
    vectors = ["pred_value", "target_value", "td_error"]
    assert shapes == dict.fromkeys(scalars, ()) | dict.fromkeys(vectors, (10,))


def test_the_snippet_of_the_older_page():
    """Reward and flag at the root, and the discount as an argument."""
    actor = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
    value = TensorDictModule(ConcatModule(4, 1), in_keys=["observation", "action"], out_keys=["state_action_value"])
    loss_fn = DDPGLoss(actor, value, gamma=0.99)
    tensordict = TensorDict(
        {
            "observation": torch.randn(10, 3),
            "next": {"observation": torch.randn(10, 3)},
            "reward": torch.randn(10, 1),
            "action": torch.randn(10, 1),
            "done": torch.zeros(10, 1, dtype=torch.bool),
        },
        batch_size=[10],
        device="cpu",
    )
    loss_td = loss_fn(tensordict)
    now = tensordict.select("observation", "action", ("next", "observation"))
    now["next", "reward"], now["next", "done"] = tensordict["reward"], tensordict["done"]
    assert torch.equal(loss_td["target_value"], loss_fn(now)["target_value"])
