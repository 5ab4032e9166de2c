"""What a benchmark found, as a small file that tells how to find it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median_low
from typing import Any

from zoo.curve import LearningCurve
from zoo.errors import ConfigError
from zoo.files import write_text
from zoo.metrics import read_metrics
from zoo.run import RunFolder
from zoo.schema import validate
from zoo.summary import SeedSummary, summarize

__all__ = ["Result", "SeedResult", "find_results", "read_result", "read_seed", "result_path", "stored_results"]

STORED = Path(__file__).parent / "results"
DERIVED = ("summary", "threshold")
"""Entries of the file that are computed from the others."""


@dataclass(frozen=True)
class SeedResult:
    """What one seed reached.

    Attributes:
        seed: The seed.
        score: Mean return of the final policy over the episodes of the config's evaluation.
        std: Standard deviation over those episodes.
        train_return: Mean return of the last 100 training episodes (TR), or None.
        curve_max: Mean return of the best evaluation amid training (MX), or None.
        steps_to_threshold: Steps at the first evaluation that passes the bar, as the next two do, or None.
        training_seconds: Wall seconds of training.
        cpu_seconds: CPU seconds of training.
        evaluation_seconds: Wall seconds of the evaluations amid training.
        curve_steps: Steps at each evaluation amid training.
        curve: Mean return of each.
    """

    seed: int
    score: float
    std: float
    train_return: float | None
    curve_max: float | None
    steps_to_threshold: int | None
    training_seconds: float
    cpu_seconds: float
    evaluation_seconds: float
    curve_steps: list[int]
    curve: list[float]


@dataclass(frozen=True)
class Result:
    """What all seeds of a config reached, and what it takes to repeat it.

    Attributes:
        name: Name of the config.
        command: The command that repeats it.
        config_hash: See :func:`zoo.config.config_hash`.
        config: The config as it was trained, as plain data.
        target: The bar, or None.
        seeds: One result per seed, in order.
        jobs: How many seeds ran at a time.
        seconds: Wall seconds of everything; of the last part, if it was interrupted and went on.
        commit: The commit the zoo ran from, or None.
        versions: Versions of the software, and the platform.
    """

    name: str
    command: str
    config_hash: str
    config: dict[str, Any]
    target: float | None
    seeds: list[SeedResult]
    jobs: int
    seconds: float
    commit: str | None
    versions: dict[str, str]

    @property
    def summary(self) -> SeedSummary:
        """The scores in a few numbers."""
        return summarize([entry.score for entry in self.seeds], self.target)

    @property
    def cpu_seconds(self) -> float:
        """Mean CPU seconds of training a seed."""
        return fmean(entry.cpu_seconds for entry in self.seeds)

    @property
    def mean_curve(self) -> LearningCurve:
        """The mean over seeds of evaluations amid training."""
        points = list(zip(*(entry.curve for entry in self.seeds), strict=True))
        return LearningCurve(self.seeds[0].curve_steps, [fmean(point) for point in points], None)

    def in_protocol(self, protocol: str) -> float | None:
        """Return the mean over seeds as others measure it; None if it was not measured.

        Args:
            protocol: ``FE`` for the final policy, ``TR`` for the last training episodes, ``MX`` for the highest point
                of the mean of the evaluations amid training.
        """
        if protocol == "FE":
            return self.summary.mean
        if protocol == "MX":
            return self.mean_curve.max
        found = [entry.train_return for entry in self.seeds if entry.train_return is not None]
        return fmean(found) if found else None

    @property
    def threshold(self) -> dict[str, Any]:
        """Steps to the bar: the median of the seeds that got there, how many did, and that of the mean curve."""
        steps = [entry.steps_to_threshold for entry in self.seeds if entry.steps_to_threshold is not None]
        return {
            "median_steps": median_low(steps) if steps else None,
            "reached": len(steps),
            "mean_curve_steps": None if self.target is None else self.mean_curve.steps_to(self.target),
        }

    def write(self, path: Path) -> None:
        """Write everything as JSON in one piece, a line for each entry and each seed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {**asdict(self), "summary": asdict(self.summary), "threshold": self.threshold}
        seeds = ",\n".join(f"    {json.dumps(entry)}" for entry in data.pop("seeds"))
        entries = [f'  "{key}": {json.dumps(value)}' for key, value in data.items()]
        write_text(path, "{\n" + ",\n".join([*entries, f'  "seeds": [\n{seeds}\n  ]']) + "\n}\n")


def read_result(path: Path) -> Result:
    """Read what :meth:`Result.write` wrote.

    Raises:
        ConfigError: The file is damaged or no result; names the entry.
        OSError: There is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: expected the result of a benchmark, found no JSON ({error})") from error
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key not in DERIVED}
    result = validate(Result, data, {}, str(path))
    if not result.seeds:
        raise ConfigError(f"{path}: 'seeds' should be one or more, found none")
    return result


def read_seed(seed: int, folder: RunFolder) -> SeedResult:
    """Read what one seed reached from the folder of its run."""
    evaluation = json.loads(folder.evaluation.read_text(encoding="utf-8"))
    metadata = json.loads(folder.metadata.read_text(encoding="utf-8"))
    curve = LearningCurve.of(read_metrics(folder.metrics))
    return SeedResult(
        seed=seed,
        score=evaluation["mean"],
        std=evaluation["std"],
        **curve.as_dict(evaluation["target"]),
        **{name: metadata[name] for name in ("training_seconds", "cpu_seconds", "evaluation_seconds")},
        curve_steps=curve.steps,
        curve=curve.returns,
    )


def result_path(name: str, folder: Path = STORED) -> Path:
    """Return the file that keeps the result of a config.

    Example:
        >>> result_path("ppo/CartPole-v1", Path("results")).as_posix()
        'results/ppo/CartPole-v1.json'
    """
    return folder / f"{name}.json"


def stored_results(folder: Path = STORED) -> list[Result]:
    """Read the results that come with the zoo, or those kept in another folder, by name."""
    return [read_result(path) for path in sorted(folder.glob("*/*.json"))]


def find_results(root: Path) -> Iterable[tuple[Path, Result]]:
    """Find all benchmarks that are finished, in a folder and the folders inside it."""
    for path in sorted(root.rglob("benchmark.json")):
        yield path, read_result(path)
