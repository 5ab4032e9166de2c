"""Done flags: raised by a predicate, or expanded to other shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.errors import EnvDataError, SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.functional import expand_to
from envkit.transforms.keys import Keys, listed, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import Columns, RowForm, Sides

__all__ = ["DoneTransform", "ExpandAs", "TerminateTransform"]


class TerminateTransform(Transform):
    """Ends episodes where a predicate says so: raises ``terminated``, and ``done`` with it.

    Args:
        stop: takes what a step delivered, and returns a boolean of the shape ``[*batch]`` or of the flag's.
        done_key: the flag ``done``, beside which ``terminated`` stands.
        write_done: whether ``done`` is raised as well.

    Raises:
        SpecError: the env has no such flags.
        EnvDataError: the predicate returns something else (at the first step).

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> stop = TerminateTransform(lambda td: td["observation"][..., 0] > -0.9)
        >>> data = TransformedEnv(GymEnv("MountainCar-v0"), stop).rollout(5)
        >>> data["next", "terminated"].squeeze(-1)
        tensor([True])
    """

    env_only = "TerminateTransform ends the episodes of an env; stored ones have ended where they have"

    def __init__(
        self, stop: Callable[[TensorDictBase], torch.Tensor], done_key: NestedKey = "done", write_done: bool = True
    ) -> None:
        super().__init__()
        if not callable(stop):
            raise TypeError(f"TerminateTransform: stop: expected a function, found {type(stop).__name__}")
        self.stop, self.done_key, self.write_done = stop, done_key, write_done

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        done, key = next_tensordict.get(self.done_key), sibling(self.done_key, "terminated")
        over = torch.as_tensor(self.stop(next_tensordict), device=done.device)
        if over.dtype is not torch.bool or over.shape not in (done.shape, done.shape[:-1]):
            raise EnvDataError(
                f"TerminateTransform: stop: expected torch.bool of shape {list(done.shape)} or "
                f"{list(done.shape[:-1])}, found {over.dtype} of shape {list(over.shape)}"
            )
        over = over.reshape(done.shape)
        next_tensordict.set(key, next_tensordict.get(key) | over)
        if self.write_done:
            next_tensordict.set(self.done_key, done | over)
        return next_tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Checks that the flags are there."""
        refuse_unknown(self, [self.done_key, sibling(self.done_key, "terminated")], [specs["done"]], "done_key")
        return super().transform_specs(specs)


