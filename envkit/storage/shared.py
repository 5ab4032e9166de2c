"""Memory that several processes see.

A block is an anonymous file in memory: it has no name, so nothing of it can be left behind, and all of it is reserved
when it is made, so that writing to it cannot fail later. Other processes are handed its descriptor.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envkit.errors import SharedMemoryError

__all__ = ["SharedBlock", "anonymous_file", "lease"]

MEMBERSHIP = "/proc/self/cgroup"
# Files of a memory control group that tell its limit, its use, and how much of that is only a cache: new and old kind.
GROUPS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class SharedBlock:
    """A piece of memory to be shared by its file descriptor.

    Its memory stays for as long as ``bytes`` (uint8 ``[size]``), or a view of it, is referred to; the descriptor only
    until :meth:`forget_descriptor`, or until the block is referred to no more.

    Args:
        size: bytes.
        fd: the descriptor of a block that another process made, which belongs to this one from now on; a new block is
            made without it.

    Raises:
        SharedMemoryError: there is not so much memory.

    Examples:
        >>> block = SharedBlock(4096)
        >>> other = SharedBlock(4096, os.dup(block.fd))  # what another process does with the descriptor
        >>> block.bytes[0] = 7
        >>> int(other.bytes[0])
        7
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.size = size
        self.fd = _reserved(size) if fd is None else fd
        self._close = weakref.finalize(self, os.close, self.fd)
        try:
            # By torch, which keeps no descriptor: programs that hold on to much of what they share would run out of
            # them.
            self.bytes: np.ndarray = torch.from_file(f"/dev/fd/{self.fd}", True, size, dtype=torch.uint8).numpy()
        except RuntimeError as error:
            self._close()
            raise _too_little(size, error) from error

    def forget_descriptor(self) -> None:
        """Closes the descriptor; the memory stays."""
        self._close()


def lease(block: SharedBlock, returned: Callable[[], Any]) -> np.ndarray:
    """The bytes of a block, as an array of its own: ``returned`` is called once nothing refers to it any more.

    Every view counts, also those of tensors made from it. uint8 ``[size]``.
    """
    holder = _Holder(block)
    weakref.finalize(holder, returned).atexit = False
    return np.asarray(holder)


class _Holder:
    """What a leased array, and every view of it, keeps alive."""

    def __init__(self, block: SharedBlock) -> None:
        self.block = block
        self.__array_interface__ = block.bytes.__array_interface__


def anonymous_file() -> int:
    """A descriptor of an empty file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("envkit")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _reserved(size: int) -> int:
    """A descriptor of ``size`` bytes of memory, all of them there."""
    free = _available()
    if free is not None and size > free:
        raise _too_little(size, f"{free / 2**20:,.0f} MiB available")
    fd = anonymous_file()
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            os.truncate(fd, size)
    except (OSError, OverflowError) as error:
        os.close(fd)
        raise _too_little(size, error) from error
    return fd


def _available() -> int | None:
    """Bytes of memory that may still be taken, where the system says so: asking for more would end the process."""
    limits = list(_left_by_groups())
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    return min(limits, default=None)


def _left_by_groups() -> Iterator[int]:
    """What the control groups of this process, and those above them, leave it of memory."""
    memberships: list[str] = []
    with contextlib.suppress(OSError):
        memberships = Path(MEMBERSHIP).read_text().splitlines()
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        for name in set(controllers.split(",")) & GROUPS.keys():
            root, limit, use, cache = GROUPS[name]
            group = Path(root, path.lstrip("/"))
            # In a container the path may be that of the host: only the root is there, and that is the container's.
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    used = int((folder / use).read_text()) - int(stat[cache])
                    yield int((folder / limit).read_text()) - used  # "max" is no number
                if str(folder) == root:
                    break


def _too_little(size: int, found: object) -> SharedMemoryError:
    return SharedMemoryError(
        f"shared memory: expected {size / 2**20:,.1f} MiB, found {found}; fewer rows at a time, or a larger memory "
        f"limit, would do"
    )
