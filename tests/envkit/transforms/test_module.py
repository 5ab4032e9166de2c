from __future__ import annotations

import pytest
import torch
from tensordict.nn import TensorDictModule, TensorDictSequential

from agents import LazyTensorStorage, ReplayBuffer
from envkit import GymEnv, ModuleTransform, SpecError, TransformedEnv, Unbounded


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=5)


def embed(key="embedding", size=2):
    torch.manual_seed(0)
    return TensorDictModule(torch.nn.Linear(3, size), in_keys=["observation"], out_keys=[key])


def double(key="twice"):
    return TensorDictModule(lambda x: 2 * x, in_keys=["observation"], out_keys=[key])


def test_promises(kit):
    kit.all(pendulum, lambda: ModuleTransform(double()))
    kit.all(pendulum, lambda: ModuleTransform(double("observation")))
    kit.ports_agree(pendulum, lambda: ModuleTransform(embed()))


def test_in_an_env():
    module = TensorDictSequential(embed(), TensorDictModule(torch.tanh, ["embedding"], ["bounded"]))
    env = TransformedEnv(pendulum(), ModuleTransform(module))
    assert env.observation_spec["bounded"] == Unbounded((2,))
    data = env.rollout(3)
    assert torch.allclose(data["bounded"], module(data.clone())["bounded"])
    assert len(list(env.transform.parameters())) == 2


def test_gradients():
    data = pendulum().rollout(3)
    assert not ModuleTransform(embed())(data.clone())["embedding"].requires_grad
    assert ModuleTransform(embed(), no_grad=False)(data.clone())["embedding"].requires_grad


@pytest.mark.parametrize("inverse", [False, True])
def test_in_a_buffer(inverse):
    buffer = ReplayBuffer(LazyTensorStorage(10), transform=ModuleTransform(double(), inverse=inverse))
    buffer.extend(pendulum().rollout(5))
    assert ("twice" in buffer.storage.get(torch.arange(2)).keys()) is inverse
    batch = buffer.sample(3)
    assert torch.equal(batch["twice"], 2 * batch["observation"])
    assert torch.equal(batch["next", "twice"], 2 * batch["next", "observation"])


def test_refused():
    with pytest.raises(TypeError, match="expected a module with in_keys and out_keys, found Linear"):
        ModuleTransform(torch.nn.Linear(1, 1))
    with pytest.raises(SpecError, match="expected inverse=False in an env"):
        TransformedEnv(pendulum(), ModuleTransform(embed(), inverse=True))
    with pytest.raises(SpecError, match="ModuleTransform of TensorDictModule: it raises"):
        TransformedEnv(GymEnv("CartPole-v1"), ModuleTransform(embed()))
    with pytest.raises(KeyError, match=r"observation.* is missing"):
        ModuleTransform(embed())(pendulum().rollout(2).exclude("observation"))
