"""Video files, encoded frame by frame by PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from envkit.errors import MissingDependencyError
from envkit.record.video_writer import VideoWriter

__all__ = ["ENCODED_FORMATS", "VideoFile", "require_encoder"]


class _Encoding(NamedTuple):
    codec: str
    pixel_format: str
    options: dict[str, str]
    fastest: float | None  # frames per second; players slow faster ones down


ENCODED_FORMATS = {
    "mp4": _Encoding("libx264", "yuv420p", {"movflags": "faststart"}, None),
    "gif": _Encoding("gif", "rgb8", {}, 50),
}
"""Formats by file suffix: H.264 in a pixel format that every player knows, and animated GIF with 256 colours."""


def require_encoder(user: str, video_format: str) -> Any:
    """The ``av`` package, if it can write ``video_format``.

    Args:
        user: who needs it, for the message.
        video_format: a key of :data:`ENCODED_FORMATS`.

    Raises:
        MissingDependencyError: PyAV is not installed, or was built without the encoder.

    Examples:
        >>> require_encoder("a doctest", "mp4").__name__
        'av'
    """
    try:
        import av
        import av.codec
    except ImportError as error:
        raise MissingDependencyError(f"{user} writes {video_format} by PyAV: pip install 'envkit[video]'") from error
    codec = ENCODED_FORMATS[video_format].codec
    try:
        av.codec.Codec(codec, "w")
    except ValueError as error:
        raise MissingDependencyError(
            f"{user} writes {video_format}: expected a PyAV with the encoder {codec!r}, found {av.__version__} "
            "without it; pip install --force-reinstall 'envkit[video]'"
        ) from error
    return av


class VideoFile(VideoWriter):
    """A video file that PyAV encodes.

    Args:
        path: the file to write.
        fps: frames per second; a GIF shows at most 50.
        video_format: ``"mp4"`` (H.264) or ``"gif"``; the suffix of ``path`` by default.

    Raises:
        MissingDependencyError: PyAV, or its encoder, is missing.
        ValueError: another format.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with VideoFile(Path(folder.name) / "black.mp4") as video:
        ...     video.add(np.zeros((64, 64, 3), dtype=np.uint8))
        >>> video.frames
        1
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, *, fps: float = 30, video_format: str | None = None) -> None:
        if video_format is None:
            video_format = Path(path).suffix.removeprefix(".")
        if video_format not in ENCODED_FORMATS:
            raise ValueError(
                f"{path}: expected a video of format {' or '.join(ENCODED_FORMATS)}, found {video_format!r}"
            )
        self._av: Any = require_encoder("VideoFile", video_format)
        codec, pixel_format, options, fastest = ENCODED_FORMATS[video_format]
        self._shape: tuple[int, ...] | None = None
        self._container: Any = self._av.open(str(path), "w", format=video_format, options=options)
        rate = fps if fastest is None else min(fps, fastest)
        self._stream: Any = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000))
        self._stream.pix_fmt = pixel_format

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """See :meth:`VideoWriter.add`; odd sizes are evened by repeating the last row or column."""
        shape = self._shape or frame.shape
        self._check(frame, shape)
        even = np.pad(frame, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
        if self._shape is None:
            self._shape = shape
            self._stream.height, self._stream.width = even.shape[:2]
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))
        self.frames += 1

    def close(self) -> None:
        """See :meth:`VideoWriter.close`."""
        try:
            self._refuse_nothing()
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def abandon(self) -> None:
        """See :meth:`VideoWriter.abandon`."""
        self._container.close()
