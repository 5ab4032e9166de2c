"""Modules as transforms."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.function import FunctionTransform

__all__ = ["ModuleTransform"]


class ModuleTransform(FunctionTransform):
    """Runs a module on what comes out of an env, or on what is stored.

    Specs are found when the env is built, by calling the module with zeros. Its parameters are part of the transform's
    state.

    Args:
        module: a module on TensorDicts that says what it reads and writes (``in_keys``, ``out_keys``), such as a
            ``TensorDictModule``.
        inverse: whether it is run on what is written to a replay buffer, and not on what comes out.
        no_grad: whether it is run without gradients.

    Raises:
        SpecError: the env has no such entry, or ``inverse`` is set in an env.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> from tensordict.nn import TensorDictModule
        >>> embed = TensorDictModule(torch.nn.Linear(4, 2), in_keys=["observation"], out_keys=["embedding"])
        >>> TransformedEnv(GymEnv("CartPole-v1"), ModuleTransform(embed)).observation_spec["embedding"].shape
        torch.Size([2])
    """

    def __init__(self, module: nn.Module, *, inverse: bool = False, no_grad: bool = True) -> None:
        if not hasattr(module, "in_keys") or not hasattr(module, "out_keys"):
            raise TypeError(
                f"ModuleTransform: expected a module with in_keys and out_keys, found {type(module).__name__}"
            )
        super().__init__(module)
        self.inverse, self.no_grad = inverse, no_grad
        self.reads: list[NestedKey] = list(module.in_keys)  # type: ignore[arg-type]

    @property
    def invertible(self) -> bool:
        """Whether it acts on what is stored."""
        return self.inverse

    def _run(self, tensordict: TensorDictBase) -> TensorDictBase:
        function: Any = self.function
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.no_grad):
            return function(tensordict)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict if self.inverse else self._run(next_tensordict)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._both(tensordict) if self.inverse else tensordict

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Runs the module on stored data, in place: at the root, and under ``"next"`` if all it reads is there as well.

        Raises:
            KeyError: an entry that it reads is missing.
        """
        return tensordict if self.inverse else self._both(tensordict)

    def _both(self, tensordict: TensorDictBase) -> TensorDictBase:
        for key in self.reads:
            self._take(tensordict, key)
        following = tensordict.get("next", None)
        out = self._run(tensordict)
        if following is not None and all(following.get(key, None) is not None for key in self.reads):
            out.set("next", self._run(following))
        return out

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Finds out what the module does to zeros."""
        if self.inverse:
            raise SpecError("ModuleTransform: expected inverse=False in an env, found True: it concerns what is stored")
        return super().transform_specs(specs)

    def _name(self) -> str:
        return f"ModuleTransform of {type(self.function).__name__}"
