from __future__ import annotations

import copy
import functools
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Collector,
    EnvDataError,
    MissingDependencyError,
    PolicyError,
    RewardSum,
    SerialEnv,
    TransformedEnv,
    UnknownEnvError,
    check_env_specs,
)
from envkit.core.plain_snapshot import plain_snapshot, restore_plain_snapshot
from envkit.libs.brax import BraxEnv, BraxWrapper
from envkit.libs.jax_arrays import import_with_jax
from envkit.testing import env_checks

if find_spec("brax") is None:
    pytest.skip("brax is not installed", allow_module_level=True)
envs = import_with_jax("brax.envs", "Brax")
jax = import_with_jax("jax", "Brax")
jnp = jax.numpy

SEED = 7
FLAGS = ("reward", "done", "truncated")
pytestmark = [
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore:Brax System:UserWarning"),  # MuJoCo has overtaken its physics,
    pytest.mark.filterwarnings("ignore:Accessing:DeprecationWarning"),  # and it still speaks to an older one
]


class Point(envs.Env):
    """A point that is pushed, and lost at a distance of 1. Its state has a random key of JAX's own type."""

    def reset(self, rng):
        rng, start = jax.random.split(rng)
        position = jax.random.uniform(start, (2,), minval=-0.5, maxval=0.5)
        physics = {"position": position, "speed": jnp.zeros(2), "parts": [jnp.zeros((), jnp.uint32), None]}
        physics["nothing"] = jnp.zeros((0, 3))
        return envs.State(physics, position, jnp.zeros(()), jnp.zeros(()), info={"rng": jax.random.wrap_key_data(rng)})

    def step(self, state, action):
        rng, noise = jax.random.split(state.info["rng"])
        physics = state.pipeline_state
        speed = 0.9 * physics["speed"] + 0.1 * jnp.tanh(2 * action) + 0.01 * jax.random.normal(noise, (2,))
        position = physics["position"] + 0.3 * speed
        physics = {**physics, "position": position, "speed": speed, "parts": [physics["parts"][0] + 1, None]}
        distance = jnp.sum(position**2)
        done = jnp.where(distance > 1, 1.0, 0.0)
        return state.replace(
            pipeline_state=physics, obs=position, reward=1 - distance, done=done, info={**state.info, "rng": rng}
        )

    observation_size, action_size, backend = 2, 2, "none"


class KeepsKey(envs.Wrapper):
    """Shows the key of each episode in its state."""

    def reset(self, rng):
        state = super().reset(rng)
        state.info["start"] = rng
        return state


@functools.cache
def prototype(name, size, **kwargs):
    simulator = {"point": Point, "fast": functools.partial(envs.get_environment, "fast")}.get(name)
    simulator = simulator() if simulator else envs.get_environment(name, backend="spring")
    simulator = envs.training.EpisodeWrapper(simulator, 30, 1)
    return BraxWrapper(KeepsKey(simulator), batch_size=size, **kwargs)


def fresh(name="point", size=(3,), **kwargs):
    """An env that need not be compiled again."""
    return copy.deepcopy(prototype(name, size, **kwargs))


def entries(tree):
    """Leaves by their keys, as they stand in the data."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        leaf = np.asarray(leaf)
        names = [getattr(part, "name", getattr(part, "key", getattr(part, "idx", None))) for part in path]
        yield tuple(map(str, names)), leaf.view(np.int32) if leaf.dtype == np.uint32 else leaf


def raw_loop(simulator, actions, starts, size):
    """What the states before and after each step hold, in Brax's own words; ``starts`` has the keys of its episode."""
    every = jax.vmap if size else lambda function: function
    reset, step = jax.jit(every(simulator.reset)), jax.jit(every(simulator.step))
    merge = jax.jit(every(lambda over, new, old: jax.tree.map(lambda a, b: jnp.where(over, a, b), new, old)))
    state, rows = reset(starts[0]), ([], [])
    for row, action in enumerate(actions):
        following = step(state, action)
        for states, one in zip(rows, (state, following), strict=True):
            states.append(dict(entries(one)))
        state = following
        if (following.done > 0).any() and row + 1 < len(actions):
            state = merge(following.done > 0, reset(starts[row + 1]), following)
    return [{key: np.stack([one[key] for one in states]) for key in states[0]} for states in rows]


