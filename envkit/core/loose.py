"""The loop for data that no row can hold: groups of agents that differ from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase, is_tensor_collection

from envkit.core.loop import Loop
from envkit.core.masks import Masks
from envkit.core.plan import path_of
from envkit.core.values import judge
from envkit.errors import PolicyError
from envkit.storage import flat_items

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["LooseRunner"]


class LooseRunner(Loop):
    """Does what a :class:`~envkit.core.runner.Runner` does, by the public port, and keeps each step as it comes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._steps: list[TensorDictBase] = []
        self._current: TensorDictBase | None = None
        # What only the policy knows of and does not read; it does not pass from step to step.
        self._answers: list[NestedKey] = []

    def open(self, rows: int) -> None:
        """Forgets the steps taken so far, and makes room for ``rows`` more."""
        self.env.assert_open()
        self.rows, self._steps = rows, []

    def grow(self, rows: int) -> None:
        """Makes room for ``rows`` steps in all."""
        self.rows = rows

    def reset(self) -> None:
        """Resets the env."""
        locked = self.env.batch_locked
        self._current = self.env.reset(None if locked else TensorDict({}, self.plan.batch_size))

    def start_from(self, tensordict: TensorDictBase) -> None:
        """Goes on from the content of ``tensordict``."""
        found = set(tensordict.keys(True, True))
        for key in (*self.plan.observation_keys, *self.plan.done_keys, *self.plan.state_keys):
            if key not in found:
                raise KeyError(f"{key!r} is missing from the TensorDict to start from: found {sorted(map(str, found))}")
        self._current = tensordict.copy()

    # ------------------------------------------------------------------- loop

    def run(
        self,
        start: int,
        stop: int,
        *,
        until_done: bool = False,
        last: bool = True,
        each: Callable[[int], None] | None = None,
    ) -> int:
        """See :meth:`Runner.run <envkit.core.runner.Runner.run>`."""
        return self._run(start, stop, last, each, lambda row: until_done and self.ended(row), self._reset_done)

    def run_all(self, start: int, stop: int, *, last: bool = True, each: Callable[[int], None] | None = None) -> int:
        """See :meth:`Runner.run_all <envkit.core.runner.Runner.run_all>`."""
        return self._run(start, stop, last, each, self.all_ended, self._skip_done)

    def _run(
        self,
        start: int,
        stop: int,
        last: bool,
        each: Callable[[int], None] | None,
        over: Callable[[int], bool],
        prepare: Callable[[TensorDictBase, int], TensorDictBase],
    ) -> int:
        with torch.no_grad():
            for row in range(start, stop):
                step = self.env.step(self._act(self._current))
                self._steps.append(step)
                following = row + 1
                if over(row) or (following == stop and not last):
                    return following
                if each is not None:
                    each(row)
                self._current = prepare(self._after(step), row)
        return stop

    def _after(self, step: TensorDictBase) -> TensorDictBase:
        return self.env.step_mdp(step).exclude(*self.plan.action_keys, *self._answers)

    def proceed(self, row: int) -> None:
        """See :meth:`Loop.proceed <envkit.core.loop.Loop.proceed>`."""
        with torch.no_grad():
            self._current = self._reset_done(self._after(self._steps[row]), row)

    def _reset_done(self, tensordict: TensorDictBase, row: int) -> TensorDictBase:
        return self.env.maybe_reset(tensordict)

    def _skip_done(self, tensordict: TensorDictBase, row: int) -> TensorDictBase:
        masks = self._undone(row)
        if any(not bool(mask.all()) for mask in masks.values()):
            for key, mask in masks.items():
                tensordict.set(key, mask)
        return tensordict

    def _act(self, tensordict: Any) -> TensorDictBase:
        """What the policy is shown, with its answer."""
        masks = {key: tensordict.get(key) for key in tensordict.keys(True, True) if path_of(key)[-1] == "_step"}
        given = tensordict.exclude(*masks)
        if self.policy is None:
            given = self.env.rand_action(given)
        else:
            before = set(given.keys(True, True))
            shown = given.copy() if self.policy_device is None else given.to(self.policy_device)
            out = self.policy(shown)
            answer = shown if out is None else out
            # A single action may come alone.
            given = given.update(answer if is_tensor_collection(answer) else dict(answer.items()))
            found = set(given.keys(True, True))
            for key in self.plan.action_keys:
                if key not in found:
                    raise PolicyError(f"the policy wrote no {key!r}: found only {sorted(map(str, found))}")
            reads = self.reads or ()
            self._answers = [key for key in found - before if key not in reads and key not in self.plan.action_keys]
        for key, mask in masks.items():
            given.set(key, mask)
        return given

    # ---------------------------------------------------------------- results

    def _flags(self, row: int) -> dict[NestedKey, torch.Tensor]:
        following = self._steps[row].get("next")
        return {group.reset: following.get(group.done) for group in self.plan.done_groups}

    def step_at(self, row: int) -> TensorDictBase:
        """The data of step ``row``."""
        return self._steps[row]

    def done(self, start: int, stop: int) -> list[torch.Tensor]:
        """See :meth:`Loop.done <envkit.core.loop.Loop.done>`."""
        steps = [step.get("next") for step in self._steps[start:stop]]
        return [torch.stack([step.get(group.done) for step in steps]) for group in self.plan.done_groups]

    def truncate(self, row: int, masks: Masks | None = None) -> None:
        """See :meth:`Loop.truncate <envkit.core.loop.Loop.truncate>`."""
        following = self._steps[row].get("next")
        for group in self.plan.done_groups:
            if group.truncated is not None:
                done = following.get(group.done)
                over = ~done if masks is None else ~done & masks[group.reset]
                following.set(group.truncated, following.get(group.truncated) | over)
                following.set(group.done, done | over)

    def onward(self) -> TensorDictBase:
        """See :meth:`Loop.onward <envkit.core.loop.Loop.onward>`."""
        return self._current  # type: ignore[return-value]

    def tensordict(self, stop: int) -> TensorDictBase:
        """The steps up to ``stop``, a lazy stack with the last batch dimension named ``"time"``.

        Raises:
            NonFiniteError: the env returned NaN.
        """
        dim = self.plan.batch_dims
        if self.env.nonfinite != "allow":
            # What the env returned, and shows: no answers of the policy, no fillers.
            hidden = [("next", *path_of(key)) for key in self.plan.observation_keys]
            hidden = hidden if self.env.hides_last_observations else []
            for row, step in enumerate(self._steps[:stop]):
                seen = step.exclude(*self.plan.action_keys, *self._answers, *hidden)
                _look_for_nan(self.env, seen, row)
        return LazyStackedTensorDict(*self._steps[:stop], stack_dim=dim, stack_dim_name="time")


def _look_for_nan(env: EnvBase, step: TensorDictBase, row: int) -> None:
    for path, value in flat_items(step):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any()):
            judge(env, path, f"{path} of {type(env).__name__}: expected finite values, found nan at step {row}")
