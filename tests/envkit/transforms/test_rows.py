"""Chains on rows leave the same bits as chains on TensorDicts, and are taken whenever they can be."""

from __future__ import annotations

import functools
import gc
import weakref

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    AutoResetTransform,
    Bounded,
    Compose,
    Composite,
    DoubleToFloat,
    EnvBase,
    EnvDataError,
    GymEnv,
    GymWrapper,
    InitTracker,
    ObservationNorm,
    ParallelEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    Transform,
    TransformedEnv,
    Unbounded,
)
from envkit.transforms.rows import RowForm


class Doubles(gymnasium.Env):
    """Everything is float64; episodes have random lengths."""

    observation_space = gymnasium.spaces.Dict(
        {
            "a": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "b": gymnasium.spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
            "c": gymnasium.spaces.Box(-9, 9, (), np.float64),
        }
    )
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 9))
        return self._observe(), {}

    def step(self, action):
        assert action.dtype == np.float64
        self.left -= 1
        return self._observe(), float(action.sum()), self.left == 0, False, {}

    def _observe(self):
        a, b = self.np_random.normal(size=3), self.np_random.normal(size=(2, 2))
        return {"a": a, "b": b, "c": np.array(self.np_random.uniform(-9, 9))}


class Moved(Transform):
    """One value in, one value out; told as plain as can be."""

    def __init__(self, in_keys="observation", out_keys=None, by=1.0):
        super().__init__(in_keys, out_keys)
        self.by = by

    def _apply_transform(self, value):
        return value + self.by


class MovedEither(Moved):
    takes_arrays = True


class MovedThere(Moved):
    """With a function of columns that tells that it was there."""

    calls = 0

    def _on_arrays(self, source, target):
        def function(row):
            type(self).calls += 1
            target[row] = source[row] + np.float32(self.by)

        return function


class Tanh(Transform):
    def _apply_transform(self, value):
        return value.tanh()


class Flat(Transform):
    def _apply_transform(self, value):
        return value.flatten(-2)


class Turned(Transform):
    """A view of what it is given."""

    takes_arrays = True

    def _apply_transform(self, value):
        return value.swapaxes(-1, -2)


class Thirds(Transform):
    """Changes actions on their way in."""

    def __init__(self):
        super().__init__(in_keys_inv="action", out_keys_inv="thirds")

    def _apply_transform(self, value):
        return value * 3

    def _inv_apply_transform(self, value):
        return value / 3


class Rename(Transform):
    """Takes what it renames away."""

    def __init__(self, old, new):
        super().__init__([old], [new])

    def _call(self, next_tensordict):
        value = next_tensordict.get(self.in_keys[0])
        return next_tensordict.exclude(self.in_keys[0]).set(self.out_keys[0], value)

    def _bind_rows(self, columns):
        def copier(side):
            source, target = side.inner[self.in_keys[0]], side.outer[self.out_keys[0]]
            return lambda row, masks=None: target.__setitem__(row, source[row])

        return RowForm(copier(columns.following), copier(columns.root))

    def transform_observation_spec(self, observation_spec):
        out = observation_spec.clone()
        out[self.out_keys[0]] = out[self.in_keys[0]]
        del out[self.in_keys[0]]
        return out


class Mean(Transform):
    """Statistics of everything that was observed, kept outside of the data: told of masks in either way."""

    sees_masks = True

    def __init__(self):
        super().__init__("observation", "mean")
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def _learn(self, values):
        if not self.frozen:
            self.total += float(values.sum())
            self.count += values.size

    def _shown(self, tensordict):
        mean = (self.total / self.count).float()
        return tensordict.set("mean", mean.expand(*tensordict.batch_size, 1).clone())

    def _after(self, name, given, tensordict):
        mask = None if given is None else given.get(name, None)
        values = tensordict.get("observation")
        self._learn((values if mask is None else values[mask.squeeze(-1)]).numpy())
        return self._shown(tensordict)

    def _step(self, tensordict, next_tensordict):
        return self._after("_step", tensordict, next_tensordict)

    def _reset(self, tensordict, tensordict_reset):
        return self._after("_reset", tensordict, tensordict_reset)

    def _bind_rows(self, columns):
        def writer(side):
            source, target = side.inner["observation"], side.outer["mean"]

            def write(row, masks=None):
                values = source[row]
                self._learn(values if masks is None else values[masks["_reset"].numpy()[..., 0]])
                target[row] = (self.total / self.count).float().item()

            return write

        return RowForm(writer(columns.following), writer(columns.root))

    def transform_observation_spec(self, observation_spec):
        out = observation_spec.clone()
        out["mean"] = Unbounded((*observation_spec.shape, 1))
        return out


