"""Every env that Gymnasium itself registers, in and out again."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from envkit import GymEnv, as_gymnasium, check_env_specs

# Why an env cannot be made here, by a word of what its maker says.
REASONS = {
    "gymnasium-robotics": "moved to another package",
    "mujoco<3": "needs an old MuJoCo",
    "shimmy": "a door for another package",
    "Box2D": "needs the extra gymnasium[box2d]",
    "box2d": "needs the extra gymnasium[box2d]",
    "jax": "needs the extra gymnasium[jax]",
    "mujoco": "needs the extra gymnasium[mujoco]",
    "MuJoCo": "needs the extra gymnasium[mujoco]",
}
PLAIN = ["Acrobot-v1", "Blackjack-v1", "CartPole-v1", "FrozenLake-v1", "MountainCar-v0", "Pendulum-v1"]
IN_JAX = ("phys2d/", "tabular/")
IDS = [
    pytest.param(name, marks=pytest.mark.jax) if name.startswith(IN_JAX) else name
    for name, spec in sorted(gymnasium.registry.items())
    if "gymnasium" in str(spec.entry_point) or callable(spec.entry_point)
]


def make(name: str) -> gymnasium.Env:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ids that have a newer version
        try:
            return GymEnv(name)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            reason = next((reason for word, reason in REASONS.items() if word in str(error)), None)
            if reason is None or name in PLAIN:
                raise
            pytest.skip(f"{name}: {reason}")


@pytest.mark.parametrize("name", IDS)
def test_every_env_keeps_to_its_specs(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        env = make(name)
        assert check_env_specs(env, steps=100, seed=0) == []
        env.close()


@pytest.mark.parametrize("name", IDS)
def test_every_env_comes_out_as_it_went_in(name):
    ours = as_gymnasium(make(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = gymnasium.make(name)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(0)
    found, expected = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    for _ in range(30):
        assert data_equivalence(_plain(found), _plain(expected), exact=True)
        action = ours.action_space.sample()
        (found, reward, *flags, _), (expected, value, *theirs_flags, _) = ours.step(action), theirs.step(action)
        assert reward == np.float32(value)
        assert flags == [bool(flag) for flag in theirs_flags]
        if any(flags):
            found, expected = ours.reset()[0], theirs.reset()[0]
    ours.close()
    theirs.close()


def _plain(value):
    """Numbers, whether they came as Python's or as numpy's."""
    return tuple(_plain(part) for part in value) if isinstance(value, tuple) else np.asarray(value)
