from __future__ import annotations

import copy
import importlib.util
import pickle

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Composite,
    EnvDataError,
    GymEnv,
    GymWrapper,
    MultiCategorical,
    NonFiniteError,
    NonTensor,
    OneHot,
    ResetNeededError,
    Unbounded,
    UnknownEnvError,
    UnsupportedSpaceError,
    check_env_specs,
)

SEED, STEPS = 11, 120
IDS = {
    "CartPole-v1": {},
    "Pendulum-v1": {"max_episode_steps": 17},
    "Acrobot-v1": {"max_episode_steps": 25},
    "FrozenLake-v1": {"max_episode_steps": 9},
    "Blackjack-v1": {},
    "MountainCarContinuous-v0": {"max_episode_steps": 30},
}
if importlib.util.find_spec("mujoco"):
    IDS["InvertedPendulum-v5"] = {}


class Recorder(gymnasium.Env):
    """Spaces of one's choice, random observations, and a list of the actions it was given."""

    render_mode = None

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space
        self.actions = []

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.actions.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


def as_given(env, td):
    """The action of a step as a Gymnasium user would write it."""
    value = td["action"].numpy()
    return value if value.shape else int(value)


def assert_observed(td, observation):
    parts = {"observation": observation}
    if isinstance(observation, tuple):
        parts = {("observation", str(i)): part for i, part in enumerate(observation)}
    for key, part in parts.items():
        assert np.array_equal(td[key].numpy(), part)


def raw_loop(env_id, kwargs, actions, seed=SEED):
    """What a plain Gymnasium loop that resets at the end of each episode sees."""
    env = gymnasium.make(env_id, **kwargs)
    observation, _ = env.reset(seed=seed)
    for action in actions:
        before = observation
        observation, reward, terminated, truncated, _ = env.step(action)
        yield before, observation, reward, terminated, truncated
        if terminated or truncated:
            observation, _ = env.reset()


