"""A car that is too weak for the hill, with three actions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["CarEnv", "MountainCarEnv", "mountain_car_dynamics"]


def mountain_car_dynamics(
    state: torch.Tensor,
    push: torch.Tensor,
    *,
    gravity: float = 0.0025,
    min_position: float = -1.2,
    max_position: float = 0.6,
    max_speed: float = 0.07,
) -> torch.Tensor:
    """The state of a car in the valley ``sin(3 x)``, one step later.

    From Moore, "Efficient memory-based learning for robot control" (1990), as in Gymnasium; the left end of the track
    stops the car::

        velocity' = clamp(velocity + push - gravity cos(3 position), max_speed)
        position' = clamp(position + velocity', min_position, max_position)

    Args:
        state: float, shape ``[*batch, 2]``: position and velocity (per step).
        push: float, shape ``[*batch]``: acceleration by the engine (per step^2).
        gravity: per step^2.
        min_position, max_position: ends of the track.
        max_speed: per step.

    Returns:
        The next state, of the same shape and dtype.

    Examples:
        >>> mountain_car_dynamics(torch.tensor([-1.2, -0.05]), torch.tensor(-0.001))
        tensor([-1.2000,  0.0000])
    """
    position, velocity = state.unbind(-1)
    velocity = (velocity + push - gravity * (3 * position).cos()).clamp(-max_speed, max_speed)
    position = (position + velocity).clamp(min_position, max_position)
    velocity = torch.where((position <= min_position) & (velocity < 0), 0.0, velocity)
    return torch.stack((position, velocity), -1)


class CarEnv(NativeEnv):
    """What the two mountain cars share: the hill, the start and the goal.

    Args:
        goal_velocity: per step.
        goal_position: where the goal is.
        physics: the further arguments of :func:`mountain_car_dynamics`.
        device, batch_size: see :class:`~envkit.core.native_env.NativeEnv`.
    """

    def __init__(
        self,
        goal_velocity: float,
        goal_position: float,
        physics: dict[str, float],
        device: torch.device | str | int | None,
        batch_size: Sequence[int] | torch.Size | None,
    ) -> None:
        super().__init__(device, batch_size)
        self.goal_velocity, self.goal_position, self.physics = goal_velocity, goal_position, physics
        low, high = (
            torch.tensor([physics[f"{end}_position"], sign * physics["max_speed"]])
            for end, sign in (("min", -1), ("max", 1))
        )
        self.observation_spec_unbatched = Composite(observation=Bounded(low, high, dtype=torch.float32))
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        position = self._uniform((*size, 1), -0.6, -0.4)
        return unchecked({"observation": torch.cat((position, torch.zeros_like(position)), -1)}, size, self._device)

    def _driven(self, tensordict: TensorDictBase, push: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next state, and whether it is the goal."""
        state = mountain_car_dynamics(self._given(tensordict, "observation"), push, **self.physics)
        return state, (state[..., :1] >= self.goal_position) & (state[..., 1:] >= self.goal_velocity)

    def _told(self, tensordict: TensorDictBase, **entries: torch.Tensor) -> TensorDictBase:
        return unchecked(entries, tensordict.batch_size, self._device)


class MountainCarEnv(CarEnv):
    """Gets an underpowered car up a hill: Gymnasium's MountainCar, for any number of cars and on any device.

    ============== =========================== ==========================================================
    entry          dtype and shape             content
    ============== =========================== ==========================================================
    observation    float32 ``[*batch, 2]``     position and velocity (per step)
    action         int64 ``[*batch]``          0 accelerates to the left, 2 to the right, 1 not at all
    reward         float32 ``[*batch, 1]``     -1 for every step
    terminated     bool ``[*batch, 1]``        at ``goal_position`` or beyond, with at least ``goal_velocity``
    ============== =========================== ==========================================================

    An episode starts at rest at a position drawn uniformly from [-0.6, -0.4). There is no time limit:
    ``StepCounter(max_steps=200)`` makes it MountainCar-v0.

    Args:
        goal_velocity: per step.
        goal_position: where the goal is.
        force: acceleration by the engine (per step^2).
        gravity, min_position, max_position, max_speed: see :func:`mountain_car_dynamics`.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Examples:
        >>> from tensordict import TensorDict
        >>> MountainCarEnv().rollout(10, tensordict=TensorDict({}, [64]))["next", "reward"].sum()
        tensor(-640.)
    """

    def __init__(
        self,
        goal_velocity: float = 0.0,
        goal_position: float = 0.5,
        force: float = 0.001,
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
        self.force = force
        self.action_spec_unbatched = Categorical(3)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        push = (self._given(tensordict, "action") - 1).to(torch.float32) * self.force
        state, terminated = self._driven(tensordict, push)
        reward = torch.full(terminated.shape, -1.0, dtype=state.dtype, device=state.device)
        return self._told(tensordict, observation=state, reward=reward, terminated=terminated)
