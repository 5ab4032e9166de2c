"""Seeds: streams that do not meet, and the same bytes from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import (
    Collector,
    Compose,
    GymEnv,
    InitTracker,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    seed_generator,
    spawn_seed,
)

few = settings(deadline=None, max_examples=60, derandomize=True)
seeds = st.integers(0, 2**63 - 1)
parts = st.one_of(st.integers(0, 2**70), st.text(max_size=8), st.integers(0, 5), st.sampled_from(["actions", "worker"]))
keys = st.lists(parts, max_size=4).map(tuple)


class TestKeyedStreams:
    @few
    @given(first=st.tuples(seeds, keys), second=st.tuples(seeds, keys))
    def test_of_other_names_are_others(self, first, second):
        same = first == second
        assert (spawn_seed(first[0], *first[1]) == spawn_seed(second[0], *second[1])) is same

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ((2**32,), (0, 1)),
            ((2**64,), (0, 0, 1)),
            ((1, 0), (1,)),
            ((0,), ()),
            (("ab",), ("a", "b")),
            (("1",), (1,)),
            ((0x0548F1EF,), ("actions",)),
            ((1, 2), (2, 1)),
        ],
    )
    def test_names_that_look_alike(self, first, second):
        assert spawn_seed(7, *first) != spawn_seed(7, *second)

    @few
    @given(key=keys, start=st.integers(0, 2**40))
    def test_of_neighbouring_seeds_share_nothing(self, key, start):
        found = {spawn_seed(seed, *key) for seed in range(start, start + 20)}
        assert len(found) == 20

    def test_do_not_overlap(self):
        """No stretch of one stream of actions turns up in another."""
        drawn = [
            torch.rand(2000, generator=torch.Generator().manual_seed(spawn_seed(seed, *key)), dtype=torch.float64)
            for seed in (0, 1, 2**31)
            for key in ((), ("actions",), ("worker", 0), ("worker", 1), (0, "worker"))
        ]
        assert len(torch.cat(drawn).unique()) == 15 * 2000

    @few
    @given(seed=seeds, key=keys)
    def test_fit_every_generator(self, seed, key):
        spawned = spawn_seed(seed, *key)
        assert 0 <= spawned < 2**63
        torch.Generator().manual_seed(spawned)
        np.random.default_rng(spawned)
        assert spawn_seed(seed, *key) == spawned

    def test_of_negative_seeds(self):
        with pytest.raises(ValueError, match="non-negative"):
            spawn_seed(-1, "actions")


class TestChain:
    def test_of_the_page(self):
        """The next seed is computed from the one before: a row of envs has seeds of its own, whichever run it is."""
        seed, given_out = 0, []
        for _ in range(4):
            given_out.append(seed)
            seed = GymEnv("CartPole-v1").set_seed(seed)
        assert given_out == [0, 795726461, seed_generator(795726461), seed_generator(seed_generator(795726461))]
        env = SerialEnv(4, lambda: GymEnv("CartPole-v1"))
        assert env.set_seed(0) == seed
        assert [sub._seed for sub in env._envs] == given_out

    @few
    @given(runs=st.lists(st.integers(0, 2**31), min_size=2, max_size=6, unique=True))
    def test_runs_share_no_seed(self, runs):
        seen = []
        for seed in runs:
            for _ in range(30):
                seen.append(seed)
                seed = seed_generator(seed)
                assert 0 <= seed < 2**32 - 1
        assert len(set(seen)) == len(seen)

    def test_a_static_seed_stays(self):
        assert GymEnv("CartPole-v1").set_seed(5, static_seed=True) == 5
        env = SerialEnv(3, lambda: GymEnv("CartPole-v1"))
        assert env.set_seed(5, static_seed=True) == 5
        assert len(env.reset()["observation"].unique(dim=0)) == 1

    def test_of_a_transformed_env_is_that_of_the_env_inside(self):
        env = TransformedEnv(SerialEnv(3, lambda: GymEnv("CartPole-v1")), StepCounter())
        assert env.set_seed(4) == SerialEnv(3, lambda: GymEnv("CartPole-v1")).set_seed(4)

    def test_without_a_seed(self, scripted):
        env = scripted()
        env.set_seed(1)
        assert env.set_seed(None) is None
        torch.manual_seed(0)
        first = env.rollout(20)["action"]
        torch.manual_seed(0)
        assert torch.equal(env.rollout(20)["action"], first)


def counted(env):
    return TransformedEnv(env, Compose(StepCounter(max_steps=9), RewardSum(), InitTracker()))


MAKES = {
    "gym": lambda: GymEnv("CartPole-v1"),
    "continuous": lambda: GymEnv("Pendulum-v1", max_episode_steps=9),
    "serial": lambda: SerialEnv(3, lambda: GymEnv("CartPole-v1")),
    "transformed": lambda: counted(GymEnv("CartPole-v1")),
    "transformed serial": lambda: counted(SerialEnv(2, lambda: GymEnv("Pendulum-v1"))),
    "serial of transformed": lambda: SerialEnv(2, lambda: counted(GymEnv("CartPole-v1"))),
}


@pytest.mark.parametrize("name", MAKES)
class TestSameSeedSameBytes:
    def test_rollouts(self, name, tools):
        def run(seed):
            env = MAKES[name]()
            env.set_seed(seed)
            return env.rollout(40, break_when_any_done=False)

        tools.assert_same(run(11), run(11))
        assert not torch.equal(run(11)["observation"], run(12)["observation"])
        assert not torch.equal(run(11)["action"], run(12)["action"])

    def test_whatever_ran_before(self, name, tools):
        env = MAKES[name]()
        env.set_seed(11)
        first = env.rollout(15, break_when_any_done=False)
        torch.rand(7), np.random.random(3), env.rollout(4)
        env.set_seed(11)
        tools.assert_same(env.rollout(15, break_when_any_done=False), first)

    def test_steps(self, name, tools):
        def run():
            env = MAKES[name]()
            env.set_seed(3)
            td, rows = env.reset(), []
            for _ in range(12):
                row, td = env.step_and_maybe_reset(env.rand_action(td))
                rows.append(row)
            return torch.stack(rows)

        tools.assert_same(run(), run())

    def test_collectors(self, name, tools):
        def run(frames):
            env = MAKES[name]()
            collector = Collector(env, frames_per_batch=frames * env.numel(), total_frames=24 * env.numel())
            collector.set_seed(11)
            return torch.cat(list(collector), env.batch_dims)

        tools.assert_same(run(8), run(8))
        env = MAKES[name]()
        env.set_seed(11)
        whole = env.rollout(24, break_when_any_done=False)
        tools.assert_same(run(24).exclude("collector"), whole)

    def test_a_transform_that_changes_nothing_about_actions_changes_no_action(self, name, tools):
        plain, around = MAKES[name](), TransformedEnv(MAKES[name](), StepCounter(step_count_key="steps"))
        for env in (plain, around):
            env.set_seed(11)
        tools.assert_same(
            around.rollout(20, break_when_any_done=False).exclude("steps", ("next", "steps")),
            plain.rollout(20, break_when_any_done=False),
        )


def test_actions_and_simulators_have_streams_of_their_own():
    """How many actions were drawn has no say in where an episode starts, and the other way round."""
    few_actions, many = GymEnv("Pendulum-v1", max_episode_steps=5), GymEnv("Pendulum-v1", max_episode_steps=5)
    for env in (few_actions, many):
        env.set_seed(0)
    for _ in range(50):
        many.rand_action()
    assert torch.equal(few_actions.reset()["observation"], many.reset()["observation"])
    first = GymEnv("Pendulum-v1")
    first.set_seed(0)
    actions = [first.rand_action()["action"].item() for _ in range(3)]
    second = GymEnv("Pendulum-v1")
    second.set_seed(0)
    second.reset(), second.reset()
    assert [second.rand_action()["action"].item() for _ in range(3)] == actions
