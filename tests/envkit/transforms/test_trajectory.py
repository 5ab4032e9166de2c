from __future__ import annotations

import pytest
import torch

from envkit import (
    Bounded,
    GymEnv,
    InitTracker,
    SerialEnv,
    SpecError,
    StepCounter,
    Timer,
    TrajCounter,
    TransformedEnv,
    check_env_specs,
)
from envkit.transforms import trajectory


def batch(lengths=(2, 3, 5)):
    return SerialEnv(len(lengths), [lambda n=n: GymEnv("Pendulum-v1", max_episode_steps=n) for n in lengths])


class TestTrajCounter:
    def test_promises(self, kit, two_agents):
        for make in (batch, lambda: GymEnv("Pendulum-v1", max_episode_steps=3), lambda: two_agents(lengths=(2, 3))):
            kit.ports_agree(make, TrajCounter)
            check_env_specs(TransformedEnv(make(), TrajCounter()))
        assert kit.on_rows(TransformedEnv(batch(), TrajCounter()))

    def test_numbers(self):
        env = TransformedEnv(batch(), TrajCounter())
        data = env.rollout(7, break_when_any_done=False)
        assert data["traj_count"].squeeze(-1).tolist() == [
            [0, 0, 3, 3, 5, 5, 7],
            [1, 1, 1, 4, 4, 4, 8],
            [2, 2, 2, 2, 2, 6, 6],
        ]
        assert torch.equal(data["next", "traj_count"], data["traj_count"])
        assert env.reset()["traj_count"].min() > 8

    def test_repeats(self):
        env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=1), TrajCounter("id", repeats=3))
        assert env.rollout(7, break_when_any_done=False)["id"].flatten().tolist() == [0, 0, 0, 1, 1, 1, 2]

    def test_the_count_is_part_of_the_state(self):
        env, other = (TransformedEnv(batch(), TrajCounter()) for _ in range(2))
        env.rollout(7, break_when_any_done=False)
        other.load_state_dict(env.state_dict())
        assert torch.equal(other.reset()["traj_count"], env.reset()["traj_count"])

    def test_refused(self):
        with pytest.raises(SpecError, match="TrajCounter belongs on a batch as a whole"):
            SerialEnv(2, lambda: TransformedEnv(GymEnv("Pendulum-v1"), TrajCounter()))
        with pytest.raises(SpecError, match="TrajCounter: expected no observation 'observation' in the env inside"):
            TransformedEnv(GymEnv("Pendulum-v1"), TrajCounter("observation"))
        with pytest.raises(ValueError, match="TrajCounter: repeats: expected at least 1, found 0"):
            TrajCounter(repeats=0)


class TestTimer:
    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that goes on by 1 second whenever it is asked."""
        seconds = iter(range(10**6))
        monkeypatch.setattr(trajectory, "perf_counter", lambda: float(next(seconds)))

    @pytest.mark.usefixtures("clock")
    def test_times(self):
        env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=2), Timer())
        data = env.rollout(4, break_when_any_done=False)
        assert data["next", "time_step"].flatten().tolist() == [1, 1, 1, 1]
        assert data["next", "time_policy"].flatten().tolist() == [1, 1, 1, 1]
        assert data["time_reset"].flatten().tolist() == [1, 1, 1, 1]
        assert data["time_step"].flatten().tolist() == [0, 1, 0, 1]

    def test_specs(self):
        env = TransformedEnv(batch(), Timer(out_keys=["a", "b", "c"]))
        assert env.observation_spec["a"] == Bounded(0.0, torch.inf, (3, 1), dtype=torch.float64)
        data = env.rollout(3)
        assert (data["next", "a"] > 0).all()
        assert (data["c"] > 0).all()
        assert env.observation_spec.is_in(data[:, 0].select("a", "b", "c", "observation"))

    def test_refused(self):
        with pytest.raises(ValueError, match=r"Timer: out_keys: expected three.*\['a'\]"):
            Timer("a")
        with pytest.raises(SpecError, match="Timer: expected no observation 'time_step'"):
            TransformedEnv(GymEnv("Pendulum-v1"), [Timer(), Timer()])


@pytest.mark.parametrize("transform", [StepCounter(step_count_key="observation"), InitTracker("observation")])
def test_what_the_env_shows_is_not_overwritten(transform):
    with pytest.raises(SpecError, match="expected no observation 'observation' in the env inside, found Bounded"):
        TransformedEnv(GymEnv("Pendulum-v1"), transform)
