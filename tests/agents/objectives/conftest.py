import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import (
    MLP,
    Actor,
    Categorical,
    NormalParamExtractor,
    ProbabilisticActor,
    TanhNormal,
    TensorDictModule,
    ValueOperator,
)
from agents.objectives import (
    A2CLoss,
    ClipPPOLoss,
    CQLLoss,
    CrossQLoss,
    DDPGLoss,
    DiscreteCQLLoss,
    DiscreteSACLoss,
    DistributionalDQNLoss,
    DQNLoss,
    IQLLoss,
    KLPENPPOLoss,
    PPOLoss,
    QuantileDQNLoss,
    REDQLoss,
    ReinforceLoss,
    SACLoss,
    TD3Loss,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def values_of_actions(*shape):
    net = nn.Sequential(MLP(4, int(torch.tensor(shape).prod())), nn.Unflatten(-1, shape))
    return TensorDictModule(net, ["observation"], ["action_value"])


def log_probs_of_returns():
    net = nn.Sequential(MLP(4, 5 * 3), nn.Unflatten(-1, (5, 3)), nn.LogSoftmax(-2))
    return TensorDictModule(net, ["observation"], ["action_value"])


def discrete_actor():
    net = TensorDictModule(MLP(4, 3), in_keys=["observation"], out_keys=["logits"])
    return ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)


def continuous_actor():
    net = nn.Sequential(MLP(4, 4), NormalParamExtractor())
    net = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
    return ProbabilisticActor(net, ["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)


def critic():
    return ValueOperator(MLP(6, 1), in_keys=["observation", "action"])


def state_critic():
    return ValueOperator(MLP(4, 1))


UNIT = (-1.0, 1.0)
SUPPORT = torch.linspace(-2.0, 2.0, 5)
# Name: (loss, whether actions are discrete).
LOSSES = {
    "a2c": (lambda: A2CLoss(discrete_actor(), state_critic()), True),
    "clip_ppo": (lambda: ClipPPOLoss(discrete_actor(), state_critic()), True),
    "cql": (lambda: CQLLoss(continuous_actor(), critic(), bounds=UNIT, num_random=2), False),
    "crossq": (lambda: CrossQLoss(continuous_actor(), critic()), False),
    "ddpg": (lambda: DDPGLoss(Actor(MLP(4, 2)), critic()), False),
    "discrete_cql": (lambda: DiscreteCQLLoss(values_of_actions(3)), True),
    "discrete_sac": (lambda: DiscreteSACLoss(discrete_actor(), values_of_actions(3)), True),
    "distributional_dqn": (
        lambda: DistributionalDQNLoss(log_probs_of_returns(), support=torch.linspace(-2, 2, 5)),
        True,
    ),
    "dqn": (lambda: DQNLoss(values_of_actions(3), double_dqn=True), True),
    "iql": (lambda: IQLLoss(continuous_actor(), critic(), state_critic(), expectile=0.7), False),
    "kl_ppo": (lambda: KLPENPPOLoss(discrete_actor(), state_critic()), True),
    "ppo": (lambda: PPOLoss(discrete_actor(), state_critic()), True),
    "quantile_dqn": (lambda: QuantileDQNLoss(values_of_actions(5, 3)), True),
    "redq": (lambda: REDQLoss(continuous_actor(), critic(), num_qvalue_nets=3), False),
    "reinforce": (lambda: ReinforceLoss(discrete_actor(), state_critic()), True),
    "sac": (lambda: SACLoss(continuous_actor(), critic()), False),
    "td3": (lambda: TD3Loss(Actor(MLP(4, 2)), critic(), bounds=UNIT), False),
}


class Linear(nn.Linear):
    """Weights that are given, without bias, over all inputs joined."""

    def __init__(self, *rows):
        weights = torch.tensor(rows)
        super().__init__(weights.shape[1], weights.shape[0], bias=False)
        self.weight.data = weights

    def forward(self, *inputs):
        return super().forward(torch.cat(inputs, -1))


@pytest.fixture
def linear():
    """Makes a linear module of given weights, one row of them for each output."""
    return Linear


@pytest.fixture
def make_step():
    """Makes one step, of batch size 1, or several from lists."""

    def make(observation, action, reward, after, terminated, **entries):
        batch = [len(reward)]
        terminated = torch.tensor(terminated).view(-1, 1)
        following = {
            "observation": torch.tensor(after).view(*batch, -1),
            "reward": torch.tensor(reward).view(-1, 1),
            "done": terminated,
            "terminated": terminated,
        }
        steps = {"observation": torch.tensor(observation).view(*batch, -1), "action": torch.tensor(action)}
        return TensorDict(steps | {"next": following} | entries, batch)

    return make


@pytest.fixture
def make_loss():
    """A loss by name, and a function that makes data for it: ``batch, agents -> TensorDict``."""

    def make(name):
        loss, discrete = LOSSES[name][0](), LOSSES[name][1]

        def data(*batch, agents=()):
            shape = (*batch, *agents)
            done = torch.rand(*batch, 1) < 0.3
            after = {
                "observation": torch.randn(*shape, 4),
                "reward": torch.randn(*batch, 1),
                "done": done,
                "terminated": done & (torch.rand(*batch, 1) < 0.5),
            }
            action = torch.randint(3, shape) if discrete else torch.rand(*shape, 2) * 1.8 - 0.9
            steps = {"observation": torch.randn(*shape, 4), "action": action, "next": after}
            steps |= {"sample_log_prob": torch.randn(shape) * 0.1 - 1.0}
            steps |= {"advantage": torch.randn(*shape, 1), "value_target": torch.randn(*shape, 1)}
            return TensorDict(steps, batch)

        return loss, data

    return make
