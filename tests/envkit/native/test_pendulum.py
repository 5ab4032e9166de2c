from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict

from envkit import PendulumEnv, StepCounter, TransformedEnv, step_mdp


def test_keys_are_the_tutorials():
    env = PendulumEnv()
    assert env.observation_keys == ["th", "thdot"]
    assert env.state_keys == [("params", name) for name in ("dt", "g", "l", "m", "max_speed", "max_torque")]
    td = env.reset()
    assert set(td.keys()) == {"done", "params", "terminated", "th", "thdot"}
    td = step_mdp(env.step(env.rand_action(td)))
    assert td["params", "g"] == 10.0


def test_gen_params_takes_numbers_and_tensors():
    params = PendulumEnv(g=9.81).gen_params([2, 3], m=torch.tensor([1.0, 2.0, 3.0]), l=0.5)
    assert params.batch_size == (2, 3)
    assert torch.equal(params["params", "m"], torch.tensor([1.0, 2.0, 3.0]).expand(2, 3))
    assert (params["params", "l"] == 0.5).all()
    assert (params["params", "g"] == 9.81).all()
    with pytest.raises(TypeError, match=r"unknown parameters \['mass'\]"):
        PendulumEnv().gen_params(mass=1.0)


def test_each_element_has_its_own_physics():
    env = PendulumEnv()
    env.set_seed(0)
    td = env.reset(env.gen_params([2], g=torch.tensor([1.0, 10.0]), max_torque=torch.tensor([2.0, 0.0])))
    td.update({"th": torch.full((2,), 0.5), "thdot": torch.zeros(2), "action": torch.tensor([[0.0], [2.0]])})
    speeds = env.step(td)["next", "thdot"]
    torch.testing.assert_close(speeds, 1.5 * torch.tensor([1.0, 10.0]) * math.sin(0.5) * 0.05)


def test_params_outlast_resets():
    env = TransformedEnv(PendulumEnv(), StepCounter(max_steps=3))
    env.set_seed(0)
    start = env.gen_params([2], m=torch.tensor([1.0, 2.0]))
    data = env.rollout(8, tensordict=start, break_when_any_done=False)
    assert torch.equal(data["params", "m"], torch.tensor([[1.0], [2.0]]).expand(2, 8))
    assert data["next", "done"][:, :, 0].any(0).tolist() == [False, False, True] * 2 + [False, False]


def test_rollout_from_given_params_without_another_reset():
    env = PendulumEnv()
    start = env.reset(env.gen_params(batch_size=[10]))
    assert env.rollout(5, auto_reset=False, tensordict=start).batch_size == (10, 5)


def test_speed_and_torque_are_clamped():
    env = PendulumEnv()
    td = env.reset().update({"th": torch.tensor(1.5), "thdot": torch.tensor(7.9), "action": torch.tensor([50.0])})
    out = env.step(td)["next"]
    assert out["thdot"] == 8.0
    assert out["reward"].item() == pytest.approx(-(1.5**2 + 0.1 * 7.9**2 + 0.001 * 4.0), rel=1e-5)


def test_cos_sin_shows_the_observation_alone():
    env = PendulumEnv(cos_sin=True)
    assert env.observation_keys == ["observation"]
    assert env.state_keys == []
    data = env.rollout(20, tensordict=TensorDict({}, [5]))
    cos, sin, _ = data["next", "observation"].unbind(-1)
    torch.testing.assert_close(cos.square() + sin.square(), torch.ones(5, 20))
