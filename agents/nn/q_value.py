"""Policies that take the action of the highest value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential, dispatch
from torch import Tensor

from agents.nn.action_space import action_space_of
from envkit.core.inlined import Entries

__all__ = ["QValueActor", "QValueModule", "value_network"]


class QValueModule(TensorDictModuleBase):
    """Writes the action of the highest value, all values, and the value of that action.

    With several variables, the value of an action is the sum over variables.

    Args:
        action_space: how actions are written, see :func:`~agents.action_space_of`; not with ``spec``.
        action_value_key: the values to read, ``[*batch, n]``.
        action_mask_key: boolean entry that says which actions are allowed, of that shape.
        out_keys: where action, values and chosen value (``[*batch, 1]``) go: by default ``"action"``,
            ``"action_value"`` and ``"chosen_action_value"``.
        var_nums: number of options of each variable, for the action spaces of several.
        spec: spec of the action.
        safe: whether the action is projected into ``spec``.

    Raises:
        ValueError: if there is not exactly one of ``spec`` and ``action_space``, or there are not three out keys.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> td = TensorDict({"action_value": torch.tensor([[1.0, 3.0, 2.0]])}, [1])
        >>> td = QValueModule("categorical")(td)
        >>> td["action"], td["chosen_action_value"]
        (tensor([1]), tensor([[3.]]))
    """

    def __init__(
        self,
        action_space: str | None = None,
        action_value_key: NestedKey = "action_value",
        action_mask_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        var_nums: Sequence[int] | None = None,
        spec: Any = None,
        safe: bool = False,
    ) -> None:
        super().__init__()
        keys = ["action", action_value_key, "chosen_action_value"] if out_keys is None else list(out_keys)
        if len(keys) != 3:
            raise ValueError(f"{type(self).__name__}: expected keys of action, values, chosen value, found {keys}")
        if safe and spec is None:
            raise ValueError(f"{type(self).__name__}: safe=True projects actions into a spec, found spec=None")
        self.action_space = action_space_of(spec, action_space, var_nums, keys[0])
        self.action_value_key = unravel_key(action_value_key)
        self.action_mask_key = None if action_mask_key is None else unravel_key(action_mask_key)
        self.spec, self.safe = spec, safe
        self.in_keys = [key for key in (self.action_value_key, self.action_mask_key) if key is not None]
        self.out_keys = [unravel_key(key) for key in keys]

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write action, values and chosen value into ``tensordict`` and return it.

        Raises:
            KeyError: if the values or the mask are missing.
            ValueError: if the mask has another shape than the values.
        """
        values = tensordict.get(self.action_value_key)
        mask = None if self.action_mask_key is None else tensordict.get(self.action_mask_key)
        action_key, value_key, chosen_key = self.out_keys
        action, chosen = self._choose(values, mask)
        tensordict.set(action_key, action)
        if value_key != self.action_value_key:
            tensordict.set(value_key, values)
        return tensordict.set(chosen_key, chosen)

    def on_entries(self, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
        """The same on a dict of entries; see ``on_entries`` in ``envkit/core/inlined.py``."""
        if not set(given).issuperset(self.in_keys):
            return None
        action_key, value_key, chosen_key = self.out_keys

        def run(entries: Entries) -> None:
            values = entries[self.action_value_key]
            mask = None if self.action_mask_key is None else entries[self.action_mask_key]
            entries[action_key], entries[chosen_key] = self._choose(values, mask)
            entries[value_key] = values

        return run

    def _choose(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The best action, and its value."""
        action, place = self._best(values, mask)
        chosen = values.gather(-1, place)
        return action, chosen if chosen.shape[-1] == 1 else chosen.sum(-1, keepdim=True)

    def _best(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The allowed action of the highest value, and where that value stands."""
        if mask is not None:
            if mask.shape != values.shape:
                raise ValueError(
                    f"{self.action_mask_key!r}: expected a mask of shape {list(values.shape)}, found {list(mask.shape)}"
                )
            values = values.masked_fill(~mask, -torch.inf)
        action, place = self.action_space.greedy(values)
        return (self.spec.project(action) if self.safe else action), place


class QValueActor(TensorDictSequential):
    """A network that writes ``"action_value"``, followed by a :class:`QValueModule`.

    Args:
        module: callable from the entries at ``in_keys`` to values ``[*batch, n]``, or a TensorDict module that writes
            ``action_value_key``.
        in_keys: entries to read, ``["observation"]`` by default.
        spec: spec of the action.
        safe: whether the action is projected into ``spec``.
        action_space: how actions are written, where there is no ``spec``.
        action_value_key: where the values go.
        action_mask_key: boolean entry that says which actions are allowed.
        var_nums: number of options of each variable.
        action_key: where the action goes.

    Example:
        >>> import torch
        >>> from agents import MLP
        >>> from envkit import Categorical
        >>> from tensordict import TensorDict
        >>> actor = QValueActor(MLP(3, 4), spec=Categorical(4))
        >>> td = actor(TensorDict({"observation": torch.randn(5, 3)}, [5]))
        >>> td["action"].shape, td["action_value"].shape, td["chosen_action_value"].shape
        (torch.Size([5]), torch.Size([5, 4]), torch.Size([5, 1]))
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        *,
        spec: Any = None,
        safe: bool = False,
        action_space: str | None = None,
        action_value_key: NestedKey = "action_value",
        action_mask_key: NestedKey | None = None,
        var_nums: Sequence[int] | None = None,
        action_key: NestedKey = "action",
    ) -> None:
        chosen_key = _beside(action_value_key, "chosen_action_value")
        q_value = QValueModule(
            action_space,
            action_value_key,
            action_mask_key,
            [action_key, action_value_key, chosen_key],
            var_nums,
            spec,
            safe,
        )
        super().__init__(value_network(module, in_keys, action_value_key), q_value)

    @property
    def spec(self) -> Any:
        """The spec of the action, if it was given."""
        return self.module[-1].spec


def value_network(
    module: Callable[..., Any], in_keys: Sequence[NestedKey] | None, action_value_key: NestedKey
) -> TensorDictModuleBase:
    """``module`` as a TensorDict module that writes ``action_value_key``.

    Raises:
        ValueError: if it is one that does not.
    """
    if isinstance(module, TensorDictModuleBase):
        if in_keys is not None or unravel_key(action_value_key) not in module.out_keys:
            raise ValueError(
                f"expected a TensorDict module that writes {action_value_key!r}, and no in_keys beside it, "
                f"found one that writes {module.out_keys}, and in_keys={in_keys}"
            )
        return module
    return TensorDictModule(module, ["observation"] if in_keys is None else list(in_keys), [action_value_key])


def _beside(key: NestedKey, name: str) -> NestedKey:
    return (*key[:-1], name) if isinstance(key, tuple) else name
