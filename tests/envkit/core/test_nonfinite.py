"""R9: what becomes of NaN and infinities, in one env; see ``batched/test_nonfinite.py`` for many."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from envkit import (
    AutoResetTransform,
    Bounded,
    Categorical,
    Collector,
    Composite,
    DoubleToFloat,
    EnvBase,
    FrameSkipTransform,
    GymEnv,
    GymWrapper,
    NonFiniteError,
    ObservationNorm,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
)
from envkit.core.cut_off import CutOffRows

NAN, INF = float("nan"), float("inf")
AT = 2


class Counts(gymnasium.Env):
    """Observes its steps and its episode. In the first one, step ``AT`` has something else in it."""

    def __init__(self, key="observation", value=NAN):
        self.observation_space = spaces.Box(np.array([-INF, 0.0], np.float32), np.array([INF, 50.0], np.float32))
        self.action_space = spaces.Discrete(2)
        self.key, self.value = key, value
        self.count = self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.count, self.episode = 0, self.episode + 1
        return np.array([0, self.episode], np.float32), {}

    def step(self, action):
        out = {"observation": np.array([self.count + 1, self.episode], np.float32), "reward": 1.0}
        if self.episode == 1 and self.count == AT:
            out[self.key] = out[self.key] + np.array([self.value, 0.0], np.float32)[: np.size(out[self.key])]
        self.count += 1
        return out["observation"], float(np.ravel(out["reward"])[0]), self.count == 6, False, {}


class Own(EnvBase):
    """The same, by an author of an env."""

    def __init__(self, key="observation", value=NAN):
        super().__init__()
        self.inner = Counts(key, value)
        self.observation_spec = Bounded(torch.tensor([-INF, 0.0]), torch.tensor([INF, 50.0]), shape=(2,))
        self.action_spec = Categorical(2)
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

    def _set_seed(self, seed):
        self.seed = seed

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.from_numpy(self.inner.reset()[0])})

    def _step(self, tensordict):
        observation, reward, terminated, truncated, _ = self.inner.step(tensordict["action"])
        return TensorDict(
            {
                "observation": torch.from_numpy(observation),
                "reward": torch.tensor([reward]),
                "terminated": torch.tensor([terminated]),
                "truncated": torch.tensor([truncated]),
            }
        )


def wrapped(*given):
    return GymWrapper(Counts(*given))


def seen_through_rows(*given):
    return TransformedEnv(wrapped(*given), StepCounter())


def changed_on_rows(*given):
    """What it observes is not what its base env does."""
    return TransformedEnv(Own(*given), ObservationNorm(loc=1.0, scale=0.5, standard_normal=True))


def seen_through_tensordicts(*given):
    return TransformedEnv(wrapped(*given), lambda td: td)


MAKERS = [wrapped, Own, seen_through_rows, changed_on_rows, seen_through_tensordicts]
WRONG = [("observation", NAN), ("reward", NAN), ("observation", -INF)]
every_env = pytest.mark.parametrize("make", MAKERS)


def by_hand(env, steps):
    rows, td = [], env.reset()
    for _ in range(steps):
        row, td = env.step_and_maybe_reset(env.rand_action(td))
        rows.append(row.clone())
    return torch.stack(rows)


def collected(env, steps):
    return Collector(env, frames_per_batch=steps).next().exclude("collector")


WAYS = [lambda env, steps: env.rollout(steps, break_when_any_done=False), by_hand, collected]
every_way = pytest.mark.parametrize("run", WAYS, ids=["rollout", "by hand", "collector"])


def only_once(key):
    return pytest.warns(UserWarning, match=rf"'{key}' returned by .*expected finite values, found nan")


class TestTruncating:
    @every_env
    @every_way
    @pytest.mark.parametrize("key", ["observation", "reward"])
    def test_repeats_the_last_observation_and_begins_anew(self, make, run, key, tools):
        env, sound = make(key), make(key, 0.0)
        env.nonfinite = "truncate"
        for one in (env, sound):
            one.set_seed(0)
        with only_once(key) as said:
            data = run(env, 10)
        assert len(said) == 1
        expected = run(sound, 10)
        tools.assert_same(data[:AT], expected[:AT])
        cut = data[AT]
        assert torch.equal(cut["next", "observation"], cut["observation"])
        flags = {name: cut["next", name].item() for name in ("done", "terminated", "truncated")}
        assert flags == {"done": True, "terminated": False, "truncated": True}
        assert cut["next", "reward"].item() == 0.0
        first = expected[0]["observation"] + (expected[6]["observation"] - expected[0]["observation"])
        assert torch.equal(data[AT + 1]["observation"], first)  # of the second episode
        assert data["next", "done"].flatten().tolist() == [i in (AT, AT + 6) for i in range(10)]

    @pytest.mark.parametrize("count", [1, 30])
    def test_on_the_quick_way_of_the_public_port(self, count):
        """After so many steps nothing is left to be checked there."""
        env = wrapped("observation", 0.0)
        env.nonfinite = "truncate"
        by_hand(env, 4 * count)
        env._env.value, env._env.episode = NAN, 0
        with only_once("observation"):
            data = by_hand(env, 5)
        assert data["next", "truncated"].flatten().tolist() == [False, False, True, False, False]

    def test_on_rows_of_repeated_steps(self):
        env = TransformedEnv(wrapped(), FrameSkipTransform(2))
        env.nonfinite = "truncate"
        with only_once("observation"):
            data = env.rollout(6, break_when_any_done=False)
        assert data["next", "truncated"].flatten().tolist() == [False, True, False, False, False, False]
        assert data["next", "observation"][1].tolist() == [2.0, 1.0]  # that of the third step, which was not made

    def test_after_a_reset_there_is_nothing_to_repeat(self):
        class Broken(Counts):
            def reset(self, **kwargs):
                observation, info = super().reset(**kwargs)
                return observation + (NAN if self.episode > 1 else 0.0), info

        env = GymWrapper(Broken(value=0.0), nonfinite="truncate")
        with pytest.raises(NonFiniteError, match=r"'observation' returned by GymWrapper._reset.*nan at step 6"):
            env.rollout(10, break_when_any_done=False)

    @pytest.mark.parametrize("make", [wrapped, Own])
    def test_by_hand_needs_no_more_than_an_action(self, make):
        env = make()
        env.nonfinite = "truncate"
        env.reset()
        for _ in range(AT):
            env.step(env.rand_action())
        with only_once("observation"):
            data = env.step(env.rand_action())
        assert data["next", "observation"].tolist() == [AT, 1.0]
        assert data["next", "truncated"].item()

    def test_after_going_back(self):
        env = seen_through_tensordicts()
        env.nonfinite = "truncate"
        td = env.reset()
        for _ in range(AT):
            td = env.step_mdp(env.step(env.rand_action(td)))
        kept = env.snapshot()
        with only_once("observation"):
            first = env.step(env.rand_action(td.clone()))
        env.rollout(3)
        env.restore(kept)
        assert torch.equal(env.step(env.rand_action(td))["next", "observation"], first["next", "observation"])

    def test_of_an_env_that_goes_by_its_input(self):
        class Stateless(EnvBase):
            batch_locked = False

            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.observation_spec, self.action_spec = Unbounded((1,)), Unbounded((1,))
                flag = Categorical(2, shape=(1,), dtype=torch.bool)
                self.full_done_spec = Composite(done=flag, truncated=flag.clone())

            def _set_seed(self, seed):
                self.seed = seed

            def _reset(self, tensordict=None):
                size = () if tensordict is None else tensordict.batch_size
                return TensorDict({"observation": torch.zeros(*size, 1)}, size)

            def _step(self, tensordict):
                out = TensorDict({"observation": tensordict["observation"] + 1}, tensordict.batch_size)
                out["reward"] = torch.where(tensordict["observation"] == 7, NAN, 1.0)
                return out.set("done", out["reward"] < 0)

        env = Stateless(nonfinite="truncate")
        env.reset(TensorDict({}, [2]))
        td = TensorDict({"observation": torch.tensor([[6.0], [7.0]]), "action": torch.zeros(2, 1)}, [2])
        with only_once("reward"):
            data = env.step(td)
        assert data["next", "observation"].tolist() == [[7.0], [7.0]]
        assert data["next", "truncated"].tolist() == [[False], [True]]
        env._runtime.told.clear()
        with only_once("reward"):
            data = env.rollout(9, break_when_any_done=False, tensordict=TensorDict({}, [2]))
        assert data["next", "observation"][0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 7, 1]

    def test_some_of_a_batch(self):
        class Many(EnvBase):
            def __init__(self, **kwargs):
                super().__init__(batch_size=(3,), **kwargs)
                self.observation_spec = Unbounded((3, 2))
                self.action_spec = Unbounded((3,))
                flag = Categorical(2, shape=(3, 1), dtype=torch.bool)
                self.full_done_spec = Composite(done=flag, truncated=flag.clone())

            def _set_seed(self, seed):
                self.seed = seed

            def _reset(self, tensordict=None):
                return TensorDict({"observation": torch.zeros(3, 2)}, [3])

            def _step(self, tensordict):
                following = tensordict["observation"] + 1
                following[1][following[1] == 3] = NAN
                ones = torch.ones(3, 1)
                return TensorDict({"observation": following, "reward": ones, "terminated": ones < 0}, [3])

        env = Many(nonfinite="truncate")
        for run in WAYS:
            with only_once("observation"):
                data = run(env, 15 if run is collected else 5)
            data = data if data.batch_size == (3, 5) else data.transpose(0, 1)
            assert data["next", "observation"][..., 0].tolist() == [[1, 2, 3, 4, 5], [1, 2, 2, 1, 2], [1, 2, 3, 4, 5]]
            assert data["next", "truncated"].nonzero().tolist() == [[1, 2, 0]]
            assert data["next", "reward"][1].flatten().tolist() == [1, 1, 0, 1, 1]
            env._runtime.told.clear()

    @pytest.mark.parametrize("root", [False, True])
    def test_the_outermost_group_is_what_ends(self, root):
        class Agents(EnvBase):
            """Two agents, ``"a"`` and ``"b"``, and what both see."""

            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                flag = Categorical(2, shape=(1,), dtype=torch.bool)
                flags = Composite(done=flag, truncated=flag.clone())
                self.observation_spec = Composite(
                    a=Composite(x=Unbounded((2,))), b=Composite(x=Unbounded((2,))), both=Unbounded((2,))
                )
                self.action_spec = Unbounded((1,))
                self.reward_spec = Composite({name: Composite(reward=Unbounded((1,))) for name in "ab"})
                done = Composite(a=flags.clone(), b=flags.clone())
                self.full_done_spec = done.update(flags) if root else done

            def _set_seed(self, seed):
                self.seed = seed

            def _reset(self, tensordict=None):
                zero = torch.zeros(2)
                return TensorDict({"a": {"x": zero}, "b": {"x": zero}, "both": zero})

            def _step(self, tensordict):
                out = {"both": tensordict["both"] + 1}
                for name in "ab":
                    x = tensordict[name, "x"] + 1
                    out[name] = {"x": x, "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)}
                out["a"]["x"][out["a"]["x"] == 3] = NAN
                return TensorDict(out | ({"done": torch.zeros(1, dtype=torch.bool)} if root else {}))

        for run in WAYS:
            with pytest.warns(UserWarning, match=r"\('a', 'x'\).*found nan; the episode is truncated"):
                data = run(Agents(nonfinite="truncate"), 4)
            assert data["next", "a", "x"][:, 0].tolist() == [1, 2, 2, 1]
            assert data["next", "a", "truncated"].flatten().tolist() == [False, False, True, False]
            assert data["next", "a", "reward"].flatten().tolist() == [1, 1, 0, 1]
            alike = [1, 2, 2, 1] if root else [1, 2, 3, 4]
            assert data["next", "b", "x"][:, 0].tolist() == alike
            assert data["next", "b", "done"].flatten().tolist() == [False, False, root, False]
            assert data["next", "b", "reward"].flatten().tolist() == [1, 1, 0 if root else 1, 1]
            assert data["next", "both"][:, 0].tolist() == ([1, 2, 2, 1] if root else [1, 2, 3, 1])

    def test_needs_a_truncated_flag(self, scripted):
        with pytest.raises(
            SpecError, match=r"'truncate': expected a truncated flag beside 'done', found \['done', 'ter"
        ):
            scripted(nonfinite="truncate")

    def test_is_not_for_envs_that_reset_themselves(self):
        with pytest.raises(SpecError, match="'truncate': expected an env that leaves resets to others"):
            GymEnv("CartPole-v1", auto_reset=True, nonfinite="truncate")
        env = TransformedEnv(GymEnv("CartPole-v1"), AutoResetTransform())
        with pytest.raises(SpecError, match="'truncate': expected an env that leaves resets to others"):
            env.nonfinite = "truncate"
        with pytest.raises(SpecError, match="expected an env whose episodes end by themselves"):
            TransformedEnv(GymEnv("CartPole-v1", nonfinite="truncate"), AutoResetTransform())


class TestTheOthers:
    @every_env
    @pytest.mark.parametrize(("key", "value"), WRONG)
    def test_an_error_is_what_there_is_by_default(self, make, key, value):
        assert make().nonfinite == "error"
        text = rf"'{key}' returned by \w+._step.*found -?(nan|inf)( at step {AT},)? at index \[0\] \(1 in all\); set"
        passes = value == -INF  # where nothing bounds it
        for run in (WAYS[0], WAYS[2]):
            if passes:
                assert run(make(key, value), 4)["next", key].isinf().sum() == 1
            else:
                with pytest.raises(NonFiniteError, match=text):
                    run(make(key, value), 4)

    def test_an_infinity_is_one_where_there_is_a_bound(self):
        class Second(Counts):
            def step(self, action):
                observation, *others = super().step(action)
                return (observation[::-1].copy(), *others)

        env = GymWrapper(Second("observation", INF))
        with pytest.raises(NonFiniteError, match=rf"found inf at step {AT}, at index \[1\]"):
            env.rollout(5)

    @every_env
    @every_way
    def test_a_warning_comes_once(self, make, run):
        env = make()
        env.nonfinite = "warn"
        with only_once("observation") as said:
            data = run(env, 5)
        assert len(said) == 1
        assert data["next", "observation"].isnan().sum() == 1

    @every_env
    @every_way
    def test_all_may_pass(self, make, run):
        env = make()
        env.nonfinite = "allow"
        assert run(env, 5)["next", "observation"].isnan().sum() == 1

    def test_the_mode_may_change(self):
        env = GymWrapper(Counts(), nonfinite="allow")
        for mode in ("allow", "truncate", "allow"):
            env.nonfinite = mode
            env._env.episode = 0
            env._runtime.told.clear()
            if mode == "truncate":
                with only_once("observation"):
                    assert by_hand(env, 5).isfinite().all()
            else:
                assert by_hand(env, 5)["next", "observation"].isnan().any()

    @pytest.mark.parametrize("mode", ["ignore", True])
    def test_no_other_words(self, mode):
        with pytest.raises(
            ValueError, match=r"nonfinite: expected one of \['allow', 'error', 'truncate', 'warn'\], found"
        ):
            wrapped().nonfinite = mode

    def test_costs_nothing_unless_it_is_asked_for(self):
        for mode in ("error", "warn", "allow"):
            env = wrapped()
            env.nonfinite = mode
            assert not isinstance(env._row_port(env.plan, *env._slabs(env.plan, 3, None)), CutOffRows)

    def test_doubles(self):
        env = TransformedEnv(GymWrapper(Counts("reward", NAN)), DoubleToFloat())
        with pytest.raises(NonFiniteError, match="'reward'"):
            env.rollout(5)
