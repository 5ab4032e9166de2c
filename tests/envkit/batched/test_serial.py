from __future__ import annotations

import gc
import weakref
from functools import partial

import cloudpickle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Collector,
    Compose,
    Composite,
    EnvBase,
    EnvDataError,
    GymEnv,
    GymWrapper,
    NonFiniteError,
    NonTensor,
    PolicyError,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

SEED = 5
few = settings(deadline=None, max_examples=25, derandomize=True)


def cartpole():
    return GymEnv("CartPole-v1", max_episode_steps=12)


def seeded(envs, seed=SEED):
    """Seeds single envs as a batch of them would be."""
    for env in envs:
        seed = env.set_seed(seed)
    return envs


class Batched(EnvBase):
    """An env with a batch of its own, whose elements end one after the other."""

    def __init__(self):
        super().__init__(batch_size=(2,))
        self.observation_spec = Unbounded((2, 1))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2, 1))
        self.limits = torch.tensor([[3.0], [4.0]])
        self.masks = []

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        self.masks.append(None if tensordict is None else tensordict["_reset"].flatten().tolist())
        return TensorDict({"observation": torch.zeros(2, 1)}, [2])

    def _step(self, tensordict):
        value = tensordict["observation"] + 1
        return TensorDict({"observation": value, "reward": tensordict["action"], "done": value >= self.limits}, [2])


class TestEquality:
    @pytest.mark.parametrize("make", ["cartpole", "walk", "two_agents", "mapping_env", "dict_obs"])
    def test_rollouts_equal_those_of_single_envs(self, make, request, tools):
        found = {"cartpole": lambda: cartpole, "dict_obs": lambda: lambda: GymWrapper(request.getfixturevalue(make)())}
        build = found.get(make, lambda: request.getfixturevalue(make))()
        batch, singles = SerialEnv(3, build), seeded([build() for _ in range(3)])
        batch.set_seed(SEED)
        actions = tools.draw_actions(batch, 40)
        data = batch.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False)
        assert data.batch_size == (3, 40)
        for i, single in enumerate(singles):
            policy = tools.FixedPolicy([action[i] for action in actions])
            tools.assert_same(data[i], single.rollout(40, policy, break_when_any_done=False))

    @few
    @given(masks=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
    def test_partial_resets_equal_resets_of_single_envs(self, masks):
        batch, singles = SerialEnv(3, cartpole), seeded([cartpole() for _ in range(3)])
        batch.set_seed(SEED)
        td, tds = batch.reset(), [single.reset() for single in singles]
        for step, mask in enumerate(masks):
            action = torch.tensor([(step + i) % 2 for i in range(3)])
            td = batch.step_mdp(batch.step(td.set("action", action)))
            tds = [
                env.step_mdp(env.step(one.set("action", a))) for env, one, a in zip(singles, tds, action, strict=True)
            ]
            td = batch.reset(td.set("_reset", torch.tensor(mask).reshape(3, 1)))
            tds = [env.reset() if reset else one for env, one, reset in zip(singles, tds, mask, strict=True)]
            for i, one in enumerate(tds):
                for key in batch.observation_keys + batch.done_keys:
                    assert torch.equal(td[i][key], one[key])

    def test_nested_batches(self, tools):
        nested, flat = SerialEnv(2, lambda: SerialEnv(3, cartpole)), SerialEnv(6, cartpole)
        assert nested.batch_size == (2, 3)
        assert nested.set_seed(SEED) == flat.set_seed(SEED)
        actions = tools.draw_actions(flat, 30)
        found = nested.rollout(30, tools.FixedPolicy([a.reshape(2, 3) for a in actions]), break_when_any_done=False)
        expected = flat.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False)
        assert found.batch_size == (2, 3, 30)
        tools.assert_same(found.reshape(6, 30), expected)

    def test_batched_envs_inside(self, tools):
        batch, single = SerialEnv(3, Batched), Batched()
        assert batch.batch_size == (3, 2)
        actions = tools.draw_actions(single, 9)
        found = batch.rollout(
            9, tools.FixedPolicy([a.expand(3, 2).clone() for a in actions]), break_when_any_done=False
        )
        expected = single.rollout(9, tools.FixedPolicy(actions), break_when_any_done=False)
        for i in range(3):
            tools.assert_same(found[i], expected)
            assert batch._envs[i].masks == single.masks
        assert single.masks[:3] == [None, [True, False], [False, True]]

    def test_transformed_inside_and_outside(self, tools):
        def counted(env):
            return TransformedEnv(env, Compose(StepCounter(max_steps=7), RewardSum()))

        inside, outside = SerialEnv(3, lambda: counted(cartpole())), counted(SerialEnv(3, cartpole))
        assert inside.specs == outside.specs
        for env in (inside, outside):
            env.set_seed(SEED)
        actions = tools.draw_actions(inside, 30)
        found = inside.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(found, outside.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False))

    @pytest.mark.parametrize("count", [1, 4])
    def test_keeps_its_specs(self, count, walk):
        check_env_specs(SerialEnv(count, cartpole))
        check_env_specs(SerialEnv(count, walk))


