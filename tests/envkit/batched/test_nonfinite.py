"""R9 in many envs: one of them returns NaN, and the others are none the worse for it."""

from __future__ import annotations

import copy
import os
import signal
import sys
import warnings

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict

from envkit import (
    AsyncEnvPool,
    Categorical,
    Collector,
    Composite,
    EnvBase,
    GymVectorWrapper,
    GymWrapper,
    MultiAsyncCollector,
    MultiSyncCollector,
    NonFiniteError,
    ObservationNorm,
    ParallelEnv,
    SerialEnv,
    TransformedEnv,
    Unbounded,
    WorkerError,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

AT, WHO = 2, 1  # the step of the first episode, and the env


class Counts(gymnasium.Env):
    """Observes its steps and its episode."""

    def __init__(self, broken):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.broken, self.count, self.episode = broken, 0, 0

    def reset(self, *, seed=None, options=None):
        self.count, self.episode = 0, self.episode + 1
        return np.array([0, self.episode], np.float32), {}

    def step(self, action):
        wrong = self.broken and self.episode == 1 and self.count == AT
        self.count += 1
        observation = np.array([np.nan if wrong else self.count, self.episode], np.float32)
        return observation, 1.0, self.count == 6, False, {}


class Grows(EnvBase):
    """Observes more and more."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observation_spec = Composite(x=Unbounded((-1,)))
        self.action_spec = Unbounded((1,))
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, truncated=flag.clone())

    def _set_seed(self, seed):
        self.seed = seed

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"x": torch.zeros(1)})

    def _step(self, tensordict):
        self.count += 1
        x = torch.full((self.count + 1,), np.nan if self.count == AT + 1 else 1.0)
        return TensorDict({"x": x, "reward": torch.ones(1), "done": torch.zeros(1) > 0})


def make(broken, **options):
    return GymWrapper(Counts(broken), **options)


def makers(**options):
    return [lambda i=i: make(i == WHO, **options) for i in range(3)]


BATCHES = {
    "serial": lambda **options: SerialEnv(3, makers(**options)),
    "parallel": lambda **options: ParallelEnv(2, makers(**options), num_envs=3, mp_start_method="fork"),
    "threads": lambda **options: AsyncEnvPool(makers(**options)),
}


@pytest.fixture(params=BATCHES)
def batch(request):
    made = []

    def build(**options):
        made.append(BATCHES[request.param](**options))
        return made[-1]

    build.kind = request.param
    yield build
    for env in made:
        env.close()


def rollout(env):
    return env.rollout(10, break_when_any_done=False)


def by_hand(env):
    rows, td = [], env.reset()
    for _ in range(10):
        row, td = env.step_and_maybe_reset(env.rand_action(td))
        rows.append(row.clone())
    return torch.stack(rows, 1)


def collected(env):
    return torch.cat(list(Collector(env, frames_per_batch=15, total_frames=30)), 1)


every_way = pytest.mark.parametrize("run", [rollout, by_hand, collected])


def assert_cut_off(data):
    counts = [[1, 2, 3, 4, 5, 6, 1, 2, 3, 4]] * 3
    counts[WHO] = [1, 2, 2, 1, 2, 3, 4, 5, 6, 1]
    assert data["next", "observation"][..., 0].tolist() == counts
    assert data["next", "truncated"].squeeze(-1).nonzero().tolist() == [[WHO, AT]]
    assert data["next", "done"][WHO].flatten().nonzero().flatten().tolist() == [AT, AT + 6]
    assert data["next", "reward"][WHO].flatten().tolist() == [0.0 if i == AT else 1.0 for i in range(10)]
    assert data["observation"][WHO, AT + 1].tolist() == [0.0, 2.0]


@pytest.mark.filterwarnings("ignore:.*the episode is truncated")  # told where the env is
class TestTruncating:
    @every_way
    def test_one_of_them(self, run, batch):
        assert_cut_off(run(batch(nonfinite="truncate")))

    @every_way
    def test_once_it_is_asked_for(self, run, batch):
        env = batch()
        env.nonfinite = "truncate"
        assert env.nonfinite == "truncate"
        assert_cut_off(run(env))

    def test_on_rows_that_are_bound_already(self, batch):
        env = batch(nonfinite="allow")
        assert rollout(env)["next", "observation"].isnan().sum() == 1
        env.map(lambda env: setattr(env._env, "episode", 0))
        env.nonfinite = "truncate"
        assert_cut_off(rollout(env))
        env.map(lambda env: setattr(env._env, "episode", 0))
        env.nonfinite = "allow"
        assert by_hand(env)["next", "observation"].isnan().sum() == 1

    @every_way
    def test_inside_a_transform_that_changes_what_is_seen(self, run, batch):
        env = TransformedEnv(batch(), ObservationNorm(loc=1.0, scale=2.0, standard_normal=True))
        env.nonfinite = "truncate"
        data = run(env)
        for key in ("observation", ("next", "observation")):
            data[key] = data[key] * 2.0 + 1.0
        assert_cut_off(data)

    @pytest.mark.parametrize("kind", [SerialEnv, ParallelEnv, AsyncEnvPool])
    def test_data_without_a_layout(self, kind):
        functions, options = [Grows] * 2, {"nonfinite": "truncate"}
        if kind is AsyncEnvPool:
            env = kind(functions, create_env_kwargs=options, stack="lazy")
        else:
            forked = {"mp_start_method": "fork"} if kind is ParallelEnv else {}
            env = kind(2, functions, create_env_kwargs=options, **forked)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is sent, too
            data = env.rollout(5, break_when_any_done=False)
        assert [part["next", "x"].shape[-1] for part in data[WHO].unbind(0)] == [2, 3, 3, 2, 3]
        assert data["next", "truncated"].squeeze(-1).tolist() == [[i == AT for i in range(5)]] * 2
        env.close()

    def test_in_a_copy(self):
        env = BATCHES["parallel"]()
        env.nonfinite = "truncate"
        twin = copy.deepcopy(env)
        assert_cut_off(rollout(twin))
        twin.close()
        env.close()

    def test_in_a_new_worker(self):
        """What envs were told holds for those that are built in their place."""
        env = ParallelEnv(1, lambda: make(True), mp_start_method="fork", on_worker_failure="restart")
        env.nonfinite = "truncate"
        os.kill(env.map(lambda env: os.getpid())[0], signal.SIGKILL)
        with pytest.warns(UserWarning, match="it is restarted"):
            env.reset()
        assert env.map(lambda env: env.nonfinite) == ["truncate"]
        env.close()


class TestTheOthers:
    @pytest.mark.parametrize("run", [rollout, collected])
    def test_an_error_names_key_step_and_env(self, run, batch):
        where = {"serial": "env 1", "parallel": "env 1 of worker 1", "threads": "env 1"}[batch.kind]
        error, text = NonFiniteError, rf"'observation' returned by .*found nan at step {AT}, at {where}, index \[0\]"
        if batch.kind == "threads":  # envs that are stepped by hand look at their first steps
            error, text = WorkerError, "'observation' returned by GymWrapper._step.*found nan at index"
        with pytest.raises(error, match=text):
            run(batch())

    @every_way
    def test_a_warning_comes_once(self, run, batch):
        with pytest.warns(UserWarning, match="'observation' returned by .*found nan") as said:
            data = run(batch(nonfinite="warn"))
        # In threads, the env has looked at its first steps before the batch does.
        assert len(said) == (2 if batch.kind == "threads" and run is not by_hand else 1)
        assert data["next", "observation"].isnan().sum() == 1

    @every_way
    def test_all_may_pass(self, run, batch):
        assert run(batch(nonfinite="allow"))["next", "observation"].isnan().sum() == 1

    def test_the_most_lenient_rules(self):
        env = SerialEnv(3, [lambda mode=mode: make(False, nonfinite=mode) for mode in ("error", "warn", "truncate")])
        assert env.nonfinite == "warn"


@pytest.mark.parametrize("autoreset", AutoresetMode)
def test_in_a_vector_env(autoreset):
    """Which knows nothing of it, and is made to reset that element."""
    vector = SyncVectorEnv([lambda i=i: Counts(i == WHO) for i in range(3)], autoreset_mode=autoreset)
    env = GymVectorWrapper(vector, nonfinite="truncate")
    with pytest.warns(UserWarning, match="the episode is truncated"):
        assert_cut_off(rollout(env))


@pytest.mark.parametrize("kind", [MultiSyncCollector, MultiAsyncCollector])
class TestCollectors:
    def collect(self, kind, **options):
        functions = [lambda i=i: make(i == WHO, **options) for i in range(2)]
        frames = 20 if kind is MultiSyncCollector else 10
        with kind(functions, frames_per_batch=frames, mp_start_method="fork") as collector:
            parts = [collector.next() for _ in range(20 // frames)]
        return torch.cat(sorted(parts, key=lambda part: part["collector", "traj_ids"][0, 0].item()))

    def test_truncate(self, kind):
        data = self.collect(kind, nonfinite="truncate")
        assert data["next", "observation"].isfinite().all()
        assert data["next", "truncated"].squeeze(-1).nonzero().tolist() == [[WHO, AT]]
        assert data["collector", "traj_ids"][WHO].tolist() == [WHO] * 3 + [WHO + 2] * 6 + [WHO + 4]

    def test_refuse(self, kind):
        with pytest.raises(
            WorkerError, match=rf"worker 1.*NonFiniteError: 'obs(.|\n)*found nan at step {AT}"
        ) as caught:
            self.collect(kind)
        assert isinstance(caught.value.__cause__, NonFiniteError)

    def test_let_pass(self, kind):
        assert self.collect(kind, nonfinite="allow")["next", "observation"].isnan().sum() == 1