class _Expand(Transform):
    """Shows entries in the shape of another one; abstract.

    Args:
        in_keys: entries of shape ``[*batch]`` or ``[*batch, 1]``.
        ref_key: the entry whose shape they get.
        out_keys: where they go.
    """

    def __init__(self, in_keys: Keys, ref_key: NestedKey, out_keys: Keys) -> None:
        super().__init__(in_keys, out_keys)
        self.ref_key = ref_key
        # That of one value. A reference that comes with steps alone tells nothing after a reset.
        self._shape: torch.Size | None = None

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        if self._shape is None:
            return self._expand(next_tensordict, self._take(next_tensordict, self.ref_key).shape)
        return self._expand(next_tensordict, torch.Size((*next_tensordict.batch_size, *self._shape)))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Expands the entries of a TensorDict, and under ``"next"``; the reference may be there alone."""
        following = tensordict.get("next", None)
        reached = [tensordict] if following is None else [tensordict, following]
        with_reference = next((td for td in reached if td.get(self.ref_key, None) is not None), tensordict)
        for key in self.in_keys:
            self._take(next((td for td in reached if td.get(key, None) is not None), tensordict), key)
        shape = self._take(with_reference, self.ref_key).shape
        for td in reached:
            self._expand(td, shape)
        return tensordict

    def _expand(self, tensordict: TensorDictBase, shape: torch.Size) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            value = tensordict.get(in_key, None)
            if value is not None:
                tensordict.set(out_key, expand_to(value, shape).clone())
        return tensordict

    def _bind_rows(self, columns: Columns) -> RowForm:
        keys = list(zip(self.in_keys, self.out_keys, strict=True))

        def pairs(side: Sides) -> list[tuple[np.ndarray, np.ndarray]]:
            """Columns to read and write, the first in as many dimensions."""
            found = [(side.inner[source], side.outer[target]) for source, target in keys if source in side.inner]
            return [(one.reshape((*one.shape, *(1,) * (other.ndim - one.ndim))), other) for one, other in found]

        following, root = pairs(columns.following), pairs(columns.root)

        def step(row: int) -> None:
            for source, target in following:
                target[row] = source[row]

        def reset(row: int, masks: Masks | None) -> None:
            for source, target in root:
                target[row] = source[row]

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds what is expanded: to the rewards if it is one, else to the observations."""
        outputs = [specs[role] for role in ("observation", "reward", "done")]
        refuse_unknown(self, [self.ref_key], outputs, "ref_key")
        refuse_unknown(self, self.in_keys, outputs, "in_keys")
        batch = specs["observation"].shape
        reference = next(spec[self.ref_key] for spec in outputs if spec.get(self.ref_key, None) is not None)
        self._shape = reference.shape[len(batch) :]
        out = {**specs, "observation": specs["observation"].clone(), "reward": specs["reward"].clone()}
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            role = "reward" if specs["reward"].get(in_key, None) is not None else "observation"
            leaf = next(spec[in_key] for spec in outputs if spec.get(in_key, None) is not None)
            if leaf.shape not in (batch, (*batch, 1)):
                raise SpecError(
                    f"{type(self).__name__}: {in_key!r}: expected shape {list(batch)} or {[*batch, 1]}, found "
                    f"{list(leaf.shape)}"
                )
            ones = (1,) * (reference.ndim - len(batch))
            out[role][out_key] = leaf.reshape((*batch, *ones)).expand(reference.shape)
        return out


class ExpandAs(_Expand):
    """Shows entries in the shape of another one, by repeating them along its dimensions.

    Args:
        in_keys: entries of shape ``[*batch]`` or ``[*batch, 1]``.
        ref_key: the entry whose shape they get.
        out_keys: where they go.

    Raises:
        SpecError: the env has no such entries, or the shapes do not fit.

    Examples:
        >>> from tensordict import TensorDict
        >>> td = TensorDict({"team": torch.tensor([[1.0]]), "agents": {"reward": torch.zeros(1, 3, 1)}}, [1])
        >>> ExpandAs("team", ("agents", "reward"), ("agents", "team"))(td)["agents", "team"].shape
        torch.Size([1, 3, 1])
    """


class DoneTransform(_Expand):
    """Shows the env's done flags beside the rewards of a group, in the shape of those, for losses of many agents.

    They are copies among the observations: what ends episodes stays as it is.

    Args:
        reward_key: the rewards of the group.
        done_keys: the flags, ``["done", "terminated"]`` by default; their copies are called the same.

    Raises:
        SpecError: the env has no such rewards or flags.

    Examples:
        >>> from tensordict import TensorDict
        >>> flags = {"done": torch.tensor([[True]]), "terminated": torch.tensor([[False]])}
        >>> td = TensorDict({**flags, "agents": {"reward": torch.zeros(1, 3, 1)}}, [1])
        >>> DoneTransform(("agents", "reward"))(td)["agents", "done"].flatten()
        tensor([True, True, True])
    """

    def __init__(self, reward_key: NestedKey, done_keys: Keys = None) -> None:
        flags = ["done", "terminated"] if done_keys is None else listed(done_keys)
        if not isinstance(reward_key, tuple):
            raise ValueError(f"DoneTransform: reward_key: expected the key of a group's reward, found {reward_key!r}")
        super().__init__(flags, reward_key, [sibling(reward_key, path_of(key)[-1]) for key in flags])
