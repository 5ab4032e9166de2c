"""Transforms: changes to what an env shows and takes, told for data and specs side by side."""

from envkit.transforms.auto_reset import AutoResetEnv, AutoResetTransform
from envkit.transforms.base import Compose, Transform
from envkit.transforms.cast import DoubleToFloat
from envkit.transforms.env import TransformedEnv
from envkit.transforms.episode import InitTracker, RewardSum, StepCounter
from envkit.transforms.normalise import ObservationNorm

__all__ = [
    "AutoResetEnv",
    "AutoResetTransform",
    "Compose",
    "DoubleToFloat",
    "InitTracker",
    "ObservationNorm",
    "RewardSum",
    "StepCounter",
    "Transform",
    "TransformedEnv",
]
