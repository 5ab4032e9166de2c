"""Reading a simulator's info dictionary into tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.core.env import EnvBase
from envkit.specs import Composite, TensorSpec, Unbounded

if TYPE_CHECKING:
    from typing import Self

__all__ = ["InfoReader", "ReadsInfo", "default_info_dict_reader", "infer_info_spec"]

InfoReader = Callable[[Mapping[str, Any], TensorDictBase], TensorDictBase]


class default_info_dict_reader:  # noqa: N801 - the name users know it by
    """Copies entries of the info dictionary into the data of a step.

    An entry that one particular info lacks (many appear only at the end of an episode) reads as zero, as it does in
    Gymnasium's vector envs.

    Args:
        keys: the entries to read.
        spec: their specs, as a Composite or one per key; by default an unbounded float scalar each.

    Examples:
        >>> from tensordict import TensorDict
        >>> reader = default_info_dict_reader(["lives"])
        >>> reader({"lives": 3}, TensorDict())["lives"]
        tensor(3.)
        >>> reader({}, TensorDict())["lives"]
        tensor(0.)
    """

    def __init__(
        self, keys: Iterable[str], spec: Composite | Mapping[str, TensorSpec] | Iterable[TensorSpec] | None = None
    ) -> None:
        self.keys = list(keys)
        if spec is None:
            spec = {key: Unbounded(()) for key in self.keys}
        elif not isinstance(spec, Mapping | Composite):
            spec = dict(zip(self.keys, spec, strict=True))
        self.info_spec = Composite({key: spec[key] for key in self.keys})

    def __call__(self, info: Mapping[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the entries of ``info`` into ``tensordict`` and returns it."""
        for key in self.keys:
            leaf = self.info_spec[key]
            tensordict.set(key, leaf.encode(info[key]) if key in info else leaf.zero())
        return tensordict


def infer_info_spec(infos: Iterable[Mapping[str, Any]], *, ignore_private: bool = True) -> Composite:
    """The specs of all numeric entries found in ``infos``; names that start with an underscore are private."""
    out = Composite()
    for info in infos:
        for key, value in info.items():
            if not isinstance(key, str) or (ignore_private and key.startswith("_")) or key in out:
                continue
            array = np.asarray(value)
            if array.dtype.kind in "biuf":
                out[key] = Unbounded(array.shape, dtype=torch.from_numpy(np.atleast_1d(array)).dtype)
    return out


class ReadsInfo(EnvBase):
    """Base of envs whose simulator reports more in an info dictionary, parts of which readers copy into the data."""

    _readers: list[InfoReader]
    _info_spec: Composite

    def set_info_dict_reader(self, reader: InfoReader, info_spec: Composite | None = None) -> Self:
        """Adds a function that copies what it likes from each info dictionary into the data.

        Args:
            reader: called as ``reader(info, tensordict)``; returns ``tensordict`` with the entries it read.
            info_spec: what it writes; by default the reader's own ``info_spec``.
        """
        spec = info_spec if info_spec is not None else getattr(reader, "info_spec", None)
        if spec is None:
            raise TypeError("set_info_dict_reader: expected info_spec, or a reader with an info_spec attribute")
        self._readers.append(reader)
        observation = self.observation_spec.clone()
        for key, leaf in spec.items():
            self._info_spec[key] = leaf.clone()
            observation[key] = leaf.clone()
        self.observation_spec = observation
        return self

    def auto_register_info_dict(self, ignore_private: bool = True) -> Self:
        """Reads every numeric entry that a reset and a random step report; reset the env afterwards."""
        spec = infer_info_spec(self._sample_infos(), ignore_private=ignore_private)
        self._runtime.started = False
        return self.set_info_dict_reader(default_info_dict_reader(list(spec.keys()), spec))

    def _sample_infos(self) -> list[Mapping[str, Any]]:
        """The infos of a reset and of a random step."""
        raise NotImplementedError(f"{type(self).__name__} defines no _sample_infos")