class TestSpecs:
    def test_have_one_more_dimension(self):
        single, env = cartpole(), SerialEnv(4, cartpole)
        assert env.batch_size == (4,)
        assert env.specs[0] == single.specs
        assert env.action_spec == single.action_spec.expand(4)
        assert env.done_spec["done"].shape == (4, 1)
        assert env.action_keys == single.action_keys
        assert env.is_spec_locked

    def test_of_nested_groups(self, two_agents):
        env = SerialEnv(3, two_agents)
        assert env.observation_spec["agent0", "val"].shape == (3, 2)
        assert env.reset_keys == [("agent0", "_reset"), ("agent1", "_reset")]
        data = env.rollout(12, break_when_any_done=False)
        assert (data["agent0", "val"] < 3).all()
        assert data["agent1", "val"].max() == 4

    @pytest.mark.parametrize(
        ("other", "name"),
        [
            (lambda: GymEnv("Pendulum-v1"), "full_action_spec of env 1"),
            (lambda: GymEnv("CartPole-v1", categorical_action_encoding=False), "full_action_spec of env 1"),
            (lambda: TransformedEnv(cartpole(), StepCounter()), "observation_spec of env 1"),
            (lambda: TransformedEnv(cartpole(), RewardSum()), "observation_spec of env 1"),
        ],
    )
    def test_must_be_equal(self, other, name):
        with pytest.raises(SpecError, match=f"expected envs of equal specs, but {name} differs from that of env 0"):
            SerialEnv(2, [cartpole, other])

    def test_those_of_the_envs_stay_as_they_are(self):
        env = SerialEnv(2, cartpole)
        env.rollout(3)
        assert env._envs[0].specs == cartpole().specs
        assert env._envs[0].batch_size == ()


