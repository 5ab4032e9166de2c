"""Checkpoints: one file of tensors and plain data, which runs no code when it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from envkit.errors import CheckpointError

__all__ = ["load_checkpoint", "optimizer_tensors", "restore_optimizer", "save_checkpoint"]

FORMAT = 1


def save_checkpoint(path: str | os.PathLike, kind: str, tensors: dict[str, Tensor], data: dict[str, Any]) -> Path:
    """Writes tensors and JSON data to one safetensors file.

    The file appears under its name only once it is whole: a crash on the way leaves the one that was there.

    Args:
        path: the file.
        kind: what it is a checkpoint of, such as ``"PPO"``.
        tensors: the tensors by name.
        data: whatever JSON can hold.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> _ = save_checkpoint(file, "demo", {"x": torch.ones(2)}, {"steps": 3})
        >>> load_checkpoint(file, "demo")
        ({'x': tensor([1., 1.])}, {'steps': 3})
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": str(FORMAT), "kind": kind, "data": json.dumps(data)}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(safetensors.torch.save(plain, header))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return path


def load_checkpoint(path: str | os.PathLike, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, or a checkpoint of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        data = json.loads(header.get("data", "null"))
    except (safetensors.SafetensorError, json.JSONDecodeError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {error}") from error
    if header.get("kind") != kind:
        raise CheckpointError(
            f"{path}: expected a checkpoint of {kind}, found one of {header.get('kind', 'something else')}"
        )
    if header.get("format") != str(FORMAT):
        raise CheckpointError(f"{path}: expected checkpoint format {FORMAT}, found {header.get('format')}")
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: damaged: expected a mapping as its data, found {type(data).__name__}")
    return tensors, data


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimizer's state, named ``"{parameter}.{entry}"``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entries in state.items() for name, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Gives an optimizer the state that :func:`optimizer_tensors` took.

    Raises:
        ValueError: a tensor has a name or shape that fits no parameter, or parameters lack entries that others have.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, entry = name.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise ValueError(f"optimizer: expected state of {len(parameters)} parameters, found {name!r}")
        shape = parameters[int(index)].shape
        if value.ndim and value.shape != shape:
            raise ValueError(f"optimizer: expected {name!r} of shape {list(shape)}, found {list(value.shape)}")
        state.setdefault(int(index), {})[entry] = value
    expected = {entry for entries in state.values() for entry in entries}
    for number, entries in state.items():
        if missing := sorted(expected - set(entries)):
            raise ValueError(f"optimizer: expected {missing} of parameter {number}, found only {sorted(entries)}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
