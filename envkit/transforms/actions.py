"""Actions in another form, and legal ones."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, TensorSpec
from envkit.transforms.base import Transform

__all__ = ["ActionMask", "DiscreteActionProjection", "FlattenAction"]


class FlattenAction(Transform):
    """Lets the policy write an action of several dimensions as one of a single dimension.

    Args:
        in_keys_inv: the action, ``"action"`` by default; one, as several have several shapes.
        out_keys_inv: its name outside; the same by default.

    Raises:
        SpecError: the env's action has no dimensions.

    Examples:
        >>> from envkit import Bounded, Composite
        >>> specs = {name: Composite() for name in ("state", "observation", "reward", "done")}
        >>> flatten = FlattenAction()
        >>> flatten.transform_specs({"action": Composite(action=Bounded(-1, 1, (2, 3))), **specs})["action"]["action"]
        Bounded(shape=[6], low=-1.0, high=1.0, dtype=float32)
        >>> flatten._inv_apply_transform(torch.zeros(5, 6)).shape
        torch.Size([5, 2, 3])
    """

    takes_arrays = True

    def __init__(self, in_keys_inv: NestedKey = "action", out_keys_inv: NestedKey | None = None) -> None:
        super().__init__(in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        if len(self.in_keys_inv) != 1:
            raise ValueError(f"FlattenAction: expected one key, found {self.in_keys_inv}; use one transform for each")
        self._batch_dims = 0
        self._shape: torch.Size | None = None

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds out the shape of one action."""
        self._batch_dims = len(specs["action"].shape)
        return super().transform_specs(specs)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        self._shape = leaf.shape[self._batch_dims :]
        if not self._shape:
            raise SpecError(f"expected an action with dimensions, found {leaf}")
        return leaf.flatten(self._batch_dims)

    def _known_shape(self) -> torch.Size:
        if self._shape is None:
            raise RuntimeError(
                "FlattenAction: expected the shape of an env's action, found none; put it on an env first"
            )
        return self._shape

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        shape = self._known_shape()
        return value.reshape((*value.shape[: value.ndim - len(shape)], shape.numel()))

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return value.reshape((*value.shape[:-1], *self._known_shape()))


class ActionMask(Transform):
    """Draws random actions among those that a mask in the data allows.

    The mask is True where a category is allowed. It belongs to what was observed before the action, so nothing is
    remembered, and no spec is changed: ``env.rand_action`` and rollouts without a policy look at the data.

    Args:
        action_key: a discrete action.
        mask_key: its mask, boolean of shape ``[*shape, n]`` for a :class:`~envkit.Categorical` of that shape, or of the
            action's own shape for a :class:`~envkit.OneHot`; those of several variables one after the other.

    Raises:
        SpecError: the action is not discrete, or there is no mask of its shape.
        ValueError: a mask allows nothing (when an action is drawn).

    Examples:
        >>> from envkit import TicTacToeEnv, TransformedEnv
        >>> env = TransformedEnv(TicTacToeEnv(), ActionMask(mask_key="mask"))
        >>> env.rollout(3)["action"].unique().numel()
        3
    """

    env_only = "ActionMask draws actions in an env; on stored data there is nothing to draw"

    def __init__(self, action_key: NestedKey = "action", mask_key: NestedKey = "action_mask") -> None:
        super().__init__()
        self.action_key, self.mask_key = action_key, mask_key
        self._leaf: Any = None

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Checks that action and mask fit."""
        leaf, mask = specs["action"].get(self.action_key, None), specs["observation"].get(self.mask_key, None)
        if not isinstance(leaf, (Categorical, OneHot, MultiCategorical, MultiOneHot)):
            raise SpecError(f"ActionMask: {self.action_key!r}: expected a discrete action, found {leaf}")
        if isinstance(leaf, Categorical):
            expected = (*leaf.shape, leaf.n)
        elif isinstance(leaf, MultiCategorical):
            expected = (*leaf.shape[:-1], sum(leaf._blocks()))
        else:
            expected = tuple(leaf.shape)
        if mask is None or mask.dtype is not torch.bool or tuple(mask.shape) != expected:
            raise SpecError(
                f"ActionMask: {self.mask_key!r}: expected a mask of dtype torch.bool and shape {list(expected)}, found "
                f"{mask if mask is None else f'{mask.dtype} of shape {list(mask.shape)}'}"
            )
        self._leaf = leaf
        return super().transform_specs(specs)

    def _rand_action(self, tensordict: TensorDictBase, generator: torch.Generator | None) -> TensorDictBase:
        mask = tensordict.get(self.mask_key, None)
        if mask is None:
            return tensordict  # nothing was observed yet
        leaf = self._leaf.clone()
        leaf.update_mask(mask)
        return tensordict.set(self.action_key, leaf.rand(generator=generator))


class DiscreteActionProjection(Transform):
    """Shows more actions than an env has, and replaces those that it lacks by random ones that it has.

    So that one policy may act in envs with different numbers of actions.

    Args:
        num_actions_effective: how many actions the env has.
        max_actions: how many are shown.
        action_key: the action, a :class:`~envkit.Categorical` or a :class:`~envkit.OneHot`.

    Raises:
        ValueError: fewer actions would be shown than there are.
        SpecError: the env's action is not discrete, or has another number of categories.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), DiscreteActionProjection(2, 5))
        >>> env.action_spec
        Categorical(shape=[], n=5, dtype=int64)
        >>> env.transform._inv_call(env.rand_action())["action"] < 2
        tensor(True)
    """

    def __init__(self, num_actions_effective: int, max_actions: int, action_key: NestedKey = "action") -> None:
        super().__init__(in_keys_inv=action_key)
        if not 0 < num_actions_effective <= max_actions:
            raise ValueError(
                f"DiscreteActionProjection: expected num_actions_effective from 1 to max_actions, found "
                f"{num_actions_effective} and {max_actions}"
            )
        self.num_actions_effective, self.max_actions = num_actions_effective, max_actions
        self._one_hot = False
        self._generator: torch.Generator | None = None

    def set_seed(self, seed: int | None) -> None:
        """Seeds the stream that replacements come from."""
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(value, (0, self.max_actions - value.shape[-1])) if self._one_hot else value

    def _inv_apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        index = value.int().argmax(-1) if self._one_hot else value
        drawn = torch.randint(self.num_actions_effective, index.shape, generator=self._generator, dtype=index.dtype)
        index = torch.where(index < self.num_actions_effective, index, drawn.to(index.device))
        if not self._one_hot:
            return index
        return torch.nn.functional.one_hot(index, self.num_actions_effective).to(value.dtype)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        if not isinstance(leaf, (Categorical, OneHot)) or leaf.n != self.num_actions_effective:
            raise SpecError(f"expected a discrete action with {self.num_actions_effective} categories, found {leaf}")
        self._one_hot = isinstance(leaf, OneHot)
        if self._one_hot:
            return OneHot(self.max_actions, (*leaf.shape[:-1], self.max_actions), leaf.device, leaf.dtype)
        return Categorical(self.max_actions, leaf.shape, leaf.device, leaf.dtype)
