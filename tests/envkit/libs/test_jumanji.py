from __future__ import annotations

import copy
import functools
import sys
from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    ActionMask,
    Binary,
    Bounded,
    Categorical,
    MissingDependencyError,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    PixelRenderTransform,
    TransformedEnv,
    UnknownEnvError,
    UnsupportedSpaceError,
)
from envkit.libs.jax_arrays import import_with_jax
from envkit.libs.jumanji import JumanjiEnv, JumanjiWrapper
from envkit.testing import env_checks

if find_spec("jumanji") is None:
    pytest.skip("jumanji is not installed", allow_module_level=True)
jumanji = import_with_jax("jumanji", "Jumanji")
wrappers = import_with_jax("jumanji.wrappers", "Jumanji")
types = import_with_jax("jumanji.types", "Jumanji")
jax = import_with_jax("jax", "Jumanji")
jnp = jax.numpy

pytestmark = pytest.mark.jax

SEED = 7
# One number as an action; several for several agents, each with a reward; one with a mask.
TASKS = {
    "Snake-v1": {"num_rows": 4, "num_cols": 4, "time_limit": 25},
    "LevelBasedForaging-v0": {"time_limit": 20},
    "TSP-v1": {},
}


class Count(jumanji.Environment):
    """Counts to three unless told not to, which it may be five times; then it is truncated, undiscounted."""

    def reset(self, key):
        return {"key": key, "count": jnp.zeros((), int), "age": jnp.zeros((), int)}, types.restart(jnp.zeros(2))

    def step(self, state, action):
        more = action.ravel()[0]
        state = {**state, "count": state["count"] + more, "age": state["age"] + 1}
        seen, reward = jnp.array([state["count"], state["age"]], float), more * 1.0
        over, late = state["count"] >= 3, state["age"] >= 5
        step = jax.tree.map(
            lambda end, stop, go: jnp.where(over, end, jnp.where(late, stop, go)),
            types.termination(reward, seen),
            types.truncation(reward, seen),
            types.transition(reward, seen),
        )
        return state, step

    def render(self, state):
        plt.figure("count", figsize=(0.5, 0.5)).clear()
        plt.bar(0, int(state["count"]) + 1)
        plt.ylim(0, 4)

    observation_spec = jumanji.specs.Array((2,), float)
    action_spec = jumanji.specs.MultiDiscreteArray(jnp.array([2, 3]))


class CountOne(Count):
    action_spec = jumanji.specs.DiscreteArray(2)

    def render(self, state):
        return np.full((4, 5, 4), 10 * int(state["age"]), np.uint8)


class KeepsKey(wrappers.Wrapper):
    """Shows the key of each episode in its state."""

    def reset(self, key):
        state, timestep = super().reset(key)
        return {"inner": state, "start": key}, timestep

    def step(self, state, action):
        inner, timestep = super().step(state["inner"], action)
        return {"inner": inner, "start": state["start"]}, timestep

    def render(self, state):
        return super().render(state["inner"])


@functools.cache
def prototype(name, size, **kwargs):
    own = {"count": Count, "count-one": CountOne}
    simulator = own[name]() if name in own else jumanji.make(name, **TASKS[name])
    return JumanjiWrapper(KeepsKey(simulator), batch_size=size, **kwargs)


def fresh(name="Snake-v1", size=(3,), **kwargs):
    """An env that need not be compiled again."""
    return copy.deepcopy(prototype(name, size, **kwargs))


def entries(tree):
    """Leaves by their keys, as they stand in the data."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.asarray(leaf)
        names = [getattr(part, "name", getattr(part, "key", getattr(part, "idx", None))) for part in path]
        yield tuple(map(str, names)), leaf.view(np.int32) if leaf.dtype == np.uint32 else leaf


def raw_loop(simulator, actions, starts, size):
    """What there is before and after each step, in Jumanji's words; ``starts`` has the keys of its episode."""
    every = jax.vmap if size else lambda function: function
    reset, step = jax.jit(every(simulator.reset)), jax.jit(every(simulator.step))
    merge = jax.jit(every(lambda over, new, old: jax.tree.map(lambda a, b: jnp.where(over, a, b), new, old)))
    now, rows = reset(starts[0]), ([], [])
    for row, action in enumerate(actions):
        following = step(now[0], action)
        for seen, (state, timestep) in zip(rows, (now, following), strict=True):
            told = {"reward": timestep.reward, "done": timestep.last()}
            seen.append(dict(entries({"state": state, **timestep.observation._asdict(), **told})))
        now, done = following, following[1].last()
        if done.any() and row + 1 < len(actions):
            now = merge(done, reset(starts[row + 1]), following)
    return [{key: np.stack([one[key] for one in seen]) for key in seen[0]} for seen in rows]


