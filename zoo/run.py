"""The folder of a training run: where everything lies, how it is made and how it is found again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import RunConfig, load_config
from zoo.errors import RunFolderError
from zoo.files import write_text
from zoo.names import check_name

__all__ = ["RunFolder", "runs_folder"]


def runs_folder(root: Path, config: RunConfig) -> Path:
    """Return the folder that holds the runs of one algorithm in one environment, inside ``root``.

    Raises:
        RunFolderError: The environment's id cannot name a folder.

    Example:
        >>> from zoo.registry import find_config
        >>> runs_folder(Path("runs"), find_config("ppo/CartPole-v1")).as_posix()
        'runs/ppo/CartPole-v1'
    """
    return root / check_name(config.algorithm) / check_name(config.env.id.replace("/", "-"))


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder itself.

    Example:
        >>> RunFolder(Path("runs/ppo/CartPole-v1/first")).checkpoint.name
        'checkpoint.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The config as it was trained, every default spelt out (YAML)."""
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        """The latest state of the agent (safetensors)."""
        return self.path / "checkpoint.safetensors"

    @property
    def previous_checkpoint(self) -> Path:
        """The state before that, while training goes on: what a damaged checkpoint falls back to."""
        return self.path / "checkpoint.safetensors.previous"

    @property
    def failed_update(self) -> Path:
        """What an update was made of whose gradient was not finite, if there was one (safetensors)."""
        return self.path / "failed_update.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON record a line for every iteration of training."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def learning_curve(self) -> Path:
        """Plot of the return over environment steps (PNG)."""
        return self.path / "learning_curve.png"

    @property
    def evaluation(self) -> Path:
        """The latest evaluation of the checkpoint (JSON)."""
        return self.path / "evaluation.json"

    @property
    def metadata(self) -> Path:
        """Versions, times and how the run ended (JSON)."""
        return self.path / "metadata.json"

    @classmethod
    def create(cls, parent: Path, name: str | None = None, *, seed: int = 0) -> RunFolder:
        """Make an empty folder for a run.

        Args:
            parent: Folder of the runs of this kind, created if need be; see :func:`runs_folder`.
            name: Name of the run; by default the time and the seed, made unique by a number.
            seed: Seed of the run, for its name.

        Raises:
            RunFolderError: The name is not allowed, or the folder exists.
        """
        parent.mkdir(parents=True, exist_ok=True)
        if name is not None:
            folder = cls(parent / check_name(name))
            try:
                folder.path.mkdir()
            except FileExistsError as error:
                raise RunFolderError(f"{folder.path} exists; expected a name that is free") from error
            return folder
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}"
        for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
            folder = cls(parent / f"{stamp}{suffix}")
            try:
                folder.path.mkdir()
            except FileExistsError:
                continue
            return folder
        raise RunFolderError(f"no free name for a run was found in {parent}")

    def discard(self) -> None:
        """Remove the folder, and the folders above it that :meth:`create` had to make, if they are empty."""
        self.path.rmdir()
        for parent in self.path.parents[:2]:
            if any(parent.iterdir()):
                break
            parent.rmdir()

    @classmethod
    def find(cls, run: str | Path) -> RunFolder:
        """Find a finished or interrupted run.

        Args:
            run: Its folder. The word ``last`` stands for the latest run in ``runs``, ``DIR/last`` for that in
                ``DIR``.

        Raises:
            RunFolderError: There is no such run, or it has no checkpoint.

        Example:
            >>> RunFolder.find("runs/ppo/CartPole-v1/typo")
            Traceback (most recent call last):
            ...
            zoo.errors.RunFolderError: runs/ppo/CartPole-v1/typo is no run folder ...
        """
        path = Path(run)
        if path.name == "last" and not path.exists():
            root = path.parent if path.parent != Path() else Path("runs")
            checkpoints = list(root.glob("*/*/*/checkpoint.safetensors"))
            if not checkpoints:
                raise RunFolderError(f"no run is found in {root}; `zoo train` makes one")
            return cls(max(checkpoints, key=lambda file: (file.stat().st_mtime_ns, str(file))).parent)
        folder = cls(path)
        for file in (folder.config, folder.checkpoint):
            if not file.is_file():
                raise RunFolderError(
                    f"{path} is no run folder (it has no {file.name}); expected 'last', or a folder that "
                    "`zoo train` has written"
                )
        return folder

    def load_config(self) -> RunConfig:
        """Read the config of the run.

        Raises:
            ConfigError: The file is damaged or not a config.
        """
        return load_config(self.config)

    def write_json(self, file: Path, data: dict[str, Any]) -> None:
        """Write one of the folder's JSON files in one piece."""
        write_text(file, json.dumps(data, indent=2) + "\n")
