"""Envs around a model of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn

from envkit.core.env import EnvBase
from envkit.core.plan import path_of

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ModelBasedEnvBase"]


class ModelBasedEnvBase(EnvBase):
    """An env whose steps are those of a module that predicts them.

    The module reads the action and states from a TensorDict and writes observations and reward into it, as a
    ``TensorDictModule`` or ``TensorDictSequential`` does. An entry that it both reads and writes, such as a hidden
    state, is declared in ``state_spec`` and in ``observation_spec``. Where it writes no done flags, nothing ever ends.

    A subclass assigns the specs, or takes them from another env by :meth:`set_specs_from_env`, and defines ``_reset``.
    The env has the module's parameters, gradients flow through :meth:`~envkit.EnvBase.step` (rollouts and collectors
    run without), and it goes by the batch size of its input unless it has one of its own.

    Args:
        world_model: from the TensorDict of a step to what follows; a module whose call writes into its input.
        device: device of inputs, outputs and the module.
        batch_size: a batch size of the env's own.

    Examples:
        >>> from tensordict.nn import TensorDictModule, TensorDictSequential
        >>> from envkit import Composite, Unbounded
        >>> class Imagined(ModelBasedEnvBase):
        ...     def __init__(self, world_model):
        ...         super().__init__(world_model)
        ...         self.observation_spec = Composite(hidden=Unbounded((4,)))
        ...         self.state_spec = Composite(hidden=Unbounded((4,)))
        ...         self.action_spec = Unbounded((2,))
        ...     def _reset(self, tensordict=None):
        ...         size = self.batch_size if tensordict is None else tensordict.batch_size
        ...         return TensorDict({"hidden": torch.zeros(*size, 4)}, size)
        >>> class Transition(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = nn.Linear(6, 4)
        ...     def forward(self, hidden, action):
        ...         return self.linear(torch.cat([hidden, action], -1))
        >>> world = TensorDictSequential(
        ...     TensorDictModule(Transition(), in_keys=["hidden", "action"], out_keys=["hidden"]),
        ...     TensorDictModule(nn.Linear(4, 1), in_keys=["hidden"], out_keys=["reward"]),
        ... )
        >>> Imagined(world).rollout(10, tensordict=TensorDict({}, [32])).batch_size
        torch.Size([32, 10])
    """

    batch_locked = False

    def __init__(
        self,
        world_model: nn.Module,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        self.world_model = world_model if self.device is None else world_model.to(self.device)

    def set_specs_from_env(self, env: EnvBase) -> Self:
        """Takes the specs of ``env``: actions, observations, rewards and done flags. Returns self.

        Raises:
            SpecError: its batch size is not the one of this env.
        """
        for name in ("full_action_spec", "observation_spec", "full_reward_spec", "done_spec"):
            setattr(self, name, getattr(env, name).clone())
        return self

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        # A copy without tensors copied: the module writes into what it is given.
        predicted = self.world_model(tensordict.copy())
        plan = self.plan_for(tensordict.batch_size)
        out = TensorDict({}, tensordict.batch_size, device=self.device)
        for key in (*plan.observation_keys, *plan.reward_keys):
            value = predicted.get(key, None)
            if value is not None:
                out.set(key, value)
        for group in plan.done_groups:
            flags = [key for key in (group.done, group.terminated, group.truncated) if key is not None]
            told = [key for key in flags if self._writes(key)]
            for key in told:
                out.set(key, predicted.get(key))
            if not told:
                out.set(group.done, torch.zeros(group.shape, dtype=torch.bool, device=group.device))
        return out

    def _writes(self, key: object) -> bool:
        """Whether the module says that it writes ``key``; the flags that it was given come out of it as well."""
        return path_of(key) in [path_of(out) for out in getattr(self.world_model, "out_keys", [])]  # type: ignore[arg-type]

    def _set_seed(self, seed: int | None) -> None:
        """The module's own random numbers, if it draws any, come from torch's global stream."""
