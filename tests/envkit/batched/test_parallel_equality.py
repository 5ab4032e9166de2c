"""A ParallelEnv has the data of a SerialEnv of the same envs, byte for byte."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, TensorDict
from tensordict.nn import TensorDictModule

from envkit import (
    Bounded,
    CartPoleEnv,
    Categorical,
    Collector,
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    GymWrapper,
    InitTracker,
    NonTensor,
    ParallelEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
)

SEED = 5
few = settings(deadline=None, max_examples=12, derandomize=True)


class Pairs(EnvBase):
    """An env with a batch of its own, whose elements end one after the other."""

    def __init__(self):
        super().__init__(batch_size=(2,))
        self.observation_spec = Unbounded((2, 1))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2, 1))
        self.limits = torch.tensor([[3.0], [4.0]])

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(2, 1)}, [2])

    def _step(self, tensordict):
        value = tensordict["observation"] + 1
        return TensorDict({"observation": value, "reward": tensordict["action"], "done": value >= self.limits}, [2])


class Stateless(EnvBase):
    """Keeps nothing: what it goes by stands in the data, part of it as a state that is no observation."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Unbounded((2,))
        self.state_spec = Composite(heading=Unbounded((2,)), goal=Unbounded((1,)))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2,))

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(2), "heading": torch.ones(2), "goal": torch.tensor([3.0])})

    def _step(self, tensordict):
        observation = tensordict["observation"] + tensordict["heading"] * tensordict["action"]
        far = observation.abs().sum(-1, keepdim=True)
        return TensorDict({"observation": observation, "reward": far, "done": far > tensordict["goal"]})


class Frames(EnvBase):
    """Shows images of noise."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(pixels=Bounded(0, 255, shape=(3, 48, 48), dtype=torch.uint8))
        self.action_spec = Categorical(3)
        self.generator = torch.Generator()

    def _set_seed(self, seed):
        self.generator.manual_seed(seed)

    def _frame(self):
        return torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=self.generator)

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"pixels": self._frame()})

    def _step(self, tensordict):
        self.count += 1
        reward = tensordict["action"].float().reshape(1)
        return TensorDict({"pixels": self._frame(), "reward": reward, "terminated": torch.tensor([self.count == 5])})


class Restless(EnvBase):
    """Begins its next episode by itself; how long they are depends on the seed."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Unbounded((1,))
        self.action_spec = Categorical(2)
        self.length = 3

    def _set_seed(self, seed):
        self.length = 3 + seed % 3

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"observation": torch.zeros(1)})

    def _step(self, tensordict):
        self.count += 1
        over = self.count == self.length
        self.count = 0 if over else self.count
        observation = torch.tensor([float(self.count)])
        return TensorDict({"observation": observation, "reward": torch.ones(1), "done": torch.tensor([over])})


class Growing(EnvBase):
    """Observes more and more rows, and a word."""

    def __init__(self, length=3):
        super().__init__()
        self.length = length
        self.observation_spec = Composite(rows=Unbounded((-1, 2)), word=NonTensor(()))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

    def _set_seed(self, seed):
        self.length = 2 + seed % 3

    def _observe(self):
        return TensorDict({"rows": torch.full((self.count + 1, 2), float(self.count)), "word": "x" * self.count})

    def _reset(self, tensordict=None):
        self.count = 0
        return self._observe()

    def _step(self, tensordict):
        self.count += 1
        over = torch.tensor([self.count >= self.length])
        return self._observe().update({"reward": tensordict["action"].clone(), "done": over})


class Choosy(EnvBase):
    """Draws its random actions in a way of its own."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Unbounded((1,))
        self.action_spec = Bounded(0.0, 9.0, shape=(1,))
        self.count = 0

    def _set_seed(self, seed):
        self.count = seed % 5

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(1)})

    def _step(self, tensordict):
        action = tensordict["action"]
        return TensorDict({"observation": action.clone(), "reward": action.clone(), "done": action > 7})

    def rand_action(self, tensordict=None):
        self.count = (self.count + 1) % 9
        tensordict = TensorDict() if tensordict is None else tensordict
        return tensordict.set("action", torch.tensor([float(self.count)]))


class Dice(EnvBase):
    """Draws from the global generators of its process."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Unbounded((3,))
        self.action_spec = Categorical(2)

    def _set_seed(self, seed):
        pass

    def _throw(self):
        self.count += 1
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"observation": self._throw()})

    def _step(self, tensordict):
        over = torch.tensor([self.count == 5])
        return TensorDict({"observation": self._throw(), "reward": torch.ones(1), "done": over})


