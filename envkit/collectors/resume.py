"""What a collector needs to go on where another one stopped, in tensors and plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict, TensorDictBase

from envkit.core.plan import Plan
from envkit.storage import entries

__all__ = ["check_row", "from_plain", "global_random_state", "set_global_random_state", "to_plain"]

PLAIN = (str, int, float, bool, type(None))


def to_plain(value: Any) -> Any:
    """A copy of a TensorDict as nested dicts of tensors on the CPU and plain data; stacks and strings are kept apart.

    Raises:
        TypeError: it holds something else.

    Examples:
        >>> to_plain(TensorDict({"x": torch.zeros(2)}, [2]))
        {'batch_size': [2], 'entries': {'x': tensor([0., 0.])}}
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, NonTensorData):
        if not isinstance(value.data, PLAIN):
            raise TypeError(f"expected tensors and plain data, found {type(value.data).__name__}")
        return {"batch_size": list(value.batch_size), "data": value.data}
    if isinstance(value, LazyStackedTensorDict):
        dim = value.stack_dim
        return {"stack_dim": dim, "elements": [to_plain(element) for element in value.unbind(dim)]}
    if not isinstance(value, TensorDictBase):
        raise TypeError(f"expected tensors and plain data, found {type(value).__name__}")
    return {
        "batch_size": list(value.batch_size),
        "entries": {name: to_plain(entry) for name, entry in entries(value).items()},
    }


def from_plain(plain: Any, device: torch.device | None = None) -> Any:
    """The TensorDict of which ``plain`` is a copy; its tensors are copies again."""
    if isinstance(plain, torch.Tensor):
        return plain.clone() if device is None else plain.to(device, copy=True)
    if "data" in plain:
        return NonTensorData(plain["data"], batch_size=plain["batch_size"], device=device)
    if "elements" in plain:
        elements = [from_plain(element, device) for element in plain["elements"]]
        return LazyStackedTensorDict.lazy_stack(elements, plain["stack_dim"])
    values = {name: from_plain(entry, device) for name, entry in plain["entries"].items()}
    return TensorDict(values, plain["batch_size"], device=device)


def check_row(plan: Plan, row: TensorDictBase) -> None:
    """Checks that an env of ``plan`` can go on from ``row``.

    Raises:
        ValueError: an entry is missing, or of another shape or dtype.
    """
    for key in (*plan.observation_keys, *plan.done_keys, *plan.state_keys):
        leaf = plan.root_spec[key]
        if plan.unequal or leaf.dtype is None or leaf.has_dynamic_shape:
            continue
        value = row.get(key, None)
        if value is None or value.shape != leaf.shape or value.dtype != leaf.dtype:
            found = "nothing" if value is None else f"{value.dtype} of shape {list(value.shape)}"
            raise ValueError(
                f"state of a collector: expected {key!r} to be {leaf.dtype} of shape {list(leaf.shape)}, found {found}"
            )


def global_random_state() -> dict[str, torch.Tensor]:
    """The states of torch's global generators, by device."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state |= {f"cuda:{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    return state


def set_global_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Takes over what :func:`global_random_state` returned."""
    for device, value in state.items():
        if device == "cpu":
            torch.set_rng_state(value)
        else:
            torch.cuda.set_rng_state(value, device)
