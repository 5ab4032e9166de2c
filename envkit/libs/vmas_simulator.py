"""Resets and steps of a VMAS environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

__all__ = ["KeptRows", "advance", "begin", "drawn_on"]


def begin(env: Any, chosen: list[int] | None) -> list[Any]:
    """Starts all episodes, or those of some envs; returns the observations of each agent, in all envs."""
    if chosen is None:
        return _listed(_bare(env, "reset")(env))
    reset_at = _bare(env, "reset_at")
    for index in chosen:
        reset_at(env, index, return_observations=False)
    found = _bare(env, "get_from_scenario")(
        env, get_observations=True, get_rewards=False, get_infos=False, get_dones=False
    )
    return _listed(found[0])


def advance(env: Any, actions: list[torch.Tensor]) -> tuple[list, list, torch.Tensor, torch.Tensor, list]:
    """Steps all envs: observations and rewards of each agent, terminated, truncated, infos of each agent."""
    told = env.terminated_truncated
    env.terminated_truncated = True
    try:
        observations, rewards, terminated, truncated, infos = _bare(env, "step")(env, actions)
    finally:
        env.terminated_truncated = told
    return _listed(observations), _listed(rewards), terminated, truncated, _listed(infos)


def _bare(env: Any, name: str) -> Callable[..., Any]:
    """A method of a simulator as a function, without the decorator that swaps random states shared by all of VMAS."""
    return inspect.unwrap(getattr(type(env), name))


def _listed(values: Any) -> list[Any]:
    """What VMAS tells of each agent, in their order, whether it does so in a list or by their names."""
    return list(values.values()) if isinstance(values, dict) else values


class KeptRows:
    """What a simulator holds of some of its envs, to be put back after a step of all of them."""

    def __init__(self, env: Any, rows: torch.Tensor) -> None:
        self._rows, self._kept = rows, []
        met = {id(env.viewer), id(env.text_lines)}
        for holder, key, tensor in _tensors(vars(env), met):
            if tensor.shape[:1] == rows.shape:
                self._kept.append((holder, key, tensor[rows].clone()))

    def put_back(self) -> None:
        """Puts it back, in place."""
        with torch.no_grad():
            for holder, key, kept in self._kept:
                now = holder[key]
                if not isinstance(now, torch.Tensor) or now.shape[:1] != self._rows.shape:
                    continue
                if now.stride(0) == 0:  # all envs share one number, which cannot be another for some of them
                    now = holder[key] = now.clone()
                now[self._rows] = kept


def _tensors(thing: Any, met: set[int]) -> list[tuple[Any, Any, torch.Tensor]]:
    """Where an object and all that it consists of hold tensors: ``(holder, key, holder[key])``."""
    if id(thing) in met:
        return []
    met.add(id(thing))
    if isinstance(thing, dict):
        items = list(thing.items())
    elif isinstance(thing, (list, tuple)):
        items = list(enumerate(thing))
    elif hasattr(thing, "__dict__") and not isinstance(thing, (type, ModuleType)) and not callable(thing):
        return _tensors(vars(thing), met)
    else:
        return []
    found = []
    for key, value in items:
        found += [(thing, key, value)] if isinstance(value, torch.Tensor) else _tensors(value, met)
    return found


def drawn_on(env: Any, *, shared: bool) -> dict[int, Any]:
    """A memo for ``copy.deepcopy`` by which a copy has the env's canvas, which cannot be copied, or none yet."""
    parts = [part for part in (env.viewer, env.text_lines) if part is not None]
    return {id(part): part if shared else None for part in parts}
