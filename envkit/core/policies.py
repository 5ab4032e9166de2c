"""What may serve as a policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, is_tensor_collection
from torch import nn

from envkit.core.plan import Plan
from envkit.errors import PolicyError
from envkit.specs import Composite, TensorSpec

__all__ = ["Policy", "RandomPolicy", "on_tensordicts", "open_loop"]

Policy = Callable[..., Any]


def on_tensordicts(policy: Policy, plan: Plan) -> tuple[Callable[[TensorDictBase], Any], frozenset | None]:
    """A policy in the one form that loops call: from a TensorDict to what is to be written into it.

    - A module with ``in_keys``, and any other function, is called with a TensorDict.
    - A plain ``nn.Module``, and a function, whose arguments are all named like observations is called with those.
    - Any other plain ``nn.Module`` is called with all observations, by position in the order of their keys, unless
      it says that it wants a TensorDict, by the name (``tensordict``, ``td``) or the annotation of its argument.

    In either case the result may be a TensorDict or, for an env with a single action, the action itself.

    Returns:
        The function, and the keys it reads; None if it may read anything.

    Raises:
        TypeError: ``policy`` cannot be called.
        PolicyError: a plain module takes more or fewer arguments than there are observations.
    """
    if not callable(policy):
        raise TypeError(f"policy: expected a callable, found {type(policy).__name__}")
    keys = getattr(policy, "in_keys", None)
    if keys is not None:
        return policy, frozenset(keys)
    parameters = _parameters(policy.forward if isinstance(policy, nn.Module) else policy)
    names = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if names and all(name in plan.observation_keys for name in names):
        return lambda td: _action(plan, policy(**{name: td.get(name) for name in names})), frozenset(names)
    if isinstance(policy, nn.Module) and not any(_is_for_tensordicts(p) for p in parameters):
        observations = plan.observation_keys
        _can_take(policy, parameters, observations)
        return lambda td: _action(plan, policy(*(td.get(key) for key in observations))), frozenset(observations)
    return lambda td: _action(plan, policy(td)), None


def _parameters(function: Callable) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built-in functions do not always tell
        return []


def _is_for_tensordicts(parameter: inspect.Parameter) -> bool:
    kind = parameter.annotation
    return parameter.name in ("tensordict", "td") or "TensorDict" in (kind if isinstance(kind, str) else repr(kind))


def _can_take(policy: nn.Module, parameters: list[inspect.Parameter], observations: list[NestedKey]) -> None:
    if not parameters or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not sum(p.default is p.empty for p in places) <= len(observations) <= len(places):
        raise PolicyError(
            f"{type(policy).__name__} takes {[p.name for p in places]}: expected one argument for each of the "
            f"observations {observations}, arguments of their names, or a module with in_keys"
        )


def _action(plan: Plan, result: Any) -> Any:
    """What a policy returned, in the form of a mapping that can be asked for its entries."""
    if result is None or is_tensor_collection(result):
        return result
    if isinstance(result, torch.Tensor) and len(plan.action_keys) == 1:
        return _Single(plan.action_keys[0], result)
    raise PolicyError(
        f"the policy returned {type(result).__name__}: expected a TensorDict"
        + (", or the action as a tensor" if len(plan.action_keys) == 1 else f" with {plan.action_keys}")
    )


class _Single:
    """One entry, read as a TensorDict is."""

    __slots__ = ("_key", "_value")

    def __init__(self, key: NestedKey, value: Any) -> None:
        self._key, self._value = key, value

    def get(self, key: NestedKey, default: Any = None) -> Any:
        return self._value if key == self._key else default

    def items(self, *_: bool, **__: Any) -> Iterable[tuple[NestedKey, Any]]:
        return [(self._key, self._value)]


def open_loop(actions: Iterable[Any], plan: Plan) -> Policy:
    """A policy that goes through ``actions``, whatever it sees: tensors for a single action, or TensorDicts.

    Of a TensorDict (a step of another rollout, say) only the actions are taken.
    """
    coming, keys = iter(actions), plan.action_keys

    def following(tensordict: TensorDictBase) -> Any:
        action = next(coming)
        return action.select(*keys, strict=False) if is_tensor_collection(action) else action

    return following


class RandomPolicy(nn.Module):
    """Draws actions from a spec.

    Args:
        action_spec: a leaf spec or a Composite of action leaves.
        action_key: where a leaf's action is written.

    Examples:
        >>> from tensordict import TensorDict
        >>> from envkit import Bounded
        >>> policy = RandomPolicy(Bounded(-1.0, 1.0, shape=(2,)))
        >>> policy(TensorDict())["action"].shape
        torch.Size([2])
    """

    def __init__(self, action_spec: TensorSpec, action_key: NestedKey = "action") -> None:
        super().__init__()
        self.action_spec, self.action_key = action_spec, action_key

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes a random action and returns ``tensordict``."""
        if isinstance(self.action_spec, Composite):
            return tensordict.update(self.action_spec.rand())
        return tensordict.set(self.action_key, self.action_spec.rand())
