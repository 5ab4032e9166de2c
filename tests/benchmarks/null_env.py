"""An env that does nothing, so that what remains is the cost of what is built around it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class NullEnv(gymnasium.Env):
    """Hands out one and the same observation, with a reward of 1.

    Args:
        shape: shape of the observation.
        dtype: its dtype: bytes from 0 to 255, or numbers without bounds.
        length: steps of an episode; 0 never ends.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type = np.float64, length: int = 0) -> None:
        low, high = (0, 255) if dtype is np.uint8 else (-np.inf, np.inf)
        self.observation_space = gymnasium.spaces.Box(low, high, shape, dtype)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.observation = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
        self.length, self.steps = length, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self.steps = 0
        return self.observation, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return self.observation, 1.0, self.steps == self.length, False, {}
