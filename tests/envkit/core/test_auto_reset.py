"""Envs that reset themselves."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Collector,
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    InitTracker,
    NonFiniteError,
    NonTensor,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=25, derandomize=True)


class AutoResettingGymEnv(GymEnv):
    """As the page has it."""

    def _step(self, tensordict):
        tensordict = super()._step(tensordict)
        if tensordict["done"].any():
            td_reset = super().reset()
            tensordict.update(td_reset.exclude(*self.done_keys))
        return tensordict

    def _reset(self, tensordict=None):
        if tensordict is not None and "_reset" in tensordict:
            return tensordict.copy()
        return super()._reset(tensordict)


def cartpole(**kwargs):
    return AutoResettingGymEnv("CartPole-v1", max_episode_steps=9, auto_reset=True, **kwargs)


class Beads(EnvBase):
    """A batch whose elements end at their own times; an observation names the episode and the step, for every dtype."""

    def __init__(self, lengths=(2, 3, 7)):
        super().__init__(batch_size=(len(lengths),))
        self.lengths = torch.tensor(lengths).unsqueeze(-1)
        shape = (len(lengths), 1)
        self.observation_spec = Composite(
            x=Unbounded(shape),
            whole=Unbounded(shape, dtype=torch.int64),
            byte=Bounded(0, 255, shape=shape, dtype=torch.uint8),
            flag=Binary(1, shape, dtype=torch.bool),
            shape=shape[:1],
        )
        self.action_spec = Categorical(2, shape=shape[:1])
        self.episode, self.count = torch.zeros(shape), torch.zeros(shape)
        self.real_resets = []

    def _observe(self):
        x = 100 * self.episode + self.count
        return TensorDict(
            {"x": x, "whole": x.long(), "byte": self.count.to(torch.uint8), "flag": torch.ones_like(x) > 0},
            self.batch_size,
        )

    def _begin(self, mask):
        self.episode = torch.where(mask, self.episode + 1, self.episode)
        self.count = torch.where(mask, torch.zeros_like(self.count), self.count)

    def _reset(self, tensordict=None):
        mask = torch.ones_like(self.count) > 0 if tensordict is None else tensordict.get("_reset", None)
        mask = torch.ones_like(self.count) > 0 if mask is None else mask
        self.real_resets.append(mask.flatten().tolist())
        self._begin(mask)
        return self._observe()

    def _step(self, tensordict):
        mask = tensordict.get("_step", None)
        self.count = self.count + (1 if mask is None else mask)
        done = self.count >= self.lengths
        self._begin(done)
        return self._observe().update({"reward": torch.ones_like(self.count), "done": done})

    def _set_seed(self, seed):
        self.episode = torch.zeros_like(self.episode)


class Agents(EnvBase):
    """Two agents with flags of their own, who begin anew by themselves, and a clock that they share."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(
            clock=Unbounded((1,)),
            a=Composite(x=Unbounded((1,))),
            b=Composite(x=Unbounded((1,))),
        )
        self.full_action_spec = Composite(a=Composite(action=Categorical(2)), b=Composite(action=Categorical(2)))
        flag = Binary(1, (1,), dtype=torch.bool)
        self.full_done_spec = Composite(a=Composite(done=flag), b=Composite(done=flag.clone()))
        self.counts, self.clock, self.resets = {"a": 0, "b": 0}, 0, 0

    def _observe(self):
        level = {name: {"x": torch.tensor([float(count)])} for name, count in self.counts.items()}
        return TensorDict({**level, "clock": torch.tensor([float(self.clock)])})

    def _reset(self, tensordict=None):
        self.counts, self.clock = {"a": 0, "b": 0}, 0
        self.resets += 1
        return self._observe()

    def _step(self, tensordict):
        self.clock += 1
        done = {}
        for name, length in (("a", 2), ("b", 3)):
            self.counts[name] += 1
            done[name] = torch.tensor([self.counts[name] == length])
            self.counts[name] %= length
        out = self._observe()
        for name, flag in done.items():
            out[name, "done"] = flag
        return out.set("reward", torch.ones(1))

    def _set_seed(self, seed):
        pass


