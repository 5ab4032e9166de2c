"""Specs read off the data."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import Composite, EnvBase, NonTensor, Unbounded, check_env_specs
from envkit.errors import SpecError


class Plain(EnvBase):
    extra = False

    def _set_seed(self, seed):
        self.seed = seed

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"observation": torch.zeros(2), "nested": {"x": torch.zeros(3, dtype=torch.int64)}})

    def _step(self, tensordict):
        self.count += 1
        out = TensorDict(
            {
                "observation": torch.ones(2),
                "nested": {"x": torch.ones(3, dtype=torch.int64)},
                "reward": tensordict["action"].sum(-1, keepdim=True).double(),
                "done": torch.tensor([self.count > 3]),
            }
        )
        return out.set("more", torch.ones(1)) if self.extra else out


def policy(tensordict):
    return tensordict.set("action", torch.rand(2))


def test_specs():
    env = Plain()
    assert env.auto_specs_(policy, observation_key=["observation", ("nested", "x")]) is env
    assert env.observation_spec == Composite(
        observation=Unbounded((2,)), nested=Composite(x=Unbounded((3,), dtype=torch.int64))
    )
    assert env.action_spec == Unbounded((2,))
    assert env.reward_spec == Unbounded((1,), dtype=torch.float64)
    assert env.done_keys == ["done", "terminated"]
    assert check_env_specs(env) == []


def test_sizes_that_change():
    class Growing(Plain):
        def _reset(self, tensordict=None):
            super()._reset()
            return TensorDict({"observation": torch.zeros(1, 2), "text": "a"})

        def _step(self, tensordict):
            out = super()._step(tensordict).exclude("nested")
            return out.set("observation", torch.zeros(self.count + 1, 2)).set_non_tensor("text", "b")

    env = Growing()
    env.auto_specs_(policy, observation_key=["observation", "text"])
    assert env.observation_spec["observation"].shape == torch.Size([-1, 2])
    assert isinstance(env.observation_spec["text"], NonTensor)
    assert env.has_dynamic_specs


def test_batches():
    class Batch(Plain):
        def __init__(self):
            super().__init__(batch_size=(4,))

        def _reset(self, tensordict=None):
            return TensorDict({"observation": torch.zeros(4, 2)}, [4])

        def _step(self, tensordict):
            reward = torch.zeros(4, 1)
            return TensorDict({"observation": torch.zeros(4, 2), "reward": reward, "done": reward > 0}, [4])

    env = Batch().auto_specs_(lambda td: td.set("action", torch.rand(4, 3)))
    assert env.rollout(3).batch_size == torch.Size([4, 3])
    assert check_env_specs(env) == []


def test_every_entry_needs_a_role():
    env = Plain()
    with pytest.raises(SpecError, match=r"found none for \[\('nested', 'x'\)\]"):
        env.auto_specs_(policy)
    env.extra = True
    with pytest.raises(SpecError, match="'more'"):
        env.auto_specs_(policy, observation_key=["observation", ("nested", "x")])
    with pytest.raises(SpecError, match="'speed' is missing"):
        env.auto_specs_(policy, observation_key=["observation", ("nested", "x"), "more", "speed"])
