"""Replay buffers: storages that keep items, writers that place them, samplers that choose among them."""

from agents.replay.buffer import ReplayBuffer
from agents.replay.frame_stack_storage import FrameStackStorage
from agents.replay.lazy_memmap_storage import LazyMemmapStorage
from agents.replay.lazy_tensor_storage import LazyTensorStorage
from agents.replay.list_storage import ListStorage
from agents.replay.max_value_writer import TensorDictMaxValueWriter
from agents.replay.multi_step import MultiStep
from agents.replay.prioritized_buffer import PrioritizedReplayBuffer, TensorDictPrioritizedReplayBuffer
from agents.replay.prioritized_sampler import PrioritizedSampler
from agents.replay.prioritized_slice_sampler import PrioritizedSliceSampler
from agents.replay.random_sampler import RandomSampler
from agents.replay.round_robin_writer import RoundRobinWriter, TensorDictRoundRobinWriter
from agents.replay.sampler import Sampler
from agents.replay.sampler_without_replacement import SamplerWithoutReplacement
from agents.replay.slice_sampler import SliceSampler
from agents.replay.slice_sampler_without_replacement import SliceSamplerWithoutReplacement
from agents.replay.storage import Storage
from agents.replay.tensordict_buffer import TensorDictReplayBuffer
from agents.replay.writer import Writer

__all__ = [
    "FrameStackStorage",
    "LazyMemmapStorage",
    "LazyTensorStorage",
    "ListStorage",
    "MultiStep",
    "PrioritizedReplayBuffer",
    "PrioritizedSampler",
    "PrioritizedSliceSampler",
    "RandomSampler",
    "ReplayBuffer",
    "RoundRobinWriter",
    "Sampler",
    "SamplerWithoutReplacement",
    "SliceSampler",
    "SliceSamplerWithoutReplacement",
    "Storage",
    "TensorDictMaxValueWriter",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
    "TensorDictRoundRobinWriter",
    "Writer",
]
