"""One small exception class per kind of mistake.

Every class derives from :class:`EnvkitError` and from the built-in (or Gymnasium) exception that a
caller would already be catching, so ``except ValueError`` and ``except gymnasium.error.Error`` keep working.
"""

from __future__ import annotations

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
    "SpecError",
    "UnknownEnvError",
    "UnsupportedSpaceError",
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


class CheckpointError(EnvkitError, ValueError):
    """A checkpoint is damaged, of another kind, or does not fit the environment."""