def can_draw():
    # What fails to be drawn with leaves an object that cannot be deleted in peace.
    code = "import mujoco; mujoco.GLContext(8, 8).free()"
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False).returncode == 0


class TestValues:
    @pytest.mark.parametrize(
        ("name", "size", "steps"),
        # Real physics take tens of milliseconds for a step.
        [("point", (3,), 1000), ("point", (), 1000), ("inverted_pendulum", (2,), 40)],
    )
    def test_are_those_of_the_raw_loop(self, name, size, steps, tools):
        env = fresh(name, size)
        env.set_seed(SEED)
        actions = tools.draw_actions(env, steps)
        data = env.rollout(steps, tools.FixedPolicy(actions), break_when_any_done=False)
        time_first = data if not size else data.transpose(0, 1)
        starts = time_first["state", "info", "start"].contiguous().numpy().view(np.uint32)
        numbers = [action["action"].numpy() for action in actions]
        before, after = raw_loop(env._program.simulator, numbers, starts, size)
        assert data["next", "done"].sum() > steps // 30
        for found, states in ((time_first, before), (time_first["next"], after)):
            for key, expected in states.items():
                np.testing.assert_array_equal(found["state"][key].numpy(), expected, err_msg=str(key))
            np.testing.assert_array_equal(found["observation"].numpy(), states["obs",])
        found = {key: value.squeeze(-1).numpy() for key, value in time_first["next"].items() if key in FLAGS}
        np.testing.assert_array_equal(found["reward"], after["reward",])
        np.testing.assert_array_equal(found["done"], after["done",] > 0)
        np.testing.assert_array_equal(found["truncated"], after["info", "truncation"] > 0)

    def test_tell_terminations_from_truncations(self):
        env = fresh()
        env.set_seed(SEED)
        flags = env.rollout(400, break_when_any_done=False)["next"]
        done, terminated, truncated = (flags[name] for name in ("done", "terminated", "truncated"))
        assert terminated.any()
        assert truncated.any()
        assert torch.equal(done, terminated | truncated)
        assert not (terminated & truncated).any()
        assert (flags["state", "info", "steps"][truncated.squeeze(-1)] == 30).all()
        assert (flags["observation"].square().sum(-1, keepdim=True) > 1).logical_or(~terminated).all()

    def test_of_both_ports_are_the_same(self, tools):
        env, other = fresh(), fresh()
        actions = tools.draw_actions(env, 80)
        for each in (env, other):
            each.set_seed(SEED)
        rows = env.rollout(80, tools.FixedPolicy(actions), break_when_any_done=False)
        assert rows["next", "done"].any()
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_uncompiled_are_those_of_compiled(self, tools):
        compiled, plain = fresh("fast", ()), fresh("fast", (), jit=False)
        actions = tools.draw_actions(plain, 2)
        for env in (compiled, plain):
            env.set_seed(SEED)
        tools.assert_same(tools.by_hand(plain, actions), tools.by_hand(compiled, actions))

    def test_of_several_observations_are_nested(self):
        env = BraxEnv("fast", obs_mode="dict_state", asymmetric_obs=True)
        assert set(env.observation_spec["observation"].keys()) == {"state", "privileged_state"}
        data = env.rollout(3)
        assert data["next", "observation", "state"].shape == (3, 2)
        assert torch.equal(data["next", "observation", "state"], data["next", "state", "obs", "state"])


