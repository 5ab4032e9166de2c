"""Old names, for code written against earlier pages. Thin aliases; they promise nothing of their own."""

from envkit.collectors import Collector
from envkit.specs.legacy import *  # noqa: F403
from envkit.specs.legacy import __all__ as _specs

__all__ = ["SyncDataCollector", *_specs]

SyncDataCollector = Collector
