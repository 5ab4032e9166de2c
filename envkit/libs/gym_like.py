"""A template for simulators that speak (observation, reward, done, info)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.plan import path_of
from envkit.libs.info import ReadsInfo
from envkit.specs import Composite

__all__ = ["GymLikeEnv"]


class GymLikeEnv(ReadsInfo):
    """Base of envs around a simulator with ``reset()`` and ``step(action)``, as a template with replaceable parts.

    A subclass makes the simulator, passes it on, assigns the specs and says how to seed. Where the simulator speaks
    another dialect it replaces :meth:`_output_transform` (what a step returns), :meth:`_reset_output_transform` (what a
    reset returns), or one of the readers. Numbers, lists and arrays need no conversion: the specs do that.

    Args:
        env: the simulator.
        frame_skip: how many times each action is repeated; rewards are summed.
        device: device of inputs and outputs.
        batch_size: batch size of the simulator.

    Examples:
        >>> from envkit import Bounded, Unbounded, check_env_specs
        >>> class Drone:
        ...     def reset(self):
        ...         self.height = 0.0
        ...         return [self.height]
        ...     def step(self, thrust):
        ...         self.height += float(thrust[0])
        ...         return [self.height], -abs(self.height - 1), self.height < -1, {}
        >>> class DroneEnv(GymLikeEnv):
        ...     def __init__(self):
        ...         super().__init__(Drone())
        ...         self.observation_spec = Unbounded((1,))
        ...         self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        ...     def _set_seed(self, seed):
        ...         pass  # nothing random
        >>> check_env_specs(DroneEnv())
        []
    """

    def __init__(
        self,
        env: Any,
        *,
        frame_skip: int = 1,
        device: torch.device | str | int | None = None,
        batch_size: torch.Size | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        if frame_skip < 1:
            raise ValueError(f"frame_skip: expected at least 1, found {frame_skip}")
        self._env, self.frame_skip = env, frame_skip
        self._readers, self._info_spec = [], Composite(shape=self.batch_size)

    # ---------------------------------------------------------------- dialect

    def _output_transform(self, result: Any) -> tuple[Any, Any, Any, Any, Any, Mapping[str, Any]]:
        """What a step returned, as ``(observation, reward, terminated, truncated, done, info)``; None where unknown.

        Four entries are read as (observation, reward, done, info), five as Gymnasium's.

        Raises:
            ValueError: there are fewer, or more.
        """
        result = tuple(result)
        if len(result) == 4:
            observation, reward, done, info = result
            return observation, reward, None, None, done, info
        if len(result) == 5:
            observation, reward, terminated, truncated, info = result
            return observation, reward, terminated, truncated, None, info
        raise ValueError(f"{type(self._env).__name__}.step: expected 4 or 5 entries, found {len(result)}")

    def _reset_output_transform(self, result: Any) -> tuple[Any, Mapping[str, Any]]:
        """What a reset returned, as ``(observation, info)``: such a pair, or an observation alone."""
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
            return result
        return result, {}

    def read_action(self, action: TensorDictBase) -> Any:
        """The action as the simulator wants it: numpy, in a dictionary if there are several."""
        leaves = {key: self.full_action_spec[key].to_numpy(action.get(key)) for key in self.action_keys}
        return leaves if len(leaves) > 1 else next(iter(leaves.values()))

    def read_obs(self, observations: Any) -> dict[str, Any]:
        """The entries of an observation; one that is no mapping goes under the first observation key."""
        if isinstance(observations, Mapping):
            return dict(observations)
        informed = self._info_spec.keys(True, True)
        key = next(key for key in self.observation_keys if key not in informed)
        for name in reversed(path_of(key)):
            observations = {name: observations}
        return observations

    def read_reward(self, reward: Any) -> Any:
        """The reward of one simulator step."""
        return reward

    def read_done(self, terminated: Any, truncated: Any, done: Any) -> dict[str, Any]:
        """The done flags that the simulator gave."""
        flags = {"terminated": terminated, "truncated": truncated, "done": done}
        return {name: flag for name, flag in flags.items() if flag is not None}

    # ------------------------------------------------------------------- info

    def _sample_infos(self) -> list[Mapping[str, Any]]:
        first = self._reset_output_transform(self._env.reset())[1]
        return [first, self._output_transform(self._env.step(self.read_action(self.rand_action())))[-1]]

    def _informed(self, observation: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        out = self.read_obs(observation)
        read: TensorDictBase = TensorDict({}, self.batch_size)
        for reader in self._readers:
            read = reader(info, read)
        return {**out, **read.to_dict()}

    # --------------------------------------------------------------- the port

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> dict[str, Any]:
        return self._informed(*self._reset_output_transform(self._env.reset(**kwargs)))

    def _step(self, tensordict: TensorDictBase) -> dict[str, Any]:
        action = self.read_action(tensordict)
        total: Any = 0.0
        for _ in range(self.frame_skip):
            observation, reward, *flags, info = self._output_transform(self._env.step(action))
            total = self.read_reward(reward) + total
            if any(bool(torch.as_tensor(flag).any()) for flag in flags if flag is not None):
                break
        terminated, truncated, done = flags
        return {**self._informed(observation, info), "reward": total, **self.read_done(terminated, truncated, done)}

    def close(self) -> None:
        """Closes the simulator, if it can be closed."""
        if not self.is_closed and hasattr(self._env, "close"):
            self._env.close()
        super().close()
