from __future__ import annotations

import gymnasium
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics

from envkit import EpisodeStats, GymEnv, GymWrapper, SerialEnv, SpecError, TransformedEnv
from envkit.transforms import episode_stats


@pytest.fixture
def still(monkeypatch):
    """A clock that stands still."""
    monkeypatch.setattr(episode_stats, "perf_counter", lambda: 1.0)


def pendulum(length=5):
    return GymEnv("Pendulum-v1", max_episode_steps=length)


@pytest.mark.usefixtures("still")
def test_promises(kit, scripted):
    kit.all(pendulum, EpisodeStats)
    kit.all(lambda: scripted(terminated=[False, True]), EpisodeStats)
    assert kit.on_rows(TransformedEnv(SerialEnv(2, pendulum), EpisodeStats()))


def test_queues():
    env = TransformedEnv(SerialEnv(2, [pendulum, lambda: pendulum(3)]), EpisodeStats(buffer_length=4))
    data = env.rollout(15, break_when_any_done=False)
    stats = env.transform[0]
    ended = data["next", "done"].squeeze(-1)
    lengths = data["next", "episode", "l"].squeeze(-1).t()[ended.t()].tolist()
    returns = data["next", "episode", "r"].squeeze(-1).t()[ended.t()].tolist()
    times = data["next", "episode", "t"].squeeze(-1).t()[ended.t()].tolist()
    assert list(stats.length_queue) == lengths[-4:]
    assert list(stats.return_queue) == returns[-4:]
    assert list(stats.time_queue) == times[-4:]
    assert min(times) > 0


def test_what_is_not_stepped_ends_once():
    env = TransformedEnv(SerialEnv(2, [lambda: pendulum(6), lambda: pendulum(3)]), EpisodeStats())
    env.rollout(10, break_when_any_done=False, break_when_all_done=True)
    assert list(env.transform[0].length_queue) == [3, 6]


def test_equals_gymnasiums(tools):
    make = lambda: gymnasium.make("CartPole-v1")
    env, other = TransformedEnv(GymWrapper(make()), EpisodeStats()), RecordEpisodeStatistics(make())
    actions = tools.draw_actions(env, 300)
    env.set_seed(3)
    data = env.rollout(300, tools.FixedPolicy(actions), break_when_any_done=False)
    other.reset(seed=3)
    for row, action in zip(data.unbind(0), actions, strict=True):
        *_, terminated, truncated, info = other.step(action["action"].item())
        assert bool(row["next", "done"]) is (terminated or truncated)
        if terminated or truncated:
            assert row["next", "episode", "r"].item() == info["episode"]["r"]
            assert row["next", "episode", "l"].item() == info["episode"]["l"]
            other.reset()
    stats = env.transform[0]
    assert len(stats.length_queue) > 5
    assert list(stats.length_queue) == list(other.length_queue)
    assert list(stats.return_queue) == list(other.return_queue)


def test_refused(two_agents):
    with pytest.raises(SpecError, match="EpisodeStats: expected a reward 'reward' of the shape of the flag 'done'"):
        TransformedEnv(two_agents(), EpisodeStats())
    with pytest.raises(SpecError, match="EpisodeStats: expected no observation 'observation' in the env inside"):
        TransformedEnv(pendulum(), EpisodeStats(stats_key="observation"))
    with pytest.raises(ValueError, match="buffer_length: expected at least 1"):
        EpisodeStats(0)
