"""Several perceptrons with ReLU between their layers, forward and backward in one go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agents.nn.products import multiply, multiply_into

__all__ = ["perceptrons"]

# The gradient of ReLU, in place: of the incoming gradient, what its output was positive for.
THRESHOLD_BACKWARD = torch.ops.aten.threshold_backward.grad_input

# With at most this fraction of the rows, gathering them costs less than it saves.
FEW = 0.9


def perceptrons(inputs: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The outputs of ``members`` networks ``linear -> ReLU -> ... -> linear`` for the same inputs.

    All layers of all networks are one step for autograd. Products go member by member: where layers are wide, a batched
    product is no quicker, and where outputs are few it is much slower.

    Args:
        inputs: ``[batch, in_features]``.
        weights: of each layer, ``[members, in, out]``, in any memory layout.
        biases: of each layer, ``[members, out]``.

    Returns:
        ``[members, batch, out_features]``, differentiable once.

    Example:
        >>> weights, biases = [torch.ones(2, 3, 4), torch.ones(2, 4, 1)], [torch.zeros(2, 4), torch.zeros(2, 1)]
        >>> perceptrons(torch.ones(5, 3), weights, biases).shape
        torch.Size([2, 5, 1])
        >>> perceptrons(-torch.ones(1, 3), weights, biases).flatten()
        tensor([0., 0.])
    """
    if not torch.is_grad_enabled():
        return _together([outputs[-1] for outputs in _forward(inputs, weights, biases)])
    return _Perceptrons.apply(inputs, len(weights), *weights, *biases)


def _together(members: list[Tensor]) -> Tensor:
    return torch.stack(members) if len(members) > 1 else members[0].unsqueeze(0)


def _forward(inputs: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[list[Tensor]]:
    """What the layers of each member put out."""
    members: list[list[Tensor]] = []
    layers = [zip(w.unbind(), b.unbind(), strict=True) for w, b in zip(weights, biases, strict=True)]
    for own in zip(*layers, strict=True):
        features, outputs = inputs, []
        for weight, bias in own[:-1]:
            features = multiply(features, weight, bias, relu=True)
            outputs.append(features)
        outputs.append(multiply(features, *own[-1]))
        members.append(outputs)
    return members


class _Perceptrons(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, depth, *parameters):  # type: ignore[no-untyped-def]
        members = _forward(inputs, parameters[:depth], parameters[depth:])
        ctx.save_for_backward(inputs, *parameters[:depth], *[one for outputs in members for one in outputs[:-1]])
        ctx.depth = depth
        return _together([outputs[-1] for outputs in members])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        depth, (inputs, *saved) = ctx.depth, ctx.saved_tensors
        hidden, weights = saved[depth:], [weight.unbind() for weight in saved[:depth]]
        to_inputs, _, *to_parameters = ctx.needs_input_grad
        if not any(to_parameters):
            return _inputs_alone(grad, inputs, weights, hidden), None, *[None] * (2 * depth)
        to_weights, to_biases = to_parameters[:depth], to_parameters[depth:]
        weight_grads = [torch.empty_like(w) if to else None for w, to in zip(saved, to_weights, strict=False)]
        places = [() if grads is None else grads.unbind() for grads in weight_grads]
        bias_grads: list[list[Tensor]] = [[] for _ in to_biases]
        # Layers from which nothing below needs a gradient end the way back.
        lowest = 0 if to_inputs else min(index % depth for index, to in enumerate(to_parameters) if to)
        input_grad = None
        for member, coming in enumerate(grad.unbind()):
            for layer in range(depth - 1, lowest - 1, -1):
                below = hidden[member * (depth - 1) + layer - 1] if layer else inputs
                if to_weights[layer]:
                    multiply_into(places[layer][member], below.t(), coming)
                if to_biases[layer]:
                    bias_grads[layer].append(coming.sum(0))
                if layer > lowest:
                    coming = multiply(coming, weights[layer][member].t())
                    THRESHOLD_BACKWARD(coming, below, 0, grad_input=coming)
            if to_inputs:
                coming = multiply(coming, weights[0][member].t())
                input_grad = coming if input_grad is None else input_grad.add_(coming)
        return input_grad, None, *weight_grads, *[_together(grads) if grads else None for grads in bias_grads]


def _inputs_alone(grad: Tensor, inputs: Tensor, weights: list[tuple[Tensor, ...]], hidden: list[Tensor]) -> Tensor:
    """The gradient of the inputs, from the rows that have a part in it.

    Behind a minimum over members, each row matters to one of them only.
    """
    total, above = torch.zeros_like(inputs), len(weights) - 1
    for member, coming in enumerate(grad.unbind()):
        outputs, rows = hidden[member * above : (member + 1) * above], None
        if len(grad) > 1:
            found = coming.any(1).nonzero().squeeze(1)
            if len(found) < FEW * len(coming):
                rows, coming = found, coming.index_select(0, found)
                outputs = [output.index_select(0, found) for output in outputs]
        for layer in range(above, 0, -1):
            coming = multiply(coming, weights[layer][member].t())
            THRESHOLD_BACKWARD(coming, outputs[layer - 1], 0, grad_input=coming)
        coming = multiply(coming, weights[0][member].t())
        total = total.add_(coming) if rows is None else total.index_add_(0, rows, coming)
    return total
