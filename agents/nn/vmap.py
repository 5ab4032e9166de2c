"""A module applied along a dimension of its input."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase

__all__ = ["VmapModule"]


class VmapModule(TensorDictModuleBase):
    """Calls a TensorDict module on every slice of a batch dimension, all at once.

    Args:
        module: the module.
        vmap_dim: the batch dimension; negative ones count from the last batch dimension.

    Raises:
        ValueError: on a call, if there is no such batch dimension.

    Example:
        >>> import torch
        >>> from agents import TensorDictModule
        >>> from tensordict import TensorDict
        >>> outer = TensorDictModule(torch.outer, ["a", "b"], ["product"])
        >>> td = TensorDict({"a": torch.randn(5, 3), "b": torch.randn(5, 2)}, [5])
        >>> VmapModule(outer)(td)["product"].shape
        torch.Size([5, 3, 2])
    """

    def __init__(self, module: TensorDictModuleBase, vmap_dim: int = 0) -> None:
        super().__init__()
        self.in_keys, self.out_keys = list(module.in_keys), list(module.out_keys)
        self.module, self.vmap_dim = module, vmap_dim

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the outputs into ``tensordict`` and return it."""
        batch, dims = list(tensordict.batch_size), len(tensordict.batch_size)
        if not -dims <= self.vmap_dim < dims:
            raise ValueError(f"VmapModule: expected a batch dimension {self.vmap_dim}, found batch size {batch}")
        dim = self.vmap_dim % dims
        given = tensordict.select(*self.in_keys)
        written = torch.vmap(self.module, (dim,), (dim,))(given)
        return tensordict.update(written.select(*self.out_keys))
