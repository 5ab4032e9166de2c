"""Running an env for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.runner import Policy, Runner

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["rollout"]

FIRST_ROWS = 256


def rollout(
    self: EnvBase,
    max_steps: int,
    policy: Policy | None = None,
    callback: Callable[[EnvBase, TensorDictBase], Any] | None = None,
    *,
    auto_reset: bool = True,
    auto_cast_to_device: bool = False,
    break_when_any_done: bool | None = None,
    break_when_all_done: bool | None = None,
    return_contiguous: bool | None = None,
    tensordict: TensorDictBase | None = None,
    set_truncated: bool = False,
    out: TensorDictBase | None = None,
    storing_device: torch.device | str | None = None,
) -> TensorDictBase:
    """Executes up to ``max_steps`` steps and returns them as one TensorDict.

    The policy runs without gradients and by its own default exploration type, unless the call stands in a
    ``set_exploration_type`` context.

    Args:
        max_steps: upper bound on the number of steps.
        policy: reads a TensorDict and writes the action into it; what else it writes is recorded as well. None
            draws random actions.
        callback: called as ``callback(env, tensordict)`` with each step's data but the last one's; its result is
            ignored.
        auto_reset: start with a reset. If False, start from ``tensordict`` (what is done in it is reset).
        auto_cast_to_device: hand data to the policy on the device of its parameters.
        break_when_any_done: stop after the first step at which anything is done (the default). If False, what is done
            is reset and the rollout goes on.
        break_when_all_done: stop once everything is done; for an env without batch the same as ``break_when_any_done``.
        return_contiguous: one tensor per entry; the default unless the specs are dynamic, in which case the result is a
            lazy stack of steps.
        tensordict: what to start from, or with ``auto_reset`` what to hand to the reset.
        set_truncated: mark the last step as truncated.
        out: a TensorDict to write the result into.
        storing_device: move the result there.

    Returns:
        A TensorDict of batch size ``(*env.batch_size, steps)`` whose last batch dimension is named ``"time"``.

    Raises:
        TypeError: options that contradict each other.
        PolicyError: the policy does not write the action its spec asks for.
        NonFiniteError: the env returned NaN.

    Examples:
        >>> from envkit import GymEnv
        >>> env = GymEnv("CartPole-v1")
        >>> _ = env.set_seed(0)
        >>> env.rollout(100, break_when_any_done=False).batch_size
        torch.Size([100])
    """
    until_done = _until_done(self, break_when_any_done, break_when_all_done)
    if return_contiguous and self.has_dynamic_specs:
        raise TypeError(
            "return_contiguous=True: the specs are dynamic, rows differ in shape; use return_contiguous=False"
        )
    if max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, found {max_steps}")
    if set_truncated and not any(group.truncated for group in self.plan.done_groups):
        raise RuntimeError(f"set_truncated: the env has no truncated flag, only {self.done_keys}")
    runner = Runner(self, policy, _device_of(policy) if auto_cast_to_device else None)
    runner.open(min(max_steps, FIRST_ROWS) if until_done else max_steps)
    _begin(self, runner, auto_reset, tensordict)

    def each(row: int) -> None:
        step = runner.root.reader(runner.root.columns)(row)
        step.set("next", runner.following.reader(runner.following.columns)(row))
        callback(self, step)  # type: ignore[misc]

    steps = 0
    while True:
        more = runner.rows < max_steps
        steps = runner.run(
            steps, runner.rows, until_done=until_done, last=more, each=None if callback is None else each
        )
        if not more or steps < runner.rows or (until_done and runner.ended(steps - 1)):
            break
        runner.grow(min(2 * runner.rows, max_steps))
    if set_truncated:
        for group in self.plan.done_groups:
            if group.truncated is not None:
                for key in (group.truncated, group.done):
                    runner.following.columns[key][steps - 1].fill_(True)
    result = runner.tensordict(steps)
    if 2 * steps < runner.rows and not self.has_dynamic_specs:
        result = result.clone()  # gives back the rows that were not needed
    if storing_device is not None:
        result = result.to(storing_device)
    return result if out is None else out.update_(result)


def _until_done(env: EnvBase, any_done: bool | None, all_done: bool | None) -> bool:
    if any_done and all_done:
        raise TypeError("break_when_any_done and break_when_all_done: expected at most one of them to be True")
    if all_done and env.numel() > 1:
        raise TypeError(
            f"break_when_all_done: expected an env without batch, found batch size {list(env.batch_size)}; "
            "elements of a batch cannot be skipped"
        )
    return any_done is not False or bool(all_done)


def _begin(env: EnvBase, runner: Runner, auto_reset: bool, tensordict: TensorDictBase | None) -> None:
    if tensordict is None:
        if not auto_reset:
            raise TypeError("auto_reset=False: expected the tensordict to start from, found None")
        runner.reset()
    else:
        begin = env.reset if auto_reset else env.maybe_reset
        runner.start_from(begin(tensordict.copy()))


def _device_of(policy: Any) -> torch.device | None:
    parameters = getattr(policy, "parameters", None)
    first = next(iter(parameters()), None) if parameters is not None else None
    return None if first is None else first.device
