"""The checks as parametrised tests."""

from __future__ import annotations

import pytest
from tensordict import TensorDict

from envkit import GymEnv, StepCounter, TransformedEnv
from envkit.errors import EnvCheckError
from envkit.testing import env_checks, run_check


@env_checks(lambda: TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(max_steps=10)))
def test_a_healthy_env(check):
    check()


class NoReward(GymEnv):
    def _step(self, tensordict):
        return TensorDict({**super()._step(tensordict).exclude("reward")})


def test_a_sick_env_fails_the_check_concerned():
    run_check(lambda: NoReward("CartPole-v1"), "specs")
    with pytest.raises(EnvCheckError, match="reward"):
        run_check(lambda: NoReward("CartPole-v1"), "data")


def test_a_mark_for_every_check(pytester):
    pytester.makepyfile(
        """
        from envkit import GymEnv
        from envkit.testing import env_checks

        @env_checks(lambda: GymEnv("CartPole-v1"))
        def test_my_env(check): check()
        """
    )
    pytester.runpytest("-q", "-p", "no:cacheprovider").assert_outcomes(passed=5)
