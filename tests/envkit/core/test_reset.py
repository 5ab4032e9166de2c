"""Partial resets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import Binary, Composite, EnvBase, GymEnv, RewardSum, SerialEnv, StepCounter, TransformedEnv, Unbounded
from envkit.errors import EnvDataError, SpecError

few = settings(deadline=None, max_examples=40, derandomize=True)


class Values(EnvBase):
    """A root done flag for each of two values; every reset returns zeros."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(val=Unbounded((2,), dtype=torch.int64))
        self.action_spec = Unbounded((1,))
        self.full_done_spec = Composite(done=Binary(1, shape=(2, 1), dtype=torch.bool))

    def _reset(self, tensordict=None):
        return TensorDict({"val": torch.zeros(2, dtype=torch.int64)})

    def _step(self, tensordict):
        return TensorDict({"val": tensordict["val"] + 1, "reward": torch.zeros(1), "done": torch.zeros(2, 1) > 0})

    def _set_seed(self, seed):
        self.seed = seed


class Nested(Values):
    """The same for each of two agents, under a root flag."""

    def __init__(self):
        super().__init__()
        names = ("agent0", "agent1")
        self.observation_spec = Composite({n: Composite(val=Unbounded((2,), dtype=torch.int64)) for n in names})
        flag = Binary(1, shape=(2, 1), dtype=torch.bool)
        groups = {name: Composite(done=flag.clone()) for name in names}
        self.full_done_spec = Composite({**groups, "done": flag})

    def _reset(self, tensordict=None):
        return TensorDict({n: TensorDict({"val": torch.zeros(2, dtype=torch.int64)}) for n in ("agent0", "agent1")})


def flags(*prefix: str) -> dict:
    return {(*prefix, name): torch.zeros(2, 1, dtype=torch.bool) for name in ("done", "terminated")}


def nested_data(**root: object) -> TensorDict:
    return TensorDict(
        {
            **flags(),
            **flags("agent0"),
            **flags("agent1"),
            ("agent0", "val"): [1, 1],
            ("agent0", "_reset"): [False, True],
            ("agent1", "val"): [2, 2],
            ("agent1", "_reset"): [True, False],
            **root,
        },
        [],
    )


def test_single_mask_at_the_root():
    data = TensorDict({"val": [1, 1], "_reset": [False, True], **flags()}, [])
    assert Values().reset(data) is data
    assert data.get("val").tolist() == [1, 0]
    assert "_reset" not in data.keys()


def test_nested_masks():
    class NoRoot(Nested):
        def __init__(self):
            super().__init__()
            self.full_done_spec = Composite({n: self.done_spec[n].clone() for n in ("agent0", "agent1")})

    data = nested_data().exclude("done", "terminated")
    NoRoot().reset(data)
    assert data.get(("agent0", "val")).tolist() == [1, 0]
    assert data.get(("agent1", "val")).tolist() == [0, 2]
    assert not [key for key in data.keys(True, True) if key[-1] == "_reset"]


def test_a_mask_at_the_root_overrides_nested_ones():
    data = nested_data(_reset=torch.tensor([True, True]))
    Nested().reset(data)
    assert data.get(("agent0", "val")).tolist() == [0, 0]
    assert data.get(("agent1", "val")).tolist() == [0, 0]
    data = nested_data(_reset=torch.tensor([True, False]))
    Nested().reset(data)
    assert data.get(("agent0", "val")).tolist() == [0, 1]
    assert data.get(("agent1", "val")).tolist() == [0, 2]


def test_a_level_without_mask_is_reset_as_a_whole():
    data = nested_data()
    data.del_(("agent1", "_reset"))
    Nested().reset(data)
    assert data.get(("agent0", "val")).tolist() == [1, 0]
    assert data.get(("agent1", "val")).tolist() == [0, 0]


def test_masks_that_are_all_false_reset_nothing(scripted):
    env = scripted()
    td = env.reset().set("_reset", torch.zeros(1, dtype=torch.bool)).set("observation", torch.ones(1))
    assert env.reset(td)["observation"].item() == 1.0
    assert env.resets == 1
    assert "_reset" not in td.keys()


def test_missing_content_outside_the_mask():
    data = TensorDict({"_reset": [False, True], **flags()}, [])
    with pytest.raises(EnvDataError, match="partial reset: 'val' is missing from the input"):
        Values().reset(data)


def test_missing_content_inside_the_mask_is_no_matter():
    data = TensorDict({"_reset": [True, True]}, [])
    assert Values().reset(data)["val"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            {("nested", "_reset"): torch.ones(2, 1, dtype=torch.bool)},
            r"\('nested', '_reset'\).*beside a done flag.*'_reset'",
        ),
        (
            {"_reset": torch.ones(3, 1, dtype=torch.bool)},
            r"'_reset': expected a boolean of shape \[2, 1\], found.*\[3, 1\]",
        ),
        ({"_reset": torch.ones(2, 1)}, r"'_reset': expected a boolean.*torch.float32"),
    ],
)
def test_wrong_masks(mask, message):
    data = TensorDict({"val": [1, 1], **flags(), **mask}, [])
    with pytest.raises(SpecError, match=message):
        Values().reset(data)