class TestConstruction:
    def test_one_function_each(self, scripted):
        env = SerialEnv(2, [lambda: scripted(rewards=[1.0]), lambda: scripted(rewards=[2.0])])
        assert env.rollout(2)["next", "reward"].flatten().tolist() == [1.0, 1.0, 2.0, 2.0]

    def test_one_set_of_arguments_for_all(self):
        assert SerialEnv(3, GymEnv, create_env_kwargs={"env_name": "Pendulum-v1", "g": 5.0}).g == [5.0] * 3

    def test_arguments_for_each(self):
        options = [{"env_name": "Pendulum-v1", "g": float(i)} for i in range(3)]
        assert SerialEnv(3, GymEnv, create_env_kwargs=options).g == [0.0, 1.0, 2.0]

    @pytest.mark.parametrize(
        ("count", "create", "options", "message"),
        [
            (0, cartpole, None, "num_workers: expected a positive number"),
            (-1, cartpole, None, "num_workers: expected a positive number"),
            (3, [cartpole] * 2, None, "found 3 for 2 functions and 3 kwargs"),
            (3, cartpole, [{}], "found 3 for 3 functions and 1 kwargs"),
        ],
    )
    def test_counts_must_agree(self, count, create, options, message):
        with pytest.raises(ValueError, match=message):
            SerialEnv(count, create, create_env_kwargs=options)

    def test_functions_not_envs(self):
        with pytest.raises(TypeError, match="expected a function that makes an env, found GymEnv"):
            SerialEnv(2, cartpole())
        with pytest.raises(TypeError, match="expected a function that makes an env, found GymEnv"):
            SerialEnv(2, [cartpole, cartpole()])
        with pytest.raises(TypeError, match="expected a function that makes an env, found int"):
            SerialEnv(2, 3)

    def test_a_failing_factory_is_heard(self):
        with pytest.raises(ZeroDivisionError):
            SerialEnv(2, lambda: 1 / 0)

    def test_repr(self):
        assert repr(SerialEnv(2, cartpole)).startswith("SerialEnv(2 x GymEnv(env=CartPole-v1")


class TestAttributes:
    def test_are_gathered(self):
        env = SerialEnv(4, lambda: GymEnv("Pendulum-v1", g=9.81))
        a, _, _, d = env.g
        assert a == d == 9.81

    def test_of_nested_batches(self):
        env = SerialEnv(2, lambda: SerialEnv(3, lambda: GymEnv("Pendulum-v1", g=9.81)))
        assert env.g == [[9.81] * 3] * 2

    def test_under_transforms(self):
        env = TransformedEnv(SerialEnv(2, lambda: GymEnv("Pendulum-v1", g=9.81)), StepCounter())
        assert env.g == [9.81] * 2

    def test_unknown(self):
        with pytest.raises(AttributeError, match="'gravitas'"):
            SerialEnv(2, cartpole).gravitas  # noqa: B018
        assert not hasattr(SerialEnv(2, cartpole), "_hidden")

    def test_methods_are_called_on_all(self):
        env = SerialEnv(2, lambda: GymEnv("CartPole-v1", render_mode="rgb_array"))
        env.set_seed(SEED)
        env.reset()
        frames = env.render()
        assert len(frames) == 2
        assert frames[0].shape == (400, 600, 3)
        assert (frames[0] != frames[1]).any()
        with pytest.raises(TypeError, match=r"render\(\)"):
            env.render("now")

    def test_functions_that_are_attributes_are_called_on_all(self):
        def build(g):
            env = GymEnv("Pendulum-v1", g=g)
            env.__dict__["heavier"] = partial(lambda mass, g: mass * g, g=g)
            return env

        env = SerialEnv(2, build, create_env_kwargs=[{"g": 1.0}, {"g": 2.0}])
        assert env.heavier(3.0) == [3.0, 6.0]

    def test_assignments_are_to_the_batch(self):
        env = SerialEnv(2, lambda: GymEnv("Pendulum-v1", g=9.81))
        env.g = 1.0
        assert env.g == 1.0
        assert env.map(lambda inner: inner.g) == [9.81] * 2

    def test_map(self):
        env = SerialEnv(2, cartpole)
        assert env.map(lambda inner: type(inner)) == [GymEnv] * 2
        assert env.map(lambda inner, *given: given, [1, 2], "ab") == [(1, "a"), (2, "b")]
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            env.map(lambda inner, seed: None, [1])


