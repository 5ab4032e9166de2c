"""A check that all numbers are numbers."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.errors import NonFiniteError
from envkit.transforms.base import Transform
from envkit.transforms.rows import Columns, RowForm

__all__ = ["FiniteTensorDictCheck"]


class FiniteTensorDictCheck(Transform):
    """Checks at each reset and step that no entry holds NaN or infinity.

    Raises:
        NonFiniteError: one does (when it appears).

    Examples:
        >>> from tensordict import TensorDict
        >>> FiniteTensorDictCheck()(TensorDict({"a": torch.tensor([0.0, float("nan")])}))
        Traceback (most recent call last):
        ...
        envkit.errors.NonFiniteError: FiniteTensorDictCheck: 'a': expected finite numbers, found nan at [1]
    """

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key, value in next_tensordict.items(True, True):
            if isinstance(value, torch.Tensor) and not bool(value.isfinite().all()):
                _refuse(key, value.detach().cpu())
        return next_tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Checks everything there is."""
        return self._call(tensordict)

    def _bind_rows(self, columns: Columns) -> RowForm:
        following, root = (
            [
                (key, column)
                for key, column in side.inner.items()
                if isinstance(column, np.ndarray) and np.issubdtype(column.dtype, np.inexact)
            ]
            for side in (columns.following, columns.root)
        )
        written = {key for key, _ in following}

        def step(row: int) -> None:
            for key, column in following:
                if not np.isfinite(column[row]).all():
                    _refuse(key, torch.from_numpy(column[row, ...]))

        def reset(row: int, masks: object) -> None:
            for key, column in root:
                if key in written and not np.isfinite(column[row]).all():
                    _refuse(key, torch.from_numpy(column[row, ...]))

        return RowForm(step, reset)


def _refuse(key: object, value: torch.Tensor) -> None:
    at = (~value.isfinite()).nonzero()[0].tolist()
    raise NonFiniteError(
        f"FiniteTensorDictCheck: {key!r}: expected finite numbers, found {value[tuple(at)].item()} at {at}"
    )