class TestState:
    def test_from_the_middle_steps_to_the_same(self, tools):
        env = fresh()
        data = env.rollout(60, break_when_any_done=False)
        stored = data[:, 40].select("state", "action").clone()
        fresh().rollout(7)
        tools.assert_same(env.step(stored)["next"], data[:, 40]["next"].contiguous())

    def test_goes_with_its_element(self, tools):
        env = fresh()
        row = env.rollout(12)[:, 7].contiguous()
        order = torch.tensor([2, 0, 1])
        given = row.select("state", "action")[order]
        tools.assert_same(env.step(given)["next"], row["next"][order])

    @pytest.mark.parametrize("size", [(6,), (2, 3), ()])
    def test_of_any_number_of_elements(self, size):
        env = fresh(size=())
        start = env.reset(TensorDict(batch_size=size))
        assert start["state", "pipeline_state", "position"].shape == (*size, 2)
        assert start["state", "pipeline_state"].batch_size == size
        data = env.rollout(5, tensordict=start, auto_reset=False)
        assert data.batch_size == (*size, 5)
        assert data["next", "reward"].shape == (*size, 5, 1)

    def test_of_a_batch_with_two_dimensions_is_that_of_one(self):
        env, starts = fresh(size=()), []
        for size in ((6,), (2, 3)):
            env.set_seed(SEED)
            starts.append(env.reset(TensorDict(batch_size=size)))
        flat, square = starts
        assert torch.equal(square["observation"].reshape(6, 2), flat["observation"])
        action = torch.rand(6, 2)
        one, other = env.step(flat.set("action", action)), env.step(square.set("action", action.reshape(2, 3, 2)))
        assert torch.equal(other["next", "reward"].reshape(6, 1), one["next", "reward"])

    def test_of_a_fixed_number_of_elements(self):
        env = BraxWrapper(Point(), batch_size=[2, 3])
        assert env.batch_size == (2, 3)
        assert env.rollout(2)["next", "state", "obs"].shape == (2, 3, 2, 2)
        with pytest.raises(EnvDataError, match=r"expected a TensorDict of batch size \[2, 3\], found \[6\]"):
            env.reset(TensorDict(batch_size=[6]))

    def test_is_not_touched_by_what_is_done_to_its_data(self):
        env = fresh()
        first = env.reset()
        kept = first.clone()
        env.step(first.set("action", torch.ones(3, 2)))["next", "state", "pipeline_state", "position"].fill_(9.0)
        assert torch.equal(first["state", "pipeline_state", "position"], kept["observation"])
        first["observation"].fill_(5.0)
        assert torch.equal(first["state", "obs"], kept["observation"])

    def test_that_is_missing_is_named(self):
        env = fresh()
        with pytest.raises(EnvDataError, match=r"\('state', 'pipeline_state', 'parts', '0'\) is missing"):
            env.step(env.rand_action(env.reset()).exclude(("state", "pipeline_state", "parts")))
        with pytest.raises(PolicyError, match="'action' is missing"):
            env.step(env.reset())

    def test_that_changes_its_kind_is_refused(self):
        class Grows(Point):
            def step(self, state, action):
                state = super().step(state, action)
                return state.replace(info={**state.info, "more": state.done})

        env = BraxWrapper(Grows())
        with pytest.raises(EnvDataError, match="expected data of one structure"):
            env.rollout(2)


class TestPartly:
    def test_reset_leaves_the_rest_alone(self):
        env = fresh()
        data = env.rollout(9)[:, -1]["next"].clone().exclude("reward")
        mask = torch.tensor([[True], [False], [True]])
        out = env.reset(data.clone().set("_reset", mask))
        changed = (out["state", "info", "rng"] != data["state", "info", "rng"]).any(-1)
        assert changed.tolist() == [True, False, True]
        assert out["state", "info", "steps"].tolist() == [0, 9, 0]
        assert torch.equal(out["observation"][1], data["observation"][1])

    def test_step_leaves_the_rest_alone(self):
        env = fresh()
        start = env.rand_action(env.reset())
        mask = torch.tensor([[False], [True], [False]])
        after = env.step(start.clone().set("_step", mask))["next"]
        assert after["state", "info", "steps"].tolist() == [0, 1, 0]
        assert (after["reward"].squeeze(-1) != 0).tolist() == [False, True, False]
        assert torch.equal(after["observation"][::2], start["observation"][::2])

    def test_done_waits_for_the_rest(self):
        env = fresh()
        env.set_seed(SEED)
        data = env.rollout(60, break_when_any_done=False, break_when_all_done=True)
        assert data["next", "done"][:, -1].all()
        assert (data["next", "done"].sum(1) > 1).any()