class TestParts:
    """An index gives some of the envs: the same ones, in a batch of their own."""

    @pytest.mark.parametrize(
        ("index", "chosen"),
        [(1, [1]), (-1, [3]), (slice(1, 3), [1, 2]), (slice(None, None, -2), [3, 1]), ([2, 0, 3], [2, 0, 3])],
    )
    def test_have_the_data_of_those_envs(self, index, chosen, tools):
        batch, singles = SerialEnv(4, cartpole), seeded([cartpole() for _ in range(4)])
        batch.set_seed(SEED)
        part = batch[index]
        assert part.batch_size == (len(chosen),)
        assert len(part) == len(chosen)
        actions = tools.draw_actions(part, 20)
        data = part.rollout(20, tools.FixedPolicy(actions), break_when_any_done=False)
        for i, number in enumerate(chosen):
            policy = tools.FixedPolicy([action[i] for action in actions])
            tools.assert_same(data[i], singles[number].rollout(20, policy, break_when_any_done=False))

    def test_are_stepped_without_another_reset(self, scripted):
        env = SerialEnv(3, lambda: scripted(observations=[[0.0], [1.0], [2.0], [3.0]]))
        td = env.rand_action(env.reset())
        part = env[1:]
        part.step(td[1:].clone())
        assert part[1].step(td[2:].clone())["next", "observation"].item() == 2
        assert env.step(td)["next", "observation"].flatten().tolist() == [1, 2, 3]

    def test_need_the_first_reset(self):
        with pytest.raises(ResetNeededError):
            SerialEnv(2, cartpole)[0].rand_step(TensorDict({}, [1]))

    @pytest.mark.parametrize("index", [slice(2, 2), [], 2, [0, 2], [1, 1]])
    def test_there_are_none_elsewhere(self, index):
        with pytest.raises(IndexError):
            SerialEnv(2, cartpole)[index]

    def test_not_of_batches_that_remember_for_all(self):
        with pytest.raises(TypeError, match="found auto_reset=True; give it to the envs"):
            SerialEnv(2, cartpole, auto_reset=True)[0]


class TestSeeds:
    def test_are_chained(self, scripted):
        env, single = SerialEnv(3, scripted), scripted()
        following = env.set_seed(SEED)
        expected = [SEED, single.set_seed(SEED)]
        expected.append(single.set_seed(expected[-1]))
        assert env.seed == expected
        assert following == single.set_seed(expected[-1])

    def test_static(self, scripted):
        env = SerialEnv(3, scripted)
        assert env.set_seed(SEED, static_seed=True) == SEED
        assert env.seed == [SEED] * 3

    def test_none(self, scripted):
        env = SerialEnv(2, scripted)
        env.set_seed(1)
        assert env.set_seed(None) is None
        assert env.seed == [None, None]

    def test_for_each(self, scripted):
        env = SerialEnv(3, scripted)
        env.set_seed(None)
        env.set_seeds([4, None, 6])
        assert env.seed == [4, None, 6]

    def test_reproduce_rollouts_with_random_actions(self, tools):
        def data(seed):
            env = SerialEnv(3, cartpole)
            env.set_seed(seed)
            return env.rollout(40, break_when_any_done=False)

        tools.assert_same(data(1), data(1))
        assert not torch.equal(data(1)["action"], data(2)["action"])

    def test_differ_between_envs(self):
        env = SerialEnv(3, cartpole)
        env.set_seed(SEED)
        first = env.reset()["observation"]
        assert len(torch.unique(first, dim=0)) == 3

    def test_arguments_of_a_reset_go_to_all(self, line):
        env = SerialEnv(2, lambda: GymWrapper(line()))
        env.reset(options={"low": 1})
        assert [inner.options for inner in env.unwrapped] == [[{"low": 1}]] * 2

    def test_arguments_of_a_reset_for_each(self, line):
        env = SerialEnv(2, lambda: GymWrapper(line()))
        env.reset(options={"low": 0}, list_of_kwargs=[{}, {"options": {"low": 2}}])
        assert [inner.options for inner in env.unwrapped] == [[{"low": 0}], [{"low": 2}]]
        with pytest.raises(ValueError, match="list_of_kwargs: expected one dict for each of 2 envs, found 3"):
            env.reset(list_of_kwargs=[{}] * 3)


