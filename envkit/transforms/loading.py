"""Resets that take their data from a data set."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase

from envkit.core.masks import blend, mask_of, read_masks
from envkit.specs import Composite, TensorSpec, make_composite_from_td
from envkit.transforms.base import Transform
from envkit.transforms.inside import env_inside

__all__ = ["DataLoadingPrimer"]


class DataLoadingPrimer(Transform):
    """Starts each episode with an item of a data set: a prompt, a goal, a task.

    The entries of an item are given to the env's reset, which may start from them, and shown as observations until the
    episode ends. What the env itself shows under a name is the env's.

    Args:
        dataloader: gives items or batches of items again and again, one after the other: mappings, or TensorDicts whose
            first dimension, if they have one, is that of the items.
        primers: the specs of an item's entries; found by looking at the first item by default.
        repeats: how often each item is used in a row.

    Raises:
        ValueError: the data set is empty.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> goals = [{"goal": torch.tensor([1.0])}, {"goal": torch.tensor([2.0])}]
        >>> env = TransformedEnv(GymEnv("Pendulum-v1", max_episode_steps=2), DataLoadingPrimer(goals))
        >>> env.rollout(5, break_when_any_done=False)["goal"].squeeze(-1)
        tensor([1., 1., 2., 2., 1.])
    """

    env_only = "DataLoadingPrimer gives data to the resets of an env; stored data has it"
    sees_masks = True

    def __init__(
        self,
        dataloader: Iterable[Any],
        primers: Composite | Mapping[NestedKey, TensorSpec] | None = None,
        repeats: int = 1,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise ValueError(f"DataLoadingPrimer: repeats: expected at least 1, found {repeats}")
        self.dataloader, self.repeats = dataloader, repeats
        self._items = self._endless()
        self._waiting: deque[TensorDictBase] = deque()
        if primers is None:
            self._waiting.append(next(self._items))
            primers = make_composite_from_td(self._waiting[0], unsqueeze_null_shapes=False)
        self.primers = Composite(dict(primers.items()))
        self._keys: list[NestedKey] = []
        self._drawn: TensorDictBase | None = None

    def _endless(self) -> Iterator[TensorDictBase]:
        while True:
            empty = True
            for given in self.dataloader:
                found = given if isinstance(given, TensorDictBase) else TensorDict(dict(given))
                for item in found.unbind(0) if found.batch_dims else [found]:
                    empty = False
                    for _ in range(self.repeats):
                        yield item
            if empty:
                raise ValueError("DataLoadingPrimer: expected data, found a data set without items")

    def _next(self) -> TensorDictBase:
        return self._waiting.popleft() if self._waiting else next(self._items)

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The entries that the env does not show itself."""
        return self._keys

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        env = env_inside(self)
        size = env.batch_size if tensordict is None else tensordict.batch_size
        plan = env.plan_for(size)
        masks = {} if tensordict is None else read_masks(tensordict, plan, "_reset") or {}
        mask = mask_of("", plan, masks) if masks else torch.ones((*size, 1), dtype=torch.bool)
        new = self._batch(mask.reshape(-1).tolist(), size)
        given = TensorDict({}, size, device=env.device) if tensordict is None else tensordict.copy()
        for key in self.primers.keys(True, True):
            value, before = new.get(key), given.get(key, None)
            given.set(key, value if before is None or bool(mask.all()) else blend(mask, value, before))
        self._drawn = given
        return given

    def _batch(self, mask: list[bool], size: torch.Size) -> TensorDictBase:
        """An item for each element that is reset; what stands for the others does not matter."""
        items = [self._next() if chosen else None for chosen in mask]
        any_item = next(item for item in items if item is not None)
        stack = [any_item if item is None else item for item in items]
        if not size:
            return stack[0]
        return LazyStackedTensorDict.maybe_dense_stack(stack, 0).reshape(size)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key in self._keys:
            next_tensordict.set(key, self._take(tensordict, key))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for key in self._keys:
            tensordict_reset.set(key, self._drawn.get(key))  # type: ignore[union-attr]
        return tensordict_reset

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the entries to the observations."""
        observation = specs["observation"].clone()
        wide = self.primers.expand(*observation.shape)
        self._keys = [key for key in self.primers.keys(True, True) if key not in observation.keys(True)]
        for key in self._keys:
            observation[key] = wide[key].clone()
        return {**specs, "observation": observation}
