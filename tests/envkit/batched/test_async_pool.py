from __future__ import annotations

import gc
import os
import random
import sys
import threading
import weakref

import cloudpickle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, TensorDict

from envkit import (
    Bounded,
    Categorical,
    ClosedEnvError,
    Collector,
    Compose,
    Composite,
    EnvBase,
    EnvDataError,
    ExplorationType,
    GymEnv,
    GymWrapper,
    NonTensor,
    PolicyError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    WorkerError,
    check_env_specs,
    exploration_type,
    set_exploration_type,
)
from envkit.batched.async_pool import AsyncEnvPool

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

SEED = 5
BACKENDS = ("threading", "multiprocessing")
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def cartpole():
    return GymEnv("CartPole-v1", max_episode_steps=12)


class Counting(EnvBase):
    """Counts its steps, and does at each what its script says."""

    def __init__(self, gate=None, script=(), **kwargs):
        super().__init__(**kwargs)
        self.observation_spec = Composite(count=Unbounded((*self.batch_size, 1)))
        self.action_spec = Categorical(2, shape=self.batch_size)
        self.gate, self.script = gate, dict(script)
        self.count = 0
        self.threads = [threading.get_ident()]
        self.modes = []

    def _set_seed(self, seed):
        self.seed = seed

    def _observe(self):
        return TensorDict({"count": torch.full((*self.batch_size, 1), float(self.count))}, self.batch_size)

    def _reset(self, tensordict=None):
        self.count = 0
        return self._observe()

    def _step(self, tensordict):
        self.count += 1
        self.threads.append(threading.get_ident())
        self.modes.append((exploration_type(), torch.is_grad_enabled(), torch.get_num_threads()))
        order = self.script.get(self.count)
        if order == "wait":  # until somebody opens the other end
            with open(self.gate) as gate:
                gate.read()
        elif order == "exit":
            os._exit(3)
        elif order is not None:
            raise order
        shape = (*self.batch_size, 1)
        return self._observe().update({"reward": torch.ones(shape), "done": torch.zeros(shape, dtype=torch.bool)})

    def close(self, **kwargs):
        self.threads.append(threading.get_ident())
        order = self.script.get("close")
        if order is not None:
            raise order
        super().close()


class Gate:
    """Holds up an env, in whatever thread or process it is, until it is opened."""

    def __init__(self, folder):
        self.path = str(folder / "gate")
        os.mkfifo(self.path)

    def open(self):
        with open(self.path, "w"):
            pass


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


@pytest.fixture
def pools():
    """Makes pools, and closes them in the end."""
    made = []

    def make(*args, **kwargs):
        made.append(AsyncEnvPool(*args, **kwargs))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def counting(scripts, gate=None):
    """Makers of envs that count, each with a script."""
    return [lambda script=script: Counting(None if gate is None else gate.path, script) for script in scripts]


def acted(tensordict):
    return tensordict.set("action", torch.ones(tensordict.batch_size, dtype=torch.int64))


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("envkit env")]


