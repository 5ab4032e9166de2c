"""Games with several lives."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.masks import Masks
from envkit.errors import SpecError
from envkit.specs import Categorical, Composite, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.rows import Columns, RowForm

__all__ = ["EndOfLifeTransform"]


class EndOfLifeTransform(Transform):
    """Marks the steps at which a life was lost.

    Episodes go on: the mark is for losses and advantages, which take it for the end of an episode if they are told to
    (:meth:`register_keys`). The number of lives is an observation of the env (read from its infos, say), or is asked of
    the simulator of a single env.

    Args:
        eol_key: the mark, a boolean shaped like the done flag.
        lives_key: the number of lives; an observation of this name is used, otherwise it is added, as an int64.
        done_key: the done flag that the mark is shaped like.
        eol_attribute: where the env has the number, or a method that returns it.

    Raises:
        SpecError: the number is no observation of a batch of envs, or the env has no such attribute.

    Examples:
        >>> import gymnasium
        >>> from envkit import GymWrapper, TransformedEnv
        >>> class Cat(gymnasium.Env):
        ...     observation_space, action_space = gymnasium.spaces.Discrete(10), gymnasium.spaces.Discrete(2)
        ...     lives = 9
        ...     def reset(self, *, seed=None, options=None):
        ...         self.lives = 9
        ...         return self.lives, {}
        ...     def step(self, action):
        ...         self.lives -= int(action)
        ...         return self.lives, 0.0, self.lives == 0, False, {}
        >>> env = TransformedEnv(GymWrapper(Cat()), EndOfLifeTransform(eol_attribute="lives"))
        >>> data = env.rollout(4)
        >>> torch.equal(data["next", "end-of-life"].squeeze(-1), data["action"] == 1)
        True
    """

    env_only = "EndOfLifeTransform asks an env for its lives; stored data already has its marks"

    def __init__(
        self,
        eol_key: NestedKey = "end-of-life",
        lives_key: NestedKey = "lives",
        done_key: NestedKey = "done",
        eol_attribute: str = "unwrapped.ale.lives",
    ) -> None:
        super().__init__()
        self.eol_key, self.lives_key, self.done_key, self.eol_attribute = eol_key, lives_key, done_key, eol_attribute
        self._ask: Callable[[], int] | None = None

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The lives."""
        return [self.lives_key]

    def register_keys(self, *modules: Any) -> None:
        """Has losses, or modules that compute advantages, take the loss of a life for the end of an episode."""
        for module in modules:
            module.set_keys(done=self.eol_key, terminated=self.eol_key)

    def _count(self, tensordict: TensorDictBase) -> torch.Tensor:
        """The lives, which are written if it is this transform that knows them."""
        if self._ask is not None:
            done = tensordict.get(self.done_key)
            tensordict.set(self.lives_key, torch.full_like(done, self._ask(), dtype=torch.int64))
        return self._take(tensordict, self.lives_key)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        lost = self._count(next_tensordict) < self._take(tensordict, self.lives_key)
        return next_tensordict.set(self.eol_key, lost.reshape(next_tensordict.get(self.done_key).shape))

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        self._count(tensordict_reset)
        return tensordict_reset.set(self.eol_key, torch.zeros_like(tensordict_reset.get(self.done_key)))

    def _bind_rows(self, columns: Columns) -> RowForm:
        before, after = columns.stepped[self.lives_key], columns.following.outer[self.lives_key]
        first, starts = columns.root.outer[self.lives_key], columns.root.outer[self.eol_key]
        marks, ask = columns.following.outer[self.eol_key], self._ask
        shape = marks.shape[1:]

        def step(row: int) -> None:
            if ask is not None:
                after[row] = ask()
            marks[row] = (after[row] < before[row]).reshape(shape)

        def reset(row: int, masks: Masks | None) -> None:
            if ask is not None:
                first[row] = ask()
            starts[row] = False

        return RowForm(step, reset)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the mark, and the number of lives if it is not there."""
        specs = super().transform_specs(specs)
        observation, flag = specs["observation"].clone(), specs["done"][self.done_key]
        self._ask = None
        if self.lives_key not in observation.keys(True, True):
            if specs["observation"].shape:
                raise SpecError(
                    f"EndOfLifeTransform: expected an observation {self.lives_key!r} of a batch of envs, found "
                    f"{sorted(map(str, observation.keys(True, True)))}; transform the envs before they become a batch"
                )
            self._ask = self._asking()
            observation[self.lives_key] = Unbounded(flag.shape, dtype=torch.int64, device=flag.device)
        observation[self.eol_key] = Categorical(2, flag.shape, dtype=torch.bool, device=flag.device)
        return {**specs, "observation": observation}

    def _asking(self) -> Callable[[], int] | None:
        """A function that asks the env inside; None outside of any."""
        if self.container is None:
            return None
        env, attribute = self.container.base_env, attrgetter(self.eol_attribute)
        try:
            return attribute(env) if callable(attribute(env)) else lambda: attribute(env)
        except AttributeError as error:
            raise SpecError(
                f"EndOfLifeTransform: expected an env with the attribute {self.eol_attribute!r}, found {env}"
            ) from error
