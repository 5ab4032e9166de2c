"""TensorDict modules that keep what they write within specs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
    dispatch,
)
from torch import nn

from envkit.specs import Composite, TensorSpec

__all__ = [
    "SafeModule",
    "SafeProbabilisticModule",
    "SafeProbabilisticTensorDictSequential",
    "SafeSequential",
]


class SafeModule(TensorDictModule):
    """A :class:`TensorDictModule` that knows the specs of its outputs, and projects these into them if asked.

    Args:
        module: callable from the entries at ``in_keys`` to those at ``out_keys``.
        in_keys: entries to read.
        out_keys: entries to write.
        spec: spec of the first output, or a Composite with those of some outputs.
        safe: whether outputs are projected into their specs.

    Raises:
        ValueError: if ``safe`` is set without a ``spec``, or ``spec`` has a key that is not written.

    Example:
        >>> import torch
        >>> from envkit import Bounded
        >>> from tensordict import TensorDict
        >>> spec = Bounded(-torch.ones(3), torch.ones(3))
        >>> module = SafeModule(torch.nn.Linear(5, 3), spec=spec, in_keys=["obs"], out_keys=["action"], safe=True)
        >>> action = module(TensorDict({"obs": torch.randn(5) * 100}))["action"]
        >>> spec.is_in(action)
        True
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | Mapping[str, NestedKey],
        out_keys: Sequence[NestedKey],
        spec: TensorSpec | None = None,
        safe: bool = False,
    ) -> None:
        super().__init__(module, _plain(in_keys), list(out_keys))
        self.spec, self.safe = _checked(self, self.out_keys, spec, safe), safe

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase, *args: Any, **kwargs: Any) -> TensorDictBase:
        """Write the outputs into ``tensordict`` and return it."""
        written = super().forward(tensordict, *args, **kwargs)
        return _project(written, self.spec) if self.safe else written


class SafeProbabilisticModule(ProbabilisticTensorDictModule):
    """A :class:`ProbabilisticTensorDictModule` that knows the spec of its sample, and projects it if asked.

    Args:
        in_keys: entries with the parameters of the distribution.
        out_keys: the sample, and whatever else is written.
        spec: spec of the first output, or a Composite with those of some outputs.
        safe: whether outputs are projected into their specs.
        default_interaction_type: how the value is taken where no interaction type is set.
        distribution_class: the distribution.
        **kwargs: further arguments of :class:`ProbabilisticTensorDictModule`.

    Raises:
        ValueError: if ``safe`` is set without a ``spec``, or ``spec`` has a key that is not written.

    Example:
        >>> import torch
        >>> from agents import Delta
        >>> from envkit import Bounded
        >>> from tensordict import TensorDict
        >>> module = SafeProbabilisticModule(
        ...     ["param"], ["action"], spec=Bounded(-1.0, 1.0, shape=(1,)), safe=True, distribution_class=Delta
        ... )
        >>> module(TensorDict({"param": torch.tensor([5.0])}))["action"]
        tensor([1.])
    """

    def __init__(
        self,
        in_keys: NestedKey | Sequence[NestedKey] | Mapping[str, NestedKey],
        out_keys: NestedKey | Sequence[NestedKey] | None = None,
        spec: TensorSpec | None = None,
        safe: bool = False,
        default_interaction_type: InteractionType | str = InteractionType.DETERMINISTIC,
        **kwargs: Any,
    ) -> None:
        if isinstance(default_interaction_type, str):
            default_interaction_type = InteractionType(default_interaction_type)
        super().__init__(_plain(in_keys), _plain(out_keys), default_interaction_type=default_interaction_type, **kwargs)
        self.spec, self.safe = _checked(self, self.out_keys, spec, safe), safe

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase, *args: Any, **kwargs: Any) -> TensorDictBase:
        """Write the sample into ``tensordict`` and return it."""
        written = super().forward(tensordict, *args, **kwargs)
        return _project(written, self.spec) if self.safe else written


class SafeSequential(TensorDictSequential):
    """A :class:`TensorDictSequential` that knows the specs of its modules.

    Args:
        *modules: TensorDict modules, of which some may be safe.

    Example:
        >>> import torch
        >>> from envkit import Bounded
        >>> first = SafeModule(torch.nn.Linear(3, 2), ["a"], ["b"], spec=Bounded(-1.0, 1.0, shape=(2,)))
        >>> second = SafeModule(torch.nn.Linear(2, 1), ["b"], ["c"])
        >>> list(SafeSequential(first, second).spec.keys())
        ['b']
    """

    @property
    def spec(self) -> Composite:
        """The specs of the outputs, as far as modules have some; of two for a key the later."""
        return _joined(self.module)


class SafeProbabilisticTensorDictSequential(ProbabilisticTensorDictSequential):
    """A :class:`ProbabilisticTensorDictSequential` that knows the specs of its modules.

    Args:
        *modules: TensorDict modules, of which the last is probabilistic.

    Example:
        >>> import torch
        >>> from agents import IndependentNormal, MLP, NormalParamExtractor
        >>> from envkit import Bounded
        >>> from tensordict import TensorDict
        >>> net = torch.nn.Sequential(MLP(3, 2), NormalParamExtractor())
        >>> spec = Bounded(-0.1, 0.1, shape=(1,))
        >>> policy = SafeProbabilisticTensorDictSequential(
        ...     SafeModule(net, ["observation"], ["loc", "scale"]),
        ...     SafeProbabilisticModule(
        ...         ["loc", "scale"], ["action"], spec, safe=True, distribution_class=IndependentNormal
        ...     ),
        ... )
        >>> spec.is_in(policy(TensorDict({"observation": torch.randn(5, 3)}, [5]))["action"])
        True
    """

    @property
    def spec(self) -> Composite:
        """The specs of the outputs, as far as modules have some; of two for a key the later."""
        return _joined(self.module)


def _plain(keys: Any) -> Any:
    """``keys`` in the types that TensorDict modules take."""
    if isinstance(keys, Mapping):
        return dict(keys)
    return list(keys) if isinstance(keys, Sequence) and not isinstance(keys, str | tuple) else keys


def _checked(module: object, out_keys: Sequence[NestedKey], spec: TensorSpec | None, safe: bool) -> Composite | None:
    """``spec`` as a Composite of written keys."""
    owner = type(module).__name__
    if spec is None:
        if safe:
            raise ValueError(f"{owner}: safe=True projects outputs into a spec, found spec=None")
        return None
    if not isinstance(spec, Composite):
        return Composite({out_keys[0]: spec})
    written = {unravel_key(key) for key in out_keys}
    unknown = [key for key in spec.keys(True, True) if unravel_key(key) not in written]
    if unknown:
        raise ValueError(f"{owner}: spec: expected keys among {list(out_keys)}, found {unknown}")
    return spec


def _project(tensordict: TensorDictBase, specs: Any) -> TensorDictBase:
    for key, spec in specs.items(True, True):
        tensordict.set(key, spec.project(tensordict.get(key)))
    return tensordict


def _joined(modules: Iterable[nn.Module]) -> Composite:
    joined = Composite({})
    for module in modules:
        for key, leaf in (getattr(module, "spec", None) or Composite({})).items(True, True):
            joined[key] = leaf
    return joined
