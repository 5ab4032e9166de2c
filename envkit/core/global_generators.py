"""The global generators of ``random``, ``numpy`` and ``torch``, and states to put in their place for a while."""

from __future__ import annotations

import ctypes
import functools
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["GLOBALS", "GlobalGenerator", "call_with", "seeded_states"]

MERSENNE_TWISTER = 4 * 625  # bytes of the state of numpy's generator: 624 words, and a position
_LOCK = threading.RLock()  # envs in several threads take turns


class GlobalGenerator(NamedTuple):
    """A global generator."""

    fresh: Callable[[int], Any]
    """The state of one with a seed."""
    exchange: Callable[[Any], Any]
    """Puts a state in the place of the one there is, which is returned."""
    mark: Callable[[Any], Any]
    """Something that differs once numbers were drawn with a state."""


def _exchange_python(state: Any) -> Any:
    before = random.getstate()
    random.setstate(state)
    return before


def _exchange_numpy(generator: Any) -> Any:
    before = np.random.get_bit_generator()  # type: ignore[attr-defined]
    # The second half of a pair of normal numbers is dropped with it, in any process alike.
    np.random.set_bit_generator(generator)  # type: ignore[attr-defined]
    return before


def _mark_numpy(generator: Any) -> Any:
    if type(generator) is not np.random.MT19937:
        return repr(generator.state)
    return ctypes.string_at(generator.ctypes.state_address, MERSENNE_TWISTER)  # a hundred times as fast


def _exchange_torch(state: torch.Tensor) -> torch.Tensor:
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(state)
    return before


def _exchange_cuda(device: str, state: torch.Tensor) -> torch.Tensor:
    before = torch.cuda.get_rng_state(device)
    torch.cuda.set_rng_state(state, device)
    return before


def _torch_on(device: str, exchange: Callable[[Any], Any]) -> GlobalGenerator:
    def fresh(seed: int) -> torch.Tensor:
        return torch.Generator(device).manual_seed(seed).get_state()

    return GlobalGenerator(fresh, exchange, lambda state: state.numpy().tobytes())


GLOBALS = {
    "random": GlobalGenerator(lambda seed: random.Random(seed).getstate(), _exchange_python, lambda state: state),
    "numpy": GlobalGenerator(np.random.MT19937, _exchange_numpy, _mark_numpy),
    "torch": _torch_on("cpu", _exchange_torch),
}
"""Those of the CPU by their names."""


@functools.cache
def _global(name: str) -> GlobalGenerator:
    return GLOBALS[name] if name in GLOBALS else _torch_on(name, functools.partial(_exchange_cuda, name))


def call_with(states: dict[str, Any], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Calls a function with ``states`` in the place of the global ones, and keeps there what becomes of them.

    Args:
        states: states by the names of their generators: ``"random"``, ``"numpy"``, ``"torch"``, or a CUDA device such
            as ``"cuda:0"``.
        function: called with the remaining arguments. Whatever it draws, or seeds, does not reach the global states.

    Examples:
        >>> states, before = seeded_states(0, ["torch"]), torch.get_rng_state()
        >>> call_with(states, torch.rand, 1), call_with(states, torch.rand, 1)
        (tensor([0.4963]), tensor([0.7682]))
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    if not states:
        return function(*args, **kwargs)
    with _LOCK:
        others = {name: _global(name).exchange(state) for name, state in states.items()}
        try:
            return function(*args, **kwargs)
        finally:
            for name, state in others.items():
                states[name] = _global(name).exchange(state)


def seeded_states(seed: int, names: Iterable[str]) -> dict[str, Any]:
    """The states in which ``random.seed``, ``numpy.random.seed`` and ``torch.manual_seed`` would leave the generators.

    Those of numpy are below ``2**32``; larger ones are taken modulo that number.

    Examples:
        >>> states = seeded_states(3, ["numpy"])
        >>> bool(call_with(states, np.random.rand) == np.random.RandomState(3).rand())
        True
    """
    return {name: _legacy_numpy(seed) if name == "numpy" else _global(name).fresh(seed) for name in names}


def _legacy_numpy(seed: int) -> np.random.MT19937:
    # Its own way to make a state of a seed is another one.
    generator: Any = np.random.MT19937()
    generator.state = np.random.RandomState(seed % 2**32).get_state(legacy=False)
    return generator