class TestOfThePage:
    def rollout(self, **kwargs):
        torch.manual_seed(0)
        env = AutoResettingGymEnv("CartPole-v1", auto_reset=True, **kwargs)
        env.set_seed(0)
        return env, env.rollout(30, break_when_any_done=False)

    def test_the_class_is_its_own(self):
        assert type(self.rollout()[0]) is AutoResettingGymEnv

    def test_last_observations_are_nan(self):
        _, r = self.rollout(auto_reset_replace=True)
        done = r["next", "done"].squeeze()
        assert 0 < done.sum() < 30
        assert torch.equal(r["next", "observation"].isnan().all(-1), done)
        assert torch.equal(r["next", "observation"].isnan().any(-1), done)
        assert not r["observation"].isnan().any()

    def test_all_else_is_what_an_ordinary_env_records(self):
        """But for the observations that are never shown: the simulator draws its first states in the same order."""
        _, r = self.rollout()
        ordinary = GymEnv("CartPole-v1")
        ordinary.set_seed(0)
        expected = ordinary.rollout(30, actions=r["action"], break_when_any_done=False)
        shown = ~r["next", "done"].squeeze()
        for key, value in expected.items(True, True):
            if key != ("next", "observation"):
                assert torch.equal(r[key], value), key
        assert torch.equal(r["next", "observation"][shown], expected["next", "observation"][shown])

    def test_what_is_shown_may_stay(self):
        _, r = self.rollout(auto_reset_replace=False)
        ends = r["next", "done"].squeeze()[:-1].nonzero().flatten()
        assert len(ends)
        assert torch.equal(r["next", "observation"][ends], r["observation"][ends + 1])
        assert torch.equal(r["next", "observation"][:-1], r["observation"][1:])

    def test_needs_no_reset_of_its_own(self):
        calls = []

        class Counting(AutoResettingGymEnv):
            def _reset(self, tensordict=None):
                calls.append(tensordict)
                return super()._reset(tensordict)

        env = Counting("CartPole-v1", max_episode_steps=5, auto_reset=True)
        env.rollout(23, break_when_any_done=False)
        assert len(calls) == 1 + 4  # the first one, and those within `_step`
        assert all(call is None for call in calls)


