from __future__ import annotations

import itertools

import pytest
import torch
from tensordict import TensorDict

from envkit import GymEnv, MultiAction, SerialEnv, StepCounter, TransformedEnv, check_env_specs

OPTIONS = [
    {"stack_rewards": rewards, "stack_observations": observations}
    for rewards, observations in itertools.product([True, False], repeat=2)
]


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=7)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["pendulum", "walk", "two_agents"])
def test_promises(kit, walk, two_agents, options, name):
    make = {"pendulum": pendulum, "walk": walk, "two_agents": lambda: two_agents(lengths=(2, 5))}[name]
    kit.all(make, lambda: MultiAction(3, **options))


@pytest.mark.parametrize("options", OPTIONS)
def test_what_single_steps_do(kit, tools, options):
    env = TransformedEnv(pendulum(), MultiAction(3, **options))
    actions = tools.draw_actions(env, 2)
    found = kit.rollout(env, actions)
    single = [TensorDict({"action": action}) for step in actions for action in step["action"]]
    expected = kit.rollout(pendulum(), single)["next"]
    rewards, observations = expected["reward"].reshape(2, 3, 1), expected["observation"].reshape(2, 3, 3)
    if options["stack_rewards"]:
        assert torch.equal(found["next", "reward"], rewards)
    else:
        assert torch.equal(found["next", "reward"], rewards[:, 0] + rewards[:, 1] + rewards[:, 2])
    if options["stack_observations"]:
        assert torch.equal(found["next", "observation"], observations)
        assert (found["observation"][0] == found["observation"][0, 0]).all()
    else:
        assert torch.equal(found["next", "observation"], observations[:, -1])


def test_an_end_on_the_way(scripted):
    base = scripted(rewards=[1.0, 2.0, 4.0], terminated=[False, False, False, True])
    env = TransformedEnv(base, MultiAction(3, stack_observations=True))
    data = env.rollout(5)["next"]
    assert data["reward"].squeeze(-1).tolist() == [[1, 2, 4], [4, 0, 0]]
    assert data["observation"].squeeze(-1).tolist() == [[1, 2, 3], [4, 4, 4]]
    assert data["done"].flatten().tolist() == [False, True]
    assert base.steps == 4


def test_others_of_a_batch_go_on(scripted):
    env = TransformedEnv(
        SerialEnv(2, [lambda: scripted(terminated=[True]), lambda: scripted()]), MultiAction(3, stack_rewards=False)
    )
    data = env.rollout(2, break_when_any_done=False)["next"]
    assert data["reward"].squeeze(-1).tolist() == [[1, 1], [3, 3]]
    assert data["observation"].squeeze(-1).tolist() == [[1, 1], [3, 6]]


def test_between_other_transforms(scripted):
    env = TransformedEnv(scripted(), [StepCounter(max_steps=4), MultiAction(3), StepCounter(step_count_key="outer")])
    data = env.rollout(9)["next"]
    assert data["step_count"].flatten().tolist() == [3, 4]
    assert data["outer"].flatten().tolist() == [1, 2]
    check_env_specs(env)


def test_refused():
    with pytest.raises(ValueError, match="MultiAction: num_actions: expected at least 1, found 0"):
        MultiAction(0)
