"""The state of a replay buffer in a folder: one file of raw tensors, one of JSON.

Each dump makes a folder of its own and is complete, on disk, before the file ``current.json`` is replaced by one that
names it: at any moment that names a whole state. Nothing is pickled, and reading runs no code.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from envkit.collectors.resume import from_plain, to_plain
from envkit.errors import CheckpointError

__all__ = ["dump_state", "load_state"]

FORMAT = 1
CURRENT, TREE, TENSORS = "current.json", "state.json", "tensors.bin"
GENERATION = re.compile(r"[0-9a-f]{16}")
ALIGNMENT = 64
CHUNK = 1 << 24


def dump_state(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Writes nested dicts and lists of tensors, TensorDicts and plain data to a folder.

    Raises:
        TypeError: there is something else in it.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> dump_state(folder, {"x": torch.ones(2), "steps": 3})
        >>> load_state(folder)
        {'x': tensor([1., 1.]), 'steps': 3}
    """
    root, generation = Path(path), secrets.token_hex(8)
    folder = root / generation
    folder.mkdir(parents=True)
    try:
        with open(folder / TENSORS, "wb") as file:
            tree = _encoded(state, file, "state")
            _sync(file)
        with open(folder / TREE, "w") as text:
            json.dump(tree, text)
            _sync(text)
        _sync_folder(folder)
        partial = root / f"{CURRENT}.partial"
        with open(partial, "w") as text:
            json.dump({"format": FORMAT, "generation": generation}, text)
            _sync(text)
        os.replace(partial, root / CURRENT)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _sync_folder(root)
    for other in root.iterdir():  # the state before, and what killed dumps left
        if other.name != generation and GENERATION.fullmatch(other.name):
            shutil.rmtree(other, ignore_errors=True)


def load_state(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what :func:`dump_state` wrote. Tensors are mapped from the file, copied where they are written to.

    Raises:
        FileNotFoundError: there is no state.
        CheckpointError: it is damaged.
    """
    root = Path(path)
    if not (root / CURRENT).is_file():
        raise FileNotFoundError(f"no replay buffer at {root}")
    try:
        current = json.loads((root / CURRENT).read_text())
        if current["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {current['format']!r}")
        if not GENERATION.fullmatch(current["generation"]):
            raise ValueError(f"expected the name of a generation, found {current['generation']!r}")
        folder = root / current["generation"]
        tree = json.loads((folder / TREE).read_text())
        return _decoded(tree, folder / TENSORS)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{root}: damaged, or no replay buffer: {error}") from error


def _encoded(value: Any, file: BinaryIO, where: str) -> Any:
    """What JSON keeps of a value, whose tensors go to the file."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Tensor):
        return {"tensor": _written(value, file)}
    if isinstance(value, TensorDictBase):
        return {"tensordict": _encoded(to_plain(value), file, where)}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(each, file, f"{where}.{key}") for key, each in value.items()}}
    if isinstance(value, list | tuple):
        return {"list": [_encoded(each, file, f"{where}.{i}") for i, each in enumerate(value)]}
    raise TypeError(
        f"{where}: expected tensors, TensorDicts and plain data, which can be written, found {type(value).__name__}"
    )


def _written(tensor: Tensor, file: BinaryIO) -> dict[str, Any]:
    plain = tensor.detach().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy()
    file.write(bytes(-file.tell() % ALIGNMENT))
    offset, check = file.tell(), 0
    for start in range(0, len(data), CHUNK):
        part = data[start : start + CHUNK].data
        check = zlib.crc32(part, check)
        file.write(part)
    dtype = str(tensor.dtype).split(".")[1]
    return {"offset": offset, "dtype": dtype, "shape": list(tensor.shape), "crc32": check}


def _decoded(tree: Any, file: Path) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "dict":
        return {key: _decoded(each, file) for key, each in content.items()}
    if kind == "list":
        return [_decoded(each, file) for each in content]
    if kind == "tensordict":
        return from_plain(_decoded(content, file))
    if kind == "tensor":
        return _mapped(file, content["offset"], content["dtype"], content["shape"], content["crc32"])
    raise ValueError(f"expected a dict, list, tensordict or tensor, found {kind!r}")


def _mapped(file: Path, offset: int, name: str, shape: list[int], check: int) -> Tensor:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype) or min(shape, default=0) < 0 or offset < 0:
        raise ValueError(f"expected dtype, shape and offset of a tensor, found {name!r}, {shape}, {offset}")
    size, there = prod(shape) * dtype.itemsize, file.stat().st_size
    if offset + size > there:
        raise ValueError(f"{file.name}: expected at least {offset + size} bytes, found {there}")
    if not size:
        return torch.empty(shape, dtype=dtype)
    data = np.memmap(file, np.uint8, "c", offset, (size,))
    found = 0
    for start in range(0, size, CHUNK):
        found = zlib.crc32(data[start : start + CHUNK].data, found)
    if found != check:
        raise ValueError(f"{file.name}: expected check sum {check} at byte {offset}, found {found}")
    return torch.from_numpy(data).view(dtype).reshape(shape)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
