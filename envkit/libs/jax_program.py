"""The reset and the step of a simulator in JAX, compiled, on tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDict

from envkit.libs.jax_arrays import Tree, to_array, to_tensor
from envkit.specs import Composite
from envkit.storage.slab import row_builder

__all__ = ["Program"]

Seen = Mapping[str, Any]
Begin = Callable[[Any], tuple[Any, Seen]]
Advance = Callable[[Any, Any], tuple[Any, Seen, Any, Any, Any]]


class Program:
    """Two pure functions of JAX on one element, compiled for one or for any number of them, which take tensors.

    JAX compiles a function at its first call, and again for each other number of elements: that takes seconds. Copies
    of a program are the program itself, so that copies of an env need not be compiled.

    Args:
        simulator: whatever the functions belong to.
        begin: ``begin(key)`` returns the first state, a tree, and what is observed, by key.
        advance: ``advance(state, action)`` returns the next state, what is observed, the reward, and whether the
            episode has terminated and was truncated.
        jit: whether to compile at all.

    Attributes:
        state, seen: the :class:`~envkit.libs.jax_arrays.Tree` of the state, whose keys begin with ``"state"``, and that
            of the observations.
        keys: the keys of what a step returns: state, observations, reward, terminated, truncated.
        words: how many numbers of 32 bits a random key has.

    Raises:
        EnvDataError: (when run) states or observations after a step are made otherwise than those after a reset.
    """

    def __init__(self, simulator: Any, begin: Begin, advance: Advance, *, jit: bool = True) -> None:
        import jax

        self.simulator = simulator
        key = jax.random.PRNGKey(0)
        self.words = key.shape[-1]
        state, seen = jax.eval_shape(begin, key)
        self.state, self.seen = Tree(state, ("state",)), Tree(dict(seen))
        self.keys: list[NestedKey] = [*self.state.keys, *self.seen.keys, "reward", "terminated", "truncated"]

        def first(key: Any) -> list[Any]:
            state, seen = begin(key)
            return [*self.state.flatten(state), *self.seen.flatten(dict(seen))]

        def following(leaves: Sequence[Any], action: Any) -> list[Any]:
            state, seen, *rest = advance(self.state.unflatten(leaves), action)
            return [*self.state.flatten(state), *self.seen.flatten(dict(seen)), *rest]

        def pulled(leaves: Sequence[Any], action: Any, gradients: Sequence[Any]) -> list[Any]:
            def smooth(chosen: list[Any], action: Any) -> list[Any]:
                rest = iter(chosen)
                out = following([next(rest) if _is_float(leaf) else leaf for leaf in leaves], action)
                return [value for value in out if _is_float(value)]

            _, pull = jax.vjp(smooth, [leaf for leaf in leaves if _is_float(leaf)], action)
            to_state, to_action = pull(list(gradients))
            return [to_action, *to_state]

        compiled: Callable = jax.jit if jit else lambda function: function
        one_and_many = [[compiled(f), compiled(jax.vmap(f))] for f in (first, following, pulled)]
        self._first, self._following, self._pulled = one_and_many
        self._builder = functools.lru_cache(64)(self._make_builder)

    def first(self, size: torch.Size, keys: torch.Tensor, device: torch.device | None) -> list[torch.Tensor]:
        """The first states and observations of elements, from random keys.

        Args:
            size: their number, as a batch size.
            keys: uint32 ``[*size, words]``.
            device: where the tensors shall be.
        """
        (given,) = _given([keys], size)
        return _made(self._first[bool(size)](given), size, device)

    def following(
        self,
        size: torch.Size,
        state: Sequence[torch.Tensor],
        action: torch.Tensor,
        device: torch.device | None,
    ) -> list[torch.Tensor]:
        """What follows an action, in the order of :attr:`keys`.

        Args:
            size: batch size of the elements.
            state: the leaves of their states.
            action: their actions.
            device: where the tensors shall be.
        """
        action, *leaves = _given([action, *state], size)
        return _made(self._following[bool(size)](leaves, action), size, device)

    def gradients(
        self,
        size: torch.Size,
        state: Sequence[torch.Tensor],
        action: torch.Tensor,
        gradients: Sequence[torch.Tensor],
        device: torch.device | None,
    ) -> list[torch.Tensor | None]:
        """Gradients with respect to the action and the leaves of the state, None for those that are no real numbers.

        Args:
            size: batch size of the elements.
            state, action: what the step was given.
            gradients: those with respect to what it returned, of which those to real numbers count.
            device: where the tensors shall be.
        """
        wanted = [gradient for gradient in gradients if gradient is not None and gradient.is_floating_point()]
        given = _given([action, *state, *wanted], size)
        leaves, count = given[1:], len(state)
        found = self._pulled[bool(size)](leaves[:count], given[0], leaves[count:])
        made = iter(_made(found, size, device))
        return [next(made) if leaf.is_floating_point() else None for leaf in (action, *state)]

    def tensordict(self, values: Sequence[torch.Tensor], size: torch.Size, device: torch.device | None) -> TensorDict:
        """Puts what :meth:`first` or :meth:`following` returned under its keys."""
        return self._builder(len(values), size, device)(values)

    def _make_builder(
        self, count: int, size: torch.Size, device: torch.device | None
    ) -> Callable[[Sequence[Any]], TensorDict]:
        return row_builder(dict(enumerate(self.keys[:count])), Composite(), size, device)

    def __copy__(self) -> Program:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self


def _is_float(leaf: Any) -> bool:
    return leaf.dtype.kind == "f"


def _given(tensors: Sequence[torch.Tensor], size: torch.Size) -> list[Any]:
    """Tensors as arrays with at most one dimension of elements."""
    if len(size) > 1:
        count, dims = size.numel(), len(size)
        tensors = [tensor.reshape(count, *tensor.shape[dims:]) for tensor in tensors]
    return [to_array(tensor) for tensor in tensors]


def _made(arrays: Sequence[Any], size: torch.Size, device: torch.device | None) -> list[torch.Tensor]:
    tensors = [to_tensor(array, device) for array in arrays]
    return tensors if len(size) < 2 else [tensor.reshape(*size, *tensor.shape[1:]) for tensor in tensors]
