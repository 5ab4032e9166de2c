"""What writes videos to files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import Self

__all__ = ["VideoWriter"]


class VideoWriter(ABC):
    """A video file that grows by one frame at a time; none of them is kept in memory.

    As a context manager it is finished at the end of the block, and abandoned by an exception.
    """

    frames: int = 0
    """How many frames there are."""

    @abstractmethod
    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Adds a frame.

        Args:
            frame: RGB picture, uint8 of shape (height, width, 3), as all before it.

        Raises:
            ValueError: it has another shape or dtype.
        """

    @abstractmethod
    def close(self) -> None:
        """Finishes the file.

        Raises:
            ValueError: there is no frame.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Lets go of the file as it is; may be called at any time, and again."""

    def _check(self, frame: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> None:
        """Compares a frame with those before it, which have ``shape``."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or frame.shape != shape:
            expected = f"uint8 of shape {(*shape[:2], 3)}"
            raise ValueError(f"frame {self.frames}: expected {expected}, found {frame.dtype} of {frame.shape}")

    def _refuse_nothing(self) -> None:
        if not self.frames:
            raise ValueError("a video needs at least one frame, found none")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()
