"""Which entries are shown."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, is_leaf_nontensor, is_non_tensor

from envkit.core.plan import DONE_NAMES, path_of
from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.hiding import OUTPUTS, under, without
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import Columns, RowForm

__all__ = ["ExcludeTransform", "RemoveEmptySpecs", "SelectTransform"]


class SelectTransform(Transform):
    """Shows the entries that are named, and hides the others.

    Rewards, done flags and states, which the env needs to go on, stay. Applied to data outside of an env, only what is
    named stays, at the root and under ``"next"``, with the rewards and flags of the usual names: name the action as
    well.

    Args:
        *selected_keys: entries, or levels with all that is in them.
        keep_rewards: whether rewards stay that are not named.
        keep_dones: whether done flags stay that are not named.

    Raises:
        SpecError: the env has no such entry; what is hidden is read by the env's next step, or tells when episodes end.

    Examples:
        >>> from tensordict import TensorDict
        >>> list(SelectTransform("a")(TensorDict({"a": 1, "b": 2, "done": False})).keys())
        ['a', 'done']
    """

    def __init__(self, *selected_keys: NestedKey, keep_rewards: bool = True, keep_dones: bool = True) -> None:
        super().__init__()
        if not selected_keys:
            raise ValueError("SelectTransform: expected at least one key, found none")
        self.selected_keys = list(selected_keys)
        self.keep_rewards, self.keep_dones = keep_rewards, keep_dones
        names = [*(["reward"] if keep_rewards else []), *(DONE_NAMES if keep_dones else [])]
        self._names, self._kept = names, list(selected_keys)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.select(*self._kept, strict=False)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What is selected of stored data, in a TensorDict of its own.

        Raises:
            KeyError: a selected entry is missing.
        """
        for key in self.selected_keys:
            self._take(tensordict, key)
        kept = []
        for key in tensordict.keys(True, True, is_leaf=is_leaf_nontensor):
            path = path_of(key)
            end = path[1:] if path[0] == "next" and len(path) > 1 else path
            if under(key, self._kept) or under(end, self._kept) or end[-1] in self._names:
                kept.append(key)
        return tensordict.select(*kept)

    def _bind_rows(self, columns: Columns) -> RowForm:
        return RowForm()

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.Transform.keeps_state`."""
        return True

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Leaves out the other entries."""
        refuse_unknown(self, self.selected_keys, list(specs.values()), "selected_keys")
        whole = [
            *(["reward"] if self.keep_rewards else []),
            *(["done"] if self.keep_dones else []),
            "state",
        ]
        self._kept = [*self.selected_keys, *(key for role in whole for key in specs[role].keys(True, True))]
        outputs = [key for role in OUTPUTS for key in specs[role].keys(True, True)]
        return without(self, specs, [key for key in outputs if not under(key, self._kept)])

    def extra_repr(self) -> str:
        """The keys."""
        return f"{self.selected_keys}"


class ExcludeTransform(Transform):
    """Hides the entries that are named.

    Applied to data outside of an env it takes them out at the root and under ``"next"``.

    Args:
        *excluded_keys: entries, or levels with all that is in them.
        inverse: whether they are taken out of what a replay buffer stores, and not of what is read.

    Raises:
        SpecError: the env has no such entry; what is hidden is read by the env's next step, or tells when episodes end;
            or ``inverse`` is set.

    Examples:
        >>> from tensordict import TensorDict
        >>> list(ExcludeTransform("a")(TensorDict({"a": 1, "b": 2})).keys())
        ['b']
    """

    def __init__(self, *excluded_keys: NestedKey, inverse: bool = False) -> None:
        super().__init__()
        if not excluded_keys:
            raise ValueError("ExcludeTransform: expected at least one key, found none")
        self.excluded_keys, self.inverse = list(excluded_keys), inverse

    @property
    def invertible(self) -> bool:
        """Whether it acts on what is stored."""
        return self.inverse

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict if self.inverse else next_tensordict.exclude(*self.excluded_keys)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """What is left of stored data, in a TensorDict of its own."""
        return tensordict if self.inverse else self._left(tensordict)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._left(tensordict) if self.inverse else tensordict

    def _left(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict.exclude(*self.excluded_keys, *(("next", *path_of(key)) for key in self.excluded_keys))

    def _bind_rows(self, columns: Columns) -> RowForm:
        return RowForm()

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.Transform.keeps_state`."""
        return True

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Leaves the entries out."""
        if self.inverse:
            raise SpecError(
                "ExcludeTransform: expected inverse=False in an env, found True: it concerns what a buffer stores"
            )
        refuse_unknown(self, self.excluded_keys, [specs[role] for role in OUTPUTS], "excluded_keys")
        return without(self, specs, self.excluded_keys)

    def extra_repr(self) -> str:
        """The keys."""
        return f"{self.excluded_keys}, inverse={self.inverse}"


class RemoveEmptySpecs(Transform):
    """Hides levels with nothing in them, from specs and data; on the way in those that the env takes are put back.

    Examples:
        >>> from tensordict import TensorDict
        >>> list(RemoveEmptySpecs()(TensorDict({"a": 1, "b": {"c": {}}})).keys())
        ['a']
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken: dict[NestedKey, torch.Size] = {}
        self._dims = 0

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return _remove_empty(next_tensordict)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Takes empty levels out of a TensorDict, in place."""
        return _remove_empty(tensordict)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        for key, shape in self._taken.items():
            if tensordict.get(key, None) is None:
                size = (*tensordict.batch_size, *shape[self._dims :])
                tensordict.set(key, TensorDict({}, size, device=tensordict.device))
        return tensordict

    def _bind_rows(self, columns: Columns) -> RowForm:
        return RowForm()

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.Transform.keeps_state`."""
        return True

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Leaves out empty levels."""
        self._dims = len(specs["action"].shape)
        self._taken = {
            key: level.shape
            for role in ("action", "state")
            for key, level in specs[role].items(True)
            if isinstance(level, Composite) and level.is_empty(recurse=True)
        }
        return {role: _full_levels(spec) for role, spec in specs.items()}


def _full_levels(spec: Composite) -> Composite:
    out = spec.clone()
    for key, level in list(spec.items(True)):
        if isinstance(level, Composite) and level.is_empty(recurse=True) and key in out.keys(True):
            del out[key]
    return out


def _remove_empty(tensordict: TensorDictBase) -> TensorDictBase:
    for key, value in list(tensordict.items()):
        if isinstance(value, TensorDictBase) and not is_non_tensor(value) and _remove_empty(value).is_empty():
            tensordict.del_(key)
    return tensordict
