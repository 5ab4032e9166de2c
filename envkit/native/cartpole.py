"""A pole on a cart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from tensordict import TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.storage import unchecked

__all__ = ["CartPoleEnv", "cartpole_dynamics", "cartpole_fallen"]


def cartpole_dynamics(
    state: torch.Tensor,
    action: torch.Tensor,
    *,
    gravity: float = 9.8,
    masscart: float = 1.0,
    masspole: float = 0.1,
    length: float = 0.5,
    force_mag: float = 10.0,
    tau: float = 0.02,
    kinematics_integrator: str = "euler",
) -> torch.Tensor:
    """The state of a cart and its pole ``tau`` seconds later.

    The equations of motion are those of Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve
    difficult learning control problems" (1983), without friction, as corrected by Florian (2007) and used by
    Gymnasium.

    Args:
        state: float, shape ``[*batch, 4]``: position (m), velocity (m/s), angle from upright (rad), angular velocity
            (rad/s).
        action: integers, shape ``[*batch]``: 0 pushes to the left, 1 to the right.
        gravity: m/s^2.
        masscart, masspole: kg.
        length: half the pole's length (m).
        force_mag: force of a push (N).
        tau: s.
        kinematics_integrator: ``"euler"``, or ``"semi-implicit euler"``, which moves by the new velocities.

    Returns:
        The next state, of the same shape and dtype.

    Examples:
        >>> cartpole_dynamics(torch.zeros(4), torch.tensor(1))
        tensor([ 0.0000,  0.1951,  0.0000, -0.2927])
    """
    x, x_dot, theta, theta_dot = state.unbind(-1)
    total = masscart + masspole
    sin, cos = theta.sin(), theta.cos()
    pole = masspole * length / total
    force = action.to(state.dtype).mul(2 * force_mag / total).sub(force_mag / total)
    # `alpha` and `value` multiply in the same pass.
    push = torch.addcmul(force, theta_dot.square(), sin, value=pole)
    theta_acc = (gravity * sin - cos * push) / (length * 4 / 3 - pole * cos.square())
    x_acc = torch.addcmul(push, theta_acc, cos, value=-pole)
    x_dot_next = torch.add(x_dot, x_acc, alpha=tau)
    theta_dot_next = torch.add(theta_dot, theta_acc, alpha=tau)
    explicit = kinematics_integrator == "euler"
    x = torch.add(x, x_dot if explicit else x_dot_next, alpha=tau)
    theta = torch.add(theta, theta_dot if explicit else theta_dot_next, alpha=tau)
    return torch.stack((x, x_dot_next, theta, theta_dot_next), -1)


def cartpole_fallen(
    state: torch.Tensor, x_threshold: float = 2.4, theta_threshold: float = 12 * 2 * math.pi / 360
) -> torch.Tensor:
    """Whether the cart has left the track, or the pole leans too far.

    Args:
        state: float, shape ``[*batch, 4]``.
        x_threshold: m.
        theta_threshold: rad.

    Returns:
        bool, shape ``[*batch, 1]``.

    Examples:
        >>> cartpole_fallen(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0]]))
        tensor([[False],
                [ True]])
    """
    return (state[..., 0:1].abs() > x_threshold) | (state[..., 2:3].abs() > theta_threshold)


class CartPoleEnv(NativeEnv):
    """Balances a pole on a cart: Gymnasium's CartPole, for any number of carts at once and on any device.

    ============== =========================== ==========================================================
    entry          dtype and shape             content
    ============== =========================== ==========================================================
    observation    float32 ``[*batch, 4]``     position (m), velocity, angle (rad), angular velocity
    action         int64 ``[*batch]``          0 pushes to the left, 1 to the right
    reward         float32 ``[*batch, 1]``     1 for every step, the last one too
    terminated     bool ``[*batch, 1]``        position beyond ``x_threshold`` or angle beyond
                                               ``theta_threshold``
    ============== =========================== ==========================================================

    An episode starts with four numbers drawn uniformly from [-0.05, 0.05). The observation is the whole state, and a
    step reads it from its input. There is no time limit: ``StepCounter(max_steps=500)`` makes it CartPole-v1.

    Args:
        gravity, masscart, masspole, length, force_mag, tau, kinematics_integrator: see :func:`cartpole_dynamics`.
        x_threshold: m.
        theta_threshold: rad; 12 degrees by default.
        sutton_barto_reward: 0 for every step and -1 for the one that ends the episode.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Raises:
        ValueError: an unknown integrator.

    Examples:
        >>> from tensordict import TensorDict
        >>> env = CartPoleEnv()
        >>> _ = env.set_seed(0)
        >>> data = env.rollout(100, break_when_any_done=False, tensordict=TensorDict({}, [64]))
        >>> data.batch_size, data["observation"].shape
        (torch.Size([64, 100]), torch.Size([64, 100, 4]))
    """

    def __init__(
        self,
        gravity: float = 9.8,
        masscart: float = 1.0,
        masspole: float = 0.1,
        length: float = 0.5,
        force_mag: float = 10.0,
        tau: float = 0.02,
        kinematics_integrator: Literal["euler", "semi-implicit euler"] = "euler",
        x_threshold: float = 2.4,
        theta_threshold: float = 12 * 2 * math.pi / 360,
        *,
        sutton_barto_reward: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        if kinematics_integrator not in ("euler", "semi-implicit euler"):
            raise ValueError(
                f"kinematics_integrator: expected 'euler' or 'semi-implicit euler', found {kinematics_integrator!r}"
            )
        self.physics: dict[str, Any] = {
            "gravity": gravity,
            "masscart": masscart,
            "masspole": masspole,
            "length": length,
            "force_mag": force_mag,
            "tau": tau,
            "kinematics_integrator": kinematics_integrator,
        }
        self.x_threshold, self.theta_threshold = x_threshold, theta_threshold
        self.sutton_barto_reward = sutton_barto_reward
        # Twice the thresholds, as in Gymnasium: the last observation lies beyond them.
        high = torch.tensor([2 * x_threshold, math.inf, 2 * theta_threshold, math.inf])
        self.observation_spec_unbatched = Composite(observation=Bounded(-high, high, dtype=torch.float32))
        self.action_spec_unbatched = Categorical(2)
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        return unchecked({"observation": self._uniform((*size, 4), -0.05, 0.05)}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        state, action = self._given(tensordict, "observation"), self._given(tensordict, "action")
        state = cartpole_dynamics(state, action, **self.physics)
        terminated = cartpole_fallen(state, self.x_threshold, self.theta_threshold)
        if self.sutton_barto_reward:
            reward = -terminated.to(state.dtype)
        else:
            reward = torch.ones(terminated.shape, dtype=state.dtype, device=state.device)
        return unchecked(
            {"observation": state, "reward": reward, "terminated": terminated}, tensordict.batch_size, self._device
        )
