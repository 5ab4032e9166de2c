"""The checks of :func:`~envkit.check_env_specs` as tests of your own env.

Three lines in a test file make one test per check::

    from envkit.testing import env_checks

    @env_checks(lambda: MyEnv(size=3))
    def test_my_env(check): check()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from envkit.checks.data import CannotGoOn
from envkit.checks.doctor import CHECKS, undisturbed
from envkit.checks.findings import Findings, table
from envkit.checks.targets import as_env
from envkit.errors import EnvCheckError

if TYPE_CHECKING:
    from envkit.core.env import EnvBase

__all__ = ["env_checks", "run_check"]


def run_check(make_env: Callable[[], EnvBase], name: str) -> None:
    """Runs one check, by its name in :data:`envkit.checks.CHECKS`, on a fresh env.

    Raises:
        EnvCheckError: something is wrong; the message is a table.
    """
    findings = Findings()
    env = as_env(make_env)
    with undisturbed():
        try:
            CHECKS[name](env, findings)
        except CannotGoOn:
            pass
        finally:
            if name != "close":
                env.close()
    if findings.all:
        raise EnvCheckError(table(type(env).__name__, findings.all), tuple(findings.all))


def env_checks(make_env: Callable[[], Any]) -> Any:
    """A pytest mark that runs a test once per check; its argument ``check`` is a function that does it.

    Args:
        make_env: makes the env to test, or anything ``envkit check`` can examine; called for every check.

    Examples:
        >>> from envkit import GymEnv
        >>> @env_checks(lambda: GymEnv("CartPole-v1"))
        ... def test_cartpole(check): check()
        >>> [mark.args[0] for mark in test_cartpole.pytestmark]
        ['check']
    """
    import pytest

    cases = [pytest.param(lambda name=name: run_check(make_env, name), id=name) for name in CHECKS]
    return pytest.mark.parametrize("check", cases)
