"""Reading done flags of any nesting level."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.plan import DONE_NAMES, path_of
from envkit.specs import Composite

__all__ = ["terminated_or_truncated"]


def terminated_or_truncated(
    data: TensorDictBase,
    full_done_spec: Composite | None = None,
    key: str | None = "_reset",
    write_full_false: bool = False,
) -> bool:
    """Whether any trajectory in ``data`` is over; writes, in place, which ones.

    At each level that has flags, ``key`` becomes the union of ``terminated`` and ``truncated`` there, and of ``done``
    where neither of the two is.

    Args:
        data: what ``"next"`` holds after a step, or the input of the next one.
        full_done_spec: where flags are expected; wherever there are some, by default.
        key: name of the entry to write; None writes nothing.
        write_full_false: whether it is also written where nothing at all is over.

    Raises:
        KeyError: a level of ``full_done_spec`` has no flag in ``data``.

    Examples:
        >>> from tensordict import TensorDict
        >>> data = TensorDict({"terminated": torch.tensor([[True], [False]])}, [2])
        >>> terminated_or_truncated(data)
        True
        >>> data["_reset"].tolist()
        [[True], [False]]
    """
    source = data if full_done_spec is None else full_done_spec
    levels = {path_of(k)[:-1] for k in source.keys(True, True) if path_of(k)[-1] in DONE_NAMES}
    over: dict[tuple[str, ...], torch.Tensor] = {}
    for prefix in sorted(levels):
        flags = [data.get(_key(prefix, name), None) for name in ("terminated", "truncated")]
        found = [flag for flag in flags if flag is not None] or [data.get(_key(prefix, "done"))]
        if found[0] is None:
            raise KeyError(f"no done flag at {prefix or 'the root'}: found {sorted(map(str, data.keys(True, True)))}")
        over[prefix] = torch.stack([flag.bool() for flag in found]).any(0)
    ended = any(bool(flag.any()) for flag in over.values())
    if key is not None and (ended or write_full_false):
        for prefix, flag in over.items():
            data.set(_key(prefix, key), flag)
    return ended


def _key(prefix: tuple[str, ...], name: str) -> NestedKey:
    return (*prefix, name) if prefix else name