class TestLoops:
    @pytest.mark.parametrize(
        "layer",
        [
            lambda: cartpole(),
            lambda: cartpole(auto_reset_replace=False),
            lambda: SerialEnv(3, cartpole),
            lambda: SerialEnv(2, lambda: SerialEnv(2, cartpole)),
            lambda: TransformedEnv(cartpole(), Compose(StepCounter(), RewardSum(), InitTracker())),
            lambda: TransformedEnv(SerialEnv(2, cartpole), Compose(StepCounter(max_steps=6), RewardSum())),
            lambda: SerialEnv(2, lambda: TransformedEnv(cartpole(), StepCounter(max_steps=6))),
            lambda: auto(Beads)(),
            lambda: auto(Agents)(),
            lambda: SerialEnv(2, auto(Agents)),
            lambda: SerialEnv(2, auto(Beads)),
        ],
    )
    def test_rollouts_collectors_and_loops_by_hand_agree(self, layer, tools):
        def make():
            env = layer()
            env.set_seed(3)
            return env

        actions = tools.draw_actions(make(), 24)
        by_hand = tools.by_hand(make(), actions)
        found = make().rollout(24, tools.FixedPolicy(actions), break_when_any_done=False)
        same_but_nan(found, by_hand)
        env = make()
        collector = Collector(env, tools.FixedPolicy(actions), frames_per_batch=8 * env.numel())
        batches = [collector.next() for _ in range(3)]
        same_but_nan(torch.cat(batches, env.batch_dims).exclude("collector"), by_hand)

    def test_elements_begin_anew_one_by_one(self):
        env = auto(Beads)()
        data = env.rollout(8, break_when_any_done=False)
        assert env.real_resets == [[True] * 3]
        assert data["x"].squeeze(-1).tolist() == [
            [100, 101, 200, 201, 300, 301, 400, 401],
            [100, 101, 102, 200, 201, 202, 300, 301],
            [100, 101, 102, 103, 104, 105, 106, 200],
        ]
        shown = data["next", "x"].squeeze(-1)
        assert torch.equal(shown.isnan(), data["next", "done"].squeeze(-1))
        assert shown[1, :2].tolist() == [101, 102]

    def test_groups_begin_anew_one_by_one(self):
        env = auto(Agents)()
        data = env.rollout(6, break_when_any_done=False)
        assert env.resets == 1
        assert data["a", "x"].flatten().tolist() == [0, 1, 0, 1, 0, 1]
        assert data["b", "x"].flatten().tolist() == [0, 1, 2, 0, 1, 2]
        assert data["next", "a", "x"].isnan().flatten().tolist() == [False, True] * 3
        assert data["next", "b", "x"].isnan().flatten().tolist() == [False, False, True] * 2
        # What the groups share is shown with the first observations of either.
        assert data["clock"].flatten().tolist() == [0, 1, 2, 3, 4, 5]
        assert data["next", "clock"].isnan().flatten().tolist() == [False, True, True, True, False, True]

    def test_by_hand(self):
        env = auto(Beads)()
        td = env.reset()
        for count in range(1, 4):
            data, td = env.step_and_maybe_reset(td.set("action", torch.zeros(3, dtype=torch.int64)))
            assert "_reset" not in td.keys()
            assert not td["done"].any()
            assert data["next", "done"].flatten().tolist() == [count == 2, count == 3, False]
            assert data["next", "x"].isnan().flatten().tolist() == [count == 2, count == 3, False]
        assert td["x"].flatten().tolist() == [201, 200, 103]

    def test_until_anything_is_done(self):
        env = auto(Beads)()
        data = env.rollout(9)
        assert data.batch_size == (3, 2)
        assert data["next", "x"][0, 1].isnan()
        again = env.rollout(2)  # a rollout begins with a reset of its own
        assert env.real_resets == [[True] * 3] * 2
        assert again["x"][:, 0].flatten().tolist() == [300, 200, 200]

    def test_until_all_is_done(self):
        """What is done is stepped no more, and its fillers are no first observations."""
        env = auto(Beads)()
        data = env.rollout(9, break_when_all_done=True)
        assert data.batch_size == (3, 7)
        assert data["next", "x"][0].isnan().flatten().tolist() == [False, *[True] * 6]

    def test_going_on_from_the_end_of_a_rollout(self):
        env = auto(Beads)()
        first = env.rollout(2, break_when_any_done=False)
        start = env.step_mdp(first[:, -1])
        data = env.rollout(2, auto_reset=False, tensordict=start, break_when_any_done=False)
        assert env.real_resets == [[True] * 3]
        assert data["x"][..., 0].tolist() == [[200, 201], [102, 200], [102, 103]]

    def test_data_without_tensors(self):
        class Words(EnvBase):
            def __init__(self):
                super().__init__()
                self.observation_spec = Composite(word=NonTensor(()), x=Unbounded((1,)))
                self.action_spec = Categorical(2)
                self.count = 0

            def _observe(self):
                return TensorDict({"word": f"word {self.count}", "x": torch.tensor([float(self.count)])})

            def _reset(self, tensordict=None):
                self.count = 0
                return self._observe()

            def _step(self, tensordict):
                self.count = (self.count + 1) % 2
                done = torch.tensor([self.count == 0])
                return self._observe().update({"reward": torch.ones(1), "done": done})

        data = auto(Words)().rollout(4, break_when_any_done=False)
        assert [data[t]["word"] for t in range(4)] == ["word 0", "word 1"] * 2
        assert [math.isnan(data[t]["next", "x"].item()) for t in range(4)] == [False, True] * 2


