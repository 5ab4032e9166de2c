import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from agents.nn.mixers import QMixer, VDNMixer
from agents.nn.multi_agent import MultiAgentMLP
from agents.objectives import DQNLoss, HardUpdate
from agents.objectives.qmix import QMixerLoss

LOCAL, GLOBAL = ("agents", "chosen_action_value"), "chosen_action_value"


def steps_of(seen, action, reward, after, terminated):
    """Steps of a team of two agents, each of which sees a number."""
    rows = len(reward)
    flags = torch.tensor(terminated).unsqueeze(-1)
    following = {
        "agents": TensorDict({"observation": torch.tensor(after).unsqueeze(-1)}, [rows, 2]),
        "reward": torch.tensor(reward).unsqueeze(-1),
        "done": flags,
        "terminated": flags.clone(),
    }
    before = {"observation": torch.tensor(seen).unsqueeze(-1), "action": torch.tensor(action)}
    return TensorDict({"agents": TensorDict(before, [rows, 2]), "next": TensorDict(following, [rows])}, [rows])


@pytest.fixture
def network():
    # Values of the two actions of an agent that sees x: x and 2 x.
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [2.0]]))
    return TensorDictModule(net, [("agents", "observation")], [("agents", "action_value")])


@pytest.fixture
def total():
    return TensorDictModule(VDNMixer(2), [LOCAL], [GLOBAL])


@pytest.fixture
def steps():
    return steps_of([[1.0, 2.0], [3.0, 1.0]], [[0, 1], [1, 0]], [10.0, 20.0], [[3.0, 4.0], [5.0, -1.0]], [False, True])


def random_steps(rows=6):
    def observed():
        agents = {"observation": torch.randn(rows, 3, 4), "action": torch.randint(2, (rows, 3))}
        return {"agents": TensorDict(agents, [rows, 3]), "state": torch.randn(rows, 5)}

    flag = torch.rand(rows, 1) < 0.3
    after = {**observed(), "reward": torch.randn(rows, 1), "done": flag, "terminated": flag.clone()}
    return TensorDict({**observed(), "next": TensorDict(after, [rows])}, [rows])


def qmix(**options):
    net = MultiAgentMLP(4, 2, n_agents=3, centralized=False, share_params=True, num_cells=[8])
    values = TensorDictModule(net, [("agents", "observation")], [("agents", "action_value")])
    return QMixerLoss(values, TensorDictModule(QMixer((5,), 8, 3), [LOCAL, "state"], [GLOBAL]), **options)


def test_by_hand(network, total, steps):
    # Values: 1 + 4, and 6 + 1. Best next: 6 + 8, so the targets are 10 + 14 / 2 and 20.
    results = QMixerLoss(network, total, gamma=0.5)(steps)
    assert results["pred_value"].tolist() == [5.0, 7.0]
    assert results["target_value"].tolist() == [17.0, 20.0]
    assert results["td_error"].tolist() == steps["td_error"].tolist() == [12.0, 13.0]
    assert results["loss"].item() == (12.0**2 + 13.0**2) / 2


def test_double_by_hand(network, total, steps):
    loss = QMixerLoss(network, total, double_dqn=True, gamma=0.5)
    # The delayed network prefers the first action, but the one that learns the second: (3 + 4) * 1, halved.
    loss.target_local_value_network.module.weight.copy_(torch.tensor([[5.0], [1.0]]))
    assert loss(steps)["target_value"].tolist() == [13.5, 20.0]
    with pytest.raises(ValueError, match="expected delay_value=True with double_dqn=True, found False"):
        QMixerLoss(network, total, double_dqn=True, delay_value=False)


def test_importance_weights_by_hand(network, total, steps):
    steps["_weight"] = torch.tensor([1.0, 0.25])
    assert QMixerLoss(network, total, gamma=0.5)(steps)["loss"].item() == (12.0**2 + 0.25 * 13.0**2) / 2


