"""Seeds from seeds: the chain of the envs of a batch, and streams that never overlap."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["seed_generator", "spawn_seed"]


def seed_generator(seed: int) -> int:
    """The seed after ``seed``: a hash-like successor in ``[0, 2**32 - 1)``, so that runs 0, 1, 2 share no seeds.

    Eight bytes drawn from a numpy generator seeded with ``seed``, modulo ``2**32 - 1``.

    Examples:
        >>> seed_generator(0)
        795726461
    """
    return int.from_bytes(np.random.default_rng(seed).bytes(8), "big") % (2**32 - 1)


def spawn_seed(seed: int, *key: int | str) -> int:
    """A seed for one stream of those that belong to ``seed``, named by ``key``: a number in ``[0, 2**63)``.

    Streams of other keys, and of other seeds, are independent of it (numpy's ``SeedSequence`` and its spawn keys).

    Examples:
        >>> spawn_seed(0, "actions") == spawn_seed(0, "actions")
        True
        >>> spawn_seed(0, "actions") == spawn_seed(0, "worker", 1)
        False
    """
    # Of one length whatever the key: numpy strings the words of long numbers together, and takes 2**32 for (0, 1).
    words = np.frombuffer(hashlib.sha256(repr(key).encode()).digest(), "<u4")
    state = np.random.SeedSequence(seed, spawn_key=words.tolist()).generate_state(1, np.uint64)
    return int(state[0]) >> 1
