"""How discrete actions are written, and which of them has the highest value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor
from torch.nn import functional

from envkit.specs import Categorical, Composite, MultiCategorical, MultiOneHot, OneHot

__all__ = ["ActionSpace", "action_space_of"]

KINDS = {
    "categorical": (False, False),
    "one_hot": (False, True),
    "mult_categorical": (True, False),
    "mult_one_hot": (True, True),
}


@dataclass(frozen=True)
class ActionSpace:
    """Discrete actions: indices or one-hot vectors, of one variable or of several with ``var_nums`` options each.

    Example:
        >>> import torch
        >>> ActionSpace(one_hot=True).greedy(torch.tensor([[1.0, 3.0, 2.0]]))
        (tensor([[False,  True, False]]), tensor([[1]]))
        >>> ActionSpace(var_nums=(2, 3)).greedy(torch.tensor([[1.0, 0.0, 5.0, 6.0, 7.0]]))
        (tensor([[0, 2]]), tensor([[0, 4]]))
    """

    one_hot: bool = False
    var_nums: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None

    def greedy(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The best actions for ``values`` ``[*batch, n]``, and where in the last dimension their values stand.

        Returns:
            Actions, and int64 places ``[*batch, variables]``. With several variables the values of all stand one
            after the other.

        Raises:
            ValueError: if the number of values is not that of the options.
        """
        if self.var_nums is None:
            place = values.argmax(-1, keepdim=True)
            action = functional.one_hot(place.squeeze(-1), values.shape[-1]) if self.one_hot else place.squeeze(-1)
            return self._typed(action), place
        if values.shape[-1] != sum(self.var_nums):
            raise ValueError(
                f"var_nums: expected {sum(self.var_nums)} values for {list(self.var_nums)}, found {values.shape[-1]}"
            )
        best = [part.argmax(-1) for part in values.split(self.var_nums, -1)]
        starts = torch.tensor([0, *self.var_nums[:-1]], device=values.device).cumsum(0)
        index = torch.stack(best, -1)
        if not self.one_hot:
            return self._typed(index), index + starts
        vectors = [functional.one_hot(one, n) for one, n in zip(best, self.var_nums, strict=True)]
        return self._typed(torch.cat(vectors, -1)), index + starts

    def _typed(self, action: Tensor) -> Tensor:
        dtype = torch.bool if self.dtype is None and self.one_hot else self.dtype
        return action if dtype is None else action.to(dtype)


def action_space_of(
    spec: Any = None,
    action_space: str | None = None,
    var_nums: Sequence[int] | None = None,
    action_key: NestedKey = "action",
) -> ActionSpace:
    """The action space that a spec describes, or a name: "categorical", "one_hot", "mult_categorical", "mult_one_hot".

    Args:
        spec: spec of the action, or a Composite that holds it at ``action_key``.
        action_space: the name, where there is no spec; hyphens are as good as underscores.
        var_nums: number of options of each variable, for the last two.
        action_key: the action.

    Raises:
        ValueError: if there is neither or both, or the name is unknown, or ``var_nums`` does not go with it.
        TypeError: if the spec is not one of discrete actions.

    Example:
        >>> from envkit import OneHot
        >>> action_space_of(OneHot(4)) == ActionSpace(one_hot=True, dtype=torch.bool)
        True
        >>> action_space_of(action_space="mult-categorical", var_nums=[2, 3]).var_nums
        (2, 3)
    """
    if (spec is None) == (action_space is None):
        raise ValueError("expected exactly one of spec and action_space")
    if action_space is not None:
        return _named(action_space, var_nums)
    leaf = spec.get(action_key, None) if isinstance(spec, Composite) else spec
    if isinstance(leaf, MultiCategorical | MultiOneHot):
        # In a batch of envs each row has its own, equal, numbers.
        counts = leaf.nvec.reshape(-1, leaf.nvec.shape[-1])[0]
        return ActionSpace(isinstance(leaf, MultiOneHot), tuple(counts.tolist()), leaf.dtype)
    if isinstance(leaf, Categorical | OneHot):
        return ActionSpace(isinstance(leaf, OneHot), None, leaf.dtype)
    raise TypeError(f"spec: expected one of discrete actions at key {action_key!r}, found {leaf}")


def _named(name: str, var_nums: Sequence[int] | None) -> ActionSpace:
    kind = KINDS.get(name.lower().replace("-", "_"))
    if kind is None:
        raise ValueError(f"action_space: expected one of {sorted(KINDS)}, found {name!r}")
    several, one_hot = kind
    if several != (var_nums is not None):
        raise ValueError(f"var_nums: expected {'numbers' if several else 'none'} with {name!r}, found {var_nums}")
    return ActionSpace(one_hot, None if var_nums is None else tuple(var_nums))
