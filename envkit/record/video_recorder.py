"""Videos of what an env shows."""

from __future__ import annotations

from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.record.images import center_crop, image_size, tile, to_rgb
from envkit.record.loggers.base import Logger
from envkit.record.loggers.names import check_log_name
from envkit.record.loggers.stream import VideoStream
from envkit.record.pixel_render import PixelRenderTransform
from envkit.record.recorder import Recorder
from envkit.specs import Composite, TensorSpec
from envkit.storage import flat_items
from envkit.transforms.base import Keys

__all__ = ["VideoRecorder"]


class VideoRecorder(Recorder):
    """Records the pictures among an env's data as a video.

    Every picture is a frame: those of resets and those of steps. It is encoded as it comes, so that a long recording
    takes no more memory than a short one; :meth:`dump` hands the finished video to the logger, and so does closing the
    env, if there is anything left. The pictures of a batch are shown side by side. Copies of an env, which checks are
    made on, record nothing.

    Outside of an env, calling the recorder on a rollout records that.

    Args:
        logger: keeps the videos.
        tag: name of the video; with several ``in_keys``, each has one of its own, called ``{tag}_{key}``.
        in_keys: pictures with 1 or 3 channels, first or last, of uint8 or of floats from 0 to 1; ``"pixels"`` by
            default.
        skip: one picture in so many is recorded; all are by default.
        center_crop: only the square of so many pixels in the middle is recorded.
        make_grid: whether the pictures of a batch are one video, in which they are side by side (by default), or each
            element has a video of its own, called ``{tag}_{index}``.
        out_keys: other names to write the pictures under; they are always written as they are.
        fps: frames per second; the logger's ``video_fps`` by default.

    Raises:
        MissingDependencyError: the encoder that the logger needs is missing.
        SpecError: (when put on an env) an entry is missing, or is no picture, or is smaller than ``center_crop``.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from envkit import GymEnv
        >>> from envkit.record import CSVLogger
        >>> folder = tempfile.TemporaryDirectory()
        >>> logger = CSVLogger("demo", log_dir=folder.name, video_format="mp4")
        >>> env = GymEnv("CartPole-v1", from_pixels=True)
        >>> env = env.append_transform(VideoRecorder(logger, tag="rendered", in_keys=["pixels"]))
        >>> rollout = env.rollout(10)
        >>> env.transform[0].dump()
        >>> (Path(folder.name) / "demo" / "videos" / "rendered_0.mp4").exists()
        True
        >>> folder.cleanup()
    """

    def __init__(
        self,
        logger: Logger,
        tag: str,
        in_keys: Keys = None,
        skip: int | None = None,
        center_crop: int | None = None,
        make_grid: bool | None = None,
        out_keys: Keys = None,
        fps: float | None = None,
    ) -> None:
        super().__init__({}, "pixels" if in_keys is None else in_keys, out_keys, 1 if skip is None else skip)
        if not isinstance(logger, Logger):
            raise TypeError(f"logger: expected a Logger, found {type(logger).__name__}")
        logger.check_video()
        if center_crop is not None and center_crop < 1:
            raise ValueError(f"center_crop: expected at least 1, found {center_crop}")
        if fps is not None and not fps > 0:
            raise ValueError(f"fps: expected a positive number, found {fps}")
        self.logger, self.tag, self.fps = logger, check_log_name(tag, "tag"), fps
        self.center_crop, self.make_grid = center_crop, make_grid is not False
        self._pairs = list(zip(self.in_keys, self.out_keys, strict=True))

    # ------------------------------------------------------------------ specs

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return leaf

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the out keys, if they are others, and checks that the in keys are pictures.

        Those of a :class:`~envkit.PixelRenderTransform` that is switched off may be missing.
        """
        chain = [] if self.container is None else list(self.container.transform)
        off = {key for t in chain if isinstance(t, PixelRenderTransform) and not t.enabled for key in t.out_keys}
        self.in_keys = [key for key, _ in self._pairs if key not in off]
        self.out_keys = [out_key for key, out_key in self._pairs if key not in off]
        out = super().transform_specs(specs)
        for key in self.in_keys:
            for spec in specs.values():
                if spec.get(key, None) is not None:
                    self._check(key, spec[key])
        return out

    def _check(self, key: NestedKey, leaf: TensorSpec) -> None:
        if leaf.dtype is None or leaf.has_dynamic_shape:
            return
        try:
            size = image_size(leaf.shape, leaf.dtype, key)
        except ValueError as error:
            raise SpecError(f"VideoRecorder: {error}") from error
        if self.center_crop is not None and min(size) < self.center_crop:
            raise SpecError(
                f"VideoRecorder: {key!r}: expected pictures of at least {self.center_crop} (center_crop) in both "
                f"directions, found {list(size)}"
            )

    # ------------------------------------------------------------------- data

    def _name(self, key: NestedKey) -> str:
        return self.tag if len(self._pairs) == 1 else "_".join((self.tag, *path_of(key)))

    def _record(self, tensordict: TensorDictBase) -> None:
        for key in self.in_keys:
            pictures = tensordict.get(key, None)
            if pictures is None:
                continue
            frames = to_rgb(pictures, key)
            if self.center_crop is not None:
                frames = center_crop(frames, self.center_crop)
            frames = frames.reshape(-1, *frames.shape[-3:])
            if len(frames) == 1:
                self._stream(self._name(key)).add(frames[0])
            elif self.make_grid and len(frames):
                self._stream(self._name(key)).add(tile(frames))
            else:
                for index, frame in enumerate(frames):
                    self._stream(f"{self._name(key)}_{index}").add(frame)

    def _stream(self, name: str) -> VideoStream:
        streams = self._tape.content
        if name not in streams:
            streams[name] = self.logger.open_video(self.fps)
        return streams[name]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Records the pictures of stored data, whose last batch dimension, if there is one, is time.

        Of steps with a ``"next"`` entry the same is recorded as while they were made.

        Raises:
            KeyError: an in key is missing.
            ValueError: an entry is no picture.
        """
        for key in self.in_keys:
            self._take(tensordict, key)
        begins = True
        for row in tensordict.unbind(-1) if tensordict.batch_dims else [tensordict]:
            following = row.get("next", None)
            whole = following is not None and all(following.get(key, None) is not None for key in self.in_keys)
            if begins or not whole:
                self._witness(row)
            if whole:
                self._witness(following)
                begins = any(bool(value.any()) for path, value in flat_items(following) if path[-1] == "done")
        return self._call(tensordict)

    def dump(self, suffix: str | None = None) -> None:
        """Finishes the videos and hands them to the logger; without any frame, does nothing.

        Args:
            suffix: added to their names, after an underscore.

        Raises:
            ValueError: the logger takes no such name; the recording goes on.
        """
        tape = self._tape
        names = {name: name if suffix is None else check_log_name(f"{name}_{suffix}") for name in tape.content}
        tape.seen = 0
        for name, full in names.items():
            tape.content.pop(name).finish(full)

    def extra_repr(self) -> str:
        """The tag and the keys."""
        return f"tag={self.tag!r}, {super().extra_repr()}"
