"""Running an env for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.core.exploration import ExplorationType, set_exploration_type
from envkit.core.loose import LooseRunner
from envkit.core.policies import Policy, open_loop
from envkit.core.runner import Runner

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["make_runner", "rollout"]

FIRST_ROWS = 256


def rollout(
    self: EnvBase,
    max_steps: int,
    policy: Policy | None = None,
    callback: Callable[[EnvBase, TensorDictBase], Any] | None = None,
    *,
    actions: Iterable[Any] | None = None,
    auto_reset: bool = True,
    auto_cast_to_device: bool = False,
    break_when_any_done: bool | None = None,
    break_when_all_done: bool | None = None,
    return_contiguous: bool | None = None,
    tensordict: TensorDictBase | None = None,
    set_truncated: bool = False,
    out: TensorDictBase | None = None,
    storing_device: torch.device | str | None = None,
    exploration_type: ExplorationType | None = None,
) -> TensorDictBase:
    """Executes up to ``max_steps`` steps and returns them as one TensorDict.

    The policy runs without gradients.

    Args:
        max_steps: upper bound on the number of steps.
        policy: reads a TensorDict and writes the action into it; what else it writes is recorded as well. A plain
            ``nn.Module``, or a function whose arguments are named like observations, is called with those and returns
            the action. None draws random actions.
        actions: what to do at each step, in place of a policy: tensors, or TensorDicts with the actions. The rollout
            ends with them.
        callback: called as ``callback(env, tensordict)`` with each step's data but the last one's; its result is
            ignored.
        auto_reset: start with a reset. If False, start from ``tensordict`` (what is done in it is reset).
        auto_cast_to_device: hand data to the policy on the device of its parameters.
        break_when_any_done: stop after the first step at which anything is done (the default). If False, what is done
            is reset and the rollout goes on.
        break_when_all_done: stop once everything is done; what is done earlier is not stepped any more, and its last
            data is repeated with rewards of 0.
        return_contiguous: one tensor per entry; the default unless the specs are dynamic, in which case the result is a
            lazy stack of steps.
        tensordict: what to start from, or with ``auto_reset`` what to hand to the reset. Its batch size is that of the
            rollout of a batch-unlocked env.
        set_truncated: mark the last step as truncated, where it is not done anyway.
        out: a TensorDict to write the result into.
        storing_device: move the result there.
        exploration_type: how the policy turns distributions into actions; by default as a surrounding
            ``set_exploration_type`` says, or else as the policy itself does. (Collectors sample by default.)

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
    any_done, all_done = _when_to_break(break_when_any_done, break_when_all_done)
    if return_contiguous and self.has_dynamic_specs:
        raise TypeError(
            "return_contiguous=True: the specs are dynamic, rows differ in shape; use return_contiguous=False"
        )
    if actions is not None:
        if policy is not None:
            raise TypeError("actions and policy: expected at most one of them")
        actions = list(islice(actions, max(max_steps, 0)))
        if max_steps > 0 and not actions:
            raise ValueError("actions: expected at least one, found none")
        max_steps = len(actions) or max_steps
    if max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, found {max_steps}")
    if set_truncated and not any(group.truncated for group in self.plan.done_groups):
        raise RuntimeError(f"set_truncated: the env has no truncated flag, only {self.done_keys}")
    size = None if tensordict is None or self.batch_locked else tensordict.batch_size
    if actions is not None:
        policy = open_loop(actions, self.plan)
    runner = make_runner(self, policy, _device_of(policy) if auto_cast_to_device else None, size)
    runner.open(min(max_steps, FIRST_ROWS) if any_done or all_done else max_steps)

    def each(row: int) -> None:
        callback(self, runner.step_at(row))  # type: ignore[misc]

    report = None if callback is None else each
    explore = nullcontext() if exploration_type is None else set_exploration_type(exploration_type)
    with explore:
        _begin(self, runner, auto_reset, tensordict)
        steps = 0
        while True:
            more = runner.rows < max_steps
            if all_done:
                steps = runner.run_all(steps, runner.rows, last=more, each=report)
                ended = runner.all_ended(steps - 1)
            else:
                steps = runner.run(steps, runner.rows, until_done=any_done, last=more, each=report)
                ended = any_done and runner.ended(steps - 1)
            if ended or not more:
                break
            runner.grow(min(2 * runner.rows, max_steps))
    if set_truncated:
        runner.truncate(steps - 1)
    result = runner.tensordict(steps)
    if 2 * steps < runner.rows and not self.has_dynamic_specs:
        result = result.clone()  # gives back the rows that were not needed
    if storing_device is not None:
        result = result.to(storing_device)
    return result if out is None else out.update_(result)


def make_runner(env: EnvBase, *arguments: Any) -> Runner | LooseRunner:
    """What steps ``env``, by rows if they can hold its data."""
    return Runner(env, *arguments) if env.fits_rows else LooseRunner(env, *arguments)


def _when_to_break(any_done: bool | None, all_done: bool | None) -> tuple[bool, bool]:
    if any_done and all_done:
        raise TypeError("break_when_any_done and break_when_all_done: expected at most one of them to be True")
    return any_done is not False and not all_done, bool(all_done)


def _begin(env: EnvBase, runner: Runner | LooseRunner, auto_reset: bool, tensordict: TensorDictBase | None) -> None:
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
