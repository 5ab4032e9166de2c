"""Entries of single agents, and the TensorDicts of groups that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase

from envkit.errors import EnvDataError, PolicyError
from envkit.specs import Composite, StackedComposite, TensorSpec
from envkit.storage import peek, unchecked

__all__ = ["Entries", "GroupedAgents", "Path", "flat"]

Path = tuple[str, ...]
Entries = dict[Path, torch.Tensor]
"""What belongs to one agent, by paths below its group."""


class GroupedAgents:
    """Translates between what each agent has, in the simulator's order, and what groups of them have.

    The data of a group whose agents differ is a lazy stack.

    Args:
        names: the names of the agents, in the simulator's order.
        group_map: the agents of each group.

    Examples:
        >>> from envkit.specs import Unbounded
        >>> teams = GroupedAgents(["a", "b", "c"], {"red": ["c", "a"], "blue": ["b"]})
        >>> teams.specs([{("reward",): Unbounded((1,))}] * 3)["red"].shape
        torch.Size([2])
        >>> rewards = [{("reward",): torch.full((4, 1), i)} for i in range(3)]
        >>> teams.packed(rewards, {}, torch.Size([4]), None)["red", "reward"][0]
        tensor([[2],
                [0]])
    """

    def __init__(self, names: Sequence[str], group_map: Mapping[str, Sequence[str]]) -> None:
        self.names, self.group_map = list(names), group_map
        self._members = {group: [self.names.index(name) for name in own] for group, own in group_map.items()}
        self.differ = dict.fromkeys(group_map, False)
        """Of each group, whether its agents differ: known once their specs are."""

    def specs(self, agents: Sequence[Mapping[Path, TensorSpec]]) -> Composite:
        """The specs of one role, by groups, from those of each agent's entries."""
        out = Composite()
        for group, members in self._members.items():
            parts: Any = [_composite(agents[index]) for index in members]
            out[group] = torch.stack(parts)
            self.differ[group] |= isinstance(out[group], StackedComposite)
        return out

    def packed(
        self, agents: Sequence[Entries], shared: Mapping[str, Any], size: torch.Size, device: torch.device | None
    ) -> TensorDictBase:
        """A TensorDict of batch size ``size`` of the entries of all agents, by groups, and of those they share.

        Raises:
            EnvDataError: agents that do not differ by their specs have other entries.
        """
        made = {**shared}
        for group, members in self._members.items():
            own = [agents[index] for index in members]
            if self.differ[group]:
                parts = [_nested(entries, size, device) for entries in own]
                made[group] = LazyStackedTensorDict.lazy_stack(parts, len(size))
                continue
            for name, entries in zip(self.group_map[group], own, strict=True):
                if entries.keys() != own[0].keys():
                    raise EnvDataError(
                        f"{name!r} in {group!r}: expected the entries {sorted(own[0])}, found {sorted(entries)}"
                    )
            stacked = {path: torch.stack([entries[path] for entries in own], len(size)) for path in own[0]}
            made[group] = _nested(stacked, torch.Size((*size, len(own))), device)
        return unchecked(made, size, device)

    def actions(self, tensordict: TensorDictBase) -> list[torch.Tensor]:
        """The ``"action"`` of each agent.

        Raises:
            PolicyError: it is missing from a group.
        """
        out: list[Any] = [None] * len(self.names)
        dim = tensordict.batch_dims
        for group, members in self._members.items():
            inner = peek(tensordict, group)
            if inner is not None and self.differ[group]:
                found = [agent.get("action", None) for agent in inner.unbind(dim)]
            else:
                action = None if inner is None else peek(inner, "action")
                found = [None] if action is None else list(action.unbind(dim))
            if any(action is None for action in found):
                keys = sorted(map(str, tensordict.keys(True, True)))
                raise PolicyError(f"{(group, 'action')} is missing from the input of a step: found {keys}")
            for index, action in zip(members, found, strict=True):
                out[index] = action
        return out


def flat(value: Any, path: Path) -> Entries:
    """The tensors of an entry at ``path``, a tensor or a mapping of mappings.

    Examples:
        >>> flat({"near": torch.zeros(2), "far": {"left": torch.ones(2)}}, ("observation",)).keys()
        dict_keys([('observation', 'near'), ('observation', 'far', 'left')])
    """
    if isinstance(value, torch.Tensor):
        return {path: value}
    return {place: leaf for name, part in value.items() for place, leaf in flat(part, (*path, name)).items()}


def _nested(entries: Mapping[Path, Any], size: torch.Size, device: torch.device | None) -> TensorDictBase:
    leaves, below = _by_name(entries)
    return unchecked({**leaves, **{name: _nested(part, size, device) for name, part in below.items()}}, size, device)


def _composite(entries: Mapping[Path, TensorSpec]) -> Composite:
    leaves, below = _by_name(entries)
    return Composite({**leaves, **{name: _composite(part) for name, part in below.items()}})


def _by_name(entries: Mapping[Path, Any]) -> tuple[dict[str, Any], dict[str, dict[Path, Any]]]:
    """Entries of this level by their names, and those of the levels below."""
    leaves: dict[str, Any] = {}
    below: dict[str, dict[Path, Any]] = {}
    for (name, *rest), value in entries.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = value
        else:
            leaves[name] = value
    return leaves, below
