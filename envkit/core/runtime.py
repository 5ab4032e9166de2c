"""What changes while an env runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from envkit.core.auto_reset import AutoReset
    from envkit.core.plan import Plan
    from envkit.core.step_mdp import Advance

__all__ = ["Runtime"]

WATCHED = 100


class Runtime:
    """The mutable state of an env, kept out of ``nn.Module``, whose attribute writes are slow."""

    __slots__ = (
        "advance",
        "auto_reset",
        "checked_reset",
        "checked_step",
        "generator",
        "last",
        "nonfinite",
        "plan",
        "quick",
        "ring",
        "sized",
        "started",
        "told",
        "watched",
    )

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.advance: Advance | None = None
        # Plans of a batch-unlocked env, by the batch sizes it has met.
        self.sized: dict[torch.Size, Plan] = {}
        self.generator: torch.Generator | None = None
        self.auto_reset: AutoReset | None = None
        # The rows that the public port of a RowEnv writes in; `quick` is the same once nothing is left to check.
        self.ring: Any = None
        self.quick: Any = None
        self.started = self.checked_reset = self.checked_step = False
        # What becomes of a NaN; for how many more steps bounds are looked at; what was warned of.
        self.nonfinite, self.watched = "error", WATCHED
        self.told: set[tuple[str, Any]] = set()
        # The observations that the next step starts from, where they may have to be repeated.
        self.last: list[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy of an env binds rows of its own: those here are bound to this one's simulator.
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("ring", "quick")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.ring = self.quick = None
        for name, value in state.items():
            setattr(self, name, value)

    def forget(self) -> None:
        """Drops whatever was derived from specs that have changed."""
        self.plan = self.advance = self.ring = self.quick = None
        self.sized = {}
