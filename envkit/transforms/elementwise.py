"""Changes of single values that need nothing but the value: clips, signs, functions of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.functional import clip, sign
from envkit.transforms.keys import Keys
from envkit.transforms.leaves import refuse_unknown

__all__ = ["ClipTransform", "ObservationTransform", "SignTransform", "UnaryTransform"]


class ObservationTransform(Transform):
    """Base class of transforms that change observations only; abstract.

    Args:
        in_keys: observations to change, ``["observation"]`` by default.
        out_keys: their names outside.

    Raises:
        SpecError: an in key is none of the env's observations.

    Examples:
        >>> from tensordict import TensorDict
        >>> class Squared(ObservationTransform):
        ...     def _apply_transform(self, value):
        ...         return value**2
        >>> Squared()(TensorDict({"observation": torch.tensor([2.0])}))["observation"]
        tensor([4.])
    """

    def __init__(self, in_keys: Keys = None, out_keys: Keys = None) -> None:
        super().__init__(["observation"] if in_keys is None else in_keys, out_keys)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Checks that all in keys are observations."""
        refuse_unknown(self, self.in_keys, [specs["observation"]], "in_keys")
        return super().transform_specs(specs)


class Clip(Transform):
    """Clips numbers to bounds; abstract.

    Args:
        in_keys: entries to clip.
        out_keys: their names outside.
        in_keys_inv: actions (or states) to clip before the env gets them.
        out_keys_inv: their names outside.
        low: the lower bound; None for none.
        high: the upper bound; None for none.
    """

    takes_arrays = True

    def __init__(
        self,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        low: float | None,
        high: float | None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        name = type(self).__name__
        if low is None and high is None:
            raise ValueError(f"{name}: expected a lower bound, an upper bound or both, found none")
        if low is not None and high is not None and not low <= high:
            raise ValueError(f"{name}: expected a lower bound up to the upper one, found {low} and {high}")
        self.low, self.high = low, high

    def _apply_transform(self, value: Any) -> Any:
        return clip(value, self.low, self.high)

    def _inv_apply_transform(self, value: Any) -> Any:
        return clip(value, self.low, self.high)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if clip(leaf.zero(), self.low, self.high).dtype is not leaf.dtype:
            raise SpecError(f"expected bounds that {leaf.dtype} can hold, found {self.low} and {self.high}")
        if isinstance(leaf, Bounded):
            low, high = (clip(end, self.low, self.high) for end in (leaf.low, leaf.high))
            return Bounded(low, high, leaf.shape, leaf.device, leaf.dtype)
        least, most = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        return Bounded(least, most, leaf.shape, leaf.device, leaf.dtype)

    def extra_repr(self) -> str:
        """The keys and the bounds."""
        return f"{super().extra_repr()}, low={self.low}, high={self.high}"


class ClipTransform(Clip):
    """Clips numbers to bounds; actions on their way in.

    Args:
        in_keys: entries to clip, of the observation, the reward, or both.
        out_keys: their names outside.
        in_keys_inv: actions (or states) to clip before the env gets them.
        out_keys_inv: their names outside.
        low: the lower bound, none by default.
        high: the upper bound, none by default.

    Raises:
        ValueError: there are no keys or no bounds, or the bounds cross.
        SpecError: bounds of an integer entry are no integers.

    Examples:
        >>> from tensordict import TensorDict
        >>> ClipTransform(["x"], low=-1.0, high=1.0)(TensorDict({"x": torch.tensor([-3.0, 0.5])}))["x"]
        tensor([-1.0000,  0.5000])
    """

    def __init__(
        self,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        if not in_keys and not in_keys_inv:
            raise ValueError("ClipTransform: expected in_keys or in_keys_inv, found none")
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv, low=low, high=high)


class SignTransform(Transform):
    """Replaces numbers by their sign: -1, 0 or 1.

    Args:
        in_keys: entries to replace, ``["reward"]`` by default.
        out_keys: their names outside.
        in_keys_inv: actions (or states) of which the env gets the sign.
        out_keys_inv: their names outside.

    Examples:
        >>> from tensordict import TensorDict
        >>> SignTransform()(TensorDict({"reward": torch.tensor([-7.5])}))["reward"]
        tensor([-1.])
    """

    takes_arrays = True

    def __init__(
        self, in_keys: Keys = None, out_keys: Keys = None, in_keys_inv: Keys = None, out_keys_inv: Keys = None
    ) -> None:
        if in_keys is None and in_keys_inv is None:
            in_keys = ["reward"]
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)

    def _apply_transform(self, value: Any) -> Any:
        return sign(value)

    def _inv_apply_transform(self, value: Any) -> Any:
        return sign(value)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if isinstance(leaf, Bounded):
            return Bounded(leaf.low.sign(), leaf.high.sign(), leaf.shape, leaf.device, leaf.dtype)
        signed = leaf.zero().dtype.is_signed
        return Bounded(-1 if signed else 0, 1, leaf.shape, leaf.device, leaf.dtype)


class UnaryTransform(Transform):
    """Applies a function of one value on the way out, and another on the way in.

    Shape and dtype of what they return are found by calling ``fn`` with zeros when the env is built.

    Args:
        in_keys: entries that ``fn`` is applied to.
        out_keys: their names outside.
        in_keys_inv: actions (or states) that ``inv_fn`` makes on the way in.
        out_keys_inv: their names outside, where ``inv_fn`` finds them.
        fn: takes a tensor and returns one. If there are ``in_keys_inv``, it turns what the env takes into what is shown
            of it; values outside are like those inside by default.
        inv_fn: takes a tensor and returns one, for ``in_keys_inv``.

    Raises:
        ValueError: there are keys without their function.
        SpecError: a function raises something on zeros, or ``inv_fn`` does not give what the env takes.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> norm = UnaryTransform("observation", "size", fn=lambda obs: obs.norm(dim=-1, keepdim=True))
        >>> TransformedEnv(GymEnv("CartPole-v1"), norm).rollout(3)["size"].shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
        inv_fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        for keys, function, name in ((self.in_keys, fn, "fn"), (self.in_keys_inv, inv_fn, "inv_fn")):
            if keys and function is None:
                raise ValueError(f"UnaryTransform: expected {name} for the keys {keys}, found none")
        self.fn, self.inv_fn = fn, inv_fn

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value if self.fn is None else self.fn(value)

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value if self.inv_fn is None else self.inv_fn(value)
