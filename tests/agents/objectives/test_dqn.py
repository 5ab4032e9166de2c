import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from agents.nn import MLP, QValueActor
from agents.objectives import DQNLoss, HardUpdate, dqn_loss
from agents.replay import LazyTensorStorage, TensorDictPrioritizedReplayBuffer


@pytest.fixture
def network(linear):
    # Values of the two actions at x: x and 2 x.
    return TensorDictModule(linear([1.0], [2.0]), ["observation"], ["action_value"])


@pytest.fixture
def steps(make_step):
    return make_step([1.0, 2.0], [0, 1], [10.0, 20.0], [3.0, 4.0], [False, True])


def test_function_by_hand():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.5]], requires_grad=True)
    losses, error = dqn_loss(values, torch.tensor([1, 0, 1]), torch.tensor([5.0, 2.0, 1.0]), "smooth_l1")
    assert error.tolist() == [3.0, -1.0, 0.5]
    assert losses.tolist() == [2.5, 0.5, 0.125]
    losses.sum().backward()
    assert values.grad.tolist() == [[0.0, -1.0], [1.0, 0.0], [0.0, -0.5]]


def test_by_hand(network, steps):
    # Targets: 10 + 1/2 max(3, 6) = 13, and 20. Values: 1 and 4. Errors: 12 and 16.
    results = DQNLoss(network, gamma=0.5)(steps)
    assert results["target_value"].tolist() == [13.0, 20.0]
    assert results["pred_value"].tolist() == [1.0, 4.0]
    assert results["td_error"].tolist() == steps["td_error"].tolist() == [12.0, 16.0]
    assert results["loss"].item() == (12.0**2 + 16.0**2) / 2


def test_importance_weights_by_hand(network, steps):
    steps["_weight"] = torch.tensor([1.0, 0.25])
    assert DQNLoss(network, gamma=0.5)(steps)["loss"].item() == (12.0**2 + 0.25 * 16.0**2) / 2


def test_double_by_hand(network, steps):
    loss = DQNLoss(network, double_dqn=True, gamma=0.5)
    # The delayed network prefers the first action, but the one that learns the second: 10 + 1/2 * 1 * 3.
    loss.target_value_network.module.weight.copy_(torch.tensor([[5.0], [1.0]]))
    assert loss(steps)["target_value"].tolist() == [11.5, 20.0]
    plain = DQNLoss(network, gamma=0.5)
    plain.target_value_network.load_state_dict(loss.target_value_network.state_dict())
    assert plain(steps)["target_value"].tolist() == [17.5, 20.0]


def test_only_possible_actions_follow(network, steps):
    loss = DQNLoss(network, gamma=0.5)
    steps["next", "action_mask"] = torch.ones(2, 2, dtype=torch.bool)
    assert loss(steps)["target_value"].tolist() == [13.0, 20.0]
    steps["next", "action_mask"][0, 1] = False
    assert loss(steps)["target_value"].tolist() == [11.5, 20.0]
    assert ("next", "action_mask") in loss.optional_in_keys


def test_one_hot_actions(network, steps):
    loss = DQNLoss(network)
    expected = loss(steps.clone())
    steps["action"] = torch.nn.functional.one_hot(steps["action"], 2)
    results = loss(steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected.keys())


def test_delayed_until_updated(network, steps):
    loss = DQNLoss(network, gamma=0.5)
    updater = HardUpdate(loss, value_network_update_interval=2)
    with torch.no_grad():
        network.module.weight.mul_(2.0)
    updater.step()
    assert loss(steps)["target_value"].tolist() == [13.0, 20.0]
    updater.step()
    assert loss(steps)["target_value"].tolist() == [16.0, 20.0]
    assert DQNLoss(network, delay_value=False, gamma=0.5)(steps)["target_value"].tolist() == [16.0, 20.0]


def test_with_a_q_value_actor():
    actor = QValueActor(MLP(3, 2), action_space="categorical")
    done = torch.zeros(8, 1, dtype=torch.bool)
    after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1), "done": done, "terminated": done}
    steps = actor(TensorDict({"observation": torch.randn(8, 3), "next": after}, [8])).detach()
    loss = DQNLoss(actor, gamma=0.9)
    results = loss(steps)
    torch.testing.assert_close(results["pred_value"], steps["chosen_action_value"].squeeze(-1))
    best = actor(after_of(steps))["chosen_action_value"].squeeze(-1)
    torch.testing.assert_close(results["target_value"], (after["reward"].squeeze(-1) + 0.9 * best).detach())


def after_of(steps):
    return steps["next"].select("observation")


def test_learns_a_bandit():
    # Action 1 earns 1, action 0 earns 0, each at once.
    loss = DQNLoss(TensorDictModule(MLP(2, 2), ["observation"], ["action_value"]))
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    action, over = torch.arange(64) % 2, torch.ones(64, 1, dtype=torch.bool)
    for _ in range(100):
        after = {"observation": torch.rand(64, 2), "reward": action.float().unsqueeze(-1), "done": over}
        steps = TensorDict({"observation": torch.rand(64, 2), "action": action, "next": after}, [64])
        optimizer.zero_grad()
        loss(steps)["loss"].backward()
        optimizer.step()
    values = loss.value_network.module(torch.full((1, 2), 0.5))[0]
    torch.testing.assert_close(values, torch.tensor([0.0, 1.0]), atol=0.1, rtol=0)


def test_refuses(network):
    with pytest.raises(ValueError, match="expected delay_value=True with double_dqn=True"):
        DQNLoss(network, double_dqn=True, delay_value=False)
    with pytest.raises(ValueError, match=r"expected loss_function to be one of .*found 'huber'"):
        DQNLoss(network, loss_function="huber")
    with pytest.raises(ValueError, match="found lazy ones"):
        DQNLoss(TensorDictModule(torch.nn.LazyLinear(2), ["observation"], ["action_value"]))


def test_priorities_of_a_prioritized_replay_buffer(network, make_step):
    buffer = TensorDictPrioritizedReplayBuffer(alpha=1.0, beta=1.0, storage=LazyTensorStorage(4), batch_size=64)
    # The errors are 12 and 0: the second step, which fits already, is hardly drawn any more.
    buffer.extend(make_step([1.0, 5.0], [0, 0], [10.0, 5.0], [3.0, 4.0], [False, True]))
    loss = DQNLoss(network, gamma=0.5)
    drawn = buffer.sample()
    assert set(drawn["observation"].flatten().tolist()) == {1.0, 5.0}
    loss(drawn)
    buffer.update_tensordict_priority(drawn)
    assert set(buffer.sample()["observation"].flatten().tolist()) == {1.0}
