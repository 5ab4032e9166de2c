"""Descriptions of envs."""

from __future__ import annotations

import pickle

import torch

from envkit import EnvMetaData, GymEnv, SerialEnv, StepCounter, TransformedEnv


def make():
    return TransformedEnv(SerialEnv(3, lambda: GymEnv("Pendulum-v1")), StepCounter())


def test_describes_the_env():
    env = make()
    data = EnvMetaData.from_env(env)
    assert data.specs == env.specs
    assert data.batch_size == env.batch_size
    assert (data.batch_locked, data.has_dynamic_specs, data.device) == (True, False, None)
    assert data.env_str == repr(env)
    assert set(data.tensordict.keys(True, True)) == set(env.fake_tensordict().keys(True, True))


def test_can_be_sent_elsewhere():
    data = EnvMetaData.from_env(make())
    twin = pickle.loads(pickle.dumps(data))
    assert twin.specs == data.specs
    assert bool((twin.tensordict == data.tensordict).all())


def test_sizes():
    data = EnvMetaData.from_env(make())
    wide = data.expand(2)
    assert wide.batch_size == wide.tensordict.batch_size == wide.specs.shape == torch.Size([2, 3])
    assert wide[0].specs == data.specs
    assert data[1].batch_size == torch.Size([])
    assert data[1].specs == EnvMetaData.from_env(TransformedEnv(GymEnv("Pendulum-v1"), StepCounter())).specs


def test_copies_and_devices():
    data = EnvMetaData.from_env(make())
    copy = data.clone()
    copy.tensordict["observation"].fill_(7)
    assert not (data.tensordict["observation"] == 7).any()
    assert data.tensordict.device is None
    moved = data.to("cpu")
    assert moved.device == moved.tensordict.device == moved.specs.device == torch.device("cpu")
