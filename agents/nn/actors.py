"""Modules that read observations from a TensorDict and write actions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import InteractionType, TensorDictModule, TensorDictModuleBase, dispatch, interaction_type
from torch import Tensor
from torch.distributions import Distribution

from agents.nn.sampling import take_sample
from envkit.core.inlined import Entries, of_module, on_entries
from envkit.errors import PolicyError

__all__ = ["Actor", "ProbabilisticActor"]


class Actor(TensorDictModule):
    """A deterministic policy: reads ``in_keys``, writes ``"action"``.

    Args:
        module: callable from the entries at ``in_keys`` to the action.
        in_keys: entries to read, ``["observation"]`` by default.
        out_keys: entries to write, ``["action"]`` by default.
        spec: spec of the action.
        safe: whether the action is projected into ``spec`` (``spec.project``) before it is written.

    Raises:
        ValueError: if ``safe`` is set without a ``spec``.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> actor = Actor(torch.nn.Linear(3, 1))
        >>> actor(TensorDict({"observation": torch.randn(5, 3)}, [5]))["action"].shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        module: Callable[..., Any],
        in_keys: Sequence[NestedKey] | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        spec: Any = None,
        *,
        safe: bool = False,
    ) -> None:
        super().__init__(
            module,
            in_keys=["observation"] if in_keys is None else list(in_keys),
            out_keys=["action"] if out_keys is None else list(out_keys),
        )
        self.spec = _checked_spec("Actor", spec, safe)
        self.safe = safe

    def forward(self, tensordict: Any, *args: Any, **kwargs: Any) -> Any:
        """Write the action into ``tensordict`` and return it; given tensors, return the action."""
        written = super().forward(tensordict, *args, **kwargs)
        if not self.safe:
            return written
        if isinstance(written, Tensor):
            return self.spec.project(written)
        if isinstance(written, tuple):
            return self.spec.project(written[0]), *written[1:]
        key = self.out_keys[0]
        return written.set(key, self.spec.project(written.get(key)))

    def on_entries(self, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
        """The same on a dict of entries; see ``on_entries`` in ``envkit/core/inlined.py``."""
        inner, key, spec = of_module(self, given), self.out_keys[0], self.spec
        if inner is None or not self.safe:
            return inner

        def run(entries: Entries) -> None:
            inner(entries)
            entries[key] = spec.project(entries[key])

        return run


class ProbabilisticActor(TensorDictModuleBase):
    """A stochastic policy: a module that writes the parameters of a distribution, and a value taken from it.

    A call runs ``module``, builds the distribution from the entries at ``in_keys``, takes a value (by the
    interaction type that :func:`set_interaction_type` set, else by ``default_interaction_type``) and writes
    it, and its log-probability (shape: that of the batch) if asked.

    Args:
        module: a TensorDict module that writes the parameters.
        in_keys: the parameters: entries named like the arguments of ``distribution_class`` (the last part of
            a nested key counts), or a mapping from argument to entry.
        out_keys: where the value goes, ``["action"]`` by default.
        spec: spec of the action.
        safe: whether the action is projected into ``spec`` (``spec.project``) before it is written.
        distribution_class: :mod:`agents.nn.distributions`, :mod:`torch.distributions`, or a function that
            returns such a distribution.
        distribution_kwargs: further arguments of ``distribution_class``, constant over calls.
        return_log_prob: whether the log-probability is written too.
        log_prob_key: where the log-probability goes.
        default_interaction_type: how the value is taken where no interaction type is set.

    Raises:
        TypeError: if ``module`` is no TensorDict module.
        ValueError: if there is not exactly one out key, or ``safe`` is set without a ``spec``.
        PolicyError: on a call, if a parameter is missing or the distribution refuses the arguments.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> from agents.nn import MLP, Categorical
        >>> net = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
        >>> actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
        >>> actor.in_keys, actor.out_keys
        (['observation'], ['logits', 'action', 'sample_log_prob'])
        >>> actor(TensorDict({"observation": torch.randn(8, 4)}, [8]))["sample_log_prob"].shape
        torch.Size([8])
    """

    def __init__(
        self,
        module: TensorDictModuleBase,
        in_keys: NestedKey | Sequence[NestedKey] | Mapping[str, NestedKey],
        out_keys: Sequence[NestedKey] | None = None,
        *,
        spec: Any = None,
        safe: bool = False,
        distribution_class: Callable[..., Distribution],
        distribution_kwargs: Mapping[str, Any] | None = None,
        return_log_prob: bool = False,
        log_prob_key: NestedKey = "sample_log_prob",
        default_interaction_type: InteractionType | str = InteractionType.DETERMINISTIC,
    ) -> None:
        super().__init__()
        if not TensorDictModuleBase.is_tdmodule_compatible(module):
            raise TypeError(
                "ProbabilisticActor: expected a TensorDict module that writes the parameters, found "
                f"{type(module).__name__}; wrap it in TensorDictModule(net, in_keys=[...], out_keys=[...])"
            )
        self.module = module
        self.spec = _checked_spec("ProbabilisticActor", spec, safe)
        self.safe = safe
        self.distribution_class = distribution_class
        self.distribution_kwargs = dict(distribution_kwargs or {})
        self.return_log_prob = return_log_prob
        self.log_prob_key = unravel_key(log_prob_key)
        self.default_interaction_type = InteractionType(default_interaction_type)
        self._parameters_from = _argument_keys(in_keys)
        sample_keys = ["action"] if out_keys is None else [unravel_key(key) for key in out_keys]
        # Pages that list the log-probability among the out keys mean the same.
        sample_keys = [key for key in sample_keys if not (return_log_prob and key == self.log_prob_key)]
        if len(sample_keys) != 1:
            raise ValueError(f"ProbabilisticActor: expected one out key for the action, found {sample_keys}")
        self.action_key = sample_keys[0]
        # Parameters that the module does not write are given, such as a mask of actions.
        read = [*module.in_keys, *(key for key in self.dist_params_keys if key not in module.out_keys)]
        self.in_keys = list(dict.fromkeys(read))
        written = [*module.out_keys, self.action_key, *([self.log_prob_key] if return_log_prob else [])]
        self.out_keys = list(dict.fromkeys(written))

    @property
    def dist_params_keys(self) -> list[NestedKey]:
        """The entries that hold the parameters of the distribution."""
        return [key for _, key in self._parameters_from]

    @dispatch(auto_batch_size=False)
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write parameters, action and, if asked, log-probability into ``tensordict`` and return it."""
        tensordict = self.module(tensordict)
        action, log_prob = self._act(self.build_dist_from_params(tensordict))
        tensordict.set(self.action_key, action)
        if log_prob is not None:
            tensordict.set(self.log_prob_key, log_prob)
        return tensordict

    def on_entries(self, given: Collection[NestedKey]) -> Callable[[Entries], None] | None:
        """The same on a dict of entries; see ``on_entries`` in ``envkit/core/inlined.py``."""
        inner = on_entries(self.module, given)
        own = type(self).build_dist_from_params is ProbabilisticActor.build_dist_from_params
        if inner is None or not own or not {*given, *self.module.out_keys}.issuperset(self.dist_params_keys):
            return None

        def run(entries: Entries) -> None:
            inner(entries)
            action, log_prob = self._act(self._distribution({name: entries[key] for name, key in parameters}, entries))
            entries[action_key] = action
            if log_prob is not None:
                entries[log_prob_key] = log_prob

        parameters, action_key, log_prob_key = self._parameters_from, self.action_key, self.log_prob_key
        return run

    def _act(self, dist: Distribution) -> tuple[Tensor, Tensor | None]:
        """An action, and its log-probability if asked."""
        action = take_sample(dist, interaction_type() or self.default_interaction_type)
        if self.safe:
            action = self.spec.project(action)
        return action, dist.log_prob(action) if self.return_log_prob else None

    def get_dist(self, tensordict: TensorDictBase) -> Distribution:
        """Return the distribution for the observations in ``tensordict``, which stays as it is."""
        return self.build_dist_from_params(self.module(tensordict.select(*self.in_keys)))

    def log_prob(self, tensordict: TensorDictBase) -> Tensor:
        """Return the log-probability of the action in ``tensordict``, shape: that of the batch.

        Raises:
            PolicyError: if there is no action.
        """
        action = tensordict.get(self.action_key, None)
        if action is None:
            raise PolicyError(_missing("an action", self.action_key, tensordict))
        return self.get_dist(tensordict).log_prob(action)

    def build_dist_from_params(self, tensordict: TensorDictBase) -> Distribution:
        """Return the distribution whose parameters are in ``tensordict``.

        Raises:
            PolicyError: if a parameter is missing or the distribution refuses the arguments.
        """
        return self._distribution({name: tensordict.get(key, None) for name, key in self._parameters_from}, tensordict)

    def _distribution(self, arguments: dict[str, Any], entries: TensorDictBase | Entries) -> Distribution:
        try:
            return self.distribution_class(**arguments, **self.distribution_kwargs)
        except Exception as error:
            raise self._explain(arguments, entries, error) from error

    def _explain(self, arguments: dict[str, Any], entries: TensorDictBase | Entries, error: Exception) -> Exception:
        for name, key in self._parameters_from:
            if arguments[name] is None:
                return PolicyError(_missing(f"parameter {name!r} of the distribution", key, entries))
        if isinstance(error, TypeError):
            accepted = getattr(self.distribution_class, "__name__", repr(self.distribution_class))
            given = [*arguments, *self.distribution_kwargs]
            return PolicyError(f"ProbabilisticActor: {accepted} does not accept the arguments {given}: {error}")
        return error


def _argument_keys(
    in_keys: NestedKey | Sequence[NestedKey] | Mapping[str, NestedKey],
) -> list[tuple[str, NestedKey]]:
    """Pairs of distribution argument and TensorDict key."""
    if isinstance(in_keys, Mapping):
        return [(name, unravel_key(key)) for name, key in in_keys.items()]
    keys = [in_keys] if isinstance(in_keys, str | tuple) else in_keys
    return [(key if isinstance(key, str) else key[-1], key) for key in map(unravel_key, keys)]


def _checked_spec(owner: str, spec: Any, safe: bool) -> Any:
    if safe and spec is None:
        raise ValueError(f"{owner}: safe=True projects actions into a spec, found spec=None")
    return spec


def _missing(what: str, key: NestedKey, entries: TensorDictBase | Entries) -> str:
    keys = entries.keys(True, True) if isinstance(entries, TensorDictBase) else entries
    return f"ProbabilisticActor: expected {what} at key {key!r}, found keys {sorted(map(str, keys))}"
