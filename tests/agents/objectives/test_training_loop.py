"""The loop of the PPO tutorial over its parts, on a task small enough to be learned in seconds."""

import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import (
    NormalParamExtractor,
    ProbabilisticActor,
    TanhNormal,
    TensorDictModule,
    ValueOperator,
    set_interaction_type,
)
from agents.objectives import ClipPPOLoss
from agents.replay import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement
from agents.returns import GAE

FRAMES_PER_BATCH = 256
SUB_BATCH_SIZE = 64


class Box:
    low, high = torch.tensor([-2.0]), torch.tensor([2.0])


def collect(policy):
    """Episodes of four steps in which the best action is the first observation."""
    steps = TensorDict({"observation": torch.rand(FRAMES_PER_BATCH, 2) * 2.0 - 1.0}, [FRAMES_PER_BATCH])
    with torch.no_grad(), set_interaction_type("random"):
        policy(steps)
    done = (torch.arange(FRAMES_PER_BATCH) % 4 == 3).unsqueeze(-1)
    steps["next"] = TensorDict(
        {
            "observation": steps["observation"].roll(-1, 0),
            "reward": -(steps["action"] - steps["observation"][:, :1]).square(),
            "done": done,
            "terminated": done,
        },
        [FRAMES_PER_BATCH],
    )
    return steps


def test_policy_improves():
    torch.manual_seed(0)
    actor_net = nn.Sequential(nn.LazyLinear(32), nn.Tanh(), nn.LazyLinear(2), NormalParamExtractor())
    policy_module = ProbabilisticActor(
        module=TensorDictModule(actor_net, in_keys=["observation"], out_keys=["loc", "scale"]),
        spec=Box(),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"min": Box.low, "max": Box.high},
        return_log_prob=True,
    )
    value_net = nn.Sequential(nn.LazyLinear(32), nn.Tanh(), nn.LazyLinear(1))
    value_module = ValueOperator(module=value_net, in_keys=["observation"])
    start = TensorDict({"observation": torch.zeros(2)})
    value_module(policy_module(start))

    replay_buffer = ReplayBuffer(
        storage=LazyTensorStorage(max_size=FRAMES_PER_BATCH), sampler=SamplerWithoutReplacement()
    )
    advantage_module = GAE(gamma=0.9, lmbda=0.95, value_network=value_module, average_gae=True)
    loss_module = ClipPPOLoss(
        actor_network=policy_module,
        critic_network=value_module,
        clip_epsilon=0.2,
        entropy_bonus=True,
        entropy_coef=1e-4,
        critic_coef=1.0,
        loss_critic_type="smooth_l1",
    )
    optim = torch.optim.Adam(loss_module.parameters(), 1e-2)

    rewards = []
    for _ in range(20):
        tensordict_data = collect(policy_module)
        for _ in range(4):
            advantage_module(tensordict_data)
            replay_buffer.extend(tensordict_data.reshape(-1).cpu())
            for _ in range(FRAMES_PER_BATCH // SUB_BATCH_SIZE):
                loss_vals = loss_module(replay_buffer.sample(SUB_BATCH_SIZE))
                loss_value = loss_vals["loss_objective"] + loss_vals["loss_critic"] + loss_vals["loss_entropy"]
                loss_value.backward()
                torch.nn.utils.clip_grad_norm_(loss_module.parameters(), 1.0)
                optim.step()
                optim.zero_grad()
        rewards.append(tensordict_data["next", "reward"].mean().item())
    assert rewards[0] < -1.0
    assert rewards[-1] > -0.2
