"""Networks from descriptions of their layers, as configs have them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.action_linear import ActionLinear
from agents.nn.batch_renorm import BatchRenorm1d
from agents.nn.convnet import ConvNet, SquashDims
from agents.nn.flatten_linear import FlattenLinear
from agents.nn.mlp import MLP
from agents.nn.noisy import NoisyLinear
from envkit.specs import Composite, TensorSpec
from envkit.spelling import did_you_mean

__all__ = ["auto_input_shape", "get_module_list", "nn_from_config"]

OWN = {
    layer.__name__: layer
    for layer in (ActionLinear, BatchRenorm1d, ConvNet, FlattenLinear, MLP, NoisyLinear, SquashDims)
}
# Nothing is looked up elsewhere, let alone imported: descriptions may come from strangers.
LAYERS: dict[str, type[nn.Module]] = {
    **{name: value for name, value in vars(nn).items() if isinstance(value, type) and issubclass(value, nn.Module)},
    **OWN,
}
# What the arguments that tell the size of the input take of its shape.
SIZES: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "in_features": lambda shape: shape[-1],
    "in_channels": lambda shape: shape[0],
    "num_channels": lambda shape: shape[0],
    "num_features": lambda shape: shape[0],
    "normalized_shape": list,
}
# These have an ``in_features`` that is something else.
OWN_SIZES: dict[type, Callable[[tuple[int, ...]], Any]] = {
    ActionLinear: list,
    FlattenLinear: list,
    ConvNet: lambda shape: shape[0],
}


def nn_from_config(
    config: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    state_info: Mapping[str, Any] | TensorSpec,
    action_info: Mapping[str, Any] | TensorSpec | None = None,
    body: nn.Module | None = None,
    head: nn.Module | None = None,
) -> nn.Sequential:
    """A network of the layers that a config describes.

    A layer is described by the name of its class under ``"func"``, and its arguments. The class is one of ``torch.nn``,
    or ``ActionLinear``, ``BatchRenorm1d``, ``ConvNet``, ``FlattenLinear``, ``MLP``, ``NoisyLinear``, ``SquashDims``; no
    other name means anything. Arguments that end with ``_class`` may be such names, too. The size of the input and
    ``action_info`` are filled in (:func:`auto_input_shape`), so a description says what a layer adds.

    Args:
        config: the layers, or a mapping of some as ``"body"`` and some as ``"head"``.
        state_info: spec of the observation of one env (``env.observation_spec_unbatched``), or a mapping of its
            ``"shape"``. The several observations of a Composite are joined, for which they have to be vectors.
        action_info: spec of the action of one env (``env.action_spec_unbatched``), or a mapping, see
            :class:`ActionLinear`, for which it is.
        body: used instead of the layers described as body.
        head: used instead of the layers described as head.

    Returns:
        A network from the observations (in the order of the spec) to what the last layer puts out, for an agent's
        ``actor``, ``critic`` or ``network``.

    Raises:
        TypeError: if a description is no mapping with a ``func``.
        ValueError: if a layer is unknown, or refuses its arguments or the input; says where.

    Examples:
        >>> from agents import PPO
        >>> from envkit import GymEnv
        >>> env = GymEnv("CartPole-v1")
        >>> body = [{"func": "Linear", "out_features": 32}, {"func": "Tanh"}]
        >>> specs = env.observation_spec_unbatched, env.action_spec_unbatched
        >>> actor = nn_from_config({"body": body, "head": [{"func": "ActionLinear"}]}, *specs)
        >>> critic = nn_from_config({"body": body, "head": [{"func": "Linear", "out_features": 1}]}, *specs)
        >>> actor[0], actor(torch.zeros(5, 4)).shape, critic(torch.zeros(5, 4)).shape
        (Linear(in_features=4, out_features=32, bias=True), torch.Size([5, 2]), torch.Size([5, 1]))
        >>> PPO(env, actor=actor, critic=critic).train(max_steps=256)["steps"]
        256.0
        >>> nn_from_config([{"func": "os.system"}], *specs)
        Traceback (most recent call last):
        ...
        ValueError: layers[0].func: expected a class of torch.nn or one of ['ActionLinear', ...], found 'os.system'
    """
    shape, joined = _input(state_info)
    parts: dict[str, Any] = {"layers": config}
    if isinstance(config, Mapping):
        if unknown := sorted(config.keys() - {"body", "head"}):
            raise ValueError(f"config: expected body and head, found {unknown}")
        parts = {name: config[name] for name in ("body", "head") if name in config}
    parts |= {name: [given] for name, given in (("body", body), ("head", head)) if given is not None}
    layers: list[nn.Module] = []
    size: tuple[int, ...] | None = shape
    for where in [name for name in ("layers", "body", "head") if name in parts]:
        added, size = _layers(parts[where], size, action_info, where)
        layers += added
    if not layers:
        raise ValueError("config: expected at least one layer, found none")
    return _Joined(*layers) if joined else nn.Sequential(*layers)


def get_module_list(
    config: Sequence[Mapping[str, Any]],
    input_shape: Sequence[int],
    action_info: Mapping[str, Any] | TensorSpec | None = None,
) -> list[nn.Module]:
    """The layers that descriptions ask for, one after the other; see :func:`nn_from_config`.

    Args:
        config: the descriptions.
        input_shape: shape of one input, without batch.
        action_info: what :class:`ActionLinear` needs.

    Examples:
        >>> filters = {"func": "Conv2d", "out_channels": 8, "kernel_size": 3}
        >>> get_module_list([filters, {"func": "FlattenLinear", "out_features": 4}], (3, 10, 10))[1]
        FlattenLinear(in_features=512, out_features=4, bias=True)
    """
    return _layers(config, tuple(input_shape), action_info, "layers")[0]


def auto_input_shape(obj_config: Mapping[str, Any], input_shape: Sequence[int]) -> dict[str, Any]:
    """A description with the argument that tells the size of the input, if its class has one and it is not there yet.

    Args:
        obj_config: the description; its ``"func"`` is a class, or the name of one.
        input_shape: shape of one input, without batch.

    Examples:
        >>> auto_input_shape({"func": "Linear", "out_features": 2}, (4,))
        {'func': 'Linear', 'out_features': 2, 'in_features': 4}
        >>> auto_input_shape({"func": "LayerNorm"}, (4,))
        {'func': 'LayerNorm', 'normalized_shape': [4]}
        >>> auto_input_shape({"func": "Tanh"}, (4,))
        {'func': 'Tanh'}
    """
    layer = _layer_class(obj_config["func"], "func")
    shape = tuple(input_shape)
    for name in inspect.signature(layer).parameters:
        if name in SIZES and name not in obj_config:
            size = OWN_SIZES.get(layer, SIZES[name])
            return {**obj_config, name: size(shape)}
    return dict(obj_config)


def _input(info: Mapping[str, Any] | TensorSpec) -> tuple[tuple[int, ...], bool]:
    """Shape of the first layer's input, and whether that is several observations joined."""
    if isinstance(info, Mapping):
        if "shape" not in info:
            raise ValueError(f"state_info: expected a shape, found {sorted(info)}")
        shape = info["shape"]
        return ((shape,) if isinstance(shape, int) else tuple(shape)), False
    if isinstance(info, Composite) and info.shape:
        raise ValueError(
            f"state_info: expected the spec of one env (observation_spec_unbatched), found that of {list(info.shape)}"
        )
    leaves = dict(info.items(include_nested=True, leaves_only=True)) if isinstance(info, Composite) else {"": info}
    for key, leaf in leaves.items():
        if leaf.dtype is None or not leaf.dtype.is_floating_point or (len(leaves) > 1 and leaf.ndim != 1):
            expected = "float vectors" if len(leaves) > 1 else "a tensor of floats"
            raise ValueError(
                f"state_info: expected {expected}, found {key!r}: {leaf.dtype} of shape {list(leaf.shape)}; "
                f"transform it, or give the spec of what the network is to see"
            )
    if len(leaves) == 1:
        return tuple(next(iter(leaves.values())).shape), False
    return (sum(leaf.shape[0] for leaf in leaves.values()),), True