def test_done_after_reset_is_refused_inside_the_mask_only():
    class StartsDone(Values):
        def _reset(self, tensordict=None):
            done = torch.tensor([[True], [False]])
            return super()._reset(tensordict).set("done", done)

    with pytest.raises(EnvDataError, match="'done' is True right after a reset of StartsDone"):
        StartsDone().reset()
    data = TensorDict({"val": [1, 1], "_reset": [False, True], **flags()}, [])
    assert StartsDone().reset(data)["done"].flatten().tolist() == [False, False]


def test_masks_reach_the_env():
    seen = []

    class Looking(Values):
        def _reset(self, tensordict=None):
            seen.append(None if tensordict is None else tensordict["_reset"].flatten().tolist())
            return super()._reset(tensordict)

    env = Looking()
    env.reset()
    env.reset(TensorDict({"val": [1, 1], "_reset": [False, True], **flags()}, []))
    assert seen == [None, [False, True]]


def test_masks_returned_by_an_env_are_erased():
    class Echo(Values):
        def _reset(self, tensordict=None):
            return super()._reset(tensordict) if tensordict is None else tensordict.copy()

    data = TensorDict({"val": [1, 1], "_reset": [True, True], **flags()}, [])
    assert "_reset" not in Echo().reset(data).keys()


def test_reset_updates_what_it_is_given():
    env = GymEnv("CartPole-v1")
    td = TensorDict({"mine": torch.ones(1)})
    assert env.reset(td) is td
    assert set(td.keys()) == {"mine", "observation", "done", "terminated", "truncated"}


def test_batch_reset_with_a_mask_as_the_pages_show_it():
    env = SerialEnv(4, lambda: GymEnv("CartPole-v1"))
    env.set_seed(0)
    td = env.reset()
    before = td.clone()
    td["_reset"] = torch.tensor([[True], [False], [True], [True]])
    out = env.reset(td)
    assert set(out.keys()) == {"observation", "done", "terminated", "truncated"}
    changed = (out["observation"] != before["observation"]).any(-1)
    assert changed.tolist() == [True, False, True, True]


def _advanced(env: EnvBase) -> TensorDict:
    env.set_seed(1)
    td = env.reset()
    for _ in range(3):
        td = env.step_mdp(env.step(env.rand_action(td)))
    return td


@few
@given(mask=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_partial_reset_resets_exactly_its_mask(mask):
    env = SerialEnv(4, lambda: GymEnv("Pendulum-v1"))
    td = _advanced(env)
    before = td.clone()
    states = [sub._env.unwrapped.state.copy() for sub in env._envs]
    td["_reset"] = torch.tensor(mask).reshape(4, 1)
    after = env.reset(td)
    for i, reset in enumerate(mask):
        same = np.array_equal(env._envs[i]._env.unwrapped.state, states[i])
        assert same is not reset
        assert torch.equal(after["observation"][i], before["observation"][i]) is not reset
    assert not after["done"].any()
    # The batch goes on as if its envs had been reset one by one.
    data = env.step(env.rand_action(after))
    assert torch.isfinite(data["next", "observation"]).all()


@few
@given(mask=st.lists(st.booleans(), min_size=3, max_size=3), outside=st.booleans())
def test_partial_resets_under_transforms(mask, outside):
    def counted(env: EnvBase) -> EnvBase:
        return TransformedEnv(env, StepCounter()).append_transform(RewardSum())

    def pendulum() -> EnvBase:
        return GymEnv("Pendulum-v1")

    env = counted(SerialEnv(3, pendulum)) if outside else SerialEnv(3, lambda: counted(pendulum()))
    td = _advanced(env)
    before = td.clone()
    td["_reset"] = torch.tensor(mask).reshape(3, 1)
    after = env.reset(td)
    for i, reset in enumerate(mask):
        assert after["step_count"][i].item() == (0 if reset else 3)
        assert after["episode_reward"][i].item() == (0.0 if reset else before["episode_reward"][i].item())
        assert torch.equal(after["observation"][i], before["observation"][i]) is not reset
    following = env.step(env.rand_action(after))["next"]
    assert following["step_count"].flatten().tolist() == [1 if reset else 4 for reset in mask]


@pytest.mark.parametrize("name", ["bare", "masks", "plan", "given", "kind"])
def test_arguments_of_any_name_reach_the_author(name):
    class Asked(Values):
        def _reset(self, tensordict=None, **kwargs):
            self.asked = kwargs
            return super()._reset(tensordict)

    env = Asked()
    assert "done" in env.reset(**{name: 3}).keys()
    assert env.asked == {name: 3}
