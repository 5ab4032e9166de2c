from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Compose,
    GymEnv,
    InitTracker,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    Transform,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=30, derandomize=True)


def line(td, *keys):
    return [td[key].flatten().tolist() for key in keys]


class TestStepCounter:
    def test_counts(self, scripted):
        env = TransformedEnv(scripted(terminated=[False, False, True]), StepCounter())
        data = env.rollout(7, break_when_any_done=False)
        assert line(data, "step_count") == [[0, 1, 2, 0, 1, 2, 0]]
        assert line(data, ("next", "step_count")) == [[1, 2, 3, 1, 2, 3, 1]]
        assert data["step_count"].dtype is torch.int64
        assert data["step_count"].shape == (7, 1)

    def test_truncates(self, scripted):
        env = TransformedEnv(scripted(), StepCounter(max_steps=3))
        data = env.rollout(7, break_when_any_done=False)
        end = [False, False, True, False, False, True, False]
        assert line(data["next"], "truncated", "done") == [end, end]
        assert not data["next", "terminated"].any()
        assert line(data, "step_count", "truncated", "done") == [[0, 1, 2, 0, 1, 2, 0], [False] * 7, [False] * 7]

    def test_of_one(self, scripted):
        data = TransformedEnv(scripted(), StepCounter(max_steps=1)).rollout(3, break_when_any_done=False)
        assert line(data["next"], "step_count", "done") == [[1, 1, 1], [True] * 3]

    def test_the_envs_own_ends_stand(self, scripted):
        env = TransformedEnv(
            scripted(terminated=[False, False, True], truncated=[False, True, False]), StepCounter(max_steps=3)
        )
        data = env.rollout(9, break_when_any_done=False)
        assert line(data["next"], "truncated") == [[False, True] * 4 + [False]]
        env = TransformedEnv(scripted(terminated=[False, False, True]), StepCounter(max_steps=3))
        last = env.rollout(9)["next"][-1]
        assert last["terminated"]
        assert last["truncated"]

    def test_no_limit_no_flag(self, scripted):
        env = TransformedEnv(scripted(), StepCounter())
        assert env.done_keys == ["done", "terminated"]
        assert TransformedEnv(scripted(), StepCounter(max_steps=2)).done_keys == ["done", "terminated", "truncated"]

    @few
    @given(limit=st.integers(1, 9), length=st.integers(1, 9))
    def test_an_episode_lasts_as_long_as_the_shorter_limit(self, limit, length):
        env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=length), StepCounter(max_steps=limit))
        counts = env.rollout(30, break_when_any_done=False)["next", "step_count"].flatten()
        expected = torch.arange(30) % min(limit, length) + 1
        assert torch.equal(counts, expected)

    def test_specs(self, scripted):
        env = TransformedEnv(SerialEnv(2, scripted), StepCounter(max_steps=5))
        assert env.observation_spec["step_count"] == Bounded(0, 5, shape=(2, 1), dtype=torch.int64)
        assert env.full_done_spec["truncated"] == Categorical(2, shape=(2, 1), dtype=torch.bool)
        unlimited = TransformedEnv(scripted(), StepCounter()).observation_spec["step_count"]
        assert unlimited == Bounded(0, torch.iinfo(torch.int64).max, shape=(1,), dtype=torch.int64)
        check_env_specs(env)

    def test_names(self, scripted):
        env = TransformedEnv(scripted(), StepCounter(max_steps=2, truncated_key="late", step_count_key="steps"))
        data = env.rollout(4, break_when_any_done=False)
        assert line(data["next"], "steps", "late", "done") == [[1, 2, 1, 2], [False, True] * 2, [False, True] * 2]
        assert "truncated" not in env.done_keys
        assert "late" in env.done_keys

    def test_without_update_of_done(self, scripted):
        env = TransformedEnv(scripted(), StepCounter(max_steps=2, truncated_key="late", update_done=False))
        data = env.rollout(5)
        assert line(data["next"], "step_count", "late") == [[1, 2, 3, 4, 5], [False, True, True, True, True]]
        assert not data["next", "done"].any()
        assert env.observation_spec.is_in(data["next"][-1].select(*env.observation_keys))
        check_env_specs(env)

    def test_beside_each_done_flag(self, two_agents):
        env = TransformedEnv(two_agents(lengths=(2, 3)), StepCounter())
        data = env.rollout(7, break_when_any_done=False)
        assert line(data, ("agent0", "step_count")) == [[0, 1, 0, 1, 0, 1, 0]]
        assert line(data, ("agent1", "step_count")) == [[0, 1, 2, 0, 1, 2, 0]]
        assert "step_count" not in data.keys()
        check_env_specs(env)

    def test_truncates_each_group(self, two_agents):
        env = TransformedEnv(two_agents(lengths=(2, 9)), StepCounter(max_steps=3))
        data = env.rollout(7, break_when_any_done=False)["next"]
        assert line(data, ("agent0", "truncated")) == [[False] * 7]
        assert line(data, ("agent1", "truncated")) == [[False, False, True] * 2 + [False]]

    @few
    @given(mask=st.lists(st.booleans(), min_size=3, max_size=3), steps=st.integers(0, 4))
    def test_partial_resets(self, mask, steps):
        env = TransformedEnv(SerialEnv(3, lambda: GymEnv("Pendulum-v1")), StepCounter())
        td = env.reset()
        for _ in range(steps):
            td = env.step_mdp(env.step(env.rand_action(td)))
        td = env.reset(td.set("_reset", torch.tensor(mask).reshape(3, 1)))
        assert line(td, "step_count") == [[0 if reset else steps for reset in mask]]

    def test_two_of_them(self, scripted):
        env = TransformedEnv(
            scripted(), Compose(StepCounter(max_steps=4), StepCounter(max_steps=3, step_count_key="again"))
        )
        data = env.rollout(9)
        assert line(data["next"], "step_count", "again") == [[1, 2, 3]] * 2

    @pytest.mark.parametrize("steps", [0, -1])
    def test_wrong_limits(self, steps):
        with pytest.raises(ValueError, match=f"max_steps: expected at least 1, found {steps}"):
            StepCounter(max_steps=steps)


