"""Batches of experience, one after the other."""

from envkit.collectors.collector import Collector

__all__ = ["Collector"]
