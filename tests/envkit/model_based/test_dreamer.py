from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn

from envkit import DreamerDecoder, DreamerEnv, GymEnv, SpecError, TransformedEnv, Unbounded, check_env_specs


class Prior(nn.Module):
    """The belief by a recurrent cell; the state drawn from it."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 4), nn.Linear(4, 2)

    def forward(self, state, belief, action):
        flat = torch.cat([state, action], -1).reshape(-1, 3)
        belief = self.cell(flat, belief.reshape(-1, 4)).reshape(belief.shape)
        return self.head(belief), belief


def make(decoder=True, **kwargs):
    world = TensorDictSequential(
        TensorDictModule(Prior(), in_keys=["state", "belief", "action"], out_keys=["state", "belief"]),
        TensorDictModule(nn.Linear(2, 1), in_keys=["state"], out_keys=["reward"]),
    )
    shows = TensorDictModule(nn.Linear(4, 8), in_keys=["belief"], out_keys=["pixels"]) if decoder else None
    env = DreamerEnv(world, prior_shape=2, belief_shape=4, obs_decoder=shows, **kwargs)
    env.action_spec_unbatched = Unbounded((1,))
    return env


@pytest.mark.parametrize("size", [(), (3,)])
def test_specs_hold(size):
    assert check_env_specs(make(batch_size=size), seed=0) == []


def test_imagination_starts_from_what_it_is_given():
    env = make()
    start = TensorDict({"state": torch.ones(5, 2), "belief": torch.ones(5, 4)}, [5])
    data = env.rollout(4, tensordict=start)
    assert data.batch_size == (5, 4)
    assert (data["belief"][:, 0] == 1).all()
    assert (env.reset()["belief"] == 0).all()


def test_a_partial_reset_starts_from_zeros():
    env = make()
    td = env.reset(TensorDict({"state": torch.ones(2, 2), "belief": torch.ones(2, 4)}, [2]))
    td["_reset"] = torch.tensor([[True], [False]])
    assert env.reset(td)["state"].tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_actions_and_rewards_are_the_real_envs():
    env, real = make(), GymEnv("Pendulum-v1")
    env.set_specs_from_env(real)
    assert env.action_spec == real.action_spec
    assert env.observation_keys == ["belief", "state"]
    assert env.rollout(3).batch_size == (3,)


def test_decode_obs():
    env = make()
    td = env.rand_action(env.reset(TensorDict({}, [3])))
    assert env.decode_obs(td.clone())["pixels"].shape == (3, 8)
    torch.testing.assert_close(
        env.decode_obs(td.clone(), compute_latents=True)["pixels"], env.obs_decoder(env.step(td)["next"])["pixels"]
    )
    with pytest.raises(ValueError, match="obs_decoder"):
        make(decoder=False).decode_obs(td)


@pytest.mark.parametrize("size", [(), (3,)])
def test_the_decoder_shows_what_is_imagined(size):
    env = make().append_transform(DreamerDecoder())
    assert check_env_specs(make(batch_size=size).append_transform(DreamerDecoder())) == []
    data = env.rollout(5, tensordict=TensorDict({}, size))
    with torch.no_grad():
        torch.testing.assert_close(data["next", "pixels"], env.obs_decoder(data["next"].clone())["pixels"])


def test_the_decoder_needs_an_env_that_has_one():
    with pytest.raises(SpecError, match="obs_decoder"):
        TransformedEnv(GymEnv("CartPole-v1"), DreamerDecoder())
    with pytest.raises(SpecError, match="obs_decoder"):
        make(decoder=False).append_transform(DreamerDecoder())