class TestFusedSteps:
    """Where nobody looks in between, a step, what it hands on and the resets after it are one: with the same data."""

    @pytest.fixture(params=["cartpole", "pendulum", "dict_obs", "nested"])
    def batch(self, request):
        build = {
            "cartpole": cartpole,
            "pendulum": lambda: GymEnv("Pendulum-v1", max_episode_steps=6),
            "dict_obs": lambda: GymWrapper(request.getfixturevalue("dict_obs")()),
            "nested": lambda: SerialEnv(1, cartpole),
        }[request.param]
        env = SerialEnv(3, build)
        port = env._row_port(env.plan, *env._slabs(env.plan, 2, None))
        assert port.advance is not None  # else there is nothing to compare
        return env

    @staticmethod
    def rollout(env, **options):
        env.set_seed(SEED)
        return env.rollout(40, **options)

    def test_equal_those_that_are_watched(self, batch, tools):
        watched = self.rollout(batch, break_when_any_done=False, callback=lambda *_: None)
        assert watched["next", "done"].sum() > 3
        tools.assert_same(self.rollout(batch, break_when_any_done=False), watched)

    def test_begin_as_those_that_end_with_an_episode(self, batch, tools):
        first = self.rollout(batch)
        assert first.shape[-1] < 40
        tools.assert_same(self.rollout(batch, break_when_any_done=False)[..., : first.shape[-1]], first)

    def test_equal_steps_by_hand(self, batch, tools):
        actions = tools.draw_actions(batch, 30)
        batch.set_seed(SEED)
        expected = tools.by_hand(batch, actions)
        batch.set_seed(SEED)
        tools.assert_same(batch.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False), expected)

    def test_in_collected_batches(self, batch, tools):
        actions = tools.draw_actions(batch, 40)
        collector = Collector(batch, tools.FixedPolicy(actions), frames_per_batch=15 * batch.numel())
        collector.set_seed(SEED)
        found = [collector.next().exclude("collector") for _ in range(2)]
        expected = self.rollout(batch, policy=tools.FixedPolicy(actions), break_when_any_done=False)
        for i, part in enumerate(found):
            tools.assert_same(part, expected[..., 15 * i : 15 * (i + 1)])

    def test_not_where_episodes_end_within_an_env(self):
        env = SerialEnv(2, Batched)
        assert env._row_port(env.plan, *env._slabs(env.plan, 2, None)).advance is None

    def test_leave_nothing_behind(self):
        """A port that referred to itself would keep the memory of its rows until the garbage collector comes."""
        env, freed = SerialEnv(2, cartpole), []
        gc.disable()
        try:
            root, following = env._slabs(env.plan, 2, None)
            port = env._row_port(env.plan, root, following)
            weakref.finalize(port, freed.append, True)
            assert port.advance is not None
            del port
            assert freed == [True]
        finally:
            gc.enable()


class TestRunning:
    def test_public_port(self):
        env = SerialEnv(2, cartpole)
        td = env.rand_step(env.reset())
        assert td.batch_size == td["next"].batch_size == (2,)
        data, td = env.step_and_maybe_reset(env.step_mdp(td).set("action", torch.tensor([0, 1])))
        assert data["action"].tolist() == [0, 1]
        assert "next" not in td.keys()

    def test_only_what_is_done_is_reset(self, scripted):
        env = SerialEnv(
            2, [lambda: scripted(terminated=[False, True]), lambda: scripted(terminated=[False] * 3 + [True])]
        )
        data = env.rollout(8, break_when_any_done=False)
        assert data["observation"].squeeze(-1).tolist() == [[0, 1] * 4, [0, 1, 2, 3] * 2]
        assert env.resets == [4, 2]  # nothing follows the last step

    def test_before_the_first_reset(self):
        with pytest.raises(ResetNeededError, match="SerialEnv: expected reset"):
            SerialEnv(2, cartpole).step(TensorDict({"action": torch.zeros(2, dtype=torch.int64)}, [2]))

    def test_wrong_batch_size(self):
        env = SerialEnv(2, cartpole)
        env.reset()
        with pytest.raises(EnvDataError, match=r"expected a TensorDict of batch size \[2\], found \[3\]"):
            env.step(TensorDict({"action": torch.zeros(3, dtype=torch.int64)}, [3]))

    def test_wrong_actions(self):
        env = SerialEnv(2, cartpole)
        td = env.reset()
        with pytest.raises(PolicyError, match="'action' is missing"):
            env.step(td)
        with pytest.raises(PolicyError, match=r"'action': expected .*int64 of shape \[2\], found .* shape \[2, 1\]"):
            env.step(td.set("action", torch.zeros(2, 1, dtype=torch.int64)))

    def test_errors_of_one_env_come_through(self, line):
        env = SerialEnv(2, [lambda: GymWrapper(line()), lambda: GymWrapper(line(reward=None))])
        with pytest.raises(EnvDataError, match=r"'reward' of GymWrapper.*expected a number, found None"):
            env.rollout(2)

    def test_device(self, tools):
        env, plain = SerialEnv(2, cartpole, device="cpu"), SerialEnv(2, cartpole)
        for each in (env, plain):
            each.set_seed(SEED)
        found = env.rollout(10, break_when_any_done=False)
        assert found.device == env.reset().device == torch.device("cpu")
        tools.assert_same(found, plain.rollout(10, break_when_any_done=False))


