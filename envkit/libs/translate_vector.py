"""A Gymnasium vector env out of a vector env that speaks one of the dialects before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envkit.libs.translate import gymnasium_space, takes

__all__ = ["VECTORS", "TranslatedVector", "translate_vector"]

VECTORS = ("gym.vector.vector_env.VectorEnv", "stable_baselines3.common.vec_env.base_vec_env.VecEnv")


class TranslatedVector(gymnasium.vector.VectorEnv):
    """A Gymnasium vector env around one of ``gym``, of 0.21 or later, or of Stable-Baselines3.

    They start the next episode within the step that ends one. Its last observation is ``info["final_observation"]`` in
    gym 0.26; of old, where infos are a list, each ``info["terminal_observation"]``, and ``info["TimeLimit.truncated"]``
    tells a time limit from an end. (gym 0.21 itself does not tell the last observation.)
    """

    def __init__(self, vector: Any) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.vector, self.num_envs = vector, vector.num_envs
        # The spaces of Stable-Baselines3 are those of one env, under the short names.
        self.single_observation_space = _space(vector, "observation_space")
        self.single_action_space = _space(vector, "action_space")
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """See :meth:`gymnasium.vector.VectorEnv.reset`."""
        if seed is not None and takes(self.vector.reset, "seed"):
            kwargs["seed"] = seed
        elif seed is not None:
            self.vector.seed(seed)
        result = self.vector.reset(**kwargs)
        pair = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)
        return (result[0], dict(result[1])) if pair else (result, {})

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See :meth:`gymnasium.vector.VectorEnv.step`."""
        result = self.vector.step(actions)
        if len(result) == 5:
            return result
        observations, rewards, over, infos = result
        limits = np.array([info.get("TimeLimit.truncated", False) for info in infos], dtype=bool)
        return observations, rewards, over & ~limits, over & limits, _last(infos)

    def render(self) -> Any:
        """What the vector env renders."""
        return self.vector.render()

    def close(self, **kwargs: Any) -> None:
        """Closes the vector env."""
        self.vector.close(**kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "vector":
            raise AttributeError(name)
        return getattr(self.vector, name)


def translate_vector(vector: Any) -> gymnasium.vector.VectorEnv:
    """A Gymnasium vector env as it is, or one around an older one; see :class:`TranslatedVector`.

    Raises:
        TypeError: it is neither.

    Examples:
        >>> translate_vector(gymnasium.make("CartPole-v1"))
        Traceback (most recent call last):
        ...
        TypeError: expected a gymnasium.vector.VectorEnv, found TimeLimit
    """
    if isinstance(vector, gymnasium.vector.VectorEnv):
        return vector
    if not any(f"{kind.__module__}.{kind.__qualname__}" in VECTORS for kind in type(vector).__mro__):
        raise TypeError(f"expected a gymnasium.vector.VectorEnv, found {type(vector).__name__}")
    return TranslatedVector(vector)


def _space(vector: Any, name: str) -> gymnasium.Space:
    return gymnasium_space(getattr(vector, f"single_{name}", None) or getattr(vector, name))


def _last(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last observations of episodes, as Gymnasium tells them."""
    found = [info.get("terminal_observation") for info in infos]
    if all(observation is None for observation in found):
        return {}
    last = np.empty(len(found), dtype=object)
    for i, observation in enumerate(found):
        last[i] = observation
    return {"final_obs": last}
