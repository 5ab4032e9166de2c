"""Videos as plain tensors on disk, for which no encoder is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from envkit.record.video_writer import VideoWriter

__all__ = ["RAW_FORMATS", "RawVideo"]

RAW_FORMATS = ("pt", "memmap")
"""Formats by file suffix: a tensor for ``torch.load``, and its bare bytes with the shape in a JSON file beside them."""


class RawVideo(VideoWriter):
    """A file of frames as they are: uint8 of shape (frames, 3, height, width).

    A ``.pt`` file is read by ``torch.load(path, mmap=True)``. The bytes of a ``.memmap`` file are all there is in it;
    its shape is in the ``.json`` file of the same name.

    Args:
        path: the file to write, with one of those suffixes.
        fps: frames per second, which is noted in the JSON file.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with RawVideo(Path(folder.name) / "black.pt") as video:
        ...     for _ in range(5):
        ...         video.add(np.zeros((4, 6, 3), dtype=np.uint8))
        >>> torch.load(Path(folder.name) / "black.pt").shape
        torch.Size([5, 3, 4, 6])
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, *, fps: float = 30) -> None:
        self.path, self.fps = Path(path), fps
        self._shape: tuple[int, ...] | None = None
        self._bytes = self.path.with_suffix(".memmap")
        self._file = self._bytes.open("wb")

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """See :meth:`VideoWriter.add`."""
        self._shape = self._shape or frame.shape
        self._check(frame, self._shape)
        self._file.write(np.ascontiguousarray(frame.transpose(2, 0, 1)).data)
        self.frames += 1

    def close(self) -> None:
        """See :meth:`VideoWriter.close`."""
        self._file.close()
        self._refuse_nothing()
        height, width = self._shape[:2]  # type: ignore[index]
        shape = (self.frames, 3, height, width)
        if self.path.suffix == ".memmap":
            told = {"dtype": "uint8", "shape": shape, "fps": self.fps}
            self.path.with_suffix(".json").write_text(json.dumps(told) + "\n", encoding="utf-8")
            return
        # Mapped, so that it goes from one file to the other without all of it being in memory.
        video = torch.from_file(str(self._bytes), size=math.prod(shape), dtype=torch.uint8).view(shape)
        torch.save(video, self.path)
        del video
        self._bytes.unlink()

    def abandon(self) -> None:
        """See :meth:`VideoWriter.abandon`."""
        self._file.close()