class TestOptionsOfTheEnvs:
    def test_episodes_that_start_done(self):
        class StartsDone(EnvBase):
            def __init__(self):
                super().__init__(allow_done_after_reset=True)
                self.observation_spec = Unbounded((1,))
                self.action_spec = Categorical(2)

            def _reset(self, tensordict=None):
                return TensorDict({"observation": torch.zeros(1), "done": torch.tensor([True])})

        env = SerialEnv(2, StartsDone)
        assert env.allow_done_after_reset
        assert env.reset()["done"].all()
        assert TransformedEnv(env, StepCounter()).reset()["done"].all()

    def test_nan_is_refused_or_let_through_by_all(self, scripted):
        env = SerialEnv(2, lambda: scripted(rewards=[1.0, float("nan")]))
        assert env.nonfinite == "error"
        with pytest.raises(NonFiniteError, match="'reward' returned by SerialEnv"):
            env.rollout(3)
        env.nonfinite = "allow"
        assert {inner.nonfinite for inner in env._envs} == {"allow"}
        assert env.rollout(3)["next", "reward"].isnan().sum() == 4


class TestClose:
    def test_closes_every_env_once(self, line):
        env = SerialEnv(3, lambda: GymWrapper(line()))
        env.close()
        env.close()
        assert env.is_closed
        assert [inner._env.closes for inner in env._envs] == [1] * 3

    def test_through_transforms(self, line):
        env = TransformedEnv(SerialEnv(2, lambda: GymWrapper(line())), StepCounter())
        env.close()
        assert env.base_env.is_closed
        assert [inner._env.closes for inner in env.base_env._envs] == [1] * 2


def test_cloudpickle(tools):
    env = SerialEnv(2, cartpole)
    env.set_seed(SEED)
    td = env.rand_step(env.reset())
    twin = cloudpickle.loads(cloudpickle.dumps(env))
    actions, start = tools.draw_actions(env, 30), env.maybe_reset(env.step_mdp(td))
    both = [
        each.rollout(30, tools.FixedPolicy(actions), auto_reset=False, tensordict=start, break_when_any_done=False)
        for each in (twin, env)
    ]
    tools.assert_same(*both)


