"""Shapes that agree, where broadcasting would go unnoticed."""

from __future__ import annotations

from collections.abc import Sequence

from tensordict import NestedKey, TensorDictBase
from torch import Tensor

__all__ = ["check_same_shape", "per_step"]


def check_same_shape(owner: str, **tensors: Tensor) -> None:
    """Refuse tensors whose shape is not that of the first.

    ``[n]`` times ``[n, 1]`` is ``[n, n]`` to broadcasting, and the mean of that is a plausible number.

    Raises:
        ValueError: if one differs; the message names it, what was expected and what was found.
    """
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != reference.shape:
            raise ValueError(
                f"{owner}: expected {name} of the shape of {first}, {list(reference.shape)}, found {list(tensor.shape)}"
            )


def per_step(owner: str, tensordict: TensorDictBase, key: NestedKey, shape: Sequence[int] | None = None) -> Tensor:
    """The numbers at ``key``, one for each step, in exactly ``shape``.

    ``shape`` is ``[*batch, *extra]``, where ``batch`` is the batch size of the TensorDict (the default) and ``extra``
    are dimensions such as that of agents. An entry of that shape is taken as it is, and a trailing 1 goes. A number
    that all of ``extra`` share (shape ``[*batch]`` or ``[*batch, 1]``) is expanded. Anything else is refused.

    Raises:
        KeyError: if there is no entry.
        ValueError: if its shape is none of those; the message names the key, what was expected and what was found.
    """
    entry, batch = tensordict[key], tensordict.batch_size
    wanted, found = tuple(batch if shape is None else shape), tuple(entry.shape)
    if found == wanted:
        return entry
    if found == (*wanted, 1):
        return entry.squeeze(-1)
    extra = len(wanted) - len(batch)
    if extra > 0 and wanted[: len(batch)] == batch and found in ((*batch,), (*batch, 1)):
        return entry.reshape(*batch, *(1 for _ in range(extra))).expand(*wanted)
    accepted = [list(wanted), [*wanted, 1]] + ([[*batch, 1]] if extra > 0 else [])
    raise ValueError(f"{owner}: expected {key!r} of shape {' or '.join(map(str, accepted))}, found {list(found)}")
