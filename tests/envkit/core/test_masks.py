"""Partial resets and partial steps against a reference that goes through the elements one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Compose,
    Composite,
    EnvBase,
    EnvDataError,
    GymEnv,
    InitTracker,
    NonTensor,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    Transform,
    TransformedEnv,
    Unbounded,
)

few = settings(deadline=None, max_examples=40, derandomize=True)
GARBAGE = -99.0
Path = tuple[str, ...]


# ---------------------------------------------------------------- random trees


@dataclass(frozen=True)
class Tree:
    """Nested levels: how many agents each has (() for a plain group), and which have done flags of their own."""

    dims: dict[Path, tuple[int, ...]]
    done: frozenset[Path]

    def shape(self, path: Path) -> tuple[int, ...]:
        """All dimensions of the data at a level, without the batch."""
        return tuple(itertools.chain(*(self.dims[path[:depth]] for depth in range(len(path) + 1))))


class Grove(EnvBase):
    """Counts at every level of a tree, and keeps the counts in the data.

    It ends a count that reaches a multiple of three; where it honours masks it returns garbage outside of them.
    """

    def __init__(self, tree: Tree, batch: tuple[int, ...], honours: bool = False, locked: bool = True) -> None:
        super().__init__(batch_size=batch)
        self.batch_locked = locked
        self.tree, self.honours = tree, honours
        self.seen: dict[Path, torch.Tensor] = {}
        self.observation_spec = self._spec(lambda shape: {"val": Unbounded((*shape, 2))})
        self.full_reward_spec = self._spec(lambda shape: {"reward": Unbounded((*shape, 1))})
        self.full_done_spec = self._spec(lambda shape: {"done": Binary(1, (*shape, 1), dtype=torch.bool)}, tree.done)
        self.action_spec = Bounded(-1.0, 1.0, shape=(*batch, 1))

    def _spec(self, leaves, levels=None, path: Path = ()) -> Composite:
        shape = (*self.batch_size, *self.tree.shape(path))
        inner = {p[-1]: self._spec(leaves, levels, p) for p in self.tree.dims if p[:-1] == path and p != path}
        inner = {name: spec for name, spec in inner.items() if not spec.is_empty(recurse=True)}
        here = leaves(shape) if levels is None or path in levels else {}
        return Composite({**here, **inner}, shape=shape)

    def _size(self, tensordict: TensorDictBase | None) -> tuple[int, ...]:
        return self.batch_size if self.batch_locked or tensordict is None else tensordict.batch_size

    def _out(self, size, given, values) -> TensorDictBase:
        self.seen = {}
        out = TensorDict({}, size)
        for path in self.tree.dims:
            shape = (*size, *self.tree.shape(path))
            level = TensorDict(values(path, shape), shape)
            mask = self._mask(given, path)
            if mask is not None and self.honours:
                for name, value in level.items():
                    garbage = torch.ones_like(value) if name == "done" else torch.full_like(value, GARBAGE)
                    level[name] = torch.where(mask, value, garbage)
            if path:
                out[path] = level
            else:
                out.update(level)
        return out

    def _mask(self, given, path: Path) -> torch.Tensor | None:
        masks = [] if given is None else [given.get((*path, name), None) for name in ("_reset", "_step")]
        mask = next((mask for mask in masks if mask is not None), None)
        if mask is not None:
            self.seen[path] = mask
        return mask

    def _reset(self, tensordict=None):
        return self._out(
            self._size(tensordict),
            tensordict,
            lambda path, shape: {"val": torch.zeros(*shape, 2), **self._undone(path, shape)},
        )

    def _undone(self, path, shape):
        return {"done": torch.zeros(*shape, 1, dtype=torch.bool)} if path in self.tree.done else {}

    def _step(self, tensordict):
        def values(path, shape):
            val = tensordict.get((*path, "val")) + 1
            ends = {"done": val[..., :1] % 3 == 0} if path in self.tree.done else {}
            return {"val": val, "reward": val[..., :1] * 10, **ends}

        return self._out(self._size(tensordict), tensordict, values)

    def _set_seed(self, seed):
        pass


dims = st.sampled_from([(), (2,), (3,)])


@st.composite
def trees(draw) -> Tree:
    levels: dict[Path, tuple[int, ...]] = {(): ()}
    for name in draw(st.sampled_from(["", "a", "ab"])):
        levels[(name,)] = draw(dims)
        if draw(st.booleans()):
            levels[(name, "in")] = draw(dims)
    done = draw(st.sets(st.sampled_from(sorted(levels)), min_size=1))
    return Tree(levels, frozenset(done))


def counted(env: EnvBase) -> EnvBase:
    return TransformedEnv(env, Compose(StepCounter(max_steps=4), RewardSum(), InitTracker()))


KINDS = {
    "ignores masks": lambda tree, batch: Grove(tree, batch),
    "honours masks": lambda tree, batch: Grove(tree, batch, honours=True),
    "unlocked": lambda tree, batch: Grove(tree, (), locked=False),
    "unlocked, honours masks": lambda tree, batch: Grove(tree, (), honours=True, locked=False),
    "serial": lambda tree, batch: SerialEnv(2, lambda: Grove(tree, batch)),
    "serial, honours masks": lambda tree, batch: SerialEnv(2, lambda: Grove(tree, batch, honours=True)),
    "serial of unlocked": lambda tree, batch: SerialEnv(2, lambda: Grove(tree, (), locked=False)),
    "serial of transformed": lambda tree, batch: SerialEnv(2, lambda: counted(Grove(tree, batch, honours=True))),
    "nested serial": lambda tree, batch: SerialEnv(2, lambda: SerialEnv(2, lambda: Grove(tree, batch))),
}


def started(env: EnvBase, batch: tuple[int, ...], numbers: st.DataObject) -> TensorDictBase:
    """Content that tells every element from every other, with some of the flags up."""
    td = env.reset(None if env.batch_locked else TensorDict({}, batch))
    count = itertools.count(100)
    random = np.random.default_rng(numbers.draw(st.integers(0, 100), label="flags"))
    for key in env.observation_keys:
        if key[-1] == "val" or key == "val":
            value = td[key]
            td[key] = torch.tensor([float(next(count)) for _ in range(value.numel())]).reshape(value.shape)
    for key in env.done_keys:
        td[key] = torch.from_numpy(random.random(td[key].shape) < 0.3)
    return env.rand_action(td)


def drawn_masks(data: st.DataObject, tree: Tree, size: tuple[int, ...], levels: list[Path]) -> dict[Path, np.ndarray]:
    chosen = data.draw(st.sets(st.sampled_from(sorted(levels)), min_size=1), label="levels with masks")
    masks = {}
    for path in sorted(chosen):
        shape = (*size, *tree.shape(path))
        count = int(np.prod(shape, dtype=int))
        flags = data.draw(st.lists(st.booleans(), min_size=count, max_size=count), label=str(path))
        masks[path] = np.array(flags, dtype=bool).reshape(shape)
    return masks


def with_masks(td: TensorDictBase, masks: dict[Path, np.ndarray], name: str, trailing: bool) -> TensorDictBase:
    td = td.clone()
    for path, mask in masks.items():
        tensor = torch.from_numpy(np.asarray(mask))
        td.set((*path, name), tensor.unsqueeze(-1) if trailing or not mask.shape else tensor)
    return td


# ------------------------------------------------------------------- reference


def inside(tree: Tree, size: tuple, given: dict[Path, np.ndarray], path: Path, index: tuple[int, ...]) -> bool:
    """Whether the element ``index`` of the level ``path`` takes part."""
    for depth in range(len(path) + 1):  # the mask nearest to the root has the last word
        ruler = path[:depth]
        if ruler in given:
            return bool(given[ruler][index[: len(size) + len(tree.shape(ruler))]])
    say = tree.done | set(given)
    if any(path[:depth] in say for depth in range(len(path) + 1)):
        return True  # a level without mask takes part as a whole
    below = [other for other in say if other[: len(path)] == path]
    common = len(size) + len(tree.shape(path)) if below else len(size)
    for other in below or say:
        for element in np.ndindex(*size, *tree.shape(other)):
            if element[:common] == index[:common] and inside(tree, size, given, other, element):
                return True
    return False


def assert_blended(tree, size, given, found, whole, before, env):
    """Each element of ``found`` is that of ``whole`` inside the masks, that of ``before`` outside, 0 if a reward."""
    assert set(found.keys(True, True)) == set(whole.keys(True, True))
    for key, value in whole.items(True, True):
        path = key[:-1] if isinstance(key, tuple) else ()
        assert found[key].shape == value.shape
        assert found[key].dtype == value.dtype
        for index in np.ndindex(*size, *tree.shape(path)):
            if inside(tree, size, given, path, index):
                expected = value[index]
            else:
                expected = torch.zeros_like(value[index]) if key in env.reward_keys else before[key][index]
            assert torch.equal(found[key][index], expected), (key, index)


def no_masks_in(td: TensorDictBase) -> bool:
    return not any({"_reset", "_step"} & set(key if isinstance(key, tuple) else (key,)) for key in td.keys(True))


def made(data: st.DataObject, kind: str, outside: bool) -> tuple[Tree, EnvBase, tuple[int, ...]]:
    tree = data.draw(trees(), label="tree")
    batch = data.draw(st.sampled_from([(), (1,), (3,), (2, 2)] if "nested" not in kind else [(), (2,)]), label="batch")
    env = KINDS[kind](tree, batch)
    env = counted(env) if outside else env
    return tree, env, batch if not env.batch_locked else tuple(env.batch_size)


@pytest.mark.parametrize("outside", [False, True], ids=["", "transformed"])
@pytest.mark.parametrize("kind", KINDS)
class TestAgainstTheReference:
    @settings(few, max_examples=12)
    @given(data=st.data(), trailing=st.booleans())
    def test_resets(self, kind, outside, data, trailing):
        tree, env, size = made(data, kind, outside)
        before = started(env, size, data)
        masks = drawn_masks(data, tree, size, sorted(tree.done))
        whole = env.reset(None if env.batch_locked else TensorDict({}, size))
        given = with_masks(before, masks, "_reset", trailing)
        found = env.reset(given)
        assert found is given
        assert no_masks_in(found)
        assert set(found.keys(True, True)) == set(before.keys(True, True))
        assert torch.equal(found["action"], before["action"])
        assert_blended(tree, size, masks, found.select(*whole.keys(True, True)), whole, before, env)

    @settings(few, max_examples=12)
    @given(data=st.data(), trailing=st.booleans())
    def test_steps(self, kind, outside, data, trailing):
        tree, env, size = made(data, kind, outside)
        before = started(env, size, data)
        masks = drawn_masks(data, tree, size, sorted(tree.dims))
        whole = env.step(before.clone())["next"]
        given = with_masks(before, masks, "_step", trailing)
        found = env.step(given)
        assert found is given
        assert no_masks_in(found)
        for key, value in before.items(True, True):
            assert torch.equal(found[key], value)
        assert_blended(tree, size, masks, found["next"], whole, before, env)


@few
@given(data=st.data(), name=st.sampled_from(["_reset", "_step"]))
def test_an_env_is_shown_what_its_levels_are_to_do(data, name):
    tree, env, size = made(data, "ignores masks", False)
    before = started(env, size, data)
    masks = drawn_masks(data, tree, size, sorted(tree.done))
    given = with_masks(before, masks, name, True)
    env.seen = {}
    (env.reset if name == "_reset" else env.step)(given)
    if not any(mask.any() for mask in masks.values()) and tree.done <= set(masks):
        assert env.seen == {}  # it was not asked at all
        return
    if env.seen:
        assert set(env.seen) == tree.done
    for path, mask in env.seen.items():
        assert mask.shape == (*size, *tree.shape(path), 1)
        for index in np.ndindex(*mask.shape[:-1]):
            assert mask[index].item() is inside(tree, size, masks, path, index)


@few
@given(data=st.data())
def test_loops_keep_the_rules(data, tools):
    """A rollout over many ends equals one by hand, whatever the groups."""
    kind = data.draw(st.sampled_from(sorted(set(KINDS) - {"unlocked", "unlocked, honours masks"})))
    _, env, _ = made(data, kind, data.draw(st.booleans()))
    actions = tools.draw_actions(env, 9)
    found = env.rollout(9, tools.FixedPolicy(actions), break_when_any_done=False)
    tools.assert_same(found, tools.by_hand(env, actions))


@few
@given(data=st.data())
def test_loops_until_all_is_done_keep_the_rules(data, tools):
    """What a rollout skips is what partial steps skip."""
    kind = data.draw(st.sampled_from(sorted(set(KINDS) - {"unlocked", "unlocked, honours masks"})))
    tree, env, size = made(data, kind, data.draw(st.booleans()))
    action = tools.draw_actions(env, 1)[0]
    start = started(env, size, data)
    for key in env.done_keys:
        start[key] = torch.zeros_like(start[key])
    found = env.rollout(
        6, lambda td: action, break_when_all_done=True, auto_reset=False, tensordict=start.exclude("action")
    )
    done = {path: np.zeros((*size, *tree.shape(path)), dtype=bool) for path in tree.done}
    td = start.clone()
    for t in range(found.batch_size[-1]):
        td.update(action)
        masks = {(): ~done[()]} if () in done else {path: ~flags for path, flags in done.items()}
        row = env.step(with_masks(td, masks, "_step", True))
        tools.assert_same(found[(slice(None),) * len(size) + (t,)].clone(), row)
        td = env.step_mdp(row)
        done = {path: td[(*path, "done")].squeeze(-1).numpy() for path in tree.done}
    ended = done[()].all() if () in done else all(flags.all() for flags in done.values())
    assert ended or found.batch_size[-1] == 6


# ----------------------------------------------------------------- by example


def flags(size: tuple[int, ...] = (2, 1)) -> dict:
    return {name: torch.zeros(size, dtype=torch.bool) for name in ("done", "terminated")}


class TwoValues(EnvBase):
    """A done flag for each of two values, at the root and beside each of two agents; a reset returns zeros."""

    def __init__(self, root: bool = True, nested: bool = True) -> None:
        super().__init__()
        self.names = ("agent0", "agent1") if nested else ()
        flag = Binary(1, shape=(2, 1), dtype=torch.bool)
        val = Unbounded((2,), dtype=torch.int64)
        groups = {name: Composite(val=val.clone()) for name in self.names}
        self.observation_spec = Composite(groups if nested else {"val": val})
        done = {name: Composite(done=flag.clone()) for name in self.names}
        self.full_done_spec = Composite({**done, **({"done": flag} if root else {})})
        self.action_spec = Unbounded((1,))

    def _reset(self, tensordict=None):
        zeros = {"val": torch.zeros(2, dtype=torch.int64)}
        return TensorDict({name: TensorDict(dict(zeros)) for name in self.names} or zeros)

    def _step(self, tensordict):
        out = TensorDict({"reward": torch.ones(1), "done": torch.zeros(2, 1, dtype=torch.bool)})
        for prefix in [(name,) for name in self.names] or [()]:
            out[(*prefix, "val")] = tensordict[(*prefix, "val")] + 1
            out[(*prefix, "done")] = torch.zeros(2, 1, dtype=torch.bool)
        return out

    def _set_seed(self, seed):
        pass


class TestOfThePage:
    """The page's examples, with the done flags that its snippets leave out."""

    def test_single_reset_at_the_root(self):
        env = TwoValues(nested=False)
        data = TensorDict({"val": [1, 1], "_reset": [False, True], **flags()}, [])
        env.reset(data)
        assert data.get("val").tolist() == [1, 0]  # only the second value is 0

    def test_nested_resets(self):
        env = TwoValues(root=False)
        data = TensorDict(
            {
                ("agent0", "val"): [1, 1],
                ("agent0", "_reset"): [False, True],
                ("agent1", "val"): [2, 2],
                ("agent1", "_reset"): [True, False],
                **{("agent0", name): flag for name, flag in flags().items()},
                **{("agent1", name): flag for name, flag in flags().items()},
            },
            [],
        )
        env.reset(data)
        assert data.get(("agent0", "val")).tolist() == [1, 0]  # only the second value is 0
        assert data.get(("agent1", "val")).tolist() == [0, 2]  # only the first value is 0

    def test_nested_resets_are_overridden_by_one_at_the_root(self):
        env = TwoValues()
        data = TensorDict(
            {
                "_reset": [True, True],
                ("agent0", "val"): [1, 1],
                ("agent0", "_reset"): [False, True],
                ("agent1", "val"): [2, 2],
                ("agent1", "_reset"): [True, False],
            },
            [],
        )
        env.reset(data)
        assert data.get(("agent0", "val")).tolist() == [0, 0]  # reset at the root overrides nested
        assert data.get(("agent1", "val")).tolist() == [0, 0]  # reset at the root overrides nested

    def test_a_batch_with_a_mask(self):
        env = SerialEnv(4, lambda: GymEnv("CartPole-v1", from_pixels=True, max_episode_steps=5))
        before = env.reset()
        tensordict = TensorDict({**before, "_reset": torch.tensor([[True], [False], [True], [True]])}, [4])
        found = env.reset(tensordict)  # eliminates the "_reset" entry
        assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
            "terminated": ((4, 1), torch.bool),
            "done": ((4, 1), torch.bool),
            "truncated": ((4, 1), torch.bool),
            "pixels": ((4, 400, 600, 3), torch.uint8),
        }
        assert found.batch_size == (4,)
        assert torch.equal(found["pixels"][1], before["pixels"][1])

    def test_a_mask_without_the_rest_of_the_data(self):
        env = SerialEnv(4, lambda: GymEnv("CartPole-v1"))
        env.reset()
        with pytest.raises(EnvDataError, match="partial reset: 'observation' is missing from the input"):
            env.reset(TensorDict({"_reset": torch.tensor([[True], [False], [True], [True]])}, [4]))

    def test_a_mask_at_another_level_than_the_flag(self):
        env = TwoValues(nested=False)
        env.observation_spec = Composite(val=env.observation_spec["val"].clone(), nested=Composite(x=Unbounded((2,))))
        data = TensorDict({**flags(), "val": [1, 1], "nested": {"_reset": torch.ones(2, 1, dtype=torch.bool)}}, [])
        with pytest.raises(SpecError, match=r"reset mask \('nested', '_reset'\): expected it beside a done flag"):
            env.reset(data)

    def test_what_a_reset_changes_outside_its_mask_is_lost(self):
        class Everything(TwoValues):
            def _reset(self, tensordict=None):
                return TensorDict({"val": torch.tensor([-5, -6])})

        data = TensorDict({"val": [1, 1], "_reset": [False, True], **flags()}, [])
        assert Everything(nested=False).reset(data)["val"].tolist() == [1, -6]

    def test_partial_steps(self):
        env = TwoValues(nested=False)
        data = env.reset().update({"val": torch.tensor([5, 7]), "action": torch.zeros(1)})
        data["_step"] = torch.tensor([[False], [True]])
        data["done"] = torch.tensor([[True], [False]])
        following = env.step(data)["next"]
        assert following["val"].tolist() == [5, 8]
        assert following["done"].flatten().tolist() == [True, False]
        assert "_step" not in data.keys()

    def test_a_batch_steps_those_of_its_envs_that_are_to_be_stepped(self, scripted):
        env = SerialEnv(3, scripted)
        td = env.rand_action(env.reset())
        td["_step"] = torch.tensor([True, False, True])
        following = env.step(td)["next"]
        assert [sub.steps for sub in env._envs] == [1, 0, 1]
        assert following["observation"].flatten().tolist() == [1, 0, 1]
        assert following["reward"].flatten().tolist() == [1, 0, 1]


