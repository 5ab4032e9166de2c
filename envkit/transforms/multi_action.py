"""Several actions at once."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import merge_step, put_masks, read_masks
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.inside import env_inside
from envkit.transforms.keys import sibling

__all__ = ["MultiAction"]


class MultiAction(Transform):
    """Takes ``num_actions`` actions at once, and executes one after the other.

    Actions have a dimension more, the first after the batch. An episode that ends meanwhile is not stepped on: its last
    observation stands, and steps that were not made earn 0.

    Args:
        num_actions: how many.
        stack_rewards: whether the rewards of all steps are shown, with a dimension more as well; if not, their sum.
        stack_observations: whether the observations of all steps are shown, likewise; if not, the last. A reset shows
            its own as often.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), MultiAction(4))
        >>> env.action_spec.shape, env.rollout(3)["next", "reward"].shape
        (torch.Size([4, 1]), torch.Size([3, 4, 1]))
    """

    env_only = "MultiAction executes the actions of an env; stored data has the steps it has"
    sees_masks = True

    def __init__(self, num_actions: int, *, stack_rewards: bool = True, stack_observations: bool = False) -> None:
        super().__init__()
        if num_actions < 1:
            raise ValueError(f"MultiAction: num_actions: expected at least 1, found {num_actions}")
        self.num_actions = num_actions
        self.stack_rewards, self.stack_observations = stack_rewards, stack_observations
        self._keys: dict[str, list[NestedKey]] = {"action": [], "observation": [], "reward": []}

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._inner(tensordict, 0)

    def _inner(self, tensordict: TensorDictBase, index: int) -> TensorDictBase:
        """The input of the env inside for one of the actions; changes ``tensordict``."""
        dim = tensordict.batch_dims
        for key in self._keys["action"]:
            tensordict.set(key, self._take(tensordict, key).select(dim, index))
        if self.stack_observations:
            for key in self._keys["observation"]:
                value = tensordict.get(key, None)
                if value is not None:
                    tensordict.set(key, value.select(dim, -1))
        return tensordict

    def _reset_env_preprocess(self, tensordict: TensorDictBase | None) -> TensorDictBase | None:
        if tensordict is None or not self.stack_observations:
            return tensordict
        tensordict = tensordict.copy()
        for key in self._keys["observation"]:
            value = tensordict.get(key, None)
            if value is not None:
                tensordict.set(key, value.select(tensordict.batch_dims, -1))
        return tensordict

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        env, dim = env_inside(self), tensordict.batch_dims
        plan = env.plan_for(tensordict.batch_size)
        asked = read_masks(tensordict, plan, "_step") or {}
        plain = tensordict.exclude(*asked)
        steps = [next_tensordict]
        for index in range(1, self.num_actions):
            given = env.step_mdp(self._inner(plain.copy(), index).set("next", steps[-1]))
            masks = {}
            for group in plan.done_groups:
                key = sibling(group.done, "_step")
                going = ~steps[-1].get(group.done)
                masks[key] = going & asked[key].reshape(going.shape) if key in asked else going
            if all(bool(mask.all()) for mask in masks.values()):
                steps.append(self._step_inside(given))
                continue
            out = self._step_inside(put_masks(given, masks)) if any(bool(m.any()) for m in masks.values()) else None
            steps.append(merge_step(plan, given, out, masks))
        out = steps[-1].copy()
        for key in self._keys["reward"]:
            rewards = [step.get(key) for step in steps]
            out.set(key, torch.stack(rewards, dim) if self.stack_rewards else sum(rewards[1:], rewards[0]))
        if self.stack_observations:
            for key in self._keys["observation"]:
                out.set(key, torch.stack([step.get(key) for step in steps], dim))
        return out

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        if self.stack_observations:
            dim = tensordict_reset.batch_dims
            for key in self._keys["observation"]:
                value = tensordict_reset.get(key)
                tensordict_reset.set(key, torch.stack([value] * self.num_actions, dim))
        return tensordict_reset

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Gives actions, rewards and observations their dimension."""
        self._keys = {role: list(specs[role].keys(True, True)) for role in self._keys}
        stacked = ["action"] + ["reward"] * self.stack_rewards + ["observation"] * self.stack_observations
        out = super().transform_specs(specs)
        for role in stacked:
            out[role] = out[role].clone()
            dims = len(out[role].shape)
            for key, leaf in specs[role].items(True, True):
                size = (*leaf.shape[:dims], self.num_actions, *leaf.shape[dims:])
                out[role][key] = leaf.unsqueeze(dims).expand(size)
        return out

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_actions}, stack_rewards={self.stack_rewards}, stack_observations={self.stack_observations}"
