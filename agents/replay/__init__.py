"""Replay buffers: storages that keep items, samplers that choose among them."""

from agents.replay.buffer import ReplayBuffer
from agents.replay.lazy_tensor_storage import LazyTensorStorage
from agents.replay.list_storage import ListStorage
from agents.replay.random_sampler import RandomSampler
from agents.replay.sampler import Sampler
from agents.replay.sampler_without_replacement import SamplerWithoutReplacement
from agents.replay.storage import Storage

__all__ = [
    "LazyTensorStorage",
    "ListStorage",
    "RandomSampler",
    "ReplayBuffer",
    "Sampler",
    "SamplerWithoutReplacement",
    "Storage",
]
