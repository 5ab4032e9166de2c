"""An env whose every picture is known, and the frames of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from envkit import Bounded, Categorical, Composite, EnvBase, GymWrapper
from envkit.record import CSVLogger
from envkit.record.images import tile, to_rgb


class CameraEnv(EnvBase):
    """Shows pictures of one brightness: ``start`` after a reset, one more with each step. It ends after ``length``."""

    def __init__(self, length: int = 1000, start: int = 1, shape: Sequence[int] = (6, 8, 3), dtype=torch.uint8) -> None:
        super().__init__()
        self.length, self.start, self.size, self.dtype = length, start, tuple(shape), dtype
        high = 255 if dtype is torch.uint8 else 1.0
        self.observation_spec = Composite(pixels=Bounded(0, high, shape=self.size, dtype=dtype))
        self.action_spec = Categorical(2)
        self.count = 0

    def _picture(self) -> torch.Tensor:
        value = self.start + self.count
        return torch.full(self.size, value if self.dtype is torch.uint8 else value / 255, dtype=self.dtype)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        self.count = 0
        return TensorDict({"pixels": self._picture()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self.count += 1
        over = torch.tensor([self.count >= self.length])
        return TensorDict({"pixels": self._picture(), "reward": torch.ones(1), "terminated": over})

    def _set_seed(self, seed: int | None) -> None:
        self.seed = seed

    def render(self, level: int = 100) -> np.ndarray:
        return np.full(self.size, level + self.count, dtype=np.uint8)


class CameraSim(gymnasium.Env):
    """The same as a Gymnasium env, whose batches keep nothing of what they were given."""

    observation_space = gymnasium.spaces.Dict({"pixels": gymnasium.spaces.Box(0, 255, (6, 8, 3), np.uint8)})
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int, start: int) -> None:
        self.length, self.start = length, start

    def _picture(self) -> dict:
        return {"pixels": np.full((6, 8, 3), self.start + self.count, dtype=np.uint8)}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.count = 0
        return self._picture(), {}

    def step(self, action: int) -> tuple:
        self.count += 1
        return self._picture(), 1.0, self.count >= self.length, False, {}


def gym_camera_env(length: int = 1000, start: int = 1) -> GymWrapper:
    return GymWrapper(CameraSim(length, start))


def decoded(path: Path) -> list[np.ndarray]:
    """All frames of an encoded video."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def saved(logger: CSVLogger, name: str) -> torch.Tensor:
    """A video that was kept as a tensor, as frames of shape (number, height, width, 3)."""
    path = Path(logger.log_dir) / logger.exp_name / "videos" / f"{name}.pt"
    return torch.load(path).permute(0, 2, 3, 1)


def shown(rollout: TensorDictBase) -> torch.Tensor:
    """The frames that a rollout of a batch has shown: every reset, every step, and every reset of a part."""
    frames = [rollout["pixels"][:, 0]]
    for t in range(rollout.shape[1]):
        frames.append(rollout["next", "pixels"][:, t])
        if t + 1 < rollout.shape[1] and rollout["next", "done"][:, t].any():
            frames.append(rollout["pixels"][:, t + 1])
    return torch.from_numpy(np.stack([tile(to_rgb(frame)) for frame in frames]))


@pytest.fixture(scope="session")
def camera() -> type[CameraEnv]:
    return CameraEnv


@pytest.fixture(params=["TensorDicts", "rows"])
def any_camera(request) -> Callable[..., EnvBase]:
    return CameraEnv if request.param == "TensorDicts" else gym_camera_env


@pytest.fixture
def logger(tmp_path) -> CSVLogger:
    """Keeps videos without loss."""
    return CSVLogger("exp", log_dir=tmp_path)


@pytest.fixture(scope="session")
def decode() -> Callable[[Path], list[np.ndarray]]:
    return decoded


@pytest.fixture(scope="session")
def video_of() -> Callable[[CSVLogger, str], torch.Tensor]:
    return saved


@pytest.fixture(scope="session")
def frames_of() -> Callable[[TensorDictBase], torch.Tensor]:
    return shown