class TestNothingIsMadeUp:
    @pytest.mark.parametrize("transformed", [False, True])
    @pytest.mark.parametrize("key", ["observation", "done", "terminated"])
    @pytest.mark.parametrize("flags", [[True, False], [False, False]])
    def test_missing_content(self, key, flags, transformed, scripted):
        env = SerialEnv(2, scripted)
        env = TransformedEnv(env, StepCounter()) if transformed else env
        td = env.rand_action(env.reset()).exclude(key)
        for name, call in (("_reset", env.reset), ("_step", env.step)):
            what = name.removeprefix("_")
            with pytest.raises(EnvDataError, match=f"partial {what}: '{key}' is missing from the input; expected its"):
                call(td.clone().set(name, torch.tensor(flags)))

    def test_missing_counts(self, scripted):
        env = TransformedEnv(SerialEnv(2, scripted), StepCounter())
        td = env.rand_action(env.reset()).exclude("step_count")
        with pytest.raises(EnvDataError, match="partial reset: 'step_count' is missing"):
            env.reset(td.clone().set("_reset", torch.tensor([True, False])))

    def test_missing_content_of_a_group(self, two_agents):
        env = two_agents()
        td = env.reset()
        td["agent0", "_reset"] = torch.tensor([False])
        td.del_(("agent0", "val"))
        with pytest.raises(EnvDataError, match=r"partial reset: \('agent0', 'val'\) is missing"):
            env.reset(td)

    def test_rewards_of_what_is_not_stepped(self, scripted):
        env = SerialEnv(2, lambda: scripted(rewards=[5.0]))
        td = env.rand_action(env.reset()).set("_step", torch.tensor([False, False]))
        assert env.step(td)["next", "reward"].flatten().tolist() == [0, 0]

    @pytest.mark.parametrize("name", ["_reset", "_step"])
    def test_masks_without_effect_disturb_no_one(self, name, scripted):
        env = SerialEnv(2, scripted)
        td = env.rand_action(env.reset())
        before = td.clone()
        (env.reset if name == "_reset" else env.step)(td.set(name, torch.zeros(2, 1, dtype=torch.bool)))
        assert [(sub.steps, sub.resets) for sub in env._envs] == [(0, 1)] * 2
        assert bool((td.exclude("next") == before).all())

    def test_entries_without_a_spec(self):
        class Chatty(TwoValues):
            def _reset(self, tensordict=None):
                return super()._reset(tensordict).set("note", torch.ones(2))

            def _step(self, tensordict):
                return super()._step(tensordict).update({"note": torch.ones(2), "done": tensordict["val"] >= 2})

        env = Chatty(nested=False)
        data = env.rollout(6, break_when_any_done=False)
        assert data["val"][:, 0].tolist() == [0, 1, 2, 0, 1, 2]
        td = env.reset().exclude("note").set("_reset", torch.tensor([True, False]))
        assert "note" not in env.reset(td).keys()
        td = env.reset().set("_reset", torch.tensor([True, False])).set("note", torch.zeros(2))
        assert env.reset(td)["note"].tolist() == [1, 0]


