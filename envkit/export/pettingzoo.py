"""PettingZoo, which is optional and imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envkit.core.env import EnvBase

if TYPE_CHECKING:
    from envkit.export.parallel_env import ExportedParallelEnv

__all__ = ["as_pettingzoo"]


def as_pettingzoo(env: EnvBase, group_map: Mapping[str, Sequence[str]] | None = None) -> ExportedParallelEnv:
    """An env with groups of agents for any user of PettingZoo's parallel envs.

    A group is a nested entry with an ``"action"``: ``("agents", "action")`` of shape ``(n, ...)`` for a group of
    ``n`` agents, or without that dimension for a group of one. What stands beside it under ``"observation"`` is what an
    agent observes (a ``Dict``, if there is more, such as an ``"action_mask"``), what stands under ``"info"`` its
    info. Rewards and done flags are the group's, or those at the root, which all agents share; a done flag at the root
    ends the episode for everybody. Entries outside of all groups are :meth:`state`.

    Args:
        env: an env without batch dimensions.
        group_map: the names of the agents in each group; by default the group's name, with a number behind it if it
            has several.

    Raises:
        MissingDependencyError: PettingZoo is not installed.
        SpecError: the env has a batch or no groups, or ``group_map`` does not fit them.
    """
    # Late, because most who import envkit have no use for PettingZoo, or do not have it.
    from envkit.export.parallel_env import ExportedParallelEnv

    return ExportedParallelEnv(env, group_map)
