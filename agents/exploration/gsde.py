"""Noise that depends on the state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from envkit import ExplorationType, exploration_type

__all__ = ["gSDEModule"]


class gSDEModule(nn.Module):  # noqa: N801 - the field's name
    """Generalised state-dependent exploration: ``action = mu + (sigma * eps) @ state``.

    ``eps`` is standard normal and the same for a whole episode, so that equal states get equal noise (Raffin, Kober
    and Stulp 2021, https://arxiv.org/abs/2005.05719). :class:`~envkit.gSDENoise` draws it at each reset; without it,
    new noise is drawn at each call. Given the state, the action is distributed as ``Normal(mu, scale)`` with
    ``scale = sqrt(sigma^2 @ state^2)``, which is what a loss takes.

    Args:
        action_dim: size of the action.
        state_dim: size of the features that the noise depends on.
        sigma_init: value of ``sigma`` at first; by default ``1 / sqrt(state_dim)``, for a ``scale`` about 1.
        scale_min: lower bound of ``scale``.
        scale_max: upper bound of ``scale``.
        learn_sigma: whether ``sigma`` is learnt.

    Raises:
        ValueError: if a size or ``sigma_init`` is not positive.

    Example:
        >>> import torch
        >>> from agents import TensorDictModule
        >>> gsde = gSDEModule(action_dim=2, state_dim=3)
        >>> module = TensorDictModule(gsde, ["mu", "features", "_eps_gSDE"], ["loc", "scale", "action"])
        >>> loc, scale, action = gsde(torch.zeros(5, 2), torch.randn(5, 3), torch.randn(5, 2, 3))
        >>> loc.shape, scale.shape, torch.equal(action, loc)
        (torch.Size([5, 2]), torch.Size([5, 2]), True)
    """

    log_sigma: Tensor

    def __init__(
        self,
        action_dim: int,
        state_dim: int,
        sigma_init: float | None = None,
        scale_min: float = 0.01,
        scale_max: float = 10.0,
        learn_sigma: bool = True,
    ) -> None:
        super().__init__()
        for name, size in (("action_dim", action_dim), ("state_dim", state_dim)):
            if size < 1:
                raise ValueError(f"gSDEModule: {name}: expected at least 1, found {size}")
        if sigma_init is None:
            sigma_init = 1.0 / math.sqrt(state_dim)
        if sigma_init <= 0.0:
            raise ValueError(f"gSDEModule: sigma_init: expected a positive number, found {sigma_init}")
        self.scale_min, self.scale_max = scale_min, scale_max
        log_sigma = torch.full((action_dim, state_dim), math.log(sigma_init))
        if learn_sigma:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def forward(self, mu: Tensor, state: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``mu``, the scale, both ``[*batch, action_dim]``, and the action.

        Args:
            mu: the action without noise, ``[*batch, action_dim]``.
            state: features, ``[*batch, state_dim]``.
            eps: noise, ``[*batch, action_dim, state_dim]``; drawn anew if left out.

        The action is ``mu`` unless the exploration type is ``RANDOM``.
        """
        sigma = self.log_sigma.exp()
        scale = nn.functional.linear(state.square(), sigma.square()).sqrt().clamp(self.scale_min, self.scale_max)
        if exploration_type() is not ExplorationType.RANDOM:
            return mu, scale, mu
        if eps is None:
            eps = torch.randn((*state.shape[:-1], *sigma.shape), dtype=state.dtype, device=state.device)
        return mu, scale, mu + ((sigma * eps) @ state.unsqueeze(-1)).squeeze(-1)
