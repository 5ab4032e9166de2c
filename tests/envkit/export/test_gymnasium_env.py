from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from tensordict import TensorDict

from envkit import (
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    GymWrapper,
    InitTracker,
    InvalidActionError,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    as_gymnasium,
    check_env_specs,
)


def complaints(env: gymnasium.Env) -> set[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    return {str(warning.message) for warning in caught}


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Blackjack-v1", "MountainCarContinuous-v0"]
)
def test_steps_are_those_of_the_simulator(name):
    theirs, ours = gymnasium.make(name), as_gymnasium(GymEnv(name))
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(0)
    seed: int | None = 5
    for _ in range(3):
        first, expected = ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0]
        seed = None  # episodes after the first go on in the same stream
        over = False
        while not over:
            assert np.array_equal(np.asarray(first), np.asarray(expected))
            assert first in ours.observation_space
            action = ours.action_space.sample()
            first, reward, terminated, truncated, info = ours.step(action)
            expected, value, *flags, _ = theirs.step(action)
            assert type(reward) is float
            assert type(terminated) is bool
            assert type(truncated) is bool
            assert reward == pytest.approx(float(value), rel=1e-6)
            assert [terminated, truncated] == flags
            assert info == {}
            over = terminated or truncated


MAKERS = {
    "cartpole": lambda request: GymEnv("CartPole-v1"),
    "transformed": lambda request: TransformedEnv(
        GymEnv("CartPole-v1"), Compose(StepCounter(max_steps=9), RewardSum(), InitTracker())
    ),
    "one_hot": lambda request: GymEnv("CartPole-v1", categorical_action_encoding=False),
    "dict_obs": lambda request: GymWrapper(request.getfixturevalue("dict_obs")()),
    "scripted": lambda request: request.getfixturevalue("scripted")(terminated=[False] * 4 + [True]),
    "walk": lambda request: request.getfixturevalue("walk")(),
    "mapping": lambda request: request.getfixturevalue("mapping_env")(),
    "painter": lambda request: request.getfixturevalue("export").Painter(),
}


@pytest.mark.parametrize("name", MAKERS)
def test_gymnasium_finds_nothing_wrong(name, request):
    """Nothing it would not also say of a simulator that has no bounds and no spec."""
    known = {"minimum value is -infinity", "maximum value is infinity", "not having a spec"}
    found = complaints(as_gymnasium(MAKERS[name](request)))
    assert not [text for text in found if not any(part in text for part in known)]


@pytest.mark.parametrize("name", MAKERS)
def test_there_and_back_again(name, request):
    """An exported env that is wrapped again is an env with nothing wrong."""
    check_env_specs(GymWrapper(as_gymnasium(MAKERS[name](request))), seed=0)


@pytest.mark.parametrize("name", MAKERS)
def test_long_runs_stay_in_their_spaces(name, request):
    env = as_gymnasium(MAKERS[name](request))
    env.action_space.seed(1)
    observation, _ = env.reset(seed=1)
    spaces_seen = env.observation_space, env.action_space
    for _ in range(60):
        assert observation in env.observation_space
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            assert observation in env.observation_space
            observation, _ = env.reset()
    assert env.observation_space is spaces_seen[0]
    assert env.action_space is spaces_seen[1]


def test_the_layout_of_spaces(export, mapping_env):
    painter = as_gymnasium(export.Painter())
    assert painter.action_space == spaces.Discrete(3)
    assert list(painter.observation_space) == ["observation", "action_mask", "inner"]
    assert painter.observation_space["action_mask"] == spaces.MultiBinary(3)
    assert as_gymnasium(GymEnv("CartPole-v1")).observation_space.shape == (4,)
    assert as_gymnasium(mapping_env()).action_space == spaces.Discrete(3)
    alone = as_gymnasium(export.Painter(), info_keys=["action_mask", ("inner", "clock")])
    assert alone.observation_space.shape == (2,)


def test_info_keys_move_from_observation_to_info(export):
    env = as_gymnasium(export.Painter(), info_keys=["action_mask", ("inner", "clock")])
    observation, info = env.reset(seed=0)
    assert observation.shape == (2,)
    assert info["action_mask"].tolist() == [1, 1, 1]
    assert info["inner"]["clock"].tolist() == [0]
    assert env.step(2)[4]["inner"]["clock"].tolist() == [1]
    whole = as_gymnasium(export.Painter(), info_keys=["inner"])
    assert whole.reset()[1]["inner"]["clock"].tolist() == [0]
    with pytest.raises(SpecError, match=r"'speed' is no observation of the env; expected some of .*action_mask"):
        as_gymnasium(export.Painter(), info_keys=["speed"])


