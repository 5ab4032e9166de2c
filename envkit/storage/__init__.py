"""Memory laid out by specs."""

from envkit.storage.carrier import entries, flat_items, peek, put, unchecked
from envkit.storage.slab import Slab, put_row

__all__ = ["Slab", "entries", "flat_items", "peek", "put", "put_row", "unchecked"]
