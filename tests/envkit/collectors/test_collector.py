from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from envkit import (
    ClosedEnvError,
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
    split_trajectories,
)

SEED = 2


def cartpole():
    return GymEnv("CartPole-v1")


def batch_of(count):
    return SerialEnv(count, cartpole)


def seeded(env, seed=3):
    env.set_seed(seed)
    return env


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
            ({"frames_per_batch": 7}, "frames_per_batch: expected a positive multiple of the 4 envs, found 7"),
            ({"frames_per_batch": 4, "total_frames": 0}, "total_frames: expected a positive number or -1, found 0"),
        ],
    )
    def test_that_do_not_fit(self, frames, message):
        with pytest.raises(ValueError, match=message):
            Collector(batch_of(4), **frames)

    @pytest.mark.parametrize(("frames_per_batch", "total_frames"), [(50, 100), (50, 120), (50, 1), (7, 20)])
    def test_length(self, frames_per_batch, total_frames):
        collector = Collector(cartpole(), frames_per_batch=frames_per_batch, total_frames=total_frames)
        assert len(collector) == len(list(collector)) == len(collector)

    def test_no_length_without_end(self):
        collector = Collector(cartpole(), frames_per_batch=5)
        with pytest.raises(TypeError, match="no end, and no length"):
            len(collector)
        assert collector


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

    def test_the_older_name(self):
        assert SyncDataCollector is Collector
        assert isinstance(SyncDataCollector(cartpole(), balanced, frames_per_batch=2).next(), TensorDict)


def ones(td):
    """Always the same action, and an entry of its own."""
    return td.set("action", torch.ones(td.batch_size, dtype=torch.int64)).set("mine", td["observation"] * 2)


class TestRandomFrames:
    def test_until_there_are_so_many(self):
        collector = Collector(batch_of(2), ones, frames_per_batch=40, init_random_frames=41)
        collector.set_seed(SEED)
        first, second, third = (collector.next() for _ in range(3))
        for batch in (first, second):
            assert 0 < batch["action"].sum() < 40
            assert "mine" not in batch
        assert (third["action"] == 1).all()
        assert torch.equal(third["mine"], third["observation"] * 2)

    def test_are_those_of_a_collector_without_policy(self, tools):
        collectors = [
            Collector(batch_of(2), ones, frames_per_batch=40, init_random_frames=80),
            Collector(batch_of(2), frames_per_batch=40),
        ]
        for collector in collectors:
            collector.set_seed(SEED)
        for _ in range(2):
            found, expected = (collector.next() for collector in collectors)
            tools.assert_same(found, expected)

    @pytest.mark.parametrize("name", ENVS)
    def test_episodes_go_on(self, name):
        env = ENVS[name]()
        collector = Collector(env, ones, frames_per_batch=7 * env.numel(), init_random_frames=1)
        collector.set_seed(SEED)
        before, after = collector.next(), collector.next()
        going = ~before["next", "done"][..., -1, 0]
        assert going.any()
        assert torch.equal(before["next", "observation"][..., -1, :][going], after["observation"][..., 0, :][going])
        same = before["collector", "traj_ids"][..., -1] == after["collector", "traj_ids"][..., 0]
        assert torch.equal(same, going)

    def test_of_data_that_no_rows_hold(self, pair):
        def policy(td):
            for agent in td["agents"].unbind(0):
                agent["action"] = torch.ones_like(agent["obs"])
            return td

        collector = Collector(pair(), policy, frames_per_batch=5, init_random_frames=3)
        before, after = collector.next(), collector.next()
        assert before[0]["agents"][0]["action"] != 1
        assert all(step["agents"][1]["action"].tolist() == [1, 1] for step in after.unbind(0))


