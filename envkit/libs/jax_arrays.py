"""Arrays of JAX as tensors, and the trees they stand in as entries of TensorDicts."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from tensordict import NestedKey

from envkit.errors import EnvDataError
from envkit.libs.simulator import import_simulator

__all__ = ["Tree", "import_with_jax", "to_array", "to_tensor"]

SIGNED: dict[Any, Any] = {np.dtype("uint16"): np.dtype("int16"), np.dtype("uint32"): np.dtype("int32")}


def import_with_jax(module: str, name: str) -> ModuleType:
    """A module of a simulator that runs on JAX, which on a GPU leaves room for torch.

    Args:
        module: the module.
        name: what the simulator is called; in small letters, the extra of envkit that installs it.

    Raises:
        MissingDependencyError: it, or JAX, is not installed.
    """
    if "jax" not in sys.modules:
        # JAX would take three quarters of a GPU's memory at once.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with warnings.catch_warnings():
        # Of parts of theirs that are no longer maintained, at their first import.
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_simulator(module, name, f"`pip install 'envkit[{name.lower()}]'`")


def to_array(tensor: torch.Tensor) -> Any:
    """What JAX is given for a tensor: an array over the same memory, if they are on one device; else a copy.

    That is numpy's on the CPU, which a compiled function takes at a tenth of the price of DLPack. The caller sees to it
    that the tensor is not written to while JAX computes.

    Examples:
        >>> to_array(torch.ones(2, dtype=torch.bool))
        array([ True,  True])
    """
    tensor = tensor.detach()
    if tensor.device.type == "cpu":
        return tensor.numpy()
    import jax

    if jax.default_backend() == "cpu":
        return tensor.cpu().numpy()
    return jax.dlpack.from_dlpack(tensor.contiguous())


def to_tensor(array: Any, device: torch.device | None = None) -> torch.Tensor:
    """A copy of an array of JAX as a tensor on ``device``, the CPU by default.

    It is always a copy: JAX hands out the memory of arrays that it takes to be immutable, and torch writes to tensors.

    Examples:
        >>> to_tensor(np.arange(2, dtype=np.int32))
        tensor([0, 1], dtype=torch.int32)
    """
    if device is None or device.type == "cpu":
        return torch.from_numpy(np.array(array))
    if isinstance(array, np.ndarray) or array.device.platform == "cpu":
        return torch.from_numpy(np.array(array)).to(device)
    return torch.from_dlpack(array).to(device, copy=True)


class Tree:
    """The leaves of trees of one kind (dicts, dataclasses, named tuples, lists), and the keys of their entries.

    Leaves are *carried* in dtypes that torch can compare, index and write everywhere: random keys of JAX's own type as
    the numbers they consist of, and unsigned numbers of 16 and 32 bits (random keys, as a rule) as signed ones of the
    same bits. Both directions are functions that JAX can trace.

    Args:
        example: a tree, of arrays or of what ``jax.eval_shape`` returns.
        prefix: what its keys begin with.

    Attributes:
        keys: the key of each leaf: the names and numbers on the way to it.
        shapes: what each leaf is as it is carried, with a ``shape`` and a ``dtype``.

    Raises:
        EnvDataError: two leaves have the same key.

    Examples:
        >>> import jax.numpy as jnp  # doctest: +SKIP
        >>> tree = Tree({"body": [jnp.zeros(2), jnp.ones(())], "key": jnp.zeros(2, "uint32")})  # doctest: +SKIP
        >>> tree.keys, tree.shapes[-1].dtype  # doctest: +SKIP
        ([('body', '0'), ('body', '1'), 'key'], dtype('int32'))
    """

    def __init__(self, example: Any, prefix: tuple[str, ...] = ()) -> None:
        import jax

        self._structure: Any
        flat, self._structure = jax.tree_util.tree_flatten_with_path(example)
        self.keys: list[NestedKey] = []
        for path, _ in flat:
            names = (*prefix, *map(_name, path))
            self.keys.append(names[0] if len(names) == 1 else names)
        if len(set(self.keys)) < len(flat):
            twice = sorted({str(key) for key in self.keys if self.keys.count(key) > 1})
            raise EnvDataError(f"expected one entry for each leaf of the simulator's data, found several of {twice}")
        self._leaves = [leaf for _, leaf in flat]
        self._generators: dict[int, Any] = {}  # of random keys of JAX's own type, by their places
        self.shapes = jax.eval_shape(self._carried, example)

    def flatten(self, tree: Any) -> list[Any]:
        """The leaves of a tree, as they are carried.

        Raises:
            EnvDataError: its leaves are not those of the example, or one has another shape or dtype.
        """
        import jax

        leaves, structure = jax.tree_util.tree_flatten(tree)
        if structure != self._structure:
            raise EnvDataError(f"expected data of one structure, {self._structure}, found {structure}")
        for key, leaf, like in zip(self.keys, leaves, self._leaves, strict=True):
            found, expected = (jax.numpy.shape(leaf), jax.numpy.result_type(leaf)), (like.shape, like.dtype)
            if found != expected:
                raise EnvDataError(
                    f"{key!r} of the simulator: expected shape {list(expected[0])} and dtype {expected[1]}, as after a "
                    f"reset, found {list(found[0])} and {found[1]}"
                )
        return self._carried(tree)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The tree of the leaves, of one element, that :meth:`flatten` returned."""
        import jax

        restored = []
        for place, (leaf, like) in enumerate(zip(leaves, self._leaves, strict=True)):
            if place in self._generators:
                words = jax.lax.bitcast_convert_type(leaf, np.uint32)
                leaf = jax.random.wrap_key_data(words, impl=self._generators[place])
            elif like.dtype in SIGNED:
                leaf = jax.lax.bitcast_convert_type(leaf, like.dtype)
            # No array of numpy's: there are simulators that write `leaf += 1`.
            restored.append(jax.numpy.asarray(leaf))
        return jax.tree_util.tree_unflatten(self._structure, restored)

    def _carried(self, tree: Any) -> list[Any]:
        import jax

        out = []
        for place, leaf in enumerate(map(jax.numpy.asarray, jax.tree_util.tree_leaves(tree))):
            if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                self._generators[place] = jax.random.key_impl(leaf)
                leaf = jax.random.key_data(leaf)
            if leaf.dtype in SIGNED:
                leaf = jax.lax.bitcast_convert_type(leaf, SIGNED[leaf.dtype])
            out.append(leaf)
        return out


def _name(part: Any) -> str:
    """The name of one part of a path of JAX, which has one of these attributes."""
    return str(next(getattr(part, name) for name in ("name", "key", "idx") if hasattr(part, name)))
