from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from envkit import (
    Collector,
    Compose,
    EnvDataError,
    ExplorationType,
    GymEnv,
    GymWrapper,
    NonFiniteError,
    PolicyError,
    RewardSum,
    SerialEnv,
    StepCounter,
    SyncDataCollector,
    TransformedEnv,
    exploration_type,
)

SEED = 2


def cartpole():
    return GymEnv("CartPole-v1")


def batch_of(count):
    return SerialEnv(count, cartpole)


def joined(batches, dim=-1):
    return torch.cat(list(batches), dim)


def balanced(td):
    """A policy of the observation alone."""
    return td.set("action", (td["observation"][..., 2] > 0).long())


class TestFrames:
    @pytest.mark.parametrize(
        ("frames_per_batch", "total_frames", "batches"),
        [(50, 100, 2), (50, 50, 1), (50, 120, 3), (50, 1, 1), (7, 20, 3)],
    )
    def test_until_the_total_is_reached(self, frames_per_batch, total_frames, batches):
        collector = Collector(cartpole(), frames_per_batch=frames_per_batch, total_frames=total_frames)
        sizes = [batch.batch_size for batch in collector]
        assert sizes == [(frames_per_batch,)] * batches
        assert collector.frames == frames_per_batch * batches

    def test_count_over_all_envs(self):
        collector = Collector(batch_of(4), frames_per_batch=80, total_frames=160)
        assert [batch.batch_size for batch in collector] == [(4, 20)] * 2

    def test_of_nested_batches(self):
        env = SerialEnv(2, lambda: batch_of(3))
        collector = Collector(env, frames_per_batch=30, total_frames=30)
        (batch,) = collector
        assert batch.batch_size == batch["collector", "traj_ids"].shape == (2, 3, 5)

    def test_without_end(self):
        batches = iter(Collector(cartpole(), frames_per_batch=5))
        assert [len(next(batches)) for _ in range(4)] == [5] * 4

    def test_next_goes_on_beyond_the_total(self):
        collector = Collector(cartpole(), frames_per_batch=5, total_frames=5)
        assert len(list(collector)) == 1
        assert list(collector) == []
        assert len(collector.next()) == 5

    def test_the_last_dimension_is_time(self):
        assert Collector(cartpole(), frames_per_batch=5).next().names == ["time"]
        assert Collector(batch_of(2), frames_per_batch=6).next().names == [None, "time"]

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ({"frames_per_batch": 10}, "expected a positive multiple of the 4 envs, found 10"),
            ({"frames_per_batch": 0}, "frames_per_batch: expected a positive multiple of the 4 envs, found 0"),
            ({"frames_per_batch": -4}, "found -4"),
            ({"frames_per_batch": 4, "total_frames": 0}, "total_frames: expected a positive number or -1, found 0"),
            ({"frames_per_batch": 4, "total_frames": -2}, "total_frames: expected a positive number or -1, found -2"),
        ],
    )
    def test_that_do_not_fit(self, frames, message):
        with pytest.raises(ValueError, match=message):
            Collector(batch_of(4), **frames)


ENVS = {
    "single": cartpole,
    "batch": lambda: batch_of(3),
    "transformed": lambda: TransformedEnv(batch_of(3), Compose(StepCounter(max_steps=13), RewardSum())),
    "batch_of_transformed": lambda: SerialEnv(3, lambda: TransformedEnv(cartpole(), StepCounter(max_steps=13))),
}


