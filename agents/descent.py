"""Gradient steps on the parameters of several modules as one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from agents.nn.flat import flat_parameter
from envkit import EnvkitError

__all__ = ["Descent", "NonFiniteUpdateError"]

ADAM_STATE = ("exp_avg", "exp_avg_sq", "step")


class NonFiniteUpdateError(EnvkitError, FloatingPointError):
    """A loss or gradient is not finite; the step was not made, and the parameters are as before.

    Attributes:
        rows: what the loss was computed of, if known.
    """

    rows: Any = None

    @classmethod
    def of(cls, loss: float, norm: float, rows: Any = None) -> NonFiniteUpdateError:
        """The error for a loss, and the norm of its gradient."""
        error = cls(f"loss {loss:g}, norm of the gradient {norm:g}: expected finite numbers; the step was not made")
        error.rows = rows
        return error


class Descent:
    """Adam on the parameters of modules, held in one flat tensor.

    A step whose gradient is not finite is not made: parameters and moments stay as they are.

    Args:
        parameters: the parameters; from now on views of :attr:`flat`.
        lr: learning rate.
        betas: decay of Adam's moments.
        eps: Adam's denominator is at least this.
        max_grad_norm: largest norm of the gradient; None for any.
        patience: how many steps in a row must fail for an error.

    Attributes:
        flat: all parameters, shape ``[n]``.
        lr: the learning rate, which may be set.
        skipped: how many steps were not made.

    Examples:
        >>> net = nn.Linear(1, 1)
        >>> descent = Descent(net.parameters(), lr=0.1)
        >>> before = descent.flat.detach().clone()
        >>> descent.step((net(torch.ones(1, 1)) ** 2).sum())
        >>> torch.equal(before, descent.flat)
        False
        >>> descent.step(net(torch.full((1, 1), torch.nan)).sum())
        Traceback (most recent call last):
        ...
        agents.descent.NonFiniteUpdateError: loss nan, norm of the gradient nan: expected finite numbers...
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        max_grad_norm: float | None = None,
        patience: int = 1,
    ) -> None:
        self._parameters = list(dict.fromkeys(parameters))
        self.flat = flat_parameter(self._parameters)
        self.max_grad_norm, self.patience, self.skipped = max_grad_norm, patience, 0
        self.lr, self._betas, self._eps = lr, betas, eps
        self._in_a_row = 0
        self._moments: dict[str, Tensor] = {}

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of ``loss``, of shape ``[]``, with respect to these parameters and no others.

        Raises:
            NonFiniteUpdateError: ``patience`` steps in a row had a gradient that is not finite.
        """
        gradient: Tensor = self.flat.grad  # type: ignore[assignment]
        gradient.zero_()
        loss.backward(inputs=[parameter for parameter in self._parameters if parameter.requires_grad])
        norm = torch.linalg.vector_norm(gradient).item()
        if not math.isfinite(norm):
            self._skip(loss, norm)
            return
        self._in_a_row = 0
        if self.max_grad_norm is not None and norm > self.max_grad_norm:
            gradient.mul_(self.max_grad_norm / norm)
        self._adam(gradient)

    @torch.no_grad()
    def _adam(self, gradient: Tensor) -> None:
        """A step of Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980)."""
        if not self._moments:
            zeros, step = torch.zeros_like(gradient), torch.zeros((), dtype=torch.float32, device=gradient.device)
            self._moments = dict(zip(ADAM_STATE, (zeros, zeros.clone(), step), strict=True))
        mean, square, step = (self._moments[name] for name in ADAM_STATE)
        # What an optimizer object adds, hooks and groups, costs as much as the step itself.
        adam(
            [self.flat],
            [gradient],
            [mean],
            [square],
            [],
            [step],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=self.lr,
            weight_decay=0.0,
            eps=self._eps,
            maximize=False,
        )

    def _skip(self, loss: Tensor, norm: float) -> None:
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= self.patience:
            raise NonFiniteUpdateError.of(loss.item(), norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments and the counts; the parameters are those of the modules."""
        return {**self._moments, "skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned.

        Raises:
            ValueError: something is missing, or it is the state for other parameters.
        """
        moments = {name: state[name] for name in ADAM_STATE if name in state}
        if moments and len(moments) < len(ADAM_STATE):
            raise ValueError(f"optimizer: expected {list(ADAM_STATE)}, found only {sorted(moments)}")
        for name in moments.keys() - {"step"}:
            if moments[name].shape != self.flat.shape:
                raise ValueError(
                    f"optimizer: expected {name!r} of shape {list(self.flat.shape)}, found {list(moments[name].shape)}"
                )
        self._moments = {name: value.detach().clone() for name, value in moments.items()}
        self.skipped, self._in_a_row = int(state["skipped"]), int(state["in_a_row"])
