"""A car that is too weak for the hill, with a pedal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase

from envkit.native.mountain_car import CarEnv
from envkit.specs import Bounded

__all__ = ["MountainCarContinuousEnv"]


class MountainCarContinuousEnv(CarEnv):
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
        physics = {
            "gravity": gravity,
            "min_position": min_position,
            "max_position": max_position,
            "max_speed": max_speed,
        }
        super().__init__(goal_velocity, goal_position, physics, device, batch_size)
        self.power = power
        self.action_spec_unbatched = Bounded(-1.0, 1.0, (1,), dtype=torch.float32)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = self._given(tensordict, "action")
        state, terminated = self._driven(tensordict, action.squeeze(-1).clamp(-1.0, 1.0) * self.power)
        reward = 100.0 * terminated - 0.1 * action.square()
        return self._told(tensordict, observation=state, reward=reward, terminated=terminated)