def cartpole():
    return GymEnv("CartPole-v1", max_episode_steps=12)


def counted(env, steps=5):
    return TransformedEnv(env, Compose(StepCounter(max_steps=steps), RewardSum(), InitTracker()))


CASES = {
    "cartpole": cartpole,
    "one_hot": lambda: GymEnv("CartPole-v1", categorical_action_encoding=False, max_episode_steps=9),
    "pendulum": lambda: GymEnv("Pendulum-v1", max_episode_steps=7),
    "pairs": Pairs,
    "stateless": Stateless,
    "frames": Frames,
    "restless": lambda: Restless(auto_reset=True),
    "restless_bare": lambda: Restless(auto_reset=True, auto_reset_replace=False),
    "restless_cut": lambda: TransformedEnv(Restless(auto_reset=True), StepCounter(max_steps=4)),
    "counted": lambda: counted(cartpole()),
    "native": lambda: TransformedEnv(CartPoleEnv(), StepCounter(max_steps=6)),
    "native_continuous": lambda: TransformedEnv(PendulumEnv(), StepCounter(max_steps=6)),
    "serial": lambda: SerialEnv(2, cartpole),
    "choosy": Choosy,
    "dice": Dice,
}


@pytest.fixture(scope="module")
def build(walk, mapping_env, two_agents, dict_obs):
    """The function that makes the env of a case."""
    others = {
        "walk": walk,
        "counted_walk": lambda: counted(walk()),
        "mapping": mapping_env,
        "two_agents": two_agents,
        "two_agents_and_all": lambda: two_agents(shared_done=True),
        "dict_obs": lambda: GymWrapper(dict_obs()),
    }
    return {**CASES, **others}.__getitem__


NAMES = [*CASES, "walk", "counted_walk", "mapping", "two_agents", "two_agents_and_all", "dict_obs"]


@pytest.fixture(scope="module")
def pair(request, build):
    """A SerialEnv and a ParallelEnv of the same envs, whose processes start once for all tests of a case."""
    name, workers, count = request.param
    found = ParallelEnv(workers, build(name), num_envs=count, mp_start_method="fork")
    yield SerialEnv(count, build(name)), found
    found.close()


# Three envs in two workers: shares differ. For some, all there is from one worker to one for each env.
ALIKE = [pytest.param((name, 2, 3), id=name) for name in NAMES]
SPREAD = [
    pytest.param((name, workers, 8), id=f"{name}-{workers}")
    for name in ("cartpole", "walk", "two_agents")
    for workers in (1, 2, 8)
]
both = pytest.mark.parametrize("pair", [*ALIKE, *SPREAD], indirect=True)
alike = pytest.mark.parametrize("pair", ALIKE, indirect=True)


