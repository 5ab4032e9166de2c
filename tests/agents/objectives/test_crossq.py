import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, TensorDictModule, ValueOperator
from agents.objectives import CrossQLoss, SACLoss


class Critic(nn.Sequential):
    def __init__(self):
        super().__init__(nn.BatchNorm1d(4, momentum=0.5), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        self.seen = []

    def forward(self, observation, action):
        self.seen.append((len(observation), self.training))
        return super().forward(torch.cat([observation, action], -1))


@pytest.fixture
def loss():
    net = nn.Sequential(MLP(3, 2), NormalParamExtractor())
    net = TensorDictModule(net, ["observation"], ["loc", "scale"])
    actor = ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal)
    return CrossQLoss(actor, ValueOperator(Critic(), in_keys=["observation", "action"]))


def make_steps(*batch):
    done = torch.zeros(*batch, 1, dtype=torch.bool)
    after = {"observation": torch.randn(*batch, 3), "reward": torch.randn(*batch, 1), "done": done}
    return TensorDict(
        {"observation": torch.randn(*batch, 3), "action": torch.rand(*batch, 1) - 0.5, "next": after}, batch
    )


def test_steps_and_what_follows_them_in_one_batch(loss):
    loss(make_steps(8))
    critics = [critic.module for critic in loss.qvalue_network]
    assert [critic.seen for critic in critics] == [[(16, True), (8, False)]] * 2
    assert all(critic.training for critic in critics)


def test_statistics_are_of_both_halves(loss):
    steps = make_steps(64)
    steps["next", "observation"] += 10.0
    loss(steps)
    # Half of the way, by the momentum, from 0 to the mean of both halves, which is 5.
    torch.testing.assert_close(
        loss.qvalue_network[0].module[0].running_mean[:3], torch.full((3,), 2.5), atol=0.2, rtol=0
    )


def test_without_normalisation_it_is_sac_without_delay(make_loss):
    loss, data = make_loss("crossq")
    sac = SACLoss(loss.actor_network, list(loss.qvalue_network), delay_qvalue=False)
    steps = data(2, 5)
    torch.manual_seed(1)
    results = loss(steps.clone())
    torch.manual_seed(1)
    expected = sac(steps)
    for key in expected.keys():
        torch.testing.assert_close(results[key], expected[key])


def test_there_is_nothing_to_delay(loss):
    with pytest.raises(TypeError, match="expected no delay_qvalue"):
        CrossQLoss(loss.actor_network, loss.qvalue_network[0], delay_qvalue=True)
