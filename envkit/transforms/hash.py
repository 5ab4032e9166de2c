"""Hashes of entries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, MutableMapping

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.specs import Bounded, Composite, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys

__all__ = ["Hash"]

SIZE = 32


class Hash(Transform):
    """Writes a hash of each value: 32 bytes that are the same for the same value in every run.

    The hash of a tensor is the SHA-256 of its bytes, one for each element of the batch; equal numbers of other dtypes
    have other hashes.

    Args:
        in_keys: entries to hash.
        out_keys: where the hashes go, uint8 of shape ``[*batch, 32]``.
        in_keys_inv: actions (or states) of which the policy writes the hash; they are found in the repertoire.
        out_keys_inv: where the policy writes it.
        hash_fn: another hash function: takes bytes, and returns 32.
        seed: goes into every hash, for hashes of one's own.
        repertoire: values by their hash; what is hashed is added to it.

    Raises:
        ValueError: there are ``in_keys_inv`` without a repertoire.
        KeyError: the repertoire lacks a hash (when it is looked up).

    Examples:
        >>> from tensordict import TensorDict
        >>> hashes = Hash("x", "hash", repertoire={})
        >>> td = hashes(TensorDict({"x": torch.tensor([[1.0], [2.0]])}, [2]))
        >>> td["hash"].shape
        torch.Size([2, 32])
        >>> hashes.lookup(td["hash"])
        tensor([[1.],
                [2.]])
    """

    def __init__(
        self,
        in_keys: Keys,
        out_keys: Keys,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        hash_fn: Callable[[bytes], bytes] | None = None,
        seed: int | None = None,
        repertoire: MutableMapping[bytes, torch.Tensor] | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        if self.in_keys_inv and repertoire is None:
            raise ValueError(f"Hash: expected a repertoire to find {self.in_keys_inv} in, found none")
        self.hash_fn = hash_fn or _sha256
        self.prefix = b"" if seed is None else str(seed).encode()
        self.repertoire = repertoire
        self._batch_dims = 0

    def hash(self, value: torch.Tensor, batch_dims: int = 0) -> torch.Tensor:
        """The hashes of a value ``[*batch, *shape]``, uint8 of shape ``[*batch, 32]``."""
        batch = value.shape[:batch_dims]
        plain = value.detach().cpu()
        rows = plain.reshape((batch.numel(), *value.shape[batch_dims:]))
        hashes = [self.hash_fn(self.prefix + row.contiguous().numpy().tobytes()) for row in rows]
        if self.repertoire is not None:
            self.repertoire.update((key, row.clone()) for key, row in zip(hashes, rows, strict=True))
        data = np.frombuffer(b"".join(hashes), np.uint8).copy()
        return torch.from_numpy(data).reshape((*batch, SIZE)).to(value.device)

    def lookup(self, hashes: torch.Tensor) -> torch.Tensor:
        """The values ``[*batch, *shape]`` of hashes ``[*batch, 32]``, from the repertoire."""
        rows = hashes.detach().cpu().reshape(-1, SIZE).numpy()
        found = [(self.repertoire or {}).get(row.tobytes()) for row in rows]
        missing = next((row.tobytes().hex() for row, value in zip(rows, found, strict=True) if value is None), None)
        if missing is not None:
            raise KeyError(f"Hash: expected hashes of the repertoire, found {missing}")
        values = torch.stack([value for value in found if value is not None])
        return values.reshape((*hashes.shape[:-1], *values.shape[1:])).to(hashes.device)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            value = next_tensordict.get(in_key, None)
            if value is not None:
                next_tensordict.set(out_key, self.hash(value, next_tensordict.batch_dims))
        return next_tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        for in_key, out_key in zip(self.in_keys_inv, self.out_keys_inv, strict=True):
            value = tensordict.get(out_key, None)
            if value is not None:
                tensordict.set(in_key, self.lookup(value))
        return tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the hashes."""
        self._batch_dims = len(specs["observation"].shape)
        return super().transform_specs(specs)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return Bounded(0, 255, (*leaf.shape[: self._batch_dims], SIZE), leaf.device, torch.uint8)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
