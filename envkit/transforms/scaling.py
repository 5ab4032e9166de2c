"""Scaling: of rewards by given numbers, of actions and observations from their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import NestedKey

from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, TensorSpec
from envkit.transforms.affine import Affine, float_dtype
from envkit.transforms.keys import Keys

if TYPE_CHECKING:
    from typing import Any

__all__ = ["ActionScaling", "ObservationScaling", "RewardScaling"]


class RewardScaling(Affine):
    """Scales rewards by an affine map: ``r * scale + loc``, or ``(r - loc) / scale`` for a standard normal.

    Args:
        loc: the offset; a number, or a tensor that broadcasts to the reward.
        scale: the factor; likewise.
        in_keys: rewards to scale, ``["reward"]`` by default.
        out_keys: their names outside.
        standard_normal: subtract ``loc`` and divide by ``scale`` instead.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), RewardScaling(loc=0.0, scale=0.1))
        >>> env.rollout(2)["next", "reward"].squeeze(-1)
        tensor([0.1000, 0.1000])
    """

    def __init__(
        self,
        loc: float | torch.Tensor,
        scale: float | torch.Tensor,
        in_keys: Keys = None,
        out_keys: Keys = None,
        standard_normal: bool = False,
    ) -> None:
        super().__init__(
            loc, scale, ["reward"] if in_keys is None else in_keys, out_keys, standard_normal=standard_normal
        )


class _FromBounds(Affine):
    """A scaling of one entry whose ``loc`` and ``scale`` follow from its bounds; abstract."""

    _batch_dims = 0

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Takes ``loc`` and ``scale`` from the bounds, if they were not given."""
        self._batch_dims = len(specs["observation"].shape)
        return super().transform_specs(specs)

    def _missing(self) -> str:
        return f"{type(self).__name__}: expected the bounds of an env, found none; put it on an env first"

    def _bounds(self, leaf: TensorSpec) -> tuple[torch.Tensor, torch.Tensor]:
        """The bounds of a leaf as floats, without batch dimensions where they are the same for the whole batch."""
        if not isinstance(leaf, Bounded) or not bool((leaf.low.isfinite() & leaf.high.isfinite()).all()):
            raise SpecError(f"expected finite bounds, found {leaf}")
        first = (0,) * self._batch_dims
        alike = all(bool((end == end[first]).all()) for end in (leaf.low, leaf.high))
        low, high = ((end[first] if alike else end).to(float_dtype(leaf)) for end in (leaf.low, leaf.high))
        if bool((low == high).any()):
            raise SpecError(f"expected low < high, found {leaf}")
        return low, high


class ActionScaling(_FromBounds):
    """Lets the policy act in [-1, 1] (or [0, 1]), and scales its actions to the bounds of the env.

    The env gets ``action * scale + loc``, brought back to its bounds if the policy, or rounding, left them.

    Args:
        loc: the action of the env at 0; by default the middle between its bounds (or the lower one).
        scale: what 1 adds to that; by default half the distance between its bounds (or all of it).
        in_keys_inv: the action, ``"action"`` by default; one, as several have several bounds.
        out_keys_inv: its name outside.
        standard_normal: [-1, 1] by default; False for [0, 1]. With ``loc`` and ``scale`` given, the bounds outside
            follow from them.

    Raises:
        SpecError: the env's action has no finite bounds.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), ActionScaling())
        >>> env.base_env.action_spec.high, env.action_spec.high
        (tensor([2.]), tensor([1.]))
        >>> env.transform.inv(env.rand_action())["action"].abs() <= 2
        tensor([True])
    """

    def __init__(
        self,
        loc: float | torch.Tensor | None = None,
        scale: float | torch.Tensor | None = None,
        in_keys_inv: NestedKey = "action",
        out_keys_inv: NestedKey | None = None,
        standard_normal: bool = True,
    ) -> None:
        super().__init__(
            loc,
            scale,
            in_keys_inv=_single("ActionScaling", in_keys_inv),
            out_keys_inv=out_keys_inv,
            standard_normal=True,
        )
        self._given, self._symmetric = loc is not None, standard_normal

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        low, high = self._limits_inv = self._bounds(leaf)
        if self._given:
            return super()._transform_leaf(leaf)
        self.scale = (high / 2 - low / 2) if self._symmetric else high - low
        self.loc = (high / 2 + low / 2) if self._symmetric else low
        least = -1.0 if self._symmetric else 0.0
        self._limits = torch.full_like(low, least), torch.ones_like(low)
        return Bounded(least, 1.0, leaf.shape, dtype=low.dtype, device=leaf.device)


class ObservationScaling(_FromBounds):
    """Scales an observation from its bounds to others.

    Args:
        low: the lower bound outside; a number, or a tensor that broadcasts to the observation.
        high: the upper bound outside; likewise.
        in_keys: the observation, ``"observation"`` by default; one, as several have several bounds.
        out_keys: its name outside.

    Raises:
        ValueError: ``low`` is not below ``high``.
        SpecError: the observation has no finite bounds.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), ObservationScaling(-1.0, 1.0))
        >>> env.base_env.observation_spec["observation"].high, env.observation_spec["observation"].high
        (tensor([1., 1., 8.]), tensor([1., 1., 1.]))
    """

    def __init__(
        self,
        low: float | torch.Tensor = -1.0,
        high: float | torch.Tensor = 1.0,
        in_keys: NestedKey = "observation",
        out_keys: NestedKey | None = None,
    ) -> None:
        super().__init__(None, None, _single("ObservationScaling", in_keys), out_keys, standard_normal=False)
        self.low, self.high = torch.as_tensor(low), torch.as_tensor(high)
        if not bool((self.low < self.high).all()):
            raise ValueError(f"ObservationScaling: expected low < high, found low={low}, high={high}")

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        low, high = self._bounds(leaf)
        least, most = (end.to(low).expand(low.shape).clone() for end in (self.low, self.high))
        self.scale = (most - least) / (high - low)
        self.loc = least - low * self.scale
        self._limits = least, most
        return Bounded(least, most, leaf.shape, dtype=low.dtype, device=leaf.device)


def _single(name: str, keys: Any) -> list[NestedKey]:
    if isinstance(keys, list):
        if len(keys) != 1:
            raise ValueError(f"{name}: expected one key, found {keys}; use one transform for each")
        return keys
    return [keys]
