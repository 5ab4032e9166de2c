"""Transforms: changes to what an env shows and takes, told for data and specs side by side."""

from envkit.transforms import functional as functional
from envkit.transforms.auto_reset import AutoResetEnv, AutoResetTransform
from envkit.transforms.base import Transform
from envkit.transforms.cast import DoubleToFloat
from envkit.transforms.compose import Compose
from envkit.transforms.discretize import ActionDiscretizer, ObservationDiscretizer
from envkit.transforms.elementwise import ClipTransform, ObservationTransform, SignTransform, UnaryTransform
from envkit.transforms.env import TransformedEnv
from envkit.transforms.episode import InitTracker, RewardSum, StepCounter
from envkit.transforms.frames import CatFrames, TimeMaxPool
from envkit.transforms.function import FunctionTransform
from envkit.transforms.images import CenterCrop, Crop, GrayScale, Resize, ToTensorImage
from envkit.transforms.normalise import ObservationNorm
from envkit.transforms.rearrange import FlattenObservation, PermuteTransform, SqueezeTransform, UnsqueezeTransform
from envkit.transforms.returns import Reward2GoTransform, TargetReturn
from envkit.transforms.reward_norm import RewardNorm
from envkit.transforms.rewards import BinarizeReward, LineariseRewards, RewardClipping, SuccessReward
from envkit.transforms.scaling import ActionScaling, ObservationScaling, RewardScaling
from envkit.transforms.vec_norm import VecNorm

__all__ = [
    "ActionDiscretizer",
    "ActionScaling",
    "AutoResetEnv",
    "AutoResetTransform",
    "BinarizeReward",
    "CatFrames",
    "CenterCrop",
    "ClipTransform",
    "Compose",
    "Crop",
    "DoubleToFloat",
    "FlattenObservation",
    "FunctionTransform",
    "GrayScale",
    "InitTracker",
    "LineariseRewards",
    "ObservationDiscretizer",
    "ObservationNorm",
    "ObservationScaling",
    "ObservationTransform",
    "PermuteTransform",
    "Resize",
    "Reward2GoTransform",
    "RewardClipping",
    "RewardNorm",
    "RewardScaling",
    "RewardSum",
    "SignTransform",
    "SqueezeTransform",
    "StepCounter",
    "SuccessReward",
    "TargetReturn",
    "TimeMaxPool",
    "ToTensorImage",
    "Transform",
    "TransformedEnv",
    "UnaryTransform",
    "UnsqueezeTransform",
    "VecNorm",
]
