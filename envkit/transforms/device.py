"""Where data lives."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.specs import Composite
from envkit.transforms.base import Transform

__all__ = ["DeviceCastTransform", "PinMemoryTransform"]


class DeviceCastTransform(Transform):
    """Shows everything on one device, and hands everything back to the env on its own.

    Args:
        device: the device outside.
        orig_device: the device inside; by default that of the env.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), DeviceCastTransform("cpu"))
        >>> env.device
        device(type='cpu')
    """

    sees_masks = True

    def __init__(self, device: torch.device | str | int, orig_device: torch.device | str | int | None = None) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.orig_device = None if orig_device is None else torch.device(orig_device)

    @property
    def keeps_state(self) -> bool:
        """See :attr:`Transform.keeps_state`; True."""
        return True

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.to(self.device)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict if self.orig_device is None else tensordict.to(self.orig_device)

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        return None if tensordict is None else self._inv_call(tensordict)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Everything on the device, in another TensorDict if it was not there."""
        return self._call(tensordict)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Moves the specs."""
        if self.orig_device is None:
            leaves: Any = (leaf for spec in specs.values() for leaf in spec.values(True, True))
            self.orig_device = next(leaves).device
        return {role: spec.to(self.device) for role, spec in specs.items()}

    def transform_env_device(self, device: torch.device | None) -> torch.device | None:
        """The device outside."""
        return self.device

    def extra_repr(self) -> str:
        """The devices."""
        return f"device={self.device}, orig_device={self.orig_device}"


class PinMemoryTransform(Transform):
    """Puts what is read from a replay buffer into page-locked memory, from which copies to a GPU need not wait.

    Raises:
        RuntimeError: there is no GPU (when it is used).

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> TransformedEnv(GymEnv("CartPole-v1"), PinMemoryTransform())
        Traceback (most recent call last):
        ...
        envkit.errors.SpecError: PinMemoryTransform belongs on a replay buffer: an env writes rows in place
    """

    data_only = "PinMemoryTransform belongs on a replay buffer: an env writes rows in place"

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """A copy in page-locked memory."""
        if not torch.cuda.is_available():
            raise RuntimeError("PinMemoryTransform: expected a GPU to copy to, found none")
        return tensordict.pin_memory()
