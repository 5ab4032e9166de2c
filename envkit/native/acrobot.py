"""Two links that swing up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from tensordict import TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["AcrobotEnv", "acrobot_dynamics"]

State = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def acrobot_dynamics(
    state: torch.Tensor,
    torque: torch.Tensor,
    *,
    dt: float = 0.2,
    link_length_1: float = 1.0,
    link_mass_1: float = 1.0,
    link_mass_2: float = 1.0,
    link_com_pos_1: float = 0.5,
    link_com_pos_2: float = 0.5,
    link_moi: float = 1.0,
    gravity: float = 9.8,
    max_vel_1: float = 4 * math.pi,
    max_vel_2: float = 9 * math.pi,
    book_or_nips: str = "book",
) -> torch.Tensor:
    """The state of a two-link pendulum with a motor in its elbow, ``dt`` seconds later.

    The equations of motion of Sutton, "Generalization in reinforcement learning: successful examples using sparse
    coarse coding" (1996), in the form of Sutton and Barto's book (``"book"``) or of the paper (``"nips"``), by one
    Runge-Kutta step of the fourth order, as in Gymnasium's Acrobot-v1.

    Args:
        state: float, shape ``[*batch, 4]``: the first link's angle from hanging down, the second one's from the first
            (rad), and their velocities (rad/s).
        torque: N m, float, shape ``[*batch]``.
        dt: s.
        link_length_1: m.
        link_mass_1, link_mass_2: kg.
        link_com_pos_1, link_com_pos_2: where the centres of mass are (m).
        link_moi: moment of inertia of each link (kg m^2).
        gravity: m/s^2.
        max_vel_1, max_vel_2: rad/s.
        book_or_nips: which equations.

    Returns:
        The next state, of the same shape and dtype, its angles in [-pi, pi].

    Examples:
        >>> acrobot_dynamics(torch.zeros(4), torch.tensor(1.0))
        tensor([-0.0133,  0.0343, -0.1287,  0.3345])
    """
    m1, m2, l1, c1, c2 = link_mass_1, link_mass_2, link_length_1, link_com_pos_1, link_com_pos_2

    def slope(theta1: torch.Tensor, theta2: torch.Tensor, dtheta1: torch.Tensor, dtheta2: torch.Tensor) -> State:
        sin2, cos2 = theta2.sin(), theta2.cos()
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos2) + 2 * link_moi
        d2 = m2 * (c2**2 + l1 * c2 * cos2) + link_moi
        phi2 = m2 * c2 * gravity * (theta1 + theta2).sin()
        phi1 = (
            -m2 * l1 * c2 * sin2 * (dtheta2.square() + 2 * dtheta2 * dtheta1)
            + (m1 * c1 + m2 * l1) * gravity * theta1.sin()
            + phi2
        )
        pull = torque + d2 / d1 * phi1 - phi2
        if book_or_nips == "book":
            pull = pull - m2 * l1 * c2 * dtheta1.square() * sin2
        ddtheta2 = pull / (m2 * c2**2 + link_moi - d2.square() / d1)
        return dtheta1, dtheta2, -(d2 * ddtheta2 + phi1) / d1, ddtheta2

    start: State = state.unbind(-1)  # type: ignore[assignment]
    k1 = slope(*start)
    k2 = slope(*(torch.add(y, k, alpha=dt / 2) for y, k in zip(start, k1, strict=True)))
    k3 = slope(*(torch.add(y, k, alpha=dt / 2) for y, k in zip(start, k2, strict=True)))
    k4 = slope(*(torch.add(y, k, alpha=dt) for y, k in zip(start, k3, strict=True)))
    theta1, theta2, dtheta1, dtheta2 = (
        y + dt / 6 * (a + 2 * b + 2 * c + d) for y, a, b, c, d in zip(start, k1, k2, k3, k4, strict=True)
    )
    return torch.stack(
        (
            _wrapped(theta1),
            _wrapped(theta2),
            dtheta1.clamp(-max_vel_1, max_vel_1),
            dtheta2.clamp(-max_vel_2, max_vel_2),
        ),
        -1,
    )


def _wrapped(angle: torch.Tensor) -> torch.Tensor:
    return angle - 2 * math.pi * (angle / (2 * math.pi)).round()


class AcrobotEnv(NativeEnv):
    """Swings the tip of two links above a bar: Gymnasium's Acrobot, for any number of them and on any device.

    ============== =========================== ==========================================================
    entry          dtype and shape             content
    ============== =========================== ==========================================================
    observation    float32 ``[*batch, 6]``     cos and sin of the first angle, cos and sin of the second,
                                               both angular velocities (rad/s)
    action         int64 ``[*batch]``          0, 1, 2: a torque of -1, 0 or 1 N m on the elbow
    reward         float32 ``[*batch, 1]``     -1 for every step, 0 for the one that ends the episode
    terminated     bool ``[*batch, 1]``        the tip is higher than 1 m above the fixed end:
                                               -cos(theta1) - cos(theta1 + theta2) > 1
    ============== =========================== ==========================================================

    An episode starts with two angles and two velocities drawn uniformly from [-0.1, 0.1). The observation determines
    the state, and a step reads it from its input. There is no time limit: ``StepCounter(max_steps=500)`` makes it
    Acrobot-v1.

    Args:
        dt, link_length_1, link_mass_1, link_mass_2, link_com_pos_1, link_com_pos_2, link_moi, gravity, max_vel_1,
            max_vel_2, book_or_nips: see :func:`acrobot_dynamics`.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Raises:
        ValueError: unknown equations.

    Examples:
        >>> from tensordict import TensorDict
        >>> AcrobotEnv().rollout(10, tensordict=TensorDict({}, [64]))["observation"].shape
        torch.Size([64, 10, 6])
    """

    def __init__(
        self,
        dt: float = 0.2,
        link_length_1: float = 1.0,
        link_mass_1: float = 1.0,
        link_mass_2: float = 1.0,
        link_com_pos_1: float = 0.5,
        link_com_pos_2: float = 0.5,
        link_moi: float = 1.0,
        gravity: float = 9.8,
        max_vel_1: float = 4 * math.pi,
        max_vel_2: float = 9 * math.pi,
        book_or_nips: Literal["book", "nips"] = "book",
        *,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        if book_or_nips not in ("book", "nips"):
            raise ValueError(f"book_or_nips: expected 'book' or 'nips', found {book_or_nips!r}")
        self.physics: dict[str, Any] = {
            "dt": dt,
            "link_length_1": link_length_1,
            "link_mass_1": link_mass_1,
            "link_mass_2": link_mass_2,
            "link_com_pos_1": link_com_pos_1,
            "link_com_pos_2": link_com_pos_2,
            "link_moi": link_moi,
            "gravity": gravity,
            "max_vel_1": max_vel_1,
            "max_vel_2": max_vel_2,
            "book_or_nips": book_or_nips,
        }
        high = torch.tensor([1.0, 1.0, 1.0, 1.0, max_vel_1, max_vel_2])
        self.observation_spec_unbatched = Composite(observation=Bounded(-high, high, dtype=torch.float32))
        self.action_spec_unbatched = Categorical(3)
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        return unchecked({"observation": _observation(self._uniform((*size, 4), -0.1, 0.1))}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        cos1, sin1, cos2, sin2, dtheta1, dtheta2 = self._given(tensordict, "observation").unbind(-1)
        state = torch.stack((torch.atan2(sin1, cos1), torch.atan2(sin2, cos2), dtheta1, dtheta2), -1)
        torque = (self._given(tensordict, "action") - 1).to(state.dtype)
        state = acrobot_dynamics(state, torque, **self.physics)
        theta1, theta2 = state[..., 0:1], state[..., 1:2]
        terminated = -theta1.cos() - (theta1 + theta2).cos() > 1.0
        reward = terminated.to(state.dtype) - 1.0
        out = {"observation": _observation(state), "reward": reward, "terminated": terminated}
        return unchecked(out, tensordict.batch_size, self._device)


def _observation(state: torch.Tensor) -> torch.Tensor:
    theta1, theta2, dtheta1, dtheta2 = state.unbind(-1)
    return torch.stack((theta1.cos(), theta1.sin(), theta2.cos(), theta2.sin(), dtheta1, dtheta2), -1)
