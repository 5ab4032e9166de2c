"""Weights that one process publishes, and others pick up when it suits them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from envkit.specs import Composite, Unbounded
from envkit.storage import Slab
from envkit.storage.shared import SharedBlock

__all__ = ["PublishedWeights"]

HEADER = 64  # bytes: the version, and its twin


class PublishedWeights:
    """A policy's weights in shared memory, with a version number.

    There are two places for the version. The publisher spoils one of them before it writes, so that whoever reads
    meanwhile notices, and reads again.

    Args:
        state: a ``state_dict``, which says what the weights are like. In new memory, they are those of version 0.
        block: the memory that another process has made them in; new memory by default.

    Raises:
        TypeError: an entry of the state is no tensor.

    Examples:
        >>> weights = PublishedWeights({"weight": torch.zeros(2)})
        >>> weights.publish({"weight": torch.ones(2)})
        1
        >>> PublishedWeights({"weight": torch.zeros(2)}, weights.block).read()
        (1, {'weight': tensor([1., 1.])})
    """

    def __init__(self, state: Mapping[str, Any], block: SharedBlock | None = None) -> None:
        others = sorted(name for name, value in state.items() if not isinstance(value, torch.Tensor))
        if others:
            raise TypeError(f"weights: expected tensors, found something else under {others}")
        # Names have dots in them, which keys of specs may not; their order will do.
        self._names = list(state)
        spec: Composite = Composite(
            {str(i): Unbounded(value.shape, dtype=value.dtype) for i, value in enumerate(state.values())}
        )
        self.block = block or SharedBlock(HEADER + Slab.size_of(spec, 1))
        self._version = self.block.bytes[:16].view("<u8")
        slab = Slab(spec, 1, memory=self.block.bytes[HEADER:])
        self._tensors = [slab.columns[str(i)][0] for i in range(len(self._names))]
        if block is None:
            self._write(state)

    @property
    def version(self) -> int:
        """How often weights were published."""
        return int(self._version[1])

    def publish(self, state: Mapping[str, torch.Tensor], version: int | None = None) -> int:
        """Writes new weights, and returns their version: the next one, unless it is said.

        Raises:
            RuntimeError: they are those of another policy.
        """
        found = {name: tuple(value.shape) for name, value in state.items()}
        expected = {name: tuple(tensor.shape) for name, tensor in zip(self._names, self._tensors, strict=True)}
        if found != expected:
            wrong = sorted({name for name in found.keys() | expected if found.get(name) != expected.get(name)})
            raise RuntimeError(
                f"policy_weights: expected { ({name: expected.get(name) for name in wrong}) }, "
                f"found { ({name: found.get(name) for name in wrong}) }"
            )
        version = self.version + 1 if version is None else version
        self._version[0] = 2**64 - 1
        try:
            self._write(state)
        finally:  # whoever reads would wait for ever
            self._version[1] = self._version[0] = version
        return version

    def _write(self, state: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in zip(self._names, self._tensors, strict=True):
            tensor.copy_(state[name].detach())

    def read(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The version and a copy of the weights."""
        while True:
            version = int(self._version[1])
            values = [tensor.clone() for tensor in self._tensors]
            if int(self._version[0]) == version:
                return version, dict(zip(self._names, values, strict=True))
