"""A policy and its exploration in one module: the older form of the exploration modules."""

from __future__ import annotations

from typing import Any

from tensordict.nn import TensorDictModuleBase, TensorDictSequential

from agents.exploration.egreedy import EGreedyModule
from agents.exploration.gaussian import AdditiveGaussianModule
from agents.exploration.ornstein_uhlenbeck import OrnsteinUhlenbeckProcessModule

__all__ = ["AdditiveGaussianWrapper", "EGreedyWrapper", "OrnsteinUhlenbeckProcessWrapper"]

Annealed = EGreedyModule | AdditiveGaussianModule | OrnsteinUhlenbeckProcessModule


class _Wrapper(TensorDictSequential):
    def __init__(self, kind: type[Annealed], policy: TensorDictModuleBase, spec: Any, options: dict[str, Any]) -> None:
        exploration = kind(getattr(policy, "spec", None) if spec is None else spec, **options)
        super().__init__(policy, exploration)

    @property
    def td_module(self) -> Any:
        """The policy."""
        return self.module[0]

    @property
    def exploration(self) -> Any:
        """The module that explores."""
        return self.module[1]

    def step(self, frames: int = 1) -> None:
        """Lower the exploration by ``frames`` steps."""
        self.exploration.step(frames)


class EGreedyWrapper(_Wrapper):
    """``TensorDictSequential(policy, EGreedyModule(spec, ...))``.

    Args:
        policy: the policy.
        spec: spec of the action; by default that of the policy.
        **options: the other arguments of :class:`EGreedyModule`.

    Example:
        >>> from agents import MLP, QValueActor
        >>> from envkit import Categorical
        >>> policy = EGreedyWrapper(QValueActor(MLP(3, 4), spec=Categorical(4)), eps_init=0.5)
        >>> policy.exploration.eps
        0.5
    """

    def __init__(self, policy: TensorDictModuleBase, spec: Any = None, **options: Any) -> None:
        super().__init__(EGreedyModule, policy, spec, options)


class AdditiveGaussianWrapper(_Wrapper):
    """``TensorDictSequential(policy, AdditiveGaussianModule(spec, ...))``.

    Args:
        policy: the policy.
        spec: spec of the action; by default that of the policy.
        **options: the other arguments of :class:`AdditiveGaussianModule`.

    Example:
        >>> from agents import MLP, Actor
        >>> from envkit import Bounded
        >>> policy = AdditiveGaussianWrapper(Actor(MLP(3, 1), spec=Bounded(-1.0, 1.0, shape=(1,))), sigma_init=0.5)
        >>> policy.exploration.sigma
        0.5
    """

    def __init__(self, policy: TensorDictModuleBase, spec: Any = None, **options: Any) -> None:
        super().__init__(AdditiveGaussianModule, policy, spec, options)


class OrnsteinUhlenbeckProcessWrapper(_Wrapper):
    """``TensorDictSequential(policy, OrnsteinUhlenbeckProcessModule(spec, ...))``.

    Args:
        policy: the policy.
        spec: spec of the action; by default that of the policy.
        **options: the other arguments of :class:`OrnsteinUhlenbeckProcessModule`.

    Example:
        >>> from agents import MLP, Actor
        >>> from envkit import Bounded
        >>> policy = OrnsteinUhlenbeckProcessWrapper(Actor(MLP(3, 1), spec=Bounded(-1.0, 1.0, shape=(1,))))
        >>> policy.in_keys
        ['observation', 'is_init']
    """

    def __init__(self, policy: TensorDictModuleBase, spec: Any = None, **options: Any) -> None:
        super().__init__(OrnsteinUhlenbeckProcessModule, policy, spec, options)