class TestGrowing:
    @pytest.mark.parametrize("steps", [1, 3, 8])
    @pytest.mark.parametrize("make", [cartpole, lambda: batch_of(3)], ids=["one", "three"])
    def test_is_the_same_batch(self, make, steps, tools):
        whole, growing = (seeded(make()) for _ in range(2))
        count = whole.numel()
        policy = lambda td: td.set("action", whole.action_spec.rand())
        expected, found = [], []
        torch.manual_seed(0)
        collector = Collector(whole, policy, frames_per_batch=8 * count)
        for _ in range(3):
            expected.append(collector.next())
        torch.manual_seed(0)
        collector = Collector(growing, policy, frames_per_batch=8 * count)
        for _ in range(3):
            for batch, stop in collector.growing(steps):
                found.append(batch[..., (stop - 1) // steps * steps : stop].clone())
        tools.assert_same(torch.cat(found, -1), torch.cat([batch.exclude("collector") for batch in expected], -1))
        assert collector.frames == 24 * count

    def test_says_how_far_it_is(self):
        collector = Collector(cartpole(), frames_per_batch=10)
        assert [(batch.batch_size, stop) for batch, stop in collector.growing(4)] == [
            (torch.Size([10]), 4),
            (torch.Size([10]), 8),
            (torch.Size([10]), 10),
        ]

    def test_random_actions_end_amid_a_batch(self):
        seen = []

        def policy(td):
            seen.append(td["observation"])
            return td.set("action", torch.zeros((), dtype=torch.int64))

        collector = Collector(cartpole(), policy, frames_per_batch=20, init_random_frames=7)
        calls = [len(seen) for _ in range(2) for _ in collector.growing(2)]
        # The first eight steps are random: seven, rounded up.
        assert calls == [0, 0, 0, 0, 2, 4, 6, 8, 10, 12, *range(14, 33, 2)]

    def test_a_policy_that_changes_is_followed_at_once(self):
        env = cartpole()
        action = torch.zeros((), dtype=torch.int64)
        taken = []
        policy = lambda td: td.set("action", action.clone())
        for batch, stop in Collector(env, policy, frames_per_batch=6).growing(1):
            taken.append(batch[stop - 1]["action"].item())
            action.fill_(stop % 2)
        assert taken == [0, 1, 0, 1, 0, 1]

    @pytest.mark.parametrize(
        "options",
        [{"max_frames_per_traj": 4}, {"set_truncated": True}, {"split_trajs": True}, {"postproc": lambda td: td}],
        ids=lambda options: next(iter(options)),
    )
    def test_refuses_what_is_done_to_whole_batches(self, options):
        collector = Collector(cartpole(), frames_per_batch=8, **options)
        with pytest.raises(ValueError, match="growing: expected no options for whole batches"):
            next(collector.growing(2))

    def test_needs_a_step(self):
        with pytest.raises(ValueError, match="growing: expected at least 1 step, found 0"):
            next(Collector(cartpole(), frames_per_batch=8).growing(0))


class TestSetTruncated:
    def batches(self, env):
        return list(Collector(env, frames_per_batch=4, total_frames=8, set_truncated=True))

    def test_marks_the_last_step(self, scripted):
        first, second = self.batches(scripted(truncated=[False]))
        for batch in (first, second):
            assert batch["next", "truncated"].flatten().tolist() == [False, False, False, True]
            assert batch["next", "done"].flatten().tolist() == [False, False, False, True]
            assert not batch["next", "terminated"].any()
            assert not batch["done"].any()

    def test_the_episode_goes_on(self, scripted):
        first, second = self.batches(scripted(truncated=[False]))
        assert second["observation"].flatten().tolist() == [4, 5, 6, 7]
        assert first["collector", "traj_ids"].tolist() == second["collector", "traj_ids"].tolist() == [0] * 4

    def test_what_has_terminated_is_not_truncated(self, scripted):
        batches = self.batches(scripted(terminated=[False, True], truncated=[False]))
        for batch in batches:
            assert batch["next", "terminated"].flatten().tolist() == [False, True] * 2
            assert not batch["next", "truncated"].any()

    def test_an_env_without_flag_gets_one(self, scripted):
        first, _ = self.batches(scripted())
        assert first["next", "truncated"].flatten().tolist() == [False, False, False, True]

    def test_of_data_that_no_rows_hold(self, pair):
        first, _ = self.batches(pair())
        assert first[-1]["next", "done"].all()


class Buffer:
    """What a collector asks of a replay buffer."""

    def __init__(self):
        self.items = []

    def extend(self, batch):
        self.items.append(batch)


class TestReplayBuffer:
    def collect(self, env, **options):
        buffer = Buffer()
        collector = Collector(env, balanced, frames_per_batch=12, total_frames=24, replay_buffer=buffer, **options)
        collector.set_seed(SEED)
        assert list(collector) == [None, None]
        return buffer.items

    def expected(self, env):
        collector = Collector(env, balanced, frames_per_batch=12, total_frames=24)
        collector.set_seed(SEED)
        return list(collector)

    def test_is_handed_the_batches(self, tools):
        found = self.collect(batch_of(3))
        for batch, expected in zip(found, self.expected(batch_of(3)), strict=True):
            tools.assert_same(batch, expected)

    def test_or_their_steps_in_the_order_of_time(self, tools):
        found = self.collect(batch_of(3), extend_buffer=False)
        for steps, batch in zip(found, self.expected(batch_of(3)), strict=True):
            tools.assert_same(steps, torch.cat([batch[:, t] for t in range(4)]))

    def test_after_postproc(self):
        found = self.collect(batch_of(3), postproc=lambda batch: batch.select("action"))
        assert [set(batch.keys()) for batch in found] == [{"action"}] * 2


class TestReturnSameTd:
    def test_one_tensordict_with_new_values(self, tools):
        collectors = [Collector(batch_of(2), frames_per_batch=20, return_same_td=same) for same in (True, False)]
        for collector in collectors:
            collector.set_seed(SEED)
        handed = set()
        for _ in range(3):
            batch, expected = (collector.next() for collector in collectors)
            tools.assert_same(batch, expected)
            handed.add((id(batch), batch["observation"].data_ptr(), batch["next", "reward"].data_ptr()))
        assert len(handed) == 1

    def test_entries_that_come_later(self):
        collector = Collector(cartpole(), ones, frames_per_batch=5, init_random_frames=5, return_same_td=True)
        first, second = collector.next(), collector.next()
        assert first is second
        assert torch.equal(second["mine"], second["observation"] * 2)

    def test_of_data_that_no_rows_hold(self, pair):
        with pytest.raises(ValueError, match="return_same_td: expected an env whose data has fixed shapes"):
            Collector(pair(), frames_per_batch=5, return_same_td=True)


class TestSplitTrajs:
    def test_batches_are_trajectories(self, tools):
        collectors = [Collector(batch_of(2), balanced, frames_per_batch=160, split_trajs=split) for split in (1, 0)]
        for collector in collectors:
            collector.set_seed(SEED)
        for _ in range(2):
            found, batch = (collector.next() for collector in collectors)
            tools.assert_same(found, split_trajectories(batch))
            assert found["collector", "mask"].sum() == 160

    def test_before_postproc(self):
        collector = Collector(
            cartpole(), frames_per_batch=60, split_trajs=True, postproc=lambda rows: rows["collector", "mask"].sum(-1)
        )
        lengths = collector.next()
        assert lengths.sum() == 60


class TestLife:
    def test_a_context_closes_the_env(self):
        with Collector(cartpole(), frames_per_batch=5) as collector:
            assert len(collector.next()) == 5
        assert collector.env.is_closed
        with pytest.raises(ClosedEnvError, match="is closed"):
            collector.next()

    def test_whatever_happens_in_it(self):
        collector = Collector(cartpole(), frames_per_batch=5)
        with pytest.raises(ZeroDivisionError), collector:
            _ = 1 / 0
        assert collector.env.is_closed

    def test_a_policy_that_is_made(self, scripted):
        made = []

        def factory():
            made.append(balanced)
            return lambda td: td.set("action", torch.tensor(1))

        collector = Collector(scripted(), policy_factory=factory, frames_per_batch=3)
        assert len(made) == 1
        assert collector.next()["action"].tolist() == [1, 1, 1]
        with pytest.raises(TypeError, match="policy and policy_factory: expected at most one of them"):
            Collector(scripted(), balanced, policy_factory=factory, frames_per_batch=3)
