from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from envkit import (
    Collector,
    Compose,
    EnvDataError,
    GymEnv,
    GymVectorWrapper,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)

MODES = [mode.value for mode in AutoresetMode]
TAXI = max(name for name in gymnasium.registry if name.startswith("Taxi-v"))


def vectors(name="CartPole-v1", count=4, mode="NextStep", kind="sync", **kwargs):
    options = {"autoreset_mode": mode}
    return gymnasium.make_vec(name, count, vectorization_mode=kind, vector_kwargs=options, **kwargs)


class OldSameStep(VectorEnv):
    """A third party's: same-step, with or without a declaration, last observations under any name or none."""

    single_observation_space = gymnasium.spaces.Dict(x=gymnasium.spaces.Box(-100, 100, (1,), np.float32))
    single_action_space = gymnasium.spaces.Discrete(2)
    num_envs = 2

    def __init__(self, name="final_obs", declared=True):
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP} if declared else {}
        self.name = name

    def _observation(self):
        return {"x": self.count.astype(np.float32).reshape(2, 1)}

    def reset(self, *, seed=None, options=None):
        assert options is None
        self.seed, self.count = seed, np.zeros(2, dtype=int)
        return self._observation(), {}

    def step(self, actions):
        self.count += 1
        over = self.count >= np.array([3, 4])
        last = self._observation()
        self.count[over] = 0
        info = {self.name: last, f"_{self.name}": over} if over.any() and self.name else {}
        return self._observation(), np.ones(2), over, np.zeros(2, bool), info


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["Acrobot-v1", "Pendulum-v1", TAXI])
def test_specs_hold_in_every_mode(mode, name):
    env = GymVectorWrapper(vectors(name, mode=mode, max_episode_steps=15))
    assert env.batch_size == torch.Size([4])
    assert check_env_specs(env, seed=0) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("mode", MODES)
def test_data_is_that_of_single_envs(mode, kind, tools):
    """True last observations under "next", first ones at the root after it, no step wasted, seeds s + i."""
    env = GymVectorWrapper(vectors(mode=mode, kind=kind))
    batch = SerialEnv(4, lambda: GymEnv("CartPole-v1"))
    actions = tools.draw_actions(env, 120)
    for i, inner in enumerate(batch._envs):
        inner.set_seed(10 + i)
    env.set_seed(10)
    found = env.rollout(120, tools.FixedPolicy(actions), break_when_any_done=False)
    expected = batch.rollout(120, tools.FixedPolicy(actions), break_when_any_done=False)
    assert expected["next", "done"].sum() > 8
    tools.assert_same(found, expected)
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_transforms_and_collectors_go_around_it(mode):
    env = TransformedEnv(GymVectorWrapper(vectors(mode=mode)), Compose(StepCounter(max_steps=9), RewardSum()))
    for batch in Collector(env, None, frames_per_batch=80, total_frames=160):
        over = batch["next", "done"]
        assert batch["next", "step_count"].max() <= 9
        assert torch.equal(batch["next", "step_count"].float(), batch["next", "episode_reward"])
        assert over.any()


def test_dict_and_tuple_spaces(dict_obs):
    venv = gymnasium.vector.SyncVectorEnv([dict_obs] * 3, autoreset_mode="SameStep")
    env = GymVectorWrapper(venv)
    data = env.rollout(30, break_when_any_done=False)
    assert data["next", "camera"].shape == (3, 30, 2, 2, 3)
    assert data["next", "done"].any()


def test_one_hot_actions():
    env = GymVectorWrapper(vectors(TAXI, max_episode_steps=15), categorical_action_encoding=False)
    assert env.action_spec.shape == (4, 6)
    check_env_specs(env)


@pytest.mark.parametrize("name", ["final_obs", "final_observation"])
def test_third_parties_vector_envs(name):
    env = GymVectorWrapper(OldSameStep(name))
    env.set_seed(4)
    data = env.rollout(12, break_when_any_done=False)
    assert env._env.seed == 4
    assert data["x"][0, :, 0].tolist() == [0, 1, 2] * 4
    assert data["next", "x"][0, :, 0].tolist() == [1, 2, 3] * 4
    assert data["next", "x"][1, :, 0].tolist() == [1, 2, 3, 4] * 3


