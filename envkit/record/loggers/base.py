"""What loggers have in common."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from envkit.record.images import tile, to_rgb
from envkit.record.loggers.names import check_log_name
from envkit.record.loggers.stream import VideoStream
from envkit.record.video_file import ENCODED_FORMATS, require_encoder

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Logger", "bins_of", "flat_hparams"]


class Logger(ABC):
    """Keeps the numbers, videos and settings of an experiment somewhere.

    Where no step is given, the entries of each name are counted from 0. A copy, deep or not, is the logger itself: it
    is a handle of something outside. A logger is closed at the end, or used as a context manager.

    Args:
        exp_name: name of the experiment; see :func:`~envkit.record.loggers.names.check_log_name`.
        log_dir: where it is kept.
        video_fps: frames per second of videos, where nothing else is asked for.

    Raises:
        ValueError: ``exp_name`` leads elsewhere, or ``video_fps`` is not positive.
    """

    video_format: str = "mp4"
    """The format in which videos are kept."""

    def __init__(self, exp_name: str, log_dir: str | Path, video_fps: float = 30) -> None:
        if not video_fps > 0:
            raise ValueError(f"video_fps: expected a positive number, found {video_fps}")
        self.exp_name, self.log_dir, self.video_fps = check_log_name(exp_name, "exp_name"), str(log_dir), video_fps
        self._counts: Counter[tuple[str, str]] = Counter()

    # ---------------------------------------------------------------- entries

    @abstractmethod
    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """Keeps a number.

        Args:
            name: what it is, such as ``"train/reward"``.
            value: a number, or a tensor with one element.
            step: when it was; the number of entries of that name by default.
        """

    @abstractmethod
    def log_hparams(self, cfg: Any) -> None:
        """Keeps the settings of the experiment: a mapping (of mappings) or a dataclass."""

    @abstractmethod
    def log_histogram(self, name: str, data: Any, step: int | None = None, bins: int = 30) -> None:
        """Keeps the distribution of ``data``, a tensor or array of numbers, in so many bins of equal width."""

    @abstractmethod
    def _keep_video(self, video: Path, name: str, step: int | None) -> None:
        """Takes over a finished file; what else lies in its folder, under the same stem, belongs to it."""

    def log_video(self, name: str, video: Any, step: int | None = None, fps: float | None = None) -> None:
        """Keeps a video.

        Args:
            name: what it is.
            video: pictures as :func:`~envkit.record.images.to_rgb` takes them, of shape (time, *picture); or (number,
                time, *picture), which are shown side by side.
            step: when it was; the number of entries of that name by default.
            fps: frames per second; :attr:`video_fps` by default.

        Raises:
            MissingDependencyError: the encoder is missing.
            ValueError: ``video`` has another shape, or no frame.
        """
        check_log_name(name)
        video = video if isinstance(video, torch.Tensor) else torch.from_numpy(np.array(video))
        if video.ndim not in (4, 5) or not video.numel():
            raise ValueError(
                f"{name!r}: expected a video of shape (time, *picture) or (number, time, *picture), found shape "
                f"{list(video.shape)}"
            )
        videos = video if video.ndim == 5 else video[None]
        with self.open_video(fps) as stream:
            for pictures in videos.unbind(1):
                frames = to_rgb(pictures, name)
                stream.add(frames[0] if len(frames) == 1 else tile(frames))
            stream.finish(name, step)

    # ----------------------------------------------------------------- videos

    def open_video(self, fps: float | None = None) -> VideoStream:
        """Begins a video, to which frames are added as they come.

        Args:
            fps: frames per second; :attr:`video_fps` by default.

        Raises:
            MissingDependencyError: the encoder is missing.
        """
        self.check_video()
        return VideoStream(self._keep_video, self.video_format, fps or self.video_fps, self._spool())

    def check_video(self) -> None:
        """Checks that videos can be written.

        Raises:
            MissingDependencyError: the encoder is missing.
        """
        if self.video_format in ENCODED_FORMATS:
            require_encoder(type(self).__name__, self.video_format)

    def _spool(self) -> Path | None:
        """The folder for videos that are not finished; None for the system's own."""
        return None

    # ------------------------------------------------------------------ steps

    def _step_of(self, kind: str, name: str, step: int | None) -> int:
        """``step``, or the number of entries of that kind and name so far."""
        check_log_name(name)
        if step is None:
            step = self._counts[kind, name]
        self._counts[kind, name] += 1
        return step

    # ---------------------------------------------------------------- closing

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Writes out what is still in memory; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}(exp_name={self.exp_name!r}, log_dir={self.log_dir!r})"


def flat_hparams(cfg: Any) -> dict[str, bool | int | float | str]:
    """Settings as plain values by name, nested ones with a slash between the names.

    Raises:
        TypeError: ``cfg`` is neither a mapping nor a dataclass.

    Examples:
        >>> flat_hparams({"lr": 0.1, "net": {"cells": [64, 64]}})
        {'lr': 0.1, 'net/cells': '[64, 64]'}
    """
    if dataclasses.is_dataclass(cfg) and not isinstance(cfg, type):
        cfg = dataclasses.asdict(cfg)
    if not isinstance(cfg, Mapping):
        raise TypeError(f"cfg: expected a mapping or a dataclass, found {type(cfg).__name__}")
    flat: dict[str, bool | int | float | str] = {}
    for name, value in cfg.items():
        if isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
            flat |= {f"{name}/{inner}": leaf for inner, leaf in flat_hparams(value).items()}
        else:
            flat[str(name)] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def bins_of(data: Any, bins: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """How many of the numbers in ``data`` are in each of ``bins`` bins of equal width, and the edges of those.

    Raises:
        ValueError: there is a number that is not finite, or none at all.

    Examples:
        >>> counts, edges = bins_of(torch.tensor([0.0, 1.0, 1.0]), 2)
        >>> counts.tolist(), edges.tolist()
        ([1, 2], [0.0, 0.5, 1.0])
    """
    values = torch.as_tensor(data).detach().cpu().double().numpy()
    if not values.size or not np.isfinite(values).all():
        found = "none" if not values.size else "others among them"
        raise ValueError(f"histogram: expected finite numbers, found {found}")
    return np.histogram(values, bins)
