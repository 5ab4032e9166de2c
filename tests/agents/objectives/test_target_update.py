import pytest
import torch
from torch import nn

from agents.nn import MLP, TensorDictModule, flat_parameter
from agents.objectives import DQNLoss, HardUpdate, SoftUpdate


@pytest.fixture
def loss():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return DQNLoss(TensorDictModule(net, ["observation"], ["action_value"]))


def equal(loss):
    learns, delayed = loss.value_network.state_dict(), loss.target_value_network.state_dict()
    assert set(learns) == set(delayed)
    return all(torch.equal(learns[name], delayed[name]) for name in learns)


def move(loss):
    with torch.no_grad():
        for parameter in loss.value_network.parameters():
            parameter.add_(torch.randn_like(parameter))
    loss.value_network.module[1].running_mean.fill_(7.0)


@pytest.mark.parametrize("options", [{"tau": 0.25}, {"eps": 0.75}])
def test_soft(loss, options):
    before = {name: tensor.clone() for name, tensor in loss.target_value_network.state_dict().items()}
    move(loss)
    SoftUpdate(loss, **options).step()
    learned = dict(loss.value_network.named_parameters())
    for name, source in loss.value_network.state_dict().items():
        new = loss.target_value_network.state_dict()[name]
        torch.testing.assert_close(new, 0.75 * before[name] + 0.25 * source if name in learned else source)


def test_soft_sees_parameters_that_became_views(loss):
    flat = flat_parameter(loss.value_network.parameters())
    flat.data.fill_(3.0)
    SoftUpdate(loss, tau=1.0).step()
    assert all((buffer == 3.0).all() for name, buffer in loss.target_value_network.named_buffers() if "weight" in name)


def test_tied_weights_move_once():
    body = nn.Linear(2, 2)
    loss = DQNLoss(TensorDictModule(nn.Sequential(body, body), ["observation"], ["action_value"]))
    before = loss.target_value_network.module[0].weight.clone()
    with torch.no_grad():
        body.weight.add_(1.0)
    SoftUpdate(loss, tau=0.5).step()
    for index in range(2):
        torch.testing.assert_close(loss.target_value_network.module[index].weight, before + 0.5)


def test_hard(loss):
    updater = HardUpdate(loss, value_network_update_interval=3)
    move(loss)
    for expected in (False, False, True):
        updater.step()
        assert equal(loss) == expected
    move(loss)
    again = HardUpdate(loss, value_network_update_interval=3)
    again.load_state_dict({"steps": 5})
    again.step()
    assert again.state_dict() == {"steps": 6}
    assert equal(loss)


def test_begin_anew(loss):
    move(loss)
    SoftUpdate(loss, tau=0.1).init_()
    assert equal(loss)


def test_refuses(loss, make_loss):
    for options in ({}, {"eps": 0.9, "tau": 0.1}):
        with pytest.raises(ValueError, match="expected exactly one of eps and tau"):
            SoftUpdate(loss, **options)
    for options in ({"eps": 1.5}, {"tau": -0.1}):
        with pytest.raises(ValueError, match="expected eps or tau from 0 to 1, found"):
            SoftUpdate(loss, **options)
    with pytest.raises(ValueError, match="value_network_update_interval of at least 1, found 0"):
        HardUpdate(loss, value_network_update_interval=0)
    undelayed = DQNLoss(TensorDictModule(MLP(3, 2), ["observation"], ["action_value"]), delay_value=False)
    for bare in (undelayed, make_loss("ppo")[0]):
        with pytest.raises(ValueError, match="found none in"):
            SoftUpdate(bare, tau=0.1)