def _layers(
    descriptions: Any, shape: tuple[int, ...] | None, action_info: Any, where: str
) -> tuple[list[nn.Module], tuple[int, ...] | None]:
    """The layers, and the shape of what the last one puts out; None if that is not one tensor."""
    if isinstance(descriptions, str | Mapping) or not isinstance(descriptions, Sequence):
        raise TypeError(f"{where}: expected a list of layers, found {type(descriptions).__name__}")
    layers: list[nn.Module] = []
    for index, description in enumerate(descriptions):
        place = f"{where}[{index}]"
        if shape is None:
            raise ValueError(f"{place}: expected one tensor from the layer before it, which puts out several")
        layer = description if isinstance(description, nn.Module) else _layer(description, shape, action_info, place)
        layers.append(layer)
        shape = _output_shape(layer, shape, place)
    return layers, shape


def _layer(description: Any, shape: tuple[int, ...], action_info: Any, place: str) -> nn.Module:
    if not isinstance(description, Mapping) or "func" not in description:
        raise TypeError(f"{place}: expected a mapping with a func, found {description!r}")
    layer = _layer_class(description["func"], f"{place}.func")
    options = {**auto_input_shape({**description, "func": layer}, shape)}
    del options["func"]
    if layer is ActionLinear and "action_info" not in options:
        if action_info is None:
            raise ValueError(f"{place}: ActionLinear needs the action_info of nn_from_config, found None")
        options["action_info"] = action_info
    for name, value in options.items():
        if name.endswith("_class") and isinstance(value, str):
            options[name] = _layer_class(value, f"{place}.{name}")
    try:
        return layer(**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{place}: {layer.__name__} refuses its arguments: {error}") from error


def _layer_class(name: Any, place: str) -> type[nn.Module]:
    if isinstance(name, type) and issubclass(name, nn.Module):
        return name
    found = LAYERS.get(name) if isinstance(name, str) else None
    if found is None:
        expected = f"a class of torch.nn or one of {sorted(OWN)}"
        raise ValueError(f"{place}: expected {expected}, found {name!r}{did_you_mean(name, LAYERS)}")
    return found


def _output_shape(layer: nn.Module, shape: tuple[int, ...], place: str) -> tuple[int, ...] | None:
    """Shape of one output, found by a call; None if it is not one tensor."""
    training = layer.training
    layer.eval()  # statistics of batches are not to see these zeros
    try:
        with torch.no_grad():
            out = layer(torch.zeros(1, *shape))
    except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
        name = type(layer).__name__
        raise ValueError(f"{place}: {name} refuses an input of shape {list(shape)}: {error}") from error
    finally:
        layer.train(training)
    return tuple(out.shape[1:]) if isinstance(out, Tensor) else None


class _Joined(nn.Sequential):
    """Layers on several inputs, joined along their last dimension."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(torch.cat(inputs, -1))