class TestGradients:
    def test_flow_from_rewards_to_actions(self):
        env, steps, size = fresh(requires_grad=True), 3, (3,)
        env.set_seed(SEED)
        current = start = env.reset()
        actions = torch.randn(steps, *size, 2, requires_grad=True)
        rewards = []
        for action in actions:
            data = env.step(current.set("action", action))
            rewards.append(data["next", "reward"])
            current = env.step_mdp(data)
        torch.stack(rewards).sum().backward()

        simulator = env._program.simulator

        def total(actions, key):
            state, total = simulator.reset(key), 0.0
            for action in actions:
                state = simulator.step(state, action)
                total += state.reward
            return total

        keys = start["state", "info", "start"].numpy().view(np.uint32)
        given = np.moveaxis(actions.detach().numpy(), 0, -2)
        expected = np.moveaxis(np.asarray(jax.jit(jax.vmap(jax.grad(total)))(given, keys)), -2, 0)
        assert (actions.grad[0] != 0).all()
        np.testing.assert_allclose(actions.grad.numpy(), expected, rtol=1e-5)

    def test_flow_to_the_state(self):
        env = fresh(size=(), requires_grad=True)
        start = env.reset()
        position = start["state", "pipeline_state", "position"].requires_grad_()
        after = env.step(start.set("action", torch.zeros(2)))["next"]
        after["reward"].backward()
        # The reward is 1 - |x + d|^2, and d does not depend on x.
        torch.testing.assert_close(position.grad, -2 * after["observation"].detach())

    def test_are_those_of_one_step_worked_out_by_hand(self):
        env = fresh(size=(), requires_grad=True)
        action = torch.tensor([0.3, -0.2], requires_grad=True)
        after = env.step(env.reset().set("action", action))["next"]
        after["observation"].sum().backward()
        torch.testing.assert_close(action.grad, 0.3 * 0.1 * 2 * (1 - torch.tanh(2 * action.detach()) ** 2))
        assert not after["done"].requires_grad
        assert not after["state", "pipeline_state", "parts", "0"].requires_grad

    def test_refuse_inputs_that_were_written_to(self):
        env = fresh(size=(), requires_grad=True)
        start = env.reset().set("action", torch.zeros(2, requires_grad=True))
        after = env.step(start)["next"]
        start["state", "pipeline_state", "speed"].add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            after["reward"].backward()

    def test_are_not_there_unless_asked_for(self):
        action = torch.zeros(2, requires_grad=True)
        env = fresh(size=())
        assert not env.step(env.reset().set("action", action))["next", "reward"].requires_grad
        env = fresh(size=(), requires_grad=True)
        with torch.no_grad():
            assert not env.step(env.reset().set("action", action))["next", "reward"].requires_grad
        assert not env.rollout(3)["next", "reward"].requires_grad

    def test_leave_values_as_they_are(self, tools):
        smooth, plain = fresh(requires_grad=True), fresh()
        actions = tools.draw_actions(plain, 5)
        for env in (smooth, plain):
            env.set_seed(SEED)
        tools.assert_same(tools.by_hand(smooth, actions), tools.by_hand(plain, actions))


@pytest.mark.slow
def test_gradients_of_real_physics_are_those_of_brax():
    env = copy.deepcopy(prototype("inverted_pendulum", (), requires_grad=True))
    start = env.reset()
    action = torch.tensor([0.4], requires_grad=True)
    following = env.step(start.set("action", action))
    after = env.step(env.step_mdp(following).set("action", 0.5 * action))["next", "observation"]
    after.square().sum().backward()
    simulator = env._program.simulator

    def total(action, key):
        state = simulator.step(simulator.reset(key), action)
        return jnp.sum(simulator.step(state, 0.5 * action).obs ** 2)

    expected = jax.jit(jax.grad(total))(action.detach().numpy(), start["state", "info", "start"].numpy().view("uint32"))
    np.testing.assert_allclose(action.grad.numpy(), expected, rtol=1e-4)


class TestSeeds:
    def test_make_the_same_data(self, tools):
        env = fresh()
        runs = []
        for seed in (SEED, SEED, SEED + 1):
            env.set_seed(seed)
            runs.append(env.rollout(50, break_when_any_done=False))
        tools.assert_same(runs[1], runs[0])
        assert not torch.equal(runs[2]["observation"], runs[0]["observation"])

    def test_give_each_element_and_episode_a_start_of_its_own(self):
        data = fresh().rollout(200, break_when_any_done=False)
        starts = data["state", "info", "start"].reshape(-1, 2).unique(dim=0)
        assert len(starts) == 3 + data[:, :-1]["next", "done"].sum()

    def test_of_torch_count_without_any(self, tools):
        env, runs = fresh(), []
        for _ in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(SEED)
                runs.append(env.rollout(20))
        tools.assert_same(runs[1], runs[0])


