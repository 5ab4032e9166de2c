"""Training a config with several seeds, all of which count."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from envkit.errors import EnvkitError
from zoo.config import RunConfig, config_data, config_hash, config_to_yaml
from zoo.errors import BenchmarkError, UsageError
from zoo.files import write_text
from zoo.metadata import versions
from zoo.registry import config_names, find_config
from zoo.result import Result, SeedResult, read_seed
from zoo.run import RunFolder, runs_folder
from zoo.stopping import Interrupted, StopSignals
from zoo.train import resume, train

__all__ = ["benchmark", "continue_benchmark"]


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
) -> tuple[Path, Result]:
    """Train seeds 0, 1, ... each in a process with one thread, and evaluate the final policy of each.

    Args:
        config: What to train; its own seed is not used.
        seeds: How many seeds.
        jobs: How many processes run at a time.
        root: Folder below which ``<algorithm>/<environment>/benchmark-.../`` is made: a run folder for each
            seed, the config, and ``benchmark.json``.
        at_least: Another bar than the config's.
        progress: Called with the result of every seed as it comes in.

    Returns:
        The file ``benchmark.json``, and what is in it.

    Raises:
        BenchmarkError: A seed failed; the run folders of the others stay.
        Interrupted: A signal arrived; every running seed has written its checkpoint.
    """
    if seeds < 1 or jobs < 1:
        raise UsageError(f"expected at least one seed and one job, found {seeds} and {jobs}")
    if at_least is not None:
        config = replace(config, target=at_least)
    folder = RunFolder.create(runs_folder(root, config), f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    write_text(folder.config, config_to_yaml(config))
    return _complete(folder, config, seeds, jobs, progress)


def continue_benchmark(
    path: Path,
    *,
    seeds: int | None = None,
    jobs: int = 2,
    progress: Callable[[SeedResult], None] | None = None,
) -> tuple[Path, Result]:
    """Go on with a benchmark that was interrupted or killed: seeds that are finished count as they are.

    Args:
        path: Its folder.
        seeds: How many seeds, if there are to be more than it began with.
        jobs: How many processes run at a time.
        progress: Called with the result of every seed that comes in.

    Raises:
        UsageError: This is no folder of a benchmark, or the versions of the software have changed since it began.
    """
    folder = RunFolder(path)
    begun = len(list(path.glob("seed-*")))
    if not begun or not folder.config.is_file():
        raise UsageError(f"{path} is no folder of a benchmark; expected one that `zoo bench` has written")
    for file in sorted(path.glob("seed-*/metadata.json")):
        then, now = json.loads(file.read_text(encoding="utf-8"))["versions"], versions()
        if changed := sorted(name for name in now if then.get(name) != now[name]):
            found = ", ".join(f"{name} {then.get(name)} before and {now[name]} now" for name in changed)
            raise UsageError(f"{path}: expected the versions it began with, found {found}; begin another benchmark")
    return _complete(folder, folder.load_config(), max(begun, seeds or 0), jobs, progress)


def _complete(
    parent: RunFolder, config: RunConfig, seeds: int, jobs: int, progress: Callable[[SeedResult], None] | None
) -> tuple[Path, Result]:
    """Train the seeds that are not finished, and write down what all of them reached."""
    began = time.perf_counter()
    results: dict[int, SeedResult] = {}
    waiting = []
    for seed in range(seeds):
        folder = RunFolder(parent.path / f"seed-{seed}")
        if _is_finished(folder):
            results[seed] = read_seed(seed, folder)
            continue
        if not folder.checkpoint.exists() and folder.path.exists():
            shutil.rmtree(folder.path)
        folder.path.mkdir(exist_ok=True)
        waiting.append((seed, folder))
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
                results[job.seed] = read_seed(job.seed, job.folder)
                if progress is not None:
                    progress(results[job.seed])
            stop.check()
    result = Result(
        name=config.name,
        command=_command(config, seeds),
        config_hash=config_hash(config),
        config=config_data(config),
        target=config.target,
        seeds=[results[seed] for seed in range(seeds)],
        jobs=jobs,
        seconds=round(time.perf_counter() - began, 1),
        commit=_commits(parent.path),
        versions=versions(),
    )
    file = parent.path / "benchmark.json"
    result.write(file)
    return file, result


def _is_finished(folder: RunFolder) -> bool:
    if not folder.evaluation.is_file() or not folder.metadata.is_file():
        return False
    return json.loads(folder.metadata.read_text(encoding="utf-8"))["status"] == "trained"


def _commits(parent: Path) -> str | None:
    """The commit that the seeds were trained from; all of them, if the checkout has changed meanwhile."""
    found = [
        json.loads(file.read_text(encoding="utf-8"))["commit"] for file in sorted(parent.glob("seed-*/metadata.json"))
    ]
    return ", ".join(dict.fromkeys(entry for entry in found if entry is not None)) or None


def _command(config: RunConfig, seeds: int) -> str:
    """The command that repeats a benchmark: by the name of the config, if it is the one that comes with the zoo."""
    shipped = config.name in config_names() and config_hash(find_config(config.name)) == config_hash(config)
    return f"zoo bench {config.name if shipped else 'config.yaml'} --seeds {seeds}"


def _train_seed(config: RunConfig, folder: RunFolder) -> None:
    """Train one seed; runs in a process of its own."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        if folder.checkpoint.exists():
            resume(folder)
        else:
            train(config, folder)
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except EnvkitError as error:
        sys.exit(f"seed {config.seed}: {error}")


def _stop_with_parent() -> None:
    """Stop this process, after a checkpoint, when the one that began it was killed: another may go on with the seed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


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