def norm(**kwargs):
    return ObservationNorm(0.3, 1.7, **kwargs)


def wide(values):
    return torch.tensor(values, dtype=torch.float64)


def doubles():
    return GymWrapper(Doubles())


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=7)


def cartpole():
    return GymEnv("CartPole-v1")


CHAINS = {
    "nothing": (cartpole, lambda: Compose()),
    "plain": (cartpole, lambda: Moved()),
    "either": (cartpole, lambda: MovedEither()),
    "there": (cartpole, lambda: MovedThere()),
    "new_key": (cartpole, lambda: Compose(Moved(out_keys="more"), Moved("more", by=2.0), Moved("more", "most"))),
    "both_of_one": (cartpole, lambda: Moved(["observation", "observation"], ["more", "observation"])),
    "counter": (pendulum, lambda: StepCounter()),
    "limit": (pendulum, lambda: StepCounter(max_steps=5)),
    "limit_of_terminating": (cartpole, lambda: StepCounter(max_steps=9, step_count_key="n")),
    "another_flag": (cartpole, lambda: StepCounter(max_steps=5, truncated_key="late")),
    "sums": (pendulum, lambda: RewardSum()),
    "first": (cartpole, lambda: InitTracker()),
    "norm": (pendulum, lambda: norm()),
    "norm_standard": (pendulum, lambda: norm(standard_normal=True)),
    "norm_of_each": (pendulum, lambda: ObservationNorm(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([3.0, 5.0, 7.0]))),
    "norm_of_doubles": (doubles, lambda: ObservationNorm(wide([0.1, 0.2, 0.3]), wide(0.7), in_keys=["a"])),
    "norm_by_doubles": (pendulum, lambda: ObservationNorm(wide(0.1), wide(0.7), standard_normal=True)),
    "norm_that_widens": (pendulum, lambda: ObservationNorm(wide([0.1, 0.2, 0.3]), wide([0.7, 1.0, 2.0]))),
    "norm_of_actions": (pendulum, lambda: norm(in_keys=[], in_keys_inv=["action"])),
    "floats": (doubles, lambda: DoubleToFloat()),
    "floats_of_some": (doubles, lambda: DoubleToFloat(in_keys=["a", "reward"], in_keys_inv=["action"])),
    "actions": (pendulum, lambda: Compose(Thirds(), StepCounter(), Moved())),
    "actions_twice": (pendulum, lambda: Compose(norm(in_keys=[], in_keys_inv=["action"]), Thirds())),
    "views": (doubles, lambda: Turned(in_keys=["b"])),
    "reshaped": (doubles, lambda: Compose(Flat(in_keys=["b"], out_keys=["flat"]), Flat(in_keys=["b"]))),
    "transcendental": (doubles, lambda: Tanh(in_keys=["a", "b"], out_keys=["a", "d"])),
    "renamed": (pendulum, lambda: Compose(Rename("observation", "x"), Moved("x"), Rename("x", "observation"))),
    "hidden_flag": (cartpole, lambda: Compose(InitTracker(), Rename("is_init", "first"))),
    "usual": (
        doubles,
        lambda: Compose(
            ObservationNorm(wide([0.1, 0.2, 0.3]), wide(0.7), in_keys=["a"]),
            DoubleToFloat(),
            StepCounter(max_steps=6),
            RewardSum(),
            InitTracker(),
        ),
    ),
    "sum_then_cast": (doubles, lambda: Compose(RewardSum(), DoubleToFloat())),
    "twice": (cartpole, lambda: Compose(StepCounter(), RewardSum(), StepCounter(max_steps=9), RewardSum())),
}


@pytest.mark.parametrize("name", CHAINS)
def test_rows_equal_tensordicts(name, kit):
    make_env, make_transform = CHAINS[name]
    for env in (make_env(), SerialEnv(2, make_env)):
        assert kit.on_rows(TransformedEnv(env, make_transform()))
    kit.ports_agree(make_env, make_transform)
    kit.commutes(make_env, make_transform)


