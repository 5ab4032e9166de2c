"""Training a config with several seeds, all of which count."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from envkit.errors import EnvkitError
from zoo.config import RunConfig
from zoo.errors import BenchmarkError, UsageError
from zoo.metadata import versions
from zoo.run import RunFolder, runs_folder
from zoo.stopping import Interrupted, StopSignals
from zoo.summary import SeedSummary, summarize
from zoo.train import train

__all__ = ["BenchmarkResult", "SeedResult", "benchmark"]


@dataclass(frozen=True)
class SeedResult:
    """What one seed reached.

    Attributes:
        seed: The seed.
        score: Mean return of the final policy over the episodes of the config's evaluation.
        std: Standard deviation over those episodes.
        training_seconds: Wall time of training.
    """

    seed: int
    score: float
    std: float
    training_seconds: float


@dataclass(frozen=True)
class BenchmarkResult:
    """What all seeds reached.

    Attributes:
        file: Where the result was written (JSON).
        seeds: One result per seed, in order.
        summary: The scores in a few numbers.
        seconds: Wall time of everything.
    """

    file: Path
    seeds: list[SeedResult]
    summary: SeedSummary
    seconds: float


@dataclass(frozen=True)
class _Job:
    """A seed that is being trained."""

    seed: int
    folder: RunFolder
    process: BaseProcess


def benchmark(
    config: RunConfig,
    *,
    seeds: int = 10,
    jobs: int = 2,
    root: Path = Path("runs"),
    at_least: float | None = None,
    progress: Callable[[SeedResult], None] | None = None,
) -> BenchmarkResult:
    """Train seeds 0, 1, ... each in a process with one thread, and evaluate the final policy of each.

    Args:
        config: What to train; its own seed is not used.
        seeds: How many seeds.
        jobs: How many processes run at a time.
        root: Folder below which ``<algorithm>/<environment>/benchmark-.../`` is made: a run folder for each
            seed, and ``benchmark.json``.
        at_least: Another bar than the config's.
        progress: Called with the result of every seed as it comes in.

    Raises:
        BenchmarkError: A seed failed; the run folders of the others stay.
        Interrupted: A signal arrived; every running seed has written its checkpoint.
    """
    if seeds < 1 or jobs < 1:
        raise UsageError(f"expected at least one seed and one job, found {seeds} and {jobs}")
    began = time.perf_counter()
    parent = RunFolder.create(
        runs_folder(root, config), f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    ).path
    waiting = [(seed, RunFolder.create(parent, f"seed-{seed}")) for seed in range(seeds)]
    results: dict[int, SeedResult] = {}
    running: dict[Any, _Job] = {}
    # A fresh interpreter for each seed: a forked one would inherit PyTorch's threads half alive.
    context = multiprocessing.get_context("spawn")
    with StopSignals() as stop, _ended(running):
        while waiting or running:
            while waiting and len(running) < jobs:
                seed, folder = waiting.pop(0)
                process = context.Process(target=_train_seed, args=(replace(config, seed=seed), folder))
                with _child_settings():
                    process.start()
                running[process.sentinel] = _Job(seed, folder, process)
            for sentinel in wait(list(running), timeout=0.2):
                job = running.pop(sentinel)
                job.process.join()
                if job.process.exitcode != 0:
                    stop.check()
                    code = job.process.exitcode
                    raise BenchmarkError(f"seed {job.seed} ended with exit code {code}; see {job.folder.path}")
                results[job.seed] = _read_result(job.seed, job.folder)
                if progress is not None:
                    progress(results[job.seed])
            stop.check()
    ordered = [results[seed] for seed in range(seeds)]
    target = config.target if at_least is None else at_least
    result = BenchmarkResult(
        file=parent / "benchmark.json",
        seeds=ordered,
        summary=summarize([entry.score for entry in ordered], target),
        seconds=time.perf_counter() - began,
    )
    data: dict[str, Any] = {
        "name": config.name,
        "total_steps": config.total_steps,
        "episodes": config.eval.episodes,
        "first_seed": config.eval.first_seed,
        "summary": asdict(result.summary),
        "seeds": [asdict(entry) for entry in ordered],
        "jobs": jobs,
        "seconds": round(result.seconds, 1),
        "versions": versions(),
    }
    RunFolder(parent).write_json(result.file, data)
    return result


def _train_seed(config: RunConfig, folder: RunFolder) -> None:
    """Train one seed; runs in a process of its own."""
    try:
        train(config, folder)
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except EnvkitError as error:
        sys.exit(f"seed {config.seed}: {error}")


def _read_result(seed: int, folder: RunFolder) -> SeedResult:
    evaluation = json.loads(folder.evaluation.read_text(encoding="utf-8"))
    metadata = json.loads(folder.metadata.read_text(encoding="utf-8"))
    return SeedResult(seed, evaluation["mean"], evaluation["std"], metadata["training_seconds"])


@contextmanager
def _ended(running: dict[Any, _Job]) -> Iterator[None]:
    """End the processes that are still running at the end, giving them time to write a checkpoint."""
    try:
        yield
    finally:
        processes = [job.process for job in running.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + 10
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


@contextmanager
def _child_settings() -> Iterator[None]:
    """Let processes started in this context use one thread, and leave Ctrl-C to their parent."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    if os.name == "posix":
        # Blocked rather than ignored: children inherit it, and a Ctrl-C meanwhile still reaches this process.
        # The tracker that the first child would start unblocks the signal as it starts, so it comes before.
        resource_tracker.ensure_running()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if os.name == "posix":
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
