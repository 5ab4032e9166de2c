import gymnasium
import pytest

from zoo.config import config_data, config_hash
from zoo.registry import find_config
from zoo.result import Result, SeedResult


@pytest.fixture
def made_up():
    """Make up the result of a benchmark; its curves have four points, of which the last three are the score."""
    return make_up


def make_up(name="ppo/CartPole-v1", scores=(500.0, 470.0), target=475.0, **changes):
    config = find_config(name)
    seeds = [
        SeedResult(
            seed=n,
            score=score,
            std=1.5,
            train_return=score - 10,
            curve_max=score,
            steps_to_threshold=200 if target is not None and score >= target else None,
            training_seconds=2.0,
            cpu_seconds=1.0,
            evaluation_seconds=0.5,
            curve_steps=[100, 200, 300, 400],
            curve=[score - 100, score, score, score],
        )
        for n, score in enumerate(scores)
    ]
    known = {
        "name": config.name,
        "command": f"zoo bench {name} --seeds {len(scores)}",
        "config_hash": config_hash(config),
        "config": config_data(config),
        "target": target,
        "seeds": seeds,
        "jobs": 2,
        "seconds": 4.0,
        "commit": "0123456789ab",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    return Result(**{**known, **changes})


@pytest.fixture(scope="session")
def skip_without():
    """Skips a test for the environment of a config whose simulator is not installed."""

    def skip(config):
        library = config.env.id.partition("/")[0]
        packages = {"vmas": "vmas", "pettingzoo": "mpe2"}
        if library in packages:
            pytest.importorskip(packages[library])
            return
        entry_point = gymnasium.spec(config.env.id).entry_point
        for part, package in {"box2d": "Box2D", "mujoco": "mujoco"}.items():
            if part in entry_point:
                pytest.importorskip(package)

    return skip
