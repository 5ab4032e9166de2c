from __future__ import annotations

import functools

import pytest
import torch
from tensordict import TensorDict

from envkit import Compose, FiniteTensorDictCheck, GymEnv, SerialEnv, TransformedEnv, UnaryTransform
from envkit.errors import NonFiniteError

pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


def test_promises(kit):
    kit.all(pendulum, FiniteTensorDictCheck)
    assert kit.on_rows(TransformedEnv(pendulum(), FiniteTensorDictCheck()))


@pytest.mark.parametrize("make", [pendulum, lambda: SerialEnv(2, pendulum)])
@pytest.mark.parametrize(("key", "when"), [("reward", "step"), ("observation", "reset")])
def test_finds_what_is_not(make, key, when):
    def spoilt(value):
        return value / (0 if value.any() else 1)  # zeros are what the env is built with

    env = TransformedEnv(make(), Compose(UnaryTransform(key, fn=spoilt), FiniteTensorDictCheck()))
    for run in (lambda: env.rollout(3), lambda: env.rand_step() if when == "step" else env.reset()):
        with pytest.raises(
            NonFiniteError, match=rf"FiniteTensorDictCheck: '{key}': expected finite numbers, found -?inf"
        ):
            run()


def test_stored_data():
    td = TensorDict(
        {"a": torch.ones(2), ("next", "a"): torch.tensor([1.0, float("inf")]), "n": torch.ones(2).long()}, [2]
    )
    with pytest.raises(NonFiniteError, match=r"\('next', 'a'\): expected finite numbers, found inf at \[1\]"):
        FiniteTensorDictCheck()(td)
    assert FiniteTensorDictCheck()(td["next"].exclude("a")).is_empty()
