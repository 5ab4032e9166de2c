from __future__ import annotations

import pytest
import torch

from envkit import Bounded, GymEnv, RandomTruncationTransform, SerialEnv, TransformedEnv, check_env_specs


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=50)


def test_promises(kit, two_agents):
    make = lambda: RandomTruncationTransform(2, 6, prob=0.7)
    for env in (pendulum, lambda: SerialEnv(3, pendulum), lambda: two_agents(lengths=(4, 9))):
        kit.ports_agree(env, make)
        check_env_specs(TransformedEnv(env(), make()))
    # Where nothing is left to chance a batch of transforms is a transform of the batch.
    kit.all(pendulum, lambda: RandomTruncationTransform(4, 4))
    assert kit.on_rows(TransformedEnv(pendulum(), make()))


def lengths(env, steps=400):
    env.set_seed(0)
    done = env.rollout(steps, break_when_any_done=False)["next", "done"].reshape(-1, steps)
    return [torch.diff(row.nonzero().flatten(), prepend=torch.tensor([-1])) for row in done]


def test_lengths():
    env = TransformedEnv(SerialEnv(2, pendulum), RandomTruncationTransform(2, 6))
    first, second = lengths(env)
    assert first.unique().tolist() == second.unique().tolist() == [2, 3, 4, 5, 6]
    assert first.tolist() != second.tolist()
    assert torch.equal(lengths(env)[0], first)
    assert env.observation_spec["steps_left"] == Bounded(-1, 6, (2, 1), dtype=torch.int64)


def test_some_go_on():
    env = TransformedEnv(pendulum(), RandomTruncationTransform(2, 6, prob=0.5))
    (found,) = lengths(env)
    assert set(found.tolist()) <= {2, 3, 4, 5, 6, 50}
    assert 50 in found
    assert found.min() <= 6
    assert set(lengths(TransformedEnv(pendulum(), RandomTruncationTransform(2, 6, prob=0.0)))[0].tolist()) == {50}


def test_refused():
    for low, high in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"expected 1 <= min_horizon <= max_horizon, found {low} and {high}"):
            RandomTruncationTransform(low, high)
    with pytest.raises(ValueError, match="prob: expected a number from 0 to 1, found 2"):
        RandomTruncationTransform(1, 3, prob=2)