def test_tensors_stay_tensors_if_asked(export):
    env = as_gymnasium(export.Painter(), to_numpy=False, info_keys=["action_mask"])
    assert env.metadata["torch"] is True
    observation, info = env.reset(seed=0)
    assert isinstance(observation["inner"]["clock"], torch.Tensor)
    assert isinstance(info["action_mask"], torch.Tensor)
    _, reward, terminated, truncated, _ = env.step(torch.tensor([0, 1, 0], dtype=torch.bool))
    assert (reward, terminated, truncated) == (1.0, False, False)


def test_data_is_a_copy(walk):
    env = as_gymnasium(walk())
    observation, _ = env.reset(seed=0)
    before = observation["position"].copy()
    observation["position"][:] = 100
    after = env.step(np.zeros(2, np.float32))[0]["position"]
    assert np.array_equal(after, before)


def test_order_is_enforced(scripted):
    env = as_gymnasium(scripted())
    with pytest.raises(ResetNeededError, match=r"expected reset\(\)"):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("action", [2, -1, np.int64(5), 0.5, "left", [0, 1]])
def test_wrong_actions_are_refused(action):
    env = as_gymnasium(GymEnv("CartPole-v1"))
    env.reset()
    with pytest.raises(InvalidActionError, match="action"):
        env.step(action)
    with pytest.raises(gymnasium.error.InvalidAction):
        env.step(action)


def test_start_of_discrete_actions_is_kept():
    seen = []

    class Shifted(gymnasium.Env):
        observation_space = spaces.Discrete(5, start=2)
        action_space = spaces.Discrete(3, start=-1)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 2, {}

        def step(self, action):
            seen.append(action)
            return 6, 0.0, False, False, {}

    env = as_gymnasium(GymWrapper(Shifted()))
    assert env.action_space == Shifted.action_space
    assert env.observation_space == Shifted.observation_space
    assert env.reset()[0] == 2
    assert env.step(-1)[0] == 6
    env.step(1)
    assert seen == [-1, 1]


def test_random_numbers_follow_gymnasium():
    env = as_gymnasium(GymEnv("CartPole-v1"))
    env.reset(seed=7)
    assert env.np_random_seed == 7
    assert env.np_random.random() == gymnasium.utils.seeding.np_random(7)[0].random()
    env.np_random = np.random.default_rng()
    assert env.np_random_seed == -1


def test_options_reach_those_who_know_them(line, scripted):
    simulator = line()
    env = as_gymnasium(GymWrapper(simulator))
    env.reset(seed=3, options={"far": True})
    env.reset()
    assert simulator.options[-2:] == [{"far": True}, None]
    assert simulator.seeds[-2:] == [3, None]
    as_gymnasium(scripted()).reset(options={"far": True})  # which it does not know, and ignores


def test_rendering(export):
    env = as_gymnasium(export.Painter(render_mode="rgb_array"))
    assert env.metadata == {"render_modes": ["rgb_array"], "render_fps": 25}
    assert env.render_mode == "rgb_array"
    env.reset(seed=0)
    assert env.render().shape == (32, 32, 3)
    assert as_gymnasium(export.Painter()).render() is None
    assert as_gymnasium(GymEnv("CartPole-v1")).metadata["render_fps"] == 50


def test_close_is_idempotent(export, line):
    painter = export.Painter()
    with as_gymnasium(painter) as env:
        env.close()
    assert painter.closes == 1
    simulator = line()
    env = as_gymnasium(TransformedEnv(GymWrapper(simulator), StepCounter()))
    env.close()
    env.close()
    assert simulator.closes == 1