class TestPartialResets:
    def test_of_what_has_not_begun_anew_are_real_ones(self):
        env = auto(Beads)()
        td = env.step_mdp(env.step(env.rand_action(env.reset())))
        td = env.reset(td.set("_reset", torch.tensor([False, True, False])))
        assert env.real_resets == [[True] * 3, [False, True, False]]
        assert td["x"].flatten().tolist() == [101, 200, 101]

    def test_of_both_kinds(self):
        env = auto(Beads)()
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(env.rand_action(td)))
        td = env.reset(td.set("_reset", torch.tensor([True, True, False])))
        assert env.real_resets == [[True] * 3, [False, True, False]]
        assert td["x"].flatten().tolist() == [200, 200, 102]

    def test_are_answered_once(self):
        env = auto(Beads)()
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(env.rand_action(td)))
        mask = torch.tensor([True, False, False])
        td = env.reset(td.set("_reset", mask))
        assert td["x"][0].item() == 200
        assert env.reset(td.set("_reset", mask))["x"][0].item() == 300
        assert env.real_resets[1:] == [[True, False, False]]

    @pytest.mark.parametrize("outside", [False, True])
    def test_by_a_step_limit_on_top(self, outside):
        """The limit ends episodes that the env knows nothing of: they have to be reset for good."""

        def limited(env):
            return TransformedEnv(env, Compose(StepCounter(max_steps=4), InitTracker()))

        env = limited(SerialEnv(2, cartpole)) if outside else SerialEnv(2, lambda: limited(cartpole()))
        env.set_seed(0)
        data = env.rollout(40, break_when_any_done=False)
        starts = data["is_init"].squeeze(-1)
        assert data["next", "step_count"].max() == 4
        assert data["observation"][starts].abs().max() <= 0.05
        assert not data["observation"].isnan().any()
        ended = (data["next", "done"] & ~data["next", "terminated"]).squeeze(-1)
        assert ended.any()
        assert not data["next", "observation"][ended].isnan().any()

    def test_after_a_whole_reset_nothing_is_left(self):
        env = auto(Beads)()
        td = env.reset()
        for _ in range(2):
            td = env.step(env.rand_action(td))
            td = env.step_mdp(td)
        td = env.reset()
        td = env.reset(td.set("_reset", torch.tensor([True, False, False])))
        assert env.real_resets[1:] == [[True] * 3, [True, False, False]]

    @few
    @given(data=st.data())
    def test_partial_steps_and_resets_in_any_order(self, data):
        """An element goes through its own episodes, whatever the others do."""
        env = auto(Beads)()
        td = env.reset()
        alone = [[1, 0], [1, 0], [1, 0]]  # episode and step of each element
        waiting = [False] * 3
        for _ in range(data.draw(st.integers(1, 12))):
            step = [data.draw(st.booleans()) and not waits for waits in waiting]
            td = env.step_mdp(env.step(env.rand_action(td).set("_step", torch.tensor(step))))
            for i in range(3):
                if step[i]:
                    alone[i][1] += 1
                    if alone[i][1] == env.lengths[i].item():
                        alone[i], waiting[i] = [alone[i][0] + 1, 0], True
            reset = [waits and data.draw(st.booleans()) for waits in waiting]
            td = env.reset(td.set("_reset", torch.tensor(reset)))
            waiting = [waits and not done for waits, done in zip(waiting, reset, strict=True)]
            for i in range(3):
                assert td["done"][i].item() is waiting[i]
                if waiting[i]:
                    assert td["x"][i].isnan()
                else:
                    assert td["x"][i].item() == 100 * alone[i][0] + alone[i][1]
        assert env.real_resets == [[True] * 3]


class TestFillers:
    def test_of_every_dtype(self):
        data = auto(Beads)().rollout(4, break_when_any_done=False)["next"]
        done = data["done"].squeeze(-1)
        assert data["x"][done].isnan().all()
        assert data["whole"][done].eq(-1).all()
        assert data["byte"][done].eq(255).all()
        assert not data["flag"][done].any()
        assert data["flag"][~done].all()
        assert not data["whole"][~done].eq(-1).any()
        assert [data[key].dtype for key in ("x", "whole", "byte", "flag")] == [
            torch.float32, torch.int64, torch.uint8, torch.bool,
        ]  # fmt: skip

    def test_are_left_out_on_request(self):
        data = auto(Beads, auto_reset_replace=False)().rollout(4, break_when_any_done=False)
        assert data["next", "x"].squeeze(-1)[0].tolist() == [101, 200, 201, 300]
        assert data["next", "flag"].all()

    def test_excuse_no_other_nan(self):
        class Broken(Beads):
            def _step(self, tensordict):
                out = super()._step(tensordict)
                if self.count[2].item() == 3:
                    out["x"][2] = float("nan")
                return out

        with pytest.raises(NonFiniteError, match="'x' returned by Broken"):
            auto(Broken)().rollout(6, break_when_any_done=False)