def test_around_a_parallel_env(kit):
    """Columns that no transform changes lie in the memory its workers write."""
    make_env = functools.partial(GymEnv, "CartPole-v1")  # workers cannot import what is in here

    def chain():
        return Compose(ObservationNorm(0.3, 1.7), StepCounter(max_steps=9), RewardSum(), InitTracker())

    env = TransformedEnv(ParallelEnv(2, make_env), chain())
    assert kit.on_rows(env)
    root, following = env._slabs(env.plan, 4, None)
    assert root.columns["action"] is root.inner.columns["action"]
    assert following.columns["done"] is following.inner.columns["done"]
    assert "step_count" not in following.inner.columns
    actions = kit._tools.draw_actions(env, 30)
    expected = kit.rollout(TransformedEnv(SerialEnv(2, make_env), chain()), actions)
    kit._tools.assert_same(kit.rollout(env, actions), expected)
    env.close()
    kit.commutes(make_env, chain, batch=ParallelEnv)


BASES = ["walk", "mapping_env", "two_agents", "scripted"]


@pytest.mark.parametrize("name", BASES)
def test_around_envs_on_tensordicts(name, request, kit):
    make_env = request.getfixturevalue(name)

    def chain():
        return Compose(StepCounter(max_steps=4), RewardSum(), InitTracker())

    assert kit.on_rows(TransformedEnv(make_env(), chain()))
    kit.ports_agree(make_env, chain)
    kit.commutes(make_env, chain)


def test_groups_below_a_common_end(two_agents, kit):
    def make_env():
        return two_agents(shared_done=True)

    def chain():
        return Compose(Moved(("agent0", "val"), ("agent0", "more")), StepCounter(max_steps=4), RewardSum())

    assert kit.on_rows(TransformedEnv(make_env(), chain()))
    kit.ports_agree(make_env, chain)


def test_an_env_that_reads_its_observations_finds_what_it_would_in_a_tensordict(walk, kit):
    """It is stepped from what was shown; in another form than its own it has to be the TensorDict."""
    same, cast = Moved("position"), Thirds
    assert kit.on_rows(TransformedEnv(walk(), same))
    kit.ports_agree(walk, lambda: Moved("position"))
    assert kit.on_rows(TransformedEnv(walk(), cast()))

    class Wide(Transform):
        def _apply_transform(self, value):
            return value.double()

        def _inv_apply_transform(self, value):
            return value.float()

    assert not kit.on_rows(TransformedEnv(walk(), Wide(in_keys="position")))


def test_an_env_that_resets_itself(kit):
    class Restarting(GymEnv):
        def _step(self, tensordict):
            tensordict = super()._step(tensordict)
            if tensordict["done"].any():
                tensordict.update(super().reset().exclude(*self.done_keys))
            return tensordict

    def make_env():
        return Restarting("CartPole-v1")

    def chain():
        return Compose(AutoResetTransform(fill_float=0.0), Moved(), StepCounter(), RewardSum())

    assert kit.on_rows(TransformedEnv(make_env(), chain()))
    kit.ports_agree(make_env, chain)


def test_statistics_learn_from_what_takes_part_alone(kit):
    def totals(env, actions, roll):
        if roll:
            kit.rollout(env, actions)
        else:
            tools.by_hand(kit.seeded(env), actions)
        return env.transform[0].total.item(), env.transform[0].count.item()

    tools = kit._tools
    envs = [TransformedEnv(SerialEnv(3, cartpole), Compose(Mean(), Moved())) for _ in range(2)]
    assert kit.on_rows(envs[0])
    actions = tools.draw_actions(envs[0], 40)
    plain = kit.rollout(SerialEnv(3, cartpole), actions)
    resets = int(plain["next", "done"][:, :-1].sum()) + int(plain["next", "done"][:, -1].sum())
    rolled, stepped = totals(envs[0], actions, roll=True), totals(envs[1], actions, roll=False)
    assert rolled == stepped
    assert rolled[1] in (4 * (3 + 3 * 40 + resets), 4 * (3 + 3 * 40 + resets - int(plain["next", "done"][:, -1].sum())))
    envs[0].transform.freeze()
    before = envs[0].transform[0].total.clone()
    envs[0].rollout(5)
    assert envs[0].transform[0].total == before


def test_a_limit_that_ends_nothing(kit, tools, monkeypatch):
    def data():
        env = TransformedEnv(SerialEnv(2, pendulum), StepCounter(max_steps=5, update_done=False))
        return kit.rollout(env, tools.draw_actions(env, 20))

    on_rows = data()
    monkeypatch.setattr("envkit.transforms.env.Chain.bind", lambda *arguments: None)
    tools.assert_same(on_rows, data())
    assert on_rows["next", "truncated"].sum() > on_rows["next", "done"].sum() > 0


