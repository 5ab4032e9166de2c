"""A last layer that knows how many numbers an action takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from agents.nn.action_space import action_space_of
from agents.nn.flatten_linear import FlattenLinear
from agents.nn.free_deviation import FreeDeviation
from envkit.specs import Bounded, TensorSpec, Unbounded

__all__ = ["ActionLinear"]

OUTPUTS = ("distribution", "action", "mean_and_log_std")
DISCRETE, CONTINUOUS = ("discrete", "int", "int32", "int64"), ("continuous", "float", "float32", "float64")


class ActionLinear(nn.Module):
    """A linear layer whose outputs are those that the actions of an env ask for.

    ====================== ============================== ==========================================================
    ``output``             discrete actions               continuous actions
    ====================== ============================== ==========================================================
    ``"distribution"``     logits, ``[*batch, n]``        mean and standard deviation, ``[*batch, n]`` each, the
                                                          latter a parameter of its own: what PPO, A2C and REINFORCE
                                                          take for an ``actor``
    ``"action"``           values, ``[*batch, n]``, for   actions, ``[*batch, n]``, for the ``actor`` of DDPG and TD3
                           the ``network`` of DQN
    ``"mean_and_log_std"`` none                           both from the input, ``[*batch, 2 * n]``, for the ``actor``
                                                          of SAC and REDQ
    ====================== ============================== ==========================================================

    Args:
        in_features: shape of one input, which is flattened, or its width.
        action_info: spec of the action of one env, or a mapping of its ``"shape"`` and ``"dtype"``: for discrete
            actions (``"int"`` or ``"discrete"``) the shape is their number, for continuous ones (``"float"`` or
            ``"continuous"``) that of an action.
        output: what is put out.
        log_std: first value of the logarithms of the standard deviations, for ``"distribution"``.
        **kwargs: further arguments of :class:`torch.nn.Linear`.

    Attributes:
        discrete: whether actions are discrete.
        action_size: number of actions, or of numbers in one.

    Raises:
        TypeError: if the spec is of another kind.
        ValueError: if ``action_info`` lacks something, or ``output`` is unknown or does not go with it.

    Example:
        >>> import torch
        >>> from envkit import Bounded, Categorical
        >>> ActionLinear(64, Categorical(4))(torch.zeros(5, 64)).shape
        torch.Size([5, 4])
        >>> loc, scale = ActionLinear(64, Bounded(-1.0, 1.0, shape=(2,)))(torch.zeros(5, 64))
        >>> loc.shape, scale.shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
        >>> ActionLinear(64, dict(shape=(2,), dtype="float"), output="mean_and_log_std")(torch.zeros(5, 64)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        action_info: Mapping[str, Any] | TensorSpec,
        output: str = "distribution",
        log_std: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.discrete, self.action_size = _described(action_info)
        if output not in OUTPUTS:
            raise ValueError(f"ActionLinear: output: expected one of {list(OUTPUTS)}, found {output!r}")
        if self.discrete and output == "mean_and_log_std":
            raise ValueError(f"ActionLinear: output: expected one of {list(OUTPUTS[:2])} with discrete actions")
        size = self.action_size * (2 if output == "mean_and_log_std" else 1)
        self.net: nn.Module = FlattenLinear(in_features, size, **kwargs)
        if output == "distribution" and not self.discrete:
            self.net = FreeDeviation(self.net, size, log_std)

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """What the table says."""
        return self.net(input)


def _described(info: Mapping[str, Any] | TensorSpec) -> tuple[bool, int]:
    """Whether actions are discrete; their number, or that of the numbers in one."""
    if isinstance(info, Mapping):
        return _told(info)
    if isinstance(info, Bounded | Unbounded) and info.dtype.is_floating_point:
        return False, info.shape.numel()
    space: Any = info
    return True, sum(action_space_of(space).var_nums or (space.n,))


def _told(info: Mapping[str, Any]) -> tuple[bool, int]:
    if lacking := {"shape", "dtype"} - info.keys():
        raise ValueError(f"action_info: expected shape and dtype, found no {' and no '.join(sorted(lacking))}")
    kind, shape = info["dtype"], info["shape"]
    name = getattr(kind, "__name__", str(kind).removeprefix("torch."))
    size = shape if isinstance(shape, int) else math.prod(shape)
    if name not in DISCRETE + CONTINUOUS:
        raise ValueError(f"action_info: dtype: expected one of {list(DISCRETE + CONTINUOUS)}, found {kind!r}")
    if size < 1:
        raise ValueError(f"action_info: shape: expected at least one action or number, found {shape}")
    return name in DISCRETE, size
