from dataclasses import replace

import pytest

from zoo.benchmark import benchmark
from zoo.errors import UsageError
from zoo.registry import find_config
from zoo.result import read_result, result_path
from zoo.verify import verify

TINY = ["total_steps=256", "env.num_envs=2", "agent.steps_per_env=64", "agent.epochs=1", "eval.episodes=2"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A config, and a folder with its result."""
    folder = tmp_path_factory.mktemp("results")
    config = find_config("ppo/CartPole-v1", TINY)
    _, result = benchmark(config, seeds=1, jobs=1, root=folder / "runs")
    result.write(result_path(config.name, folder))
    return config, folder


def test_a_seed_comes_out_bit_for_bit(kept):
    config, folder = kept
    found = verify(config, results=folder)
    assert found.differences == []
    assert found.changed == {}
    assert found.published.score == found.found.score


def test_what_differs_is_told(kept, tmp_path):
    config, folder = kept
    path = result_path(config.name, folder)
    result = read_result(path)
    first = replace(result.seeds[0], score=1.0, curve=[result.seeds[0].curve[0], 2.0])
    changed = replace(result, seeds=[first], versions={**result.versions, "torch": "1.0"})
    changed.write(result_path(config.name, tmp_path))
    found = verify(config, results=tmp_path)
    score, evaluation = found.differences
    assert score == f"score: published 1.0, found {result.seeds[0].score!r}"
    assert evaluation == f"evaluation at 256 steps: published 2.0, found {result.seeds[0].curve[1]!r}"
    assert list(found.changed) == ["torch"]


@pytest.mark.parametrize(
    ("changes", "seed", "message"),
    [
        (["name=ppo/other"], 0, "no result is kept"),
        ([], 7, r"expected one of the seeds \[0\], found 7"),
        (["agent.lr=1e-5"], 0, "the config has changed since"),
    ],
)
def test_what_cannot_be_verified(kept, changes, seed, message):
    _, folder = kept
    with pytest.raises(UsageError, match=message):
        verify(find_config("ppo/CartPole-v1", [*TINY, *changes]), seed=seed, results=folder)