class TestValues:
    @pytest.mark.parametrize(
        ("name", "size"), [("Snake-v1", (3,)), ("Snake-v1", ()), ("LevelBasedForaging-v0", (2,)), ("TSP-v1", (2,))]
    )
    def test_are_those_of_the_raw_loop(self, name, size, tools):
        steps, env = 1000, fresh(name, size)
        env.set_seed(SEED)
        actions = tools.draw_actions(env, steps)
        data = env.rollout(steps, tools.FixedPolicy(actions), break_when_any_done=False)
        rows_first = data if not size else data.transpose(0, 1)
        starts = rows_first["state", "start"].contiguous().numpy().view(np.uint32)
        numbers = [action["action"].numpy().astype(np.int32) for action in actions]
        before, after = raw_loop(env._program.simulator, numbers, starts, size)
        assert data["next", "done"].sum() > 20
        told = {key: after.pop(key) for key in (("reward",), ("done",))}
        for found, seen in ((rows_first, before), (rows_first["next"], after)):
            for key, expected in seen.items():
                if key not in told:
                    np.testing.assert_array_equal(found[key].numpy(), expected, err_msg=str(key))
        for key, expected in told.items():
            found = rows_first["next"][key].numpy()
            np.testing.assert_array_equal(found, expected.reshape(found.shape))

    def test_of_both_ports_are_the_same(self, tools):
        env, other = fresh(), fresh()
        actions = tools.draw_actions(env, 60)
        for each in (env, other):
            each.set_seed(SEED)
        rows = env.rollout(60, tools.FixedPolicy(actions), break_when_any_done=False)
        assert rows["next", "done"].any()
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_tell_terminations_from_truncations(self):
        env = fresh("count", (2,))
        counts = torch.tensor([[1, 0], [0, 2]])
        flags = env.rollout(10, lambda td: td.set("action", counts), break_when_any_done=False)["next"]
        assert flags["terminated"].squeeze(-1).tolist() == [3 * [False, False, True] + [False], 10 * [False]]
        assert flags["truncated"].squeeze(-1).tolist() == [10 * [False], 2 * [False, False, False, False, True]]
        assert torch.equal(flags["done"], flags["terminated"] | flags["truncated"])
        assert flags["observation"][0, :4].tolist() == [[1, 1], [2, 2], [3, 3], [1, 1]]

    def test_of_several_agents_have_a_reward_each(self):
        data = fresh("LevelBasedForaging-v0", (2,)).rollout(100, break_when_any_done=False)
        assert data["next", "reward"].shape == (2, 100, 2)
        assert data["next", "done"].shape == (2, 100, 1)
        assert data["action"].shape == (2, 100, 2)

    def test_uncompiled_are_those_of_compiled(self, tools):
        actions = tools.draw_actions(fresh("count"), 8)
        envs = fresh("count"), fresh("count", jit=False)
        for env in envs:
            env.set_seed(SEED)
        tools.assert_same(*(tools.by_hand(env, actions) for env in envs))


class TestState:
    def test_from_the_middle_steps_to_the_same(self, tools):
        env = fresh()
        data = env.rollout(60, break_when_any_done=False)
        stored = data[:, 40].select("state", "action").clone()
        fresh().rollout(7)
        tools.assert_same(env.step(stored)["next"], data[:, 40]["next"].contiguous())

    @pytest.mark.parametrize("size", [(4,), (2, 3), ()])
    def test_of_any_number_of_elements(self, size):
        env = fresh("count", ())
        start = env.reset(TensorDict(batch_size=size))
        assert start["state", "inner", "count"].shape == size
        data = env.rollout(4, tensordict=start, auto_reset=False, break_when_any_done=False)
        assert data["next", "observation"].shape == (*size, 4, 2)

    def test_is_reset_in_parts(self):
        env = fresh()
        data = env.rollout(1)[:, -1]["next"].clone().exclude("reward")
        out = env.reset(data.clone().set("_reset", torch.tensor([[False], [True], [False]])))
        changed = (out["state", "start"] != data["state", "start"]).any(-1)
        assert changed.tolist() == [False, True, False]
        assert out["step_count"].tolist() == [1, 0, 1]
        assert torch.equal(out["grid"][::2], data["grid"][::2])


