"""Batches of experience, one after the other."""

from envkit.collectors.collector import Collector
from envkit.collectors.multi import MultiAsyncCollector, MultiSyncCollector
from envkit.collectors.options import CollectorOptions
from envkit.collectors.ray import RayCollector
from envkit.collectors.split import split_trajectories

__all__ = [
    "Collector",
    "CollectorOptions",
    "MultiAsyncCollector",
    "MultiSyncCollector",
    "RayCollector",
    "split_trajectories",
]
