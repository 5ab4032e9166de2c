"""Videos of a trained policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tensordict.nn import TensorDictModuleBase

from envkit import EnvBase, ExplorationType, PixelRenderTransform, TransformedEnv, set_exploration_type, step_mdp
from envkit.export.native_ids import is_native
from envkit.libs.headless import draw_without_display
from envkit.record.video_file import VideoFile
from zoo.building import evaluation_env, load_agent, make_env, torch_threads
from zoo.files import replacing
from zoo.run import RunFolder

__all__ = ["encode_video", "episode_frames", "record_video"]


def encode_video(frames: Iterable[npt.NDArray[np.uint8]], path: Path, *, fps: float = 30) -> int:
    """Encode frames as an H.264 video in an MP4 file, in a pixel format that every player knows.

    Args:
        frames: RGB pictures, uint8 of shape (height, width, 3), all alike. Odd sizes are evened by repeating
            the last row or column.
        path: The file to write; it appears when complete.
        fps: Frames per second.

    Returns:
        How many frames were written.

    Raises:
        ValueError: There is no frame, or one of another shape or dtype.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> encode_video(np.zeros((3, 64, 64, 3), dtype=np.uint8), Path(folder.name) / "black.mp4")
        3
        >>> folder.cleanup()
    """
    with replacing(path) as temporary, VideoFile(temporary, fps=fps, video_format="mp4") as video:
        for frame in frames:
            video.add(frame)
    return video.frames


def episode_frames(env: EnvBase, policy: TensorDictModuleBase, seeds: Iterable[int]) -> Iterator[npt.NDArray[np.uint8]]:
    """Play one deterministic episode per start seed, and yield every picture, those of the reset included.

    Args:
        env: A single environment whose observations have ``"pixels"``, uint8 of shape (height, width, 3).
        policy: Writes the action.
        seeds: Start seeds.
    """
    for seed in seeds:
        env.set_seed(seed)
        td = env.reset()
        yield td["pixels"].numpy().copy()
        done = False
        while not done:
            # Entered for each step, so that the caller's own settings hold while the generator waits.
            with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
                td = env.step(policy(td))
            yield td["next", "pixels"].numpy().copy()
            done = bool(td["next", "done"].any())
            td = step_mdp(td)


def record_video(folder: RunFolder, path: Path | None = None, *, episodes: int = 1) -> tuple[Path, int]:
    """Record deterministic episodes of a run's checkpoint, from the start seeds of its evaluation.

    Args:
        folder: The run.
        path: The MP4 file to write, by default ``video.mp4`` in the run folder.
        episodes: How many episodes follow one another.

    Returns:
        The file, and how many frames it has.

    Raises:
        ConfigError: The config of the run is damaged.
        CheckpointError: The checkpoint is damaged or does not fit the environment.
    """
    draw_without_display()
    config = folder.load_config()
    path = folder.path / "video.mp4" if path is None else path
    path.parent.mkdir(parents=True, exist_ok=True)
    first = config.eval.first_seed
    with torch_threads():
        plain_env = make_env(config)
        try:
            agent = load_agent(config, folder.checkpoint, plain_env)
        finally:
            plain_env.close()
        if is_native(config.env.id):
            env: EnvBase = TransformedEnv(evaluation_env(config, agent), PixelRenderTransform(pass_tensordict=True))
        else:
            env = evaluation_env(config, agent, render_mode="rgb_array", from_pixels=True, pixels_only=False)
        try:
            frames = episode_frames(env, agent.policy, range(first, first + episodes))
            metadata: Any = env.metadata
            count = encode_video(frames, path, fps=metadata.get("render_fps", 30))
        finally:
            env.close()
    return path, count
