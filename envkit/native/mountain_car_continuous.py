"""A car that is too weak for the hill, with a pedal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.native.base import NativeEnv
from envkit.native.mountain_car import mountain_car_dynamics
from envkit.specs import Bounded, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["MountainCarContinuousEnv"]


class MountainCarContinuousEnv(NativeEnv):
    """Gets an underpowered car up a hill at little cost: Gymnasium's MountainCarContinuous, for any number of cars.

    ============== =========================== ==========================================================
    entry          dtype and shape             content
    ============== =========================== ==========================================================
    observation    float32 ``[*batch, 2]``     position and velocity (per step)
    action         float32 ``[*batch, 1]``     force in [-1, 1], clamped for the engine
    reward         float32 ``[*batch, 1]``     -0.1 action^2 (of the action as given), and 100 at the goal
    terminated     bool ``[*batch, 1]``        at ``goal_position`` or beyond, with at least ``goal_velocity``
    ============== =========================== ==========================================================

    The dynamics are those of :func:`~envkit.native.mountain_car.mountain_car_dynamics`. An episode starts at rest at a
    position drawn uniformly from [-0.6, -0.4). There is no time limit: ``StepCounter(max_steps=999)`` makes it
    MountainCarContinuous-v0.

    Args:
        goal_velocity: per step.
        goal_position: where the goal is.
        power: acceleration by the engine at full force (per step^2).
        gravity, min_position, max_position, max_speed: see the dynamics.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Examples:
        >>> from tensordict import TensorDict
        >>> data = MountainCarContinuousEnv().rollout(10, tensordict=TensorDict({}, [64]))
        >>> torch.allclose(data["next", "reward"], -0.1 * data["action"] ** 2)
        True
    """

    def __init__(
        self,
        goal_velocity: float = 0.0,
        goal_position: float = 0.45,
        power: float = 0.0015,
        gravity: float = 0.0025,
        min_position: float = -1.2,
        max_position: float = 0.6,
        max_speed: float = 0.07,
        *,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        self.goal_velocity, self.goal_position, self.power = goal_velocity, goal_position, power
        self.physics: dict[str, Any] = {
            "gravity": gravity,
            "min_position": min_position,
            "max_position": max_position,
            "max_speed": max_speed,
        }
        low, high = torch.tensor([min_position, -max_speed]), torch.tensor([max_position, max_speed])
        self.observation_spec_unbatched = Composite(observation=Bounded(low, high, dtype=torch.float32))
        self.action_spec_unbatched = Bounded(-1.0, 1.0, (1,), dtype=torch.float32)
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:  # type: ignore[override]
        size = self._size(tensordict)
        position = self._uniform((*size, 1), -0.6, -0.4)
        return unchecked({"observation": torch.cat((position, torch.zeros_like(position)), -1)}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict.get("action")
        push = action.squeeze(-1).clamp(-1.0, 1.0) * self.power
        state = mountain_car_dynamics(tensordict.get("observation"), push, **self.physics)
        terminated = (state[..., :1] >= self.goal_position) & (state[..., 1:] >= self.goal_velocity)
        reward = 100.0 * terminated - 0.1 * action.square()
        return unchecked(
            {"observation": state, "reward": reward, "terminated": terminated}, tensordict.batch_size, self._device
        )
