"""Training a config into a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agents import BaseAgent, Hook, NonFiniteUpdateError
from agents.checkpoint import save_checkpoint
from zoo.building import load_agent, make_agent, make_training_env, torch_threads
from zoo.clock import TrainingClock
from zoo.config import RunConfig, config_to_yaml
from zoo.curve_hook import CurveHook
from zoo.errors import ConfigError
from zoo.evaluate import Score, evaluate_agent, write_evaluation
from zoo.events import EventsFolder
from zoo.files import write_text
from zoo.metadata import commit, versions
from zoo.metrics import MetricsFile, read_metrics
from zoo.plot import plot_learning_curve
from zoo.run import RunFolder
from zoo.stopping import Interrupted, StopSignals

__all__ = ["TrainResult", "resume", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What came out of a finished run.

    Attributes:
        folder: The run folder.
        steps: Environment steps taken.
        seconds: Wall time of training, without evaluations.
        score: The final evaluation, also in the folder.
    """

    folder: RunFolder
    steps: int
    seconds: float
    score: Score


def train(
    config: RunConfig,
    folder: RunFolder,
    progress: Callable[[Mapping[str, float]], None] | None = None,
    *,
    checkpoint_seconds: float = 60.0,
) -> TrainResult:
    """Train an agent, record everything in the run folder, and evaluate the final policy.

    Ctrl-C and SIGTERM are held back until the running iteration is complete, and a checkpoint is written
    before they take effect; a second one takes effect at once. PyTorch is limited to one thread.

    Args:
        config: What to train.
        folder: An empty run folder, from :meth:`RunFolder.create`; removed if the agent cannot be built.
        progress: Called with the metrics of every iteration.
        checkpoint_seconds: How often a checkpoint is written during training, in seconds.

    Raises:
        Interrupted: Training was stopped by a signal; the folder holds a checkpoint and a learning curve.
        EnvkitError: The environment or the agent refused the config.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from zoo.registry import find_config
        >>> config = find_config("ppo/CartPole-v1", ["total_steps=512", "eval.episodes=2"])
        >>> root = tempfile.TemporaryDirectory()
        >>> result = train(config, RunFolder.create(Path(root.name)))
        >>> result.steps, len(result.score.returns), result.folder.checkpoint.exists()
        (512, 2, True)
        >>> root.cleanup()
    """
    with torch_threads(), ExitStack() as stack:
        try:
            env = make_training_env(config)
            stack.callback(env.close)
            agent = make_agent(config, env)
            if config.total_steps < agent.steps_per_iteration:
                raise ConfigError(
                    f"total_steps must allow one iteration of {agent.steps_per_iteration:,} steps, "
                    f"found {config.total_steps:,}"
                )
        except BaseException:
            folder.discard()
            raise
        return _recorded(_Record(config, folder, agent, progress, checkpoint_seconds))


def resume(
    folder: RunFolder,
    progress: Callable[[Mapping[str, float]], None] | None = None,
    *,
    checkpoint_seconds: float = 60.0,
) -> TrainResult:
    """Go on with a run that was interrupted, from its checkpoint to the steps of its config.

    Where the environment can say where it stands, as those of Gymnasium's classic control and MuJoCo can, the rest is
    as it would have been, bit for bit; elsewhere new episodes begin, and a warning says so.

    Args:
        folder: The run.
        progress: Called with the metrics of every iteration.
        checkpoint_seconds: How often a checkpoint is written during training, in seconds.

    Raises:
        ConfigError: The config of the run is damaged.
        CheckpointError: The checkpoint is damaged or does not fit the environment.
        Interrupted: Training was stopped by a signal, again.
    """
    config = folder.load_config()
    with torch_threads(), ExitStack() as stack:
        env = make_training_env(config)
        stack.callback(env.close)
        agent = load_agent(config, folder.checkpoint, env, resume=True)
        return _recorded(_Record(config, folder, agent, progress, checkpoint_seconds, resumes=True))


