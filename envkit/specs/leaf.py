"""What every leaf shares: a shape, parameters that follow it, equality and copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envkit.errors import SpecError
from envkit.specs.base import TensorSpec, as_device
from envkit.specs.convert import describe_dtype
from envkit.specs.shapes import UNKNOWN, ShapeOp, as_size, compact, describe_shape, probe, settle

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Leaf"]

# torch writes tensors of these dtypes, but cannot read them again.
_NOT_PICKLED = (torch.uint16, torch.uint32, torch.uint64)


class Leaf(TensorSpec):
    """A spec without children: a value, immutable but for the mask of some classes.

    A subclass declares what it is made of: ``_fields`` are plain values, ``_params`` are tensors (or specs,
    or None) whose leading dimensions follow those of the shape. An unknown size is stored as 1 in a
    parameter.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _params: ClassVar[tuple[str, ...]] = ()

    _dtype: Any  # a torch.dtype, but None for NonTensor

    def __init__(self, shape: int | Iterable[int], dtype: torch.dtype | None, device: Any) -> None:
        self._shape = as_size(shape)
        self._dtype = dtype
        self._device = as_device(device)
        self._locked = False
        self._holders = 0
        self._holds = False

    def _children(self) -> Iterable[TensorSpec]:
        return ()

    def _derive(self) -> None:
        """Check the parameters and compute what follows from them; called after each construction."""
        self._sizes = torch.Size([1 if d < 0 else d for d in self._shape])

    @property
    def shape(self) -> torch.Size:
        """Sizes of a value; -1 where a size is unknown."""
        return self._shape

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self._device

    @property
    def dtype(self) -> Any:
        """Dtype of the values."""
        return self._dtype

    @property
    def has_dynamic_shape(self) -> bool:
        """Whether a size of the shape is unknown."""
        return self._sizes != self._shape

    def _replace(self, **attributes: Any) -> Self:
        leaf = object.__new__(type(self))
        leaf.__dict__.update(self.__dict__)
        leaf.__dict__.update(attributes, _locked=False, _holders=0, _holds=False)
        leaf._derive()
        return leaf

    def clone(self) -> Self:
        """Return an unlocked copy."""
        return self._replace()

    def to(self, *dest: Any) -> Self:
        """Return the spec on a device, with a dtype, or both: ``to("cuda")``, ``to(torch.float64)``."""
        device, dtype = self._device, self._dtype
        for target in dest:
            if isinstance(target, torch.dtype):
                dtype = target
            else:
                device = as_device(target)
        if device == self._device and dtype is self._dtype:
            return self
        params = {name: _move(getattr(self, name), device) for name in self._params}
        return self._replace(_device=device, _dtype=dtype, **self._cast(dtype, params))

    def _cast(self, dtype: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters for another dtype."""
        return params

    def _reshaped(self, op: ShapeOp, what: str) -> Self:
        n = self._leading()
        lead = self._shape[:n]
        try:
            moved = op(probe(lead, self._device))
            shape = settle(lead, moved.shape, what)
            params = {name: self._follow(getattr(self, name), op, what, shape) for name in self._params}
        except RuntimeError as error:
            raise SpecError(f"cannot {what} a {type(self).__name__} of shape {describe_shape(self._shape)}") from error
        return self._replace(_shape=shape + self._shape[n:], **params)

    def _follow(self, param: Any, op: ShapeOp, what: str, shape: torch.Size) -> Any:
        if param is None:
            return None
        if isinstance(param, TensorSpec):
            return param._reshaped(op, what)
        n = self._leading()
        if -1 not in self._shape[:n]:
            return op(param)
        wide = param.expand(*(UNKNOWN if d < 0 else d for d in self._shape[:n]), *param.shape[n:])
        moved = op(wide)
        for dim, size in enumerate(shape):
            if size < 0:
                moved = moved.narrow(dim, 0, 1)
        return moved

    def _merged(self, specs: Sequence[Any], dim: int) -> Self | None:
        aligned = self._aligned(specs)
        first = aligned[0]
        if not all(first._resembles(spec) for spec in aligned):
            return None
        params: dict[str, Any] = {}
        for name in first._params:
            if all(getattr(spec, name) is None for spec in aligned):
                params[name] = None
                continue
            values: list[Any] = [spec._filled(name) for spec in aligned]
            params[name] = torch.stack(values, dim)
            if type(params[name]) is not type(values[0]):
                return None
        shape = torch.Size((*first._shape[:dim], len(specs), *first._shape[dim:]))
        return first._replace(_shape=shape, **params)

    def _aligned(self, specs: Sequence[Self]) -> Sequence[Self]:
        """Give specs about to be stacked the same fields where the class can."""
        return specs

    def _filled(self, name: str) -> Any:
        """Return a parameter, or what its absence stands for."""
        return getattr(self, name)

    def _resembles(self, other: object) -> bool:
        """Whether ``other`` is equal except for parameters."""
        return (
            type(other) is type(self)
            and isinstance(other, Leaf)
            and self._shape == other._shape
            and self._dtype == other._dtype
            and self._device == other._device
            and all(same(getattr(self, name), getattr(other, name)) for name in self._fields)
        )

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TensorSpec):
            return NotImplemented
        return self._resembles(other) and all(same(getattr(self, name), getattr(other, name)) for name in self._params)

    # A mask may change, so a leaf is not a dictionary key.
    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        # Parents are not part of the copy, and so do not hold it.
        state = {**self.__dict__, "_holders": 0}
        for name in self._params:
            param = state[name]
            if isinstance(param, Tensor) and param.dtype in _NOT_PICKLED:
                state[name] = (compact(param).cpu().numpy(), param.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in self._params:
            if isinstance(state[name], tuple):
                array, shape = state[name]
                self.__dict__[name] = torch.from_numpy(array).to(self._device).expand(shape)

    def _details(self) -> dict[str, Any]:
        """Return what the repr shows between the shape and the dtype."""
        return {}

    def __repr__(self) -> str:
        details = {
            "shape": describe_shape(self._shape),
            **self._details(),
            "dtype": self._dtype and describe_dtype(self._dtype),
        }
        if self._device.type != "cpu":
            details["device"] = self._device
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in details.items() if v is not None)})"


def same(first: Any, second: Any) -> bool:
    """Whether two parameters, or objects that may contain arrays, are of one type and equal."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)) and type(first) is type(second):
        return len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and bool(first == second)


def _move(param: Any, device: torch.device) -> Any:
    if isinstance(param, Tensor):
        return compact(param).to(device).expand(param.shape)
    return None if param is None else param.to(device)