class TestFusedSteps:
    """Where nobody looks in between, a step, what it hands on and the resets after it are one: with the same data."""

    @pytest.mark.parametrize("name", ["norm", "limit", "another_flag", "usual", "twice", "renamed"])
    def test_equal_those_that_are_watched(self, name, kit, tools):
        make_env, make_transform = CHAINS[name]
        envs = [TransformedEnv(SerialEnv(3, make_env), make_transform()) for _ in range(2)]
        assert port_of(envs[0]).advance is not None  # else there is nothing to compare
        actions = tools.draw_actions(envs[0], 40)
        found, watched = kit.rollout(envs[0], actions), kit.rollout(envs[1], actions, callback=lambda *_: None)
        tools.assert_same(found, watched)
        assert watched["next", "done"].sum() > 3

    def test_where_only_a_transform_ends_episodes(self, kit, tools):
        """The env inside is reset for flags that it has not raised."""

        def data(**options):
            env = TransformedEnv(SerialEnv(3, lambda: GymEnv("Pendulum-v1")), StepCounter(max_steps=4))
            return kit.rollout(env, tools.draw_actions(env, 20), **options)

        found = data()
        assert found["next", "done"].sum() == 15
        tools.assert_same(found, data(callback=lambda *_: None))

    def test_not_for_several_groups(self, two_agents):
        assert port_of(TransformedEnv(SerialEnv(2, two_agents), StepCounter())).advance is None

    def test_leave_nothing_behind(self):
        """A port that referred to itself would keep the memory of its rows until the garbage collector comes."""
        env, freed = TransformedEnv(SerialEnv(2, cartpole), Compose(norm(), StepCounter())), []
        gc.disable()
        try:
            port = port_of(env)
            weakref.finalize(port, freed.append, True)
            assert port.advance is not None
            del port
            assert freed == [True]
        finally:
            gc.enable()


def port_of(env):
    return env._row_port(env.plan, *env._slabs(env.plan, 2, None))


class TestWhoseWordCounts:
    """What a subclass changes is not passed by."""

    def test_its_own_function_of_columns(self):
        MovedThere.calls = 0
        TransformedEnv(cartpole(), MovedThere()).rollout(3, break_when_any_done=False)
        assert MovedThere.calls == 1 + 3

    @pytest.mark.parametrize("base", [Moved, MovedEither, MovedThere])
    def test_another_value(self, base, kit):
        class Twice(base):
            def _apply_transform(self, value):
                return super()._apply_transform(value) * torch.tensor(2.0)

        MovedThere.calls = 0
        env = TransformedEnv(cartpole(), Twice())
        assert kit.on_rows(env)
        kit.ports_agree(cartpole, lambda: Twice())
        assert MovedThere.calls == 0

    @pytest.mark.parametrize(
        "hook",
        [
            {"_call": lambda self, td: td},
            {"_inv_call": lambda self, td: td},
            {"_step": lambda self, td, next_td: next_td},
            {"_reset": lambda self, td, td_reset: td_reset},
            {"_reset_env_preprocess": lambda self, td: td},
        ],
    )
    def test_hooks_on_whole_tensordicts(self, hook, kit):
        for base in (Transform, Moved, StepCounter, InitTracker):
            cls = type("Custom", (base,), hook)
            assert not kit.on_rows(TransformedEnv(cartpole(), Compose(Moved(), cls())))

    def test_a_subclass_that_changes_no_data(self, kit):
        class Named(StepCounter):
            def extra_repr(self):
                return "named"

        assert kit.on_rows(TransformedEnv(cartpole(), Named()))

    def test_an_env_with_a_step_of_its_own(self, kit):
        class Counting(TransformedEnv):
            steps = 0

            def _step(self, tensordict):
                self.steps += 1
                return super()._step(tensordict)

        env = Counting(cartpole(), StepCounter())
        assert not kit.on_rows(env)
        env.rollout(4, break_when_any_done=False)
        assert env.steps == 4

    def test_an_env_that_is_told_to_reset_itself(self, kit):
        assert not kit.on_rows(TransformedEnv(cartpole(), StepCounter(), auto_reset=True))