class TestSerial:
    def test_equals_single_envs(self, tools):
        batch = SerialEnv(3, cartpole)
        batch.set_seed(1)
        actions = tools.draw_actions(batch, 30)
        found = batch.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False)
        seed = 1
        for i in range(3):
            single = cartpole()
            seed = single.set_seed(seed)
            expected = single.rollout(
                30, tools.FixedPolicy([action[i] for action in actions]), break_when_any_done=False
            )
            same_but_nan(found[i], expected)

    def test_of_a_simulator_that_needs_no_code(self, line):
        """The env itself may be a plain wrapper: nothing of it says that it resets itself, but the option."""
        import gymnasium

        from envkit import GymWrapper

        class Restarts(gymnasium.Wrapper):
            def step(self, action):
                observation, *rest = self.env.step(action)
                if rest[1] or rest[2]:
                    observation, _ = self.env.reset()
                return observation, *rest

        def make():
            return GymWrapper(Restarts(line(length=3)), auto_reset=True)

        for env in (make(), SerialEnv(2, make), TransformedEnv(make(), StepCounter())):
            data = env.rollout(7, break_when_any_done=False)
            assert data["observation"][..., 0].reshape(-1, 7)[0].tolist() == [0, 1, 2, 0, 1, 2, 0]
            assert data["next", "observation"][..., 0].reshape(-1, 7)[0].isnan().tolist() == [
                False,
                False,
                True,
            ] * 2 + [False]
        env = make()
        env.rollout(7, break_when_any_done=False)
        assert len(env._env.env.seeds) == 3


class TestTransforms:
    def test_counts_restart(self):
        env = TransformedEnv(auto(Beads)(), Compose(StepCounter(), RewardSum(), InitTracker()))
        data = env.rollout(6, break_when_any_done=False)
        assert data["step_count"].squeeze(-1)[:2].tolist() == [[0, 1, 0, 1, 0, 1], [0, 1, 2, 0, 1, 2]]
        assert data["next", "step_count"].squeeze(-1)[:2].tolist() == [[1, 2, 1, 2, 1, 2], [1, 2, 3, 1, 2, 3]]
        assert data["next", "episode_reward"].squeeze(-1)[0].tolist() == [1, 2, 1, 2, 1, 2]
        assert torch.equal(data["is_init"], data["step_count"] == 0)
        assert env.base_env.real_resets == [[True] * 3]

    def test_may_declare_the_whole(self):
        """A TransformedEnv takes the option as well as any env."""
        env = TransformedEnv(Beads(), StepCounter(), auto_reset=True)
        data = env.rollout(4, break_when_any_done=False)
        assert env.base_env.real_resets == [[True] * 3]
        assert torch.equal(data["next", "x"].isnan(), data["next", "done"])


class TestChecks:
    @pytest.mark.parametrize(
        "make", [cartpole, lambda: auto(Beads)(), lambda: auto(Agents)(), lambda: SerialEnv(2, cartpole)]
    )
    def test_specs(self, make):
        assert check_env_specs(make()) == []

    def test_fillers_need_not_be_in_the_specs(self):
        """A bound is no bound for what stands in for nothing."""
        env = auto(Beads)()
        env.observation_spec = Composite(
            {**dict(env.observation_spec.items()), "whole": Bounded(0, 1000, shape=(3, 1), dtype=torch.int64)},
            shape=(3,),
        )
        assert env.rollout(4, break_when_any_done=False)["next", "whole"].min() == -1


def auto(cls, **kwargs):
    """``cls`` as an env that takes the options of every env."""
    return lambda: cls(auto_reset=True, **kwargs)


def same_but_nan(found, expected):
    """Bit for bit the same, NaN where there is NaN."""
    assert found.batch_size == expected.batch_size
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key, value in expected.items(True, True):
        assert found[key].dtype == value.dtype, key
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, equal_nan=True)
