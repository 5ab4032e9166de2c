"""What the envs of simulators in JAX share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torch.autograd.function import once_differentiable

from envkit.core.native_env import NativeEnv
from envkit.core.plan import path_of
from envkit.errors import SpecError
from envkit.libs.attributes import ForwardsAttributes
from envkit.libs.jax_arrays import Tree
from envkit.libs.jax_program import Program
from envkit.specs import Binary, Categorical, Composite, TensorSpec, Unbounded
from envkit.specs.convert import torch_dtype

__all__ = ["JaxEnv", "check_layers", "plain_leaf"]


class JaxEnv(ForwardsAttributes, NativeEnv):
    """Base of envs around a simulator whose reset and step are pure functions of JAX.

    The simulator's state is an entry of the data, ``"state"``: a step reads it there, whatever happened in between, and
    a stored TensorDict is stepped as well as a fresh one. The env itself keeps a random stream and nothing else: each
    reset draws a random key of JAX for each element from it.

    Attributes that the env lacks are looked up in the simulator.

    Args:
        program: the simulator's functions.
        observed: specs of observations, by the keys of ``program.seen``; those that are not there are unbounded.
        action: the spec of one element's action.
        reward: that of its reward.
        requires_grad: whether steps are differentiable.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.
    """

    def __init__(
        self,
        program: Program,
        *,
        observed: Mapping[Any, TensorSpec],
        action: TensorSpec,
        reward: TensorSpec,
        requires_grad: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        self._program, self.requires_grad = program, requires_grad
        if any(path_of(key)[0] == "state" for key in program.seen.keys):
            raise SpecError(
                f"expected observations that leave 'state' to the simulator's state, found {program.seen.keys}"
            )
        state, observation = _composite(program.state, {}), _composite(program.seen, observed)
        self.state_spec_unbatched = state
        observation.update(state.clone())
        self.observation_spec_unbatched = observation
        self.full_action_spec_unbatched = Composite(action=action)
        self.reward_spec_unbatched = reward
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec_unbatched = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size, program = self._size(tensordict), self._program
        shape = (*size, program.words)
        keys = torch.randint(0, 2**32, shape, generator=self._random, device=self._device, dtype=torch.int64)
        return self._shown(program.first(size, keys.to(torch.uint32), self._device), size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        size, program = tensordict.batch_size, self._program
        state = [self._given(tensordict, key) for key in program.state.keys]
        action = self._simulated(self._given(tensordict, "action"))
        if self.requires_grad and torch.is_grad_enabled():
            values = _Step.apply(program, size, self._device, action, *state)
        else:
            values = program.following(size, state, action, self._device)
        return self._shown(values, size)

    def _simulated(self, action: torch.Tensor) -> torch.Tensor:
        """Actions as the simulator takes them."""
        return action

    def _shown(self, values: Sequence[torch.Tensor], size: torch.Size) -> TensorDictBase:
        """The data of a reset or a step."""
        return self._program.tensordict(values, size, self._device)

    def _states(self, tensordict: TensorDictBase) -> list[Any]:
        """The state of each element of ``tensordict``, the last dimension running fastest, as the simulator has it."""
        import jax

        tree, count = self._program.state, tensordict.batch_size.numel()
        leaves = [self._given(tensordict, key).detach().cpu() for key in tree.keys]
        flat = [leaf.reshape(count, *leaf.shape[tensordict.ndim :]).clone().numpy() for leaf in leaves]
        return [tree.unflatten([jax.numpy.asarray(leaf[index]) for leaf in flat]) for index in range(count)]

    def _simulation(self) -> dict[str, Any]:
        return {"_random": self._random}

    def _simulator(self) -> Any:
        return self._program.simulator if "_program" in vars(self) else None


class _Step(torch.autograd.Function):
    """A step whose gradients JAX computes, by another run of it: what is kept until then is its input alone."""

    @staticmethod
    def forward(
        ctx: Any,
        program: Program,
        size: torch.Size,
        device: torch.device | None,
        action: torch.Tensor,
        *state: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Steps."""
        ctx.step = program, size, device
        ctx.save_for_backward(action, *state)
        values = program.following(size, state, action, device)
        ctx.mark_non_differentiable(*(value for value in values if not value.is_floating_point()))
        return tuple(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        """Hands gradients back to the action and the state."""
        program, size, device = ctx.step
        action, *state = ctx.saved_tensors
        return None, None, None, *program.gradients(size, state, action, gradients, device)


def check_layers(env: Any, kind: type, wrapper: type, inner: str) -> None:
    """Checks that what shall be wrapped is an env of one element that leaves resets to its caller.

    Args:
        env: whatever was given.
        kind: the class of the simulator's envs.
        wrapper: that of their wrappers; those that are refused are known by their names.
        inner: the attribute in which a wrapper keeps what it wraps.

    Raises:
        TypeError: it is no env of the simulator.
        ValueError: it makes a batch, or starts episodes by itself.
    """
    if not isinstance(env, kind):
        raise TypeError(f"expected a {kind.__module__}.{kind.__name__}, found {type(env).__name__}")
    while isinstance(env, wrapper):
        if "Vmap" in type(env).__name__ or "AutoReset" in type(env).__name__:
            raise ValueError(
                f"expected an env of one element that is reset by its caller, found one in a {type(env).__name__}; "
                f"batch_size makes a batch, and episodes are started here"
            )
        env = getattr(env, inner)


def plain_leaf(shape: Any) -> TensorSpec:
    """The spec of whatever has a shape and a dtype.

    Examples:
        >>> import numpy as np
        >>> plain_leaf(np.zeros(2, bool))
        Binary(shape=[2], dtype=bool)
    """
    dtype = torch_dtype(shape.dtype)
    if dtype is torch.bool:
        return Binary(shape=shape.shape, dtype=dtype)
    return Unbounded(shape.shape, dtype=dtype)


def _composite(tree: Tree, known: Mapping[Any, TensorSpec]) -> Composite:
    out = Composite()
    for key, shape in zip(tree.keys, tree.shapes, strict=True):
        out[key] = known[key] if key in known else plain_leaf(shape)
    return out