class TestWhatTheEnvsAreShown:
    """An env of a batch sees what it would see alone: no more, and no less."""

    def test_a_step_without_observations(self, walk, scripted):
        env = SerialEnv(2, walk)
        env.reset()
        with pytest.raises(KeyError, match="position"):  # not a position of zeros
            env.step(env.rand_action())
        env = SerialEnv(2, scripted)
        env.reset()
        for count in (1, 2, 3):
            assert env.rand_step()["next", "observation"].flatten().tolist() == [count] * 2
        td = env.rand_action(env.reset()).set("_step", torch.tensor([True, False]))
        assert env.step(td)["next", "observation"].flatten().tolist() == [1, 0]

    def test_what_a_reset_is_given(self):
        seen = []

        class Asks(EnvBase):
            def __init__(self):
                super().__init__()
                self.observation_spec = Composite(x=Unbounded((1,)))
                self.action_spec = Categorical(2)

            def _reset(self, tensordict=None):
                level = None if tensordict is None else tensordict.get("level", None)
                seen.append(None if level is None else level.item())
                return TensorDict({"x": torch.zeros(1) if level is None else level.clone()})

        env = SerialEnv(3, Asks)
        env.reset()
        td = env.reset(TensorDict({"level": torch.tensor([[1.0], [2.0], [3.0]])}, [3]))
        assert td["x"].flatten().tolist() == [1, 2, 3]
        td["level"] += 5
        td = env.reset(td.set("_reset", torch.tensor([False, True, False])))
        assert td["x"].flatten().tolist() == [1, 7, 3]
        assert seen == [None, None, None, 1, 2, 3, 7]


class Growing(EnvBase):
    """Observes more and more rows, and a word."""

    def __init__(self, length=3):
        super().__init__()
        self.length = length
        self.observation_spec = Composite(rows=Unbounded((-1, 2)), word=NonTensor(()))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

    def _set_seed(self, seed):
        self.seed = seed

    def _observe(self):
        return TensorDict({"rows": torch.full((self.count + 1, 2), float(self.count)), "word": "x" * self.count})

    def _reset(self, tensordict=None):
        self.count = 0
        return self._observe()

    def _step(self, tensordict):
        self.count += 1
        ends = torch.tensor([self.count >= self.length])
        return self._observe().update({"reward": tensordict["action"].clone(), "done": ends})


class TestEnvsWithoutFixedLayout:
    def test_rollout(self):
        env = SerialEnv(2, [lambda: Growing(2), lambda: Growing(3)])
        data = env.rollout(5, break_when_any_done=False)
        assert data.batch_size == torch.Size([2, 5])
        widths = [[data[i, t]["rows"].shape[0] for t in range(5)] for i in range(2)]
        assert widths == [[1, 2, 1, 2, 1], [1, 2, 3, 1, 2]]
        assert [data[1, t]["next", "word"] for t in range(5)] == ["x", "xx", "xxx", "x", "xx"]
        done = [[False, True, False, True, False], [False, False, True, False, False]]
        assert data["next", "done"].squeeze(-1).tolist() == done

    def test_by_hand(self):
        env = SerialEnv(2, [lambda: Growing(2), lambda: Growing(3)])
        td = env.reset()
        for _ in range(2):
            row, td = env.step_and_maybe_reset(env.rand_action(td))
        assert [part["rows"].shape[0] for part in row["next"].unbind(0)] == [3, 3]
        assert [part["rows"].shape[0] for part in td.unbind(0)] == [1, 3]
        assert row["next", "reward"].shape == torch.Size([2, 1])


def test_dynamic_observations_may_begin_with_unequal_sizes():
    class Growing(EnvBase):
        def __init__(self, first):
            super().__init__()
            self.observation_spec = Composite(observation=Unbounded((-1, 2)))
            self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
            self.first = first

        def _reset(self, tensordict=None):
            self.size = self.first
            return TensorDict({"observation": torch.zeros(self.size, 2)})

        def _step(self, tensordict):
            self.size += 1
            flag = torch.tensor([self.size > 5])
            return TensorDict({"observation": torch.ones(self.size, 2), "reward": torch.zeros(1), "done": flag})

        def _set_seed(self, seed):
            pass

    env = SerialEnv(2, [lambda: Growing(1), lambda: Growing(3)])
    rollout = env.rollout(3, return_contiguous=False)
    sizes = [[len(step["next", "observation"]) for step in part.unbind(0)] for part in rollout.unbind(0)]
    assert sizes == [[2, 3, 4], [4, 5, 6]]
