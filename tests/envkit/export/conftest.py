"""Envs and comparisons that the tests of the export share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from envkit import Binary, Bounded, Categorical, Composite, EnvBase, GymEnv, OneHot, SerialEnv, Unbounded


class Painter(EnvBase):
    """Renders, has one-hot actions, a mask, nested observations, and its own random stream; takes a batch."""

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 25}

    def __init__(self, *, render_mode: str | None = None, length: int = 4, batch_size: tuple[int, ...] = ()) -> None:
        super().__init__(batch_size=batch_size)
        self.render_mode, self.length = render_mode, length
        self.observation_spec = Composite(
            observation=Unbounded((*batch_size, 2)),
            action_mask=Binary(3, (*batch_size, 3), dtype=torch.bool),
            inner=Composite(clock=Bounded(0, 100, shape=(*batch_size, 1), dtype=torch.int64), shape=batch_size),
            shape=batch_size,
        )
        self.action_spec = OneHot(3, (*batch_size, 3))
        self.random = np.random.default_rng()
        self.closes = 0

    def _set_seed(self, seed: int | None) -> None:
        self.random = np.random.default_rng(seed)

    def _data(self, noise: torch.Tensor, clock: torch.Tensor) -> dict[str, Any]:
        size = self.batch_size
        mask = torch.ones((*size, 3), dtype=torch.bool)
        return {"observation": noise, "action_mask": mask, "inner": TensorDict({"clock": clock}, size)}

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        noise = torch.from_numpy(self.random.normal(size=(*self.batch_size, 2))).float()
        clock = torch.zeros((*self.batch_size, 1), dtype=torch.int64)
        return TensorDict(self._data(noise, clock), self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        clock = tensordict["inner", "clock"] + 1
        out = self._data(tensordict["observation"] + 1, clock)
        reward = tensordict["action"].float().argmax(-1, keepdim=True).float()
        return TensorDict({**out, "reward": reward, "terminated": clock >= self.length}, self.batch_size)

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), self.random.integers(255), dtype=np.uint8)

    def close(self) -> None:
        self.closes += 1
        super().close()


class Swarm(EnvBase):
    """Three agents in one group, with masks, infos and a map for all; they die one after the other, or together."""

    def __init__(self, *, together: bool = False) -> None:
        super().__init__()
        self.together, n = together, 3
        self.observation_spec = Composite(
            agents=Composite(
                observation=Unbounded((n, 2)),
                action_mask=Binary(4, (n, 4), dtype=torch.bool),
                info=Composite(health=Unbounded((n, 1)), shape=(n,)),
                shape=(n,),
            ),
            map=Unbounded((5,)),
        )
        self.full_action_spec = Composite(agents=Composite(action=Categorical(4, (n,)), shape=(n,)))
        self.full_reward_spec = Composite(agents=Composite(reward=Unbounded((n, 1)), shape=(n,)))
        flag = Categorical(2, (1,) if together else (n, 1), dtype=torch.bool)
        flags = {"done": flag, "terminated": flag.clone(), "truncated": flag.clone()}
        self.full_done_spec = Composite(flags) if together else Composite(agents=Composite(flags, shape=(n,)))
        self.generator = torch.Generator()

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def _data(self) -> dict[str, Any]:
        agents = {
            "observation": torch.rand(3, 2, generator=self.generator),
            "action_mask": torch.tensor([[True, True, False, True]] * 3),
            "info": TensorDict({"health": torch.full((3, 1), 1.0 - self.time / 10)}, [3]),
        }
        return {"agents": TensorDict(agents, [3]), "map": torch.full((5,), float(self.time))}

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        self.time = 0
        return TensorDict(self._data())

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self.time += 1
        out = self._data()
        out["agents"]["reward"] = tensordict["agents", "action"].float().reshape(3, 1)
        if self.together:
            out["done"] = out["truncated"] = torch.tensor([self.time >= 4])
        else:
            out["agents"]["terminated"] = (self.time >= torch.tensor([[2], [4], [4]])) & torch.tensor(
                [[1], [1], [0]]
            ).bool()
            out["agents"]["truncated"] = (self.time >= torch.tensor([[9], [9], [4]])) & torch.tensor(
                [[0], [0], [1]]
            ).bool()
        return TensorDict(out)


def transitions(venv: gymnasium.vector.VectorEnv, steps: int, seed: int = 3) -> list[list[tuple]]:
    """The transitions of each env of a vector env, whichever way it starts new episodes.

    Env ``i`` acts by a stream of its own, of which no number is spent on a step that is wasted.
    """
    mode = venv.metadata["autoreset_mode"].value
    count = venv.num_envs
    rows: list[list[tuple]] = [[] for _ in range(count)]
    spaces = [gymnasium.vector.utils.batch_space(venv.single_action_space, 1) for _ in range(count)]
    for i, space in enumerate(spaces):
        space.seed(i)
    nothing = np.zeros((1, *spaces[0].shape[1:]), spaces[0].dtype)
    observation, _ = venv.reset(seed=seed)
    over = np.zeros(count, dtype=bool)
    for _ in range(steps):
        if mode == "Disabled" and over.any():
            observation, _ = venv.reset(options={"reset_mask": over.copy()})
            over[:] = False
        wasted = over if mode == "NextStep" else np.zeros_like(over)
        actions = np.concatenate(
            [nothing if rests else space.sample() for space, rests in zip(spaces, wasted, strict=True)]
        )
        following, reward, terminated, truncated, info = venv.step(actions)
        for i in range(count):
            if wasted[i]:
                assert (reward[i], terminated[i], truncated[i]) == (0.0, False, False)
                continue
            last = info["final_obs"][i] if mode == "SameStep" and (terminated | truncated)[i] else following[i]
            rows[i].append(
                (
                    observation[i].copy(),
                    actions[i].copy(),
                    float(reward[i]),
                    bool(terminated[i]),
                    bool(truncated[i]),
                    np.array(last),
                )
            )
        over, observation = terminated | truncated, following
    return rows


def assert_same_transitions(found: list[list[tuple]], expected: list[list[tuple]], least: int) -> None:
    """Equal, up to where the shorter list of each env ends."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert min(len(one), len(other)) >= least
        for i, (a, b) in enumerate(zip(one, other)):  # noqa: B905 - wasted steps make one list shorter
            for x, y in zip(a, b, strict=True):
                assert np.array_equal(x, y), (i, a, b)


def cartpoles(count: int = 4, **kwargs: Any) -> SerialEnv:
    return SerialEnv(count, lambda: GymEnv("CartPole-v1", **kwargs))


class _Export:
    Painter, Swarm = Painter, Swarm
    transitions = staticmethod(transitions)
    assert_same_transitions = staticmethod(assert_same_transitions)
    cartpoles: Callable[..., SerialEnv] = staticmethod(cartpoles)


@pytest.fixture(scope="session")
def export() -> type[_Export]:
    return _Export
