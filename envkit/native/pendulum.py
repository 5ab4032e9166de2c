"""A pendulum that swings up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.specs import Bounded, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["PendulumEnv", "pendulum_dynamics"]

Value = float | torch.Tensor
PARAMS = ("g", "m", "l", "dt", "max_speed", "max_torque")


def pendulum_dynamics(
    th: torch.Tensor,
    thdot: torch.Tensor,
    torque: torch.Tensor,
    *,
    g: Value = 10.0,
    m: Value = 1.0,
    l: Value = 1.0,  # noqa: E741 - the name it has everywhere
    dt: Value = 0.05,
    max_speed: Value = 8.0,
    max_torque: Value = 2.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Angle and angular velocity of a pendulum ``dt`` seconds later, and the reward of the step.

    A uniform rod about its end, by a semi-implicit Euler step, as in Gymnasium's Pendulum-v1::

        reward = -(normalised(th)^2 + 0.1 thdot^2 + 0.001 torque^2)
        thdot' = clamp(thdot + (3 g / (2 l) sin(th) + 3 / (m l^2) torque) dt, max_speed)
        th'    = th + thdot' dt

    Args:
        th: angle from upright (rad), float, shape ``[*batch]``; any number of turns.
        thdot: angular velocity (rad/s), float, shape ``[*batch]``.
        torque: N m, float, shape ``[*batch]``; clamped to ``max_torque``.
        g: m/s^2. Every parameter is a number, or a tensor that broadcasts to ``[*batch]``.
        m: kg.
        l: m.
        dt: s.
        max_speed: rad/s.
        max_torque: N m.

    Returns:
        The next angle, the next angular velocity and the reward, each of shape ``[*batch]``.

    Examples:
        >>> th, thdot, reward = pendulum_dynamics(torch.tensor(math.pi), torch.zeros(()), torch.tensor(5.0))
        >>> round(th.item() - math.pi, 4), round(thdot.item(), 4), round(reward.item(), 4)
        (0.015, 0.3, -9.8736)
    """
    torque = torch.clamp(torque, -max_torque, max_torque)  # type: ignore[arg-type]
    normalised = torch.remainder(th + math.pi, 2 * math.pi) - math.pi
    reward = -(normalised.square() + 0.1 * thdot.square() + 0.001 * torque.square())
    thdot = thdot + (1.5 * g / l * dt) * th.sin() + (3.0 / (m * l**2) * dt) * torque
    thdot = torch.clamp(thdot, -max_speed, max_speed)  # type: ignore[arg-type]
    return th + thdot * dt, thdot, reward


