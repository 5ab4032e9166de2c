"""Normalisation by statistics that are learnt on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import nn

from envkit.core.masks import Masks
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec, Unbounded
from envkit.transforms.affine import float_dtype
from envkit.transforms.base import Transform
from envkit.transforms.compose import Compose
from envkit.transforms.functional import standardize
from envkit.transforms.keys import Keys
from envkit.transforms.moments import RunningMoments, mask_for
from envkit.transforms.normalise import ObservationNorm
from envkit.transforms.rows import Columns, RowForm

if TYPE_CHECKING:
    from typing import Self

__all__ = ["VecNorm"]


class VecNorm(Transform):
    """Normalises entries by their running mean and standard deviation: ``(x - mean) / std``.

    Every first observation and every step is taken into the statistics before it is normalised by them. They are one
    mean and one variance per element of an entry, over all envs of a batch: the transform belongs on the batch, whose
    envs may run in other processes, and is the only one to write them. Their values are part of ``state_dict()``, and
    clones share them, so that an evaluation env goes along with the training.

    On stored data (:meth:`forward`, replay buffers) it normalises by what it knows and learns nothing.

    Args:
        in_keys: entries to normalise, ``["observation", "reward"]`` by default.
        out_keys: their names outside.
        decay: how much of its weight what is known keeps at each step, in (0, 1]; with 1 the statistics are those of
            all values so far.
        eps: the least variance that counts: what varies less is divided by the root of this.

    Raises:
        ValueError: ``decay`` or ``eps`` is out of range.
        SpecError: the env has no such entry, or statistics that were loaded are of another shape.

    Examples:
        >>> from envkit import GymEnv, SerialEnv, TransformedEnv
        >>> env = TransformedEnv(SerialEnv(4, lambda: GymEnv("Pendulum-v1")), VecNorm(in_keys=["observation"]))
        >>> env.rollout(50)["observation"].abs().max() < 10
        tensor(True)
        >>> env.transform[0].freeze().to_observation_norm()
        ObservationNorm(in_keys=['observation'], out_keys=['observation'])
    """

    statistics: Any
    placement = "batch"
    sees_masks = True

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, *, decay: float = 0.9999, eps: float = 1e-4
    ) -> None:
        super().__init__(["observation", "reward"] if in_keys is None else in_keys, out_keys)
        if not 0 < decay <= 1:
            raise ValueError(f"VecNorm: expected decay in (0, 1], found {decay}")
        if not eps > 0:
            raise ValueError(f"VecNorm: expected eps above 0, found {eps}")
        self.decay, self.eps = decay, eps
        self.statistics = nn.ModuleList()
        self._dtypes = [torch.get_default_dtype()] * len(self.in_keys)

    @property
    def keeps_state(self) -> bool:
        """See :attr:`Transform.keeps_state`; True, as masks are no data."""
        return True

    def unfreeze(self) -> Self:
        """Lets the statistics go on; the same as ``freeze(False)``."""
        return self.freeze(False)

    def to_observation_norm(self) -> ObservationNorm | Compose:
        """The normalisation as it is now, by fixed numbers: an ObservationNorm, or a Compose of one for each in key.

        Raises:
            RuntimeError: nothing is known yet.
        """
        norms = [
            ObservationNorm(*self._known(i).loc_scale(dtype), in_key, out_key, standard_normal=True)
            for i, (in_key, out_key, dtype) in enumerate(zip(self.in_keys, self.out_keys, self._dtypes, strict=True))
        ]
        return norms[0] if len(norms) == 1 else Compose(*norms)

    # ------------------------------------------------------------------- data

    def _known(self, index: int) -> RunningMoments:
        """The statistics of an in key, of which there have to be some."""
        moments: Any = self.statistics[index] if index < len(self.statistics) else None
        if moments is None or not moments.known:
            raise RuntimeError(
                f"VecNorm: {self.in_keys[index]!r}: expected statistics, found none; let an env run first, or load them"
            )
        return moments

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        values = [next_tensordict.get(key, None) for key in self.in_keys]
        for i, (key, value) in enumerate(zip(self.out_keys, values, strict=True)):
            if value is not None:
                value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
                next_tensordict.set(key, standardize(value, *self._known(i).loc_scale(value.dtype)))
        return next_tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        self._learn(next_tensordict, tensordict, "_step")
        return self._call(next_tensordict)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        self._learn(tensordict_reset, tensordict, "_reset")
        return self._call(tensordict_reset)

    def _learn(self, shown: TensorDictBase, given: TensorDictBase | None, name: str) -> None:
        """Takes ``shown`` into the statistics, where the masks that ``given`` holds say that it is new."""
        if self.frozen:
            return
        plan = self.container.plan_for(shown.batch_size)
        for key, moments in zip(self.in_keys, self.statistics, strict=True):
            value = shown.get(key, None)
            if value is not None:
                moments.update(value, mask_for(key, value, given, plan, name))

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        changes: dict[str, list[Any]] = {"following": [], "root": []}
        for side, found in changes.items():
            inner, outer = getattr(columns, side)
            for i, (in_key, out_key) in enumerate(zip(self.in_keys, self.out_keys, strict=True)):
                source, target = inner.get(in_key), outer.get(out_key)
                if source is None:
                    continue
                if not isinstance(source, np.ndarray) or not isinstance(target, np.ndarray):
                    return None
                found.append(self._on_rows(i, source, target))

        def step(row: int) -> None:
            for change in changes["following"]:
                change(row, None)

        def reset(row: int, masks: Masks | None) -> None:
            mask = None if masks is None else masks["_reset"].numpy()[..., 0]
            for change in changes["root"]:
                change(row, mask)

        return RowForm(step, reset)

    def _on_rows(self, index: int, source: np.ndarray, target: np.ndarray) -> Any:
        moments: Any = self.statistics[index]
        learn, read, dtype = moments.learner(), moments.reader(target.dtype), target.dtype

        def change(row: int, mask: np.ndarray | None) -> None:
            value, out = source[row, ...], target[row, ...]
            if self.frozen:
                self._known(index)
            else:
                learn(value, None if mask is None else mask.reshape((*mask.shape, *(1,) * (value.ndim - mask.ndim))))
            loc, scale = read()
            np.subtract(value, loc, out=out, dtype=dtype, casting="unsafe")
            out /= scale

        return change

    # ------------------------------------------------------------------ specs

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds out the shapes of the statistics, and makes them if there are none."""
        out = super().transform_specs(specs)
        batch_dims = len(specs["observation"].shape)
        leaves = [specs["reward"].get(key, None) or specs["observation"].get(key, None) for key in self.in_keys]
        self._dtypes = [float_dtype(leaf) for leaf in leaves]
        shapes = [leaf.shape[batch_dims:] for leaf in leaves]
        if not len(self.statistics):
            device = specs["observation"].device
            self.statistics.extend(RunningMoments(s, decay=self.decay, eps=self.eps).to(device) for s in shapes)
        for key, shape, moments in zip(self.in_keys, shapes, self.statistics, strict=True):
            if moments.shape != shape:
                raise SpecError(
                    f"VecNorm: {key!r}: expected statistics of shape {list(shape)}, found {list(moments.shape)}"
                )
        return out

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return Unbounded(leaf.shape, dtype=float_dtype(leaf), device=leaf.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Takes over statistics of any shape if there are none yet."""
        if not len(self.statistics):
            means = [state_dict.get(f"{prefix}statistics.{i}.mean") for i in range(len(self.in_keys))]
            shapes = [mean.shape for mean in means if mean is not None]
            self.statistics.extend(RunningMoments(shape, decay=self.decay, eps=self.eps) for shape in shapes)
        super()._load_from_state_dict(state_dict, prefix, *args)