class TestAtTheirOwnPace:
    @both_backends
    def test_a_slow_env_holds_up_nobody(self, backend, gate, pools):
        pool = pools(counting([{1: "wait"}, {}, {}], gate), backend=backend)
        pool.async_reset_send()
        first = pool.async_reset_recv(min_get=3)
        assert sorted(first["env_index"].tolist()) == [0, 1, 2]
        pool.async_step_send(acted(first))
        counts = [0, 0, 0]
        for count in range(1, 4):  # the others go on, step after step
            quick = pool.async_step_recv(min_get=2)
            assert sorted(quick["env_index"].tolist()) == [1, 2]
            assert quick["next", "count"].flatten().tolist() == [count, count]
            pool.async_step_send(acted(pool.step_mdp(quick)))
            counts = quick["env_index"].tolist()
        assert pool.pending == [0, 1, 2]
        assert sorted(counts) == [1, 2]
        gate.open()
        seen = set()
        while pool.pending:
            seen |= set(pool.async_step_recv()["env_index"].tolist())
        assert seen == {0, 1, 2}

    @both_backends
    def test_answers_of_a_kind_are_called_for_by_kind(self, backend, gate, pools):
        pool = pools(counting([{1: "wait"}, {}], gate), backend=backend)
        pool.reset()
        pool.async_step_send(acted(TensorDict(batch_size=[1])), env_index=[0])
        pool.async_reset_send(env_index=[1])
        assert pool.async_reset_recv()["env_index"].tolist() == [1]
        gate.open()
        assert pool.async_step_recv()["env_index"].tolist() == [0]

    @settings(deadline=None, max_examples=20, derandomize=True)
    @given(choices=st.integers(0, 2**32), rounds=st.integers(1, 15))
    def test_trajectories_are_those_of_single_envs(self, choices, rounds):
        """Whoever is sent when, and received when: each env sees its own actions, in order."""
        choose = random.Random(choices)
        pool, singles = AsyncEnvPool([cartpole] * 3), [cartpole() for _ in range(3)]
        seed = SEED
        pool.set_seed(seed)
        for single in singles:
            seed = single.set_seed(seed)
        pool.async_reset_send()
        idle = {}
        for part in pool.async_reset_recv(min_get=3).unbind(0):
            idle[part["env_index"].item()] = part
        steps, alone = [0] * 3, [single.reset() for single in singles]
        for _ in range(rounds):
            chosen = choose.sample(sorted(idle), choose.randint(0, len(idle)))
            if chosen:
                sent = [idle.pop(i).set("action", torch.tensor((steps[i] + i) % 2)) for i in chosen]
                pool.async_step_and_maybe_reset_send(torch.stack(sent))
            if not pool.pending:
                continue
            rows, following = pool.async_step_and_maybe_reset_recv(choose.randint(1, len(pool.pending)))
            for row, after in zip(rows.unbind(0), following.unbind(0), strict=True):
                i = row["env_index"].item()
                expected, alone[i] = singles[i].step_and_maybe_reset(
                    alone[i].set("action", torch.tensor((steps[i] + i) % 2))
                )
                steps[i] += 1
                for found, single in ((row, expected), (after, alone[i])):
                    for key in single.keys(True, True):
                        assert torch.equal(found[key], single[key])
                idle[i] = after
        pool.close()

    def test_with_a_batch_of_its_own_inside(self, pools):
        pool = pools([lambda: Counting(batch_size=[2])] * 3)
        assert pool.batch_size == (3, 2)
        pool.async_reset_send(env_index=[2, 0])
        found = pool.async_reset_recv(min_get=2)
        assert sorted(found["env_index"].tolist()) == [[0, 0], [2, 2]]
        pool.async_step_send(acted(found))
        assert pool.async_step_recv(min_get=2)["next", "reward"].shape == (2, 2, 1)

    @both_backends
    def test_names_of_dimensions_stay(self, backend, pools):
        pool = pools([lambda: Counting(batch_size=[2])] * 2, backend=backend)
        sent = acted(pool.reset())
        sent.names = [None, "agents"]
        pool.async_step_send(sent)
        assert pool.async_step_recv(min_get=2).names == [None, "agents"]

    def test_what_a_policy_adds_stays(self, pools):
        pool = pools([cartpole] * 2)
        pool.async_reset_send()
        pool.async_step_send(acted(pool.async_reset_recv(2)).set("log_prob", torch.tensor([0.1, 0.2])))
        found = pool.async_step_recv(2)
        assert sorted(found["log_prob"].tolist()) == torch.tensor([0.1, 0.2]).tolist()


