"""Declaring, after it was made, that an env resets itself."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import (
    AutoResetEnv,
    AutoResetTransform,
    Collector,
    Compose,
    GymEnv,
    InitTracker,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)

few = settings(deadline=None, max_examples=15, derandomize=True)


class Restarting(GymEnv):
    """Returns the next episode's first observation with the done flag."""

    resets = 0

    def _step(self, tensordict):
        tensordict = super()._step(tensordict)
        if tensordict["done"].any():
            tensordict.update(super().reset().exclude(*self.done_keys))
        return tensordict

    def _reset(self, tensordict=None):
        self.resets += 1
        if tensordict is not None and "_reset" in tensordict:
            raise AssertionError("asked for a reset that the env does by itself")
        return super()._reset(tensordict)


def cartpole(**kwargs):
    return Restarting("CartPole-v1", max_episode_steps=9, **kwargs)


def recorded(env, tools, steps=30):
    env.set_seed(2)
    return env.rollout(steps, tools.FixedPolicy(tools.draw_actions(env, steps)), break_when_any_done=False)


def same(found, expected):
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key, value in expected.items(True, True):
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, equal_nan=True)


class TestTransform:
    @pytest.mark.parametrize("replace", [None, True, False])
    def test_equals_the_option_of_the_constructor(self, replace, tools):
        found = recorded(TransformedEnv(cartpole(), AutoResetTransform(replace)), tools)
        kwargs = {} if replace is None else {"auto_reset_replace": replace}
        same(found, recorded(cartpole(auto_reset=True, **kwargs), tools))
        assert bool(found["next", "observation"].isnan().any()) is (replace is not False)
        assert found["next", "done"].sum() > 2

    @few
    @given(steps=st.integers(1, 40), seed=st.integers(0, 5))
    def test_all_but_last_observations_are_those_of_an_ordinary_env(self, steps, seed):
        env, ordinary = TransformedEnv(cartpole(), AutoResetTransform()), GymEnv("CartPole-v1", max_episode_steps=9)
        env.set_seed(seed), ordinary.set_seed(seed)
        found = env.rollout(steps, break_when_any_done=False)
        expected = ordinary.rollout(steps, break_when_any_done=False)
        over = expected["next", "done"].squeeze(-1)
        assert found["next", "observation"][over].isnan().all()
        expected["next", "observation"][over] = float("nan")
        same(found, expected)

    def test_fillers(self, tools):
        found = recorded(TransformedEnv(cartpole(), AutoResetTransform(fill_float=-7.0)), tools)
        over = found["next", "done"].squeeze(-1)
        assert found["next", "observation"][over].eq(-7).all()
        assert not found["next", "observation"][~over].eq(-7).any()

    def test_fillers_of_integers_and_flags(self, dict_obs):
        from envkit import GymWrapper

        class RestartingDict(GymWrapper):
            def _step(self, tensordict):
                tensordict = super()._step(tensordict)
                if tensordict["done"].any():
                    tensordict.update(super().reset().exclude(*self.done_keys))
                return tensordict

        transform = AutoResetTransform(fill_float=9.0, fill_int=3, fill_bool=True)
        data = TransformedEnv(RestartingDict(dict_obs()), transform).rollout(20, break_when_any_done=False)["next"]
        over = data["done"].squeeze(-1)
        assert over.any()
        assert data["camera"][over].eq(3).all()
        assert data["state", "speed"][over].eq(9).all()
        assert data["state", "gear"][over].eq(3).all()

    def test_specs_stay_as_they_are(self):
        env = TransformedEnv(cartpole(), AutoResetTransform())
        assert env.specs == env.base_env.specs
        assert check_env_specs(env) == []
        assert check_env_specs(TransformedEnv(cartpole(), Compose(AutoResetTransform(), StepCounter()))) == []

    def test_transforms_on_top(self, tools):
        chain = Compose(AutoResetTransform(), StepCounter(), RewardSum(), InitTracker())
        data = recorded(TransformedEnv(cartpole(), chain), tools)
        assert torch.equal(data["is_init"], data["step_count"] == 0)
        assert torch.equal(data["next", "step_count"].float(), data["next", "episode_reward"])
        assert not data["observation"].isnan().any()

    def test_in_batches(self, tools):
        inside = SerialEnv(3, lambda: TransformedEnv(cartpole(), AutoResetTransform()))
        same(recorded(inside, tools), recorded(SerialEnv(3, lambda: cartpole(auto_reset=True)), tools))

    def test_around_a_batch(self, tools):
        """A batch of envs that reset themselves is one as well."""

        class Quiet(Restarting):
            def _reset(self, tensordict=None):
                return GymEnv._reset(self)

        outside = TransformedEnv(SerialEnv(3, lambda: Quiet("CartPole-v1", max_episode_steps=9)), AutoResetTransform())
        same(recorded(outside, tools), recorded(SerialEnv(3, lambda: cartpole(auto_reset=True)), tools))

    def test_collectors(self, tools):
        env = TransformedEnv(cartpole(), Compose(AutoResetTransform(), StepCounter()))
        actions = tools.draw_actions(env, 30)
        env.set_seed(2)
        collector = Collector(env, tools.FixedPolicy(actions), frames_per_batch=10, total_frames=30)
        found = torch.cat(list(collector)).exclude("collector")
        same(found, recorded(TransformedEnv(cartpole(), Compose(AutoResetTransform(), StepCounter())), tools))
        assert env.base_env.resets == 1 + int(found["next", "done"].sum())

    def test_must_be_innermost(self):
        with pytest.raises(SpecError, match=r"AutoResetTransform: expected it next to the env.*found StepCounter"):
            TransformedEnv(cartpole(), Compose(StepCounter(), AutoResetTransform()))
        env = TransformedEnv(cartpole(), StepCounter())
        with pytest.raises(SpecError, match="found StepCounter there"):
            env.append_transform(AutoResetTransform())
        assert len(env.transform) == 1
        env.insert_transform(0, AutoResetTransform())
        with pytest.raises(SpecError, match="found RewardSum there"):
            env.insert_transform(0, RewardSum())
        assert [type(t).__name__ for t in env.transform] == ["AutoResetTransform", "StepCounter"]

    def test_parents_and_clones(self):
        env = TransformedEnv(cartpole(), Compose(AutoResetTransform(fill_float=5.0), StepCounter()))
        parent = env.transform[1].parent
        assert parent.rollout(20, break_when_any_done=False)["next", "observation"].eq(5).any()
        twin = TransformedEnv(cartpole(), env.transform[0].clone())
        assert twin.rollout(20, break_when_any_done=False)["next", "observation"].eq(5).any()

    def test_what_is_waiting_outlives_a_change_of_specs(self):
        env = TransformedEnv(cartpole(), AutoResetTransform())
        td = env.reset()
        while not td["done"]:
            td = env.step_mdp(env.step(env.rand_action(td)))
        env.append_transform(StepCounter())
        td["step_count"] = torch.zeros(1, dtype=torch.int64)
        assert not env.maybe_reset(td)["observation"].isnan().any()

    def test_alone(self):
        with pytest.raises(NotImplementedError, match="concerns the resets of an env"):
            AutoResetTransform()(cartpole().reset())
        assert repr(AutoResetTransform(False)) == "AutoResetTransform(replace=False)"