class TestContinuity:
    @pytest.mark.parametrize("name", ENVS)
    def test_batches_joined_are_one_long_rollout(self, name, tools):
        collected, rolled = ENVS[name](), ENVS[name]()
        for env in (collected, rolled):
            env.set_seed(SEED)
        collector = Collector(collected, balanced, frames_per_batch=25 * collected.numel())
        found = joined((collector.next() for _ in range(4)), collected.batch_dims)
        expected = rolled.rollout(100, balanced, break_when_any_done=False)
        assert expected["next", "done"].any()
        tools.assert_same(found.exclude("collector"), expected)

    @pytest.mark.parametrize("make", ["walk", "mapping_env", "two_agents", "scripted"])
    def test_of_custom_envs(self, make, request, tools):
        env = request.getfixturevalue(make)()
        env.set_seed(SEED)
        actions = tools.draw_actions(env, 24)
        collector = Collector(env, tools.FixedPolicy(actions), frames_per_batch=6, total_frames=24)
        found = joined(collector)
        other = request.getfixturevalue(make)()
        other.set_seed(SEED)
        expected = other.rollout(24, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(found.exclude("collector"), expected)

    def test_one_step_at_a_time(self, tools):
        env, other = cartpole(), cartpole()
        for each in (env, other):
            each.set_seed(SEED)
        found = joined(Collector(env, balanced, frames_per_batch=1, total_frames=60))
        tools.assert_same(found.exclude("collector"), other.rollout(60, balanced, break_when_any_done=False))

    def test_batches_share_no_memory(self, tools):
        collector = Collector(batch_of(2), frames_per_batch=20)
        first = collector.next()
        copy = first.clone()
        for _ in range(3):
            collector.next()
        tools.assert_same(first, copy)

    def test_the_memory_of_a_policy_goes_on(self, scripted):
        class Counting(TensorDictModule):
            def __init__(self):
                super().__init__(torch.nn.Identity(), in_keys=["count"], out_keys=["count"])

            def forward(self, td):
                count = td.get("count", None)
                td["count"] = torch.zeros(1) if count is None else count + 1
                return td.set("action", torch.tensor(0))

        collector = Collector(scripted(), Counting(), frames_per_batch=4, total_frames=12)
        assert joined(collector)["count"].flatten().tolist() == list(range(12))


class TestTrajectories:
    def test_numbers(self, scripted):
        env = scripted(terminated=[False, False, True])
        batches = list(Collector(env, frames_per_batch=4, total_frames=12))
        ids = [batch["collector", "traj_ids"].tolist() for batch in batches]
        assert ids == [[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]]

    def test_of_a_batch(self, scripted):
        env = SerialEnv(
            2, [lambda: scripted(terminated=[False, True]), lambda: scripted(terminated=[False] * 2 + [True])]
        )
        ids = joined(Collector(env, frames_per_batch=6, total_frames=12))["collector", "traj_ids"]
        assert ids.tolist() == [[0, 0, 2, 2, 4, 4], [1, 1, 1, 3, 3, 3]]

    def test_truncation_ends_one_too(self, scripted):
        env = TransformedEnv(scripted(), StepCounter(max_steps=2))
        ids = Collector(env, frames_per_batch=5).next()["collector", "traj_ids"]
        assert ids.tolist() == [0, 0, 1, 1, 2]

    def test_any_agents_end_begins_one(self, two_agents):
        ids = Collector(two_agents(lengths=(2, 3)), frames_per_batch=6).next()["collector", "traj_ids"]
        assert ids.tolist() == [0, 0, 1, 2, 3, 3]

    def test_each_is_one_episode(self):
        env = TransformedEnv(batch_of(3), StepCounter())
        env.set_seed(SEED)
        data = joined(Collector(env, frames_per_batch=60, total_frames=300))
        ids = data["collector", "traj_ids"]
        assert sorted(ids.unique().tolist()) == list(range(int(ids.max()) + 1))
        for number in ids.unique():
            counts = data["step_count"][ids == number].flatten()
            assert torch.equal(counts, torch.arange(len(counts)))
            assert not data["next", "done"][ids == number][:-1].any()


class TestResetAtEachIter:
    def test_every_batch_begins_with_an_episode(self, scripted):
        env = TransformedEnv(scripted(terminated=[False] * 4 + [True]), StepCounter())
        batches = list(Collector(env, frames_per_batch=3, total_frames=9, reset_at_each_iter=True))
        assert [batch["step_count"].flatten().tolist() for batch in batches] == [[0, 1, 2]] * 3
        ids = [batch["collector", "traj_ids"].unique().tolist() for batch in batches]
        assert len({number for row in ids for number in row}) == 3

    def test_equals_rollouts(self, tools):
        env, other = batch_of(2), batch_of(2)
        for each in (env, other):
            each.set_seed(SEED)
        collector = Collector(env, balanced, frames_per_batch=40, reset_at_each_iter=True)
        for _ in range(3):
            expected = other.rollout(20, balanced, break_when_any_done=False)
            tools.assert_same(collector.next().exclude("collector"), expected)


class TestPolicy:
    def test_random_by_default(self):
        collector = Collector(cartpole(), frames_per_batch=100)
        collector.set_seed(SEED)
        assert 30 < collector.next()["action"].sum() < 70

    def test_samples_by_default(self, scripted):
        seen = set()

        def policy(td):
            seen.add((exploration_type(), torch.is_grad_enabled()))
            return td.set("action", torch.tensor(0))

        before = exploration_type()
        Collector(scripted(), policy, frames_per_batch=3).next()
        assert seen == {(ExplorationType.RANDOM, False)}
        assert exploration_type() is before

    @pytest.mark.parametrize("kind", list(ExplorationType))
    def test_exploration_type(self, scripted, kind):
        seen = set()

        def policy(td):
            seen.add(exploration_type())
            return td.set("action", torch.tensor(0))

        Collector(scripted(), policy, frames_per_batch=3, exploration_type=kind).next()
        assert seen == {kind}

    def test_what_else_it_writes_is_recorded(self, scripted):
        def policy(td):
            return td.set("action", torch.tensor(1)).set("value", td["observation"] * 2)

        collector = Collector(scripted(terminated=[False, False, True]), policy, frames_per_batch=5, total_frames=10)
        data = joined(collector)
        assert torch.equal(data["value"], 2 * data["observation"])

    def test_the_one_that_is_trained_collects(self, scripted):
        module = torch.nn.Linear(1, 1, bias=False)
        policy = TensorDictModule(
            lambda x: (module(x) > 0).long().squeeze(-1), in_keys=["observation"], out_keys=["action"]
        )
        collector = Collector(scripted(observations=[[1.0]]), policy, frames_per_batch=3)
        for weight, action in ((1.0, 1), (-1.0, 0), (1.0, 1)):
            module.weight.data.fill_(weight)
            collector.update_policy_weights_()
            assert collector.next()["action"].tolist() == [action] * 3

    def test_without_action(self):
        collector = Collector(cartpole(), lambda td: td.set("actoin", torch.tensor(0)), frames_per_batch=3)
        with pytest.raises(
            PolicyError, match=r"the policy wrote no 'action': expected torch.int64 .*only \['actoin'\]"
        ):
            collector.next()

    def test_of_the_wrong_shape(self):
        collector = Collector(batch_of(2), lambda td: td.set("action", torch.zeros(2, 1).long()), frames_per_batch=4)
        with pytest.raises(
            PolicyError, match=r"expected torch.int64 of shape \[2\], found torch.int64 of shape \[2, 1\]"
        ):
            collector.next()


class TestSeeds:
    def test_reproduce_batches(self, tools):
        def collect(seed):
            collector = Collector(batch_of(2), frames_per_batch=40, total_frames=80)
            following = collector.set_seed(seed)
            return joined(collector), following

        (first, following), (again, _), (other, _) = collect(1), collect(1), collect(3)
        tools.assert_same(again, first)
        assert following == batch_of(2).set_seed(1)
        assert not torch.equal(other["observation"], first["observation"])

    def test_static(self):
        assert Collector(cartpole(), frames_per_batch=1).set_seed(4, static_seed=True) == 4


class TestEnvs:
    def test_a_function_that_makes_one(self):
        collector = Collector(cartpole, frames_per_batch=3)
        assert isinstance(collector.env, GymEnv)
        assert len(collector.next()) == 3

    @pytest.mark.parametrize("wrong", [lambda: "CartPole-v1", lambda: None])
    def test_anything_else(self, wrong):
        with pytest.raises(TypeError, match="create_env_fn: expected an env or a function that makes one, found"):
            Collector(wrong, frames_per_batch=3)

    def test_shutdown(self, line):
        collector = Collector(SerialEnv(2, lambda: GymWrapper(line())), frames_per_batch=4)
        collector.next()
        collector.shutdown()
        collector.shutdown()
        assert collector.env.is_closed
        assert [env._env.closes for env in collector.env._envs] == [1, 1]

    def test_nan(self, scripted):
        collector = Collector(scripted(rewards=[1.0, float("nan")]), frames_per_batch=4)
        with pytest.raises(NonFiniteError, match=r"'reward' returned by ScriptedEnv._step"):
            collector.next()

    def test_bad_data(self, line):
        with pytest.raises(EnvDataError, match=r"'reward' of GymWrapper.*expected a number"):
            Collector(GymWrapper(line(reward=None)), frames_per_batch=4).next()


class TestOptions:
    @pytest.mark.parametrize("name", ["device", "storing_device", "env_device", "policy_device"])
    def test_devices(self, name):
        cpu, devices = torch.device("cpu"), []

        def policy(td):
            devices.append(td.device)
            return balanced(td)

        batch = Collector(cartpole(), policy, frames_per_batch=3, **{name: "cpu"}).next()
        assert batch.device == (None if name == "policy_device" else cpu)
        assert set(devices) == {None if name == "storing_device" else cpu}

    def test_postproc(self):
        def last(batch):
            return batch[..., -1]

        collector = Collector(batch_of(2), frames_per_batch=10, postproc=last)
        assert collector.next().batch_size == (2,)

    def test_split_trajs(self):
        assert len(Collector(cartpole(), frames_per_batch=5, split_trajs=False).next()) == 5
        with pytest.raises(ValueError, match=r"split_trajs: expected False; .* numbered in traj_ids"):
            Collector(cartpole(), frames_per_batch=5, split_trajs=True)

    def test_the_older_name(self):
        assert SyncDataCollector is Collector
        assert isinstance(SyncDataCollector(cartpole(), balanced, frames_per_batch=2).next(), TensorDict)
