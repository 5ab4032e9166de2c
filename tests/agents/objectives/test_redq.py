import pytest
import torch

from agents.objectives import REDQLoss


@pytest.fixture
def certain(make_loss):
    """A loss whose critics say 1, 2 and 4, whatever they see, and a step that goes on."""
    loss, data = make_loss("redq")
    loss.temperature.log_alpha.data.fill_(-50.0)
    for critics in (loss.qvalue_network, loss.target_qvalue_network):
        for critic, value in zip(critics, (1.0, 2.0, 4.0), strict=True):
            critic.module[-1].weight.data.zero_()
            critic.module[-1].bias.data.fill_(value)
    step = data(1)
    step["next", "terminated"].zero_()
    step["next", "reward"].zero_()
    return loss, step


@pytest.mark.parametrize(("count", "expected"), [(1, {1.0, 2.0, 4.0}), (2, {1.0, 2.0}), (3, {1.0})])
def test_targets_are_made_of_some_critics_drawn_anew(certain, count, expected):
    loss, step = certain
    loss.sub_sample_len = count
    loss.make_value_estimator(gamma=1.0)
    assert {loss.value_target(step).item() for _ in range(50)} == expected


def test_the_actor_is_to_raise_the_mean_of_all(certain):
    loss, step = certain
    torch.testing.assert_close(loss(step)["loss_actor"].item(), -7.0 / 3.0)


def test_number_of_critics(make_loss):
    loss, _ = make_loss("redq")
    assert len(loss.qvalue_network) == len(loss.target_qvalue_network) == 3
    with pytest.raises(ValueError, match="expected sub_sample_len from 1 to 2, found 3"):
        REDQLoss(loss.actor_network, loss.qvalue_network[0], num_qvalue_nets=2, sub_sample_len=3)
