from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
import torch

from envkit import (
    Categorical,
    ClosedEnvError,
    DoubleToFloat,
    EnvDataError,
    MissingDependencyError,
    OneHot,
    ParallelEnv,
    ResetNeededError,
    SerialEnv,
    TransformedEnv,
    Unbounded,
    UnknownEnvError,
    UnsupportedSpaceError,
    check_env_specs,
)
from envkit.libs import dm_control as module
from envkit.libs.dm_control import DMControlEnv, DMControlWrapper
from envkit.testing import env_checks

dm_env = pytest.importorskip("dm_env")
specs = dm_env.specs
SEED = 5


class Line(dm_env.Environment):
    """Counts to a random end, which is a termination or a limit; numbers without dimensions, a discrete action."""

    def __init__(self, **answers):
        self.random_state = np.random.RandomState(0)
        self.answers = answers
        self.actions = []
        self.closes = 0

    def reset(self):
        self.count, self.length = 0, self.random_state.randint(2, 6)
        return dm_env.restart(self.observe())

    def step(self, action):
        self.actions.append(action)
        self.count += 1
        if self.count < self.length:
            return dm_env.transition(self.answers.get("reward", 0.5), self.observe())
        if self.length % 2:
            return dm_env.termination(1.0, self.observe())
        return dm_env.truncation(1.0, self.observe())

    def observe(self):
        return self.answers.get("observation", {"count": self.count, "place": np.full(2, self.count / 4)})

    def observation_spec(self):
        return self.answers.get(
            "observation_spec", {"count": specs.Array((), np.int64), "place": specs.Array((2,), np.float64)}
        )

    def action_spec(self):
        return self.answers.get("action_spec", specs.DiscreteArray(3))

    def close(self):
        self.closes += 1


@pytest.fixture
def suite():
    pytest.importorskip("dm_control")
    return module._suite()


def raw_steps(env, actions):
    """What a plain loop over a dm_env sees: before, after, the TimeStep."""
    time_step = env.reset()
    for action in actions:
        before = {name: np.array(value) for name, value in time_step.observation.items()}
        time_step = env.step(action)
        yield before, {name: np.array(value) for name, value in time_step.observation.items()}, time_step
        if time_step.last():
            time_step = env.reset()


def assert_equal(data, raw):
    """Every value of a rollout is that of the raw loop; returns how many episodes ended, and how many by a limit."""
    ends = limits = 0
    for row, (before, after, time_step) in zip(data.unbind(0), raw, strict=True):
        for part, observation in ((row, before), (row["next"], after)):
            for name, value in observation.items():
                assert part[name].dtype == torch.from_numpy(np.atleast_1d(value)).dtype
                np.testing.assert_array_equal(part[name].numpy(), np.atleast_1d(value))
        following = row["next"]
        assert following["reward"].item() == np.float32(time_step.reward)
        assert following["done"].item() == time_step.last()
        assert following["terminated"].item() == (time_step.last() and time_step.discount == 0)
        assert following["truncated"].item() == (time_step.last() and time_step.discount == 1)
        ends += time_step.last()
        limits += following["truncated"].item()
    return ends, limits


