from __future__ import annotations

import sys

import pytest
import torch

from envkit import (
    EnvDataError,
    MissingDependencyError,
    ResetNeededError,
    StepCounter,
    TransformedEnv,
    UnknownEnvError,
)
from envkit.checks import CHECKS
from envkit.libs.isaacgym import IsaacGymEnv, IsaacGymWrapper
from envkit.testing import run_check

from .fakes import isaacgym

COUNT, SEED, STEPS = 4, 7, 250  # 1,000 steps of single envs


@pytest.fixture(autouse=True)
def package(monkeypatch):
    torch.manual_seed(0)  # of random actions before a seed is set
    isaacgym.install(monkeypatch)


def make(task="Cartpole", **kwargs):
    return IsaacGymEnv(task, num_envs=COUNT, device="cpu", **kwargs)


# A task steps all of its envs, which "_step" masks for some of them ask not to.
@pytest.mark.parametrize("name", [name for name in CHECKS if name != "masks"])
@pytest.mark.parametrize("task", ["Random", "Walker"])
def test_conformance(task, name):
    run_check(lambda: make(task, num_states=2, auto_reset=task == "Walker"), name)


def alone(task, actions, steps):
    """What each env of a task does when it starts its episodes by itself, with the step whose action is wasted.

    For every env the list of (observation, action, next observation, reward, over, time out) without that step.
    """
    task.reset()
    task.step(torch.zeros(COUNT, 2))  # which starts all first episodes
    last = task.obs_dict["obs"].clone()
    lines, over = [[] for _ in range(COUNT)], torch.zeros(COUNT, dtype=torch.bool)
    while min(map(len, lines)) < steps:
        chosen = torch.stack([actions[i, min(len(line), steps - 1)] for i, line in enumerate(lines)])
        shown, reward, ended, extras = task.step(chosen)
        seen = shown["obs"].clone()
        for i, line in enumerate(lines):
            if not over[i]:
                flags = bool(ended[i]), bool(extras["time_outs"][i])
                line.append((last[i], chosen[i], seen[i], reward[i].item(), *flags))
        last, over = seen, ended.bool()
    return [line[:steps] for line in lines]


@pytest.mark.parametrize("task", ["Cartpole", "ShadowHand"])
def test_steps_are_those_of_a_loop_in_isaac_gym(task):
    data = make(task).rollout(STEPS, break_when_any_done=False)
    lines = alone(isaacgym.TASKS[task](COUNT), data["action"], STEPS)
    limits = ends = 0
    for i, line in enumerate(lines):
        for t, (seen, action, following, reward, over, limit) in enumerate(line):
            row = data[i, t]
            torch.testing.assert_close(row["obs"], seen, rtol=0, atol=0)
            torch.testing.assert_close(row["action"], action, rtol=0, atol=0)
            torch.testing.assert_close(row["next", "obs"], following, rtol=0, atol=0)
            assert row["next", "reward"].item() == reward
            assert row["next", "done"].item() == over
            assert row["next", "truncated"].item() == limit
            assert row["next", "terminated"].item() == (over and not limit)
            limits, ends = limits + limit, ends + over
    assert limits > 3
    assert ends - limits > 3


def test_a_task_that_resets_within_the_step():
    env = make("Walker", auto_reset=True)
    env.set_seed(SEED)
    data = env.rollout(STEPS, break_when_any_done=False)
    raw = isaacgym.Walker(COUNT)
    torch.manual_seed(SEED)
    raw.reset_idx(torch.arange(COUNT))
    raw.compute_observations()
    seen = raw.reset()["obs"].clone()
    ends = 0
    for row in data.unbind(1):
        assert bool((row["obs"] == seen).all())
        shown, reward, over, extras = raw.step(row["action"])
        seen, over = shown["obs"].clone(), over.bool()
        following = row["next"]
        assert bool((following["reward"].squeeze(-1) == reward).all())
        assert bool((following["done"].squeeze(-1) == over).all())
        assert bool((following["truncated"].squeeze(-1) == extras["time_outs"]).all())
        assert bool((following["obs"][~over] == seen[~over]).all())
        assert bool(following["obs"][over].isnan().all())
        ends += int(over.sum())
    assert ends > 3


def test_resets_of_some():
    env = make(num_states=2)
    data = env.reset()
    for _ in range(3):
        env.step(env.rand_action(data))
        data = env.step_mdp(data)
    before = data.clone()
    data["_reset"] = torch.tensor([[True], [False], [True], [False]])
    after = env.reset(data)
    assert after["obs"][:, 1].tolist() == [0, 3, 0, 3]
    assert after["obs"][:, 2].tolist() == [2, 1, 2, 1]
    for key in ("obs", "states"):
        assert bool((after[key][1::2] == before[key][1::2]).all())


def test_steps_of_some():
    env = make(max_episode_length=5)
    data = env.rollout(20, break_when_all_done=True)
    assert bool(data["next", "done"][:, -1].all())
    data = env.reset()
    data["_step"] = torch.tensor([[True], [False], [True], [True]])
    with pytest.raises(EnvDataError, match=r'"_step" mask .*found \[1\] left out'):
        env.step(env.rand_action(data))


def test_steps_after_the_end():
    env = make(max_episode_length=2)
    data = env.rand_step(env.reset())
    assert bool(data["next", "done"].all())
    with pytest.raises(ResetNeededError, match=r"expected a reset of the envs \[0, 1, 2, 3\]"):
        env.rand_step(env.step_mdp(data))


def test_limits_on_top_of_a_task_that_resets_within_the_step():
    env = TransformedEnv(make("Walker", auto_reset=True), StepCounter(max_steps=3))
    data = env.rollout(30, break_when_any_done=False)
    assert data["step_count"].max() < 3
    assert bool((data["obs"][..., 1:2] == data["step_count"]).all())


def test_seeds():
    rounds = []
    before = torch.get_rng_state()
    for seed in (SEED, SEED, SEED + 1):
        env = make("Random")
        env.set_seed(seed)
        rounds.append(env.rollout(60, break_when_any_done=False))
    assert torch.equal(torch.get_rng_state(), before)
    assert bool((rounds[0] == rounds[1]).all())
    assert not bool((rounds[0]["obs"] == rounds[2]["obs"]).all())
    made = [make("Random", seed=SEED).rollout(1)["obs"] for _ in range(2)]
    assert bool((made[0] == made[1]).all())


def test_data_outlives_the_buffers():
    env = make(num_states=1)
    data = env.rand_step(env.reset())
    kept = data.clone()
    env.rand_step(env.step_mdp(data.clone()))
    assert bool((data == kept).all())


def test_attributes_and_closing():
    env = make()
    assert env.max_episode_length == 20
    assert env.render().shape == (2, 2, 3)
    with pytest.raises(AttributeError, match="neither IsaacGymEnv nor the wrapped Cartpole has 'gravity'"):
        env.gravity  # noqa: B018
    env.close()
    env.close()
    assert env._env.closed


def test_names():
    assert IsaacGymEnv.available_envs == ["Cartpole", "Random", "ShadowHand", "Walker"]
    with pytest.raises(UnknownEnvError, match=r"unknown task 'CartPol': .* did you mean 'Cartpole'"):
        make("CartPol")
    with pytest.raises(TypeError, match=r"expected a VecTask of IsaacGymEnvs, found object, without \['num_envs'"):
        IsaacGymWrapper(object())


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "isaacgymenvs", None)
    assert IsaacGymEnv.available_envs == []
    with pytest.raises(MissingDependencyError, match=r"IsaacGymEnvs is not installed: .*imported before torch"):
        make()