class TestRewardSum:
    def test_sums(self, scripted):
        env = TransformedEnv(scripted(rewards=[1.0, 2.0, 4.0], terminated=[False, False, True]), RewardSum())
        data = env.rollout(7, break_when_any_done=False)
        assert line(data["next"], "episode_reward") == [[1, 3, 7, 1, 3, 7, 1]]
        assert line(data, "episode_reward") == [[0, 1, 3, 0, 1, 3, 0]]
        check_env_specs(env)

    def test_equals_the_sum_of_what_is_recorded(self):
        env = TransformedEnv(GymEnv("Pendulum-v1"), RewardSum())
        data = env.rollout(50)["next"]
        total = torch.zeros(1)
        for reward, found in zip(data["reward"], data["episode_reward"], strict=True):
            total = total + reward
            assert torch.equal(found, total)

    def test_keeps_shape_and_dtype(self, walk):
        env = TransformedEnv(SerialEnv(2, walk), RewardSum())
        assert env.observation_spec["episode_reward"] == Unbounded((2, 1), dtype=torch.float64)
        assert env.rollout(2)["next", "episode_reward"].dtype is torch.float64

    def test_names(self, scripted):
        env = TransformedEnv(scripted(), RewardSum(in_keys=["reward"], out_keys=["total"]))
        assert line(env.rollout(3)["next"], "total") == [[1, 2, 3]]

    def test_of_every_reward(self, two_agents):
        env = TransformedEnv(two_agents(lengths=(2, 3)), RewardSum())
        assert env.transform[0].out_keys == [("agent0", "episode_reward"), ("agent1", "episode_reward")]
        data = env.rollout(6, break_when_any_done=False)["next"]
        for agent, length in (("agent0", 2), ("agent1", 3)):
            parts = data[agent, "reward"].split(length)
            assert torch.equal(data[agent, "episode_reward"], torch.cat([part.cumsum(0) for part in parts]))
        check_env_specs(env)

    def test_of_chosen_rewards(self, two_agents):
        env = TransformedEnv(two_agents(), RewardSum(in_keys=[("agent0", "reward")]))
        assert "episode_reward" not in env.rollout(2)["agent1"].keys()

    def test_of_transformed_rewards(self, scripted):
        class Tenfold(Transform):
            def _apply_transform(self, value):
                return 10 * value

        for chain, expected in (
            (Compose(Tenfold(in_keys=["reward"]), RewardSum()), [10, 20, 30]),
            (Compose(RewardSum(), Tenfold(in_keys=["reward"])), [1, 2, 3]),
        ):
            assert line(TransformedEnv(scripted(), chain).rollout(3)["next"], "episode_reward") == [expected]

    def test_unknown_rewards(self, scripted):
        with pytest.raises(
            SpecError, match=r"RewardSum: unknown key 'oops' in in_keys; the env inside has \['reward'\]"
        ):
            TransformedEnv(scripted(), RewardSum(in_keys=["oops"]))
        with pytest.raises(SpecError, match="RewardSum: unknown key 'observation'"):
            TransformedEnv(scripted(), RewardSum(in_keys=["observation"]))

    def test_names_pair_up(self, two_agents):
        with pytest.raises(ValueError, match=r"RewardSum: expected as many out_keys as rewards, found \['total'\]"):
            TransformedEnv(two_agents(), RewardSum(out_keys=["total"]))


