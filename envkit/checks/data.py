"""The data that an env returns, against its specs.

What the env's own ``_reset`` and ``_step`` return is looked at before the runtime completes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase

from envkit.checks.findings import Findings
from envkit.core.masks import aligned, mask_of
from envkit.core.plan import Plan, path_of
from envkit.specs import Composite, StackedComposite, TensorSpec
from envkit.storage import flat_items

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["CannotGoOn", "check_data"]

EPISODES = 2


class CannotGoOn(Exception):  # noqa: N818 - control flow, never seen outside
    """The env is too broken to be run further."""


def check_data(env: EnvBase, findings: Findings, steps: int) -> None:
    """Runs ``env`` with random actions, and looks at everything it returns.

    It goes on for ``steps`` steps, and up to four times as many until two episodes have ended.

    Raises:
        CannotGoOn: the env is too broken to be run further.
    """
    _Examiner(env, findings).run(steps)


class _Examiner:
    def __init__(self, env: EnvBase, findings: Findings) -> None:
        self.env, self.findings = env, findings
        # What was handed out lately, and copies of it: simulators that write in one buffer change it afterwards.
        self.handed_out: list[tuple[str, TensorDictBase, TensorDictBase]] = []

    def add(self, where: str, key: NestedKey, expected: str, found: str, fix: str) -> None:
        self.findings.add(where, key, expected, found, fix)

    def run(self, steps: int) -> None:
        env, plan, ends = self.env, self.env.plan, 0
        current = self.reset(plan)
        for step in range(4 * steps):
            env.rand_action(current)
            following = self.step(plan, current)
            if any(bool(following.get(group.done).any()) for group in plan.done_groups):
                ends += 1
                current = self.reset(plan)
            else:
                current = env.step_mdp(current.copy().set("next", following))
            if step + 1 >= steps and ends >= EPISODES:
                break

    def reset(self, plan: Plan) -> TensorDictBase:
        out = self.examine(plan, self.call("_reset"), "_reset", plan.root_spec, [*plan.observation_keys])
        for key in plan.reward_keys:
            if out.get(key, None) is not None:
                self.add("_reset", key, "no reward after a reset", "a reward", "return rewards from _step only")
                out.del_(key)
        out = plan.complete_reset(out)
        for group in plan.done_groups:
            if bool(out.get(group.done).any()) and not self.env.allow_done_after_reset:
                fix = "start undone, or construct the env with allow_done_after_reset=True"
                self.add("_reset", group.done, "False", "True", fix)
        self.env._runtime.started = True
        return out

    def step(self, plan: Plan, current: TensorDictBase) -> TensorDictBase:
        before = current.clone()
        out = self.call("_step", current)
        if out is current:
            self.add("_step", "", "a TensorDict of its own", "the input TensorDict", "build the output from scratch")
            out = out.clone()
        self.unchanged(before, current)
        if self.env.hides_last_observations:
            out = self.without_fillers(plan, out, current)
        out = self.examine(plan, out, "_step", plan.next_spec, [*plan.observation_keys, *plan.reward_keys])
        for group in plan.done_groups:
            if out.get(group.done, None) is None and out.get(group.terminated, None) is None:
                fix = f"return {group.done!r} or {group.terminated!r}, a boolean of shape {list(group.shape)}"
                self.add("_step", group.done, "done or terminated", "neither", fix)
                out.set(group.done, torch.zeros(group.shape, dtype=torch.bool))
        told = [out.get(group.done, None) for group in plan.done_groups]
        out = plan.complete_next(out)
        for group, own in zip(plan.done_groups, told, strict=True):
            ended, done = out.get(group.terminated), out.get(group.done) if own is None else own.reshape(group.shape)
            if group.truncated is not None:
                ended = ended | out.get(group.truncated)
            if bool((ended & ~done).any()):
                fix = "leave done out: it is derived"
                self.add("_step", group.done, "True where terminated or truncated is", "False", fix)
            elif group.truncated is not None and bool((done & ~ended).any()):
                fix = "say which of the two ended the episode"
                self.add("_step", group.done, "terminated or truncated where done", "neither", fix)
        return out

    def without_fillers(self, plan: Plan, out: Any, current: TensorDictBase) -> Any:
        """What a batch of auto-resetting envs returned, with the observations before where episodes are over."""
        if not isinstance(out, TensorDictBase) or any(out.get(group.done, None) is None for group in plan.done_groups):
            return out
        out, over = out.copy(), {group.reset: out.get(group.done) for group in plan.done_groups}
        for key in plan.observation_keys:
            value, before = out.get(key, None), current.get(key)
            if isinstance(value, torch.Tensor) and value.shape == before.shape:
                out.set(key, torch.where(aligned(mask_of(key, plan, over), value.shape), before, value))
        return out

    def call(self, method: str, *arguments: TensorDictBase) -> Any:
        try:
            out = getattr(self.env, method)(*arguments)
        except Exception as error:
            self.add(method, "", "no exception", f"{type(error).__name__}: {error}", "see the message")
            raise CannotGoOn from error
        self.still_the_same()
        if isinstance(out, TensorDictBase) and not (arguments and out is arguments[0]):
            self.handed_out = [*self.handed_out[-2:], (method, out.copy(), out.clone())]
        return out

    def still_the_same(self) -> None:
        """Looks for changes to what was handed out earlier."""
        for method, handed, kept in self.handed_out:
            found = dict(flat_items(handed))
            for key, value in flat_items(kept):
                if isinstance(value, torch.Tensor) and not _same(value, found.get(key)):
                    what, fix = "a tensor that changes at the next call", "return a copy of the simulator's buffer"
                    self.add(method, key, "data that stays as it is", what, fix)

    def unchanged(self, before: TensorDictBase, after: TensorDictBase) -> None:
        then, now = dict(flat_items(before)), dict(flat_items(after))
        for key, value in then.items():
            if isinstance(value, torch.Tensor) and not _same(value, now.get(key)):
                fix = "copy before changing anything in place"
                self.add("_step", key, "the input as it was", "a changed entry", fix)
        for key in set(now) - set(then):
            self.add("_step", key, "the input as it was", "an added entry", "write to the output, not to the input")

    def examine(self, plan: Plan, out: Any, method: str, spec: Composite, needed: list[NestedKey]) -> TensorDictBase:
        """Compares an output with its specs, entry by entry, and mends what can be mended to go on."""
        size = self.env.batch_size
        if isinstance(out, Mapping) and not isinstance(out, TensorDictBase):
            return self.examine_mapping(plan, out, method)
        if not isinstance(out, TensorDictBase):
            self.add(method, "", "a TensorDict or a mapping", type(out).__name__, "return the data")
            raise CannotGoOn
        if out.batch_size != size:
            try:
                out = out.copy()
                out.batch_size = size
            except RuntimeError:
                found = f"batch size {list(out.batch_size)}"
                self.add(method, "", f"batch size {list(size)}", found, "give the data the env's batch size")
                out = TensorDict(dict(out.items()), size) if not size else TensorDict({}, size)
        out = out.copy()
        needed = [key for key in needed if not plan.is_ragged(key)]
        for key, stack in plan.stacks(method):
            self.elements(out, key, stack, method)
        for key in needed:
            self.entry(out, key, spec[key], method, reward=key in plan.reward_keys)
        for key in plan.done_keys:
            if out.get(key, None) is not None:
                self.entry(out, key, spec[key], method, reward=True)
        known = {*needed, *plan.unequal, *plan.done_keys, *plan.reward_keys, *plan.reset_keys, *plan.state_keys}
        for key in out.keys(True, True):
            if key not in known and not any(path_of(key)[: len(path_of(k))] == path_of(k) for k in known):
                fix = "add it to observation_spec, or leave it out"
                self.add(method, key, "only declared entries", "an entry without a spec", fix)
        return out

    def examine_mapping(self, plan: Plan, out: Mapping, method: str) -> TensorDictBase:
        try:
            return plan.complete_next(out) if method == "_step" else plan.complete_reset(out)
        except Exception as error:
            self.add(method, "", "data that fits the specs", str(error), "see the message")
            raise CannotGoOn from error

    def elements(self, out: TensorDictBase, key: NestedKey, stack: StackedComposite, method: str) -> None:
        """Compares the elements of an unequal group with their specs, one by one."""
        group = out.get(key, None)
        if group is None:
            self.add(method, key, f"a group of {stack.shape[stack.stack_dim]}", "nothing", f"return {key!r}")
            raise CannotGoOn
        dim = stack.stack_dim
        for index, (element, spec) in enumerate(zip(group.unbind(dim), stack.unbind(dim), strict=True)):
            for name, leaf in spec.items(True, True):
                self.entry(element, name, leaf, method, reward=False, place=(*path_of(key), str(index)))

    def entry(
        self,
        out: TensorDictBase,
        key: NestedKey,
        leaf: TensorSpec,
        method: str,
        *,
        reward: bool,
        place: tuple[str, ...] = (),
    ) -> None:
        value, name = out.get(key, None), (*place, *path_of(key))
        if value is None:
            self.add(method, name, _told(leaf), "nothing", f"return {key!r}, or take it out of the specs")
            out.set(key, leaf.zero())
            return
        if leaf.dtype is None:
            return
        if reward and isinstance(value, torch.Tensor) and value.numel() == leaf.shape.numel():
            value = value.reshape(leaf.shape)  # the runtime adds a missing trailing 1
            out.set(key, value)
        if isinstance(value, torch.Tensor) and value.ndim != leaf.ndim:  # which a spec takes for more batch dimensions
            self.add(method, name, _told(leaf), _told(value), "correct the data, or its spec")
            out.set(key, leaf.zero())
            return
        for problem in leaf.violations(value):
            fits = isinstance(value, torch.Tensor) and value.shape == leaf.shape and value.dtype == leaf.dtype
            fix = "correct the value, or the bounds of its spec" if fits else "correct the data, or its spec"
            if "nan" in problem.found:
                fix = "keep NaN out of the data"
            self.add(method, name, problem.expected, problem.found, fix)
            if not fits:
                out.set(key, leaf.zero())


def _same(value: torch.Tensor, other: Any) -> bool:
    """Whether two tensors hold the same, NaN being the same as NaN."""
    if not isinstance(other, torch.Tensor) or other.shape != value.shape or other.dtype != value.dtype:
        return False
    return bool(((value == other) | ((value != value) & (other != other))).all())


def _told(leaf: TensorSpec | torch.Tensor) -> str:
    return f"{str(leaf.dtype).removeprefix('torch.')} of shape {list(leaf.shape)}"