class TestEqualToGymnasium:
    @staticmethod
    def public(env, actions, tools):
        return tools.by_hand(env, actions)

    @staticmethod
    def rollout(env, actions, tools):
        return env.rollout(len(actions), tools.FixedPolicy(actions), break_when_any_done=False)

    @pytest.mark.parametrize("port", ["public", "rollout"])
    @pytest.mark.parametrize("env_id", IDS)
    def test_value_for_value(self, env_id, port, tools):
        env = GymEnv(env_id, **IDS[env_id])
        env.set_seed(SEED)
        actions = tools.draw_actions(env, STEPS)
        data = getattr(self, port)(env, actions, tools)
        ends = 0
        raw = raw_loop(env_id, IDS[env_id], [as_given(env, action) for action in actions])
        for row, (before, after, reward, terminated, truncated) in zip(data.unbind(0), raw, strict=True):
            assert_observed(row, before)
            assert_observed(row["next"], after)
            assert row["next", "reward"].item() == np.float32(reward)
            assert row["next", "terminated"].item() == terminated
            assert row["next", "truncated"].item() == truncated
            assert row["next", "done"].item() == (terminated or truncated)
            ends += terminated or truncated
        assert ends > 1

    @pytest.mark.parametrize("env_id", IDS)
    def test_specs_are_kept(self, env_id):
        check_env_specs(GymEnv(env_id, **IDS[env_id]))

    def test_an_end_that_is_both(self):
        """A time limit may strike at the very step that terminates."""
        find = GymEnv("CartPole-v1")
        find.set_seed(SEED)
        length = len(find.rollout(500, lambda td: td.set("action", torch.tensor(1))))
        env = GymEnv("CartPole-v1", max_episode_steps=length)
        env.set_seed(SEED)
        last = env.rollout(500, lambda td: td.set("action", torch.tensor(1)))["next"][-1]
        assert last["terminated"]
        assert last["truncated"]

    def test_the_simulator_stays_usable_by_hand(self):
        """The time limit counts on, whoever steps."""
        env = GymEnv("Pendulum-v1", max_episode_steps=4)
        env.rollout(2)
        assert [env._env.step(np.zeros(1, np.float32))[3] for _ in range(2)] == [False, True]

    def test_wrappers_of_the_user_are_respected(self):
        wrapped = gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: -2 * reward)
        limited = gymnasium.wrappers.TimeLimit(wrapped, 3)
        data = GymWrapper(limited).rollout(10)
        assert data["next", "reward"].flatten().tolist() == [-2.0] * 3
        assert data["next", "truncated"].flatten().tolist() == [False, False, True]

    def test_nested_time_limits(self):
        env = GymWrapper(gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1", max_episode_steps=3), 5))
        assert len(env.rollout(20)) == 3
        env = GymWrapper(gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1", max_episode_steps=5), 3))
        assert len(env.rollout(20)) == 3


class TestFrameSkip:
    @pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
    def test_repeats_the_action_and_sums_the_rewards(self, env_id, tools):
        env, raw = GymEnv(env_id, frame_skip=3, **IDS[env_id]), gymnasium.make(env_id, **IDS[env_id])
        env.set_seed(SEED)
        actions = tools.draw_actions(env, 40)
        data = tools.by_hand(env, actions)
        observation, _ = raw.reset(seed=SEED)
        short = 0
        for row, action in zip(data.unbind(0), actions, strict=True):
            assert_observed(row, observation)
            rewards = []
            for _ in range(3):
                observation, reward, terminated, truncated, _ = raw.step(as_given(env, action))
                rewards.append(reward)
                if terminated or truncated:
                    break
            short += len(rewards) < 3
            assert_observed(row["next"], observation)
            assert row["next", "reward"].item() == np.float32(sum(rewards))
            assert (row["next", "terminated"].item(), row["next", "truncated"].item()) == (terminated, truncated)
            if terminated or truncated:
                observation, _ = raw.reset()
        assert short > 0

    def test_one_is_none(self):
        with pytest.raises(ValueError, match="frame_skip: expected at least 1, found 0"):
            GymEnv("CartPole-v1", frame_skip=0)


class TestPixels:
    @pytest.mark.parametrize("pixels_only", [True, False])
    def test_frames_are_the_rendered_ones(self, pixels_only):
        env = GymEnv("CartPole-v1", from_pixels=True, pixels_only=pixels_only)
        raw = gymnasium.make("CartPole-v1", render_mode="rgb_array")
        expected = {"pixels"} if pixels_only else {"pixels", "observation"}
        assert set(env.observation_spec.keys()) == expected
        td = env.reset(seed=SEED)
        raw.reset(seed=SEED)
        assert np.array_equal(td["pixels"].numpy(), raw.render())
        td = env.step(td.set("action", torch.tensor(1)))["next"]
        observation = raw.step(1)[0]
        assert np.array_equal(td["pixels"].numpy(), raw.render())
        assert set(td.keys()) == {*expected, "reward", "done", "terminated", "truncated"}
        if not pixels_only:
            assert_observed(td, observation)

    def test_spec(self):
        spec = GymEnv("CartPole-v1", from_pixels=True).observation_spec["pixels"]
        assert spec == Bounded(0, 255, (400, 600, 3), dtype=torch.uint8)

    def test_pixels_only_alone_changes_nothing(self):
        assert set(GymEnv("CartPole-v1", pixels_only=True).observation_spec.keys()) == {"observation"}

    def test_a_mode_without_frames(self):
        with pytest.raises(ValueError, match='expected an env with render_mode="rgb_array", found None'):
            GymWrapper(gymnasium.make("CartPole-v1"), from_pixels=True)
        with pytest.raises(ValueError, match="found 'ansi'"):
            GymEnv("FrozenLake-v1", from_pixels=True, render_mode="ansi")

    def test_render_on_demand(self):
        env = GymEnv("FrozenLake-v1", render_mode="ansi")
        env.reset()
        assert "S" in env.render()


class TestSpecs:
    def test_names_and_shapes(self):
        env = GymEnv("CartPole-v1")
        assert env.action_spec == Categorical(2)
        assert env.reward_spec == Unbounded((1,))
        assert env.done_keys == ["done", "terminated", "truncated"]
        assert env.observation_spec["observation"].shape == (4,)
        assert env.batch_size == ()
        assert env.batch_locked

    def test_discrete_actions_encoded_as_one_hot(self, tools):
        index, vector = GymEnv("CartPole-v1"), GymEnv("CartPole-v1", categorical_action_encoding=False)
        assert vector.action_spec == OneHot(2)
        actions = tools.draw_actions(index, 40)
        vectors = [TensorDict({"action": vector.action_spec.encode(a["action"])}) for a in actions]
        for env in (index, vector):
            env.set_seed(SEED)
        found, expected = tools.by_hand(vector, vectors), tools.by_hand(index, actions)
        tools.assert_same(found.exclude("action"), expected.exclude("action"))

    @pytest.mark.parametrize("one_hot", [False, True])
    @pytest.mark.parametrize(
        "space",
        [
            spaces.Discrete(3, start=-1),
            spaces.MultiDiscrete([2, 3]),
            spaces.MultiBinary(3),
            spaces.Box(-2.0, 2.0, (2, 2)),
            spaces.Box(-2.0, 2.0, (), np.float64),
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 1, (2,))),
            spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2, 2]))),
        ],
    )
    def test_actions_reach_the_simulator_as_its_space_samples_them(self, space, one_hot, tools):
        env = GymWrapper(Recorder(spaces.Discrete(2), space), categorical_action_encoding=not one_hot)
        actions = tools.draw_actions(env, 6)
        rolled = env.rollout(6, tools.FixedPolicy(actions))
        tools.by_hand(env, actions)
        given = env._env.actions
        assert len(given) == 12
        for action, again in zip(given[:6], given[6:], strict=True):
            assert action in space
            assert type(action) is type(space.sample())
            assert repr(action) == repr(again)
        tools.assert_same(rolled.select(*env.action_keys), torch.stack(actions))

    def test_dict_observations_go_under_their_own_names(self, dict_obs, tools):
        env, raw = GymWrapper(dict_obs()), dict_obs()
        assert env.action_spec == MultiCategorical([3, 4])
        td, (expected, _) = env.reset(seed=SEED), raw.reset(seed=SEED)
        for action in tools.draw_actions(env, 6):
            assert np.array_equal(td["camera"].numpy(), expected["camera"])
            assert td["state", "speed"].item() == expected["state"]["speed"]
            assert td["state", "gear"].item() == expected["state"]["gear"] - 1  # gears start at 1, indices at 0
            assert td["pair", "0"].item() == expected["pair"][0]
            assert np.array_equal(td["pair", "1"].numpy(), expected["pair"][1])
            td = env.step(td.update(action))["next"]
            expected, reward, terminated, _, _ = raw.step(action["action"].numpy())
            assert td["reward"].item() == reward
            assert td["done"].item() == terminated
            if terminated:
                break

    def test_text_is_kept_as_it_is(self):
        env = GymWrapper(Recorder(spaces.Dict(said=spaces.Text(6), x=spaces.Box(0, 1, (1,))), spaces.Discrete(2)))
        assert isinstance(env.observation_spec["said"], NonTensor)
        data = env.rollout(3, break_when_any_done=False)
        assert all(isinstance(row["next", "said"], str) for row in data.unbind(0))

    def test_spaces_without_a_tensor_form(self):
        with pytest.raises(UnsupportedSpaceError, match="Graph"):
            GymWrapper(Recorder(spaces.Graph(spaces.Box(0, 1, (2,)), None), spaces.Discrete(2)))

    def test_only_single_gymnasium_envs_are_wrapped(self):
        with pytest.raises(TypeError, match=r"expected a gymnasium.Env, found str"):
            GymWrapper("CartPole-v1")
        vector = gymnasium.make_vec("CartPole-v1", 2)
        with pytest.raises(TypeError, match=r"expected a gymnasium.Env, found CartPoleVectorEnv"):
            GymWrapper(vector)
        vector.close()


