"""Entries that start anew with each episode, such as the memory of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec
from envkit.transforms.chance import Chancy
from envkit.transforms.rows import Columns, RowForm

__all__ = ["TensorDictPrimer"]

Default = float | Callable[[], torch.Tensor]


class TensorDictPrimer(Chancy):
    """Adds entries that a reset fills, and that stay as they are during the episode unless the policy writes them.

    What a policy writes under ``"next"`` is what the next step finds: so a recurrent network keeps its memory, which is
    new where an episode is.

    Args:
        primers: the spec of each entry, for one env of a batch: a Composite, or a mapping of keys to specs. (A
            Composite of the env's own batch size is for the whole batch.)
        random: whether the entries are drawn from their specs.
        default_value: what they are filled with otherwise: a number, a function that returns the value for one env, or
            a mapping of keys to those.
        **kwargs: more primers, by name.

    Raises:
        SpecError: the env has another entry of that name; a default value is not in its spec.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv, Unbounded
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), TensorDictPrimer(hidden=Unbounded((3,)), default_value=1.0))
        >>> env.reset()["hidden"]
        tensor([1., 1., 1.])
    """

    def __init__(
        self,
        primers: Composite | Mapping[NestedKey, TensorSpec] | None = None,
        random: bool = False,
        default_value: Default | Mapping[NestedKey, Default] = 0.0,
        **kwargs: TensorSpec,
    ) -> None:
        super().__init__()
        given = dict(primers.items()) if primers is not None else {}
        self.primers = Composite({}, shape=primers.shape if isinstance(primers, Composite) else ())
        for key, leaf in {**given, **kwargs}.items():
            if not isinstance(leaf, TensorSpec):
                raise TypeError(f"{type(self).__name__}: {key!r}: expected a spec, found {type(leaf).__name__}")
            self.primers[key] = leaf.clone()
        self.random, self.default_value = random, default_value
        self._spec, self._batch_dims = self.primers, len(self.primers.shape)

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The entries."""
        return list(self.primers.keys(True, True))

    def _value(self, key: NestedKey, size: torch.Size) -> Any:
        """What an entry is filled with, for data of batch size ``size``."""
        leaf = self._spec[key]
        shape = (*size, *leaf.shape[self._batch_dims :])
        if self.random:
            generator = torch.Generator(leaf.device).manual_seed(int(self._numbers().integers(1 << 62)))
            return leaf.rand(size[: len(size) - self._batch_dims], generator=generator)
        value = self._default(key)
        if isinstance(value, torch.Tensor):
            return value.to(leaf.device).expand(shape).clone()
        return torch.full(shape, value, dtype=leaf.dtype, device=leaf.device)

    def _default(self, key: NestedKey) -> Any:
        value: Any = self.default_value
        if isinstance(value, Mapping):
            value = value.get(key, 0.0)
        return value() if callable(value) else value

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key in self.memory_keys:
            written = tensordict.get(("next", *path_of(key)), None)
            next_tensordict.set(key, self._take(tensordict, key) if written is None else written)
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for key in self.memory_keys:
            tensordict_reset.set(key, self._value(key, tensordict_reset.batch_size))
        return tensordict_reset

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Fills entries that stored data lacks, at the root and under ``"next"``, in place."""
        for part in (tensordict, tensordict.get("next", None)):
            for key in self.memory_keys if isinstance(part, TensorDictBase) else ():
                if part.get(key, None) is None:
                    part.set(key, self._value(key, tensordict.batch_size))
        return tensordict

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        root, following = columns.root.outer, columns.following.outer
        keys, size = self.memory_keys, self._spec.shape
        if self.random or any(isinstance(root[key], list) for key in keys):
            return None
        kept = [(columns.stepped[key], following[key]) for key in keys]

        def step(row: int) -> None:
            for before, after in kept:
                after[row] = before[row]

        def reset(row: int, masks: Masks | None) -> None:
            for key in keys:
                root[key][row] = self._value(key, size)

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the entries to the observations."""
        observation = specs["observation"].clone()
        size = observation.shape
        self._batch_dims = len(size)
        whole = bool(size) and self.primers.shape == size
        self._spec = self.primers.clone() if whole else self.primers.expand(*size, *self.primers.shape)
        for key, leaf in self._spec.items(True, True):
            there = observation.get(key, None)
            if there is not None and there != leaf:
                raise SpecError(
                    f"{type(self).__name__}: expected no observation {key!r} in the env inside, or one of {leaf}, "
                    f"found {there}"
                )
            if not self.random and not leaf.is_in(value := self._value(key, size)):
                raise SpecError(f"{type(self).__name__}: {key!r}: expected a default_value in {leaf}, found {value}")
            observation[key] = leaf.clone()
        return {**super().transform_specs(specs), "observation": observation}

    def extra_repr(self) -> str:
        """The keys."""
        return f"primers={self.memory_keys}, random={self.random}"
