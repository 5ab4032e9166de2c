"""What losses on TensorDicts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from typing import Any, ClassVar

from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Size, Tensor, nn

from agents.objectives.frozen import frozen_copy
from agents.returns import ValueEstimator, ValueEstimators
from agents.returns.shapes import per_step

__all__ = ["LossModule"]

WITH_LAMBDA = (ValueEstimators.GAE, ValueEstimators.TDLambda)


class LossModule(nn.Module, ABC):
    """Base of losses: modules that read a TensorDict of steps and return one of losses and metrics.

    Entries named ``loss`` or ``loss_*`` have a gradient, coefficients applied, and their sum is to be minimised; all
    others have none. The TensorDict that is read stays as it is, save for what the docstring of a loss says is written.

    A loss that delays a network keeps a frozen copy of it, ``target_<name>``, whose weights are buffers:
    ``parameters()`` does not list them, and :class:`SoftUpdate` or :class:`HardUpdate` moves them.

    Steps that a mask at ``("collector", "mask")`` (see :func:`envkit.split_trajectories`) calls padding count for
    nothing. All numbers per step have the shape ``[*batch]`` or ``[*batch, 1]``; those of several agents ``[*batch,
    agents, 1]``, with which numbers of the former shapes are shared. Any other is refused.
    """

    default_value_estimator: ClassVar[ValueEstimators]
    value_estimators: ClassVar[tuple[ValueEstimators, ...]] = tuple(ValueEstimators)
    default_keys: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.keys = self.default_keys
        # In a tuple, for the estimator may share networks: their parameters are not to be registered twice.
        self._estimator: tuple[ValueEstimator, ...] = ()
        self._delayed: list[str] = []

    @abstractmethod
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return losses and metrics of a TensorDict with at least one batch dimension."""

    @property
    @abstractmethod
    def in_keys(self) -> list[NestedKey]:
        """The entries that a call needs."""

    @property
    def optional_in_keys(self) -> list[NestedKey]:
        """The entries that a call reads where there are any."""
        return [self.keys.mask]

    # ------------------------------------------------------------------- keys

    def set_keys(self, **keys: NestedKey) -> None:
        """Rename entries; ``keys`` lists them, with the names they have now.

        Raises:
            TypeError: for a name that is not among them.
        """
        names = {field.name for field in fields(self.keys)}
        if unknown := sorted(set(keys) - names):
            raise TypeError(f"{type(self).__name__}.set_keys: expected names among {sorted(names)}, found {unknown}")
        self.keys = replace(self.keys, **{name: unravel_key(key) for name, key in keys.items()})
        for estimator in self._estimator:
            self._name_entries(estimator)

    def _name_entries(self, estimator: ValueEstimator) -> None:
        known = {field.name for field in fields(estimator.keys)}
        estimator.set_keys(**{name: key for name, key in asdict(self.keys).items() if name in known})

    # -------------------------------------------------------- value estimator

    @property
    def value_estimator(self) -> ValueEstimator | None:
        """What estimates advantages or value targets, if anything does."""
        return self._estimator[0] if self._estimator else None

    def make_value_estimator(self, value_type: ValueEstimators | str | None = None, **hyperparameters: Any) -> None:
        """Choose how advantages or value targets are estimated.

        Args:
            value_type: the kind, ``default_value_estimator`` by default.
            hyperparameters: arguments of its class: ``gamma`` (0.99 by default), ``lmbda`` (0.95), ...

        Raises:
            ValueError: if the kind is unknown, or cannot be used with this loss.
            TypeError: if the class has no such argument.
        """
        kind = self.default_value_estimator if value_type is None else value_type
        if kind not in self.value_estimators:
            names = [str(one) for one in self.value_estimators]
            raise ValueError(f"{type(self).__name__}: expected value_type to be one of {names}, found {str(kind)!r}")
        kind = ValueEstimators(kind)
        defaults = {"gamma": 0.99} | ({"lmbda": 0.95} if kind in WITH_LAMBDA else {})
        if kind is ValueEstimators.VTrace:
            defaults["actor_network"] = self.actor_network  # type: ignore[assignment]
        estimator = kind.estimator_class(**defaults | {"value_network": self._baseline()} | hyperparameters)
        self._name_entries(estimator)
        self._estimator = (estimator,)

    def _baseline(self) -> TensorDictModuleBase | None:
        """The network whose values the estimator asks for, of losses that leave that to it."""
        return None

    # --------------------------------------------------------- delayed copies

    def _delay(self, name: str, delay: bool = True) -> None:
        """Keep a frozen copy of the network ``name``, which :meth:`_target` then returns."""
        if delay:
            setattr(self, f"target_{name}", frozen_copy(getattr(self, name), f"{type(self).__name__}: {name}"))
            self._delayed.append(name)

    def _target(self, name: str) -> Any:
        """The delayed copy of the network ``name``, or the network itself where there is none."""
        return getattr(self, f"target_{name}" if name in self._delayed else name)

    def delayed_networks(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Pairs of network and delayed copy."""
        for name in self._delayed:
            yield getattr(self, name), getattr(self, f"target_{name}")

    # ------------------------------------------------------- numbers per step

    def _per_step(self, tensordict: TensorDictBase, key: NestedKey, shape: Size | None = None) -> Tensor:
        return per_step(type(self).__name__, tensordict, key, shape)

    def _value(self, network: TensorDictModuleBase, tensordict: TensorDictBase, key: NestedKey) -> Tensor:
        """What ``network`` writes at ``key`` for the observations in ``tensordict``, ``[*batch, *extra]``."""
        value, batch = network(tensordict.select(*network.in_keys))[key], tensordict.batch_size
        if value.ndim > len(batch) and value.shape[-1] == 1:
            return value.squeeze(-1)
        if value.shape == batch:
            return value
        raise ValueError(
            f"{type(self).__name__}: expected {key!r} of shape [*batch, ..., 1] with batch {list(batch)}, "
            f"found {list(value.shape)}"
        )

    def _valid(self, tensordict: TensorDictBase, *numbers: Tensor) -> list[Tensor]:
        """The numbers of steps that are no padding."""
        if tensordict.get(self.keys.mask, None) is None:
            return list(numbers)
        return [one[self._per_step(tensordict, self.keys.mask, one.shape)] for one in numbers]

    def _mean(self, tensordict: TensorDictBase, loss: Tensor) -> Tensor:
        """The mean of numbers ``[*batch, *extra]`` over steps that are no padding."""
        (loss,) = self._valid(tensordict, loss)
        return loss.mean()


def below_next(keys: Iterable[NestedKey]) -> list[NestedKey]:
    """The keys of the same entries after the steps."""
    return [("next", *key) if isinstance(key, tuple) else ("next", key) for key in keys]


def distinct(*groups: Iterable[NestedKey]) -> list[NestedKey]:
    """All keys of the groups, each once, in order."""
    return list(dict.fromkeys(unravel_key(key) for group in groups for key in group))
