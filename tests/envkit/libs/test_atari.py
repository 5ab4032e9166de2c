from __future__ import annotations

import itertools
import sys

import gymnasium
import numpy as np
import pytest
import torch

from envkit import Bounded, GymEnv, GymWrapper, MissingDependencyError, SerialEnv, SpecError, atari, check_env_specs
from envkit.transforms.row_port import ChainRows

FRAME = (42, 32, 3)


def starts(taken):
    """How many no-ops begin each game."""
    found = []
    for before, action in itertools.pairwise(taken):
        if before == -1:
            found.append(0)
        if found and action == 0 and before in (-1, 0):
            found[-1] += 1
    return found


def near(found, expected):
    """Whether levels differ by rounding alone."""
    return np.abs(found.numpy().astype(int) - expected).max() <= 1


class TestOfAnEnv:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"scale": True, "clip_rewards": False, "stack": 2},
            {"grayscale": False, "noop_max": 0, "repeat_action_probability": 0.3},
            {"terminal_on_life_loss": True, "fire_reset": True, "frame_skip": 2},
        ],
    )
    def test_sound(self, options, fake_atari, tools):
        def make():
            return atari(fake_atari(FRAME), screen_size=12, **options)

        check_env_specs(make())
        envs = [SerialEnv(2, make) for _ in range(2)]
        actions = tools.draw_actions(envs[0], 25)
        for env in envs:
            env.set_seed(0)
        data = envs[0].rollout(25, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(data, tools.by_hand(envs[1], actions))

    def test_on_rows(self, fake_atari):
        env = atari(fake_atari(FRAME), fire_reset=True, repeat_action_probability=0.25, terminal_on_life_loss=True)
        assert isinstance(env._row_port(env.plan, *env._slabs(env.plan, 2, None)), ChainRows)

    def test_specs(self, fake_atari):
        key = "observation"
        assert atari(fake_atari(FRAME)).observation_spec[key] == Bounded(0, 255, (4, 84, 84), dtype=torch.uint8)
        env = atari(fake_atari(FRAME), scale=True, stack=1, screen_size=12)
        assert env.observation_spec[key] == Bounded(0.0, 1.0, (1, 12, 12))
        env = atari(fake_atari(FRAME), grayscale=False, screen_size=12)
        assert env.observation_spec[key] == Bounded(0, 255, (12, 12, 12), dtype=torch.uint8)
        assert atari(fake_atari(FRAME)).reward_spec == Bounded(-1.0, 1.0, (1,))

    @pytest.mark.parametrize("shape", [(42, 32), (42, 32, 1)])
    def test_gray_frames(self, shape, fake_atari):
        check_env_specs(atari(fake_atari(shape), screen_size=12))

    def test_pixels_as_of_stable_baselines3(self, fake_atari):
        """Without chance, and but for the end of an episode, where SB3 shows older frames."""
        pytest.importorskip("cv2")
        wrappers = pytest.importorskip("stable_baselines3.common.atari_wrappers")
        ours = atari(fake_atari(FRAME, lives=90), noop_max=0, stack=1, screen_size=20)
        theirs = wrappers.MaxAndSkipEnv(fake_atari(FRAME, lives=90), 4)
        theirs = wrappers.ClipRewardEnv(wrappers.WarpFrame(theirs, 20, 20))
        ours.set_seed(3)
        first, data = theirs.reset(seed=3)[0], ours.rollout(12)
        assert near(data["observation"][0].permute(1, 2, 0), first)
        for row in data:
            frame, reward, *_ = theirs.step(int(row["action"]))
            assert near(row["next", "observation"].permute(1, 2, 0), frame)
            assert row["next", "reward"].item() == reward

    def test_lives_end_episodes_and_games_go_on(self, fake_atari):
        game = fake_atari(FRAME, lives=3)
        env = atari(game, terminal_on_life_loss=True, noop_max=0, frame_skip=1, screen_size=12)
        env.set_seed(0)
        resets = game.resets
        data = env.rollout(200, break_when_any_done=False)
        ends = int(data["next", "terminated"].sum())
        assert ends > 6
        # A life may be lost unseen, by the no-op that goes on with a game.
        games = game.resets - resets
        assert games < ends <= 3 * games

    def test_fires(self, fake_atari):
        game = fake_atari(FRAME, lives=90)
        env = atari(game, fire_reset=True, noop_max=2, screen_size=12)
        game.taken.clear()
        env.reset()
        assert game.taken[-4:] == [1] * 4
        assert set(game.taken[1:-4]) == {0}

    def test_noops(self, fake_atari):
        game = fake_atari(FRAME, lives=90)
        env = atari(game, noop_max=5, screen_size=12)
        game.taken.clear()
        for _ in range(40):
            env.reset()
        game.taken.append(1)
        assert set(starts(game.taken)) == {1, 2, 3, 4, 5}

    def test_of_an_envkit_env(self, fake_atari):
        env = atari(GymWrapper(fake_atari(FRAME)), screen_size=12)
        assert env.rollout(3)["observation"].shape[1:] == (4, 12, 12)

    def test_refused(self, fake_atari):
        with pytest.raises(SpecError, match=r"expected one observation of bytes, the frames, found \[\]"):
            atari(GymEnv("CartPole-v1"))
        with pytest.raises(SpecError, match=r"expected frames .* found \[4, 5, 6, 3\]"):
            atari(fake_atari((4, 5, 6, 3)))
        with pytest.raises(ValueError, match=r"terminal_on_life_loss: .* found GymWrapper"):
            atari(GymWrapper(fake_atari(FRAME)), terminal_on_life_loss=True)
        with pytest.raises(ValueError, match=r"expected \['mode'\] with the id of a game alone"):
            atari(fake_atari(FRAME), mode=1)
        skipping = fake_atari(FRAME)
        skipping._frameskip = 4
        with pytest.raises(ValueError, match="expected an env that does not skip frames"):
            atari(skipping)

    def test_without_ale(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ale_py", None)
        with pytest.raises(MissingDependencyError, match=r"envkit\[atari\]"):
            atari("ALE/Pong-v5")


class TestOfAGame:
    def test_as_gymnasium(self):
        ale_py = pytest.importorskip("ale_py")
        pytest.importorskip("cv2")
        gymnasium.register_envs(ale_py)
        game = gymnasium.make("ALE/Breakout-v5", frameskip=1, repeat_action_probability=0.0)
        theirs = gymnasium.wrappers.AtariPreprocessing(game, noop_max=0)
        theirs = gymnasium.wrappers.FrameStackObservation(theirs, 4)
        ours = atari("ALE/Breakout-v5", noop_max=0, clip_rewards=False)
        ours.set_seed(1)
        first, data = theirs.reset(seed=1)[0], ours.rollout(40)
        assert near(data["observation"][0], first)
        for row in data:
            frames, reward, terminated, truncated, _ = theirs.step(int(row["action"]))
            assert row["next", "reward"].item() == reward
            assert (row["next", "terminated"].item(), row["next", "truncated"].item()) == (terminated, truncated)
            if not terminated:
                assert near(row["next", "observation"], frames)

    def test_check(self):
        pytest.importorskip("ale_py")
        env = atari("ALE/Pong-v5", terminal_on_life_loss=True, repeat_action_probability=0.25, noop_max=3)
        check_env_specs(env)
        assert env.rollout(3)["observation"].shape == (3, 4, 84, 84)


def test_starts():
    assert starts([-1, 0, 0, 1, 0, -1, 0, -1, 2]) == [2, 1, 0]
