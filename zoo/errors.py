"""Mistakes that a user of the zoo can make, and the errors that name them."""

from __future__ import annotations

from envkit.errors import EnvkitError

__all__ = ["BenchmarkError", "ConfigError", "RunFolderError", "UnknownConfigError", "UsageError"]


class UsageError(EnvkitError):
    """What was asked for cannot be done as asked; the command line exits with code 2."""


class ConfigError(UsageError, ValueError):
    """A config, or an override of one of its entries, is wrong."""


class UnknownConfigError(UsageError, LookupError):
    """No config has this name."""


class RunFolderError(UsageError, ValueError):
    """A run folder is missing, incomplete, or its name is not allowed."""


class BenchmarkError(EnvkitError, RuntimeError):
    """A seed of a benchmark did not finish."""
