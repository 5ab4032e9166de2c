"""Every algorithm solves a small problem in seconds."""

import pytest
import torch
from tensordict import TensorDict

from agents import A2C, DDPG, DQN, PPO, REDQ, REINFORCE, SAC, TD3, CrossQ, DiscreteSAC
from envkit import Bounded, Categorical, EnvBase, SerialEnv, Unbounded

STEPS = 5


class Echo(EnvBase):
    """Asks for what it shows: each step shows a number drawn from -1 to 1, and pays for an answer that is near.

    Discrete answers are its sign, and pay 1 or 0; continuous ones pay minus the squared distance.
    """

    def __init__(self, discrete):
        super().__init__()
        self.discrete = discrete
        self.observation_spec = Bounded(-1.0, 1.0, shape=(1,))
        self.action_spec = Categorical(2) if discrete else Bounded(-2.0, 2.0, shape=(1,))
        self.reward_spec = Unbounded((1,))
        self.drawn = torch.Generator()

    def _shown(self):
        self.number = torch.rand(1, generator=self.drawn) * 2 - 1
        return self.number

    def _reset(self, tensordict=None):
        self.time = 0
        return TensorDict({"observation": self._shown()})

    def _step(self, tensordict):
        self.time += 1
        action = tensordict["action"]
        if self.discrete:
            reward = (action == (self.number > 0).long().squeeze(-1)).float().reshape(1)
        else:
            reward = -((action - self.number) ** 2)
        done = torch.tensor([self.time == STEPS])
        return TensorDict({"observation": self._shown(), "reward": reward, "terminated": done})

    def _set_seed(self, seed):
        self.drawn.manual_seed(seed or 0)


REPLAY = {
    "hidden_sizes": (32,),
    "lr": 3e-3,
    "batch_size": 32,
    "learning_starts": 100,
    "gamma": 0.5,
    "steps_per_iteration": 100,
}
ON_POLICY = {"hidden_sizes": (32,), "lr": 1e-2, "gamma": 0.5, "anneal_lr": False, "entropy_coef": 0.0}
CASES = {
    "ppo": (PPO, ON_POLICY | {"steps_per_env": 50}, "both", 4_000),
    "ppo kl": (PPO, ON_POLICY | {"steps_per_env": 50, "variant": "kl"}, "discrete", 4_000),
    "a2c": (A2C, ON_POLICY | {"steps_per_env": 10}, "both", 6_000),
    "reinforce": (REINFORCE, ON_POLICY | {"steps_per_env": 25}, "both", 8_000),
    "dqn": (DQN, REPLAY | {"double": True, "target_update_interval": 100}, "discrete", 1_500),
    "dqn rainbow": (
        DQN,
        REPLAY
        | {"dueling": True, "prioritized": True, "noisy": True, "distribution": "categorical", "num_atoms": 11}
        | {"v_min": 0.0, "v_max": 2.0, "target_update_interval": 100, "n_steps": 2},
        "discrete",
        2_000,
    ),
    "dqn quantile": (
        DQN,
        REPLAY | {"distribution": "quantile", "num_atoms": 8, "target_update_interval": 100},
        "discrete",
        2_000,
    ),
    "ddpg": (DDPG, REPLAY, "continuous", 1_000),
    "td3": (TD3, REPLAY, "continuous", 1_500),
    "sac": (SAC, REPLAY, "continuous", 1_500),
    "redq": (REDQ, REPLAY | {"num_critics": 4, "gradient_steps": 4, "actor_freq": 4}, "continuous", 600),
    "crossq": (CrossQ, REPLAY | {"critic_sizes": (32,), "warmup_updates": 200}, "continuous", 1_500),
    "discrete sac": (DiscreteSAC, REPLAY | {"target_entropy_weight": 0.1}, "discrete", 1_500),
}
RUNS = [
    pytest.param(kind, settings, one == "discrete", steps, id=f"{name}-{one}")
    for name, (kind, settings, actions, steps) in CASES.items()
    for one in (("discrete", "continuous") if actions == "both" else (actions,))
]


@pytest.mark.parametrize(("kind", "settings", "discrete", "steps"), RUNS)
def test_solves_it(kind, settings, discrete, steps):
    agent = kind(SerialEnv(2, lambda: Echo(discrete)), kind.Config(**settings), seed=0)
    before = agent.evaluate(Echo(discrete), range(20)).mean
    agent.train(max_steps=steps)
    after = agent.evaluate(Echo(discrete), range(20)).mean
    # At best 1 or 0 a step; at random half of that, or about -1.7.
    assert before < (0.8 if discrete else -0.2) * STEPS
    assert after > (0.9 if discrete else -0.1) * STEPS
