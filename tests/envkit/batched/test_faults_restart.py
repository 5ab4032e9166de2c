"""R8: what becomes of data when a worker is put in the place of one that failed."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest
import torch

from envkit import (
    Collector,
    Composite,
    GymEnv,
    NonTensor,
    ObservationNorm,
    ParallelEnv,
    RewardSum,
    SpecError,
    TransformedEnv,
    Unbounded,
    WorkerError,
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.filterwarnings("ignore:worker .* it is restarted"),
]


def kill(env):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(env):
    raise ValueError("no luck")


def hang(env):
    time.sleep(1000)


class Counting:
    """An action for every step, all of them different."""

    def __init__(self):
        self.count = 0

    def __call__(self, td):
        self.count += 1
        return td.set("action", (torch.arange(float(len(td)))[:, None] / 10 + self.count / 1000) - 0.5)


@pytest.fixture
def batch(faults, tmp_path):
    """Makes a batch, of which env 1 gets into trouble once."""
    made = []

    def make(moment=None, what=None, workers=2, count=2, always=False, **options):
        trouble = {"at": options.pop("at", 3), "once": None if always else str(tmp_path / "once")}
        kwargs = [{"length": 6} | ({"moment": moment, "what": what} | trouble if i == 1 else {}) for i in range(count)]
        options = {"on_worker_failure": "restart", "mp_start_method": "fork"} | options
        env = ParallelEnv(workers, faults.Troubled, num_envs=count, create_env_kwargs=kwargs, **options)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


@pytest.fixture
def expected(faults):
    """What the envs do without trouble."""
    env = ParallelEnv(
        2, faults.Troubled, create_env_kwargs={"length": 6}, on_worker_failure="restart", mp_start_method="fork"
    )
    data = env.rollout(12, Counting(), break_when_any_done=False)
    env.close()
    return data


class TestInStep:
    @pytest.mark.parametrize(("how", "options"), [(kill, {}), (fail, {}), (hang, {"timeout": 0.5})])
    def test_the_episode_is_truncated(self, how, options, batch, expected, tools):
        env = batch("step", how, **options)
        data = env.rollout(12, Counting(), break_when_any_done=False)
        tools.assert_same(data[0], expected[0])
        one = data[1]
        tools.assert_same(one[:3], expected[1, :3])
        cut = one[3]
        assert torch.equal(cut["next", "observation"], cut["observation"])
        assert cut["observation"].tolist() == [3.0, 1.0]
        assert cut["next", "reward"].item() == 0.0
        assert {key: bool(cut["next", key]) for key in ("done", "terminated", "truncated", "worker_restarted")} == {
            "done": True,
            "terminated": False,
            "truncated": True,
            "worker_restarted": True,
        }
        assert one["observation"][4:].tolist() == [[float(i % 6), 1.0 + i // 6] for i in range(8)]  # from the start
        assert data["next", "worker_restarted"].sum() == 1
        assert not data["worker_restarted"].any()
        assert env.restarts == 1

    def test_warns(self, batch):
        env = batch("step", kill)
        with pytest.warns(UserWarning, match=r"worker 1 .*SIGKILL.*; it is restarted \(9 more times at most\)"):
            env.rollout(12, break_when_any_done=False)

    def test_ends_a_rollout_until_done(self, batch):
        data = batch("step", kill).rollout(12)
        assert data.batch_size == (2, 4)
        assert data["next", "truncated"][1, 3]
        assert not data["next", "done"][0].any()

    def test_of_envs_that_share_a_worker(self, batch):
        env = batch("step", kill, workers=2, count=4)
        data = env.rollout(8, Counting(), break_when_any_done=False)
        assert data["next", "worker_restarted"].squeeze(-1).sum(1).tolist() == [1, 1, 0, 0]
        assert data["observation"][0, 3:5].tolist() == [[3.0, 1.0], [0.0, 1.0]]
        assert data["observation"][2, :7, 0].tolist() == [0, 1, 2, 3, 4, 5, 0]

    def test_goes_on_where_only_what_is_not_done_is_stepped(self, batch):
        data = batch("step", kill).rollout(12, break_when_all_done=True, break_when_any_done=False)
        assert data["next", "worker_restarted"].squeeze(-1).sum(1).tolist() == [0, 3]  # the last data stands
        assert data["observation"][1, :, 0].tolist() == [0, 1, 2, 3, 3, 3]
        assert data["next", "reward"][1, 4:].sum() == 0
        assert data["next", "truncated"][1, 3:].all()

    def test_by_the_public_port(self, batch, tools, expected):
        env, td, rows, policy = batch("step", kill), None, [], Counting()
        td = env.reset()
        for _ in range(12):
            row, td = env.step_and_maybe_reset(policy(td))
            rows.append(row)
        data = torch.stack(rows, 1)
        tools.assert_same(data[0].contiguous(), expected[0])
        cut = data[1, 3]
        assert cut["next", "observation"].tolist() == cut["observation"].tolist() == [3.0, 1.0]
        assert cut["next", "truncated"] & cut["next", "worker_restarted"] & ~cut["next", "terminated"]
        assert not data["worker_restarted"].any()
        assert data["observation"][1, 4:].tolist() == [[float(i % 6), 1.0 + i // 6] for i in range(8)]

    def test_under_transforms(self, batch):
        env = TransformedEnv(batch("step", kill), RewardSum())
        data = env.rollout(12, Counting(), break_when_any_done=False)
        assert data["next", "episode_reward"][1, 3] == data["next", "episode_reward"][1, 2]
        assert data["next", "episode_reward"][1, 4] == data["next", "reward"][1, 4]

    @pytest.mark.parametrize("by_hand", [False, True])
    def test_under_a_transform_that_changes_what_is_seen(self, by_hand, batch):
        """What is repeated is what the env has shown, and is transformed once."""
        env = TransformedEnv(batch("step", kill), ObservationNorm(loc=1.0, scale=2.0, standard_normal=True))
        if by_hand:
            td, rows = env.reset(), []
            for _ in range(6):
                row, td = env.step_and_maybe_reset(env.rand_action(td))
                rows.append(row)
            data = torch.stack(rows, 1)
        else:
            data = env.rollout(6, break_when_any_done=False)
        assert torch.equal(data["next", "observation"][1, 3], data["observation"][1, 3])
        assert (data["observation"][1, :, 0] * 2 + 1).tolist() == [0, 1, 2, 3, 0, 1]

    def test_after_going_back(self, batch, faults):
        env = batch()
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(env.rand_action(td)))
        kept = env.snapshot()
        env.step(env.rand_action(env.step_mdp(env.step(env.rand_action(td.clone())))))
        env.restore(kept)
        victim = env.ask()[1]
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        data = env.step(env.rand_action(td))
        assert data["next", "worker_restarted"].flatten().tolist() == [False, True]
        assert data["next", "observation"][1].tolist() == data["observation"][1].tolist() == [2.0, 1.0]

    def test_in_a_collector(self, batch):
        collector = Collector(batch("step", kill), None, frames_per_batch=8, total_frames=24)
        batches = list(collector)
        data = torch.cat(batches, 1)
        assert data.batch_size == (2, 12)
        assert data["next", "worker_restarted"].sum() == 1
        ids = data["collector", "traj_ids"][1]
        assert ids[3] != ids[4]

    def test_of_a_gym_env(self, tmp_path):
        class Frail(GymEnv):
            def __init__(self):
                super().__init__("CartPole-v1")

            def break_down(self):
                os._exit(1)

        env = ParallelEnv(2, Frail, on_worker_failure="restart", mp_start_method="fork")
        env.set_seed(3)
        env.rollout(5, break_when_any_done=False)
        with pytest.raises(WorkerError):
            env[1].break_down()  # a method that was called, not a step of the run
        env.close()


class TestSeeds:
    def test_are_new_and_the_same_each_time(self, faults, tmp_path):
        class Random(faults.Troubled):
            def _set_seed(self, seed):
                self.random = np.random.default_rng(seed)

            def _observation(self):
                return torch.from_numpy(self.random.normal(size=2)).float()

        def run(name):
            kwargs = {"moment": "step", "what": kill, "at": 2, "once": str(tmp_path / name), "length": 5}
            options = {"on_worker_failure": "restart", "mp_start_method": "fork"}
            env = ParallelEnv(2, Random, create_env_kwargs=[{"length": 5}, kwargs], **options)
            env.set_seed(3)
            data = env.rollout(9, Counting(), break_when_any_done=False)
            env.close()
            return data

        first, second = run("first"), run("second")
        assert torch.equal(first["observation"], second["observation"])
        assert torch.equal(first["next", "observation"], second["next", "observation"])
        assert not torch.equal(first["observation"][1, 3], first["observation"][1, 0])  # it does not begin again


class TestElsewhere:
    @pytest.mark.parametrize("how", [kill, fail])
    def test_in_reset(self, how, batch):
        env = batch("reset", how)
        data = env.rollout(6, Counting(), break_when_any_done=False)
        assert env.restarts == 1
        assert data["observation"][:, :, 0].tolist() == [[0, 1, 2, 3, 4, 5]] * 2
        assert not data["next", "worker_restarted"].any()  # no episode was cut

    def test_in_a_reset_with_arguments(self, faults, tmp_path):
        class Asked(faults.Troubled):
            def _reset(self, tensordict=None, start=0):
                out = super()._reset(tensordict)
                self.count = start
                return out.set("observation", self._observation())

        kwargs = [{}, {"moment": "reset", "what": kill, "once": str(tmp_path / "once")}]
        env = ParallelEnv(2, Asked, create_env_kwargs=kwargs, on_worker_failure="restart", mp_start_method="fork")
        td = env.reset(list_of_kwargs=[{"start": 1}, {"start": 2}])
        assert td["observation"].tolist() == [[1, 1], [2, 1]]
        assert env.restarts == 1
        env.close()

    def test_in_a_reset_of_a_neighbour(self, batch, tmp_path):
        """Env 0 is in the middle of an episode when env 1, in the same worker, takes it along."""
        env = batch(workers=1)
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(td.set("action", torch.zeros(2, 1))))
        env.map(_break_at_reset, [None, str(tmp_path / "broken")])
        td = env.reset(td.set("_reset", torch.tensor([[False], [True]])))
        assert env.restarts == 1
        assert td["observation"].tolist() == [[2.0, 1.0], [0.0, 1.0]]
        td = env.step(td.set("action", torch.zeros(2, 1)))
        assert td["next", "worker_restarted"].all()
        assert td["next", "truncated"].all()
        assert td["next", "observation"].tolist() == [[2.0, 1.0], [0.0, 1.0]]
        td = env.maybe_reset(env.step_mdp(td))
        assert td["observation"][:, 0].tolist() == [0.0, 0.0]
        assert not env.step(td.set("action", torch.zeros(2, 1)))["next", "done"].any()

    def test_while_idle(self, batch, faults):
        env = batch()
        env.rollout(3, break_when_any_done=False)
        victim = env.ask()[1]
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        data = env.rollout(8, break_when_any_done=False)
        assert data["observation"][1].tolist() == [[float(i % 6), 1.0 + i // 6] for i in range(8)]
        assert data["observation"][0, 0].tolist() == [0.0, 2.0]
        assert env.restarts == 1

    def test_while_idle_between_batches(self, batch, faults):
        env = batch()
        collector = Collector(env, None, frames_per_batch=8, total_frames=-1)
        collector.next()
        victim = env.ask()[1]
        os.kill(victim, signal.SIGKILL)
        assert faults.soon(lambda: not faults.alive(victim))
        data = collector.next()
        assert data["observation"][0, :, 0].tolist() == [4, 5, 0, 1]
        assert data["observation"][1, :, 0].tolist() == [4, 0, 1, 2]
        assert data["next", "worker_restarted"].flatten(1).tolist() == [[False] * 4, [True, False, False, False]]
        assert data["next", "truncated"][1, 0]
        collector.shutdown()

    def test_while_it_is_restarted(self, faults, tmp_path):
        lives = tmp_path / "lives"
        lives.write_text("")

        def build(env):
            lives.write_text(lives.read_text() + "x")
            if len(lives.read_text()) in (2, 3):
                os._exit(4)

        class Frail(faults.Troubled):
            def _reset(self, tensordict=None):
                if lives.read_text() == "x":
                    os._exit(5)
                return super()._reset(tensordict)

        kwargs = {"moment": "build", "what": build}
        env = ParallelEnv(1, Frail, create_env_kwargs=kwargs, on_worker_failure="restart", mp_start_method="fork")
        assert env.rollout(4).batch_size == (1, 4)
        assert env.restarts == 3
        env.close()


class TestLimits:
    def test_after_that_the_failure_is_raised(self, batch):
        env = batch("step", kill, always=True, max_restarts=2)
        with pytest.raises(WorkerError, match="SIGKILL") as caught:
            env.rollout(100, break_when_any_done=False)
        assert caught.value.worker == 1
        assert caught.value.phase == "step"
        assert env.restarts == 2

    def test_none(self, batch):
        with pytest.raises(WorkerError):
            batch("step", kill, max_restarts=0).rollout(10)

    def test_a_build_that_fails_at_first_is_raised(self, batch):
        with pytest.raises(WorkerError, match="no luck"):
            batch("build", fail).start()

    def test_all_at_once(self, faults, tmp_path):
        kwargs = [{"moment": "step", "what": kill, "at": 2, "once": str(tmp_path / str(i))} for i in range(4)]
        env = ParallelEnv(
            4, faults.Troubled, create_env_kwargs=kwargs, on_worker_failure="restart", mp_start_method="fork"
        )
        data = env.rollout(6, break_when_any_done=False)
        assert data["next", "worker_restarted"].squeeze(-1).tolist() == [[False, False, True, False, False, False]] * 4
        assert env.restarts == 4
        env.close()

    def test_data_without_a_layout(self, faults):
        class Wordy(faults.Troubled):
            def __init__(self):
                super().__init__()
                self.observation_spec = Composite(observation=Unbounded((2,)), text=NonTensor(()))

        env = ParallelEnv(1, Wordy, on_worker_failure="restart", mp_start_method="fork")
        with pytest.raises(SpecError, match="expected 'raise' for envs whose data has no fixed layout"):
            env.start()

    def test_unknown_policy(self, faults):
        with pytest.raises(ValueError, match=r"on_worker_failure: expected one of .*, found 'retry'"):
            ParallelEnv(1, faults.Troubled, on_worker_failure="retry")

    def test_goes_on_quickly(self, batch, faults):
        env = batch("step", kill)
        env.reset()
        with faults.within(5.0):  # the time to build the env, and one second, on a quiet machine
            env.rollout(12, break_when_any_done=False)


def _break_at_reset(env, once):
    if once is not None:
        env.moment, env.what, env.once = "reset", kill, once