class TestWhoIsMeant:
    def test_one_env(self, pools):
        pool = pools(counting([{}] * 3))
        pool.async_reset_send(env_index=1)
        found = pool.async_reset_recv()
        assert found["env_index"].tolist() == [1]
        pool.async_step_send(acted(found[0].exclude("env_index")), env_index=1)
        assert pool.async_step_recv()["env_index"].tolist() == [1]

    def test_all_envs_in_order(self, pools):
        pool = pools(counting([{}] * 3))
        pool.async_step_send(acted(pool.reset()))
        assert sorted(pool.async_step_recv(min_get=3)["env_index"].tolist()) == [0, 1, 2]

    def test_a_reset_is_given_what_is_sent(self, pools):
        pool = pools(counting([{}] * 3))
        pool.async_reset_send(TensorDict({"level": torch.tensor([7.0, 8.0])}, [2]), env_index=[2, 1])
        found = pool.async_reset_recv(min_get=2)
        assert dict(zip(found["env_index"].tolist(), found["level"].tolist(), strict=True)) == {2: 7.0, 1: 8.0}

    @pytest.mark.parametrize("index", [[0, 0], [3], [-1], []])
    def test_numbers_that_are_no_envs(self, index, pools):
        pool = pools(counting([{}] * 3))
        with pytest.raises(ValueError, match="env_index: expected different numbers from 0 to 2, found"):
            pool.async_reset_send(env_index=index)

    def test_data_of_nobody(self, pools):
        pool = pools(counting([{}] * 3))
        with pytest.raises(EnvDataError, match=r"'env_index' is missing: .*batch size \[3\]; found \[2\]"):
            pool.async_reset_send(TensorDict(batch_size=[2]))
        with pytest.raises(ValueError, match=r"expected data of batch size \[1\] for 1 envs, found \[2\]"):
            pool.async_reset_send(TensorDict(batch_size=[2]), env_index=[0])

    def test_actions_are_checked_before_they_are_sent(self, pools):
        pool = pools(counting([{}] * 2))
        td = pool.reset()
        with pytest.raises(PolicyError, match=r"'action' is missing: expected torch.int64 of shape \[2\]"):
            pool.async_step_send(td)
        with pytest.raises(PolicyError, match=r"'action': expected torch.int64 of shape \[2\], found \[2, 5\]"):
            pool.async_step_send(td.set("action", torch.zeros(2, 5, dtype=torch.int64)))
        assert pool.pending == []

    def test_an_env_does_one_thing_at_a_time(self, gate, pools):
        pool = pools(counting([{1: "wait"}, {}], gate))
        td = pool.reset()
        pool.async_step_send(acted(td.clone()))
        for use in (
            lambda: pool.async_step_send(acted(td.clone())),
            lambda: pool.async_reset_send(env_index=0),
            pool.reset,
        ):
            with pytest.raises(RuntimeError, match=r"envs \[0.*\] are at work: expected their answers to be received"):
                use()
        gate.open()
        pool.async_step_recv(min_get=2)
        pool.reset()

    @pytest.mark.parametrize("count", [0, 3])
    def test_no_more_answers_than_are_to_come(self, count, pools):
        pool = pools(counting([{}] * 3))
        pool.async_reset_send(env_index=[0, 1])
        with pytest.raises(ValueError, match=rf"min_get: expected 1 to 2, the number .*'reset' to come, found {count}"):
            pool.async_reset_recv(min_get=count)
        with pytest.raises(ValueError, match="min_get: expected 1 to 0"):
            pool.async_step_recv()


class TestData:
    def test_what_is_sent_is_copied(self, gate, pools):
        class Reads(Counting):
            def _step(self, tensordict):
                out = super()._step(tensordict)
                return out.set("reward", tensordict["action"].float().reshape(1))

        pool = pools([lambda: Reads(gate.path, {1: "wait"})])
        sent = acted(pool.reset())
        pool.async_step_send(sent)
        sent["action"].zero_()
        gate.open()
        assert pool.async_step_recv()["next", "reward"].item() == 1

    def test_answers_stay_as_they_are(self, pools):
        pool = pools([cartpole] * 2)
        pool.async_reset_send()
        first = pool.async_reset_recv(min_get=2)
        before = first.clone()
        pool.rollout(20, break_when_any_done=False)
        assert (first == before).all()

    @pytest.mark.parametrize("grad", [True, False])
    def test_the_callers_context_is_the_envs(self, grad, pools):
        threads = torch.get_num_threads()
        torch.set_num_threads(threads + 1)
        try:
            pool = pools(counting([{}]))
            with set_exploration_type(ExplorationType.MODE), torch.set_grad_enabled(grad):
                pool.step(acted(pool.reset()))
            assert pool.modes == [[(ExplorationType.MODE, grad, threads + 1)]]
            assert torch.get_num_threads() == threads + 1
        finally:
            torch.set_num_threads(threads)


