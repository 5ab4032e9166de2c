"""Sequences of stored steps: where they begin, and what a recurrent network remembers there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.core.plan import path_of
from envkit.transforms.base import Transform
from envkit.transforms.chance import Chancy
from envkit.transforms.keys import Keys, listed

__all__ = ["BurnInTransform", "RandomCropTensorDict"]


class BurnInTransform(Transform):
    """Runs recurrent modules over the first steps of stored sequences, and keeps the others.

    What the modules remember after those steps is written where the rest begins, so that it starts from a memory that
    is up to date, and not from the one stored with an older policy. No gradients are kept.

    Args:
        modules: modules on TensorDicts of batch size ``[*batch, time]``, called in order.
        burn_in: how many steps.
        out_keys: the memories, as the modules read them at the first step; by default every entry that a module writes
            under ``"next"`` and some module reads.

    References:
        Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning", ICLR 2019.

    Examples:
        >>> from tensordict import TensorDict
        >>> from tensordict.nn import TensorDictModule
        >>> last = TensorDictModule(lambda x, h: x.cumsum(-1), in_keys=["x", "h"], out_keys=[("next", "h")])
        >>> data = TensorDict({"x": torch.ones(5), "h": torch.zeros(5)}, [5])
        >>> BurnInTransform([last], burn_in=3)(data)["h"]
        tensor([3., 0.])
    """

    data_only = "BurnInTransform looks at stored sequences; in an env a policy keeps its memory by itself"

    def __init__(self, modules: Sequence[nn.Module] | nn.Module, burn_in: int, out_keys: Keys = None) -> None:
        super().__init__()
        if burn_in < 1:
            raise ValueError(f"BurnInTransform: burn_in: expected at least 1, found {burn_in}")
        given = [modules] if isinstance(modules, nn.Module) else list(modules)
        for module in given:
            if not hasattr(module, "in_keys") or not hasattr(module, "out_keys"):
                raise TypeError(
                    f"BurnInTransform: expected modules with in_keys and out_keys, found {type(module).__name__}"
                )
        # No submodules: a buffer that is saved does not hold a policy.
        self.__dict__["modules_"] = given
        self.burn_in = burn_in
        self.memories = _memories(given) if out_keys is None else listed(out_keys)
        if not self.memories:
            raise ValueError(
                "BurnInTransform: expected a memory that a module reads and writes under 'next', found none"
            )

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The steps after the first ``burn_in`` ones, with memories to begin with.

        Raises:
            ValueError: there are no more steps than that.
        """
        steps = tensordict.batch_size[-1] if tensordict.batch_dims else 0
        if steps <= self.burn_in:
            raise ValueError(
                f"BurnInTransform: expected more than {self.burn_in} steps in the last batch dimension, found batch "
                f"size {list(tensordict.batch_size)}"
            )
        seen, rest = tensordict[..., : self.burn_in].copy(), tensordict[..., self.burn_in :].copy()
        with torch.no_grad():
            for module in self.__dict__["modules_"]:
                seen = module(seen)
        dim = tensordict.batch_dims - 1
        for key in self.memories:
            last = self._take(seen, ("next", *path_of(key))).select(dim, -1)
            stored = rest.get(key, None)
            memory = last.new_zeros((*rest.batch_size, *last.shape[dim:])) if stored is None else stored.clone()
            memory.select(dim, 0).copy_(last)
            rest.set(key, memory)
        return rest


def _memories(modules: Sequence[nn.Module]) -> list[NestedKey]:
    read = {path_of(key) for module in modules for key in module.in_keys}  # type: ignore[union-attr]
    written = [path_of(key) for module in modules for key in module.out_keys]  # type: ignore[union-attr]
    found = [path[1:] for path in written if path[0] == "next" and path[1:] in read]
    return [path[0] if len(path) == 1 else path for path in found]


class RandomCropTensorDict(Chancy):
    """A random stretch of each stored sequence.

    Args:
        sub_seq_len: its number of steps.
        sample_dim: the batch dimension of time.
        mask_key: a boolean of the batch size, True for the steps of a sequence and False for padding after them, of
            which nothing is taken.

    Examples:
        >>> from tensordict import TensorDict
        >>> crop = RandomCropTensorDict(3)
        >>> crop(TensorDict({"x": torch.arange(20.0).reshape(2, 10)}, [2, 10]))["x"].diff(dim=-1)
        tensor([[1., 1.],
                [1., 1.]])
    """

    data_only = "RandomCropTensorDict looks at stored sequences; an env has one step at a time"

    def __init__(self, sub_seq_len: int, sample_dim: int = -1, mask_key: NestedKey | None = None) -> None:
        super().__init__()
        if sub_seq_len < 1:
            raise ValueError(f"RandomCropTensorDict: sub_seq_len: expected at least 1, found {sub_seq_len}")
        self.sub_seq_len, self.sample_dim, self.mask_key = sub_seq_len, sample_dim, mask_key

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The stretches, each from its own random place, in a TensorDict of their own.

        Raises:
            ValueError: a sequence is shorter than they are, or the TensorDict has no such dimension.
        """
        dims = tensordict.batch_dims
        if not -dims <= self.sample_dim < dims:
            raise ValueError(
                f"RandomCropTensorDict: expected a batch dimension {self.sample_dim}, found batch size "
                f"{list(tensordict.batch_size)}"
            )
        dim = self.sample_dim % dims
        data = tensordict.transpose(dim, -1) if dim < dims - 1 else tensordict
        lead, steps = data.batch_size[:-1], data.batch_size[-1]
        lengths = torch.full((lead.numel(),), steps)
        if self.mask_key is not None:
            lengths = self._take(data, self.mask_key).reshape(-1, steps).sum(-1).cpu()
        if lengths.numel() and (shortest := int(lengths.min())) < self.sub_seq_len:
            raise ValueError(
                f"RandomCropTensorDict: expected sequences of at least {self.sub_seq_len} steps, found one of "
                f"{shortest}"
            )
        starts = torch.from_numpy(self._numbers().integers(0, (lengths - self.sub_seq_len + 1).numpy()))
        places = starts.unsqueeze(-1) + torch.arange(self.sub_seq_len)
        which = torch.arange(lead.numel()).unsqueeze(-1)
        out = data.reshape(-1, steps)[which, places].reshape(*lead, self.sub_seq_len)
        return out.transpose(dim, -1) if dim < dims - 1 else out
