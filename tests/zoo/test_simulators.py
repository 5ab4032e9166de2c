"""Environments by their ids, and training teams in them."""

import itertools
import sys

import pytest
import torch

from envkit import StepCounter, UnknownEnvError
from envkit.errors import MissingDependencyError
from zoo.building import evaluation_env, make_agent, make_training_env
from zoo.clock import TrainingClock
from zoo.curve_hook import CurveHook
from zoo.evaluate import evaluate_agent
from zoo.registry import find_config
from zoo.simulators import make_copies, make_one
from zoo.video import episode_frames

SMALL = ["env.num_envs=2", "agent.hidden_sizes=[8]", "eval.curve_episodes=2"]
ON_POLICY = [*SMALL, "agent.steps_per_env=25", "agent.num_minibatches=2", "agent.epochs=1"]


@pytest.fixture
def vmas():
    return pytest.importorskip("vmas")


@pytest.fixture
def mpe2():
    return pytest.importorskip("mpe2")


def test_of_gymnasium_and_of_envkit():
    assert make_one("CartPole-v1").batch_size == make_one("envkit/CartPole-v0").batch_size == ()
    assert make_copies("CartPole-v1", 3).batch_size == make_copies("envkit/CartPole-v0", 3).batch_size == (3,)
    assert isinstance(make_one("envkit/CartPole-v0").transform[0], StepCounter)


def test_of_vmas(vmas):
    one, several = make_one("vmas/balance", n_agents=2), make_copies("vmas/balance", 3, n_agents=2)
    assert one.rollout(2)["agents", "action"].shape == (2, 2, 2)
    assert several.rollout(2)["agents", "action"].shape == (3, 2, 2, 2)
    with pytest.raises(UnknownEnvError, match=r"'balanse': expected one of .*balance"):
        make_one("vmas/balanse")


def test_of_pettingzoo(mpe2):
    one, several = make_one("pettingzoo/simple_spread_v3", N=2), make_copies("pettingzoo/simple_spread_v3", 3)
    assert one.rollout(2)["agent", "action"].shape == (2, 2)
    assert several.rollout(2)["agent", "action"].shape == (3, 2, 3)
    with pytest.raises(UnknownEnvError, match="simple_spread_v3"):
        make_one("pettingzoo/simple_spred_v3")


@pytest.mark.parametrize(
    ("name", "package"), [("mappo/vmas-balance", "vmas"), ("ippo/pettingzoo-simple_spread_v3", "mpe2")]
)
def test_videos_show_them(name, package):
    pytest.importorskip(package)
    config = find_config(name, ON_POLICY)
    agent = make_agent(config, make_training_env(config))
    env = evaluation_env(config, agent, render_mode="rgb_array", from_pixels=True, pixels_only=False)
    for picture in itertools.islice(episode_frames(env, agent.policy, [0]), 2):
        assert (picture.shape, picture.dtype) == ((700, 700, 3), "uint8")
        assert (picture != picture[0, 0]).any()


def test_a_simulator_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "vmas", None)
    with pytest.raises(MissingDependencyError, match=r"envkit\[vmas\]"):
        make_training_env(find_config("mappo/vmas-balance"))


def test_a_team_is_trained_and_judged(vmas):
    config = find_config("mappo/vmas-balance", [*ON_POLICY, "env.kwargs.max_steps=20", "total_steps=200"])
    agent = make_agent(config, make_training_env(config))
    assert agent.spaces.observation_keys == [("agents", "observation")]
    hook = CurveHook(config, agent, TrainingClock())
    agent.train(max_steps=100, hooks=[hook])
    score = evaluate_agent(agent, config, episodes=3)
    assert max(score.lengths) <= 20
    # The return of a team is the mean over its agents, who all earn the same here.
    env = evaluation_env(config, agent)
    env.set_seed(config.eval.first_seed)
    with torch.no_grad():
        reward = env.rollout(100, agent.policy, exploration_type="deterministic")["next", "agents", "reward"]
    assert score.returns[0] == pytest.approx(reward[:, 0].sum().item(), rel=1e-4)


def test_the_state_is_for_the_mixer_alone(mpe2):
    changes = [*SMALL, "agent.learning_starts=20", "agent.batch_size=8", "agent.steps_per_iteration=50"]
    config = find_config("qmix/pettingzoo-simple_spread_v3", [*changes, "total_steps=200"])
    agent = make_agent(config, make_training_env(config))
    assert (agent.spaces.observation_keys, agent.spaces.state_keys) == ([("agent", "observation")], ["state"])
    assert agent.train(max_steps=100)["updates"] > 0
    assert len(evaluate_agent(agent, config, episodes=2).returns) == 2
