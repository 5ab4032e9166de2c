import pytest
import torch

from agents.nn import Actor, ValueOperator
from agents.objectives import TD3Loss, smoothed_action
from envkit import Bounded


def test_smoothed_action():
    action = torch.full((10_000,), 0.75)
    noisy = smoothed_action(action, 0.2, 0.3, -1.0, 1.0)
    assert noisy.max() == 1.0
    torch.testing.assert_close(noisy.min(), torch.tensor(0.45))
    inside = smoothed_action(torch.zeros(10_000), 0.1, 0.5, -1.0, 1.0)
    torch.testing.assert_close(inside.std(), torch.tensor(0.1), rtol=0.05, atol=0)
    assert torch.equal(smoothed_action(action, 0.0, 0.3, -1.0, torch.full((10_000,), 0.5)), torch.full((10_000,), 0.5))


@pytest.fixture
def loss(linear):
    # The actor takes 2 x; the values of action a at x are x + 3 a and 10 x - a. Nothing is drawn.
    critics = [ValueOperator(linear(row), in_keys=["observation", "action"]) for row in ([1.0, 3.0], [10.0, -1.0])]
    return TD3Loss(Actor(linear([2.0])), critics, bounds=(-7.0, 7.0), policy_noise=0.0, loss_function="l2", gamma=0.5)


def test_by_hand(loss, make_step):
    steps = make_step([1.0, 2.0], [[0.5], [1.0]], [10.0, 20.0], [3.0, 4.0], [False, True])
    results = loss(steps)
    # Next actions 6 and 8, cut to 7; next values 21 and 24, or 25 and 33: targets 10 + 21 / 2 and 20.
    assert results["target_value"].tolist() == [20.5, 20.0]
    assert results["pred_value"].tolist() == [[2.5, 5.0], [9.5, 19.0]]
    assert results["loss_qvalue"].item() == (18.0**2 + 15.0**2) / 2 + (11.0**2 + 1.0**2) / 2
    assert results["td_error"].tolist() == steps["td_error"].tolist() == [18.0, 15.0]
    # The first critic says of the actions 2 and 4: 1 + 6 and 2 + 12.
    assert results["loss_actor"].item() == -10.5
    assert loss.actor_loss(steps).item() == -10.5
    assert "loss_actor" not in loss.qvalue_loss(steps).keys()


def test_actions_of_targets_are_within_bounds(loss, make_step):
    loss.low.fill_(-1.0)
    loss.high.fill_(1.0)
    # Next action 6, cut to 1: values 3 + 3 and 30 - 1.
    target = loss.value_target(make_step([1.0], [[0.5]], [10.0], [3.0], [False]))
    assert target.tolist() == [13.0]


def test_noise_is_drawn(loss, make_step):
    loss.policy_noise = 0.2
    steps = make_step([1.0] * 50, [[0.5]] * 50, [10.0] * 50, [3.0] * 50, [False] * 50)
    target = loss.value_target(steps)
    assert target.unique().numel() > 40
    # Next action from 5.5 to 6.5, of value from 3 + 16.5 to 3 + 19.5.
    assert 10 + 19.5 / 2 <= target.min() < target.max() <= 10 + 22.5 / 2


def test_bounds_from_a_spec(linear):
    networks = Actor(linear([2.0])), ValueOperator(linear([1.0, 3.0]), in_keys=["observation", "action"])
    loss = TD3Loss(*networks, action_spec=Bounded(-2.0, 3.0, (1,)))
    assert (loss.low.tolist(), loss.high.tolist()) == ([-2.0], [3.0])
    with pytest.raises(ValueError, match="expected exactly one of action_spec and bounds"):
        TD3Loss(*networks)


def test_critics_are_not_alike(linear):
    networks = Actor(linear([2.0])), ValueOperator(linear([1.0, 3.0]), in_keys=["observation", "action"])
    loss = TD3Loss(*networks, bounds=(-1.0, 1.0), num_qvalue_nets=3)
    weights = [critic.module.weight for critic in loss.qvalue_network]
    assert weights[0] is networks[1].module.weight
    assert not torch.equal(weights[1], weights[2])
    with pytest.raises(ValueError, match="TD3Loss: qvalue_network: expected 2 networks, found 1"):
        TD3Loss(networks[0], [networks[1]], bounds=(-1.0, 1.0))
