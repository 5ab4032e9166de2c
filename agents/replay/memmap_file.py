"""The file in which rows of a replay buffer live on disk."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.replay.row_layout import RowLayout
from envkit.errors import CheckpointError

__all__ = ["MemmapFile"]

MAGIC = b"ENVKROWS"
FORMAT = 1
# Magic, format, first byte of the rows, bytes of the JSON; then the counts, which are all that changes; then the JSON.
HEAD = struct.Struct("<8sIQQ")
COUNTS = 64
JSON_AT = 128
PAGE = 4096


@dataclass
class MemmapFile:
    """Rows of bytes behind a header that says what they are.

    The header holds the layout of a row, the size of the storage, a generation id, drawn at random when the file is
    made, and three counts (items written in turn, items held, sequences side by side), which are written after the rows
    that they count.
    """

    path: Path
    layout: RowLayout
    max_size: int
    generation: str
    memory: np.ndarray
    """uint8 ``[max_size, layout.size]``"""
    counts: np.ndarray
    """int64 ``[3]``"""

    @classmethod
    def create(cls, path: Path, layout: RowLayout, max_size: int) -> MemmapFile:
        """Makes a file, all of it on disk.

        Raises:
            OSError: there is too little space.
        """
        generation = secrets.token_hex(16)
        text = json.dumps({"generation": generation, "max_size": max_size, "layout": layout.plain()}).encode()
        rows_at = -(-(JSON_AT + len(text)) // PAGE) * PAGE
        size = rows_at + max_size * layout.size
        free = shutil.disk_usage(path.parent).free
        if size > free:
            raise OSError(
                f"LazyMemmapStorage: expected {size / 2**30:,.1f} GiB for {max_size:,} items of {layout.size:,} bytes, "
                f"found {free / 2**30:,.1f} GiB free in {path.parent}"
            )
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            file.write(HEAD.pack(MAGIC, FORMAT, rows_at, len(text)))
            file.seek(JSON_AT)
            file.write(text)
            file.flush()
            # Reserved now: a file with holes ends the process by a signal where the disk turns out to be full.
            os.posix_fallocate(file.fileno(), 0, size)
        os.replace(partial, path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> MemmapFile:
        """Maps a file that is there.

        Raises:
            CheckpointError: it is something else, or damaged.
        """
        there = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(HEAD.size)
            if len(head) < HEAD.size or head[:8] != MAGIC:
                raise CheckpointError(f"{path}: expected a file that begins with {MAGIC!r}, found {head[:8]!r}")
            _, version, rows_at, length = HEAD.unpack(head)
            if version != FORMAT:
                raise CheckpointError(f"{path}: expected format {FORMAT}, found {version}")
            if not JSON_AT + length <= rows_at <= there:
                raise CheckpointError(f"{path}: damaged: expected a header of {rows_at} bytes, found {there} in all")
            file.seek(JSON_AT)
            text = file.read(length)
        try:
            told: dict[str, Any] = json.loads(text)
            layout = RowLayout.from_plain(told["layout"])
            max_size, generation = int(told["max_size"]), str(told["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: damaged header: {error}") from error
        size = rows_at + max_size * layout.size
        if there != size:
            raise CheckpointError(f"{path}: damaged: expected {size} bytes, found {there}")
        whole = np.memmap(path, np.uint8, "r+")
        memory = np.asarray(whole[rows_at:]).reshape(max_size, layout.size)
        counts = np.asarray(whole[COUNTS : COUNTS + 24]).view(np.int64)
        count, held, streams = counts.tolist()
        if not (0 <= held <= max_size and count >= 0 and 0 <= streams <= max_size):
            raise CheckpointError(
                f"{path}: damaged: expected counts of at most {max_size} items, found {held} of {count} written, in "
                f"{streams} sequences"
            )
        return cls(path, layout, max_size, generation, memory, counts)
