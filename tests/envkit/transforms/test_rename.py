from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Compose,
    Composite,
    GymEnv,
    InitTracker,
    RenameTransform,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
)


@pytest.mark.parametrize(
    "keys",
    [
        (["position"], ["place"]),
        (["position", "reward"], [("deep", "place"), "gain"]),
        (["position", "reward"], ["place", "gain"], ["action"], ["push"]),
        ([("nested", "clock")], ["clock"], ["action"], [("deep", "push")]),
    ],
)
@pytest.mark.parametrize("create_copy", [False, True])
def test_promises(kit, walk, keys, create_copy):
    """The env reads its observations from the data: they have their old names where it looks for them."""
    kit.all(walk, lambda: RenameTransform(*keys, create_copy=create_copy))


def test_on_rows(kit):
    make = lambda: GymEnv("CartPole-v1", max_episode_steps=9)
    transform = lambda: RenameTransform(["observation", "reward"], ["seen", "gain"], ["action"], ["push"])
    kit.all(make, transform)
    env = TransformedEnv(make(), transform())
    assert kit.on_rows(env)
    assert (env.action_key, env.reward_key, env.observation_keys) == ("push", "gain", ["seen"])


def test_swapped(kit):
    make = lambda: GymEnv("Pendulum-v1", max_episode_steps=5)
    chain = lambda: Compose(
        StepCounter(), InitTracker(), RenameTransform(["observation", "is_init"], ["is_init", "observation"])
    )
    kit.ports_agree(make, chain)
    assert TransformedEnv(make(), chain()).rollout(2)["observation"].flatten().tolist() == [True, False]


def test_of_a_stateless_env(kit, walk):
    class Stateless(walk):
        def __init__(self):
            super().__init__()
            self.state_spec = Composite(position=Unbounded((2,)))

    kit.all(Stateless, lambda: RenameTransform(["position"], ["place"]))
    assert TransformedEnv(Stateless(), RenameTransform(["position"], ["place"])).state_keys == ["place"]


def test_flags(scripted):
    env = TransformedEnv(scripted(terminated=[False, True]), RenameTransform(["terminated"], ["dead"]))
    data = env.rollout(3)
    assert data["next", "dead"].flatten().tolist() == [False, True]


def test_copies_are_both_shown():
    env = TransformedEnv(GymEnv("CartPole-v1"), RenameTransform(["observation"], ["again"], create_copy=True))
    data = env.rollout(3)
    assert torch.equal(data["again"], data["observation"])
    assert env.observation_spec["again"] == env.observation_spec["observation"]


def test_before_other_transforms():
    env = TransformedEnv(
        SerialEnv(2, lambda: GymEnv("CartPole-v1")), Compose(RenameTransform(["reward"], ["gain"]), RewardSum(["gain"]))
    )
    assert "episode_gain" in env.rollout(2).keys()


def test_round_trip_outside_of_envs():
    transform = RenameTransform(["a", "b"], ["b", ("deep", "a")])
    td = TensorDict({"a": torch.ones(2), "b": torch.zeros(3), "next": {"a": torch.ones(2), "b": torch.ones(3)}})
    out = transform(td.clone())
    assert set(out.keys(True, True)) == {"b", ("deep", "a"), ("next", "b"), ("next", "deep", "a")}
    back = transform.inv(out.exclude("next"))
    assert torch.equal(back["a"], td["a"])
    assert torch.equal(back["b"], td["b"])


def test_refused(walk):
    with pytest.raises(SpecError, match="RenameTransform: unknown key 'oops' in in_keys"):
        TransformedEnv(walk(), RenameTransform(["oops"], ["x"]))
    with pytest.raises(SpecError, match="RenameTransform: unknown key 'position' in in_keys_inv"):
        TransformedEnv(walk(), RenameTransform([], [], ["position"], ["x"]))
    with pytest.raises(SpecError, match=r"expected no entry \('nested', 'clock'\).*to call 'position' so"):
        TransformedEnv(walk(), RenameTransform(["position"], [("nested", "clock")]))
    with pytest.raises(ValueError, match="RenameTransform: out_keys: expected each name once"):
        RenameTransform(["a", "b"], ["x", "x"])


def test_nothing_leaves_the_flags_it_is_reset_with(walk, two_agents):
    with pytest.raises(
        SpecError, match=r"expected \('group', 'done'\) beside or below the done flags of 'done', at \(\)"
    ):
        TransformedEnv(walk(), RenameTransform(["done"], [("group", "done")]))
    with pytest.raises(SpecError, match=r"expected 'val' beside or below .* at \('agent0',\), found those of \(\)"):
        TransformedEnv(two_agents(), RenameTransform([("agent0", "val")], ["val"]))
    with pytest.raises(SpecError, match=r"found those of \('agent1',\)"):
        TransformedEnv(two_agents(), RenameTransform([("agent0", "val")], [("agent1", "again")]))
