"""Checkpoints: one file of tensors and plain data, which runs no code when it is read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from agents.state_tree import join_state, split_state
from envkit.errors import CheckpointError

__all__ = ["load_checkpoint", "save_checkpoint"]

FORMAT = 2


def save_checkpoint(path: str | os.PathLike, kind: str, state: dict[str, Any], *, keep_previous: bool = False) -> Path:
    """Writes a state to one safetensors file: tensors as such, the rest as JSON in its header, and a digest of both.

    The file appears under its name only once it is whole: a crash on the way leaves the one that was there.

    Args:
        path: the file.
        kind: what it is a checkpoint of, such as ``"PPO"``.
        state: nested dicts, lists and tuples of tensors, arrays and plain values.
        keep_previous: keep the file that was there, under the name ``<path>.previous``, to fall back to.

    Raises:
        TypeError: there is something else in the state; says where.
        OSError: the file cannot be written, for example for want of space, which is looked at beforehand.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> _ = save_checkpoint(file, "demo", {"x": torch.ones(2), "steps": 3})
        >>> load_checkpoint(file, "demo")
        {'x': tensor([1., 1.]), 'steps': 3}
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain, tensors = split_state(state)
    # Views of one memory would be one tensor in the file, which it refuses.
    tensors = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    data = json.dumps(plain)
    size = len(data) + sum(tensor.nbytes for tensor in tensors.values())
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, f"no space left for a checkpoint of {size:,} bytes", str(path))
    header = {"format": str(FORMAT), "kind": kind, "data": data, "digest": _digest(data, tensors)}
    partial = path.with_name(path.name + ".partial")
    try:
        safetensors.torch.save_file(tensors, partial, header)
        _flush(partial)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    if keep_previous and path.exists():
        os.replace(path, _previous(path))
    os.replace(partial, path)
    _flush(path.parent)
    return path


def load_checkpoint(path: str | os.PathLike, kind: str) -> dict[str, Any]:
    """Reads the state that :func:`save_checkpoint` wrote; of a damaged file the previous one, if it was kept.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, or a checkpoint of something else.

    Warns:
        UserWarning: the file is damaged or missing, and the previous one is used.
    """
    path = Path(path)
    previous = _previous(path)
    if not path.is_file() and not previous.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        return _load(path, kind)
    except _DamagedError as error:
        if not previous.is_file():
            raise
        warnings.warn(f"{error}; going back to {previous}", stacklevel=2)
        return _load(previous, kind)


class _DamagedError(CheckpointError):
    """A file is not what was written."""


def _load(path: Path, kind: str) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        data = header.get("data", "null")
        plain = json.loads(data)
    except (safetensors.SafetensorError, json.JSONDecodeError, OSError, ValueError) as error:
        raise _DamagedError(f"{path}: damaged, or no checkpoint: {error}") from error
    if header.get("kind") != kind:
        raise CheckpointError(
            f"{path}: expected a checkpoint of {kind}, found one of {header.get('kind', 'something else')}"
        )
    if header.get("format") != str(FORMAT):
        raise CheckpointError(f"{path}: expected checkpoint format {FORMAT}, found {header.get('format')}")
    if header.get("digest") != _digest(data, tensors):
        raise _DamagedError(f"{path}: damaged: its content does not have the digest in its header")
    try:
        state = join_state(plain, tensors)
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: expected a tensor {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: damaged: expected a mapping, found {type(state).__name__}")
    return state


def _digest(data: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(data.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _flush(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk before anything else happens."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
