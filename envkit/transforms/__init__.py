"""Transforms: changes to what an env shows and takes, told for data and specs side by side."""

from envkit.transforms import functional as functional
from envkit.transforms.actions import ActionMask, DiscreteActionProjection, FlattenAction
from envkit.transforms.at_reset import FireReset, NoopResetEnv
from envkit.transforms.auto_reset import AutoResetEnv, AutoResetTransform
from envkit.transforms.base import Transform
from envkit.transforms.batch_size import BatchSizeTransform
from envkit.transforms.cast import DoubleToFloat, DTypeCastTransform
from envkit.transforms.compose import Compose
from envkit.transforms.device import DeviceCastTransform, PinMemoryTransform
from envkit.transforms.discretize import ActionDiscretizer, ObservationDiscretizer
from envkit.transforms.done import DoneTransform, ExpandAs, TerminateTransform
from envkit.transforms.elementwise import ClipTransform, ObservationTransform, SignTransform, UnaryTransform
from envkit.transforms.encoders import R3MTransform, VC1Transform, VIPRewardTransform, VIPTransform
from envkit.transforms.env import TransformedEnv
from envkit.transforms.episode import InitTracker, RewardSum, StepCounter
from envkit.transforms.episode_stats import EpisodeStats
from envkit.transforms.finite import FiniteTensorDictCheck
from envkit.transforms.frames import CatFrames, TimeMaxPool
from envkit.transforms.function import FunctionTransform
from envkit.transforms.hash import Hash
from envkit.transforms.images import CenterCrop, Crop, GrayScale, Resize, ToTensorImage
from envkit.transforms.join import CatTensors, Stack
from envkit.transforms.kl import KLRewardTransform
from envkit.transforms.lives import EndOfLifeTransform
from envkit.transforms.loading import DataLoadingPrimer
from envkit.transforms.module import ModuleTransform
from envkit.transforms.multi_action import MultiAction
from envkit.transforms.multi_step import MultiStepTransform
from envkit.transforms.noise import gSDENoise
from envkit.transforms.normalise import ObservationNorm
from envkit.transforms.primer import TensorDictPrimer
from envkit.transforms.rearrange import FlattenObservation, PermuteTransform, SqueezeTransform, UnsqueezeTransform
from envkit.transforms.rename import RenameTransform
from envkit.transforms.repeat import FrameSkipTransform, StickyAction
from envkit.transforms.returns import Reward2GoTransform, TargetReturn
from envkit.transforms.reward_norm import RewardNorm
from envkit.transforms.rewards import BinarizeReward, LineariseRewards, RewardClipping, SuccessReward
from envkit.transforms.scaling import ActionScaling, ObservationScaling, RewardScaling
from envkit.transforms.select import ExcludeTransform, RemoveEmptySpecs, SelectTransform
from envkit.transforms.sequences import BurnInTransform, RandomCropTensorDict
from envkit.transforms.stored import ActionChunkTransform, NextObservationDelta, NextStateReconstructor, PolicyAgeFilter
from envkit.transforms.text import Tokenizer
from envkit.transforms.time import DelayObservation, TimeAwareObservation
from envkit.transforms.trajectory import Timer, TrajCounter
from envkit.transforms.truncation import RandomTruncationTransform
from envkit.transforms.turns import ConditionalPolicySwitch, ConditionalSkip
from envkit.transforms.vec_gym import VecGymEnvTransform
from envkit.transforms.vec_norm import VecNorm

__all__ = [
    "ActionChunkTransform",
    "ActionDiscretizer",
    "ActionMask",
    "ActionScaling",
    "AutoResetEnv",
    "AutoResetTransform",
    "BatchSizeTransform",
    "BinarizeReward",
    "BurnInTransform",
    "CatFrames",
    "CatTensors",
    "CenterCrop",
    "ClipTransform",
    "Compose",
    "ConditionalPolicySwitch",
    "ConditionalSkip",
    "Crop",
    "DTypeCastTransform",
    "DataLoadingPrimer",
    "DelayObservation",
    "DeviceCastTransform",
    "DiscreteActionProjection",
    "DoneTransform",
    "DoubleToFloat",
    "EndOfLifeTransform",
    "EpisodeStats",
    "ExcludeTransform",
    "ExpandAs",
    "FiniteTensorDictCheck",
    "FireReset",
    "FlattenAction",
    "FlattenObservation",
    "FrameSkipTransform",
    "FunctionTransform",
    "GrayScale",
    "Hash",
    "InitTracker",
    "KLRewardTransform",
    "LineariseRewards",
    "ModuleTransform",
    "MultiAction",
    "MultiStepTransform",
    "NextObservationDelta",
    "NextStateReconstructor",
    "NoopResetEnv",
    "ObservationDiscretizer",
    "ObservationNorm",
    "ObservationScaling",
    "ObservationTransform",
    "PermuteTransform",
    "PinMemoryTransform",
    "PolicyAgeFilter",
    "R3MTransform",
    "RandomCropTensorDict",
    "RandomTruncationTransform",
    "RemoveEmptySpecs",
    "RenameTransform",
    "Resize",
    "Reward2GoTransform",
    "RewardClipping",
    "RewardNorm",
    "RewardScaling",
    "RewardSum",
    "SelectTransform",
    "SignTransform",
    "SqueezeTransform",
    "Stack",
    "StepCounter",
    "StickyAction",
    "SuccessReward",
    "TargetReturn",
    "TensorDictPrimer",
    "TerminateTransform",
    "TimeAwareObservation",
    "TimeMaxPool",
    "Timer",
    "ToTensorImage",
    "Tokenizer",
    "TrajCounter",
    "Transform",
    "TransformedEnv",
    "UnaryTransform",
    "UnsqueezeTransform",
    "VC1Transform",
    "VIPRewardTransform",
    "VIPTransform",
    "VecGymEnvTransform",
    "VecNorm",
    "gSDENoise",
]
