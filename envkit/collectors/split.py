"""From a stretch of time that many trajectories share to one row for each of them."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase, is_leaf_nontensor

from envkit.core.plan import DONE_NAMES, path_of

__all__ = ["split_trajectories"]

COLLECTOR = "collector"


def split_trajectories(
    td: TensorDictBase,
    *,
    prefix: NestedKey | None = None,
    trajectory_key: NestedKey | None = None,
    done_key: NestedKey | None = None,
    as_nested: bool = False,
) -> TensorDictBase:
    """Gives each trajectory in ``td`` a row of its own.

    A trajectory is a stretch of successive steps of one env that have the same number; or, where steps have no
    numbers, that ends with the first step that is done. No row holds steps of two of them. Rows are sorted by env,
    and within an env by time.

    Args:
        td: steps of batch size ``[*envs, time]``. It is left as it is; the result may share memory with it.
        prefix: the nested entry in which the numbers stand, as ``"traj_ids"``, and in which the mask is written; by
            default ``"collector"`` if that has numbers, and otherwise the root.
        trajectory_key: where the numbers stand, if that is elsewhere.
        done_key: split by this flag, whether steps have numbers or not. Without numbers all flags below ``"next"``
            called done, terminated or truncated are taken together by default.
        as_nested: return nested (jagged) tensors of batch size ``[trajectories]``, without padding and mask.

    Returns:
        A TensorDict of batch size ``[trajectories, longest]``. Shorter ones are padded at their end: tensors with
        zeros, other data with any of the trajectory's. A boolean ``"mask"`` of shape ``[trajectories, longest]`` is
        True where a step stands.

    Raises:
        ValueError: ``td`` has no time dimension, or its steps differ in layout.
        TypeError: both keys are given; with ``as_nested``, an entry is no tensor.
        KeyError: there are neither numbers nor flags, or not where the keys say.

    Examples:
        >>> done = torch.tensor([[False, True, False], [False, False, False]])
        >>> td = TensorDict({"x": torch.arange(1, 7).reshape(2, 3), "next": {"done": done}}, [2, 3])
        >>> rows = split_trajectories(td)
        >>> rows["x"]
        tensor([[1, 2, 0],
                [3, 0, 0],
                [4, 5, 6]])
        >>> rows["x"][rows["mask"]]
        tensor([1, 2, 3, 4, 5, 6])
        >>> [row.tolist() for row in split_trajectories(td, as_nested=True)["x"].unbind()]
        [[1, 2], [3], [4, 5, 6]]
    """
    if not td.ndim:
        raise ValueError("split_trajectories: expected a last batch dimension of time, found batch size []")
    if trajectory_key is not None and done_key is not None:
        raise TypeError("trajectory_key and done_key: expected at most one of them")
    if prefix is None and td.get((COLLECTOR, "traj_ids"), None) is not None:
        prefix = COLLECTOR
    begins = _begins(td, prefix, trajectory_key, done_key).flatten()
    flat = _flat(td)
    first = begins.nonzero().squeeze(-1)
    stops = torch.cat([first, first.new_tensor([len(begins)])])
    return _nested(flat, stops) if as_nested else _padded(flat, stops, _beside(prefix, "mask"))


def _padded(flat: TensorDictBase, stops: torch.Tensor, mask_key: NestedKey) -> TensorDictBase:
    first, lengths = stops[:-1, None], stops.diff()[:, None]
    places = torch.arange(int(lengths.max()) if len(lengths) else 0, device=stops.device)
    mask = places < lengths
    rows: TensorDictBase = flat[torch.where(mask, first + places, first)]

    def blank(values: torch.Tensor) -> torch.Tensor:
        return values.masked_fill_(~mask.reshape((*mask.shape, *(1,) * (values.ndim - 2))), 0)

    rows = rows.apply(blank).set(mask_key, mask)  # type: ignore[union-attr]
    rows.names = [None, "time"]
    return rows


def _nested(flat: TensorDictBase, stops: torch.Tensor) -> TensorDictBase:
    out = TensorDict({}, [len(stops) - 1], device=flat.device)
    for key, values in flat.items(True, True, is_leaf=is_leaf_nontensor):
        if not isinstance(values, torch.Tensor):
            raise TypeError(f"as_nested: expected tensors, found {type(values).__name__} at {key!r}")
        out.set(key, torch.nested.nested_tensor_from_jagged(values, stops))
    return out


def _flat(td: TensorDictBase) -> TensorDictBase:
    try:
        return td.reshape(-1).contiguous()
    except RuntimeError as error:
        raise ValueError("split_trajectories: expected steps of one layout, found entries that differ") from error


def _begins(
    td: TensorDictBase, prefix: NestedKey | None, trajectory_key: NestedKey | None, done_key: NestedKey | None
) -> torch.Tensor:
    """Whether each step is the first one of a trajectory; ``[envs, time]``."""
    numbers = None
    if trajectory_key is not None:
        numbers = _take(td, trajectory_key)
    elif done_key is None:
        numbers = td.get(_beside(prefix, "traj_ids"), None)
    if numbers is not None:
        rows = _rows(td, numbers)
        changes = (rows[:, 1:] != rows[:, :-1]).any(-1)
    else:
        keys = _done_keys(td) if done_key is None else [done_key]
        changes = torch.stack([_rows(td, _take(td, key)).any(-1)[:, :-1] for key in keys]).any(0)
    begins = changes.new_ones((changes.shape[0], td.shape[-1]))
    begins[:, 1:] = changes
    return begins


def _rows(td: TensorDictBase, values: torch.Tensor) -> torch.Tensor:
    """An entry as ``[envs, time, size]``."""
    return values.reshape(td.shape[:-1].numel(), td.shape[-1], values.shape[td.ndim :].numel())


def _done_keys(td: TensorDictBase) -> list[NestedKey]:
    keys = [key for key in td.keys(True, True) if path_of(key)[0] == "next" and path_of(key)[-1] in DONE_NAMES]
    if not keys:
        raise _missing(td, ("next", "done"))
    return keys


def _take(td: TensorDictBase, key: NestedKey) -> torch.Tensor:
    value = td.get(key, None)
    if value is None:
        raise _missing(td, key)
    return value


def _missing(td: TensorDictBase, key: NestedKey) -> KeyError:
    return KeyError(f"split_trajectories: {key!r} is missing; found {sorted(map(str, td.keys(True, True)))}")


def _beside(prefix: NestedKey | None, name: str) -> NestedKey:
    return name if prefix is None else (*path_of(prefix), name)
