from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    CartPoleEnv,
    Compose,
    FrameSkipTransform,
    GrayScale,
    GymWrapper,
    OneHot,
    SerialEnv,
    SpecError,
    StepCounter,
    StickyAction,
    TransformedEnv,
    check_env_specs,
)

OBSERVATION = ["observation"]


class TestFrameSkip:
    @pytest.mark.parametrize("frame_skip", [1, 2, 4])
    @pytest.mark.parametrize("max_keys", [None, OBSERVATION])
    def test_promises(self, frame_skip, max_keys, kit, fake_atari):
        def make():
            return FrameSkipTransform(frame_skip, max_keys=max_keys)

        kit.all(lambda: GymWrapper(fake_atari()), make)
        assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), make()))

    def test_on_data_that_the_env_reads(self, kit, walk):
        kit.all(walk, lambda: FrameSkipTransform(3, max_keys=["position"]))

    def test_around_transforms_with_a_memory(self, kit, walk):
        def chain():
            return Compose(StepCounter(max_steps=7), FrameSkipTransform(3))

        kit.commutes(walk, chain)
        kit.ports_agree(walk, chain)
        data = TransformedEnv(walk(limit=100.0), chain()).rollout(9)
        assert data["next", "step_count"].flatten().tolist() == [3, 6, 7]

    def test_of_agents(self, kit, two_agents):
        kit.commutes(two_agents, lambda: FrameSkipTransform(2))
        kit.ports_agree(two_agents, lambda: FrameSkipTransform(2))

    def test_agents_that_are_done_wait(self, two_agents):
        env = TransformedEnv(two_agents((3, 5)), FrameSkipTransform(4))
        td = env.reset().update(env.full_action_spec.one())
        td = env.step(td)
        assert td["next", "agent0", "val"].tolist() == [3, 3]
        assert td["next", "agent1", "val"].tolist() == [4, 4]
        assert (td["next", "agent0", "reward"].item(), td["next", "agent1", "reward"].item()) == (3, 4)

    def test_sums_and_stops(self, scripted):
        rewards = [1.0, 2.0, 4.0, 8.0, 16.0]
        env = scripted(rewards=rewards, terminated=[False] * 4 + [True])
        data = TransformedEnv(env, FrameSkipTransform(3)).rollout(4, break_when_any_done=False)
        assert data["next", "reward"].flatten().tolist() == [7, 24, 7, 24]
        assert data["next", "observation"].flatten().tolist() == [3, 5, 3, 5]
        assert data["next", "done"].flatten().tolist() == [False, True, False, True]

    def test_greatest_of_the_last_two(self, scripted):
        env = scripted(observations=[[0.0], [9.0], [3.0], [5.0], [4.0], [2.0], [1.0]])
        data = TransformedEnv(env, FrameSkipTransform(3, max_keys=OBSERVATION)).rollout(2)
        assert data["next", "observation"].flatten().tolist() == [5, 2]

    def test_a_native_batch(self):
        envs = [CartPoleEnv(batch_size=[5]), CartPoleEnv(batch_size=[5])]
        for env in envs:
            env.set_seed(0)
        skipping = TransformedEnv(envs[0], FrameSkipTransform(8))
        check_env_specs(skipping)
        skipping.set_seed(0)
        action = torch.tensor([0, 1, 0, 1, 0])
        data = skipping.rollout(3, lambda td: td.set("action", action), break_when_any_done=False)
        plain = envs[1].rollout(24, lambda td: td.set("action", action), break_when_any_done=False)
        first = plain["next", "done"][:, :8].any(1)
        assert torch.equal(data["next", "done"][:, 0], first)
        alive = ~first.squeeze(-1)
        assert torch.equal(data["next", "observation"][alive, 0], plain["next", "observation"][alive, 7])

    def test_as_gymnasium(self, fake_atari):
        """But for the end of an episode, where Gymnasium shows older frames."""
        theirs = gymnasium.wrappers.MaxAndSkipObservation(fake_atari(lives=50), 4)
        ours = TransformedEnv(GymWrapper(fake_atari(lives=50)), FrameSkipTransform(4, max_keys=OBSERVATION))
        theirs.reset(seed=3)
        ours.set_seed(3)
        data = ours.rollout(9)
        for row in data:
            frame, reward, *_ = theirs.step(int(row["action"]))
            assert np.array_equal(row["next", "observation"], frame)
            assert row["next", "reward"].item() == reward

    def test_bounds_of_sums(self, kit):
        def summed(low, high):
            specs = kit.specs_with(Bounded(low, high, (1,)), "reward", "reward")
            return FrameSkipTransform(3).transform_specs(specs)["reward"]["reward"]

        assert summed(-1.0, 2.0) == Bounded(-3.0, 6.0, (1,))
        assert summed(1.0, 2.0) == Bounded(1.0, 6.0, (1,))
        assert summed(-2.0, -1.0) == Bounded(-6.0, -1.0, (1,))

    def test_errors(self, fake_atari):
        with pytest.raises(ValueError, match="frame_skip: expected at least 1, found 0"):
            FrameSkipTransform(0)
        with pytest.raises(SpecError, match=r"FrameSkipTransform: unknown key 'pixels' in max_keys"):
            TransformedEnv(GymWrapper(fake_atari()), FrameSkipTransform(2, max_keys=["pixels"]))
        with pytest.raises(NotImplementedError, match="FrameSkipTransform repeats the actions of an env"):
            FrameSkipTransform(2)(TensorDict())