class TestUnknownIds:
    @pytest.mark.parametrize(
        ("name", "near"),
        [("CartPole-v7", "CartPole-v1"), ("cartpole-v1", "CartPole-v1"), ("Pendulm-v1", "Pendulum-v1")],
    )
    def test_the_nearest_is_named(self, name, near):
        with pytest.raises(UnknownEnvError, match=f"unknown env id '{name}'.*did you mean .*'{near}'"):
            GymEnv(name)

    @pytest.mark.parametrize("name", ["NothingLikeIt-v0", "ZZZ/Qqqqqqqq-v3"])
    def test_nothing_near(self, name):
        with pytest.raises(UnknownEnvError) as caught:
            GymEnv(name)
        assert name in str(caught.value)
        assert "did you mean" not in str(caught.value)

    def test_is_gymnasiums_error_too(self):
        with pytest.raises(gymnasium.error.UnregisteredEnv):
            GymEnv("CartPole-v7")


def play(env, port):
    if port == "rollout":
        return env.rollout(3)
    td = env.reset()
    for _ in range(3):
        td = env.step_mdp(env.step(env.rand_action(td)))
    return td


@pytest.mark.parametrize("frame_skip", [1, 2])
@pytest.mark.parametrize("port", ["rollout", "public"])
class TestBadData:
    @pytest.mark.parametrize(
        ("answers", "message"),
        [
            ({"observation": np.zeros(2, np.float32)}, r"'observation': expected shape \[3\], found \[2\]"),
            ({"observation": np.zeros((1, 3), np.float32)}, r"'observation': expected shape \[3\], found \[1, 3\]"),
            ({"observation": np.zeros(3, complex)}, "'observation': expected dtype float32, found complex128"),
            ({"observation": None}, r"'observation': expected shape \[3\], found \[\]"),
            ({"observation": "text"}, r"'observation': expected shape \[3\], found \[\]"),
            ({"first": np.zeros(4, np.float32)}, r"'observation': expected shape \[3\], found \[4\]"),
            ({"reward": None}, "'reward' of GymWrapper.*expected a number, found None"),
            ({"reward": "1"}, "'reward' of GymWrapper.*expected a number, found '1'"),
            ({"reward": np.zeros(2)}, "'reward' of GymWrapper.*expected a number, found array"),
            ({"terminated": None}, "'terminated' of GymWrapper.*expected a bool, found None"),
            ({"terminated": 1}, "'terminated' of GymWrapper.*expected a bool, found 1"),
            ({"truncated": np.array([True])}, "'truncated' of GymWrapper.*expected a bool, found array"),
            ({"result": (np.zeros(3, np.float32), 1.0, False, {})}, "expected .observation, reward.*, found 4 values"),
            ({"result": None}, "expected .observation, reward, terminated, truncated, info., found NoneType"),
        ],
    )
    def test_is_named(self, line, answers, message, port, frame_skip):
        with pytest.raises(EnvDataError, match=message):
            play(GymWrapper(line(**answers), frame_skip=frame_skip), port)

    @pytest.mark.parametrize(
        ("answers", "key"),
        [
            ({"observation": np.array([0, np.nan, 0], np.float32)}, "observation"),
            ({"first": np.array([0, np.nan, 0], np.float32)}, "observation"),
            ({"reward": float("nan")}, "reward"),
        ],
    )
    def test_nan(self, line, answers, key, port, frame_skip):
        with pytest.raises(NonFiniteError, match=f"'{key}' returned by GymWrapper.*found nan"):
            play(GymWrapper(line(**answers), frame_skip=frame_skip), port)

    def test_good_data_of_other_types(self, line, port, frame_skip):
        for reward in (1, True, np.float64(1.0), np.float16(1.0), np.array(1.0), np.ones((1, 1)), torch.ones(1)):
            env = GymWrapper(line(reward=reward, terminated=np.bool_(False)), frame_skip=frame_skip)
            play(env, port)
            env.reset()
            assert env.rand_step()["next", "reward"].item() == frame_skip


