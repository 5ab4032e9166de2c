"""What envs of a batch last showed, for a step that is never made to repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tensordict import NestedKey

from envkit.core.masks import Masks, blend, mask_of
from envkit.core.plan import Plan

__all__ = ["LastSeen"]


class LastSeen:
    """Observations of envs, by their numbers.

    The row that a step starts from is no place to look for them: transforms may show others there under the same names.

    Args:
        count: number of envs.
    """

    def __init__(self, count: int) -> None:
        self._known = torch.zeros(count, dtype=torch.bool)
        self._values: dict[NestedKey, torch.Tensor] = {}

    def keep(
        self, envs: Sequence[int], plan: Plan, shown: Callable[[NestedKey], torch.Tensor], masks: Masks | None = None
    ) -> None:
        """Keeps what ``envs`` show at a key, a row for each, inside ``masks``."""
        numbers = torch.as_tensor(envs)
        for key in plan.observation_keys:
            new = shown(key)
            if key not in self._values:
                self._values[key] = torch.zeros((len(self._known), *new.shape[1:]), dtype=new.dtype)
            kept = self._values[key]
            kept[numbers] = new if masks is None else blend(mask_of(key, plan, masks), new, kept[numbers])
        self._known[numbers] = True

    def repeat(self, env: int, key: NestedKey, otherwise: torch.Tensor) -> torch.Tensor:
        """What an env last showed at a key; ``otherwise`` if that is not known."""
        return self._values[key][env] if self._known[env] else otherwise

    def forget(self, envs: Sequence[int]) -> None:
        """Forgets ``envs``, which stand elsewhere now."""
        self._known[list(envs)] = False
