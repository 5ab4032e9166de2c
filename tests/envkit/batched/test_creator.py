from __future__ import annotations

import pickle
import threading

import pytest

from envkit import EnvCreator, GymEnv, ParallelEnv, SerialEnv, StepCounter, TransformedEnv


def pendulum(**options):
    return GymEnv("Pendulum-v1", **options)


def test_is_the_function_it_was_made_of():
    make = EnvCreator(pendulum, {"g": 9.0})
    assert make().g == 9.0
    assert make(g=10.0).g == 10.0
    assert make().g == 9.0  # what one call is given is not kept


def test_keeps_its_arguments_to_itself():
    options = {"g": 9.0}
    make = EnvCreator(pendulum, options)
    options["g"] = 1.0
    assert make().g == 9.0


def test_lambdas_can_be_pickled():
    limit = 7
    make = EnvCreator(lambda **options: TransformedEnv(pendulum(**options), StepCounter(max_steps=limit)), {"g": 2.0})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(make.create_env_fn)
    twin = pickle.loads(pickle.dumps(make))
    assert twin.create_env_kwargs == {"g": 2.0}
    assert twin().g == 2.0
    assert twin().rollout(20).batch_size == (7,)


def test_what_cannot_be_sent_is_told_when_it_is_sent():
    lock = threading.Lock()
    make = EnvCreator(lambda: (lock, pendulum())[1])
    assert make().is_closed is False
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(make)


@pytest.mark.parametrize("wrong", ["Pendulum-v1", None, 3])
def test_functions_only(wrong):
    with pytest.raises(TypeError, match="create_env_fn: expected a function that makes an env, found"):
        EnvCreator(wrong)


def test_no_envs():
    with pytest.raises(TypeError, match="create_env_fn: expected a function that makes an env, found GymEnv"):
        EnvCreator(pendulum())


def test_in_batches():
    makers = [EnvCreator(pendulum, {"g": g}) for g in (1.0, 2.0)]
    assert SerialEnv(2, makers).g == [1.0, 2.0]
    env = ParallelEnv(2, makers, mp_start_method="fork")
    assert env.g == [1.0, 2.0]
    env.close()


def test_repr():
    assert repr(EnvCreator(pendulum, {"g": 9.0})).endswith(", {'g': 9.0})")
