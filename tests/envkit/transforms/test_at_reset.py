from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Compose,
    FireReset,
    FrameSkipTransform,
    GymEnv,
    GymWrapper,
    NoopResetEnv,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)


def starts(taken):
    """The actions before the first one of the policy, which is the last of each episode's here."""
    episodes, current = [], []
    for action in taken:
        if action == -1:
            current = []
            episodes.append(current)
        else:
            current.append(action)
    return episodes


CHAINS = {
    "noops": lambda: NoopResetEnv(6),
    "always": lambda: NoopResetEnv(3, random=False),
    "fire": lambda: FireReset(),
    "both": lambda: Compose(NoopResetEnv(4), FireReset()),
    "skipped": lambda: Compose(NoopResetEnv(4), FrameSkipTransform(3, max_keys=["observation"]), FireReset()),
}


@pytest.mark.parametrize("name", CHAINS)
def test_promises(name, kit, fake_atari):
    def make():
        return GymWrapper(fake_atari())

    kit.ports_agree(make, CHAINS[name])
    check_env_specs(TransformedEnv(make(), CHAINS[name]()))
    check_env_specs(SerialEnv(2, lambda: TransformedEnv(make(), CHAINS[name]())))
    assert kit.on_rows(TransformedEnv(make(), CHAINS[name]()))


def test_on_data_that_the_env_reads(kit, walk):
    kit.ports_agree(walk, lambda: NoopResetEnv(3))
    kit.ports_agree(walk, lambda: Compose(StepCounter(max_steps=9), NoopResetEnv(3)))


class TestNoops:
    def test_number(self, fake_atari):
        game = fake_atari(lives=90)
        env = TransformedEnv(GymWrapper(game), NoopResetEnv(3))
        env.set_seed(0)
        game.taken.clear()
        for _ in range(60):
            env.reset()
        counts = [len(episode) for episode in starts(game.taken)]
        assert set(counts) == {1, 2, 3}
        assert {action for episode in starts(game.taken) for action in episode} == {0}

    def test_without_chance(self, fake_atari):
        game = fake_atari(lives=90)
        env = TransformedEnv(GymWrapper(game), NoopResetEnv(5, random=False))
        game.taken.clear()
        env.reset()
        assert game.taken == [-1, 0, 0, 0, 0, 0]

    def test_an_end_on_the_way_begins_anew(self, scripted):
        env = scripted(terminated=[False, True], observations=[[0.0], [1.0], [2.0]])
        found = TransformedEnv(env, NoopResetEnv(3, random=False)).reset()
        assert env.resets == 2
        assert (found["observation"].item(), found["done"].item()) == (1, False)
        found = TransformedEnv(env, NoopResetEnv(2, random=False)).reset()
        assert found["observation"].item() == 0

    def test_rewards_are_not_shown(self, scripted):
        env = TransformedEnv(scripted(), NoopResetEnv(2))
        assert set(env.reset().keys()) == {"observation", "done", "terminated"}

    def test_a_seed_repeats_it(self, fake_atari):
        env = TransformedEnv(GymWrapper(fake_atari(lives=90)), NoopResetEnv(30))
        found = []
        for seed in (1, 1, 2):
            env.set_seed(seed)
            found.append(env.reset()["observation"])
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])

    def test_the_continuous_action_next_to_zero(self):
        env = TransformedEnv(GymEnv("Pendulum-v1"), NoopResetEnv(3, random=False))
        plain = GymEnv("Pendulum-v1")
        for each in (env, plain):
            each.set_seed(0)
        data = plain.rollout(3, lambda td: td.set("action", torch.zeros(1)))
        assert torch.equal(env.reset()["observation"], data["next", "observation"][-1])

    def test_on_single_envs_alone(self, fake_atari):
        with pytest.raises(SpecError, match="NoopResetEnv belongs on a single env"):
            TransformedEnv(SerialEnv(2, lambda: GymWrapper(fake_atari())), NoopResetEnv())

    def test_errors(self):
        with pytest.raises(ValueError, match="noops: expected at least 1, found 0"):
            NoopResetEnv(0)
        with pytest.raises(NotImplementedError, match="need an env"):
            NoopResetEnv()(TensorDict())


class TestFire:
    @pytest.mark.parametrize("one_hot", [False, True])
    def test_action(self, one_hot, fake_atari):
        game = fake_atari(lives=90)
        env = GymWrapper(game, categorical_action_encoding=not one_hot)
        env = TransformedEnv(env, FireReset(action=2))
        game.taken.clear()
        env.reset()
        env.reset()
        assert game.taken == [-1, 2, -1, 2]
