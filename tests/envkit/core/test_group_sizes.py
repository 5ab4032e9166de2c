"""Levels of a shape of their own, whose batch size authors leave to the specs."""

import pytest
import torch
from tensordict import TensorDict

from envkit import Categorical, Composite, EnvBase, SerialEnv, Unbounded, check_env_specs, step_mdp


class Crowd(EnvBase):
    """Three agents, told of in plain dicts."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(agents=Composite(observation=Unbounded((3, 2)), shape=(3,)))
        self.full_action_spec = Composite(agents=Composite(action=Unbounded((3, 1)), shape=(3,)))
        self.full_reward_spec = Composite(agents=Composite(reward=Unbounded((3, 1)), shape=(3,)))
        self.full_done_spec = Composite(done=Categorical(2, shape=(1,), dtype=torch.bool))
        self.time = 0

    def _set_seed(self, seed):
        self.seed = seed

    def _reset(self, tensordict=None):
        self.time = 0
        return TensorDict({"agents": {"observation": torch.zeros(3, 2)}})

    def _step(self, tensordict):
        self.time += 1
        agents = {"observation": torch.full((3, 2), float(self.time)), "reward": torch.zeros(3, 1)}
        return TensorDict({"agents": agents, "done": torch.tensor([self.time >= 4])})


def test_data_has_the_sizes_of_the_specs():
    env = Crowd()
    td = env.rand_step(env.reset())
    assert td["agents"].batch_size == (3,)
    assert td["next", "agents"].batch_size == (3,)


def test_batches_reset_in_part():
    env = SerialEnv(2, Crowd)
    td = step_mdp(env.rand_step(env.reset()))
    td["_reset"] = torch.tensor([[True], [False]])
    assert env.reset(td)["agents", "observation"][..., 0].tolist() == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize("make", [Crowd, lambda: SerialEnv(2, Crowd)])
def test_nothing_is_wrong(make):
    assert check_env_specs(make()) == []
