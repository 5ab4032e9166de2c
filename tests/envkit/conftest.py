"""Envs that tests script, and the comparisons they share."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from envkit import Bounded, Categorical, Composite, EnvBase, Unbounded

torch.set_num_threads(1)


class ScriptedEnv(EnvBase):
    """Plays one script in every episode: step ``t`` returns entry ``t`` of each list, later ones the last entry."""

    def __init__(
        self,
        rewards: Sequence[float] = (1.0,),
        terminated: Sequence[bool] = (False,),
        truncated: Sequence[bool] | None = None,
        observations: Sequence[Sequence[float]] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.script = {"reward": rewards, "terminated": terminated}
        if truncated is not None:
            self.script["truncated"] = truncated
        self.observations = observations
        width = 1 if observations is None else len(observations[0])
        self.observation_spec = Composite(observation=Unbounded((width,)))
        self.action_spec = Categorical(2)
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        flags = [name for name in self.script if name != "reward"]
        self.full_done_spec = Composite({name: flag.clone() for name in ("done", *flags)})
        self.steps = self.resets = 0

    def _observation(self) -> torch.Tensor:
        if self.observations is None:
            return torch.tensor([float(self.steps)])
        return torch.tensor(self.observations[min(self.steps, len(self.observations) - 1)], dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        self.steps = 0
        self.resets += 1
        return TensorDict({"observation": self._observation()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        values = {name: torch.tensor([line[min(self.steps, len(line) - 1)]]) for name, line in self.script.items()}
        self.steps += 1
        return TensorDict({"observation": self._observation(), **values})

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed


class WalkEnv(EnvBase):
    """A random walk whose position lives in the data: ``_step`` reads the observation it is given."""

    def __init__(self, limit: float = 2.0) -> None:
        super().__init__()
        self.limit = limit
        self.observation_spec = Composite(
            position=Unbounded((2,)), nested=Composite(clock=Unbounded((), dtype=torch.int64))
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(2,))
        self.reward_spec = Unbounded((1,), dtype=torch.float64)
        self.random = np.random.default_rng()

    def _set_seed(self, seed: int | None) -> None:
        self.random = np.random.default_rng(seed)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        start = torch.from_numpy(self.random.normal(size=2)).float()
        return TensorDict({"position": start, "nested": {"clock": torch.zeros((), dtype=torch.int64)}})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        position = tensordict["position"] + tensordict["action"]
        clock = tensordict["nested", "clock"] + 1
        return TensorDict(
            {
                "position": position,
                "nested": {"clock": clock},
                "reward": -position.double().norm().reshape(1),
                "terminated": (position.norm() > self.limit).reshape(1),
            }
        )


class MappingEnv(EnvBase):
    """Returns plain mappings of numbers and arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Composite(position=Unbounded((2,)), count=Categorical(100))
        self.action_spec = Categorical(3)
        self.count = 0

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed

    def _reset(self, tensordict: TensorDictBase | None = None) -> dict:
        self.count = 0
        return {"position": np.zeros(2, dtype=np.float32), "count": 0}

    def _step(self, tensordict: TensorDictBase) -> dict:
        self.count += 1
        position = np.array([self.count, int(tensordict["action"])], dtype=np.float32)
        return {"position": position, "count": self.count, "reward": 0.5 * self.count, "terminated": self.count == 4}


class TwoAgents(EnvBase):
    """Two agents whose episodes end at their own times; a reset returns zeros for whoever is reset."""

    def __init__(self, lengths: tuple[int, int] = (3, 5), shared_done: bool = False) -> None:
        super().__init__()
        self.lengths, self.shared_done = lengths, shared_done
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        names = ("agent0", "agent1")
        self.observation_spec = Composite({name: Composite(val=Unbounded((2,))) for name in names})
        self.full_action_spec = Composite({name: Composite(action=Bounded(-1.0, 1.0, shape=(1,))) for name in names})
        self.full_reward_spec = Composite({name: Composite(reward=Unbounded((1,))) for name in names})
        done = {name: Composite(done=flag.clone(), terminated=flag.clone()) for name in names}
        self.full_done_spec = Composite({**done, **({"done": flag} if shared_done else {})})

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        return TensorDict({name: TensorDict({"val": torch.zeros(2)}) for name in ("agent0", "agent1")})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        out = TensorDict()
        for name, length in zip(("agent0", "agent1"), self.lengths, strict=True):
            value = tensordict[name, "val"] + 1
            out[name] = TensorDict(
                {"val": value, "reward": tensordict[name, "action"].clone(), "done": value[:1] >= length}
            )
        if self.shared_done:
            out["done"] = out["agent0", "done"] & out["agent1", "done"]
        return out


