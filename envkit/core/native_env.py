"""What the envs written in tensors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.seeding import spawn_seed
from envkit.errors import EnvDataError, PolicyError
from envkit.storage import peek

if TYPE_CHECKING:
    from typing import Self

__all__ = ["NativeEnv"]


class NativeEnv(EnvBase):
    """Base of envs whose steps are functions of the tensors they are given, for any number of elements at once.

    They keep no state but a random stream: what a step reads stands in the TensorDict. Without a batch size of their
    own they go by that of their input.

    Args:
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own, which its inputs then must have.
    """

    batch_locked = False

    def __init__(
        self, device: torch.device | str | int | None = None, batch_size: Sequence[int] | torch.Size | None = None
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        self._random: torch.Generator | None = None

    def _set_seed(self, seed: int | None) -> None:
        """Gives the env a random stream of its own; None gives it back to torch's global one."""
        stream = None if seed is None else torch.Generator(self._device or "cpu")
        self._random = None if stream is None else stream.manual_seed(spawn_seed(seed, "resets"))  # type: ignore[arg-type]

    def to(self, device: torch.device | str | int) -> Self:  # type: ignore[override]
        """See :meth:`~envkit.EnvBase.to`; the random stream starts anew on the other device, from the same seed."""
        super().to(device)
        if self._random is not None:
            self._random = torch.Generator(self._device).manual_seed(self._random.initial_seed())
        return self

    def _size(self, tensordict: TensorDictBase | None) -> torch.Size:
        """How much a reset produces."""
        return self._batch_size if tensordict is None else tensordict.batch_size

    def _given(self, tensordict: TensorDictBase, key: NestedKey) -> torch.Tensor:
        """The entry of a step's input at ``key``.

        Raises:
            PolicyError: an action is missing.
            EnvDataError: an observation or a state is.
        """
        value = peek(tensordict, key)
        if value is None:
            error = PolicyError if key in self.plan.action_keys else EnvDataError
            found = sorted(map(str, tensordict.keys(True, True)))
            raise error(f"{key!r} is missing from the input of {type(self).__name__}.step: found only {found}")
        return value

    def _uniform(self, size: Sequence[int], low: float, high: float) -> torch.Tensor:
        """Draws float32 numbers in ``[low, high)`` from the env's own stream."""
        draw = torch.rand(size, generator=self._random, device=self._device, dtype=torch.float32)
        return draw.mul_(high - low).add_(low)