class TestInitTracker:
    def test_marks_first_steps(self, scripted):
        env = TransformedEnv(scripted(terminated=[False, True]), InitTracker())
        data = env.rollout(5, break_when_any_done=False)
        assert line(data, "is_init") == [[True, False, True, False, True]]
        assert not data["next", "is_init"].any()
        assert env.observation_spec["is_init"] == Categorical(2, (1,), dtype=torch.bool)
        check_env_specs(env)

    def test_name(self, scripted):
        assert line(TransformedEnv(scripted(), InitTracker(init_key="first")).rollout(2), "first") == [[True, False]]

    def test_beside_each_done_flag(self, two_agents):
        env = TransformedEnv(two_agents(lengths=(2, 3)), InitTracker())
        data = env.rollout(6, break_when_any_done=False)
        assert line(data, ("agent0", "is_init"), ("agent1", "is_init")) == [[True, False] * 3, [True, False, False] * 2]

    def test_partial_resets(self):
        env = TransformedEnv(SerialEnv(3, lambda: GymEnv("Pendulum-v1")), InitTracker())
        td = env.step_mdp(env.rand_step(env.reset()))
        td = env.reset(td.set("_reset", torch.tensor([[False], [True], [False]])))
        assert line(td, "is_init") == [[False, True, False]]

    def test_agrees_with_step_counts(self):
        env = TransformedEnv(SerialEnv(3, lambda: GymEnv("CartPole-v1")), Compose(InitTracker(), StepCounter()))
        env.set_seed(0)
        data = env.rollout(60, break_when_any_done=False)
        assert torch.equal(data["is_init"], data["step_count"] == 0)


@pytest.mark.parametrize(("transform", "name"), [(StepCounter(), "step_count"), (RewardSum(), "episode_reward")])
def test_a_step_needs_the_entry_of_the_one_before(transform, name, scripted):
    env = TransformedEnv(scripted(), transform.clone())
    td = env.reset().exclude(name)
    with pytest.raises(
        KeyError, match=rf"{type(transform).__name__}: .*{name}.* is missing; found .*action.*observation"
    ):
        env.step(td.set("action", torch.tensor(0)))


@pytest.mark.parametrize("transform", [StepCounter(), RewardSum(), InitTracker()])
def test_stored_data_has_these_entries_already(transform):
    with pytest.raises(NotImplementedError, match="an env; stored data already has its"):
        transform(TensorDict({"reward": torch.ones(3, 1)}, [3]))


def test_the_same_one_twice_counts_once(scripted):
    """An env that counts already may be wrapped by code that wants it counted."""
    inner = TransformedEnv(scripted(), Compose(StepCounter(), RewardSum(), InitTracker()))
    env = TransformedEnv(inner, Compose(StepCounter(max_steps=4), RewardSum(), InitTracker()))
    data = env.rollout(9)
    assert line(data["next"], "step_count", "episode_reward") == [[1, 2, 3, 4]] * 2
    assert line(data, "is_init") == [[True, False, False, False]]
