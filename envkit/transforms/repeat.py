"""Actions that last: repeated for several steps, or taken once more by chance."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks, any_true, blend, mask_of, merge_step, pop_masks, put_masks
from envkit.core.plan import Plan, path_of
from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.chance import Chancy
from envkit.transforms.inside import InnerRows, env_inside
from envkit.transforms.keys import Keys, listed, sibling
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import Columns, RowForm

__all__ = ["FrameSkipTransform", "StickyAction"]


class FrameSkipTransform(Transform):
    """Repeats each action, sums the rewards, and shows the last observation.

    An episode that ends meanwhile is not stepped on; in a batch of envs the others are.

    Args:
        frame_skip: how many times each action is executed.
        max_keys: observations of which the greatest values of the last two steps are shown, element by element: on old
            consoles things flicker.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), FrameSkipTransform(4))
        >>> env.rollout(2)["next", "reward"].squeeze(-1)
        tensor([4., 4.])
    """

    sees_masks = True  # what was not stepped is not to be stepped on
    env_only = "FrameSkipTransform repeats the actions of an env; stored data has the steps it has"

    def __init__(self, frame_skip: int = 1, *, max_keys: Keys = None) -> None:
        super().__init__()
        if frame_skip < 1:
            raise ValueError(f"FrameSkipTransform: frame_skip: expected at least 1, found {frame_skip}")
        self.frame_skip, self.max_keys = frame_skip, listed(max_keys)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        env = env_inside(self)
        plan, tensordict = env.plan_for(tensordict.batch_size), tensordict.copy()
        stepped = pop_masks(tensordict, plan, "_step") or {}
        shown = {key: next_tensordict.get(key) for key in self.max_keys}
        for _ in range(self.frame_skip - 1):
            masks = dict(stepped)
            for group in plan.done_groups:
                key, going = sibling(group.done, "_step"), ~next_tensordict.get(group.done)
                masks[key] = going & masks[key] if key in masks else going
            if not any_true(masks):
                break
            given = env.step_mdp(tensordict.copy().set("next", next_tensordict))
            if all(bool(mask.all()) for mask in masks.values()):
                masks = {}
            out = self._step_inside(put_masks(given, masks) if masks else given)
            if masks:
                out = merge_step(plan, given, out, masks)
            for key in plan.reward_keys:
                out.set(key, next_tensordict.get(key) + out.get(key))
            for key, old in shown.items():
                most = torch.maximum(next_tensordict.get(key), out.get(key))
                shown[key] = blend(mask_of(key, plan, masks), most, old) if masks else most
            next_tensordict = out
        for key, value in shown.items():
            next_tensordict.set(key, value)
        return next_tensordict

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        if not InnerRows.suits(self):
            return None
        plan: Plan = env_inside(self).plan
        rows, outer = InnerRows(self, columns), columns.following.outer
        done = outer["done"]
        rewards = [(outer[key], rows.following[key]) for key in plan.reward_keys]
        frames = [(outer[key], rows.following[key], np.empty_like(outer[key][0])) for key in self.max_keys]
        more = range(self.frame_skip - 1)

        def step(row: int) -> bool:
            if not more or done[row].any():
                return False
            rows.start(row)
            for shown, _, before in frames:
                before[...] = shown[row]
            ended = rows.step()
            for total, reward in rewards:
                total[row] += reward[0]
            for _ in more[1:]:
                if ended:
                    break
                rows.hand_on()
                for _, frame, before in frames:
                    before[...] = frame[0]
                ended = rows.step()
                for total, reward in rewards:
                    total[row] += reward[0]
            rows.finish(row)
            for shown, frame, before in frames:
                np.maximum(before, frame[0], out=shown[row, ...])
            return ended

        return RowForm(step)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Looks for ``max_keys``."""
        refuse_unknown(self, self.max_keys, [specs["observation"]], "max_keys")
        return super().transform_specs(specs)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """The spec of sums of one to ``frame_skip`` rewards."""
        out = reward_spec.clone()
        for key, leaf in reward_spec.items(True, True):
            out[key] = self._summed(leaf)
        return out

    def _summed(self, leaf: TensorSpec) -> TensorSpec:
        if self.frame_skip == 1:
            return leaf
        if not isinstance(leaf, Bounded):
            return Unbounded(leaf.shape, dtype=leaf.dtype, device=leaf.device)
        low = torch.minimum(leaf.low, leaf.low * self.frame_skip)
        high = torch.maximum(leaf.high, leaf.high * self.frame_skip)
        return Bounded(low, high, leaf.shape, dtype=leaf.dtype, device=leaf.device)

    def extra_repr(self) -> str:
        """The options."""
        return f"frame_skip={self.frame_skip}, max_keys={self.max_keys}"