def content(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return value


def assert_bytes(found, expected):
    """The same bytes, NaN included, and the same names, shapes and dtypes."""
    assert found.batch_size == expected.batch_size
    assert found.names == expected.names
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key in expected.keys(True, True):
        assert content(found.get(key)) == content(expected.get(key)), key


def seeded(pair):
    serial, parallel = pair
    assert parallel.set_seed(SEED) == serial.set_seed(SEED)
    return parallel, serial


@both
def test_rollouts(pair):
    parallel, serial = seeded(pair)
    assert parallel.batch_size == serial.batch_size
    assert parallel.specs == serial.specs
    for options in (
        {"max_steps": 24, "break_when_any_done": False},
        {"max_steps": 24},
        {"max_steps": 24, "break_when_all_done": True},
    ):
        assert_bytes(parallel.rollout(**options), serial.rollout(**options))


@both
def test_steps_by_hand(pair, tools):
    parallel, serial = seeded(pair)
    actions = tools.draw_actions(serial, 16)
    assert_bytes(tools.by_hand(parallel, actions), tools.by_hand(serial, actions))


@alike
def test_collected_batches(pair):
    collectors = [Collector(env, frames_per_batch=env.numel() * 11) for env in seeded(pair)]
    for _ in range(2):
        assert_bytes(*[collector.next() for collector in collectors])


@pytest.mark.parametrize("pair", [ALIKE[0], ALIKE[NAMES.index("counted")]], indirect=True)
def test_truncated_at_the_end(pair):
    found, expected = (env.rollout(5, set_truncated=True, break_when_any_done=False) for env in seeded(pair))
    assert_bytes(found, expected)
    assert found["next", "truncated"][:, -1].all()


@pytest.mark.parametrize("pair", [ALIKE[NAMES.index(name)] for name in ("cartpole", "walk", "dice")], indirect=True)
class TestLoops:
    def test_callbacks(self, pair):
        def data(env):
            seen = []
            out = env.rollout(15, callback=lambda _, step: seen.append(step.clone()), break_when_any_done=False)
            return out, torch.stack(seen, 1)

        for found, expected in zip(*map(data, seeded(pair)), strict=True):
            found.names = expected.names = None
            assert_bytes(found, expected)

    def test_policies_that_write_more(self, pair):
        parallel, serial = seeded(pair)
        key = "observation" if "observation" in serial.observation_spec.keys() else "position"
        like = serial.full_action_spec["action"]

        def answer(observation):
            score = observation.double().sum(-1, keepdim=True)
            action = (
                (score > 0).long().squeeze(-1) if like.dtype is torch.int64 else score.expand(like.shape).tanh().float()
            )
            return action, score, torch.full_like(score, 0.5)

        policy = TensorDictModule(answer, in_keys=[key], out_keys=["action", "score", ("next", "guess")])
        found, expected = (env.rollout(15, policy, break_when_any_done=False) for env in (parallel, serial))
        assert_bytes(found, expected)
        assert (found["next", "guess"] == 0.5).all()

    def test_starting_from_data(self, pair):
        def data(env):
            first = env.rollout(4, break_when_any_done=False)[:, -1]
            start = env.maybe_reset(env.step_mdp(first))
            return env.rollout(12, auto_reset=False, tensordict=start, break_when_any_done=False)

        assert_bytes(*map(data, seeded(pair)))

    def test_snapshots_are_exchanged(self, pair):
        parallel, serial = seeded(pair)
        start = serial.maybe_reset(serial.step_mdp(serial.rollout(6, break_when_any_done=False)[:, -1]))
        options = {"auto_reset": False, "tensordict": start, "break_when_any_done": False}
        parallel.rollout(3)
        parallel.restore(serial.snapshot())
        expected = serial.rollout(14, **options)
        snapshot = parallel.snapshot()
        assert_bytes(parallel.rollout(14, **options), expected)
        parallel.restore(snapshot)
        assert_bytes(parallel.rollout(14, **options), expected)


class TestMasks:
    """Partial resets and steps, by masks drawn at random."""

    def run(self, env, actions, turns):
        seen, td = [], env.reset()
        for (what, masks), action in zip(turns, actions, strict=False):
            for key, mask in masks.items():
                td.set(key, mask)
            if what == "_reset":
                td = env.reset(td)
            else:
                td = env.step(td.update(action))
                seen.append(td["next"].clone())
                td = env.step_mdp(td).exclude(*env.action_keys)
            seen.append(td.clone())
        return seen

    def compare(self, pair, turns, tools):
        parallel, serial = seeded(pair)
        actions = tools.draw_actions(serial, len(turns))
        found, expected = (self.run(env, actions, turns) for env in (parallel, serial))
        for one, other in zip(found, expected, strict=True):
            assert_bytes(one, other)

    @pytest.mark.parametrize(
        "pair", [ALIKE[NAMES.index(name)] for name in ("pendulum", "frames", "counted")], indirect=True
    )
    def test_one_for_each_env(self, pair, tools):
        masks = st.lists(st.booleans(), min_size=3, max_size=3).map(lambda m: torch.tensor(m).unsqueeze(-1))

        @few
        @given(turns=st.lists(st.tuples(st.sampled_from(["_reset", "_step"]), masks), min_size=1, max_size=6))
        def check(turns):
            self.compare(pair, [(what, {what: mask}) for what, mask in turns], tools)

        check()

    @pytest.mark.parametrize("pair", [ALIKE[NAMES.index("pairs")]], indirect=True)
    def test_within_envs(self, pair, tools):
        masks = st.lists(st.booleans(), min_size=6, max_size=6).map(lambda m: torch.tensor(m).reshape(3, 2, 1))

        @few
        @given(turns=st.lists(st.tuples(st.sampled_from(["_reset", "_step"]), masks), min_size=1, max_size=6))
        def check(turns):
            self.compare(pair, [(what, {what: mask}) for what, mask in turns], tools)

        check()

    @pytest.mark.parametrize(
        "pair", [ALIKE[NAMES.index(name)] for name in ("two_agents", "two_agents_and_all")], indirect=True
    )
    def test_of_groups(self, pair, tools):
        mask = st.lists(st.booleans(), min_size=3, max_size=3).map(lambda m: torch.tensor(m).unsqueeze(-1))
        roots = [(), ("agent0",), ("agent1",)]

        @st.composite
        def turn(draw):
            what = draw(st.sampled_from(["_reset", "_step"]))
            levels = draw(st.lists(st.sampled_from(roots), min_size=1, max_size=3, unique=True))
            if what == "_reset" and pair[0].reset_keys[0] != "_reset":
                levels = [level for level in levels if level] or [("agent0",)]
            return what, {(*level, what) if level else what: draw(mask) for level in levels}

        @few
        @given(turns=st.lists(turn(), min_size=1, max_size=6))
        def check(turns):
            self.compare(pair, turns, tools)

        check()


@pytest.fixture(scope="module")
def growing():
    parallel = ParallelEnv(2, Growing, num_envs=3, mp_start_method="fork")
    with pytest.warns(UserWarning, match=r"ParallelEnv.* x Growing.*: its data has no fixed layout"):
        parallel.reset()
    yield SerialEnv(3, Growing), parallel
    parallel.close()


class TestWithoutFixedLayout:
    """What no rows can hold is sent, and is the same."""

    def assert_same(self, found, expected):
        assert isinstance(found, LazyStackedTensorDict)
        assert found.batch_size == expected.batch_size
        for one, other in zip(found.unbind(0), expected.unbind(0), strict=True):
            for row, same in zip(one.unbind(0), other.unbind(0), strict=True):
                assert_bytes(row, same)

    def test_rollouts(self, growing):
        parallel, serial = seeded(growing)
        assert parallel.specs == serial.specs
        for options in ({"break_when_any_done": False}, {}, {"break_when_all_done": True}):
            self.assert_same(parallel.rollout(9, **options), serial.rollout(9, **options))

    def test_partial_resets(self, growing):
        def data(env):
            td = env.rand_step(env.rand_action(env.reset()))
            td = env.step_mdp(td)
            td.set("_reset", torch.tensor([[True], [False], [True]]))
            return env.reset(td).exclude("action")

        found, expected = map(data, seeded(growing))
        assert [part["rows"].shape[0] for part in found.unbind(0)] == [1, 2, 1]
        for one, other in zip(found.unbind(0), expected.unbind(0), strict=True):
            assert_bytes(one, other)


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_other_start_methods(method):
    def make(**options):
        return TransformedEnv(GymEnv("Pendulum-v1", **options), StepCounter(max_steps=6))

    options = [{"g": 9.0}, {"g": 10.0}, {"g": 11.0}]
    serial = SerialEnv(3, make, create_env_kwargs=options)
    parallel = ParallelEnv(2, make, num_envs=3, create_env_kwargs=options, mp_start_method=method)
    found, expected = (env.rollout(20, break_when_any_done=False) for env in seeded((serial, parallel)))
    assert_bytes(found, expected)
    assert parallel.g == serial.g == [9.0, 10.0, 11.0]
    parallel.close()


@pytest.mark.parametrize("pair", [ALIKE[0], ALIKE[NAMES.index("frames")]], indirect=True)
def test_data_that_is_kept_stays_as_it_is(pair):
    """Memory is used again, but not as long as any of it is in somebody's hands."""
    parallel, _ = seeded(pair)
    key = parallel.observation_keys[0]
    kept, copies, views = [], [], []
    for _ in range(6):
        data = parallel.rollout(7, break_when_any_done=False)
        kept.append(data)
        copies.append(data.clone())
        column = parallel.rollout(7, break_when_any_done=False)["next", key]
        views.append((column[1:, ::2].numpy(), column[1:, ::2].clone().numpy()))
        del column
    rows, td = [], parallel.reset()
    for _ in range(40):
        row, td = parallel.step_and_maybe_reset(parallel.rand_action(td))
        rows.append((row, row.clone()))
    del td, data
    gc.collect()
    for _ in range(4):
        parallel.rollout(7, break_when_any_done=False)
    for found, expected in [*zip(kept, copies, strict=True), *rows]:
        assert_bytes(found, expected)
    for found, expected in views:
        assert (found == expected).all()
