from __future__ import annotations

import functools
import hashlib

import pytest
import torch
from tensordict import TensorDict

from envkit import Bounded, GymEnv, Hash, TransformedEnv

pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


def test_promises(kit):
    kit.all(pendulum, lambda: Hash("observation", "hash"))


def test_is_the_digest_of_each_element():
    values = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]])
    found = Hash("x", "hash")(TensorDict({"x": values}, [3]))["hash"]
    expected = [list(hashlib.sha256(value.numpy().tobytes()).digest()) for value in values]
    assert found.tolist() == expected
    whole = Hash("x", "hash")(TensorDict({"x": values}))["hash"]
    assert whole.shape == (32,)


def test_seed_and_function():
    td = TensorDict({"x": torch.ones(2)})
    found = [Hash("x", "hash", seed=seed)(td.clone())["hash"].tolist() for seed in (None, 0, 1, 1)]
    assert found[2] == found[3]
    assert len(set(map(tuple, found))) == 3
    assert Hash("x", "hash", hash_fn=lambda data: bytes(32))(td)["hash"].tolist() == [0] * 32


def test_spec():
    env = TransformedEnv(pendulum(), Hash("observation", "hash"))
    assert env.observation_spec["hash"] == Bounded(0, 255, (32,), dtype=torch.uint8)


def test_actions_by_their_hash():
    hashes = Hash([], [], "action", "code", repertoire={})
    codes = hashes.hash(torch.tensor([[-1.0], [0.5]]), batch_dims=1)
    env = TransformedEnv(pendulum(), hashes)
    assert env.action_keys == ["code"]
    assert env.transform.inv(TensorDict({"code": codes[1]}))["action"].tolist() == [0.5]
    td = env.step(env.reset().set("code", codes[0]))
    assert td["next", "reward"].isfinite()
    with pytest.raises(KeyError, match=r"Hash: expected hashes of the repertoire, found 0000"):
        env.transform.inv(TensorDict({"code": torch.zeros(32, dtype=torch.uint8)}))


def test_no_repertoire():
    with pytest.raises(ValueError, match=r"Hash: expected a repertoire to find \['action'\] in, found none"):
        Hash([], [], "action")
