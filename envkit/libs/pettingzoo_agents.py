"""The agents of a PettingZoo env: what they see, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from envkit.errors import EnvDataError, SpecError, UnsupportedSpaceError
from envkit.libs.info import infer_info_spec
from envkit.specs import Binary, Categorical, Composite, TensorSpec, Unbounded, spec_from_space

__all__ = ["Agent", "action_mask", "described", "state_spec"]


class Agent(NamedTuple):
    """One agent, and where its data is.

    Attributes:
        name: what the simulator calls it.
        group: its group.
        place: its number there.
        observation: what the simulator's observations of it look like, without an action mask.
        named: whether they are dictionaries, whose entries have names of their own.
        allowed: the shape of its action mask; None if it has none.
        action: what its actions look like.
        info: the entries of its info that are read.
    """

    name: str
    group: str
    place: int
    observation: TensorSpec
    named: bool
    allowed: tuple[int, ...] | None
    action: TensorSpec
    info: Composite

    def seen(self, *, with_mask: bool) -> Composite:
        """The specs of all that is observed of it."""
        out: Any = self.observation.clone() if self.named else Composite(observation=self.observation.clone())
        taken = [name for name in ("mask", "action_mask", "info") if name in out]
        if taken:
            raise SpecError(
                f"observations of {self.name!r}: expected other names than {taken}, which have a meaning here"
            )
        if self.allowed is not None:
            out["action_mask"] = Binary(None, self.allowed, dtype=torch.bool)
        if with_mask:
            out["mask"] = Categorical(2, (), dtype=torch.bool)
        if not self.info.is_empty(recurse=True):
            out["info"] = self.info.clone()
        return out


def described(
    env: Any, groups: Mapping[str, Sequence[str]], one_hot: bool, infos: Mapping[str, Mapping[str, Any]]
) -> list[Agent]:
    """All agents, by their spaces and by what they are told at the beginning.

    Args:
        env: the PettingZoo env.
        groups: the agents of each group.
        one_hot: whether discrete actions are one-hot vectors.
        infos: the infos that came with a reset, by agent.
    """
    agents = []
    for group, members in groups.items():
        told = [dict(infos[name]) for name in members if name in infos]
        read = infer_info_spec([{key: value for key, value in info.items() if key != "action_mask"} for info in told])
        for place, name in enumerate(members):
            agents.append(_by_spaces(env, name, group, place, one_hot, infos.get(name, {}), read))
    return agents


def _by_spaces(
    env: Any, name: str, group: str, place: int, one_hot: bool, info: Mapping[str, Any], read: Composite
) -> Agent:
    space = env.observation_space(name)
    seen: Any = spec_from_space(space)
    act = spec_from_space(env.action_space(name), one_hot=one_hot)
    for what, spec in (("observation", seen), ("action", act)):
        leaves = spec.values(True, True) if isinstance(spec, Composite) else [spec]
        if any(leaf.dtype is None for leaf in leaves):
            raise UnsupportedSpaceError(f"{what} of {name!r}: expected a space of numbers, found {spec}")
    named, allowed = isinstance(space, spaces.Dict), None
    if named and "action_mask" in space.spaces:
        allowed = tuple(seen["action_mask"].shape)
        del seen["action_mask"]
    elif "action_mask" in info:
        allowed = np.shape(info["action_mask"])
    return Agent(name, group, place, seen, named, allowed, act, read)


def action_mask(agent: Agent, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
    """Which of its actions an agent is allowed; all of them, where the simulator says nothing or allows nothing.

    It does so for agents whose turn it is not, and distributions over actions must be proper for them, too.

    Raises:
        EnvDataError: the simulator's mask has another shape than at first.
    """
    inside = agent.named and observation is not None and "action_mask" in observation
    given = observation["action_mask"] if inside else info.get("action_mask")
    found = np.ones(agent.allowed or (), bool) if given is None else np.asarray(given, bool)
    if found.shape != agent.allowed:
        raise EnvDataError(
            f"{(agent.group, 'action_mask')} of {agent.name!r}: expected shape {list(agent.allowed or ())}, found "
            f"{list(found.shape)}"
        )
    return found if found.any() else np.ones_like(found)


def state_spec(env: Any) -> TensorSpec:
    """The spec of the state of an env that has been reset.

    Raises:
        ValueError: the env has no state.
    """
    try:
        state = env.state()
    except (NotImplementedError, AttributeError) as error:
        raise ValueError(f"return_state: expected an env with a state(), found {env}, which has none") from error
    space = getattr(env, "state_space", None)
    return spec_from_space(space) if space is not None else Unbounded(state.shape, dtype=torch.as_tensor(state).dtype)