class DictObsEnv(gymnasium.Env):
    """A Gymnasium env with nested Dict and Tuple observations, which ends after a random number of steps."""

    observation_space = gymnasium.spaces.Dict(
        {
            "camera": gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8),
            "state": gymnasium.spaces.Dict(
                {
                    "speed": gymnasium.spaces.Box(-10.0, 10.0, (), np.float32),
                    "gear": gymnasium.spaces.Discrete(5, start=1),
                }
            ),
            "pair": gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(3), gymnasium.spaces.MultiBinary(4))),
        }
    )
    action_space = gymnasium.spaces.MultiDiscrete([3, 4])
    render_mode = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 9))
        return self._observe(), {"left": self.left}

    def step(self, action: np.ndarray) -> tuple:
        self.left -= 1
        return self._observe(), float(action.sum()), self.left == 0, False, {"left": self.left}

    def _observe(self) -> dict:
        return {
            "camera": self.np_random.integers(0, 256, (2, 2, 3), dtype=np.uint8),
            "state": {"speed": np.float32(self.np_random.uniform(-10, 10)), "gear": int(self.np_random.integers(1, 6))},
            "pair": (int(self.np_random.integers(3)), self.np_random.integers(0, 2, 4, dtype=np.int8)),
        }


class LineEnv(gymnasium.Env):
    """A Gymnasium env whose every answer can be set; it counts calls, and hands out one buffer again and again."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    render_mode = None

    def __init__(self, length: int = 10, **answers: object) -> None:
        self.length, self.answers = length, answers
        self.buffer = np.zeros(3, np.float32)
        self.seeds: list = []
        self.options: list = []
        self.closes = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.seeds.append(seed)
        self.options.append(options)
        self.count = 0
        self.buffer[:] = 0
        return self.answers.get("first", self.buffer), {}

    def step(self, action: int) -> tuple:
        self.count += 1
        self.buffer[:] = self.count
        default = {
            "observation": self.buffer,
            "reward": 1.0,
            "terminated": self.count >= self.length,
            "truncated": False,
            "info": {"count": self.count},
        }
        answer = {**default, **{k: v for k, v in self.answers.items() if k in default}}
        if "result" in self.answers:
            return self.answers["result"]
        return tuple(answer.values())

    def close(self) -> None:
        self.closes += 1


class FakeAtari(gymnasium.Env):
    """Like an Atari game: frames of random bytes, lives, a button that fires. It keeps the actions it is given."""

    action_space = gymnasium.spaces.Discrete(4)
    render_mode = None

    def __init__(self, shape: tuple[int, ...] = (15, 10, 3), lives: int = 3) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.most_lives = lives
        self.taken: list[int] = []
        self.resets = 0

    @property
    def ale(self) -> FakeAtari:
        return self

    def lives(self) -> int:
        return self.left

    def get_action_meanings(self) -> list[str]:
        return ["NOOP", "FIRE", "LEFT", "RIGHT"]

    def _frame(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.left = self.most_lives
        self.taken.append(-1)
        self.resets += 1
        return self._frame(), {"lives": self.left}

    def step(self, action: int) -> tuple:
        self.taken.append(int(action))
        if self.np_random.random() < 0.12:
            self.left -= 1
        reward = float(self.np_random.integers(-3, 4))
        return self._frame(), reward, self.left == 0, False, {"lives": self.left}


class FixedPolicy:
    """Answers with the actions of a list, in order."""

    def __init__(self, actions: Sequence[TensorDictBase]) -> None:
        self.actions = iter(actions)

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict.update(next(self.actions))


def draw_actions(env: EnvBase, count: int, seed: int = 0) -> list[TensorDictBase]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [env.full_action_spec.rand() for _ in range(count)]


def by_hand(env: EnvBase, actions: Sequence[TensorDictBase]) -> TensorDictBase:
    """What a rollout without breaks records, through the public port alone."""
    tensordict, rows = env.reset(), []
    for action in actions:
        row, tensordict = env.step_and_maybe_reset(tensordict.update(action))
        rows.append(row)
    return torch.stack(rows, env.batch_dims).contiguous()


def assert_same(found: TensorDictBase, expected: TensorDictBase) -> None:
    """Same batch size, same keys, and bit for bit the same tensors."""
    assert found.batch_size == expected.batch_size
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key, value in expected.items(True, True):
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key], value), key


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedEnv]:
    return ScriptedEnv


@pytest.fixture(scope="session")
def walk() -> type[WalkEnv]:
    return WalkEnv


@pytest.fixture(scope="session")
def mapping_env() -> type[MappingEnv]:
    return MappingEnv


@pytest.fixture(scope="session")
def two_agents() -> type[TwoAgents]:
    return TwoAgents


@pytest.fixture(scope="session")
def dict_obs() -> type[DictObsEnv]:
    return DictObsEnv


@pytest.fixture(scope="session")
def line() -> type[LineEnv]:
    return LineEnv


@pytest.fixture(scope="session")
def fake_atari() -> type[FakeAtari]:
    return FakeAtari


class _Tools:
    """What tests share beside envs."""

    FixedPolicy = FixedPolicy
    draw_actions = staticmethod(draw_actions)
    by_hand = staticmethod(by_hand)
    assert_same = staticmethod(assert_same)


@pytest.fixture(scope="session")
def tools() -> type[_Tools]:
    return _Tools
