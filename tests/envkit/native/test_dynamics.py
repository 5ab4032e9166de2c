"""The dynamics of the classic control envs are Gymnasium's."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import AcrobotEnv, CartPoleEnv, MountainCarContinuousEnv, MountainCarEnv, PendulumEnv
from envkit.native.acrobot import acrobot_dynamics
from envkit.native.cartpole import cartpole_dynamics, cartpole_fallen
from envkit.native.mountain_car import mountain_car_dynamics
from envkit.native.pendulum import pendulum_dynamics

STEPS = 200
ENVS = {
    "CartPole-v1": CartPoleEnv,
    "Pendulum-v1": lambda: PendulumEnv(cos_sin=True),
    "MountainCar-v0": MountainCarEnv,
    "MountainCarContinuous-v0": MountainCarContinuousEnv,
    "Acrobot-v1": AcrobotEnv,
}


def gymnasium_steps(env_id, seed=0):
    """What happens before and after 200 random steps, and whatever ends is started anew."""
    raw = gymnasium.make(env_id).unwrapped
    observation, _ = raw.reset(seed=seed)
    raw.action_space.seed(seed)
    rows = []
    for _ in range(STEPS):
        action = raw.action_space.sample()
        before = observation
        observation, reward, terminated, _, _ = raw.step(action)
        rows.append((before, action, observation, reward, terminated))
        if terminated:
            observation, _ = raw.reset()
    return [torch.from_numpy(np.stack([np.asarray(row[i]) for row in rows])) for i in range(5)]


@pytest.mark.parametrize("env_id", ENVS)
def test_every_step_is_gymnasiums(env_id):
    before, action, after, reward, terminated = gymnasium_steps(env_id)
    out = ENVS[env_id]()._step(TensorDict({"observation": before.float(), "action": action}, [STEPS]))
    torch.testing.assert_close(out["observation"], after.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["reward"].squeeze(-1), reward.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(out["terminated"].squeeze(-1), terminated)


@pytest.mark.parametrize("env_id", [name for name in ENVS if name != "Acrobot-v1"])
def test_a_whole_run_is_gymnasiums(env_id):
    """From one start, over all steps, past any end. (The acrobot is chaotic: rounding errors grow without bound.)"""
    raw, env = gymnasium.make(env_id).unwrapped, ENVS[env_id]()
    observation, _ = raw.reset(seed=1)
    raw.action_space.seed(1)
    start = torch.from_numpy(observation)
    # Pushes to one side and back keep the pole up for longer than random ones.
    discrete = [(i // 2) % 2 if env_id == "CartPole-v1" else (i // 25) % 3 for i in range(STEPS)]
    actions = [
        a if isinstance(raw.action_space, gymnasium.spaces.Discrete) else raw.action_space.sample() for a in discrete
    ]
    td, expected = TensorDict({"observation": start}), []
    # A pendulum that passes the top multiplies rounding errors by some hundreds.
    most = 1e-2 if env_id == "Pendulum-v1" else 2e-4
    for action in actions:
        td["action"] = torch.as_tensor(action)
        out = env._step(td)
        observation, reward, terminated, _, _ = raw.step(action)
        expected.append(terminated)
        torch.testing.assert_close(out["observation"], torch.from_numpy(observation), rtol=1e-3, atol=most)
        torch.testing.assert_close(out["reward"].item(), float(reward), rtol=1e-3, atol=10 * most)
        assert out["terminated"].item() == terminated
        if terminated:
            break
        td = TensorDict({"observation": out["observation"]})
    assert len(expected) > 20


def test_a_pendulum_by_angle_is_the_same_pendulum():
    before, action, after, reward, _ = gymnasium_steps("Pendulum-v1")
    th = torch.atan2(before[:, 1], before[:, 0])
    env = PendulumEnv()
    td = env.gen_params([STEPS]).update({"th": th, "thdot": before[:, 2], "action": action})
    out = env._step(td)
    torch.testing.assert_close(out["th"].cos(), after[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["thdot"], after[:, 2], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["reward"].squeeze(-1), reward.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("integrator", ["euler", "semi-implicit euler"])
def test_cartpole_integrators(integrator):
    raw = gymnasium.make("CartPole-v1").unwrapped
    raw.reset(seed=0)
    raw.kinematics_integrator = integrator
    state = torch.from_numpy(raw.state).float()
    expected, *_ = raw.step(1)
    found = cartpole_dynamics(state, torch.tensor(1), kinematics_integrator=integrator)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


def test_acrobot_nips_equations():
    raw = gymnasium.make("Acrobot-v1").unwrapped
    raw.reset(seed=0)
    raw.book_or_nips = "nips"
    raw.state = np.array([0.5, -0.4, 1.0, -2.0])
    state = torch.from_numpy(raw.state).float()
    raw.step(2)
    found = acrobot_dynamics(state, torch.tensor(1.0), book_or_nips="nips")
    torch.testing.assert_close(found, torch.from_numpy(np.asarray(raw.state)).float(), rtol=1e-5, atol=1e-5)


def test_sutton_barto_reward():
    env = CartPoleEnv(sutton_barto_reward=True)
    state = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.4, 2.0, 0.0, 0.0]])
    out = env._step(TensorDict({"observation": state, "action": torch.zeros(2, dtype=torch.int64)}, [2]))
    assert out["reward"].tolist() == [[0.0], [-1.0]]


def test_physical_parameters_matter():
    td = TensorDict({"observation": torch.tensor([0.0, 0.0, 0.1, 0.0]), "action": torch.tensor(1)})
    assert not torch.equal(CartPoleEnv(gravity=1.0)._step(td)["observation"], CartPoleEnv()._step(td)["observation"])
    heavy = PendulumEnv(m=2.0)
    td = heavy.rand_action(heavy.reset())
    assert td["params", "m"] == 2.0
    data = MountainCarEnv(goal_position=-0.7).rollout(1, tensordict=TensorDict({}, [64]))
    assert data["next", "terminated"].any()


@pytest.mark.parametrize(
    ("env", "kwargs"), [(CartPoleEnv, {"kinematics_integrator": "heun"}), (AcrobotEnv, {"book_or_nips": "film"})]
)
def test_unknown_options_are_refused(env, kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        env(**kwargs)


STATE = torch.linspace(-0.3, 0.3, 8).reshape(2, 4)
FUNCTIONS = {
    "cartpole": (cartpole_dynamics, (STATE, torch.tensor([0, 1]))),
    "cartpole_fallen": (cartpole_fallen, (STATE,)),
    "pendulum": (pendulum_dynamics, (STATE[0], STATE[1], STATE[0])),
    "mountain_car": (mountain_car_dynamics, (STATE[:, :2], STATE[:, 0])),
    "acrobot": (acrobot_dynamics, (STATE, STATE[:, 0])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dynamics_compile_to_one_graph(name):
    function, arguments = FUNCTIONS[name]
    found = torch.compile(function, fullgraph=True, backend="eager")(*arguments)
    torch.testing.assert_close(found, function(*arguments))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dynamics_of_a_batch_are_those_of_its_elements(name):
    function, arguments = FUNCTIONS[name]
    whole = function(*arguments)
    for i in range(2):
        parts = function(*(a[i] for a in arguments))
        for found, expected in zip(
            parts if isinstance(parts, tuple) else [parts], whole if isinstance(whole, tuple) else [whole], strict=True
        ):
            torch.testing.assert_close(found, expected[i])


def test_gradients_flow_through_the_dynamics():
    torque = torch.zeros(3, requires_grad=True)
    th, _, reward = pendulum_dynamics(torch.ones(3), torch.zeros(3), torque)
    (th.sum() + reward.sum()).backward()
    assert torch.all(torque.grad != 0)
