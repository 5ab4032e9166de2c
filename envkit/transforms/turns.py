"""Steps that are left out, or made by someone else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.core.masks import aligned, mask_of, merge_step, put_masks, read_masks
from envkit.core.policies import on_tensordicts
from envkit.errors import EnvDataError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.inside import env_inside
from envkit.transforms.keys import sibling

__all__ = ["ConditionalPolicySwitch", "ConditionalSkip"]

Condition = Callable[[TensorDictBase], Any]
"""From a TensorDict to a bool, or to one for each element of its batch, ``[*batch]`` or ``[*batch, 1]``."""


def _flags(owner: str, condition: Condition, tensordict: TensorDictBase) -> torch.Tensor:
    """What a condition says, as a boolean ``[*batch, 1]``."""
    said, size = condition(tensordict), tensordict.batch_size
    if isinstance(said, bool):
        return torch.full((*size, 1), said, device=tensordict.device)
    if not isinstance(said, torch.Tensor) or said.dtype is not torch.bool or said.numel() != size.numel():
        found = f"{said.dtype} {list(said.shape)}" if isinstance(said, torch.Tensor) else type(said).__name__
        raise EnvDataError(f"{owner}: expected the condition to give a bool for each of {list(size)}, found {found}")
    return said.reshape(*size, 1)


class ConditionalSkip(Transform):
    """Leaves out steps: where the condition holds ``"next"`` repeats what the step started from, with a reward of 0.

    Args:
        cond: from the TensorDict that is stepped, action included, to True where no step is to be made.

    Raises:
        EnvDataError: (when run) what the condition gives is no boolean of the batch size.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), ConditionalSkip(lambda td: td["action"] > 0))
        >>> td = env.reset().set("action", torch.ones(1))
        >>> torch.equal(env.step(td)["next", "observation"], td["observation"])
        True
    """

    env_only = "ConditionalSkip leaves out the steps of an env; stored data has the steps it has"

    def __init__(self, cond: Condition) -> None:
        super().__init__()
        self.cond = cond

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        skipped = _flags("ConditionalSkip", self.cond, tensordict)
        return tensordict.set("_step", ~skipped) if skipped.any() else tensordict


class ConditionalPolicySwitch(Transform):
    """Lets another policy play where a condition holds: the opponent of a game, when it is its turn.

    After each step, and after a reset, the other policy makes a step where the condition holds and the episode goes
    on; what that leads to is what is shown, its reward and done flags included.

    Args:
        policy: the other policy, anything that a rollout takes.
        condition: from what a step or a reset delivers to True where the other one is to play.

    Raises:
        EnvDataError: (when run) what the condition gives is no boolean of the batch size, or an episode ends before
            the one policy has played.

    Examples:
        >>> from envkit import TicTacToeEnv, TransformedEnv
        >>> def first_free(td):
        ...     return td.set("action", td["mask"].int().argmax(-1))
        >>> env = TransformedEnv(TicTacToeEnv(), ConditionalPolicySwitch(first_free, lambda td: td["turn"] == 1))
        >>> td = env.reset().set("action", torch.tensor(4))
        >>> env.step(td)["next", "board"]
        tensor([[ 1, -1, -1],
                [-1,  0, -1],
                [-1, -1, -1]], dtype=torch.int8)
    """

    env_only = "ConditionalPolicySwitch steps an env; stored data has the steps it has"
    sees_masks = True

    def __init__(self, policy: Any, condition: Condition) -> None:
        super().__init__()
        self.policy, self.condition = policy, condition
        self._act: Callable[[TensorDictBase], Any] | None = None

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return self._played(tensordict, next_tensordict, "_step")

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        out = self._played(tensordict, tensordict_reset, "_reset")
        return out.exclude(*env_inside(self).reward_keys)

    def _played(self, given: TensorDictBase | None, shown: TensorDictBase, name: str) -> TensorDictBase:
        """What is there after the other policy's step."""
        env = env_inside(self)
        plan = env.plan_for(shown.batch_size)
        theirs = _flags("ConditionalPolicySwitch", self.condition, shown)
        asked = {} if given is None else read_masks(given, plan, name) or {}
        masks = {}
        for group in plan.done_groups:
            asked_here = asked.get(sibling(group.done, name))
            mask = aligned(theirs, group.shape).expand(group.shape) & ~shown.get(group.done)
            masks[sibling(group.done, "_step")] = mask if asked_here is None else mask & asked_here.reshape(mask.shape)
        if not any(bool(mask.any()) for mask in masks.values()):
            return shown
        root = env.step_mdp((shown if given is None else given.exclude(*asked)).copy().set("next", shown))
        if self._act is None:
            self._act = on_tensordicts(self.policy, env.plan)[0]
        answer = self._act(root.copy())
        for key in plan.action_keys:
            root.set(key, answer.get(key))
        whole = all(bool(mask.all()) for mask in masks.values())
        out = self._step_inside(root if whole else put_masks(root, masks))
        if whole:
            return out
        merged = merge_step(plan, root, out, masks)
        for key in plan.reward_keys if name == "_step" else ():
            mask = aligned(mask_of(key, plan, masks), merged.get(key).shape)
            merged.set(key, torch.where(mask, merged.get(key), shown.get(key)))
        return merged

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Changes no spec."""
        self._act = None
        return super().transform_specs(specs)
