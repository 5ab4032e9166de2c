"""Transforms in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from tensordict import TensorDictBase
from torch import nn

from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.function import FunctionTransform

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Compose", "TransformLike", "as_transform"]

TransformLike = Transform | Callable[[Any], Any] | Sequence[Any]
"""A transform, a function on TensorDicts, or a list of those."""


class Compose(Transform):
    """Transforms in a row, the innermost first.

    An index gives the transform itself, which keeps its parent; a slice gives a Compose of clones without one. What is
    added to the chain of an env, or taken out of it, is checked at once: if the chain does not fit any more it stays as
    it was.

    Args:
        *transforms: transforms, functions on TensorDicts (see
            :class:`~envkit.transforms.function.FunctionTransform`), or lists of those. A Compose hands its transforms
            over and is empty afterwards.

    Examples:
        >>> from envkit import DoubleToFloat, StepCounter
        >>> chain = Compose(DoubleToFloat(), [StepCounter(), lambda td: td])
        >>> [type(transform).__name__ for transform in chain]
        ['DoubleToFloat', 'StepCounter', 'FunctionTransform']
    """

    def __init__(self, *transforms: TransformLike) -> None:
        super().__init__()
        self.transforms = nn.ModuleList()
        self._splice(0, transforms)

    # -------------------------------------------------------------- the chain

    @property
    def _chain(self) -> list[Transform]:
        return list(self.transforms)  # type: ignore[arg-type]

    def _splice(self, index: int, given: Sequence[TransformLike]) -> None:
        """Takes in transforms before the one at ``index``, and checks nothing but that they are free."""
        chain, added = self._chain, flattened(given)
        for i, transform in enumerate(added):
            try:
                transform._attach(self)
            except RuntimeError:
                for attached in added[:i]:
                    attached.reset_parent()
                raise
        self.transforms = nn.ModuleList(chain[:index] + added + chain[index:])

    def _edit(self, start: int, stop: int, given: Sequence[TransformLike] = ()) -> None:
        """Puts transforms in the place of those from ``start`` to ``stop``.

        Raises:
            SpecError: the chain does not fit its env any more; it stays as it was.
        """
        before = self._chain
        self.transforms = nn.ModuleList(before[:start] + before[stop:])
        try:
            self._splice(start, given)
            self._changed()
        except (SpecError, RuntimeError, TypeError):
            for transform in self._chain:
                if not any(transform is old for old in before):
                    transform.reset_parent()
            self.transforms = nn.ModuleList(before)
            self._changed()
            raise
        for transform in before[start:stop]:
            transform.reset_parent()

    def pop_all(self) -> list[Transform]:
        """Empties the chain and returns its transforms, free to go elsewhere."""
        if self._container is not None:
            raise RuntimeError("Compose already belongs to an env; a transform has one parent: use its clone()")
        transforms = self._chain
        self.transforms = nn.ModuleList()
        for transform in transforms:
            transform.reset_parent()
        return transforms

    def append(self, transform: TransformLike) -> None:
        """Adds a transform on the outside; see :meth:`insert`."""
        self.insert(len(self), transform)

    def insert(self, index: int, transform: TransformLike) -> None:
        """Adds a transform before the one at ``index``.

        Raises:
            SpecError: it, or one after it, names a key that is not there; the chain stays as it was.
        """
        start = range(len(self) + 1)[index]
        self._edit(start, start, [transform])

    def pop(self, index: int = -1) -> Transform:
        """Takes a transform out of the chain, and returns it without a parent."""
        start = range(len(self))[index]
        transform = self._chain[start]
        self._edit(start, start + 1)
        return transform

    def clone(self) -> Self:
        """A chain of clones."""
        return type(self)(*(transform.clone() for transform in self._chain))

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> Compose: ...
    def __getitem__(self, index: int | slice) -> Transform:
        if isinstance(index, slice):
            return Compose(*(transform.clone() for transform in self._chain[index]))
        return self._chain[index]

    def __setitem__(self, index: int, transform: TransformLike) -> None:
        start = range(len(self))[index]
        self._edit(start, start + 1, [transform])

    def __delitem__(self, index: int) -> None:
        self.pop(index)

    def __len__(self) -> int:
        return len(self.transforms)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self._chain)

    # ------------------------------------------------------------------- data

    @property
    def invertible(self) -> bool:
        """Whether any transform does something on the way in."""
        return any(transform.invertible for transform in self._chain)

    @property
    def keeps_state(self) -> bool:
        """See :attr:`Transform.keeps_state`; of all transforms."""
        return all(transform.keeps_state for transform in self._chain)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        for transform in self._chain:
            next_tensordict = transform._call(next_tensordict)
        return next_tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for transform in self._chain:
            next_tensordict = transform._step(tensordict, next_tensordict)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for transform in self._chain:
            tensordict_reset = transform._reset(tensordict, tensordict_reset)
        return tensordict_reset

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        for transform in reversed(self._chain):
            tensordict = transform._reset_env_preprocess(tensordict)
        return tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        for transform in reversed(self._chain):
            tensordict = transform._inv_call(tensordict)
        return tensordict

    def _rand_action(self, tensordict: TensorDictBase, generator: torch.Generator | None) -> TensorDictBase:
        for transform in self._chain:
            tensordict = transform._rand_action(tensordict, generator)
        return tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Applies all transforms, innermost first."""
        for transform in self._chain:
            tensordict = transform(tensordict)
        return tensordict

    # ------------------------------------------------------------------ specs

    def levels(self, specs: dict[str, Composite]) -> list[dict[str, Composite]]:
        """All five specs as given, and as seen from outside of each transform.

        Raises:
            SpecError: a transform does not fit what is inside of it, or another one outside of it changes or hides what
                it has to find again.
        """
        levels = [specs]
        for transform in self._chain:
            levels.append(transform.transform_specs(levels[-1]))
        for i, transform in enumerate(self._chain):
            for key in transform.memory_keys:
                self._refuse_loss(i, key, levels[-1])
        return levels

    def _refuse_loss(self, i: int, key: Any, outside: dict[str, Composite]) -> None:
        name = type(self._chain[i]).__name__
        for other in self._chain[i + 1 :]:
            if key in other.out_keys and key not in other.memory_keys and not other.keeps_values:
                raise SpecError(
                    f"{name}: expected to find {key!r} again at the next step, found that {type(other).__name__} "
                    f"after it changes it; give it other out_keys, or put it before"
                )
        found = [found for spec in outside.values() for found in spec.keys(True, True)]
        if key not in found:
            raise SpecError(
                f"{name}: expected to find {key!r} again at the next step, found that a transform after it hides it: "
                f"only {sorted(map(str, found))} are left"
            )

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """All five specs as seen from outside the chain."""
        return self.levels(specs)[-1]

    def transform_env_device(self, device: torch.device | None) -> torch.device | None:
        """See :meth:`Transform.transform_env_device`; of all transforms."""
        for transform in self._chain:
            device = transform.transform_env_device(device)
        return device

    def transform_env_batch_size(self, batch_size: torch.Size) -> torch.Size:
        """See :meth:`Transform.transform_env_batch_size`; of all transforms."""
        for transform in self._chain:
            batch_size = transform.transform_env_batch_size(batch_size)
        return batch_size

    def transform_env_batch_locked(self, batch_locked: bool) -> bool:
        """See :meth:`Transform.transform_env_batch_locked`; of all transforms."""
        for transform in self._chain:
            batch_locked = transform.transform_env_batch_locked(batch_locked)
        return batch_locked

    # ------------------------------------------------------- over its lifetime

    def freeze(self, mode: bool = True) -> Self:
        """Freezes all transforms."""
        for transform in self._chain:
            transform.freeze(mode)
        return super().freeze(mode)

    def dump(self, *args: Any, **kwargs: Any) -> None:
        """Dumps all transforms."""
        for transform in self._chain:
            transform.dump(*args, **kwargs)

    def close(self) -> None:
        """Closes all transforms."""
        for transform in self._chain:
            transform.close()

    def extra_repr(self) -> str:
        """Nothing beyond the transforms."""
        return ""


def as_transform(given: TransformLike) -> Transform:
    """``given`` as a transform: itself, a :class:`Compose` of a list, or a function made one.

    Raises:
        TypeError: it is none of these.

    Examples:
        >>> type(as_transform(lambda td: td.set("more", td["observation"] + 1))).__name__
        'FunctionTransform'
    """
    if isinstance(given, Transform):
        return given
    if isinstance(given, (list, tuple)):
        return Compose(*given)
    if callable(given) and not isinstance(given, type):
        return FunctionTransform(given)
    found = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise TypeError(f"expected a Transform, found {found} (a function on TensorDicts, or a list, would do as well)")


def flattened(given: Sequence[TransformLike]) -> list[Transform]:
    """The transforms of a list one by one, those of a Compose taken out of it."""
    transforms: list[Transform] = []
    for each in map(as_transform, given):
        transforms += each.pop_all() if isinstance(each, Compose) else [each]
    return transforms
