from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn

from envkit import Categorical, Composite, GymEnv, ModelBasedEnvBase, Unbounded, check_env_specs


class Transition(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, hidden, action):
        return torch.tanh(self.linear(torch.cat([hidden, action], -1)))


def world(*more):
    return TensorDictSequential(
        TensorDictModule(Transition(), in_keys=["hidden", "action"], out_keys=["hidden"]),
        TensorDictModule(nn.Linear(4, 1), in_keys=["hidden"], out_keys=["reward"]),
        *more,
    )


class Imagined(ModelBasedEnvBase):
    def __init__(self, world_model, batch_size=None, **kwargs):
        super().__init__(world_model, batch_size=batch_size, **kwargs)
        self.observation_spec_unbatched = Composite(hidden=Unbounded((4,)))
        self.state_spec_unbatched = Composite(hidden=Unbounded((4,)))
        self.action_spec_unbatched = Unbounded((2,))
        self.reward_spec_unbatched = Unbounded((1,))

    def _reset(self, tensordict=None):
        size = self.batch_size if tensordict is None else tensordict.batch_size
        return TensorDict({"hidden": torch.zeros(*size, 4)}, size)


@pytest.mark.parametrize("size", [(), (3,)])
def test_specs_hold(size):
    assert check_env_specs(Imagined(world(), size), seed=0) == []


def test_a_rollout_is_the_model_over_and_over():
    env = Imagined(world())
    env.set_seed(0)
    data = env.rollout(6, tensordict=TensorDict({}, [5]))
    td = env.reset(TensorDict({}, [5]))
    for t in range(6):
        td = env.world_model(td.set("action", data["action"][:, t]))
        assert torch.equal(td["hidden"], data["next", "hidden"][:, t])
        assert torch.equal(td["reward"], data["next", "reward"][:, t])
    assert not data["next", "done"].any()


def test_the_input_stays_as_it_was():
    env = Imagined(world())
    td = env.rand_action(env.reset(TensorDict({}, [2])))
    before = td.clone()
    env.step(td)
    assert all(torch.equal(td[key], before[key]) for key in before.keys())


def test_a_model_may_end_episodes():
    far = TensorDictModule(
        lambda hidden: hidden.abs().sum(-1, keepdim=True) > 0.5, in_keys=["hidden"], out_keys=["done"]
    )
    env = Imagined(world(far))
    data = env.rollout(20, tensordict=TensorDict({}, [5]), break_when_any_done=False)
    ended = data["next", "hidden"].abs().sum(-1, keepdim=True) > 0.5
    assert ended.any()
    assert torch.equal(data["next", "done"], ended)


def test_gradients_flow_through_steps():
    env = Imagined(world())
    td = env.reset(TensorDict({}, [2]))
    td["action"] = action = torch.zeros(2, 2, requires_grad=True)
    td = env.step_mdp(env.step(td))
    td["action"] = torch.zeros(2, 2)
    env.step(td)["next", "reward"].sum().backward()
    assert action.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in env.parameters())


def test_the_env_has_the_models_parameters():
    model = world()
    assert list(Imagined(model).parameters()) == list(model.parameters())


def test_specs_from_another_env():
    env = Imagined(world()).set_specs_from_env(GymEnv("CartPole-v1"))
    assert env.action_spec == Categorical(2)
    assert env.observation_keys == ["observation"]


def test_without_reset_there_is_no_env():
    env = ModelBasedEnvBase(world())
    with pytest.raises(NotImplementedError, match="_reset"):
        env.reset()


def test_on_a_device():
    env = Imagined(world(), device="cpu")
    assert env.rollout(3).device == torch.device("cpu")