def _recorded(record: _Record) -> TrainResult:
    """Train, evaluate and leave a complete folder."""
    try:
        record.run()
    except Interrupted as interruption:
        record.finish(str(interruption))
        raise
    except BaseException as error:
        if isinstance(error, NonFiniteUpdateError):
            record.keep(error)
        record.finish(f"failed: {type(error).__name__}: {error}", save=False)
        raise
    record.finish("trained")
    record.folder.previous_checkpoint.unlink(missing_ok=True)
    score = evaluate_agent(record.agent, record.config)
    write_evaluation(record.folder, score)
    return TrainResult(record.folder, record.steps, record.clock.wall, score)


class _Record:
    """One run being recorded: streams metrics while the agent trains, then leaves a complete folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        agent: BaseAgent,
        progress: Callable[[Mapping[str, float]], None] | None,
        checkpoint_seconds: float,
        *,
        resumes: bool = False,
    ) -> None:
        self.config = config
        self.folder = folder
        self.agent = agent
        self.steps = agent.steps
        self.clock = TrainingClock(_last_record(folder, agent.steps) if resumes else None)
        self._after = agent.steps if resumes else None
        self._save_failed = False
        self._progress = progress
        self._checkpoint_seconds = checkpoint_seconds
        self._began_at = datetime.now(UTC)
        write_text(folder.config, config_to_yaml(config))
        self._write_metadata("training")

    def run(self) -> None:
        """Train to the end, or until a signal arrives or something fails."""
        folder = self.folder
        with (
            StopSignals() as stop,
            MetricsFile(folder.metrics, after=self._after) as file,
            EventsFolder(folder.tensorboard, after=self._after) as events,
        ):
            last_save = time.perf_counter()

            def on_iteration(metrics: Mapping[str, float]) -> None:
                nonlocal last_save
                now = time.perf_counter()
                self.steps = int(metrics["steps"])
                entry: dict[str, float] = {**metrics, **self.clock.read()}
                if self._save_failed:
                    entry["checkpoint_failed"] = 1.0
                file.write(entry)
                events.write(entry)
                # After the record: one that the checkpoint knows of would not come again.
                if now - last_save > self._checkpoint_seconds:
                    last_save = now
                    try:
                        self.save()
                        self._save_failed = False
                    except OSError:
                        # A full disk should not end hours of training: the last checkpoint stays valid.
                        self._save_failed = True
                if self._progress is not None:
                    self._progress(entry)
                stop.check()

            hooks: list[Hook] = [CurveHook(self.config, self.agent, self.clock)] if self.config.eval.points else []
            self.agent.train(max_steps=self.config.total_steps, log_freq=1, callback=on_iteration, hooks=hooks)
            self.clock.read()
            stop.check()

    def save(self) -> None:
        """Write the checkpoint, which the agent does in one piece."""
        self.agent.save(self.folder.checkpoint, keep_previous=True)

    def keep(self, error: NonFiniteUpdateError) -> None:
        """Write what is needed to look into an update that was not finite: its rows, and the agent before it."""
        rows = {} if error.rows is None else error.rows.to_dict()
        state = {"message": str(error), "rows": rows, "agent": self.agent.state_dict()}
        save_checkpoint(self.folder.failed_update, "failed update", state)

    def finish(self, status: str, *, save: bool = True) -> None:
        """Write the checkpoint, the learning curve and how the run ended."""
        if save:
            self.save()
        self._write_metadata(status)
        plot_learning_curve(
            read_metrics(self.folder.metrics),
            self.folder.learning_curve,
            title=f"{self.config.name} (seed {self.config.seed})",
            target=self.config.target,
        )

    def _write_metadata(self, status: str) -> None:
        data: dict[str, Any] = {
            "status": status,
            "began_at": self._began_at.isoformat(timespec="seconds"),
            "training_seconds": round(self.clock.wall, 3),
            "cpu_seconds": round(self.clock.cpu, 3),
            "evaluation_seconds": round(self.clock.evaluations, 3),
            "steps": self.steps,
            "commit": commit(),
            "versions": versions(),
        }
        self.folder.write_json(self.folder.metadata, data)


def _last_record(folder: RunFolder, steps: int) -> dict[str, Any] | None:
    """The metrics of the last iteration up to some steps; a killed run has written no other trace of its times."""
    records = read_metrics(folder.metrics) if folder.metrics.exists() else []
    return next((record for record in reversed(records) if record["steps"] <= steps), None)
