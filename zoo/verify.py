"""Training one seed of a published result again, to see that the numbers come out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.config import RunConfig, config_hash
from zoo.errors import UsageError
from zoo.metadata import versions
from zoo.result import STORED, SeedResult, read_result, read_seed, result_path
from zoo.run import RunFolder
from zoo.train import train

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """A seed as it was published, and as it came out now.

    Attributes:
        published: What the result says.
        found: What came out.
        changed: Software and platform whose version is another now: before and now, by name.
    """

    published: SeedResult
    found: SeedResult
    changed: dict[str, tuple[str | None, str]]

    @property
    def differences(self) -> list[str]:
        """What is not the same, bit for bit: the score, or the first evaluation that differs; empty if all is."""
        found = []
        for name in ("score", "std", "train_return"):
            then, now = getattr(self.published, name), getattr(self.found, name)
            if then != now:
                found.append(f"{name}: published {then!r}, found {now!r}")
        then, now = self._curve(self.published), self._curve(self.found)
        if then != now:
            at = next((n for n, pair in enumerate(zip(then, now, strict=False)) if pair[0] != pair[1]), None)
            found.append(
                f"evaluations: published {len(then)}, found {len(now)}"
                if at is None
                else f"evaluation at {then[at][0]:,} steps: published {then[at][1]!r}, found {now[at][1]!r}"
            )
        return found

    @staticmethod
    def _curve(entry: SeedResult) -> list[tuple[int, float]]:
        return list(zip(entry.curve_steps, entry.curve, strict=True))


def verify(
    config: RunConfig,
    *,
    seed: int = 0,
    results: Path = STORED,
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> Verification:
    """Train a seed of a config again, and compare it with the result that is kept.

    Args:
        config: The config; its own seed is not used.
        seed: Which seed of the result.
        results: Folder of the results.
        progress: Called with the metrics of every iteration.

    Raises:
        UsageError: There is no result, it has no such seed, or the config has changed since.
    """
    path = result_path(config.name, results)
    if not path.is_file():
        raise UsageError(f"{config.name}: no result is kept in {results}; `zoo bench {config.name}` makes one")
    result = read_result(path)
    published = next((entry for entry in result.seeds if entry.seed == seed), None)
    if published is None:
        raise UsageError(f"{path}: expected one of the seeds {[entry.seed for entry in result.seeds]}, found {seed}")
    if config_hash(config) != result.config_hash:
        raise UsageError(
            f"{path}: the result is of config {result.config_hash[:12]}, found {config_hash(config)[:12]}: the config "
            "has changed since; `zoo bench` makes a new result"
        )
    now = versions()
    with tempfile.TemporaryDirectory() as parent:
        folder = RunFolder.create(Path(parent), "run")
        train(replace(config, seed=seed), folder, progress)
        found = read_seed(seed, folder)
    changed = {name: (result.versions.get(name), now[name]) for name in now if result.versions.get(name) != now[name]}
    return Verification(published, found, changed)