class TestErrors:
    def test_a_value_that_contradicts_its_spec(self):
        class Wrong(Transform):
            def _apply_transform(self, value):
                return value.double()

            def _transform_leaf(self, leaf):
                return leaf

        for flag in (False, True):
            cls = type(
                "Wrong", (Wrong,), {"takes_arrays": flag, "_apply_transform": lambda self, value: value[..., :2]}
            )
            env = TransformedEnv(cartpole(), cls(in_keys="observation"))
            with pytest.raises(
                EnvDataError, match=r"Wrong: 'observation': expected .*float32 of shape \[4\].*found .*\[2\]"
            ):
                env.rollout(2)
        with pytest.raises(EnvDataError, match=r"Wrong: 'observation': expected .*float32.*found torch.float64"):
            TransformedEnv(cartpole(), Wrong(in_keys="observation")).rollout(2)

    def test_the_base_env_is_held_to_its_specs(self):
        class Outside(EnvBase):
            def __init__(self):
                super().__init__()
                self.observation_spec = Composite(observation=Bounded(-1.0, 1.0, (1,)))
                self.action_spec = Bounded(-1.0, 1.0, (1,))

            def _set_seed(self, seed):
                pass

            def _reset(self, tensordict=None):
                return TensorDict({"observation": torch.zeros(1)})

            def _step(self, tensordict):
                return TensorDict(
                    {
                        "observation": torch.full((1,), 5.0),
                        "reward": torch.ones(1),
                        "done": torch.zeros(1, dtype=torch.bool),
                    }
                )

        with pytest.warns(UserWarning, match=r"'observation' returned by Outside\._step is out of bounds"):
            TransformedEnv(Outside(), Moved(by=-5.0)).rollout(2)

    def test_statistics_that_are_missing(self):
        with pytest.raises(RuntimeError, match="expected loc and scale, found none"):
            TransformedEnv(cartpole(), ObservationNorm()).rollout(2)


def test_ports_can_be_mixed(kit, tools):
    def make():
        return TransformedEnv(SerialEnv(2, cartpole), Compose(norm(), StepCounter(max_steps=7), RewardSum()))

    actions = tools.draw_actions(make(), 30)
    expected = kit.rollout(make(), actions)
    env = kit.seeded(make())
    first = env.rollout(10, tools.FixedPolicy(actions[:10]), break_when_any_done=False)
    tools.assert_same(first, expected[:, :10])
    td = env.maybe_reset(env.step_mdp(first[:, -1]))
    for t in range(10, 20):
        row, td = env.step_and_maybe_reset(td.update(actions[t]))
        tools.assert_same(row, expected[:, t])
    last = env.rollout(10, tools.FixedPolicy(actions[20:]), break_when_any_done=False, auto_reset=False, tensordict=td)
    tools.assert_same(last, expected[:, 20:])


def test_the_columns_of_what_is_left_alone_are_the_base_envs_own():
    """Nothing is copied that no transform changes, and what nobody sees takes one row."""
    env = TransformedEnv(pendulum(), Compose(Rename("observation", "x"), StepCounter()))
    seen = {}
    bind = env.base_env._row_port

    def spy(plan, root, following):
        seen.update(root=root, following=following)
        return bind(plan, root, following)

    env.base_env._row_port = spy
    root, following = env._slabs(env.plan, 50, None)
    env._row_port(env.plan, root, following)
    for key in ("action", "done", "terminated"):
        assert seen["root"].columns[key] is root.columns[key]
    for key in ("reward", "done", "truncated"):
        assert seen["following"].columns[key] is following.columns[key]
    hidden = seen["following"].columns["observation"]
    assert hidden.shape == (50, 3)
    assert hidden.untyped_storage().nbytes() == 3 * 4


@settings(deadline=None, max_examples=8, derandomize=True)
@given(data=st.data())
def test_random_chains(data, kit):
    """Any order of transforms that fit, around one env and around a batch."""
    parts = {
        "moved": lambda: Moved("a"),
        "either": lambda: MovedEither("b", by=0.1),
        "tanh": lambda: Tanh(in_keys=["b"], out_keys=["d"]),
        "norm": lambda: ObservationNorm(wide([0.1, 0.2, 0.3]), wide(0.7), in_keys=["a"]),
        "counter": lambda: StepCounter(max_steps=5),
        "sums": lambda: RewardSum(),
        "first": lambda: InitTracker(),
        "turned": lambda: Turned(in_keys=["b"]),
    }
    names = data.draw(st.lists(st.sampled_from(list(parts)), unique=True, max_size=6))
    cast = data.draw(st.integers(0, len(names)))

    def chain():
        made = [parts[name]() for name in names]
        return Compose(*made[:cast], DoubleToFloat(in_keys_inv=["action"], in_keys=["a", "reward"]), *made[cast:])

    kit.ports_agree(doubles, chain, steps=15)
    kit.commutes(doubles, chain, steps=10)
