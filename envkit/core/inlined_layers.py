"""Plain networks as functions on tensors, without what a call of a module costs beside its arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import _has_any_global_hook

__all__ = ["in_sequence", "on_tensors", "plain_linear", "runs_as_written", "tells"]

IN_PLACE: dict[type, Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.Sigmoid: torch.sigmoid_,
    nn.Tanh: torch.tanh_,
}


def on_tensors(module: Callable[..., Any]) -> Callable[..., Any]:
    """What a network does, as a function of the same arguments, to be called without gradients.

    The same operations are carried out, so the results are the same to the bit. It computes what the network would as
    it is now: where hooks, layers or parameters (rather than their values) are exchanged, ask again. ``nn.Linear`` and
    ``nn.Sequential`` are known; other classes tell by a method ``on_tensors()`` that is this function for their
    instances, and is not used for a subclass with another ``forward``.

    Returns:
        The function; ``module`` itself where nothing better is known.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> with torch.no_grad():
        ...     bool((on_tensors(net)(torch.ones(5, 2)) == net(torch.ones(5, 2))).all())
        True
    """
    if not (isinstance(module, nn.Module) and runs_as_written(module)):
        return module
    if tells(module, "on_tensors"):
        tell: Any = module.on_tensors
        return tell()
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return in_sequence(module)
    linear = plain_linear(module)
    return module if linear is None else _product(*linear)


def in_sequence(layers: Iterable[nn.Module]) -> Callable[[Any], Any]:
    """The same for layers that are called one after the other. An activation writes over the product it follows."""
    steps: list[Callable[[Any], Any]] = []
    fresh = False
    for layer in layers:
        linear = plain_linear(layer)
        if linear is not None:
            steps.append(_product(*linear))
        elif fresh and type(layer) in IN_PLACE and runs_as_written(layer):
            steps.append(IN_PLACE[type(layer)])
        else:
            steps.append(on_tensors(layer))
        fresh = linear is not None

    def run(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return run


def plain_linear(layer: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of a layer that is a product with them and nothing else."""
    if type(layer) is not nn.Linear or not runs_as_written(layer):
        return None
    parameters = layer._parameters
    # Parameters that were swapped for plain tensors (TensorDict.to_module) are elsewhere.
    weight = parameters.get("weight")
    return None if weight is None or "bias" not in parameters else (weight, parameters["bias"])


def _product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    linear, addmm = functional.linear, torch.addmm
    if bias is None or type(weight) is not nn.Parameter:  # a quantised weight may know no other product
        return lambda value: linear(value, weight, bias)
    turned = weight.t()

    def product(value: Tensor) -> Tensor:
        # What the other comes down to for matrices, at half of its overhead.
        return addmm(bias, value, turned) if value.ndim == 2 else linear(value, weight, bias)

    return product


def runs_as_written(module: nn.Module) -> bool:
    """Whether a call of ``module`` is a call of its class's ``forward`` and nothing else, such as hooks."""
    if _has_any_global_hook():
        return False
    own = module.__dict__
    hooks = own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    replaced = "forward" in own or own.get("_compiled_call_impl") is not None
    return not (hooks or replaced) and type(module).__call__ is nn.Module.__call__


def tells(module: nn.Module, method: str) -> bool:
    """Whether the class has ``method`` to speak of the ``forward`` that its instances use."""
    for base in type(module).__mro__:
        if method in vars(base):
            return True
        if "forward" in vars(base):
            break
    return False
