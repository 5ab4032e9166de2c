"""The transforms of the cases in `transforms`, on eight null envs, with torchrl."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch


def import_torchvision() -> None:
    """What torchrl resizes with.

    Beside a CPU build of torch, a build of it for CUDA lacks its operators, of which it asks for two when it is
    imported. They are never called here.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
        import torchvision  # noqa: F401


def normalised(make: Callable, count: int, loc: torch.Tensor, scale: torch.Tensor):
    from torchrl.envs import Compose, DoubleToFloat, ObservationNorm, RewardSum, StepCounter

    norm = ObservationNorm(loc, scale, in_keys=["observation"], standard_normal=True)
    return _transformed(make, count, Compose(norm, DoubleToFloat(), StepCounter(), RewardSum()))


def stacked_frames(make: Callable, count: int):
    import_torchvision()
    from torchrl.envs import CatFrames, Compose, GrayScale, Resize, ToTensorImage

    # It calls what looks like a frame "pixels", which is where these look by default.
    return _transformed(make, count, Compose(ToTensorImage(), GrayScale(), Resize(84, 84), CatFrames(N=4, dim=-3)))


def _transformed(make: Callable, count: int, chain):
    from torchrl.envs import GymWrapper, SerialEnv, TransformedEnv

    base = SerialEnv(count, lambda: GymWrapper(make(), categorical_action_encoding=True))
    return TransformedEnv(base, chain)