def test_only_possible_actions_follow(network, total, steps):
    loss = QMixerLoss(network, total, gamma=0.5)
    mask = torch.ones(2, 2, 2, dtype=torch.bool)
    steps["next", "agents", "action_mask"] = mask
    assert loss(steps)["target_value"].tolist() == [17.0, 20.0]
    mask[0, 1, 1] = False  # the second agent may only take the action of value 4
    assert loss(steps)["target_value"].tolist() == [15.0, 20.0]
    assert ("next", "agents", "action_mask") in loss.optional_in_keys


def test_a_full_mask_changes_nothing():
    loss, steps = qmix(), random_steps()
    plain = loss(steps.clone())
    steps["next", "agents", "action_mask"] = torch.ones(6, 3, 2, dtype=torch.bool)
    masked = loss(steps)
    assert all(torch.equal(masked[key], plain[key]) for key in plain.keys())


def test_padding_counts_for_nothing():
    loss, steps = qmix(), random_steps()
    plain = loss(steps[:4].clone())
    steps["collector", "mask"] = torch.tensor([True] * 4 + [False] * 2)
    padded = loss(steps)
    torch.testing.assert_close(padded["loss"], plain["loss"])
    assert steps["td_error"][4:].tolist() == [0.0, 0.0]


def test_one_hot_actions():
    loss, steps = qmix(), random_steps()
    plain = loss(steps.clone())
    steps["agents", "action"] = torch.nn.functional.one_hot(steps["agents", "action"], 2)
    torch.testing.assert_close(loss(steps)["loss"], plain["loss"])


def test_a_team_of_one_learns_as_dqn():
    net = nn.Linear(4, 2)
    one = TensorDictModule(net, [("agents", "observation")], [("agents", "action_value")])
    team = QMixerLoss(one, TensorDictModule(VDNMixer(1), [LOCAL], [GLOBAL]), gamma=0.9)
    alone = DQNLoss(TensorDictModule(net, ["observation"], ["action_value"]), gamma=0.9)
    steps = random_steps()
    for part in (steps, steps["next"]):
        own = part["agents"][:, :1]
        part["observation"], part["action"] = own["observation"][:, 0], own["action"][:, 0]
        part["agents"] = own
    expected, results = alone(steps), team(steps)
    torch.testing.assert_close(results["loss"], expected["loss"])
    torch.testing.assert_close(results["target_value"], expected["target_value"])


def test_both_networks_learn_and_both_are_delayed():
    loss, steps = qmix(), random_steps()
    before = loss(steps)["target_value"].clone()
    loss(steps)["loss"].backward()
    for network in (loss.local_value_network, loss.mixer_network):
        assert any(bool(parameter.grad.any()) for parameter in network.parameters())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1.0)
    assert torch.equal(loss(steps)["target_value"], before)
    HardUpdate(loss, value_network_update_interval=1).step()
    assert not torch.equal(loss(steps)["target_value"], before)
    assert not any(name.startswith("target_") for name, _ in loss.named_parameters())


def test_keys_are_told():
    loss = qmix()
    read = {("agents", "observation"), "state", ("agents", "action"), ("next", "agents", "observation")}
    read |= {("next", "state"), ("next", "reward"), ("next", "done"), ("next", "terminated")}
    assert set(loss.in_keys) == read
    loss.set_keys(reward=("team", "reward"))
    assert ("next", "team", "reward") in loss.in_keys
    steps = random_steps()
    steps["next", "team", "reward"] = steps["next"].pop("reward")
    assert loss(steps)["loss"].isfinite()


def test_the_reward_is_that_of_the_team():
    loss, steps = qmix(), random_steps()
    steps["next", "reward"] = torch.ones(6, 3, 1)
    with pytest.raises(ValueError, match=r"'reward'\) of shape \[6\] or \[6, 1\], found \[6, 3, 1\]"):
        loss(steps)
