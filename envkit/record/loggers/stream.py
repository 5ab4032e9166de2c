"""Videos that are recorded while they happen."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from envkit.record.raw_video import RAW_FORMATS, RawVideo
from envkit.record.video_file import VideoFile
from envkit.record.video_writer import VideoWriter

if TYPE_CHECKING:
    from typing import Self

__all__ = ["VideoStream"]


class VideoStream:
    """A video whose frames go to a temporary file as they come, and which gets its name when it is finished.

    As a context manager it is discarded at the end of the block, unless it was finished.

    Args:
        keep: called with the finished file, its name and its step.
        video_format: suffix of the file.
        fps: frames per second.
        spool: the folder to make the temporary one in; the system's own by default.
    """

    def __init__(
        self, keep: Callable[[Path, str, int | None], None], video_format: str, fps: float, spool: Path | None = None
    ) -> None:
        self._keep = keep
        folder = Path(tempfile.mkdtemp(prefix=".recording-", dir=spool))
        self._path = folder / f"video.{video_format}"
        kind = RawVideo if video_format in RAW_FORMATS else VideoFile
        self._video: VideoWriter = kind(self._path, fps=fps)
        # A stream that is forgotten leaves nothing behind either.
        self._clear = weakref.finalize(self, _drop, self._video, folder)

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return self._video.frames

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Adds a frame, uint8 of shape (height, width, 3), as all before it.

        Raises:
            ValueError: it has another shape or dtype.
        """
        self._video.add(frame)

    def finish(self, name: str, step: int | None = None) -> None:
        """Hands the finished video to the logger under ``name``."""
        try:
            self._video.close()
            self._keep(self._path, name, step)
        finally:
            self._clear()

    def discard(self) -> None:
        """Drops the video."""
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _drop(video: VideoWriter, folder: Path) -> None:
    video.abandon()
    shutil.rmtree(folder, ignore_errors=True)