class TestWrongMasks:
    @pytest.mark.parametrize("name", ["_reset", "_step"])
    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (torch.ones(3, 1, dtype=torch.bool), r"expected a boolean of shape \[2, 1\], found torch.bool \[3, 1\]"),
            (torch.ones(2, 1), r"expected a boolean of shape \[2, 1\], found torch.float32 \[2, 1\]"),
            (torch.ones(2, 2, dtype=torch.bool), r"expected a boolean of shape \[2, 1\], found torch.bool \[2, 2\]"),
        ],
    )
    def test_of_the_wrong_form(self, name, mask, message, scripted):
        env = SerialEnv(2, scripted)
        td = env.rand_action(env.reset())
        if mask.shape[0] != 2:
            td = TensorDict(dict(td.items()))
            td.batch_size = []
            td[name] = mask
            with pytest.raises((SpecError, EnvDataError)):
                (env.reset if name == "_reset" else env.step)(td)
            return
        with pytest.raises(SpecError, match=f"{name[1:]} mask '{name}': {message}"):
            (env.reset if name == "_reset" else env.step)(td.set(name, mask))

    def test_a_step_mask_at_no_level(self, scripted):
        env = scripted()
        td = env.rand_action(env.reset()).set("elsewhere", TensorDict({"_step": torch.ones(1, dtype=torch.bool)}))
        # What is in no spec is the caller's own business.
        assert env.step(td)["next", "observation"].item() == 1

    def test_a_step_mask_where_nothing_ends(self):
        """A step mask, other than one for a reset, may stand at any level of the specs."""
        env = TwoValues(nested=False)
        env.observation_spec = Composite(val=env.observation_spec["val"].clone(), deep=Composite(x=Unbounded((2,))))
        env._step = lambda td: TensorDict(
            {
                "val": td["val"] + 1,
                "deep": {"x": td["deep", "x"] + 1},
                "reward": torch.ones(1),
                "done": torch.zeros(2) > 0,
            }
        )
        env._reset = lambda td=None: TensorDict({"val": torch.zeros(2).long(), "deep": {"x": torch.zeros(2)}})
        td = env.rand_action(env.reset()).set(("deep", "_step"), torch.tensor([False]))
        following = env.step(td)["next"]
        assert following["val"].tolist() == [1, 1]
        assert following["deep", "x"].tolist() == [0, 0]


