"""A verdict on an env."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from envkit.checks.behaviour import check_close, check_masks, check_seed, cost_per_step, why_not_pickled
from envkit.checks.data import CannotGoOn, check_data
from envkit.checks.findings import Finding, Findings, table
from envkit.errors import EnvCheckError
from envkit.transforms.env import TransformedEnv

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["CHECKS", "Diagnosis", "check_env_specs", "diagnose", "undisturbed"]

Check = Callable[["EnvBase", Findings], None]

STEPS = 50


def check_specs(env: EnvBase, findings: Findings) -> None:
    """The specs fit together, and there is something to do."""
    try:
        plan = env.plan
    except Exception as error:
        findings.add("specs", "", "specs that fit together", str(error), "correct the specs")
        raise CannotGoOn from error
    if not plan.action_keys:
        findings.add("specs", "action", "at least one action", "none", "assign env.action_spec")


CHECKS: dict[str, Check] = {
    "specs": check_specs,
    "data": lambda env, findings: check_data(env, findings, STEPS),
    "seed": check_seed,
    "masks": check_masks,
    "close": check_close,
}
"""All checks by name, in their order. Each is given an env of its own; one that fails ends the examination."""


@dataclass
class Diagnosis:
    """The verdict on an env."""

    env: str
    """What was examined."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong; empty if nothing is."""
    notes: list[str] = field(default_factory=list)
    """What is good to know, and no mistake."""
    seconds_per_step: float | None = None
    """Cost of one recorded step with a random action; None if the env could not be run."""

    def __str__(self) -> str:
        lines = [table(self.env, self.findings) if self.findings else f"{self.env}: nothing wrong"]
        if self.seconds_per_step is not None:
            lines.append(f"cost: {self.seconds_per_step * 1e6:.1f} us per recorded step with a random action")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "env": self.env,
            "findings": [finding._asdict() for finding in self.findings],
            "notes": self.notes,
            "seconds_per_step": self.seconds_per_step,
        }


def check_env_specs(
    env: EnvBase, *, steps: int = STEPS, seed: int | None = None, raise_error: bool = True
) -> list[Finding]:
    """Runs an env for a while with random actions and compares everything it does with what it says it does.

    Every finding is reported, not only the first one. What the env's own ``_reset`` and ``_step`` return is looked at
    before anything is completed: missing, undeclared and misshapen entries, dtypes, bounds, NaN, rewards at reset,
    done flags that contradict each other, inputs that are changed, outputs that change later. Then: that a seed
    makes the same data twice, that partial resets and steps leave the rest of a batch alone, that it can be closed.

    All this happens to copies of the env: it, and every global random stream, stays as it was. An env that cannot be
    copied is examined itself, is not closed, and needs a reset afterwards.

    Args:
        env: the env.
        steps: number of steps at least, with resets in between.
        seed: seeds the copy first.
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
    found = _examine(*_copies_of(env), steps=steps, seed=seed)
    if found and raise_error:
        raise EnvCheckError(table(type(env).__name__, found), tuple(found))
    return found


def diagnose(make_env: Callable[[], EnvBase], name: str | None = None) -> Diagnosis:
    """Everything there is to say about the envs that a function makes: findings, cost per step, notes.

    Args:
        make_env: makes the env to examine; called for every check.
        name: what to call it; by default what the env calls itself.

    Examples:
        >>> from envkit import GymEnv
        >>> diagnose(lambda: GymEnv("CartPole-v1"), "CartPole-v1").findings
        []
    """
    try:
        sample = make_env()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        finding = Finding("constructor", "", "an env", text, "see the message")
        return Diagnosis(name or str(getattr(make_env, "__name__", make_env)), [finding])
    result = Diagnosis(name or type(sample).__name__, _examine(make_env, True))
    with undisturbed():
        reason = why_not_pickled(sample)  # before it is run: what has workers by then could not be sent
        if not result.findings:
            result.seconds_per_step = cost_per_step(sample)
        if reason is not None:
            result.notes.append(f"it cannot be pickled ({reason}): hand other processes a function that makes it")
    sample.close()
    return result


def _examine(
    fresh: Callable[[], EnvBase], disposable: bool, *, steps: int = STEPS, seed: int | None = None
) -> list[Finding]:
    """Runs the checks, each on an env of its own."""
    findings = Findings()
    with undisturbed():
        for name, check in CHECKS.items():
            if name == "close" and not disposable:
                continue
            env = fresh()
            if seed is not None:
                env.set_seed(seed)
            try:
                if name == "data":
                    check_data(env, findings, steps)
                else:
                    if name in ("seed", "masks"):
                        _settle(env)
                    check(env, findings)
            except CannotGoOn:
                break
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                if not findings.all:  # else it may well be a consequence
                    findings.add(name, "", "no exception", text, "see the message")
            finally:
                env._runtime.started = False
    return findings.all


def _settle(env: EnvBase) -> None:
    """Keeps what transforms have learnt after some steps as it is: statistics that go on tell any two runs apart."""
    if isinstance(env, TransformedEnv) and env.transform.state_dict():
        env.rollout(3)
        env.transform.freeze()


def _copies_of(env: EnvBase) -> tuple[Callable[[], EnvBase], bool]:
    """A function that copies the env as it is now, and True; or one that returns the env itself, and False."""
    try:
        copy.deepcopy(env)
    except Exception:
        return lambda: env, False
    return lambda: copy.deepcopy(env), True


@contextmanager
def undisturbed() -> Iterator[None]:
    """Puts the global random streams back where they were."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
