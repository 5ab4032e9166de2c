"""What transforms that record have in common: they look at the data, and change none of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase, is_leaf_nontensor

from envkit.core.masks import blend, mask_of, read_masks
from envkit.transforms.base import Keys, Transform

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Recorder", "Tape"]


class Tape:
    """What a recorder remembers between steps; its clones share it.

    A deep copy is blank and mute: what is done with a copy of an env, in a check say, is not part of the recording.
    """

    def __init__(self, content: Any, mute: bool = False) -> None:
        self.content, self.mute = content, mute
        self.seen = 0
        """How many rows came by since the last dump."""
        self.last: TensorDictBase | None = None
        """The last row, for the elements of a batch that a reset or step leaves alone."""

    def __deepcopy__(self, memo: dict) -> Self:
        return type(self)(type(self.content)(), mute=True)


class Recorder(Transform, ABC):
    """Base of recorders: every ``skip``-th row that comes out of the env is recorded, until :meth:`dump`.

    A row is what the env returns from a reset or a step. Where that concerns some elements of a batch, the others keep
    what they had: that is what the outside world sees.

    Args:
        content: an empty container for what is recorded.
        in_keys: what is recorded; None stands for everything.
        out_keys: other names to write the entries under.
        skip: one row in so many is recorded, the first one among them.
        with_resets: whether resets are recorded, and counted.
    """

    sees_masks = True

    def __init__(self, content: Any, in_keys: Keys, out_keys: Keys, skip: int, *, with_resets: bool = True) -> None:
        super().__init__(in_keys, out_keys)
        if skip < 1:
            raise ValueError(f"skip: expected at least 1, found {skip}")
        self.skip, self.with_resets = skip, with_resets
        self._everything = in_keys is None
        self._tape = Tape(content)

    @abstractmethod
    def _record(self, tensordict: TensorDictBase) -> None:
        """Adds one row to the tape."""

    @abstractmethod
    def dump(self, suffix: str | None = None) -> Any:
        """Finishes what was recorded since the last time, and begins anew."""

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        next_tensordict = self._call(next_tensordict)
        self._witness(self._as_seen(tensordict, next_tensordict, "_step"))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        tensordict_reset = self._call(tensordict_reset)
        if self.with_resets:
            self._witness(self._as_seen(tensordict, tensordict_reset, "_reset"))
        return tensordict_reset

    def _witness(self, tensordict: TensorDictBase) -> None:
        tape = self._tape
        if tape.mute:
            return
        tape.last = tensordict.copy() if self._everything else tensordict.select(*self.in_keys, strict=False)
        if tape.seen % self.skip == 0:
            self._record(tensordict)
        tape.seen += 1

    def _as_seen(self, given: TensorDictBase | None, row: TensorDictBase, name: str) -> TensorDictBase:
        """A row with the last one outside of the masks that a reset or step was given."""
        env, last = self.container, self._tape.last
        if given is None or last is None or env is None:
            return row
        plan = env.plan_for(row.batch_size)
        masks = read_masks(given, plan, name)
        if not masks or all(bool(mask.all()) for mask in masks.values()):
            return row
        seen = row.copy()
        for key in last.keys(True, True, is_leaf=is_leaf_nontensor):
            new = row.get(key, None)
            if new is not None:
                old = torch.zeros_like(new) if key in plan.reward_keys else last.get(key)
                seen.set(key, blend(mask_of(key, plan, masks), new, old))
        return seen

    def close(self) -> None:
        """Finishes what was not dumped."""
        self.dump()
