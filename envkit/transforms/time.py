"""Time in observations."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.per_group import PerGroup
from envkit.transforms.rows import Columns, RowForm

__all__ = ["DelayObservation", "TimeAwareObservation"]


class TimeAwareObservation(PerGroup):
    """Shows how much time has passed since the reset: a float32 beside each done flag.

    With :class:`~envkit.CatTensors` it becomes part of another observation as well (``del_keys=False``: the time of the
    step before has to stay in the data).

    Args:
        max_steps: the time is told as a fraction of so many steps, and is 1 after them; by default it is the number of
            steps.
        out_key: its name.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), TimeAwareObservation(max_steps=4))
        >>> env.rollout(3)["next", "time"].squeeze(-1)
        tensor([0.2500, 0.5000, 0.7500])
    """

    env_only = "TimeAwareObservation counts the steps of an env; stored data has its time"

    def __init__(self, max_steps: int | None = None, out_key: str = "time") -> None:
        super().__init__()
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"TimeAwareObservation: max_steps: expected at least 1, found {max_steps}")
        self.max_steps, self.out_key = max_steps, out_key

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The times."""
        return self._beside(self.out_key)

    def _after(self, time: np.ndarray) -> np.ndarray:
        """The time one step later. As many steps as a float32 can count are told apart."""
        if self.max_steps is None:
            return time + np.float32(1)
        steps = np.rint(time.astype(np.float64) * self.max_steps) + 1
        return np.minimum(steps / self.max_steps, 1).astype(np.float32)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key in self.memory_keys:
            time = self._take(tensordict, key)
            next_tensordict.set(key, torch.from_numpy(self._after(time.cpu().numpy())).to(time.device))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        for key, done_key in zip(self.memory_keys, self._done_keys, strict=True):
            tensordict_reset.set(key, torch.zeros_like(tensordict_reset.get(done_key), dtype=torch.float32))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        times = [(columns.stepped[key], columns.following.outer[key]) for key in self.memory_keys]
        starts = [columns.root.outer[key] for key in self.memory_keys]

        def step(row: int) -> None:
            for before, after in times:
                after[row] = self._after(before[row])

        def reset(row: int, masks: Masks | None) -> None:
            for time in starts:
                time[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the times."""
        specs = super().transform_specs(specs)
        observation, high = specs["observation"].clone(), 1.0 if self.max_steps else torch.inf
        for key, done_key in zip(self.memory_keys, self._done_keys, strict=True):
            leaf = specs["done"][done_key]
            self._added(observation, key, Bounded(0.0, high, leaf.shape, device=leaf.device))
        return {**specs, "observation": observation}


class DelayObservation(Transform):
    """Shows what was observed some steps ago; zeros until there is such a thing.

    What is still to come stands beside the result, as ``"<name>_coming"`` with ``delay`` frames after the batch
    dimensions.

    Args:
        delay: how many steps.
        in_keys: observations; ``["observation"]`` by default.
        out_keys: names of the delayed ones; by default they replace the observations.

    Raises:
        SpecError: an observation is unknown, cannot be zero, or would be replaced though the env's next step reads it.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), DelayObservation(2, out_keys=["late"]))
        >>> data = env.rollout(5)
        >>> torch.equal(data["late"][2:], data["observation"][:-2]), data["late"][:2].any()
        (True, tensor(False))
    """

    env_only = "DelayObservation looks at the steps of an env one after the other; stored data has what was shown"

    def __init__(self, delay: int, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__(["observation"] if in_keys is None else in_keys, out_keys)
        if delay < 1:
            raise ValueError(f"DelayObservation: delay: expected at least 1, found {delay}")
        self.delay = delay
        self._batch_dims = 0

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The frames to come."""
        return [sibling(key, f"{path_of(key)[-1]}_coming") for key in self.out_keys]

    def _entries(self) -> zip[tuple[NestedKey, NestedKey, NestedKey]]:
        return zip(self.in_keys, self.out_keys, self.memory_keys, strict=True)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        dim = next_tensordict.batch_dims
        for in_key, out_key, key in self._entries():
            before, frame = self._take(tensordict, key), self._take(next_tensordict, in_key)
            next_tensordict.set(out_key, before.select(dim, 0))
            next_tensordict.set(key, torch.cat([before.narrow(dim, 1, self.delay - 1), frame.unsqueeze(dim)], dim))
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        dim = tensordict_reset.batch_dims
        for in_key, out_key, key in self._entries():
            frame = self._take(tensordict_reset, in_key)
            nothing = torch.zeros_like(frame)
            tensordict_reset.set(out_key, nothing)
            tensordict_reset.set(key, torch.stack([*[nothing] * (self.delay - 1), frame], dim))
        return tensordict_reset

    def _bind_rows(self, columns: Columns) -> RowForm:
        frames, shown = columns.following
        starts, first = columns.root
        steps = [(columns.stepped[key], frames[in_key], shown[key], shown[out]) for in_key, out, key in self._entries()]
        resets = [(starts[in_key], first[key], first[out]) for in_key, out, key in self._entries()]
        lead = (slice(None),) * self._batch_dims
        last = self.delay - 1

        def step(row: int) -> None:
            for before, frame, after, late in steps:
                old, kept = before[row], after[row]
                kept[(*lead, last)] = frame[row]
                kept[(*lead, slice(0, last))] = old[(*lead, slice(1, None))]
                late[row] = old[(*lead, 0)]

        def reset(row: int, masks: Masks | None) -> None:
            for frame, kept, late in resets:
                kept[row][(*lead, last)] = frame[row]
                kept[row][(*lead, slice(0, last))] = 0
                late[row] = 0

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the frames to come."""
        refuse_unknown(self, self.in_keys, [specs["observation"]], "in_keys")
        self._batch_dims = dims = len(specs["observation"].shape)
        out = super().transform_specs(specs)
        observation = out["observation"].clone()
        for in_key, out_key, key in self._entries():
            if in_key == out_key and in_key in specs["state"].keys(True):
                raise SpecError(
                    f"DelayObservation: expected another out_key than {in_key!r}, which the env's next step reads"
                )
            leaf = observation[out_key]
            sizes = (*leaf.shape[:dims], self.delay, *leaf.shape[dims:])
            observation[key] = leaf.unsqueeze(dims).expand(sizes)
        return {**out, "observation": observation}

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if isinstance(leaf, Bounded):
            low, high = leaf.low.clamp(max=0), leaf.high.clamp(min=0)
            return Bounded(low, high, leaf.shape, dtype=leaf.dtype, device=leaf.device)
        if not leaf.is_in(torch.zeros_like(leaf.zero())):
            raise ValueError(f"expected values that can be zero, found {leaf}")
        return leaf