class PendulumEnv(NativeEnv):
    """Swings up a pendulum: Gymnasium's Pendulum, for any number of pendulums at once and on any device.

    Each element of the batch may have physical parameters of its own: they stand in the TensorDict, and a reset keeps
    those that it finds there. Where it finds none, they are the constructor's.

    ============================ ============================ ===================================================
    entry                        dtype and shape              content
    ============================ ============================ ===================================================
    th                           float32 ``[*batch]``         angle from upright (rad), any number of turns
    thdot                        float32 ``[*batch]``         angular velocity (rad/s)
    action                       float32 ``[*batch, 1]``      torque (N m), clamped to ``max_torque``
    reward                       float32 ``[*batch, 1]``      minus the cost of :func:`pendulum_dynamics`
    params: g, m, l, dt,         float32 ``[*batch]``         physical parameters: states, which stand at the root
    max_speed, max_torque                                     of the data and not under ``"next"``
    terminated                   bool ``[*batch, 1]``         never
    ============================ ============================ ===================================================

    With ``cos_sin=True`` the data is Gymnasium's instead: ``observation``, float32 ``[*batch, 3]``, holds cos(th),
    sin(th) and thdot, from which a step reads its state; there are no ``th``, ``thdot`` and ``params``, the parameters
    are the constructor's, and a step costs half as much.

    An episode starts with an angle drawn uniformly from [-pi, pi) and a velocity from [-1, 1). There is no time limit:
    ``StepCounter(max_steps=200)`` makes it Pendulum-v1.

    Args:
        g, m, l, dt, max_speed, max_torque: see :func:`pendulum_dynamics`.
        cos_sin: show Gymnasium's observation.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Examples:
        >>> env = PendulumEnv()
        >>> _ = env.set_seed(0)
        >>> start = env.reset(env.gen_params(batch_size=[3], m=torch.tensor([0.5, 1.0, 2.0])))
        >>> data = env.rollout(10, tensordict=start, auto_reset=False)
        >>> data["params", "m"][:, 0], data["th"].shape
        (tensor([0.5000, 1.0000, 2.0000]), torch.Size([3, 10]))
        >>> PendulumEnv(cos_sin=True).rollout(10)["observation"].shape
        torch.Size([10, 3])
    """

    def __init__(
        self,
        g: float = 10.0,
        m: float = 1.0,
        l: float = 1.0,  # noqa: E741 - the name it has everywhere
        dt: float = 0.05,
        max_speed: float = 8.0,
        max_torque: float = 2.0,
        *,
        cos_sin: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        self.physics: dict[str, Any] = {
            "g": g,
            "m": m,
            "l": l,
            "dt": dt,
            "max_speed": max_speed,
            "max_torque": max_torque,
        }
        self.cos_sin = cos_sin
        number = Unbounded((), dtype=torch.float32)
        if cos_sin:
            high = torch.tensor([1.0, 1.0, max_speed])
            self.observation_spec_unbatched = Composite(observation=Bounded(-high, high, dtype=torch.float32))
        else:
            # The speeds of a pendulum with parameters of its own may be higher than the constructor's.
            self.observation_spec_unbatched = Composite(th=number, thdot=number.clone())
            self.state_spec_unbatched = Composite(params=Composite({name: number.clone() for name in PARAMS}))
        self.action_spec_unbatched = Bounded(-max_torque, max_torque, (1,), dtype=torch.float32)
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def gen_params(self, batch_size: Sequence[int] | None = None, **params: Any) -> TensorDictBase:
        """Physical parameters for a reset to start from.

        Args:
            batch_size: their number; the env's batch size by default.
            **params: values other than the constructor's, by name: numbers, or tensors that broadcast to
                ``batch_size``.

        Returns:
            A TensorDict of that batch size with float32 tensors of that shape under ``"params"``.

        Raises:
            TypeError: there is no such parameter.

        Examples:
            >>> PendulumEnv().gen_params([2], g=9.81)["params", "g"]
            tensor([9.8100, 9.8100])
        """
        unknown = sorted(set(params) - set(PARAMS))
        if unknown:
            raise TypeError(f"gen_params: unknown parameters {unknown}; expected some of {list(PARAMS)}")
        size = self._batch_size if batch_size is None else torch.Size(batch_size)
        values = {
            name: torch.as_tensor(value, dtype=torch.float32, device=self._device).expand(size).clone()
            for name, value in {**self.physics, **params}.items()
        }
        return TensorDict({"params": TensorDict(values, size, device=self._device)}, size, device=self._device)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        th, thdot = self._uniform(size, -math.pi, math.pi), self._uniform(size, -1.0, 1.0)
        if self.cos_sin:
            return unchecked({"observation": _cos_sin(th, thdot)}, size, self._device)
        params = None if tensordict is None else tensordict.get("params", None)
        if params is None:
            params = self.gen_params(size).get("params")
        return unchecked({"th": th, "thdot": thdot, "params": params.copy()}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        if self.cos_sin:
            cos, sin, thdot = self._given(tensordict, "observation").unbind(-1)
            th, params = torch.atan2(sin, cos), self.physics
        else:
            th, thdot = self._given(tensordict, "th"), self._given(tensordict, "thdot")
            params = {name: self._given(tensordict, ("params", name)) for name in PARAMS}
        th, thdot, reward = pendulum_dynamics(th, thdot, self._given(tensordict, "action").squeeze(-1), **params)
        seen = {"observation": _cos_sin(th, thdot)} if self.cos_sin else {"th": th, "thdot": thdot}
        reward = reward.unsqueeze(-1)
        never = torch.zeros(reward.shape, dtype=torch.bool, device=reward.device)
        return unchecked({**seen, "reward": reward, "terminated": never}, tensordict.batch_size, self._device)


def _cos_sin(th: torch.Tensor, thdot: torch.Tensor) -> torch.Tensor:
    return torch.stack((th.cos(), th.sin(), thdot), -1)
