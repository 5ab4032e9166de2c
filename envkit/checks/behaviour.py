"""How an env behaves over time, beyond the shape of its data.

Each check is given an env of its own, which it may wear out.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase

from envkit.checks.findings import Findings
from envkit.storage import flat_items

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["check_close", "check_masks", "check_seed", "cost_per_step", "why_not_pickled"]

SEED = 20_261
STEPS = 30


def check_seed(env: EnvBase, findings: Findings) -> None:
    """The same seed makes the same data."""
    try:
        env.set_seed(SEED)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        findings.add("set_seed", "", "a seed is taken", found, "define _set_seed(self, seed)")
        return
    first = _trace(env)
    env.set_seed(SEED)
    for step, (one, other) in enumerate(zip(first, _trace(env), strict=True)):
        others = dict(flat_items(other))
        for key, value in flat_items(one):
            if isinstance(value, torch.Tensor) and not _equal(value, others.get(key)):
                fix = "seed every random generator of the env in _set_seed, and draw from those only"
                findings.add("set_seed", key, "the same data from the same seed", f"a difference at step {step}", fix)
                return


def check_masks(env: EnvBase, findings: Findings) -> None:
    """A reset or step of some elements of a batch leaves the others alone.

    Told by what they do at the next step, and only for envs that can be put back to an earlier state and whose steps
    do not depend on chance.
    """
    if env.numel() < 2 or any(size == 0 for size in env.batch_size):
        return
    current = env.reset()
    for step in range(STEPS):
        try:
            start = env.snapshot()
        except TypeError:
            return
        current = env.rand_action(current)
        data, following = env.step_and_maybe_reset(current.clone())
        if step > 3 and not env.any_done(data["next"]):  # what is done may not be stepped twice
            break
        current = following
    else:
        return

    def stepped(before: Callable[[TensorDictBase], TensorDictBase], seed: int | None = None) -> TensorDictBase:
        env.restore(start)
        if seed is not None:
            env.set_seed(seed)
        given = before(current.clone())
        return env.step(given.update(current.select(*env.action_keys)))["next"]

    expected = stepped(lambda td: td)
    if not _same_outside(expected, stepped(lambda td: td), None):
        return
    # Chance that is drawn for the whole batch differs after a step of some elements as it does for another seed.
    if not _same_outside(stepped(lambda td: td, SEED), stepped(lambda td: td, SEED + 1), None):
        return
    mask = torch.zeros(env.batch_size, dtype=torch.bool)
    mask.view(-1)[0] = True

    def reset_one(td: TensorDictBase) -> TensorDictBase:
        for group in env.plan.done_groups:
            td.set(group.reset, _grown(mask, group.shape))
        return env.reset(td)

    def step_one(td: TensorDictBase) -> TensorDictBase:
        env.step(td.clone().set("_step", mask.unsqueeze(-1)))
        return td

    for name, before in (("_reset", reset_one), ("_step", step_one)):
        if not _same_outside(expected, stepped(before), mask):
            fix = f'look at tensordict["{name}"] in {name}, or keep the state of the env in its data'
            what = "reset" if name == "_reset" else "stepped"
            findings.add(name, name, "elements outside the mask left alone", f"they are {what} as well", fix)


def check_close(env: EnvBase, findings: Findings) -> None:
    """An env can be closed twice, and not run afterwards."""
    for times in ("once", "twice"):
        try:
            env.close()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            findings.add("close", "", f"no exception when closed {times}", found, "release each resource once")
            return
    if not env.is_closed:
        findings.add("close", "", "is_closed is True", "False", "call super().close() in close")


def why_not_pickled(env: EnvBase) -> str | None:
    """Why the env cannot be sent to another process as it is; None if it can."""
    try:
        pickle.loads(pickle.dumps(env))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def cost_per_step(env: EnvBase, seconds: float = 0.2) -> float:
    """Seconds that one step of a random rollout takes, resets and recording included."""
    steps, spent = 16, 0.0
    while spent < seconds / 4:
        steps *= 2
        start = time.perf_counter()
        env.rollout(steps, break_when_any_done=False)
        spent = time.perf_counter() - start
    return spent / steps


def _trace(env: EnvBase) -> list[TensorDictBase]:
    rows, current = [], env.reset()
    for _ in range(STEPS):
        row, current = env.step_and_maybe_reset(env.rand_action(current))
        rows.append(row.clone())
    return rows


def _equal(value: torch.Tensor, other: object) -> bool:
    return isinstance(other, torch.Tensor) and torch.equal(value.nan_to_num(), other.nan_to_num())


def _same_outside(one: TensorDictBase, other: TensorDictBase, mask: torch.Tensor | None) -> bool:
    others = dict(flat_items(other))
    for key, value in flat_items(one):
        found: Any = others.get(key)
        if not isinstance(value, torch.Tensor):
            continue
        if mask is not None:
            value, found = value[~mask], found[~mask]
        if not _equal(value, found):
            return False
    return True


def _grown(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return mask.reshape(*mask.shape, *(1,) * (len(shape) - mask.ndim)).expand(shape).clone()