def test_third_parties_may_not_know_masks():
    env = GymVectorWrapper(OldSameStep())
    data = env.reset()
    with pytest.raises(ValueError, match=r"reset of all envs, or of those that have just ended.*found one of \[1\]"):
        env.reset(data.set("_reset", torch.tensor([[False], [True]])))


def test_a_last_observation_must_be_there():
    env = GymVectorWrapper(OldSameStep(""))
    with pytest.raises(
        EnvDataError, match="expected the last observation of env 0, whose episode is over, found nothing"
    ):
        env.rollout(12, break_when_any_done=False)


def test_a_mode_must_be_known():
    with pytest.raises(ValueError, match="does not say how it starts new episodes"):
        GymVectorWrapper(OldSameStep(declared=False))
    told = GymVectorWrapper(OldSameStep(declared=False), autoreset_mode="SameStep")
    assert told.autoreset_mode is AutoresetMode.SAME_STEP
    with pytest.raises(ValueError, match=r"NEXT_STEP.*expected a SyncVectorEnv or AsyncVectorEnv"):
        GymVectorWrapper(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point"))
    with pytest.raises(TypeError, match=r"expected a gymnasium\.vector\.VectorEnv, found"):
        GymVectorWrapper(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_no_step_after_the_end(mode):
    env = GymVectorWrapper(vectors("Pendulum-v1", mode=mode, max_episode_steps=2))
    data = env.reset()
    for _ in range(2):
        data = env.step_mdp(env.step(env.rand_action(data)))
    with pytest.raises(ResetNeededError, match=r"reset of the envs \[0, 1, 2, 3\], whose episodes are over"):
        env.step(env.rand_action(data))
    env.reset()
    env.rand_step()


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_of_some_in_mid_episode(mode):
    env = GymVectorWrapper(vectors(mode=mode))
    env.set_seed(0)
    data = env.step_mdp(env.step(env.rand_action(env.reset())))
    before = data["observation"].clone()
    env.set_seed(20)
    after = env.reset(data.set("_reset", torch.tensor([[False], [True], [False], [False]])))["observation"]
    assert torch.equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert np.array_equal(after[1].numpy(), gymnasium.make("CartPole-v1").reset(seed=21)[0])


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("mode", MODES)
def test_rollouts_until_all_are_done(mode, kind):
    """Envs whose episode is over wait for the others."""
    env = GymVectorWrapper(vectors("CartPole-v1", mode=mode, kind=kind))
    for _ in range(2):
        data = env.rollout(300, break_when_any_done=False, break_when_all_done=True)
        assert data["next", "done"][:, -1].all()
        lengths = data["next", "reward"].sum((1, 2))
        assert lengths.min() < lengths.max() == data.shape[1]
    if kind == "async":
        running = env.reset()
        running["_step"] = torch.tensor([[True], [False], [True], [True]])
        with pytest.raises(EnvDataError, match=r"only a SyncVectorEnv steps some.*found \[1\] left out"):
            env.step(env.rand_action(running))
    env.rollout(30, break_when_any_done=False)
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_some_step_while_others_rest(mode, tools):
    """Rests make no difference to what an env does, in mid-episode and between episodes."""
    env, batch = GymVectorWrapper(vectors(mode=mode)), SerialEnv(4, lambda: GymEnv("CartPole-v1"))
    for i, inner in enumerate(batch._envs):
        inner.set_seed(10 + i)
    env.set_seed(10)
    one, other = env.reset(), batch.reset()
    generator = torch.Generator().manual_seed(0)
    for action in tools.draw_actions(env, 100):
        mask = torch.rand(4, 1, generator=generator) < 0.7
        for data in (one, other):
            data.update(action)
            data["_step"] = mask.clone()
        one, other = env.step(one), batch.step(other)
        tools.assert_same(one["next"], other["next"])
        over = mask & one["next", "done"]
        one, other = env.step_mdp(one), batch.step_mdp(other)
        if over.any():
            one, other = (e.reset(td.set("_reset", over.clone())) for e, td in ((env, one), (batch, other)))
            assert torch.equal(one["observation"], other["observation"])


def test_attributes_rendering_and_closing():
    env = GymVectorWrapper(vectors(count=2, render_mode="rgb_array"))
    env.reset()
    assert len(env.render()) == 2
    assert env.num_envs == 2
    assert env.render_mode == "rgb_array"
    env.close()
    env.close()
    assert env._env.closed
    with pytest.raises(AttributeError):
        env.colour  # noqa: B018