class TestSnapshots:
    def test_include_what_is_waiting(self):
        env = TransformedEnv(GymEnv("CartPole-v1", max_episode_steps=2, auto_reset=True), StepCounter())
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(env.rand_action(td)))
        assert td["done"]
        kept = env.snapshot()
        first = env.maybe_reset(td.clone())
        again = env.maybe_reset(td.clone())  # a real one this time
        assert not torch.equal(first["observation"], again["observation"])
        env.restore(kept)
        assert torch.equal(env.maybe_reset(td.clone())["observation"], first["observation"])

    def test_copies_of_envs(self, tools):
        env = TransformedEnv(cartpole(), AutoResetTransform())
        same(recorded(copy.deepcopy(env), tools), recorded(env, tools))


class TestEnv:
    def test_begins_with_the_transform(self, tools):
        env = AutoResetEnv(cartpole())
        assert isinstance(env, TransformedEnv)
        assert [type(t) for t in env.transform] == [AutoResetTransform]
        same(recorded(env, tools), recorded(cartpole(auto_reset=True), tools))

    @pytest.mark.parametrize(
        ("transform", "names"),
        [
            (lambda: StepCounter(), ["AutoResetTransform", "StepCounter"]),
            (lambda: AutoResetTransform(False), ["AutoResetTransform"]),
            (lambda: Compose(AutoResetTransform(False), StepCounter()), ["AutoResetTransform", "StepCounter"]),
            (lambda: Compose(StepCounter(), RewardSum()), ["AutoResetTransform", "StepCounter", "RewardSum"]),
            (lambda: Compose(), ["AutoResetTransform"]),
        ],
    )
    def test_adds_what_is_missing(self, transform, names):
        env = AutoResetEnv(cartpole(), transform())
        assert [type(t).__name__ for t in env.transform] == names
        data = env.rollout(30, break_when_any_done=False)
        assert bool(data["next", "observation"].isnan().any()) is env.transform[0].replace

    def test_around_transforms(self):
        with pytest.raises(SpecError, match="expected it next to the env"):
            AutoResetEnv(TransformedEnv(cartpole(), StepCounter()))
