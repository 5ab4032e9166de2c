"""What modules that change an action for exploration have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from envkit import Composite, ExplorationType, TensorSpec, exploration_type
from envkit.core.inlined import Entries
from envkit.errors import PolicyError

__all__ = ["ExplorationModule", "set_exploration_modules_spec_from_env"]


class ExplorationModule(TensorDictModuleBase, ABC):
    """Changes the action that a policy wrote; only while the exploration type is ``RANDOM``.

    It stands behind the policy in a :class:`TensorDictSequential`. Collectors set ``RANDOM`` by themselves, elsewhere
    ``set_exploration_type(ExplorationType.RANDOM)`` does. With any other type, or none, the action stays as it is.

    Args:
        spec: spec of the action, or of all actions (a Composite with ``action_key``). It may be set later, see
            :func:`set_exploration_modules_spec_from_env`.
        action_key: the action.
        other_keys: further entries to read, and what each is, in words.
        generator: source of the random numbers; torch's global one by default. The state of a given one is part of
            the ``state_dict``. Workers of a collector hold copies of the module, which would all draw the same.
    """

    def __init__(
        self,
        spec: TensorSpec | None = None,
        *,
        action_key: NestedKey = "action",
        other_keys: Mapping[NestedKey, str] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.action_key = unravel_key(action_key)
        self._inputs = {self.action_key: "the action of a policy that comes first"}
        self._inputs |= {unravel_key(key): words for key, words in (other_keys or {}).items()}
        self.in_keys = list(self._inputs)
        self.out_keys = [self.action_key]
        self.generator = generator
        self._leaf: Any = None
        if spec is not None:
            self.set_spec(spec)

    @property
    def spec(self) -> TensorSpec | None:
        """The spec of the action."""
        return self._leaf

    def set_spec(self, spec: TensorSpec) -> None:
        """Take the spec of the action from ``spec``, that leaf or a Composite which holds it.

        Raises:
            PolicyError: if a Composite has no entry ``action_key``.
        """
        leaf = spec.get(self.action_key, None) if isinstance(spec, Composite) else spec
        if leaf is None:
            raise PolicyError(
                f"{type(self).__name__}: expected a spec of the action at key {self.action_key!r}, found {spec}"
            )
        self._leaf = leaf

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Replace the action in ``tensordict``, if it is to explore, and return ``tensordict``.

        Raises:
            PolicyError: if the spec, the action or another entry is missing, or the action is not of the spec's shape.
        """
        if exploration_type() is ExplorationType.RANDOM:
            values = [self._entry(tensordict, key, words) for key, words in self._inputs.items()]
            tensordict.set(self.action_key, self._explore(*values))
        return tensordict

    def on_entries(self, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
        """The same on a dict of entries; see ``on_entries`` in ``envkit/core/inlined.py``."""
        if not set(given).issuperset(self.in_keys):
            return None

        def run(entries: Entries) -> None:
            if exploration_type() is ExplorationType.RANDOM:
                entries[self.action_key] = self._explore(*[entries[key] for key in self.in_keys])

        return run

    @abstractmethod
    def _explore(self, action: Tensor, *others: Tensor) -> Tensor:
        """The action to take instead of ``action``, given the entries at the other keys."""

    def _entry(self, tensordict: TensorDictBase, key: NestedKey, what: str) -> Tensor:
        value = tensordict.get(key, None)
        if value is None:
            found = sorted(map(str, tensordict.keys(include_nested=True, leaves_only=True)))
            raise PolicyError(f"{type(self).__name__}: expected {what} at key {key!r}, found keys {found}")
        return value

    def _leading(self, action: Tensor) -> torch.Size:
        """The dimensions of ``action`` that come before those of the spec."""
        if self._leaf is None:
            raise PolicyError(f"{type(self).__name__}: expected a spec of the action, found none; see set_spec")
        shape = self._leaf.shape
        leading = action.shape[: action.ndim - len(shape)]
        if (*leading, *shape) != tuple(action.shape):
            raise PolicyError(
                f"{type(self).__name__}: {self.action_key!r}: expected shape [..., {', '.join(map(str, shape))}], "
                f"found {list(action.shape)}"
            )
        return leading

    def get_extra_state(self) -> Tensor:
        """The state of the generator, uint8; empty without one of its own."""
        return torch.empty(0, dtype=torch.uint8) if self.generator is None else self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from a state of the generator."""
        if self.generator is not None and state.numel():
            self.generator.set_state(state)


def set_exploration_modules_spec_from_env(policy: nn.Module, env: Any) -> None:
    """Give each exploration module within ``policy`` the spec of its action in ``env``.

    Raises:
        PolicyError: if ``env`` has no action of such a key.

    Example:
        >>> from agents import MLP, AdditiveGaussianModule, Actor, TensorDictSequential
        >>> from envkit import GymEnv
        >>> policy = TensorDictSequential(Actor(MLP(3, 1)), AdditiveGaussianModule())
        >>> set_exploration_modules_spec_from_env(policy, GymEnv("Pendulum-v1"))
        >>> policy[1].spec.shape
        torch.Size([1])
    """
    for module in policy.modules():
        if isinstance(module, ExplorationModule):
            module.set_spec(env.full_action_spec)