class TestStickyAction:
    @pytest.mark.parametrize("probability", [0.0, 1.0])
    def test_promises(self, probability, kit, fake_atari, walk):
        kit.all(lambda: GymWrapper(fake_atari()), lambda: StickyAction(probability))
        kit.all(walk, lambda: StickyAction(probability))

    def test_by_chance(self, kit, fake_atari):
        def make():
            return StickyAction(0.4)

        assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), make()))
        kit.ports_agree(lambda: GymWrapper(fake_atari()), make)
        kit.ports_agree(lambda: SerialEnv(3, lambda: GymWrapper(fake_atari())), make)
        check_env_specs(TransformedEnv(GymWrapper(fake_atari()), make()))

    @pytest.mark.parametrize("batch", [False, True])
    def test_executes_what_it_shows(self, batch, fake_atari):
        games = []

        def make():
            games.append(fake_atari(lives=90))
            return GymWrapper(games[-1])

        env = TransformedEnv(SerialEnv(2, make) if batch else make(), StickyAction(0.3))
        env.set_seed(0)
        games[:] = games[-2:] if batch else games
        for game in games:
            game.taken.clear()
        data = env.rollout(300)
        chosen, executed, before = data["action"], data["next", "last_action"], data["last_action"]
        assert not before[..., 0].any()
        assert torch.equal(before[..., 1:], executed[..., :-1])
        assert ((executed == chosen) | (executed == before)).all()
        # Of those that differ from the last one, so many were not executed.
        stuck = (executed != chosen)[before != chosen].double().mean()
        assert 0.22 < stuck < 0.38
        lists = executed.tolist() if batch else [executed.tolist()]
        assert [game.taken[1:] for game in games] == lists

    def test_a_seed_repeats_it(self, fake_atari, tools):
        env = TransformedEnv(GymWrapper(fake_atari()), StickyAction(0.5))
        actions = tools.draw_actions(env, 30)
        found = []
        for seed in (1, 1, 2):
            env.set_seed(seed)
            found.append(env.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False)["next", "last_action"])
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])

    def test_snapshots_hold_its_stream(self, fake_atari, tools):
        env = TransformedEnv(GymWrapper(fake_atari(lives=90)), StickyAction(0.5))
        actions = tools.draw_actions(env, 30)
        env.set_seed(1)
        snapshot, found = env.snapshot(), []
        for _ in range(2):
            env.restore(snapshot)
            found.append(env.rollout(30, tools.FixedPolicy(actions)))
        tools.assert_same(*found)

    def test_one_hot(self, fake_atari):
        env = GymWrapper(fake_atari(), categorical_action_encoding=False)
        env = TransformedEnv(env, StickyAction(1.0))
        assert env.observation_spec["last_action"] == OneHot(4, dtype=env.action_spec.dtype)
        assert env.rollout(5)["next", "last_action"].int().argmax(-1).tolist() == [0] * 5

    def test_sticks_from_frame_to_frame(self, kit, fake_atari):
        game = fake_atari(lives=90)
        env = TransformedEnv(GymWrapper(game), Compose(StickyAction(0.5), FrameSkipTransform(4)))
        assert kit.on_rows(env)
        env.set_seed(0)
        game.taken.clear()
        data = env.rollout(50)
        taken = torch.tensor(game.taken[1:]).reshape(50, 4)
        assert torch.equal(taken[:, -1], data["next", "last_action"])
        assert (taken != data["action"].unsqueeze(-1)).any(1).sum() > 10
        assert (taken == data["action"].unsqueeze(-1)).any(1).sum() > 10

    def test_errors(self):
        with pytest.raises(ValueError, match=r"expected a number from 0 to 1, found 1.5"):
            StickyAction(1.5)


def test_after_smaller_frames(kit, fake_atari):
    """The greatest of gray levels, innermost."""

    def chain():
        return Compose(
            GrayScale(OBSERVATION, channel_dim=-1), FrameSkipTransform(4, max_keys=OBSERVATION), StepCounter(5)
        )

    kit.commutes(lambda: GymWrapper(fake_atari()), chain)
    kit.ports_agree(lambda: GymWrapper(fake_atari()), chain)
    assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), chain()))
