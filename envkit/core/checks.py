"""A verdict on an env."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase

from envkit.core.plan import Plan, path_of
from envkit.errors import EnvCheckError
from envkit.specs import Composite, NonTensor, TensorSpec

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["Finding", "check_env_specs"]


class Finding(NamedTuple):
    """One thing that is wrong with an env: where, what was expected, what was found, and the likely fix."""

    where: str
    key: str
    expected: str
    found: str
    fix: str


def check_env_specs(
    env: EnvBase, *, steps: int = 50, seed: int | None = None, raise_error: bool = True
) -> list[Finding]:
    """Runs an env for a while with random actions and compares everything it returns with its specs.

    Every finding is reported, not only the first one. What the env's own ``_reset`` and ``_step`` return is looked at
    before anything is completed: missing, undeclared and misshapen entries, dtypes, bounds, NaN, rewards at reset,
    done flags that contradict each other, and inputs that are changed. The env needs a reset afterwards. Torch's
    global random stream is left as it was.

    Args:
        env: the env.
        steps: number of steps, with resets in between.
        seed: seeds the env first.
        raise_error: raise if there are findings; if False, only return them.

    Returns:
        The findings; an empty list is a clean bill.

    Raises:
        EnvCheckError: an ``AssertionError`` whose message is a table of the findings, which it carries as ``findings``.

    Examples:
        >>> from envkit import GymEnv
        >>> check_env_specs(GymEnv("Pendulum-v1"))
        []
    """
    with torch.random.fork_rng(devices=[]):
        examiner = _Examiner(env)
        try:
            examiner.run(steps, seed)
        except _CannotGoOn:
            pass
        finally:
            env._runtime.started = False
    findings = list(examiner.findings.values())
    if findings and raise_error:
        raise EnvCheckError(_table(env, findings), tuple(findings))
    return findings


class _CannotGoOn(Exception):  # noqa: N818 - control flow, never seen outside
    """The env is too broken to be stepped further."""


class _Examiner:
    def __init__(self, env: EnvBase) -> None:
        self.env = env
        self.findings: dict[tuple[str, str, str], Finding] = {}

    def add(self, where: str, key: NestedKey | str, expected: str, found: str, fix: str) -> None:
        """Notes a finding; the same thing at a later step is not repeated."""
        name = ".".join(path_of(key))
        self.findings.setdefault((where, name, fix), Finding(where, name, expected, found, fix))

    def run(self, steps: int, seed: int | None) -> None:
        env = self.env
        try:
            plan = env.plan
        except Exception as error:
            self.add("specs", "", "specs that fit together", str(error), "correct the specs")
            raise _CannotGoOn from error
        if not plan.action_keys:
            self.add("specs", "action", "at least one action", "none", "assign env.action_spec")
        if seed is not None:
            env.set_seed(seed)
        current = self.reset(plan)
        for _ in range(steps):
            env.rand_action(current)
            following = self.step(plan, current)
            if any(bool(following.get(group.done).any()) for group in plan.done_groups):
                current = self.reset(plan)
            else:
                current = env.step_mdp(current.copy().set("next", following))

    def reset(self, plan: Plan) -> TensorDictBase:
        out = self.call("_reset")
        out = self.examine(plan, out, "_reset", plan.root_spec, [*plan.observation_keys])
        for key in plan.reward_keys:
            if out.get(key, None) is not None:
                self.add("_reset", key, "no reward after a reset", "a reward", "return rewards from _step only")
                out.del_(key)
        out = plan.complete_reset(out)
        for group in plan.done_groups:
            if bool(out.get(group.done).any()) and not self.env.allow_done_after_reset:
                self.add(
                    "_reset",
                    group.done,
                    "False",
                    "True",
                    "start undone, or construct the env with allow_done_after_reset=True",
                )
        self.env._runtime.started = True
        return out

    def step(self, plan: Plan, current: TensorDictBase) -> TensorDictBase:
        before = current.clone()
        out = self.call("_step", current)
        if out is current:
            self.add("_step", "", "a TensorDict of its own", "the input TensorDict", "build the output from scratch")
            out = out.clone()
        self.unchanged(before, current)
        out = self.examine(plan, out, "_step", plan.next_spec, [*plan.observation_keys, *plan.reward_keys])
        for group in plan.done_groups:
            if out.get(group.done, None) is None and out.get(group.terminated, None) is None:
                self.add(
                    "_step",
                    group.done,
                    "done or terminated",
                    "neither",
                    f"return {group.done!r} or {group.terminated!r}, a boolean of shape {list(group.shape)}",
                )
                out.set(group.done, torch.zeros(group.shape, dtype=torch.bool))
        out = plan.complete_next(out)
        for group in plan.done_groups:
            ended = out.get(group.terminated)
            if group.truncated is not None:
                ended = ended | out.get(group.truncated)
            if bool((ended & ~out.get(group.done)).any()):
                self.add(
                    "_step",
                    group.done,
                    "True where terminated or truncated is",
                    "False",
                    "leave done out: it is derived",
                )
            elif group.truncated is not None and bool((out.get(group.done) & ~ended).any()):
                self.add(
                    "_step",
                    group.done,
                    "terminated or truncated where done",
                    "neither",
                    "say which of the two ended the episode",
                )
        return out

    def call(self, method: str, *arguments: TensorDictBase) -> Any:
        try:
            return getattr(self.env, method)(*arguments)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self.add(method, "", "no exception", text, "see the message")
            raise _CannotGoOn from error

    def unchanged(self, before: TensorDictBase, after: TensorDictBase) -> None:
        for key, value in before.items(True, True):
            found = after.get(key, None)
            if isinstance(value, torch.Tensor) and not _same(value, found):
                self.add(
                    "_step", key, "the input as it was", "a changed entry", "copy before changing anything in place"
                )
        for key in set(after.keys(True, True)) - set(before.keys(True, True)):
            self.add("_step", key, "the input as it was", "an added entry", "write to the output, not to the input")

    def examine(self, plan: Plan, out: Any, method: str, spec: Composite, needed: list[NestedKey]) -> TensorDictBase:
        """Compares an output with its specs, entry by entry, and mends what can be mended to go on."""
        size = self.env.batch_size
        if isinstance(out, Mapping) and not isinstance(out, TensorDictBase):
            return self.examine_mapping(plan, out, method, size)
        if not isinstance(out, TensorDictBase):
            self.add(method, "", "a TensorDict or a mapping", type(out).__name__, "return the data")
            raise _CannotGoOn
        if out.batch_size != size:
            try:
                out = out.copy()
                out.batch_size = size
            except RuntimeError:
                self.add(
                    method,
                    "",
                    f"batch size {list(size)}",
                    f"batch size {list(out.batch_size)}",
                    "give the data the env's batch size",
                )
                out = TensorDict(dict(out.items()), size) if not size else TensorDict({}, size)
        out = out.copy()
        for key in needed:
            self.entry(out, key, spec[key], method, reward=key in plan.reward_keys)
        for key in plan.done_keys:
            if out.get(key, None) is not None:
                self.entry(out, key, spec[key], method, reward=True)
        known = {*needed, *plan.done_keys, *plan.reward_keys, *plan.reset_keys, *plan.state_keys}
        for key in out.keys(True, True):
            if key not in known and not any(path_of(key)[: len(path_of(k))] == path_of(k) for k in known):
                self.add(
                    method,
                    key,
                    "only declared entries",
                    "an entry without a spec",
                    "add it to observation_spec, or leave it out",
                )
        return out

    def examine_mapping(self, plan: Plan, out: Mapping, method: str, size: torch.Size) -> TensorDictBase:
        try:
            complete = plan.complete_next if method == "_step" else plan.complete_reset
            return complete(out)
        except Exception as error:
            self.add(method, "", "data that fits the specs", str(error), "see the message")
            raise _CannotGoOn from error

    def entry(self, out: TensorDictBase, key: NestedKey, leaf: TensorSpec, method: str, *, reward: bool) -> None:
        value = out.get(key, None)
        if value is None:
            self.add(method, key, _told(leaf), "nothing", f"return {key!r}, or take it out of the specs")
            out.set(key, leaf.zero())
            return
        if isinstance(leaf, NonTensor):
            return
        if reward and isinstance(value, torch.Tensor) and value.numel() == leaf.shape.numel():
            value = value.reshape(leaf.shape)  # the runtime adds a missing trailing 1
            out.set(key, value)
        if isinstance(value, torch.Tensor) and value.ndim != leaf.ndim:  # which a spec takes for more batch dimensions
            self.add(method, key, _told(leaf), _told(value), "correct the data, or its spec")
            out.set(key, leaf.zero())
            return
        for problem in leaf.violations(value):
            fits = isinstance(value, torch.Tensor) and value.shape == leaf.shape and value.dtype == leaf.dtype
            fix = "correct the value, or the bounds of its spec" if fits else "correct the data, or its spec"
            if "nan" in problem.found:
                fix = "keep NaN out of the data"
            self.add(method, key, problem.expected, problem.found, fix)
            if not fits:
                out.set(key, leaf.zero())


def _same(value: torch.Tensor, other: Any) -> bool:
    """Whether two tensors hold the same, NaN being the same as NaN."""
    if not isinstance(other, torch.Tensor) or other.shape != value.shape or other.dtype != value.dtype:
        return False
    return bool(((value == other) | ((value != value) & (other != other))).all())


def _told(leaf: TensorSpec | torch.Tensor) -> str:
    return f"{str(leaf.dtype).removeprefix('torch.')} of shape {list(leaf.shape)}"


def _table(env: EnvBase, findings: list[Finding]) -> str:
    """The findings in columns, one line each."""
    rows = [Finding._fields, *findings]
    lines = []
    widths = [max(len(" ".join(str(row[i]).split())) for row in rows) for i in range(len(Finding._fields))]
    for row in rows:
        cells = [" ".join(str(cell).split()).ljust(min(width, 60)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("-" * min(width, 60) for width in widths)
    count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
    return "\n".join([f"{type(env).__name__}: {count}", "", lines[0], rule, *lines[1:]])
