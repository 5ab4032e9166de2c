"""What a ParallelEnv offers beside the data of its envs."""

from __future__ import annotations

import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import threading
import warnings
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from tensordict import TensorDict

import envkit
from envkit import (
    Bounded,
    ClosedEnvError,
    Collector,
    Composite,
    EnvBase,
    EnvCreator,
    EnvMetaData,
    GymEnv,
    GymWrapper,
    NonFiniteError,
    ParallelEnv,
    ResetNeededError,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    WorkerError,
    as_gymnasium_vector,
    check_env_specs,
    diagnose,
)

SEED = 5


def cartpole():
    return GymEnv("CartPole-v1", max_episode_steps=12)


def pendulum(**options):
    return GymEnv("Pendulum-v1", **{"g": 9.81, **options})


def running():
    return len(multiprocessing.active_children())


@pytest.fixture
def make():
    """Makes batches, and closes them in the end."""
    made = []

    def build(function=cartpole, workers=2, **options):
        made.append(ParallelEnv(workers, function, mp_start_method="fork", **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def cartpoles():
    env = ParallelEnv(2, cartpole, num_envs=4, mp_start_method="fork")
    yield env
    env.close()


@pytest.fixture(scope="module")
def lines(line):
    env = ParallelEnv(2, lambda: GymWrapper(line()), num_envs=3, mp_start_method="fork")
    yield env
    env.close()


class Levels(EnvBase):
    """Starts where it is told to."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(x=Unbounded((1,)))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

    def _set_seed(self, seed):
        self.seed = seed

    def _reset(self, tensordict=None, low=0.0):
        return TensorDict({"x": torch.tensor([float(low)])})

    def _step(self, tensordict):
        return TensorDict({"x": tensordict["x"] + 1, "reward": torch.ones(1), "done": torch.tensor([False])})


class TestConstruction:
    def test_one_function_each(self, make, scripted):
        env = make([lambda: scripted(rewards=[1.0]), lambda: scripted(rewards=[2.0])])
        assert env.rollout(2)["next", "reward"].flatten().tolist() == [1.0, 1.0, 2.0, 2.0]

    def test_arguments(self, make):
        assert make(GymEnv, create_env_kwargs={"env_name": "Pendulum-v1", "g": 5.0}).g == [5.0] * 2
        options = [{"g": float(i)} for i in range(3)]
        assert make(pendulum, num_envs=3, create_env_kwargs=options).g == [0.0, 1.0, 2.0]

    def test_creators(self, make):
        assert make(EnvCreator(pendulum, {"g": 3.0}), create_env_kwargs=[{}, {"g": 4.0}]).g == [3.0, 4.0]

    def test_envs_are_dealt_out_in_order(self, make):
        env = make(num_envs=5)
        assert env.num_workers == 2
        first, *_, last = pids = env.map(lambda env: os.getpid())
        assert pids == [first] * 2 + [last] * 3
        assert first != last
        assert os.getpid() not in pids

    @pytest.mark.parametrize(
        ("given", "options", "error", "message"),
        [
            ((0, cartpole), {}, ValueError, "num_workers: expected a positive number"),
            ((2, cartpole), {"num_envs": 0}, ValueError, "num_envs: expected a positive number"),
            ((3, cartpole), {"num_envs": 2}, ValueError, "num_workers: expected 1 to 2, the number of envs, found 3"),
            ((2.0, cartpole), {}, TypeError, "num_workers: expected a number of envs, found float"),
            ((2, [cartpole]), {}, ValueError, "found 2 for 1 functions and 2 kwargs"),
            ((2, cartpole), {"create_env_kwargs": [{}]}, ValueError, "found 2 for 2 functions and 1 kwargs"),
            ((2, "CartPole-v1"), {}, TypeError, "expected a function that makes an env, found str"),
            ((2, cartpole), {"mp_start_method": "thread"}, ValueError, r"expected one of .*fork.*, found 'thread'"),
            ((2, cartpole), {"timeout": 0}, ValueError, "timeout: expected a positive number of seconds"),
            ((2, cartpole), {"on_worker_failure": "ask"}, ValueError, r"expected one of .*restart.*, found 'ask'"),
            ((2, cartpole), {"max_restarts": -1}, ValueError, "max_restarts: expected 0 or more, found -1"),
        ],
    )
    def test_is_refused(self, given, options, error, message):
        with pytest.raises(error, match=message):
            ParallelEnv(*given, **options)

    def test_envs_are_no_functions(self):
        for wrong in (cartpole(), [cartpole, cartpole()]):
            with pytest.raises(TypeError, match="expected a function that makes an env, found GymEnv"):
                ParallelEnv(2, wrong)


class TestSpecs:
    def test_are_those_of_a_serial_batch(self, cartpoles):
        serial = SerialEnv(4, cartpole)
        assert cartpoles.specs == serial.specs
        assert cartpoles.batch_size == cartpoles.shape == (4,)
        assert cartpoles.done_keys == serial.done_keys
        assert cartpoles.is_spec_locked
        assert str(cartpoles.fake_tensordict()) == str(serial.fake_tensordict())

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_must_be_equal(self, workers, make):
        before, env = running(), make([cartpole, cartpole, pendulum], workers, num_envs=3)
        with pytest.raises(SpecError, match=r"ParallelEnv: expected .* full_action_spec of env 2 differs from .* env"):
            env.start()
        assert running() == before

    def test_options_of_the_envs_are_those_of_all(self, make, scripted):
        def deterministic():
            return scripted(allow_done_after_reset=True)

        env = make([scripted, deterministic])
        assert env.allow_done_after_reset
        assert make([cartpole, lambda: TransformedEnv(cartpole())]).keeps_state
        assert not make([scripted, scripted]).keeps_state


class TestStart:
    """Processes are there once something is asked of the batch."""

    def test_not_at_construction(self, make):
        before = running()
        env = make()
        assert running() == before
        assert repr(env) == "ParallelEnv(2 envs over 2 workers, not started)"
        env.start()
        env.start()
        assert running() == before + 2
        assert repr(env).startswith("ParallelEnv(2 x GymEnv(env=CartPole-v1")
        assert repr(env).endswith("over 2 workers, batch_size=[2])")

    @pytest.mark.parametrize(
        "use",
        [
            lambda env: env.batch_size,
            lambda env: env.specs,
            lambda env: env.g,
            lambda env: env.reset(),
            lambda env: env.rollout(2),
            lambda env: env.set_seed(1),
            lambda env: env[0],
            lambda env: env.snapshot(),
            lambda env: env.nonfinite,
            lambda env: EnvMetaData.from_env(env),
            lambda env: TransformedEnv(env, StepCounter()),
            lambda env: Collector(env, frames_per_batch=4),
        ],
    )
    def test_with_any_use(self, use, make):
        before, env = running(), make(pendulum)
        use(env)
        assert running() == before + 2

    def test_is_tried_again(self, make, tmp_path):
        def fragile(file=str(tmp_path / "there")):
            Path(file).stat()
            return cartpole()

        env = make(fragile)
        with pytest.raises(WorkerError, match="FileNotFoundError"):
            env.start()
        (tmp_path / "there").touch()
        assert env.rollout(2).batch_size == (2, 2)


class TestAttributes:
    def test_are_gathered(self, make):
        a, b, c = make(pendulum, num_envs=3, create_env_kwargs=[{"g": 1.0}, {"g": 2.0}, {"g": 3.0}]).g
        assert (a, b, c) == (1.0, 2.0, 3.0)

    def test_unknown(self, cartpoles):
        with pytest.raises(AttributeError, match=r"the envs of ParallelEnv\(.* have no 'gravitas'"):
            cartpoles.gravitas  # noqa: B018
        assert not hasattr(cartpoles, "_hidden")
        assert cartpoles.reset().batch_size == (4,)

    def test_methods_are_called_on_all(self, make):
        make_env = lambda: GymEnv("CartPole-v1", render_mode="rgb_array")
        found, expected = make(make_env, num_envs=3), SerialEnv(3, make_env)
        for env in (found, expected):
            env.set_seed(SEED)
            env.reset()
        frames = found.render()
        assert len(frames) == 3
        for frame, other in zip(frames, expected.render(), strict=True):
            assert np.array_equal(frame, other)
        assert [str(spec) for spec in found.get_wrapper_attr("observation_space")] == [
            str(expected._envs[0].observation_space)
        ] * 3

    def test_what_a_method_raises_does_no_harm(self, cartpoles):
        with pytest.raises(WorkerError, match=r"phase 'call': raised TypeError: .*render\(\)") as error:
            cartpoles.render("now")
        assert isinstance(error.value.__cause__, TypeError)
        assert cartpoles.reset().batch_size == (4,)

    def test_assignments_are_to_the_batch(self, make):
        env = make(pendulum)
        env.note = "ours"
        assert env.note == "ours"
        env.map(lambda env, g: setattr(env.unwrapped, "g", g), [1.0, 2.0])
        assert env.g == [1.0, 2.0]

    def test_map(self, cartpoles):
        assert cartpoles.map(lambda env, *given: (type(env).__name__, *given), [1, 2, 3, 4], "abcd") == [
            ("GymEnv", 1, "a"),
            ("GymEnv", 2, "b"),
            ("GymEnv", 3, "c"),
            ("GymEnv", 4, "d"),
        ]
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            cartpoles.map(lambda env, seed: None, [1])
        with pytest.raises(WorkerError, match="ZeroDivisionError"):
            cartpoles.map(lambda env: 1 / 0)
        with pytest.raises(WorkerError, match="cannot pickle"):
            cartpoles.map(lambda env: threading.Lock())
        assert cartpoles.map(lambda env: 1) == [1] * 4


class TestResets:
    def test_arguments_go_to_all(self, lines):
        lines.reset(options={"low": 1})
        assert [options[-1] for options in lines.options] == [{"low": 1}] * 3

    def test_arguments_for_each(self, lines):
        lines.reset(list_of_kwargs=[{"options": {"low": i}} for i in range(3)])
        assert [options[-1] for options in lines.options] == [{"low": 0}, {"low": 1}, {"low": 2}]

    def test_both(self, make):
        serial = SerialEnv(3, Levels)
        for env in (make(Levels, num_envs=3), serial):
            assert env.reset(low=7)["x"].flatten().tolist() == [7, 7, 7]
            assert env.reset(low=7, list_of_kwargs=[{}, {"low": 1}, {"low": 2}])["x"].flatten().tolist() == [7, 1, 2]
            td = env.reset().set("_reset", torch.tensor([[True], [False], [True]]))
            td = env.reset(td, list_of_kwargs=[{"low": 3}, {"low": 4}, {"low": 5}])
            assert td["x"].flatten().tolist() == [3, 0, 5]
            outer = TransformedEnv(env, StepCounter())
            assert outer.reset(list_of_kwargs=[{"low": i} for i in range(3)])["x"].flatten().tolist() == [0, 1, 2]
            with pytest.raises(ValueError, match="list_of_kwargs: expected one dict for each of 3 envs, found 2"):
                env.reset(list_of_kwargs=[{}, {}])

    def test_are_needed_before_steps(self, make):
        with pytest.raises(ResetNeededError, match="ParallelEnv: expected reset"):
            make().step(TensorDict({"action": torch.zeros(2, dtype=torch.int64)}, [2]))


class TestSeeds:
    def test_are_chained(self, make, scripted):
        env, serial = make(scripted, num_envs=5), SerialEnv(5, scripted)
        assert env.set_seed(SEED) == serial.set_seed(SEED)
        assert env.seed == serial.seed
        assert env.set_seed(SEED, static_seed=True) == SEED
        assert env.seed == [SEED] * 5
        assert env.set_seed(None) is None
        assert env.seed == [None] * 5

    def test_for_each(self, make, scripted):
        for env in (make(scripted, num_envs=3), SerialEnv(3, scripted)):
            env.set_seed(None)
            env.set_seeds([4, None, 6])
            assert env.seed == [4, None, 6]

    @pytest.mark.parametrize("order", [[2, 0, 3], [3, 2, 1, 0]])
    def test_of_some_follow_their_order(self, order, make, scripted):
        env, serial = make(scripted, num_envs=4), SerialEnv(4, scripted)
        for each in (env, serial):
            each.set_seed(1)
        assert env[order].set_seed(SEED) == serial[order].set_seed(SEED)
        assert env.seed == serial.seed


class TestParts:
    """An index gives some of the envs: the same ones, on the same workers."""

    @pytest.mark.parametrize("index", [1, -1, slice(1, 3), slice(None, None, -1), [3, 0, 2], [4, 0, 1, 3], range(6)])
    def test_have_the_data_of_those_envs(self, index, make, walk, tools):
        batches = make(walk, num_envs=6), SerialEnv(6, walk)
        assert batches[0].set_seed(SEED) == batches[1].set_seed(SEED)
        parts = [batch[index] for batch in batches]
        assert parts[0].batch_size == parts[1].batch_size
        assert parts[0].specs == parts[1].specs
        actions = tools.draw_actions(parts[1], 15)
        policies = [tools.FixedPolicy(actions) for _ in parts]
        rollouts = [
            part.rollout(15, policy, break_when_any_done=False) for part, policy in zip(parts, policies, strict=True)
        ]
        tools.assert_same(*rollouts)
        tools.assert_same(*[tools.by_hand(part, actions) for part in parts])
        tools.assert_same(*[batch.reset() for batch in batches])

    def test_are_stepped_while_the_whole_stands(self, cartpoles):
        cartpoles.set_seed(SEED)
        start = cartpoles.reset().set("action", torch.ones(4, dtype=torch.int64))
        before = running()
        part = cartpoles[[2, 1]]
        moved = part.step(start[[2, 1]].clone())["next", "observation"]
        assert running() == before
        after = cartpoles.step(start.clone())["next", "observation"]
        twice, once = SerialEnv(4, cartpole), SerialEnv(4, cartpole)
        for env in (once, twice):
            env.set_seed(SEED)
        one = once.step(once.reset().set("action", start["action"]))["next", "observation"]
        td = twice.step_mdp(twice.step(twice.reset().set("action", start["action"])))
        two = twice.step(td.set("action", start["action"]))["next", "observation"]
        assert torch.equal(moved, one[[2, 1]])
        assert torch.equal(after[[0, 3]], one[[0, 3]])
        assert torch.equal(after[[1, 2]], two[[1, 2]])

    def test_of_parts(self, make):
        env = make(pendulum, num_envs=4, create_env_kwargs=[{"g": float(i)} for i in range(4)])
        assert env[1:][-2:].g == [2.0, 3.0]
        assert env[2].batch_size == (1,)
        assert len(env[1:]) == 3

    @pytest.mark.parametrize("index", [slice(4, 4), [], 4, [0, 4], [1, 1]])
    def test_there_are_none_elsewhere(self, index, cartpoles):
        with pytest.raises(IndexError):
            cartpoles[index]

    def test_not_of_batches_that_remember_for_all(self, make):
        with pytest.raises(TypeError, match=r"found auto_reset=True; give it to the envs"):
            make(auto_reset=True)[0]

    @pytest.mark.parametrize("first", [0, 1])
    def test_are_closed_together(self, first, make):
        env = make()
        batches = [env, env[0]]
        batches[first].close()
        for batch in batches:
            with pytest.raises(ClosedEnvError, match="make a new one"):
                batch.reset()


class TestOptions:
    def test_device(self, make, tools):
        env, plain = make(device="cpu", num_envs=3), SerialEnv(3, cartpole, device="cpu")
        for each in (env, plain):
            each.set_seed(SEED)
        found = env.rollout(10, break_when_any_done=False)
        assert found.device == env.device == env.reset().device == torch.device("cpu")
        tools.assert_same(found, plain.rollout(10, break_when_any_done=False))

    def test_nan_is_refused_or_let_through_by_all(self, make, scripted):
        env = make(lambda: scripted(rewards=[1.0, float("nan")]), num_envs=3)
        assert env.nonfinite == "error"
        with pytest.raises(NonFiniteError, match="'reward' returned by ParallelEnv"):
            env.rollout(3)
        env.nonfinite = "allow"
        assert env.map(lambda env: env.nonfinite) == ["allow"] * 3
        assert env.rollout(3)["next", "reward"].isnan().sum() == 6

    @pytest.mark.parametrize("chosen", [None, "3"])
    def test_workers_compute_in_one_thread(self, chosen, make, monkeypatch):
        monkeypatch.delenv("OPENCV_FOR_THREADS_NUM", raising=False)
        if chosen is not None:
            monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", chosen)
        found = make().map(lambda env: (torch.get_num_threads(), os.environ["OPENCV_FOR_THREADS_NUM"]))
        assert found == [(1, chosen or "1")] * 2

    @pytest.mark.parametrize("quiet", [True, False])
    def test_warnings_of_workers(self, quiet, make, scripted, monkeypatch):
        def loud():
            warnings.warn("here I am", stacklevel=1)
            return scripted()

        monkeypatch.setattr(envkit, "filter_warnings_subprocess", quiet)
        heard = contextlib.nullcontext() if quiet else pytest.raises(WorkerError, match="UserWarning: here I am")
        with heard:  # warnings are errors here, and in forked workers, too
            make(loud).start()


class TestClosing:
    def test_may_be_repeated(self, make):
        before, env = running(), make()
        env.rollout(2)
        for _ in range(2):
            env.close()
            assert env.is_closed
            assert running() == before

    @pytest.mark.parametrize("started", [True, False])
    @pytest.mark.parametrize(
        "use",
        [
            lambda env: env.reset(),
            lambda env: env.rollout(2),
            lambda env: env.step(TensorDict({"action": torch.zeros(2, dtype=torch.int64)}, [2])),
            lambda env: env.gravity,
            lambda env: env.render(),
            lambda env: env.set_seed(1),
            lambda env: env.snapshot(),
            lambda env: env[0],
            lambda env: env.start(),
        ],
    )
    def test_leaves_nothing_to_use(self, use, started, make):
        env = make()
        if started:
            env.reset()
        env.close()
        with pytest.raises(ClosedEnvError, match="make a new one"):
            use(env)

    def test_is_done_for_what_nobody_has(self, make):
        gc.disable()  # reference counts alone are to do it
        try:
            before = running()
            env = ParallelEnv(2, cartpole, mp_start_method="fork")
            env.rand_step(env.reset())
            env.rollout(3)
            env[1].rollout(3)
            Collector(env, frames_per_batch=4).next()
            assert running() == before + 2
            del env
            assert running() == before
        finally:
            gc.enable()

    def test_data_outlives_it(self, make):
        env = make()
        data = env.rollout(4)
        kept = data.clone()
        env.close()
        del env
        gc.collect()
        assert (data == kept).all()


class TestCopies:
    @pytest.mark.parametrize("send", [pickle, cloudpickle])
    def test_are_sent_before_the_start(self, send, make, tools):
        before, env = running(), make(lambda: pendulum(), num_envs=3)
        twin = send.loads(send.dumps(env))
        assert running() == before
        for each in (env, twin):
            each.set_seed(SEED)
        tools.assert_same(twin.rollout(5), env.rollout(5))
        twin.close()

    def test_are_not_sent_later(self, make):
        env = make()
        env.start()
        with pytest.raises(TypeError, match="expected one that has not started"):
            pickle.dumps(env)

    def test_go_on_from_where_the_original_stands(self, make, tools):
        env = make(num_envs=3)
        env.set_seed(SEED)
        start = env.maybe_reset(env.step_mdp(env.rollout(5)[:, -1]))
        twin = copy.deepcopy(env)
        options = {"auto_reset": False, "tensordict": start, "break_when_any_done": False}
        found, expected = (each.rollout(15, **options) for each in (twin, env))
        tools.assert_same(found, expected)
        twin.close()
        assert env.reset().batch_size == (3,)

    def test_without_a_start_have_none(self, make):
        before, twin = running(), copy.deepcopy(make())
        assert running() == before
        assert twin.rollout(2).batch_size == (2, 2)
        twin.close()

    def test_need_envs_that_can_be_copied(self, make, line):
        def stubborn():
            env = GymWrapper(line())
            env._env.lock = threading.Lock()
            return env

        env = make(stubborn)
        env.reset()
        with pytest.raises(TypeError, match="snapshot of ParallelEnv: expected envs that can be copied and sent"):
            env.snapshot()
        assert env.rollout(2).batch_size == (2, 2)


class TestDoctor:
    def test_examines_copies(self, make, tools):
        env, fresh, serial = make(), make(), SerialEnv(2, cartpole)
        for each in (env, serial):
            each.set_seed(SEED)
        data = [each.rollout(3)[:, -1] for each in (env, serial)]
        before = running()
        assert check_env_specs(env, steps=8) == []
        assert check_env_specs(fresh, steps=8) == []
        assert running() == before
        for i, each in enumerate((env, serial)):
            start = each.step_mdp(data[i])
            data[i] = each.rollout(20, auto_reset=False, tensordict=start, break_when_any_done=False)
        tools.assert_same(*data)

    def test_tells_what_is_wrong(self, make):
        def wrong():
            env = Levels()
            env.observation_spec = Composite(x=Bounded(0.0, 0.5, shape=(1,)))
            return env

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = check_env_specs(make(wrong), steps=8, raise_error=False)
        assert {finding.key for finding in found} == {"x"}

    def test_diagnosis(self, make):
        verdict = diagnose(make)
        assert verdict.env == "ParallelEnv"
        assert verdict.findings == []
        assert verdict.notes == []
        assert verdict.seconds_per_step > 0


class TestNeighbours:
    def test_metadata(self, cartpoles):
        data = pickle.loads(pickle.dumps(EnvMetaData.from_env(cartpoles)))
        assert data.batch_size == (4,)
        assert data.specs == cartpoles.specs
        assert data.env_str == repr(cartpoles)

    @pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
    def test_gymnasium_vector(self, mode, cartpoles):
        found, expected = (as_gymnasium_vector(env, autoreset_mode=mode) for env in (cartpoles, SerialEnv(4, cartpole)))
        assert found.metadata == expected.metadata
        assert found.render_mode is expected.render_mode is None
        bounds = {"options": {"low": -0.01, "high": 0.01}}
        for seed in ([1, 2, 3, 4], 7):
            for one, other in zip(found.reset(seed=seed, **bounds), expected.reset(seed=seed, **bounds), strict=True):
                assert np.array_equal(one, other)
        assert np.abs(found.reset(**bounds)[0]).max() < np.abs(expected.reset()[0]).max()
        for each in (found, expected):
            each.reset(seed=1)
        for step in range(30):
            action = np.full(4, step % 2)
            for one, other in zip(found.step(action)[:4], expected.step(action)[:4], strict=True):
                assert np.array_equal(one, other)

    @pytest.mark.parametrize("builder", ["cartpole", "walk", "two_agents"])
    def test_transforms_outside(self, builder, make, walk, two_agents, tools):
        build = {"cartpole": cartpole, "walk": walk, "two_agents": two_agents}[builder]
        envs = [
            TransformedEnv(batch, StepCounter(max_steps=4)) for batch in (make(build, num_envs=3), SerialEnv(3, build))
        ]
        assert envs[0].set_seed(SEED) == envs[1].set_seed(SEED)
        actions = tools.draw_actions(envs[1], 12)
        tools.assert_same(*[env.rollout(12, break_when_any_done=False) for env in envs])
        tools.assert_same(*[tools.by_hand(env, actions) for env in envs])

    def test_batches_and_threads(self, make, tools):
        first, second, found = make(num_envs=3), make(), {}
        serial = SerialEnv(3, cartpole)
        for env in (first, serial):
            env.set_seed(SEED)

        def run():
            first.start()
            found["data"] = first.rollout(20, break_when_any_done=False)

        thread = threading.Thread(target=run)
        thread.start()
        second.rollout(20, break_when_any_done=False)
        thread.join()
        tools.assert_same(found["data"], serial.rollout(20, break_when_any_done=False))
        assert first.rollout(3).batch_size == (3, 3)  # which another thread has started


class TestMemory:
    """Memory of data that nobody has any more is used again."""

    @staticmethod
    def blocks(*_):
        lines = Path("/proc/self/maps").read_text().splitlines()
        return sum("memfd:envkit" in line for line in lines)

    @pytest.mark.parametrize("rows", [lambda i: 50, lambda i: 20 + i], ids=["same", "different"])
    def test_does_not_grow(self, rows, make):
        env = make(num_envs=3)

        def use(i):
            env.rollout(rows(i), break_when_any_done=False)
            env[i % 3].rollout(4)
            td = env.reset()
            for _ in range(5):
                td = env.step_mdp(env.rand_step(td))

        def held():
            return [self.blocks(), len(os.listdir("/proc/self/fd")), *env.map(self.blocks)]

        for i in range(20):
            use(i)
        before = held()
        for i in range(20, 50):
            use(i)
        assert all(after <= some + 2 for after, some in zip(held(), before, strict=True)), (before, held())

    def test_starts_clear(self, make, scripted):
        env = make(scripted)
        for _ in range(3):
            data = env.rollout(4)
            assert not data["done"].any()
            data["done"].fill_(True)
            data["action"].fill_(1)
            del data