class TestAnyDmEnv:
    def test_value_for_value(self, tools):
        env = DMControlWrapper(Line())
        env.set_seed(SEED)
        actions = tools.draw_actions(env, 200)
        raw = Line()
        raw.random_state.seed(SEED)
        data = env.rollout(200, tools.FixedPolicy(actions), break_when_any_done=False)
        ends, limits = assert_equal(data, raw_steps(raw, [int(action["action"]) for action in actions]))
        assert 0 < limits < ends
        assert env._env.actions == [int(action["action"]) for action in actions]

    def test_both_ports(self, tools):
        one, other = DMControlWrapper(Line()), DMControlWrapper(Line())
        actions = tools.draw_actions(one, 60)
        for env in (one, other):
            env.set_seed(SEED)
        rows = one.rollout(60, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(rows, tools.by_hand(other, actions))

    @env_checks(lambda: DMControlWrapper(Line()))
    def test_conforms(self, check):
        check()

    def test_specs(self):
        env = DMControlWrapper(Line())
        assert env.observation_spec["count"] == Unbounded((1,), dtype=torch.int64)
        assert env.observation_spec["place"] == Unbounded((2,), dtype=torch.float64)
        assert env.action_spec == Categorical(3, dtype=torch.int32)
        assert isinstance(DMControlWrapper(Line(), categorical_action_encoding=False).action_spec, OneHot)
        assert env.batch_size == ()

    def test_an_observation_without_a_name(self):
        env = DMControlWrapper(Line(observation_spec=specs.Array((1, 3), np.float32), observation=np.ones((1, 3), "f")))
        assert env.rollout(3, break_when_any_done=False)["observation"].shape == (3, 1, 3)

    def test_bounds(self):
        bounded = specs.BoundedArray((2,), np.float64, minimum=[-1, -2], maximum=[1, np.inf])
        env = DMControlWrapper(Line(action_spec=bounded))
        assert env.action_spec.low.tolist() == [-1, -2]
        assert env.action_spec.high.tolist() == [1, np.inf]
        assert env.action_spec.dtype is torch.float64

    def test_an_action_is_a_copy(self):
        env = DMControlWrapper(Line(action_spec=specs.BoundedArray((2,), np.float64, -1, 1)))
        data = env.rollout(4)
        for action in env._env.actions:
            action.fill(7)
        assert (data["action"] <= 1).all()

    def test_frame_skip_sums_rewards_and_stops_at_the_end(self):
        env, raw = DMControlWrapper(Line(), frame_skip=4), Line()
        env.set_seed(SEED)
        raw.random_state.seed(SEED)
        for _ in range(10):
            raw.reset()
            td = env.reset()
            done = False
            while not done:
                found = env.step(env.rand_action(td))["next"]
                steps = [raw.step(0)]
                while len(steps) < 4 and not steps[-1].last():
                    steps.append(raw.step(0))
                done = steps[-1].last()
                assert found["reward"].item() == sum(step.reward for step in steps)
                assert found["done"].item() == done
                assert found["count"].item() == raw.count

    def test_a_step_after_the_end_is_refused(self):
        env = DMControlWrapper(Line())
        last = env.rollout(10)[-1]
        with pytest.raises(ResetNeededError, match="the episode is over"):
            env.step(env.step_mdp(last).set("action", torch.tensor(0, dtype=torch.int32)))
        assert env._env.count == env._env.length
        assert len(env.rollout(10)) == env._env.length

    def test_a_seed_set_in_mid_episode_waits_for_its_end(self):
        env = DMControlWrapper(Line())
        td = env.reset()
        env.set_seed(SEED)
        assert env.step(env.rand_action(td))["next", "count"].item() == 1

    def test_seeds_make_the_same_data_twice(self, tools):
        env = DMControlWrapper(Line())
        runs = []
        for _ in range(2):
            env.set_seed(SEED)
            runs.append(env.rollout(50, break_when_any_done=False))
        tools.assert_same(*runs)
        env.set_seed(SEED + 1)
        assert not torch.equal(env.rollout(50, break_when_any_done=False)["next", "done"], runs[0]["next", "done"])

    def test_a_snapshot(self, tools):
        env = DMControlWrapper(Line())
        td = env.rollout(3)[-1]["next"]
        kept = env.snapshot()
        first = env.rollout(20, break_when_any_done=False)
        env.restore(kept)
        assert env._env.count == td["count"]
        tools.assert_same(env.rollout(20, break_when_any_done=False).exclude("action"), first.exclude("action"))

    def test_attributes_of_the_simulator(self):
        env = DMControlWrapper(Line())
        env.reset()
        assert env.length in range(2, 6)
        with pytest.raises(AttributeError, match=r"neither DMControlWrapper nor the wrapped Line has 'lenght'"):
            env.lenght  # noqa: B018

    def test_closes_once(self):
        env = DMControlWrapper(Line())
        env.close()
        env.close()
        assert env._env.closes == 1
        with pytest.raises(ClosedEnvError):
            env.reset()


class TestErrors:
    @pytest.mark.parametrize("kwargs", [{"seed": 3}, {"options": {}}])
    def test_arguments_of_a_reset(self, kwargs):
        with pytest.raises(TypeError, match=f"found \\['{next(iter(kwargs))}'\\]"):
            DMControlWrapper(Line()).reset(**kwargs)

    def test_no_dm_env(self):
        with pytest.raises(TypeError, match=r"expected a dm_env\.Environment, found dict"):
            DMControlWrapper({})

    def test_frame_skip(self):
        with pytest.raises(ValueError, match="frame_skip: expected at least 1, found 0"):
            DMControlWrapper(Line(), frame_skip=0)

    def test_pixels_without_physics(self):
        with pytest.raises(ValueError, match="expected an env with physics, found Line"):
            DMControlWrapper(Line(), from_pixels=True)

    @pytest.mark.parametrize("spec", [{"text": specs.StringArray(())}, {"nested": {"a": specs.Array((), np.int64)}}])
    def test_what_has_no_tensor_form(self, spec):
        with pytest.raises(UnsupportedSpaceError, match=next(iter(spec))):
            DMControlWrapper(Line(observation_spec=spec))

    def test_no_random_state(self):
        env = DMControlWrapper(Line())
        env._env.random_state = None
        env.set_seed(0)
        with pytest.raises(TypeError, match="that is a RandomState, found NoneType"):
            env.reset()

    def test_a_step_without_a_reward(self):
        env = DMControlWrapper(Line(reward=None))
        with pytest.raises(EnvDataError, match=r"'reward' of DMControlWrapper.*expected a number, found None"):
            env.rollout(2)

    def test_a_missing_observation(self):
        env = DMControlWrapper(Line(observation={"place": np.zeros(2)}))
        with pytest.raises(EnvDataError, match=r"'count' is missing .* found \['place'\]"):
            env.reset()

    def test_an_observation_of_another_shape(self):
        env = DMControlWrapper(Line(observation={"place": np.zeros(3), "count": 0}))
        with pytest.raises(EnvDataError, match=r"'place': expected shape \[2\], found \[3\]"):
            env.reset()

    def test_dm_control_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "dm_control", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[dm-control\]'"):
            DMControlEnv("cartpole", "balance")

    def test_a_mujoco_too_new_is_named(self, monkeypatch):
        mujoco = pytest.importorskip("mujoco")

        class Suite:
            def __init__(self):
                self.TASKS_BY_DOMAIN = {"cartpole": ("balance",)}

            def load(self, *args, **kwargs):
                raise AttributeError("'MjModel' object has no attribute 'flex_vertedge'")

        monkeypatch.setattr(module, "_suite", Suite)
        monkeypatch.setattr(mujoco, "__version__", "4.0.0")
        with pytest.raises(MissingDependencyError, match=r"mujoco 4\.0\.0: expected .*mujoco>=3\.17,<4"):
            DMControlEnv("cartpole", "balance")
        monkeypatch.setattr(mujoco, "__version__", "3.17.0")
        with pytest.raises(AttributeError, match="flex_vertedge"):
            DMControlEnv("cartpole", "balance")

    def test_unknown_names(self, suite):
        with pytest.raises(UnknownEnvError, match=r"unknown domain 'cartpol'.*did you mean 'cartpole'"):
            DMControlEnv("cartpol", "balance")
        with pytest.raises(UnknownEnvError, match=r"unknown task 'swing' of 'acrobot'.*'swingup_sparse'"):
            DMControlEnv("acrobot", "swing")

    def test_unknown_arguments_of_the_task(self, suite):
        with pytest.raises(TypeError, match="gravity"):
            DMControlEnv("cartpole", "balance", gravity=1.0)


class TestSuite:
    # Time limits so short that episodes end; lqr draws its very model, and finger has numbers without dimensions.
    TASKS = (
        ("cartpole", "swingup", {"time_limit": 1.0}, 1000),
        ("cheetah", "run", {"time_limit": 2.0}, 1000),
        ("lqr", "lqr_2_1", {"time_limit": 3.0}, 1000),
        ("finger", "turn_hard", {"time_limit": 2.0}, 1000),
        ("ball_in_cup", "catch", {"time_limit": 1.0}, 1000),
    )

    @pytest.mark.parametrize(("domain", "task", "kwargs", "steps"), TASKS)
    def test_value_for_value(self, domain, task, kwargs, steps, suite, tools):
        env = DMControlEnv(domain, task, **kwargs)
        env.set_seed(SEED)
        actions = tools.draw_actions(env, steps)
        data = env.rollout(steps, tools.FixedPolicy(actions), break_when_any_done=False)
        raw = suite.load(domain, task, task_kwargs={"random": SEED, **kwargs})
        ends, limits = assert_equal(data, raw_steps(raw, [action["action"].numpy() for action in actions]))
        assert ends >= 4
        if domain != "lqr":
            assert ends == limits

    @pytest.mark.parametrize(("domain", "task"), [("cartpole", "swingup"), ("finger", "turn_hard")])
    def test_conforms(self, domain, task, suite):
        assert check_env_specs(DMControlEnv(domain, task, time_limit=0.5)) == []

    def test_a_termination_has_discount_zero(self, suite, tools):
        """lqr ends by itself once it is at rest."""
        env = DMControlEnv("lqr", "lqr_2_1")
        env.set_seed(SEED)
        td = env.reset()
        with env.physics.reset_context():
            env.physics.data.qpos[:] = 0
            env.physics.data.qvel[:] = 0
        last = env.step(td.set("action", torch.zeros(1, dtype=torch.float64)))["next"]
        assert last["terminated"]
        assert not last["truncated"]

    def test_both_ports(self, suite, tools):
        one, other = (DMControlEnv("cartpole", "balance", time_limit=0.3) for _ in range(2))
        actions = tools.draw_actions(one, 70)
        for env in (one, other):
            env.set_seed(SEED)
        rows = one.rollout(70, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_seeds_and_the_argument_random(self, suite, tools):
        one, other = DMControlEnv("cartpole", "balance"), DMControlEnv("cartpole", "balance", random=SEED)
        one.set_seed(SEED)
        tools.assert_same(one.reset(), other.reset())
        tools.assert_same(one.reset(), other.reset())
        one.set_seed(SEED)
        again = DMControlEnv("cartpole", "balance", random=SEED)
        tools.assert_same(one.reset(), again.reset())

    def test_a_wrapper_is_seeded_where_it_stands(self, suite, tools):
        env = DMControlWrapper(suite.load("cartpole", "balance"))
        env.set_seed(SEED)
        tools.assert_same(env.reset(), DMControlEnv("cartpole", "balance", random=SEED).reset())

    def test_large_seeds(self, suite, tools):
        one, other = (DMControlEnv("cartpole", "balance") for _ in range(2))
        one.set_seed(2**32 + SEED)
        other.set_seed(SEED)
        tools.assert_same(one.reset(), other.reset())

    def test_copies_go_on_from_where_they_are(self, suite, tools):
        env = DMControlEnv("cartpole", "swingup", time_limit=0.4)
        env.set_seed(SEED)
        env.rollout(7)
        actions = tools.draw_actions(env, 50)
        twins = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
        expected = tools.by_hand(env, actions)
        for twin in twins:
            tools.assert_same(tools.by_hand(twin, actions), expected)

    def test_in_single_precision(self, suite):
        env = TransformedEnv(DMControlEnv("cartpole", "balance"), DoubleToFloat())
        data = env.rollout(3)
        assert {data[key].dtype for key in ("position", "velocity", "action")} == {torch.float32}

    def test_available_envs(self, suite):
        listed = dict(DMControlEnv.available_envs)
        pairs = [(domain, task) for domain, tasks in listed.items() for task in tasks]
        assert sorted(pairs) == sorted(suite.ALL_TASKS)

    def test_in_batches(self, suite, tools):
        serial = SerialEnv(2, lambda: DMControlEnv("cartpole", "balance", time_limit=0.2))
        serial.set_seed(SEED)
        expected = serial.rollout(45, break_when_any_done=False)
        with_workers = ParallelEnv(2, lambda: DMControlEnv("cartpole", "balance", time_limit=0.2))
        try:
            with_workers.set_seed(SEED)
            tools.assert_same(with_workers.rollout(45, break_when_any_done=False), expected)
        finally:
            with_workers.close()
        assert expected["next", "truncated"].sum() == 2 * 2


class TestPixels:
    def test_are_those_of_the_simulator(self, suite, tools):
        kwargs = {"camera_id": 1, "render_kwargs": {"height": 30, "width": 40}}
        env = DMControlEnv("cartpole", "balance", from_pixels=True, pixels_only=False, **kwargs)
        env.set_seed(SEED)
        actions = tools.draw_actions(env, 5)
        data = env.rollout(5, tools.FixedPolicy(actions))
        assert data["pixels"].shape == (5, 30, 40, 3)
        assert data["pixels"].dtype is torch.uint8
        raw = suite.load("cartpole", "balance", task_kwargs={"random": SEED})
        observation = raw.reset().observation
        for row, action in zip(data.unbind(0), actions, strict=True):
            np.testing.assert_array_equal(row["position"], observation["position"])
            np.testing.assert_array_equal(row["pixels"], raw.physics.render(30, 40, 1))
            observation = raw.step(action["action"].numpy()).observation
            np.testing.assert_array_equal(row["next", "pixels"], raw.physics.render(30, 40, 1))
        assert (data["pixels"][0] != data["next", "pixels"][4]).any()

    def test_contexts_of_former_simulators_are_freed(self, suite):
        env = DMControlEnv("cartpole", "balance", from_pixels=True, render_kwargs={"height": 8, "width": 8})
        former = []
        for seed in range(3):
            env.set_seed(seed)
            former.append(env.physics)
            assert env.rollout(2)["pixels"].any()
        former.append(env.physics)
        env.close()
        env.close()
        for physics in former:
            with pytest.raises(AttributeError):
                physics.data  # noqa: B018

    def test_alone(self, suite):
        env = DMControlEnv("cartpole", "balance", from_pixels=True, render_kwargs={"height": 24, "width": 32})
        assert env.observation_keys == ["pixels"]
        assert env.render(height=10, width=20).shape == (10, 20, 3)