class TestCopies:
    def test_go_on_alike(self, tools):
        env = fresh()
        env.set_seed(SEED)
        env.rollout(10)
        twin = copy.deepcopy(env)
        tools.assert_same(twin.rollout(50, break_when_any_done=False), env.rollout(50, break_when_any_done=False))

    def test_are_not_compiled_again(self, monkeypatch):
        env = fresh()
        env.rollout(2)
        traced = []
        monkeypatch.setattr(Point, "step", lambda *_: traced.append(1))
        copy.deepcopy(env).rollout(2)
        assert not traced

    def test_as_snapshots_bring_back_the_random_stream(self, tools):
        env = fresh()
        env.set_seed(SEED)
        kept, plain = env.snapshot(), plain_snapshot(env)
        first = env.rollout(40, break_when_any_done=False)
        env.restore(kept)
        tools.assert_same(env.rollout(40, break_when_any_done=False), first)
        other = fresh()
        other.set_seed(SEED + 1)
        restore_plain_snapshot(other, plain)
        tools.assert_same(other.rollout(40, break_when_any_done=False), first)


@env_checks(lambda: fresh())
def test_conforms_in_batches(check):
    check()


@env_checks(lambda: fresh("fast", ()))
def test_conforms_alone(check):
    check()


class TestNames:
    def test_are_those_of_brax(self):
        assert {"ant", "fast", "humanoid"} <= set(BraxEnv.available_envs)
        assert BraxEnv.libname == "brax"
        env = BraxEnv("fast", max_episode_steps=4)
        assert env.env_name == "fast"
        assert env.action_size == 1  # of the simulator
        with pytest.raises(AttributeError, match="neither BraxEnv nor the wrapped Fast has 'nothing'"):
            env.nothing  # noqa: B018

    def test_that_are_unknown_are_compared_with_those_known(self):
        with pytest.raises(UnknownEnvError, match=r"unknown env name 'humanoit'.*did you mean 'humanoid'"):
            BraxEnv("humanoit")

    def test_of_episodes_limits(self):
        data = BraxEnv("fast", max_episode_steps=4).rollout(8, break_when_any_done=False)["next"]
        assert data["truncated"].squeeze(-1).tolist() == 2 * [False, False, False, True]
        assert not data["terminated"].any()
        with pytest.raises(ValueError, match="max_episode_steps: expected a positive number, found 0"):
            BraxEnv("fast", max_episode_steps=0)


class TestRefusals:
    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "brax.envs", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[brax\]'"):
            BraxEnv("fast")
        assert BraxEnv.available_envs == []

    def test_of_other_things_than_envs(self):
        with pytest.raises(TypeError, match=r"expected a brax.envs.base.Env, found str"):
            BraxWrapper("fast")

    @pytest.mark.parametrize("wrapper", ["VmapWrapper", "AutoResetWrapper"])
    def test_of_batches_and_automatic_resets(self, wrapper):
        inner = getattr(envs.training, wrapper)(Point())
        with pytest.raises(ValueError, match=f"found one in a {wrapper}"):
            BraxWrapper(KeepsKey(inner))


class TestCompany:
    def test_of_transforms_and_collectors(self):
        env = TransformedEnv(fresh(), RewardSum())
        assert check_env_specs(env) == []
        collector = Collector(env, frames_per_batch=60, total_frames=120)
        batches = list(collector)
        assert [batch.batch_size for batch in batches] == [(3, 20), (3, 20)]
        collector.shutdown()

    def test_of_other_envs_in_a_batch(self):
        env = SerialEnv(2, lambda: fresh(size=()))
        data = env.rollout(40, break_when_any_done=False)
        assert data["next", "state", "pipeline_state", "speed"].shape == (2, 40, 2)


@pytest.mark.skipif(not can_draw(), reason="MuJoCo finds nothing to draw with: see MUJOCO_GL")
def test_frames_show_the_state():
    env = fresh("inverted_pendulum", (2,))
    start = env.reset()
    start["state", "pipeline_state", "q"][1, 1] = 1.0  # the pole's angle
    upright, fallen = env.render(start, height=48, width=64)
    assert upright.shape == (48, 64, 3)
    assert upright.dtype == np.uint8
    assert (upright != fallen).any()
    np.testing.assert_array_equal(env.render(start[0], height=48, width=64), upright)
