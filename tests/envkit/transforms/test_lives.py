from __future__ import annotations

import pytest
import torch

from envkit import (
    EndOfLifeTransform,
    GymEnv,
    GymWrapper,
    SerialEnv,
    SpecError,
    TransformedEnv,
    Unbounded,
    check_env_specs,
    default_info_dict_reader,
)


def with_infos(fake_atari):
    spec = {"lives": Unbounded((), dtype=torch.int64)}
    return GymWrapper(fake_atari()).set_info_dict_reader(default_info_dict_reader(["lives"], spec))


def test_asked_of_the_simulator(kit, fake_atari):
    def make():
        return GymWrapper(fake_atari())

    check_env_specs(TransformedEnv(make(), EndOfLifeTransform()))
    data = kit.ports_agree(make, EndOfLifeTransform, steps=60)
    assert kit.on_rows(TransformedEnv(make(), EndOfLifeTransform()))
    lives, after, marks = data["lives"], data["next", "lives"], data["next", "end-of-life"]
    assert torch.equal(marks, after < lives)
    assert marks.sum() > data["next", "done"].sum() > 0
    assert not data["end-of-life"][0]
    assert lives[1:][data["next", "done"][:-1]].eq(3).all()


def test_read_from_infos(kit, fake_atari):
    kit.all(lambda: with_infos(fake_atari), EndOfLifeTransform)


def test_in_a_batch_and_around_it(fake_atari, tools):
    inside = SerialEnv(2, lambda: TransformedEnv(GymWrapper(fake_atari()), EndOfLifeTransform()))
    outside = TransformedEnv(SerialEnv(2, lambda: with_infos(fake_atari)), EndOfLifeTransform())
    actions = tools.draw_actions(inside, 40)
    found = []
    for env in (inside, outside):
        env.set_seed(1)
        found.append(env.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False)["next", "end-of-life"])
    assert torch.equal(*found)


def test_names(fake_atari):
    env = GymWrapper(fake_atari())
    transform = EndOfLifeTransform(eol_key="lost", lives_key="left", eol_attribute="left_now")
    with pytest.raises(SpecError, match="EndOfLifeTransform: expected an env with the attribute 'left_now', found"):
        TransformedEnv(env, transform)
    env._env.left_now = 5
    env = TransformedEnv(env, EndOfLifeTransform(eol_key="lost", lives_key="left", eol_attribute="left_now"))
    assert env.reset()["left"].item() == 5


def test_refused(fake_atari):
    with pytest.raises(SpecError, match="expected an observation 'lives' of a batch of envs"):
        TransformedEnv(SerialEnv(2, lambda: GymWrapper(fake_atari())), EndOfLifeTransform())
    with pytest.raises(SpecError, match=r"with the attribute 'unwrapped.ale.lives'"):
        TransformedEnv(GymEnv("CartPole-v1"), EndOfLifeTransform())


def test_losses_are_told():
    class Loss:
        def set_keys(self, **keys):
            self.keys = keys

    losses = Loss(), Loss()
    EndOfLifeTransform(eol_key="lost").register_keys(*losses)
    assert [loss.keys for loss in losses] == [{"done": "lost", "terminated": "lost"}] * 2
