"""What the tests of agents share: an env whose every number is known, and comparisons bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from agents.state_tree import split_state
from envkit import Categorical, Composite, EnvBase, GymEnv, TensorSpec, Unbounded

torch.set_num_threads(1)


class Stations(EnvBase):
    """Episodes on a timetable, the same for any action.

    Episode ``k`` starts at ``10 * k`` and moves by one with every step; the reward is where the step arrives. Each
    entry of ``timetable`` is the length of an episode, and whether it is truncated there rather than terminated.
    """

    def __init__(self, timetable: Sequence[tuple[int, bool]] = ((3, False),), reward: float | None = None) -> None:
        super().__init__()
        self.timetable, self.reward = timetable, reward
        self.observation_spec = Composite(observation=Unbounded((1,)))
        self.action_spec = Categorical(2)
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        self.episode, self.clock = -1, 0

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        self.episode += 1
        self.clock = 0
        return TensorDict({"observation": torch.tensor([10.0 * self.episode])})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        length, truncates = self.timetable[self.episode % len(self.timetable)]
        self.clock += 1
        place = torch.tensor([10.0 * self.episode + self.clock])
        ends = self.clock == length
        return TensorDict(
            {
                "observation": place,
                "reward": place if self.reward is None else torch.tensor([self.reward]),
                "terminated": torch.tensor([ends and not truncates]),
                "truncated": torch.tensor([ends and truncates]),
            }
        )


class SpecsOnly(EnvBase):
    """An env that exists to show its specs."""

    def __init__(
        self,
        action: TensorSpec | None = None,
        observation: TensorSpec | None = None,
        reward: TensorSpec | None = None,
        done: Composite | None = None,
    ) -> None:
        super().__init__()
        self.observation_spec = Unbounded((3,)) if observation is None else observation
        self.action_spec = Categorical(2) if action is None else action
        if reward is not None:
            self.reward_spec = reward
        if done is not None:
            self.full_done_spec = done

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed


class Senses(gymnasium.Env):
    """A Gymnasium env of two vectors, one of them nested, and episodes of random length."""

    observation_space = gymnasium.spaces.Dict(
        {
            "touch": gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32),
            "far": gymnasium.spaces.Dict({"sight": gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)}),
        }
    )
    action_space = gymnasium.spaces.Discrete(3)
    render_mode = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 9))
        return self._observe(), {}

    def step(self, action: int) -> tuple:
        self.left -= 1
        return self._observe(), float(action), self.left == 0, False, {}

    def _observe(self) -> dict:
        touch, sight = (self.np_random.uniform(-1, 1, size).astype(np.float32) for size in (2, 3))
        return {"touch": touch, "far": {"sight": sight}}


class _Tools:
    """What tests share beside envs."""

    @staticmethod
    def cart_pole() -> EnvBase:
        return GymEnv("CartPole-v1")

    @staticmethod
    def pendulum() -> EnvBase:
        return GymEnv("Pendulum-v1")

    @staticmethod
    def weights(agent: object) -> dict[str, torch.Tensor]:
        """Copies of all weights of an agent."""
        nets = {"actor": agent.actor, "critic": agent.critic}
        return {f"{name}.{key}": value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}

    @staticmethod
    def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
        """Whether two mappings hold bit for bit the same tensors."""
        return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)

    @staticmethod
    def records(agent: object, **limits: object) -> list[dict[str, float]]:
        """What a training reports, but for what depends on the clock; NaN, which equals nothing, as text."""
        out: list[dict[str, float]] = []
        agent.train(**{"callback": lambda metrics: out.append(dict(metrics)), **limits})
        for record in out:
            assert record.pop("steps_per_second") > 0
        return [_Tools.comparable(record) for record in out]

    @staticmethod
    def learnt(agent: object) -> dict[str, torch.Tensor]:
        """All that the parts of an agent have learnt: networks, moments of optimizers, ..."""
        return split_state({name: part.state_dict() for name, part in agent._parts().items()})[1]

    @staticmethod
    def interrupt_at(iteration: int) -> Callable[[dict[str, float]], None]:
        """A callback that ends a training after so many iterations."""

        def interrupt(metrics: dict[str, float]) -> None:
            if metrics["iteration"] == iteration:
                raise InterruptedError

        return interrupt

    @staticmethod
    def comparable(record: dict[str, float]) -> dict[str, float | str]:
        return {name: "nan" if value != value else value for name, value in record.items()}

    @staticmethod
    def recorded(agent: object) -> list[TensorDictBase]:
        """A list to which every batch is added that the agent collects from here on."""
        batches: list[TensorDictBase] = []

        def keep(batch: TensorDictBase) -> TensorDictBase:
            batches.append(batch.clone())
            return batch

        agent.collector.postproc = keep
        return batches

    @staticmethod
    def episodes(rewards: Iterable[float], ends: Iterable[bool]) -> list[tuple[float, int]]:
        """Return and length of the episodes of one env, step by step."""
        out, total, length = [], 0.0, 0
        for reward, end in zip(rewards, ends, strict=True):
            total, length = total + reward, length + 1
            if end:
                out.append((total, length))
                total, length = 0.0, 0
        return out


@pytest.fixture(scope="session")
def stations() -> type[Stations]:
    return Stations


@pytest.fixture(scope="session")
def specs_only() -> type[SpecsOnly]:
    return SpecsOnly


@pytest.fixture(scope="session")
def senses() -> type[Senses]:
    return Senses


@pytest.fixture(scope="session")
def tools() -> type[_Tools]:
    return _Tools
