"""Weights of networks from files, or from the web."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import nn

from envkit.errors import CheckpointError

__all__ = ["load_weights"]

# Under these names some files keep the weights, and these stand before the name of each.
INSIDE, PREFIXES = ("r3m", "vip", "model", "state_dict"), ("module.", "convnet.")


def load_weights(network: nn.Module, source: str | os.PathLike[str]) -> None:
    """Loads weights into a network. Nothing is unpickled but tensors.

    Args:
        network: takes every weight that it has a name for; others in the file are left.
        source: a file of ``torch.save`` or safetensors, or the URL of one, which is kept among the checkpoints of
            ``torch.hub.get_dir()``.

    Raises:
        CheckpointError: the file is none of these, or has not all weights, or one has another shape.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "weights.pt")
        >>> torch.save({"model": {"module.weight": torch.ones(1, 2), "module.bias": torch.zeros(1)}}, path)
        >>> network = nn.Linear(2, 1)
        >>> load_weights(network, path)
        >>> network.weight.tolist()
        [[1.0, 1.0]]
    """
    path = _local(source)
    found = {_bare(name): value for name, value in _read(path).items()}
    wanted = network.state_dict()
    # How many batches a norm has seen, which older files do not say, matters in training alone.
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise CheckpointError(
            f"{path}: expected weights {missing[:5]} ({len(missing)} in all), found {list(found)[:5]}"
        )
    weights = {name: found[name] for name in wanted if name in found}
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: {name!r}: expected shape {list(wanted[name].shape)}, found {list(value.shape)}"
            )
    network.load_state_dict(weights, strict=False)


def _local(source: str | os.PathLike[str]) -> Path:
    url = urlparse(str(source))
    if url.scheme not in ("http", "https", "file"):
        return Path(source)
    # Files of several models have the same name.
    path = Path(torch.hub.get_dir(), "checkpoints", "_".join(url.path.strip("/").split("/")[-2:]))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(str(source), str(path), progress=False)
    return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"weights: expected a file, found none at {path}")
    try:
        weights: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # of many kinds, by what the file holds instead
        raise CheckpointError(f"{path}: expected tensors by name, in a file of torch.save or safetensors") from error
    while isinstance(weights, dict) and (name := next((name for name in INSIDE if name in weights), None)):
        weights = weights[name]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(f"{path}: expected tensors by name, found {type(weights).__name__} of other things")
    return weights


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