class TestSpecs:
    def test_of_observations_are_the_declared_fields(self):
        spec = fresh().observation_spec_unbatched
        assert isinstance(spec["grid"], Bounded)
        assert isinstance(spec["action_mask"], Binary)
        assert spec["grid"].shape == (4, 4, 5)
        assert spec["action_mask"].dtype is torch.bool
        assert spec["state", "inner", "key"].dtype is torch.int32

    def test_of_actions_are_numbers_or_one_hot(self):
        kinds = {("count-one", True): Categorical, ("count-one", False): OneHot}
        kinds |= {("count", True): MultiCategorical, ("count", False): MultiOneHot}
        for (name, categorical), kind in kinds.items():
            env = fresh(name, categorical_action_encoding=categorical)
            assert type(env.action_spec) is kind
            assert env.full_action_spec_unbatched["action"].cardinality() == {"count-one": 2, "count": 6}[name]

    @pytest.mark.parametrize("name", ["count-one", "count"])
    def test_of_one_hot_actions_do_what_numbers_do(self, name, tools):
        numbers, vectors = fresh(name), fresh(name, categorical_action_encoding=False)
        actions = tools.draw_actions(numbers, 30)
        hot = [TensorDict({"action": numbers.action_spec.to_one_hot(one["action"])}, 3) for one in actions]
        for env in (numbers, vectors):
            env.set_seed(SEED)
        expected = tools.by_hand(numbers, actions).exclude("action")
        tools.assert_same(tools.by_hand(vectors, hot).exclude("action"), expected)

    def test_of_masked_actions_allow_random_ones(self):
        env = TransformedEnv(fresh("TSP-v1", (2,)), ActionMask())
        data = env.rollout(19, break_when_any_done=False)
        assert data["action_mask"].gather(-1, data["action"].unsqueeze(-1)).all()
        assert not data["next", "done"].any()  # an action that is not allowed ends the episode

    def test_of_nested_actions_are_refused(self):
        class Nested(Count):
            action_spec = jumanji.specs.Spec(dict, "action", left=Count.action_spec)

        with pytest.raises(UnsupportedSpaceError, match="action: expected an array, found"):
            JumanjiWrapper(Nested())


def test_seeds_make_the_same_data(tools):
    env, runs = fresh(), []
    for seed in (SEED, SEED, SEED + 1):
        env.set_seed(seed)
        runs.append(env.rollout(30, break_when_any_done=False))
    tools.assert_same(runs[1], runs[0])
    assert not torch.equal(runs[2]["state", "start"], runs[0]["state", "start"])


@env_checks(lambda: fresh())
def test_conforms_in_batches(check):
    check()


@env_checks(lambda: fresh("count", ()))
def test_conforms_alone(check):
    check()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:scatter inputs:FutureWarning")  # of JAX, to Jumanji's BinPack
@pytest.mark.parametrize("name", [name for name in JumanjiEnv.available_envs if "Sokoban" not in name])  # a download
def test_every_env_runs(name):
    env = JumanjiEnv(name, batch_size=[2])
    data = env.rollout(30, break_when_any_done=False)
    assert data["next", "reward"].isfinite().all()


class TestPixels:
    @pytest.mark.parametrize("name", ["count", "count-one"])  # drawn by Matplotlib; an array
    def test_are_the_frames_of_the_state(self, name):
        env = fresh(name, (), from_pixels=True)
        assert set(env.observation_spec.keys()) == {"pixels", "state"}
        data = env.rollout(4, lambda td: td.set("action", torch.ones(td.batch_size + env.action_spec.shape).long()))
        assert data["pixels"].dtype is torch.uint8
        assert data["pixels"].shape == (3, *((50, 50, 3) if name == "count" else (4, 5, 3)))
        assert (data["pixels"][0] != data["next", "pixels"][0]).any()
        assert torch.equal(data["pixels"][1:], data["next", "pixels"][:-1])
        np.testing.assert_array_equal(env.render(data[1]), data["pixels"][1].numpy())

    def test_may_stand_beside_the_rest(self):
        env = fresh("count", (2,), from_pixels=True, pixels_only=False)
        start = env.reset()
        assert {"observation", "pixels"} <= set(start.keys())
        assert start["pixels"].shape == (2, 50, 50, 3)
        assert env.observation_spec["pixels"].is_in(start["pixels"])

    def test_of_a_transform_are_those_of_the_env(self):
        env = TransformedEnv(fresh(), PixelRenderTransform(pass_tensordict=True))
        data = env.rollout(1)
        np.testing.assert_array_equal(data["pixels"][:, 0].numpy(), np.stack(env.base_env.render(data[:, 0])))
        assert (data["pixels"] != data["next", "pixels"]).any()
        env.close()


class TestNames:
    def test_are_those_of_jumanji(self):
        assert {"Snake-v1", "TSP-v1"} <= set(JumanjiEnv.available_envs)
        assert JumanjiEnv.libname == "jumanji"
        env = JumanjiEnv("Snake-v1", **TASKS["Snake-v1"])
        assert env.env_name == "Snake-v1"
        assert env.num_rows == 4  # of the simulator

    def test_that_are_unknown_are_compared_with_those_known(self):
        with pytest.raises(UnknownEnvError, match=r"unknown env id 'Snake-v2'.*did you mean 'Snake-v1'"):
            JumanjiEnv("Snake-v2")


class TestRefusals:
    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jumanji", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[jumanji\]'"):
            JumanjiEnv("Snake-v1")
        assert JumanjiEnv.available_envs == []

    def test_of_other_things_than_envs(self):
        with pytest.raises(TypeError, match=r"expected a jumanji.env.Environment, found str"):
            JumanjiWrapper("Snake-v1")

    @pytest.mark.parametrize("wrapper", ["VmapWrapper", "AutoResetWrapper", "VmapAutoResetWrapper"])
    def test_of_batches_and_automatic_resets(self, wrapper):
        with pytest.raises(ValueError, match=f"found one in a {wrapper}"):
            JumanjiWrapper(KeepsKey(getattr(wrappers, wrapper)(Count())))