class StickyAction(Chancy):
    """Executes the action of the step before once more, with some probability, instead of the one that was chosen.

    What was executed is shown as ``"last_action"``; before the first step that is the action that does nothing (the
    first of discrete ones, otherwise the one next to zero). What is recorded is what was chosen.

    Args:
        repeat_action_probability: how likely that is, in each env of a batch by itself.
        action_key: the action.

    References:
        Machado et al., "Revisiting the Arcade Learning Environment", JAIR 61, 2018.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), StickyAction(1.0))
        >>> env.rollout(3)["next", "last_action"]
        tensor([0, 0, 0])
    """

    env_only = "StickyAction changes what an env executes; stored data has its last_action"

    def __init__(self, repeat_action_probability: float = 0.25, action_key: NestedKey = "action") -> None:
        super().__init__()
        if not 0 <= repeat_action_probability <= 1:
            raise ValueError(
                f"StickyAction: repeat_action_probability: expected a number from 0 to 1, found "
                f"{repeat_action_probability}"
            )
        self.repeat_action_probability, self.action_key = repeat_action_probability, action_key
        self.in_keys_inv = self.out_keys_inv = [action_key]
        self._last_key = sibling(action_key, f"last_{path_of(action_key)[-1]}")
        self._first = self._executed = torch.zeros(())

    @property
    def memory_keys(self) -> list[NestedKey]:
        """What was executed last."""
        return [self._last_key]

    def _sticks(self, batch: tuple[int, ...], dims: int) -> np.ndarray:
        """Where the last action is executed, to broadcast to actions of ``dims`` dimensions."""
        sticks = self._numbers().random((*batch, *(1,) * (dims - len(batch))))
        return np.asarray(sticks < self.repeat_action_probability)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = self._take(tensordict, self.action_key)
        sticks = torch.from_numpy(self._sticks(tuple(tensordict.batch_size), action.ndim)).to(action.device)
        self._executed = torch.where(sticks, self._take(tensordict, self._last_key), action)
        return tensordict.set(self.action_key, self._executed)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.set(self._last_key, self._executed)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        size = (*tensordict_reset.batch_size, *self._first.shape)
        return tensordict_reset.set(self._last_key, self._first.expand(size).clone())

    def _bind_rows(self, columns: Columns) -> RowForm:
        chosen, executed = columns.root.outer[self.action_key], columns.root.inner[self.action_key]
        before, after = columns.stepped[self._last_key], columns.following.outer[self._last_key]
        first, value = columns.root.outer[self._last_key], self._first.cpu().numpy()
        dims = chosen.ndim - 1
        batch = chosen.shape[1 : 1 + dims - value.ndim]

        def inv(row: int) -> None:
            executed[row] = np.where(self._sticks(batch, dims), before[row], chosen[row])

        def step(row: int) -> None:
            after[row] = executed[row]

        def reset(row: int, masks: Masks | None) -> None:
            first[row] = value

        return RowForm(step, reset, inv)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds what was executed last."""
        out = super().transform_specs(specs)
        leaf = specs["action"][self.action_key]
        nothing = leaf.project(leaf.zero())
        self._first = nothing[(0,) * len(specs["action"].shape)]
        if leaf.dtype is None or leaf.has_dynamic_shape:
            raise SpecError(f"StickyAction: {self.action_key!r}: expected tensors of a fixed shape, found {leaf}")
        observation = out["observation"].clone()
        observation[self._last_key] = leaf.clone()
        return {**out, "observation": observation}
