"""Done flags: raised by a predicate, or expanded to other shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import path_of
from envkit.errors import EnvDataError, SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.functional import expand_as
from envkit.transforms.keys import Keys, listed, sibling
from envkit.transforms.leaves import refuse_unknown

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


class ExpandAs(Transform):
    """Shows entries in the shape of another one, by repeating them along its dimensions.

    Args:
        in_keys: entries of shape ``[*batch]`` or ``[*batch, 1]``.
        ref_key: the entry whose shape they get.
        out_keys: where they go.

    Raises:
        SpecError: the env has no such entries, or the shapes do not fit.

    Examples:
        >>> from tensordict import TensorDict
        >>> td = TensorDict({"done": torch.tensor([[True]]), "agents": {"reward": torch.zeros(1, 3, 1)}}, [1])
        >>> ExpandAs("done", ("agents", "reward"), ("agents", "over"))(td)["agents", "over"].shape
        torch.Size([1, 3, 1])
    """

    def __init__(self, in_keys: Keys, ref_key: NestedKey, out_keys: Keys) -> None:
        super().__init__(in_keys, out_keys)
        self.ref_key = ref_key

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        reference = next_tensordict.get(self.ref_key, None)
        if reference is None:
            return next_tensordict
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            value = next_tensordict.get(in_key, None)
            if value is not None:
                next_tensordict.set(out_key, expand_as(value, reference).clone())
        return next_tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the expanded entries to the observations, or to the rewards what was one."""
        outputs = [specs[role] for role in ("observation", "reward", "done")]
        refuse_unknown(self, [self.ref_key], outputs, "ref_key")
        refuse_unknown(self, self.in_keys, outputs, "in_keys")
        return specs
