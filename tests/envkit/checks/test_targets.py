"""What can be named on the command line."""

from __future__ import annotations

import pytest

from envkit import SerialEnv, TransformedEnv
from envkit.checks.targets import TargetError, env_maker
from envkit.errors import UnknownEnvError

MODULE = """
import gymnasium
from envkit import DoubleToFloat, GymEnv, SerialEnv, StepCounter

def make_env():
    return GymEnv("CartPole-v1")

def make_batch():
    return SerialEnv(2, make_env)

def make_foreign():
    return gymnasium.make("CartPole-v1")

def make_vector():
    return gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")

class Mine(GymEnv):
    def __init__(self):
        super().__init__("Acrobot-v1")

counter = StepCounter(max_steps=5)
number = 3
"""


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_envs.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield


@pytest.mark.parametrize(
    ("target", "size"),
    [
        ("my_envs:make_env", ()),
        ("my_envs:make_batch", (2,)),
        ("my_envs:make_foreign", ()),
        ("my_envs:make_vector", (3,)),
        ("my_envs:Mine", ()),
        ("CartPole-v1", ()),
        ("gymnasium.envs:CartPole-v1", ()),
    ],
)
def test_targets(target, size):
    assert env_maker(target)().batch_size == size


def test_transforms_are_put_on_an_env():
    env = env_maker("my_envs:counter")()
    assert isinstance(env, TransformedEnv)
    assert env.rollout(10).batch_size == (5,)
    assert isinstance(env_maker("my_envs:counter", on="my_envs:make_batch")().base_env, SerialEnv)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:make", "no module 'no_such_module'"),
        ("my_envs:make_nothing", "no 'make_nothing' in my_envs"),
        ("my_envs:number", "found int"),
    ],
)
def test_nothing_there(target, message):
    with pytest.raises(TargetError, match=message):
        env_maker(target)()


def test_unknown_id():
    with pytest.raises(UnknownEnvError, match="CartPole-v1"):
        env_maker("CartPoel-v1")()
