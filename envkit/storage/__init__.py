"""Memory laid out by specs."""

from envkit.storage.carrier import entries, put, unchecked
from envkit.storage.slab import Slab

__all__ = ["Slab", "entries", "put", "unchecked"]
