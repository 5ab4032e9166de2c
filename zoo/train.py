"""Training a config into a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agents import PPO
from zoo.building import make_agent, make_training_env, torch_threads
from zoo.config import RunConfig, config_to_yaml
from zoo.errors import ConfigError
from zoo.evaluate import Score, evaluate_agent
from zoo.events import EventsFolder
from zoo.files import write_text
from zoo.metadata import versions
from zoo.metrics import MetricsFile, read_metrics
from zoo.plot import plot_learning_curve
from zoo.run import RunFolder
from zoo.stopping import Interrupted, StopSignals

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What came out of a finished run.

    Attributes:
        folder: The run folder.
        steps: Environment steps taken.
        seconds: Wall time of training, without the evaluation.
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
                    f"total_steps must allow one iteration of {agent.steps_per_iteration:,} steps "
                    f"(env.num_envs times agent.steps_per_env), found {config.total_steps:,}"
                )
        except BaseException:
            folder.discard()
            raise
        record = _Record(config, folder, agent, progress, checkpoint_seconds)
        try:
            record.run()
        except Interrupted as interruption:
            record.finish(str(interruption))
            raise
        except BaseException as error:
            record.finish(f"failed: {type(error).__name__}: {error}", save=False)
            raise
        record.finish("trained")
        score = evaluate_agent(agent, config)
    folder.write_json(folder.evaluation, score.as_dict())
    return TrainResult(folder, record.steps, record.seconds, score)


class _Record:
    """One run being recorded: streams metrics while the agent trains, then leaves a complete folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        agent: PPO,
        progress: Callable[[Mapping[str, float]], None] | None,
        checkpoint_seconds: float,
    ) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._config = config
        self._folder = folder
        self._agent = agent
        self._progress = progress
        self._checkpoint_seconds = checkpoint_seconds
        self._began_at = datetime.now(UTC)
        write_text(folder.config, config_to_yaml(config))
        self._write_metadata("training")

    def run(self) -> None:
        """Train to the end, or until a signal arrives or something fails."""
        folder = self._folder
        with (
            StopSignals() as stop,
            MetricsFile(folder.metrics) as file,
            EventsFolder(folder.tensorboard) as events,
        ):
            began = last_save = time.perf_counter()

            def on_iteration(metrics: Mapping[str, float]) -> None:
                nonlocal last_save
                now = time.perf_counter()
                self.seconds = now - began
                self.steps = int(metrics["steps"])
                entry: dict[str, float] = {**metrics, "time": round(self.seconds, 3)}
                if now - last_save > self._checkpoint_seconds:
                    last_save = now
                    try:
                        self.save()
                    except OSError:
                        # A full disk should not end hours of training: the last checkpoint stays valid.
                        entry["checkpoint_failed"] = 1.0
                file.write(entry)
                events.write(entry)
                if self._progress is not None:
                    self._progress(entry)
                stop.check()

            self._agent.train(max_steps=self._config.total_steps, log_freq=1, callback=on_iteration)
            self.seconds = time.perf_counter() - began
            stop.check()

    def save(self) -> None:
        """Write the checkpoint, which the agent does in one piece."""
        self._agent.save(self._folder.checkpoint)

    def finish(self, status: str, *, save: bool = True) -> None:
        """Write the checkpoint, the learning curve and how the run ended."""
        if save:
            self.save()
        self._write_metadata(status)
        plot_learning_curve(
            read_metrics(self._folder.metrics),
            self._folder.learning_curve,
            title=f"{self._config.name} (seed {self._config.seed})",
            target=self._config.target,
        )

    def _write_metadata(self, status: str) -> None:
        data: dict[str, Any] = {
            "status": status,
            "began_at": self._began_at.isoformat(timespec="seconds"),
            "training_seconds": round(self.seconds, 3),
            "steps": self.steps,
            "versions": versions(),
        }
        self._folder.write_json(self._folder.metadata, data)