class Growing(EnvBase):
    """Observes more and more rows, and a word."""

    def __init__(self, start=0, length=3):
        super().__init__()
        self.start, self.length = start, length
        self.observation_spec = Composite(rows=Unbounded((-1, 2)), word=NonTensor(()))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

    def _set_seed(self, seed):
        self.seed = seed

    def _observe(self):
        return TensorDict({"rows": torch.full((self.count + 1, 2), float(self.count)), "word": "x" * self.count})

    def _reset(self, tensordict=None):
        self.count = self.start
        return self._observe()

    def _step(self, tensordict):
        self.count += 1
        ends = torch.tensor([self.count >= self.length])
        return self._observe().update({"reward": tensordict["action"].clone(), "done": ends})


class TestStacks:
    def received(self, pool):
        pool.async_reset_send()
        return pool.async_reset_recv(min_get=2)

    def test_lazy(self, pools):
        found = self.received(pools([lambda: Growing(0), lambda: Growing(2)], stack="lazy"))
        assert isinstance(found, LazyStackedTensorDict)
        assert {part["env_index"].item(): part["rows"].shape[0] for part in found.unbind(0)} == {0: 1, 1: 3}

    def test_maybe_dense(self, pools):
        alike = self.received(pools([lambda: Growing(1)] * 2, stack="maybe_dense"))
        assert alike["rows"].shape == (2, 2, 2)
        other = self.received(pools([lambda: Growing(0), lambda: Growing(2)], stack="maybe_dense"))
        assert [part["word"] for part in sorted(other.unbind(0), key=lambda part: part["env_index"])] == ["", "xx"]

    def test_dense_keeps_what_it_cannot_put_together(self, pools):
        pool = pools([lambda: Growing(0), lambda: Growing(2)])
        with pytest.raises(EnvDataError, match=r"expected data of one layout for stack='dense'.*'lazy' puts up"):
            self.received(pool)
        assert sorted(pool.pending) == [0, 1]
        pool.stack = "lazy"
        assert len(pool.async_reset_recv(min_get=2)) == 2

    @both_backends
    def test_in_step(self, backend, pools):
        makers = [lambda: Growing(length=2), lambda: Growing(length=3)]
        pool, serial = pools(makers, backend=backend), SerialEnv(2, makers)
        data = []
        for env in (pool, serial):
            env.set_seed(SEED)
            data.append(env.rollout(5, break_when_any_done=False))
        for i in range(2):
            for t in range(5):
                found, expected = (part[i, t] for part in data)
                assert found["next", "word"] == expected["next", "word"]
                for key in ("rows", ("next", "rows"), ("next", "done"), "action"):
                    assert torch.equal(found[key], expected[key])


