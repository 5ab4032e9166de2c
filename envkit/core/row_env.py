"""Envs whose native port is the row port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.masks import Masks, read_masks
from envkit.core.plan import Plan
from envkit.core.rows import RowPort
from envkit.errors import PolicyError, SpecError
from envkit.storage import Slab, entries, put

__all__ = ["RowEnv"]

FIRST_ROWS, MOST_ROWS, MOST_BYTES = 16, 512, 1 << 16
VIEWS = 32


class RowEnv(EnvBase):
    """Base of envs that write their data straight into rows: simulators that speak numpy, batches of envs.

    A subclass defines ``_native_rows(root, following)``, its :class:`~envkit.core.rows.RowPort`. The public port is
    derived from it: ``_reset`` and ``_step`` work on the next row of a small slab and hand out that row. A subclass
    that overrides ``_reset`` or ``_step`` nevertheless is respected: loops then go through those.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The data of rows has the shapes and dtypes of the specs by construction, and needs no second look.
        cls._trusted = cls._step is RowEnv._step and cls._reset is RowEnv._reset

    def _native_rows(self, root: Slab, following: Slab) -> RowPort:
        """Binds the simulator to slabs."""
        raise NotImplementedError(f"{type(self).__name__} defines no _native_rows")

    @property
    def batch_size(self) -> torch.Size:
        """The env's batch size, which is that of its simulator for good."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, size: Sequence[int]) -> None:
        if torch.Size(size) != self._batch_size:
            raise SpecError(
                f"batch_size: expected {list(self._batch_size)}, that of the simulator of {type(self).__name__}, found "
                f"{list(size)}; a SerialEnv makes a batch of several"
            )

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`; a reset of an env that resets itself goes by its mask."""
        return self._trusted and self._runtime.auto_reset is None

    def _read_by_steps(self, plan: Plan) -> list[NestedKey]:
        """The observations that a step may read in its row."""
        return [] if self.keeps_state else plan.observation_keys

    def _row_port(self, plan: Plan, root: Slab, following: Slab) -> RowPort:
        native = self._trusted and self._runtime.auto_reset is None
        if native and root.device in (None, torch.device("cpu")):
            return self._cutting_off(self._native_rows(root, following), plan, root, following)
        return super()._row_port(plan, root, following)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        reads_more = not self.keeps_state and (self.plan.kept or not (tensordict is None or tensordict.is_empty()))
        if reads_more or not self.fits_rows:
            apart = self._reset_apart(tensordict, **kwargs)
            if apart is not None:
                return self._placed(apart)
        ring = self._ring()
        masks = None if tensordict is None else read_masks(tensordict, self.plan, "_reset")
        row = ring.row
        if masks:
            ring.recall(tensordict)
        ring.port.reset(row, masks or None, **kwargs)
        ring.row = row + 1
        return self._placed(ring.first(row))

    def _reset_apart(self, tensordict: TensorDictBase | None, **kwargs: Any) -> TensorDictBase | None:
        """The result of a reset that may read more from its input than a row holds; None if there is no such thing."""
        return None

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        # Without a batch there is one element, which is stepped: ports of such envs are handed no masks.
        masks = read_masks(tensordict, self.plan, "_step") if self._batch_size else None
        ring = self._ring() if self.fits_rows else None
        if ring is None or not ring.complete(tensordict):
            apart = self._step_apart(tensordict, masks)
            if apart is not None:
                return self._placed(apart)
        return self._placed((ring or self._ring()).step(tensordict, entries(tensordict), masks))

    def _step_apart(self, tensordict: TensorDictBase, masks: Masks | None) -> TensorDictBase | None:
        """The result of a step whose input lacks what a row would hold; None if that is of no matter."""
        return None

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """See :meth:`~envkit.EnvBase.step`."""
        ring: _Ring | None = self._runtime.quick
        if ring is not None and ring.row < ring.rows:
            size, given = tensordict.batch_size, entries(tensordict)
            plain = "next" not in given and "_step" not in given and (not ring.needs or ring.complete(tensordict))
            if plain and (size is ring.batch_size or size == ring.batch_size):
                put(tensordict, "next", ring.step(tensordict, given))
                return tensordict
        # Anything unusual, the first step among it, goes the long way.
        super().step(tensordict)
        runtime = self._runtime
        plain = self._trusted and runtime.auto_reset is None and not self.plan.levels and not runtime.watched
        if runtime.checked_step and plain and (self._device is None or self._device.type == "cpu"):
            runtime.quick = runtime.ring
        return tensordict

    def _ring(self) -> _Ring:
        runtime = self._runtime
        ring = runtime.ring
        if ring is None or ring.plan is not runtime.plan:
            ring = runtime.ring = _Ring(self, FIRST_ROWS)
        elif ring.row == ring.rows:
            ring = runtime.ring = _Ring(self, 2 * ring.rows)
        return ring

    def _placed(self, out: TensorDictBase) -> TensorDictBase:
        return out if self._device is None or self._device.type == "cpu" else out.to(self._device)


