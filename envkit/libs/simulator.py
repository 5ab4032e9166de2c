"""What envs around a simulator that is no Gymnasium env have in common."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import MissingDependencyError
from envkit.libs.attributes import ForwardsAttributes

__all__ = ["SimulatorEnv", "import_simulator", "legal_action"]


class SimulatorEnv(ForwardsAttributes, EnvBase):
    """Base of envs around a simulator ``self._env``, which they close, and whose attributes are theirs as well.

    A subclass sets, where it has them:

    - ``_masks``: the key of the mask in the data for each action that has one, which random actions then follow, and
      a method ``_allowed(mask_key)``, the mask as the simulator stands, for data without it (None before a reset);
    - ``_make``: a function that makes the simulator from a seed. Simulators of this kind take their seed when they are
      made, so :meth:`~envkit.EnvBase.set_seed` has the next reset make a new one.
    """

    _env: Any
    _masks: Mapping[NestedKey, NestedKey] = {}
    _make: Callable[[int], Any] | None = None
    _seed: int | None = None

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None and self._make is None:
            raise NotImplementedError(
                f"{type(self).__name__}: expected an env that makes its simulator, which takes a seed only when it is "
                f"made; found one around a simulator that was made before"
            )
        self._seed = seed

    def _take_seed(self) -> None:
        """Makes a new simulator if a seed was set since the last reset."""
        seed, self._seed = self._seed, None
        if seed is not None and self._make is not None:
            self._env.close()
            self._env = self._make(seed)

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes random actions, allowed ones where there is a mask. See :class:`~envkit.EnvBase`."""
        out = super().rand_action(tensordict)
        for key, mask_key in self._masks.items():
            mask = out.get(mask_key, None)
            if mask is None:
                mask = self._allowed(mask_key)
            if mask is not None:
                out.set(key, legal_action(self.full_action_spec[key], mask, self._runtime.generator))
        return out

    def _allowed(self, mask_key: NestedKey) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has masks, and defines no _allowed")

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`; False if there are action masks."""
        return type(self).rand_action is SimulatorEnv.rand_action and not self._masks

    def render(self) -> Any:
        """What the simulator renders."""
        return self._env.render()

    def close(self) -> None:
        """Closes the simulator, once."""
        if not self.is_closed and hasattr(self._env, "close"):
            self._env.close()
        super().close()


def legal_action(spec: Any, mask: Any, generator: torch.Generator | None) -> torch.Tensor:
    """A random action of a spec, one that ``mask`` (bool, ``[*shape, actions]``) allows."""
    allowed = spec.clone()
    allowed.update_mask(mask)
    return allowed.rand(generator=generator)


def import_simulator(module: str, name: str, install: str) -> ModuleType:
    """A module of a simulator.

    Args:
        module: the module.
        name: what the simulator is called.
        install: how it is installed.

    Raises:
        MissingDependencyError: it is not installed.

    Examples:
        >>> import_simulator("os.path", "OS", "`pip install os`").__name__
        'posixpath'
        >>> import_simulator("starcraft3", "StarCraft III", "`pip install starcraft3`")
        Traceback (most recent call last):
        ...
        envkit.errors.MissingDependencyError: StarCraft III is not installed: expected `pip install starcraft3`
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{name} is not installed: expected {install}") from error