def test_attributes_are_looked_up_and_assigned_where_they_are():
    inner = GymEnv("CartPole-v1")
    env = gymnasium.wrappers.TimeLimit(as_gymnasium(TransformedEnv(inner, StepCounter())), 10)
    assert env.get_wrapper_attr("gravity") == 9.8
    assert env.has_wrapper_attr("masspole")
    assert not env.has_wrapper_attr("colour")
    assert env.set_wrapper_attr("gravity", 1.0)
    assert inner._env.unwrapped.gravity == 1.0
    assert env.set_wrapper_attr("frame_skip", 1)
    assert not env.unwrapped.set_wrapper_attr("colour", "red", force=False)
    env.unwrapped.set_wrapper_attr("colour", "red")
    assert env.unwrapped.colour == "red"
    with pytest.raises(AttributeError):
        env.unwrapped.get_wrapper_attr("shape of water")


def test_unwrapped_and_recorded_arguments(export):
    painter = export.Painter()
    env = as_gymnasium(painter, info_keys=iter(["action_mask"]))
    assert isinstance(env, gymnasium.Env)
    assert env.unwrapped is env
    assert env.base_env is painter
    assert env._saved_kwargs == {"env": painter, "info_keys": ["action_mask"], "to_numpy": True}
    assert env.spec is None


def test_several_objectives_are_an_array():
    class Two(EnvBase):
        def __init__(self):
            super().__init__()
            self.observation_spec = Unbounded((1,))
            self.action_spec = Unbounded((1,))
            self.reward_spec = Unbounded((2,))

        def _reset(self, tensordict=None):
            return TensorDict({"observation": torch.zeros(1)})

        def _step(self, tensordict):
            return {"observation": np.zeros(1, np.float32), "reward": np.array([1.0, 2.0], np.float32), "done": False}

        def _set_seed(self, seed):
            pass

    env = as_gymnasium(Two())
    env.reset()
    assert env.step(np.zeros(1, np.float32))[1].tolist() == [1.0, 2.0]
    assert env.reward_space.shape == (2,)


def test_a_lone_done_flag_is_a_termination():
    class Doner(EnvBase):
        def __init__(self):
            super().__init__()
            self.observation_spec = Unbounded((1,))
            self.full_action_spec = Composite(left=Unbounded((1,)), right=Unbounded((2,)))

        def _reset(self, tensordict=None):
            return TensorDict({"observation": torch.zeros(1)})

        def _step(self, tensordict):
            done = (tensordict["left"].sum() + tensordict["right"].sum() > 1).reshape(1)
            return TensorDict({"observation": torch.zeros(1), "reward": torch.zeros(1), "done": done})

        def _set_seed(self, seed):
            pass

    env = as_gymnasium(Doner())
    assert list(env.action_space) == ["left", "right"]
    env.reset()
    assert env.step({"left": np.zeros(1), "right": np.zeros(2)})[2:4] == (False, False)
    assert env.step({"left": np.ones(1), "right": np.ones(2)})[2:4] == (True, False)
    with pytest.raises(InvalidActionError, match="right"):
        env.step({"left": np.zeros(1)})


def test_what_cannot_be_exported_is_refused(two_agents, export):
    with pytest.raises(SpecError, match=r"batch size \[2\]; as_gymnasium_vector"):
        as_gymnasium(SerialEnv(2, lambda: GymEnv("CartPole-v1")))
    with pytest.raises(SpecError, match="as_pettingzoo takes envs with groups"):
        as_gymnasium(two_agents())
    with pytest.raises(TypeError, match="expected an env, found str"):
        as_gymnasium("CartPole-v1")


@pytest.mark.parametrize(
    "wrap",
    [
        gymnasium.wrappers.RecordEpisodeStatistics,
        gymnasium.wrappers.NormalizeObservation,
        gymnasium.wrappers.NormalizeReward,
        gymnasium.wrappers.FlattenObservation,
        gymnasium.wrappers.Autoreset,
        lambda env: gymnasium.wrappers.FrameStackObservation(env, 3),
        lambda env: gymnasium.wrappers.TimeAwareObservation(gymnasium.wrappers.TimeLimit(env, 20)),
        lambda env: gymnasium.wrappers.StickyAction(env, 0.3),
        lambda env: gymnasium.wrappers.TransformReward(env, lambda r: 2 * r),
    ],
    ids=range(9),
)
def test_gymnasium_wrappers_go_around_it(wrap):
    env = wrap(as_gymnasium(GymEnv("CartPole-v1")))
    env.reset(seed=0)
    for _ in range(50):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert observation in env.observation_space
        if (terminated or truncated) and not isinstance(env, gymnasium.wrappers.Autoreset):
            env.reset()