class _Ring:
    """A few rows for the public port to write in; a fresh one replaces it when they are used up.

    Data handed out stays untouched for ever, at the price that a row someone keeps holds on to its few neighbours.
    """

    def __init__(self, env: RowEnv, rows: int) -> None:
        plan: Plan = env.plan
        self.plan = plan
        self.rows = min(rows, _most_rows(plan))
        cpu = torch.device("cpu") if env.device is not None else None
        self.root, self.following = env._slabs(plan, self.rows, cpu)
        native = env._native_rows(self.root, self.following)
        self.port = env._cutting_off(native, plan, self.root, self.following)
        self.first = self.root.reader([*plan.observation_keys, *plan.done_keys])
        self._next = self.following.viewer(self.following.columns)
        self.row = 0
        self.batch_size = plan.batch_size
        self._inputs = [
            (key, self.root.spec[key].shape, self.root.spec[key].dtype, self.root.arrays[key])
            for key in (*plan.action_keys, *plan.state_keys)
        ]
        self.needs = env._read_by_steps(plan)

    def complete(self, tensordict: TensorDictBase) -> bool:
        """Whether the input has all that the env may read from the row, beside actions and states."""
        return all(tensordict.get(key, None) is not None for key in self.needs)

    def recall(self, tensordict: TensorDictBase | None) -> None:
        """Copies what went before into the current row, for envs that read it there."""
        for key in self.needs:
            value = None if tensordict is None else tensordict.get(key, None)
            column = self.root.columns[key]
            # A transform may show something else under the same name.
            if value is not None and (isinstance(column, list) or value.shape == column.shape[1:]):
                column[self.row] = value

    def step(self, tensordict: TensorDictBase, given: dict[str, Any], masks: Masks | None = None) -> TensorDictBase:
        """Copies action (and state) into the current row and steps it; ``given`` are the entries of ``tensordict``."""
        row = self.row
        if self.needs:
            self.recall(tensordict)
        for key, shape, dtype, array in self._inputs:
            value = given.get(key) if key.__class__ is str else tensordict.get(key, None)
            if value.__class__ is not torch.Tensor:
                if value is None:
                    found = sorted(map(str, tensordict.keys()))
                    raise PolicyError(f"{key!r} is missing: expected {dtype} of shape {list(shape)}, found {found}")
                array[row] = value
            elif value.shape != shape or (value.dtype is not dtype and not torch.can_cast(value.dtype, dtype)):
                raise PolicyError(
                    f"{key!r}: expected {dtype} of shape {list(shape)}, found {value.dtype} of shape "
                    f"{list(value.shape)}"
                )
            elif array.__class__ is list:
                array[row] = value
            else:
                array[row] = value.detach().cpu().numpy() if shape else value.item()
        if masks is None:
            self.port.step(row)
        else:
            self.port.step(row, masks)
        self.row = row + 1
        return self._next(row)


def _most_rows(plan: Plan) -> int:
    size = 1
    for spec in (plan.root_spec, plan.next_spec):
        for leaf in spec.values(True, True):
            if leaf.dtype is not None and not leaf.has_dynamic_shape:
                size += leaf.shape.numel() * leaf.dtype.itemsize
    return max(1, min(MOST_ROWS, MOST_BYTES // size))
