"""Old names, for code written against earlier pages. Thin aliases; they promise nothing of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from envkit.collectors import Collector, MultiAsyncCollector, MultiSyncCollector
from envkit.core.exploration import ExplorationType, set_exploration_type
from envkit.errors import SpecError
from envkit.specs import (
    Binary,
    Bounded,
    Categorical,
    CategoricalBox,
    Composite,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    Stacked,
    StackedComposite,
    Unbounded,
)

__all__ = [
    "BinaryDiscreteTensorSpec",
    "BoundedContinuous",
    "BoundedDiscrete",
    "BoundedTensorSpec",
    "CompositeSpec",
    "DiscreteBox",
    "DiscreteTensorSpec",
    "LazyStackedCompositeSpec",
    "LazyStackedTensorSpec",
    "MultiDiscreteTensorSpec",
    "MultiOneHotDiscreteTensorSpec",
    "MultiSyncDataCollector",
    "MultiaSyncDataCollector",
    "NdBoundedTensorSpec",
    "NdUnboundedContinuousTensorSpec",
    "NdUnboundedDiscreteTensorSpec",
    "NonTensorSpec",
    "OneHotDiscreteTensorSpec",
    "SyncDataCollector",
    "UnboundedContinuous",
    "UnboundedContinuousTensorSpec",
    "UnboundedDiscrete",
    "UnboundedDiscreteTensorSpec",
    "set_exploration_mode",
]


def BoundedTensorSpec(  # noqa: N802
    low: Any = None,
    high: Any = None,
    shape: int | Iterable[int] | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    *,
    minimum: Any = None,
    maximum: Any = None,
) -> Bounded:
    """Return :class:`Bounded`; ``minimum`` and ``maximum`` are accepted for ``low`` and ``high``.

    Raises:
        SpecError: if a bound is missing or given twice.

    >>> BoundedTensorSpec(minimum=-torch.ones(3), maximum=torch.ones(3))
    Bounded(shape=[3], low=-1.0, high=1.0, dtype=float32)
    """
    for name, value, old_name, old in (("low", low, "minimum", minimum), ("high", high, "maximum", maximum)):
        if (value is None) == (old is None):
            raise SpecError(
                f"{name}: expected either {name} or {old_name}, found {'neither' if old is None else 'both'}"
            )
    return Bounded(minimum if low is None else low, maximum if high is None else high, shape, device, dtype)


def BoundedDiscrete(  # noqa: N802
    low: Any,
    high: Any,
    shape: int | Iterable[int] | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype = torch.int64,
) -> Bounded:
    """Return :class:`Bounded` with an integer dtype.

    >>> BoundedDiscrete(0, 9, shape=(2,))
    Bounded(shape=[2], low=0, high=9, dtype=int64)
    """
    return Bounded(low, high, shape, device, dtype)


def UnboundedDiscrete(  # noqa: N802
    shape: int | Iterable[int] = (1,),
    device: torch.device | str | int | None = None,
    dtype: torch.dtype = torch.int64,
) -> Unbounded:
    """Return :class:`Unbounded` with an integer dtype.

    >>> UnboundedDiscrete(2)
    Unbounded(shape=[2], dtype=int64)
    """
    return Unbounded(shape, device, dtype)


def set_exploration_mode(mode: str) -> Any:
    """Return ``set_exploration_type(ExplorationType(mode))``: ``mode`` is "random", "mode", "mean", ...

    >>> with set_exploration_mode("mean"):
    ...     pass
    """
    return set_exploration_type(ExplorationType(mode))


SyncDataCollector = Collector
MultiSyncDataCollector = MultiSyncCollector
MultiaSyncDataCollector = MultiAsyncCollector

BoundedContinuous = Bounded
UnboundedContinuous = Unbounded

BinaryDiscreteTensorSpec = Binary
CompositeSpec = Composite
DiscreteBox = CategoricalBox
DiscreteTensorSpec = Categorical
LazyStackedCompositeSpec = StackedComposite
LazyStackedTensorSpec = Stacked
MultiDiscreteTensorSpec = MultiCategorical
MultiOneHotDiscreteTensorSpec = MultiOneHot
NdBoundedTensorSpec = BoundedTensorSpec
NdUnboundedContinuousTensorSpec = Unbounded
NdUnboundedDiscreteTensorSpec = UnboundedDiscrete
NonTensorSpec = NonTensor
OneHotDiscreteTensorSpec = OneHot
UnboundedContinuousTensorSpec = Unbounded
UnboundedDiscreteTensorSpec = UnboundedDiscrete
