from __future__ import annotations

import pytest
import torch

from envkit import (
    AutoResetTransform,
    CartPoleEnv,
    Collector,
    Compose,
    GymEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from envkit.storage import flat_items

SEED = 2


def cartpole():
    return GymEnv("CartPole-v1")


MAKERS = {
    "single": cartpole,
    "serial": lambda: SerialEnv(3, cartpole),
    "nested": lambda: SerialEnv(2, lambda: SerialEnv(2, cartpole)),
    "native": lambda: CartPoleEnv(batch_size=(4,)),
    "transformed": lambda: TransformedEnv(SerialEnv(2, cartpole), Compose(StepCounter(), RewardSum())),
}


def policy(td):
    """Needs no random numbers, and yet ends CartPole's episodes after ten to fifty steps."""
    return td.set("action", (td["observation"][..., 1] * 1000).long() % 2)


def same(found, expected):
    """Same data, but that a step which terminates is not truncated as well."""
    found, expected = found.copy(), expected.copy()
    for key in list(expected.keys(True, True)):
        if key[-1] == "truncated":
            expected[key] = expected[key] & ~expected[(*key[:-1], "terminated")]
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key, value in expected.items(True, True):
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize("most", [1, 4, 25])
@pytest.mark.parametrize("name", MAKERS)
def test_the_same_as_counting_every_step(name, most):
    plain, counting = MAKERS[name](), TransformedEnv(MAKERS[name](), StepCounter(most, step_count_key="age"))
    frames, ends = 30 * plain.numel(), {"truncated": False, "terminated": False}
    collectors = [
        Collector(counting, policy, frames_per_batch=frames),
        Collector(plain, policy, frames_per_batch=frames, max_frames_per_traj=most),
    ]
    for collector in collectors:
        collector.set_seed(SEED)
    for _ in range(4):
        expected, found = (collector.next() for collector in collectors)
        same(found, expected.exclude("age", ("next", "age")))
        ends = {name: seen or bool(found["next", name].any()) for name, seen in ends.items()}
    assert ends == {"truncated": True, "terminated": most == 25}


@pytest.mark.parametrize("shared", [False, True])
def test_of_groups_of_agents(two_agents, tools, shared):
    envs = [two_agents((3, 8), shared), TransformedEnv(two_agents((3, 8), shared), StepCounter(5))]
    actions = tools.draw_actions(envs[0], 24)
    found, expected = (
        torch.cat(
            list(Collector(env, tools.FixedPolicy(actions), frames_per_batch=8, total_frames=24, **options))
        ).exclude("collector")
        for env, options in zip(envs, [{"max_frames_per_traj": 5}, {}], strict=True)
    )
    counts = [key for key in expected.keys(True, True) if "step_count" in key]
    if shared:
        # An agent that is done while the others go on has its flags from itself; it is not truncated on top.
        over = expected["next", "agent0", "terminated"]
        expected["next", "agent0", "truncated"] = expected["next", "agent0", "truncated"] & ~over
    same(found, expected.exclude(*counts))
    assert found["next", "agent1", "truncated"].any()


def test_of_data_that_no_rows_hold(pair):
    batches = []
    for options, wrap in (
        ({"max_frames_per_traj": 5}, lambda env: env),
        ({}, lambda e: TransformedEnv(e, StepCounter(5))),
    ):
        collector = Collector(wrap(pair()), frames_per_batch=30, **options)
        torch.manual_seed(0)
        collector.set_seed(SEED)
        batches.append([dict(flat_items(step)) for _ in range(2) for step in collector.next().unbind(0)])
    for found, expected in zip(*batches, strict=True):
        expected = {path: value for path, value in expected.items() if path[-1] != "step_count"}
        expected["next", "truncated"] = expected["next", "truncated"] & ~expected["next", "terminated"]
        assert found.keys() == expected.keys()
        for path, value in expected.items():
            assert torch.equal(found[path], value), path
    assert any(step["next", "truncated"].any() for step in batches[0])


def test_of_an_env_that_resets_itself(scripted):
    env = TransformedEnv(scripted(terminated=[False] * 3 + [True]), AutoResetTransform())
    batch = Collector(env, frames_per_batch=8, max_frames_per_traj=3).next()
    assert batch["next", "truncated"].flatten().tolist() == [False, False, True] * 2 + [False, False]
    assert batch["observation"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


class TestData:
    def test_the_true_last_observation_stands_under_next(self, scripted):
        batch = Collector(scripted(), frames_per_batch=7, max_frames_per_traj=3).next()
        assert batch["observation"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert batch["next", "observation"].flatten().tolist() == [1, 2, 3, 1, 2, 3, 1]
        for name, ends in (("truncated", True), ("done", True), ("terminated", False)):
            assert batch["next", name].flatten().tolist() == [False, False, ends] * 2 + [False]
        assert not batch["done"].any()
        assert batch["collector", "traj_ids"].tolist() == [0, 0, 0, 1, 1, 1, 2]

    def test_termination_at_the_limit_is_no_truncation(self, scripted):
        env = scripted(terminated=[False, False, True], truncated=[False])
        following = Collector(env, frames_per_batch=6, max_frames_per_traj=3).next()["next"]
        assert following["terminated"].flatten().tolist() == [False, False, True] * 2
        assert not following["truncated"].any()

    def test_batches_share_an_age(self, scripted):
        collector = Collector(scripted(), frames_per_batch=2, max_frames_per_traj=3, total_frames=8)
        data = torch.cat(list(collector))
        assert data["observation"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]

    def test_a_restart_begins_anew(self, scripted):
        collector = Collector(scripted(), frames_per_batch=2, max_frames_per_traj=3)
        collector.next()
        collector.restart()
        data = torch.cat([collector.next(), collector.next()])
        assert data["observation"].flatten().tolist() == [0, 1, 2, 0]
        assert data["collector", "traj_ids"].tolist() == [1, 1, 1, 2]

    def test_an_env_without_flag_gets_one(self, scripted):
        env = scripted()
        assert "truncated" not in env.done_keys
        collector = Collector(env, frames_per_batch=2, max_frames_per_traj=3)
        assert collector.env.done_keys == ["done", "terminated", "truncated"]
        assert collector.env.full_done_spec["truncated"].shape == (1,)
        assert "truncated" not in env.done_keys
        check_env_specs(collector.env)
        assert Collector(scripted(truncated=[False]), frames_per_batch=2, max_frames_per_traj=3).env.done_keys == [
            "done",
            "terminated",
            "truncated",
        ]

    def test_never(self, scripted):
        for never in (None, -1):
            env = scripted()
            collector = Collector(env, frames_per_batch=50, max_frames_per_traj=never)
            assert collector.env is env
            assert not collector.next()["next", "done"].any()
