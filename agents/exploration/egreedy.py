"""A random action now and then."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey
from torch import Tensor

from agents.exploration.annealing import LinearAnnealing
from agents.exploration.base import ExplorationModule
from envkit import Categorical, OneHot, TensorSpec
from envkit.errors import PolicyError
from envkit.specs.masks import sample_allowed

__all__ = ["EGreedyModule"]


class EGreedyModule(ExplorationModule):
    """With probability ``eps``, takes a random action of the spec instead.

    This is decided for each action of a batch by itself: for each index of a :class:`~envkit.Categorical`, and for each
    vector (the last dimension) of any other spec.

    Args:
        spec: spec of the action, see :class:`ExplorationModule`.
        eps_init: ``eps`` at first.
        eps_end: ``eps`` at last.
        annealing_num_steps: how many steps :meth:`step` makes from one to the other.
        action_key: the action.
        action_mask_key: boolean entry that says which actions are allowed, shape ``[*batch, n]``; the random ones are
            drawn among those.
        generator: source of the random numbers, see :class:`ExplorationModule`.

    Raises:
        ValueError: if ``eps_init`` or ``eps_end`` is no probability.

    Example:
        >>> import torch
        >>> from agents import MLP, QValueActor, TensorDictSequential
        >>> from envkit import Categorical, ExplorationType, set_exploration_type
        >>> from tensordict import TensorDict
        >>> spec = Categorical(4)
        >>> egreedy = EGreedyModule(spec, eps_init=1.0, eps_end=0.0, annealing_num_steps=1000)
        >>> policy = TensorDictSequential(QValueActor(MLP(3, 4), spec=spec), egreedy)
        >>> egreedy.step(250)
        >>> egreedy.eps
        0.75
        >>> with set_exploration_type(ExplorationType.RANDOM):
        ...     policy(TensorDict({"observation": torch.zeros(5, 3)}, [5]))["action"].shape
        torch.Size([5])
    """

    def __init__(
        self,
        spec: TensorSpec | None = None,
        eps_init: float = 1.0,
        eps_end: float = 0.1,
        annealing_num_steps: int = 1000,
        *,
        action_key: NestedKey = "action",
        action_mask_key: NestedKey | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        for name, value in (("eps_init", eps_init), ("eps_end", eps_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"EGreedyModule: {name}: expected a probability, found {value}")
        others = {} if action_mask_key is None else {action_mask_key: "a mask of the allowed actions"}
        super().__init__(spec, action_key=action_key, other_keys=others, generator=generator)
        self.action_mask_key = action_mask_key
        self.annealing = LinearAnnealing(eps_init, eps_end, annealing_num_steps)

    @property
    def eps(self) -> float:
        """The probability of a random action."""
        return self.annealing.value

    def step(self, frames: int = 1) -> None:
        """Lower ``eps`` by ``frames`` steps; a training loop calls this with the frames of each batch."""
        self.annealing.step(frames)

    def _explore(self, action: Tensor, *others: Tensor) -> Tensor:
        self._leading(action)
        chosen, drawn = self.draw(action, *others)
        if drawn is None:
            return action
        return drawn if chosen is None else torch.where(chosen, drawn, action)

    def draw(self, like: Tensor, *others: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Which actions are random this time, and random actions.

        Args:
            like: an action; of its shape, dtype and device the random ones are, its content does not matter.
            *others: the mask, where there is one.

        Returns:
            A mask that broadcasts to the action, None for all of them; and random actions, None where none is random.
        """
        size = like.shape if isinstance(self._leaf, Categorical) else (*like.shape[:-1], 1)
        chance: Any = torch.rand(size, generator=self.generator, device=like.device)
        eps = self.eps
        if chance.numel() == 1:  # without a mask of one element
            if chance.item() >= eps:
                return None, None
            chance = None
        else:
            chance = chance < eps
            if not chance.any():
                return None, None
        if others:
            return chance, self._allowed(like, *others)
        leading = like.shape[: like.ndim - len(self._leaf.shape)]
        return chance, self._leaf.rand(leading, generator=self.generator)

    def _allowed(self, action: Tensor, mask: Tensor) -> Tensor:
        """Random actions that the mask allows."""
        one_hot = isinstance(self._leaf, OneHot)
        if not one_hot and not isinstance(self._leaf, Categorical):
            raise PolicyError(f"EGreedyModule: expected a Categorical or OneHot action to mask, found {self._leaf}")
        categories = action.shape if one_hot else (*action.shape, self._leaf.n)
        if tuple(mask.shape) != tuple(categories):
            raise PolicyError(
                f"EGreedyModule: {self.action_mask_key!r}: expected shape {list(categories)}, found {list(mask.shape)}"
            )
        index = sample_allowed(mask, mask.shape[:-1], self.generator)
        chosen = torch.nn.functional.one_hot(index, mask.shape[-1]) if one_hot else index
        return chosen.to(action.dtype)
