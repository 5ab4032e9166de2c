"""A function on TensorDicts as a transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, is_leaf_nontensor

from envkit.errors import EnvDataError, SpecError
from envkit.specs import Categorical, Composite, TensorSpec, make_composite_from_td
from envkit.transforms.base import Transform

__all__ = ["FunctionTransform"]

OUTPUTS = ("observation", "reward", "done")


class FunctionTransform(Transform):
    """A function on TensorDicts, called with what comes out of every reset and step.

    What a reset delivers has no reward, so the function has to do without one there. Specs are found when the
    env is built, by calling it with zeros: entries that it leaves alone keep their specs, of others shape and dtype are
    known, and entries that it takes out are gone.

    Args:
        function: takes a TensorDict and returns one; None stands for the one it was given. A module's parameters become
            part of the transform's state.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), lambda td: td.set("angle", td["observation"][..., 2:3]))
        >>> env.rollout(3)["angle"].shape
        torch.Size([3, 1])
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        out = self.function(next_tensordict)
        if out is None:
            return next_tensordict
        if not isinstance(out, TensorDictBase):
            raise EnvDataError(f"{self._name()}: expected it to return a TensorDict, found {type(out).__name__}")
        return out

    def forward(self, tensordict: Any) -> Any:
        """Calls the function with the data as it is; under ``"next"`` only the function itself may look."""
        out = self.function(tensordict)
        return tensordict if out is None else out

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds out what the function does to zeros.

        Raises:
            SpecError: it raises something on them, or adds an entry after a step that is not there after a reset.
        """
        first = self._try({role: specs[role] for role in ("observation", "done")}, "a reset")
        after = self._try({role: specs[role] for role in OUTPUTS}, "a step")
        out = {role: spec.clone() for role, spec in specs.items()}
        for role in OUTPUTS:
            for key, leaf in specs[role].items(True, True):
                if key not in after:
                    del out[role][key]
                else:
                    out[role][key] = _spec_of(*after.pop(key), leaf)
        for key, (value, _) in after.items():
            if key not in first:
                raise SpecError(
                    f"{self._name()}: expected the same entries after a reset and after a step, found {key!r} after a "
                    f"step alone; after a reset there is no reward"
                )
            out["observation"][key] = _described(value, specs["observation"])
        return out

    def _try(self, specs: dict[str, Composite], when: str) -> dict[NestedKey, tuple[Any, bool]]:
        """What the function makes of zeros: each entry, and whether it was left alone."""
        shape = specs["observation"].shape
        given = TensorDict({}, shape, device=specs["observation"].device)
        for spec in specs.values():
            given.update(spec.zero())
        before = dict(given.items(True, True, is_leaf=is_leaf_nontensor))
        try:
            out = self._call(given)
        except Exception as error:  # whatever the function raises
            raise SpecError(
                f"{self._name()}: it raises {error!r} on what {when} delivers: {sorted(map(str, before))}"
            ) from error
        return {
            key: (value, before.get(key) is value) for key, value in out.items(True, True, is_leaf=is_leaf_nontensor)
        }

    def _name(self) -> str:
        return f"FunctionTransform of {getattr(self.function, '__name__', type(self.function).__name__)}"

    def extra_repr(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)


def _spec_of(value: Any, untouched: bool, leaf: TensorSpec) -> TensorSpec:
    """The spec of an entry that had the spec ``leaf``."""
    if untouched or (leaf.dtype is torch.bool and value.dtype is torch.bool and value.shape == leaf.shape):
        return leaf
    return _described(value, leaf)


def _described(value: Any, like: TensorSpec) -> TensorSpec:
    if isinstance(value, torch.Tensor) and value.dtype is torch.bool:
        return Categorical(2, value.shape, dtype=torch.bool, device=like.device)
    return make_composite_from_td(TensorDict({"value": value}), unsqueeze_null_shapes=False)["value"]