class TestInStep:
    """As an env like others it has the data of a SerialEnv."""

    @both_backends
    def test_rollouts_equal_those_of_a_serial_env(self, backend, pools, tools):
        pool, serial = pools([cartpole] * 3, backend=backend), SerialEnv(3, cartpole)
        assert pool.specs == serial.specs
        assert pool.set_seed(SEED) == serial.set_seed(SEED)
        for _ in range(2):
            options = {"max_steps": 60, "break_when_any_done": False}
            tools.assert_same(pool.rollout(**options), serial.rollout(**options))
        options = {"max_steps": 60, "break_when_any_done": False, "break_when_all_done": True}
        tools.assert_same(pool.rollout(**options), serial.rollout(**options))

    @pytest.mark.parametrize("make", ["walk", "two_agents", "mapping_env", "dict_obs", "transformed", "auto_reset"])
    def test_of_every_kind(self, make, request, pools, tools, scripted):
        found = {
            "dict_obs": lambda: GymWrapper(request.getfixturevalue("dict_obs")()),
            "transformed": lambda: TransformedEnv(cartpole(), Compose(StepCounter(max_steps=7), RewardSum())),
            "auto_reset": lambda: scripted(terminated=[False, False, True], auto_reset=True),
        }
        maker = found.get(make) or request.getfixturevalue(make)
        pool, serial = pools([maker] * 3), SerialEnv(3, maker)
        for env in (pool, serial):
            env.set_seed(SEED)
        data = [env.rollout(30, break_when_any_done=False) for env in (pool, serial)]
        assert set(data[0].keys(True, True)) == set(data[1].keys(True, True))
        for key, value in data[1].items(True, True):
            assert torch.equal(data[0][key].nan_to_num(7), value.nan_to_num(7)), key

    @settings(deadline=None, max_examples=15, derandomize=True)
    @given(plan=st.lists(st.tuples(*[st.sampled_from(["step", "rest", "reset"])] * 3), min_size=1, max_size=8))
    def test_masks(self, plan):
        pool, serial = AsyncEnvPool([cartpole] * 3), SerialEnv(3, cartpole)
        tds = []
        for env in (pool, serial):
            env.set_seed(SEED)
            td = env.reset()
            rows = []
            for orders in plan:
                steps, resets = (torch.tensor([order == kind for order in orders]) for kind in ("step", "reset"))
                rows.append(env.step(acted(td).set("_step", steps)))
                td = env.reset(env.step_mdp(rows[-1]).set("_reset", resets.unsqueeze(-1)))
                rows.append(td.clone())
            tds.append(rows)
        for found, expected in zip(*tds, strict=True):
            for key, value in expected.items(True, True):
                assert torch.equal(found[key], value), key
        pool.close()

    def test_data_of_other_sizes_from_the_start(self, pools):
        pool = pools([lambda: Growing(0), lambda: Growing(1)])
        assert [part["rows"].shape[0] for part in pool.rollout(2)[:, 0].unbind(0)] == [1, 2]

    @both_backends
    def test_it_is_in_order(self, backend, pools):
        assert check_env_specs(pools([cartpole] * 2, backend=backend)) == []

    def test_a_reset_hands_its_arguments_to_all(self, pools, line):
        pool = pools([lambda: GymWrapper(line())] * 2)
        pool.reset(options={"low": 1})
        assert [inner.options for inner in pool.unwrapped] == [[{"low": 1}]] * 2
        pool.reset(list_of_kwargs=[{"options": {"low": i}} for i in range(2)])
        assert [inner.options[-1] for inner in pool.unwrapped] == [{"low": 0}, {"low": 1}]

    def test_actions_drawn_by_the_envs(self, pools):
        class Always(Counting):
            def rand_action(self, tensordict=None):
                return acted(TensorDict() if tensordict is None else tensordict)

        pool = pools([Always] * 3)
        assert not pool.draws_from_spec
        assert pool.rollout(10)["action"].all()

    def test_actions_of_some_of_the_envs(self, pools):
        class Own(Counting):
            """Its actions tell it from the others."""

            def __init__(self, number):
                super().__init__()
                self.action_spec = Categorical(5)
                self.number = number

            def rand_action(self, tensordict=None):
                tensordict = TensorDict() if tensordict is None else tensordict
                return tensordict.set("action", torch.tensor(self.number))

        pool = pools([lambda i=i: Own(i) for i in range(4)])
        pool.async_reset_send(env_index=[3, 1])
        data = pool.rand_action(pool.async_reset_recv(2))
        assert torch.equal(data["action"], data["env_index"])
        pool.async_step_send(data)
        assert pool.async_step_recv(2)["next", "count"].tolist() == [[1.0], [1.0]]

    def test_actions_of_some_are_drawn_like_those_of_all(self, pools):
        pool = pools([cartpole] * 3)
        drawn = []
        for sizes in ([3, 3, 3], [1, 2, 3, 2, 1]):
            pool.set_seed(SEED)
            parts = [TensorDict({"env_index": torch.arange(size)}, [size]) for size in sizes]
            drawn.append(torch.cat([pool.rand_action(part)["action"] for part in parts]))
        assert torch.equal(*drawn)
        assert 0 < drawn[0].sum() < 9

    def test_actions_of_nobody_knows_whom(self, pools):
        pool = pools([cartpole] * 3)
        with pytest.raises(EnvDataError, match="'env_index' is missing"):
            pool.rand_action(TensorDict({}, [2]))
        with pytest.raises(ValueError, match=r"numbers from 0 to 2, found \[5\]"):
            pool.rand_action(TensorDict({"env_index": torch.tensor([5])}, [1]))
        assert pool.rand_action(TensorDict({}, [3]))["action"].shape == (3,)

    def test_transforms_and_collectors_go_around_it(self, pools):
        env = TransformedEnv(pools([cartpole] * 2), Compose(StepCounter(max_steps=9), RewardSum()))
        for batch in Collector(env, None, frames_per_batch=60, total_frames=120):
            assert batch["next", "step_count"].max() <= 9
            assert torch.equal(batch["next", "step_count"].float(), batch["next", "episode_reward"])

    def test_snapshots(self, pools):
        pool = pools([cartpole] * 2)
        pool.set_seed(SEED)
        td = pool.reset()
        before = pool.snapshot()
        first = pool.step(acted(td.clone()))
        pool.restore(before)
        assert torch.equal(pool.step(acted(td))["next", "observation"], first["next", "observation"])

    def test_nan_is_refused_or_let_through_by_all(self, pools, scripted):
        pool = pools([lambda: scripted(rewards=[float("nan")])] * 2)
        with pytest.raises(WorkerError, match="NonFiniteError: 'reward' returned by ScriptedEnv"):
            pool.rollout(2)
        pool.nonfinite = "allow"
        assert pool.nonfinite == "allow"
        assert pool.rollout(2)["next", "reward"].isnan().all()

    def test_device(self, pools):
        pool = pools([cartpole] * 2, device="cpu")
        pool.async_reset_send()
        assert pool.async_reset_recv(2).device == pool.rollout(3).device == torch.device("cpu")