class TestReset:
    @pytest.mark.parametrize("port", ["reset", "rollout"])
    def test_a_seed_is_used_once(self, line, port):
        env = GymWrapper(line(length=2))
        env.set_seed(5)
        if port == "reset":
            for _ in range(3):
                env.reset()
        else:
            env.rollout(6, break_when_any_done=False)
        assert env._env.seeds[:3] == [5, None, None]

    def test_seed_and_options(self, line):
        env = GymWrapper(line())
        env.reset(seed=3, options={"low": 0.1})
        assert (env._env.seeds, env._env.options) == ([3], [{"low": 0.1}])
        env.set_seed(7)
        env.reset(seed=4)
        env.reset()
        assert env._env.seeds == [3, 4, None]

    def test_options_act(self):
        env = GymEnv("CartPole-v1")
        assert not env.reset(options={"low": 0.0, "high": 0.0})["observation"].any()

    def test_unknown_arguments_are_the_simulators_to_refuse(self, line):
        with pytest.raises(TypeError, match="speed"):
            GymWrapper(line()).reset(speed=1)

    def test_seeds_reproduce_everything(self, tools):
        def data(seed):
            env = GymEnv("CartPole-v1")
            following = env.set_seed(seed)
            return env.rollout(50, break_when_any_done=False), following

        (first, following), (second, _), (other, _) = data(1), data(1), data(2)
        tools.assert_same(first, second)
        assert not torch.equal(first["observation"], other["observation"])
        assert following not in (None, 1, 2)

    def test_static_seeds(self):
        assert GymEnv("CartPole-v1").set_seed(9, static_seed=True) == 9

    def test_step_before_reset(self):
        with pytest.raises(ResetNeededError, match="GymEnv: expected reset"):
            GymEnv("CartPole-v1").step(TensorDict({"action": torch.tensor(0)}))


def test_reused_buffers_are_copied(line):
    env = GymWrapper(line())
    data = env.rollout(4)
    assert data["observation"][:, 0].tolist() == [0, 1, 2, 3]
    assert data["next", "observation"][:, 0].tolist() == [1, 2, 3, 4]
    td = env.reset()
    first = td["observation"]
    following = env.step(env.rand_action(td))["next", "observation"]
    assert (first[0], following[0]) == (0, 1)


