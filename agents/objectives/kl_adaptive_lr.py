"""A learning rate that keeps a policy near the one that acted."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

__all__ = ["KLAdaptiveLR"]


class KLAdaptiveLR:
    """Moves the learning rates of an optimizer so that the policy's divergence per update stays near ``target_kl``.

    Rudin et al. 2021 (https://arxiv.org/abs/2109.11978, appendix): divided by ``factor`` where the divergence is more
    than twice the target, and multiplied where it is less than half of it. The rates are the optimizer's own, whose
    ``state_dict`` has them.

    Args:
        optimizer: the optimizer of the policy.
        target_kl: wanted divergence, in nats.
        factor: factor, above 1.
        min_lr: lower bound of the rates.
        max_lr: upper bound.

    Raises:
        ValueError: if ``factor`` is not above 1, ``target_kl`` is not positive, or ``min_lr`` is above ``max_lr``.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.003)
        >>> scheduler = KLAdaptiveLR(optimizer, target_kl=0.01)
        >>> scheduler.step(0.05)
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.002
    """

    def __init__(
        self,
        optimizer: Optimizer,
        target_kl: float = 0.01,
        *,
        factor: float = 1.5,
        min_lr: float = 1e-5,
        max_lr: float = 1e-2,
    ) -> None:
        if factor <= 1.0 or target_kl <= 0.0 or min_lr > max_lr:
            raise ValueError(
                "KLAdaptiveLR: expected factor above 1, target_kl above 0 and min_lr at most max_lr, "
                f"found {factor}, {target_kl}, {min_lr} and {max_lr}"
            )
        self.optimizer = optimizer
        self.target_kl, self.factor = target_kl, factor
        self.min_lr, self.max_lr = min_lr, max_lr

    def step(self, kl: float | Tensor) -> None:
        """Move the learning rates, given the divergence of the last update, such as ``kl_approx`` of a loss."""
        kl = float(kl)
        if kl > 2.0 * self.target_kl:
            scale = 1.0 / self.factor
        elif kl < 0.5 * self.target_kl:
            scale = self.factor
        else:
            return
        for group in self.optimizer.param_groups:
            group["lr"] = min(self.max_lr, max(self.min_lr, group["lr"] * scale))