class TestTransformsSeeNoMasks:
    def test_in_resets_and_steps(self, scripted):
        seen = []

        class Spy(Transform):
            def _step(self, tensordict, next_tensordict):
                seen.extend([*tensordict.keys(True), *next_tensordict.keys(True)])
                return next_tensordict

            def _reset(self, tensordict, tensordict_reset):
                seen.extend([*(tensordict.keys(True) if tensordict is not None else ()), *tensordict_reset.keys(True)])
                return tensordict_reset

            def _inv_call(self, tensordict):
                seen.extend(tensordict.keys(True))
                return tensordict

            invertible = True

        env = TransformedEnv(SerialEnv(2, scripted), Compose(Spy(), StepCounter(), Spy()))
        td = env.rand_action(env.reset())
        td = env.step_mdp(env.step(td.set("_step", torch.tensor([True, False]))))
        env.reset(td.set("_reset", torch.tensor([True, False])))
        assert {"observation", "done"} <= set(seen)
        assert not {"_reset", "_step"} & set(seen)

    def test_what_they_hide_needs_not_be_given(self, scripted):
        """An entry that a transform takes away is not asked for outside the masks."""

        class Hide(Transform):
            def _call(self, next_tensordict):
                return next_tensordict.exclude("observation")

            def transform_observation_spec(self, observation_spec):
                return Composite(
                    {key: leaf for key, leaf in observation_spec.items() if key != "observation"},
                    shape=observation_spec.shape,
                )

        lengths = (2, 4)
        env = SerialEnv(2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in lengths])
        env = TransformedEnv(env, Compose(StepCounter(), Hide()))
        data = env.rollout(10, break_when_all_done=True)
        assert "observation" not in data.keys()
        assert data["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 2, 2], [1, 2, 3, 4]]
        data = env.rollout(5, break_when_any_done=False)
        assert data["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 1, 2, 1], [1, 2, 3, 4, 1]]


class TestOtherData:
    def test_sentences(self):
        class Words(EnvBase):
            def __init__(self):
                super().__init__(batch_size=(2,))
                self.observation_spec = Composite(text=NonTensor((2,)), shape=(2,))
                self.action_spec = Categorical(2, shape=(2,))

            def _reset(self, tensordict=None):
                return TensorDict({"text": ["start", "start"]}, [2])

            def _step(self, tensordict):
                words = [f"{word}!" for word in tensordict.get("text").tolist()]
                return TensorDict({"text": words, "reward": torch.ones(2, 1), "done": torch.zeros(2, 1) > 0}, [2])

        env = Words()
        td = env.rand_action(env.reset())
        following = env.step(td.set("_step", torch.tensor([True, False])))["next"]
        assert following.get("text").tolist() == ["start!", "start"]
        td = env.step_mdp(env.step(env.rand_action(env.reset())))
        assert env.reset(td.set("_reset", torch.tensor([False, True]))).get("text").tolist() == ["start!", "start"]

    def test_sizes_that_change(self):
        class Growing(EnvBase):
            def __init__(self):
                super().__init__(batch_size=(2,))
                self.observation_spec = Composite(x=Unbounded((2, -1)), shape=(2,))
                self.action_spec = Categorical(2, shape=(2,))

            def _reset(self, tensordict=None):
                return TensorDict({"x": torch.zeros(2, 1)}, [2])

            def _step(self, tensordict):
                x = torch.ones(2, tensordict["x"].shape[1] + 1)
                return TensorDict({"x": x, "reward": torch.ones(2, 1), "done": torch.zeros(2, 1) > 0}, [2])

        env = Growing()
        td = env.rand_action(env.reset())
        none, both = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
        assert env.step(td.copy().set("_step", both))["next", "x"].shape == (2, 2)
        assert env.step(td.copy().set("_step", none))["next", "x"].shape == (2, 1)
        with pytest.raises(EnvDataError, match="found data whose size has changed"):
            env.step(td.copy().set("_step", torch.tensor([True, False])))
        td = env.step_mdp(env.step(td))
        with pytest.raises(EnvDataError, match="found data whose size has changed"):
            env.reset(td.set("_reset", torch.tensor([True, False])))