class TestClose:
    def test_once(self, line):
        env = GymWrapper(line())
        assert not env.is_closed
        env.close()
        env.close()
        assert env.is_closed
        assert env._env.closes == 1

    def test_renderers(self):
        env = GymEnv("CartPole-v1", from_pixels=True)
        env.rollout(1)
        env.close()
        env.close()


class TestCopies:
    @pytest.mark.parametrize("env_id", ["CartPole-v1", "CliffWalking-v1", "Blackjack-v1"])
    def test_of_an_env_that_has_drawn(self, env_id, tools):
        pytest.importorskip("pygame")
        env = GymEnv(env_id, render_mode="rgb_array")
        env.set_seed(SEED)
        td = env.rand_action(env.reset())
        env.render()
        twin, kept = copy.deepcopy(env), env.snapshot()
        assert pickle.loads(pickle.dumps(kept))
        expected, frame = env.step(td.clone()), env.render()
        env.restore(kept)
        for one in (twin, env):
            tools.assert_same(one.step(td.clone()), expected)
            assert np.array_equal(one.render(), frame)

    def test_of_a_simulator_that_makes_a_new_one(self):
        """As those do whose state is not in Python: where they cannot go on, copies begin anew."""

        class Compiled(gymnasium.utils.EzPickle, type(gymnasium.make("CartPole-v1").unwrapped)):
            def __init__(self, held=True):
                gymnasium.utils.EzPickle.__init__(self, held)
                super(gymnasium.utils.EzPickle, self).__init__()
                self.held = (i for i in range(3)) if held else None

        for held in (False, True):
            env = GymWrapper(Compiled(held))
            env.rollout(3)
            assert (copy.deepcopy(env)._env.state is None) is held
            assert copy.deepcopy(env).rollout(2).batch_size[0] > 0


class TestAttributes:
    def test_pass_through(self):
        env = GymEnv("Pendulum-v1", g=9.81)
        assert env.g == 9.81
        assert env.spec.id == "Pendulum-v1"
        assert env.unwrapped is env._env.unwrapped

    def test_of_wrappers_in_between(self):
        env = GymWrapper(gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1")))
        env.rollout(500)
        assert env.episode_count == 1

    def test_unknown(self):
        with pytest.raises(AttributeError, match="neither GymEnv nor the wrapped CartPoleEnv has 'gravitas'"):
            GymEnv("CartPole-v1").gravitas  # noqa: B018
        assert not hasattr(GymEnv("CartPole-v1"), "_private")

    def test_repr(self):
        assert repr(GymEnv("CartPole-v1")) == "GymEnv(env=CartPole-v1, batch_size=torch.Size([]), device=None)"
        assert repr(GymWrapper(gymnasium.make("CartPole-v1"))).startswith("GymWrapper(env=<")


class TestDevice:
    def test_none_by_default(self):
        env = GymEnv("CartPole-v1")
        assert env.device is None
        assert env.rollout(2).device is None

    def test_cpu(self, tools):
        env, plain = GymEnv("CartPole-v1", device="cpu"), GymEnv("CartPole-v1")
        cpu = torch.device("cpu")
        assert env.device == cpu
        assert {leaf.device for leaf in env.specs.values(True, True)} == {cpu}
        for each in (env, plain):
            each.set_seed(SEED)
        found = env.rollout(20)
        assert found.device == found["next"].device == cpu
        tools.assert_same(found, plain.rollout(20))
        td = env.rand_step(env.reset())
        assert td.device == td["next"].device == cpu

    def test_to(self):
        env = GymEnv("CartPole-v1").to("cpu")
        assert env.device == env.rollout(2).device == torch.device("cpu")


@pytest.mark.parametrize("dump", [pickle.dumps, cloudpickle.dumps])
def test_pickling_carries_the_simulators_state(dump, tools):
    """The copy goes on by itself, from where the original stood."""
    env = GymEnv("CartPole-v1", max_episode_steps=30)
    env.set_seed(SEED)
    data = env.rollout(7)
    twin = pickle.loads(dump(env))
    td = env.step_mdp(data[-1])
    actions = tools.draw_actions(env, 40)

    def go_on(each):
        return each.rollout(40, tools.FixedPolicy(actions), auto_reset=False, tensordict=td, break_when_any_done=False)

    tools.assert_same(go_on(twin), go_on(env))
    assert twin.env_name == "CartPole-v1"


def test_compositions_of_specs():
    """Assigning another observation spec is respected where the simulator's data fits it."""
    env = GymEnv("CartPole-v1")
    env.observation_spec = Composite(observation=Unbounded((4,)))
    check_env_specs(env)
    assert env.rollout(3)["observation"].shape == (3, 4)
