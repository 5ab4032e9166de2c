"""What there is to know of an env without having it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.specs import Composite

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["EnvMetaData"]


@dataclass(frozen=True)
class EnvMetaData:
    """A description of an env that can be sent to another process.

    Examples:
        >>> from envkit import GymEnv
        >>> data = EnvMetaData.from_env(GymEnv("CartPole-v1"))
        >>> data.batch_size, data.expand(3).tensordict["observation"].shape
        (torch.Size([]), torch.Size([3, 4]))
    """

    tensordict: TensorDictBase
    """A TensorDict of zeros with the layout of one step."""
    specs: Composite
    """``input_spec`` and ``output_spec``."""
    batch_size: torch.Size
    env_str: str
    """The env's repr."""
    device: torch.device | None
    batch_locked: bool
    has_dynamic_specs: bool

    @classmethod
    def from_env(cls, env: EnvBase) -> EnvMetaData:
        """The description of ``env``."""
        return cls(
            tensordict=env.fake_tensordict(),
            specs=env.specs.clone(),
            batch_size=env.batch_size,
            env_str=repr(env),
            device=env.device,
            batch_locked=env.batch_locked,
            has_dynamic_specs=env.has_dynamic_specs,
        )

    def expand(self, *size: int) -> EnvMetaData:
        """The description of a batch of such envs, with ``size`` in front of the batch size."""
        return self._with(
            self.tensordict.expand(*size, *self.batch_size).clone(),
            self.specs.expand(*size, *self.batch_size),
        )

    def to(self, device: torch.device | str | int) -> EnvMetaData:
        """The description of the same env on another device."""
        moved = self._with(self.tensordict.to(device), self.specs.to(device))
        return replace(moved, device=torch.device(device))

    def clone(self) -> EnvMetaData:
        """A copy that shares no tensor with this one."""
        return self._with(self.tensordict.clone(), self.specs.clone())

    def __getitem__(self, index: Any) -> EnvMetaData:
        return self._with(self.tensordict[index].clone(), self.specs[index])

    def _with(self, tensordict: TensorDictBase, specs: Composite) -> EnvMetaData:
        return replace(self, tensordict=tensordict, specs=specs, batch_size=tensordict.batch_size)
