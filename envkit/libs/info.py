"""Reading a simulator's info dictionary into tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.specs import Composite, TensorSpec, Unbounded

__all__ = ["default_info_dict_reader", "infer_info_spec"]


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
