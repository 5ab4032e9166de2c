"""One small exception class per kind of mistake.

Every class derives from :class:`EnvkitError` and from the built-in (or Gymnasium) exception that a
caller would already be catching, so ``except ValueError`` and ``except gymnasium.error.Error`` keep working.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium.error

__all__ = [
    "CheckpointError",
    "ClosedEnvError",
    "EnvCheckError",
    "EnvDataError",
    "EnvkitError",
    "InvalidActionError",
    "LockedSpecError",
    "MissingDependencyError",
    "NonFiniteError",
    "PolicyError",
    "ResetNeededError",
    "SharedMemoryError",
    "SpecError",
    "UnknownEnvError",
    "UnsupportedSpaceError",
    "WorkerError",
]


class EnvkitError(Exception):
    """Base class of all errors raised by envkit, agents and zoo."""


class SpecError(EnvkitError, ValueError):
    """A spec, or a value checked against it, is wrong."""


class LockedSpecError(EnvkitError, RuntimeError):
    """A locked spec was asked to change."""


class UnsupportedSpaceError(SpecError, TypeError):
    """A Gymnasium space (or a spec) has no counterpart on the other side."""


class EnvDataError(EnvkitError, ValueError):
    """An environment returned data that contradicts its specs."""


class NonFiniteError(EnvDataError):
    """An environment returned NaN, or an infinity where its bounds are finite."""


class PolicyError(EnvkitError, ValueError):
    """A policy did not write what the environment needs."""


class ResetNeededError(EnvkitError, gymnasium.error.ResetNeeded):
    """``step`` was called before ``reset``."""


class ClosedEnvError(EnvkitError, gymnasium.error.ClosedEnvironmentError):
    """An environment was used after it was closed."""


class InvalidActionError(EnvkitError, gymnasium.error.InvalidAction, ValueError):
    """An action handed to an exported environment is not in its action space."""


class MissingDependencyError(EnvkitError, gymnasium.error.DependencyNotInstalled, ImportError):
    """A package that an optional feature needs is not installed; the message names the extra that brings it."""


class UnknownEnvError(EnvkitError, gymnasium.error.NameNotFound):
    """No environment is registered under this id."""


class EnvCheckError(EnvkitError, AssertionError):
    """``check_env_specs`` found at least one problem; ``findings`` lists all of them."""

    def __init__(self, message: str, findings: tuple = ()) -> None:
        super().__init__(message)
        self.findings = findings


class SharedMemoryError(EnvkitError, MemoryError):
    """There is less memory for processes to share than is needed."""


class WorkerError(EnvkitError, RuntimeError):
    """A worker process failed: its env raised, it died, or it did not answer in time.

    Where the env's own exception could be sent over it is the ``__cause__``.

    Attributes:
        worker: index of the worker.
        env_indices: indices of its envs in the batch.
        env_name: what the env calls itself, or the function that makes it, if it was never made.
        phase: ``"start"``, ``"build"``, ``"reset"``, ``"step"``, ``"call"``, ``"collect"`` or ``"close"``.
        exit_code: of a process that ended by itself.
        signal: name of the signal that ended the process, such as ``"SIGKILL"``.
        remote_type: class of the env's exception.
        remote_traceback: its traceback, or the stack of a worker that does not answer.
        last_action: what the envs were last asked to do.
        seed: what the envs were last seeded with.
    """

    def __init__(
        self,
        message: str,
        *,
        worker: int,
        phase: str,
        env_indices: list[int] | None = None,
        env_name: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        remote_type: str | None = None,
        remote_traceback: str | None = None,
        last_action: Any = None,
        seed: Any = None,
    ) -> None:
        super().__init__(message)
        self.worker, self.phase, self.env_indices, self.env_name = worker, phase, env_indices or [], env_name
        self.exit_code, self.signal = exit_code, signal
        self.remote_type, self.remote_traceback = remote_type, remote_traceback
        self.last_action, self.seed = last_action, seed

    def __reduce__(self) -> tuple:
        # Exceptions are made anew from their message alone, which is not enough here.
        return functools.partial(type(self), worker=self.worker, phase=self.phase), self.args, vars(self)


class CheckpointError(EnvkitError, ValueError):
    """A checkpoint is damaged, of another kind, or does not fit the environment."""
