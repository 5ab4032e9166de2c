from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import EnvBase, Unbounded
from envkit.libs.attributes import ForwardsAttributes


class Scale:
    weight = 3


class Boxed:
    """A simulator in wrappers, as Gymnasium's are."""

    unwrapped = Scale()
    _hidden = "inside"


class ScaleEnv(ForwardsAttributes, EnvBase):
    def __init__(self, simulator=None):
        super().__init__()
        self.observation_spec = self.action_spec = Unbounded((1,))
        self._env = simulator

    @property
    def broken(self):
        raise AttributeError("the spring is loose")

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(1)})

    def _step(self, tensordict):
        return TensorDict({"observation": torch.zeros(1), "reward": torch.zeros(1), "done": torch.zeros(1).bool()})


def test_what_the_env_lacks_is_the_simulators():
    assert ScaleEnv(Scale()).weight == 3


def test_the_env_comes_first():
    simulator = Scale()
    simulator.batch_size = "theirs"
    assert ScaleEnv(simulator).batch_size == torch.Size([])


def test_unknown_names_the_innermost():
    with pytest.raises(AttributeError, match="neither ScaleEnv nor the wrapped Scale has 'height'"):
        ScaleEnv(Scale()).height  # noqa: B018
    with pytest.raises(AttributeError, match="neither ScaleEnv nor the wrapped Scale has 'height'"):
        ScaleEnv(Boxed()).height  # noqa: B018


def test_names_with_an_underscore_are_the_envs_alone():
    with pytest.raises(AttributeError, match="_hidden"):
        ScaleEnv(Boxed())._hidden  # noqa: B018


def test_without_a_simulator():
    with pytest.raises(AttributeError, match="weight"):
        ScaleEnv().weight  # noqa: B018


def test_where_and_how_it_is_looked_up_can_be_said():
    class Deep(ScaleEnv):
        def _simulator(self):
            return vars(self)["_env"].unwrapped

        def _simulator_attribute(self, simulator, name):
            return 2 * getattr(simulator, name)

    assert Deep(Boxed()).weight == 6