class TestAttributes:
    @both_backends
    def test_are_gathered(self, backend, pools):
        options = [{"env_name": "Pendulum-v1", "g": float(i)} for i in range(2)]
        pool = pools([GymEnv] * 2, create_env_kwargs=options, backend=backend)
        assert pool.g == [0.0, 1.0]
        assert pool.get_wrapper_attr("max_speed") == [8, 8]
        with pytest.raises(AttributeError, match="have no 'gravitas'"):
            pool.gravitas  # noqa: B018
        assert repr(pool).startswith("AsyncEnvPool(2 x GymEnv(env=Pendulum-v1")

    def test_some_of_the_envs(self, pools):
        pool = pools(counting([{}] * 4))
        part = pool[1:3]
        assert part.batch_size == (2,)
        part.step(acted(part.reset()))
        assert pool.count == [0, 1, 1, 0]
        part.async_reset_send(env_index=1)
        assert pool.pending == [2]
        assert part.async_reset_recv()["env_index"].tolist() == [1]


class TestFailures:
    @both_backends
    def test_of_one_env_leave_the_others_their_answers(self, backend, pools):
        pool = pools(counting([{}, {1: ZeroDivisionError("boo")}, {}]), backend=backend)
        pool.set_seed(SEED)
        seeds = pool.seed
        pool.async_step_send(acted(pool.reset()))
        with pytest.raises(WorkerError, match=r"worker 1 .*phase 'step': raised ZeroDivisionError: boo") as raised:
            pool.async_step_recv(min_get=3)
        error = raised.value
        assert (error.worker, error.env_indices, error.phase) == (1, [1], "step")
        assert error.env_name == "Counting(batch_size=[], device=None)"
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert error.remote_type == "ZeroDivisionError"
        assert "in _step" in error.remote_traceback
        assert error.last_action.item() == 1
        assert error.seed == seeds[1]
        others = pool.async_step_recv(min_get=2)
        assert sorted(others["env_index"].tolist()) == [0, 2]
        pool.async_reset_send(env_index=[1])
        assert pool.async_reset_recv()["count"].item() == 0
        assert pool.pending == []

    @both_backends
    def test_in_step(self, backend, pools):
        pool = pools(counting([{}, {2: ValueError("boo")}, {}]), backend=backend)
        with pytest.raises(WorkerError, match=r"worker 1 .*phase 'step': raised ValueError: boo"):
            pool.rollout(3)
        assert pool.count == [2, 2, 2]  # all have finished
        assert pool.reset()["count"].flatten().tolist() == [0, 0, 0]

    def test_of_every_kind_are_only_answers(self, pools):
        pool = pools(counting([{1: SystemExit(3)}, {1: KeyboardInterrupt()}]))
        pool.async_step_send(acted(pool.reset()))
        kinds = set()
        for _ in range(2):
            with pytest.raises(WorkerError) as raised:
                pool.async_step_recv()
            kinds.add(raised.value.remote_type)
        assert kinds == {"SystemExit", "KeyboardInterrupt"}
        pool.reset()

    def test_the_death_of_a_process(self, pools):
        pool = pools(counting([{}, {1: "exit"}, {}]), backend="multiprocessing")
        pool.async_step_send(acted(pool.reset()))
        with pytest.raises(WorkerError, match=r"worker 1 .*ended with exit code 3") as raised:
            pool.async_step_recv(min_get=3)
        assert raised.value.exit_code == 3
        assert sorted(pool.async_step_recv(min_get=2)["env_index"].tolist()) == [0, 2]
        pool.async_reset_send()
        with pytest.raises(WorkerError, match="exit code 3"):
            pool.async_reset_recv(min_get=3)
        assert sorted(pool.async_reset_recv(min_get=2)["env_index"].tolist()) == [0, 2]

    def test_a_thread_that_takes_too_long(self, gate, pools):
        pool = pools(counting([{1: "wait"}, {}], gate), timeout=1.0)
        pool.async_step_send(acted(pool.reset()))
        with pytest.raises(WorkerError, match=r"worker 0 .*did not answer within 1.0 s. Its stack") as raised:
            pool.async_step_recv(min_get=2)
        assert "gate.read()" in raised.value.remote_traceback or "open(self.gate)" in raised.value.remote_traceback
        assert pool.async_step_recv()["env_index"].tolist() == [1]
        assert pool.pending == []
        with pytest.raises(WorkerError, match=r"worker 0 .*did not answer"):
            pool.reset()
        gate.open()
        assert pool.reset()["count"].flatten().tolist() == [0, 0]  # the late answer was dropped

    def test_a_process_that_takes_too_long(self, gate, pools):
        pool = pools(counting([{1: "wait"}, {}], gate), timeout=4.0, backend="multiprocessing")
        pool.async_step_send(acted(pool.reset()))
        with pytest.raises(WorkerError, match=r"worker 0 .*did not answer within 4(.0)? s; it was ended"):
            pool.async_step_recv(min_get=2)
        assert pool.async_step_recv()["env_index"].tolist() == [1]
        with pytest.raises(WorkerError, match="worker 0"):
            pool.reset()

    @both_backends
    def test_in_the_making(self, backend):
        def broken():
            raise ValueError("no luck")

        with pytest.raises(WorkerError, match=r"worker 1 .*phase 'build': raised ValueError: no luck"):
            AsyncEnvPool([cartpole, broken], backend=backend)
        assert alive() == []

    def test_an_interrupted_caller_may_go_on(self, gate, pools, monkeypatch):
        pool = pools(counting([{1: "wait"}, {}], gate))
        td = acted(pool.reset())
        slots = pool._desk.slots
        wait = slots.wait

        def interrupted(*args):
            monkeypatch.setattr(slots, "wait", wait)
            raise KeyboardInterrupt

        monkeypatch.setattr(slots, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.step(td)
        gate.open()
        assert pool.reset()["count"].flatten().tolist() == [0, 0]


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"backend": "asyncio"}, r"backend: expected one of \['threading', 'multiprocessing'\], found 'asyncio'"),
            ({"stack": "sparse"}, r"stack: expected one of .*, found 'sparse'"),
            ({"timeout": 0}, "timeout: expected a positive number of seconds, found 0"),
            ({"timeout": float("inf")}, "timeout: expected a positive number of seconds, found inf"),
            ({"create_env_kwargs": [{}]}, "env_makers: .*found 2 for 2 functions and 1 kwargs"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            AsyncEnvPool([cartpole] * 2, **options)

    def test_makers(self):
        with pytest.raises(ValueError, match="env_makers: expected a positive number"):
            AsyncEnvPool([])
        with pytest.raises(TypeError, match="expected a function that makes an env, found GymEnv"):
            AsyncEnvPool([cartpole, cartpole()])

    @both_backends
    def test_specs_must_be_equal(self, backend):
        makers = [cartpole, lambda: GymEnv("Pendulum-v1")]
        with pytest.raises(SpecError, match="expected envs of equal specs, but full_action_spec of env 1 differs"):
            AsyncEnvPool(makers, backend=backend)
        assert alive() == []

    def test_what_cannot_be_sent(self):
        lock = threading.Lock()
        with pytest.raises(SpecError, match="expected something that can be sent to another process"):
            AsyncEnvPool([lambda: Counting(lock)], backend="multiprocessing")


class TestClose:
    def test_ends_the_threads(self):
        pool = AsyncEnvPool(counting([{}] * 3))
        assert len(alive()) == 3
        pool.async_step_send(acted(pool.reset()))
        pool.close()
        pool.shutdown()
        assert alive() == []
        assert pool.is_closed
        with pytest.raises(ClosedEnvError):
            pool.async_reset_send()
        with pytest.raises(ClosedEnvError):
            pool.async_step_recv()
        with pytest.raises(ClosedEnvError):
            pool.reset()

    def test_everything_happens_in_a_thread_of_the_envs_own(self):
        made = []

        def make():
            made.append(Counting())
            return made[-1]

        pool = AsyncEnvPool([make] * 2)
        pool.step(acted(pool.reset()))
        pool.close()
        assert all(env.is_closed and len(env.threads) == 3 and len(set(env.threads)) == 1 for env in made)
        assert made[0].threads[0] != made[1].threads[0] != threading.get_ident()

    def test_of_an_env_that_raises(self):
        pool = AsyncEnvPool(counting([{"close": ValueError("no way")}, {}]))
        with pytest.warns(RuntimeWarning, match="worker 0 raised ValueError in close: no way"):
            pool.close()
        assert alive() == []

    def test_of_an_env_that_hangs(self, gate):
        pool = AsyncEnvPool(counting([{1: "wait"}, {}], gate))
        pool.async_step_send(acted(pool.reset()))
        pool.async_step_recv()
        with pytest.warns(RuntimeWarning, match=r"worker 0 is still in 'step' after 1.0 s; it is left alone"):
            pool.close(1.0)
        (left,) = alive()
        gate.open()
        left.join(10)
        assert alive() == []

    def test_a_forgotten_pool_ends_its_threads(self):
        pool = AsyncEnvPool(counting([{}] * 2))
        pool.rollout(2)
        threads, gone = alive(), weakref.ref(pool)
        del pool
        gc.collect()
        assert gone() is None
        for thread in threads:
            thread.join(10)
        assert alive() == []

    def test_processes_end(self):
        pool = AsyncEnvPool([cartpole] * 2, backend="multiprocessing")
        pool.close()
        pool.close()
        with pytest.raises(ClosedEnvError):
            pool.reset()
