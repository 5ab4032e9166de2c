"""Policies with a memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase, unravel_key
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from envkit import TensorDictPrimer, Unbounded
from envkit.errors import PolicyError

__all__ = ["GRUModule", "LSTMModule", "RecurrentModule", "get_primers_from_module", "set_recurrent_mode"]

_mode: ContextVar[bool | None] = ContextVar("recurrent_mode", default=None)


@contextmanager
def set_recurrent_mode(mode: bool | str = True) -> Iterator[None]:
    """Within this context, recurrent modules read sequences (True, "recurrent") or steps (False, "sequential").

    Raises:
        ValueError: if ``mode`` is another word.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> gru = GRUModule(3, 8, in_key="observation", out_key="features")
        >>> data = TensorDict({"observation": torch.randn(4, 10, 3), "is_init": torch.zeros(4, 10, 1) > 0}, [4, 10])
        >>> data["recurrent_state"] = torch.zeros(4, 10, 1, 8)
        >>> with set_recurrent_mode():
        ...     gru(data)["features"].shape
        torch.Size([4, 10, 8])
    """
    words = {"recurrent": True, "sequential": False}
    if not isinstance(mode, bool) and mode not in words:
        raise ValueError(f"set_recurrent_mode: expected a bool or one of {list(words)}, found {mode!r}")
    token = _mode.set(mode if isinstance(mode, bool) else words[mode])
    try:
        yield
    finally:
        _mode.reset(token)


class RecurrentModule(TensorDictModuleBase):
    """A recurrent network of torch in a TensorDict: one step of each env, or sequences with episodes in them.

    The memory lives in the data. A step reads it at its keys and writes the new one under ``"next"``, where the next
    step finds it: the env needs :meth:`make_tensordict_primer` and an :class:`~envkit.InitTracker`, in whose marks the
    memory is zero again. In recurrent mode (:func:`set_recurrent_mode`) the last batch dimension is time. The memory of
    its first step is read, and each mark empties it on the way, so that the result is what step after step gives; the
    memory itself is not written.

    Args:
        in_key: the features to read, ``[*batch, input_size]``.
        out_key: where the output goes, ``[*batch, hidden_size]``.
        state_keys: where the memory stands, each ``[*batch, num_layers, hidden_size]``.
        is_init_key: the mark of first steps, ``[*batch, 1]``.
        default_recurrent_mode: the mode outside of :func:`set_recurrent_mode`.
    """

    rnn: nn.RNNBase

    def __init__(
        self,
        rnn: nn.RNNBase,
        in_key: NestedKey,
        out_key: NestedKey,
        state_keys: Sequence[NestedKey],
        is_init_key: NestedKey,
        default_recurrent_mode: bool,
    ) -> None:
        super().__init__()
        self.rnn, self.default_recurrent_mode = rnn, default_recurrent_mode
        self.in_key, self.out_key, self.is_init_key = (
            unravel_key(in_key),
            unravel_key(out_key),
            unravel_key(is_init_key),
        )
        self.state_keys = [unravel_key(key) for key in state_keys]
        self.in_keys = [self.in_key, *self.state_keys, self.is_init_key]
        self.out_keys = [self.out_key, *(unravel_key(("next", key)) for key in self.state_keys)]

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """The transform that gives an env the memory, zero at each reset."""
        shape = (self.rnn.num_layers, self.rnn.hidden_size)
        return TensorDictPrimer({key: Unbounded(shape) for key in self.state_keys})

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the output, and in steps the new memory under ``"next"``, into ``tensordict`` and return it.

        Raises:
            PolicyError: if an entry is missing, or there is no batch dimension for time.
        """
        mode = _mode.get()
        values = self._entry(tensordict, self.in_key, "features")
        first = self._entry(tensordict, self.is_init_key, "the mark of first steps (transforms: InitTracker)")
        states = [
            self._entry(tensordict, key, "the memory (transforms: make_tensordict_primer())") for key in self.state_keys
        ]
        if self.default_recurrent_mode if mode is None else mode:
            return tensordict.set(self.out_key, self._sequences(values, first.squeeze(-1), states))
        output, after = self._steps(values, first.squeeze(-1), states)
        tensordict.set(self.out_key, output)
        for key, state in zip(self.out_keys[1:], after, strict=True):
            tensordict.set(key, state)
        return tensordict

    def _entry(self, tensordict: TensorDictBase, key: NestedKey, what: str) -> Tensor:
        value = tensordict.get(key, None)
        if value is None:
            found = sorted(map(str, tensordict.keys(include_nested=True, leaves_only=True)))
            raise PolicyError(f"{type(self).__name__}: expected {what} at key {key!r}, found keys {found}")
        return value

    def _steps(self, values: Tensor, first: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        batch = values.shape[:-1]
        output, after = self._run(
            values.reshape(-1, 1, values.shape[-1]), _emptied(_rows_last(states, len(batch)), first.reshape(-1))
        )
        back = [state.transpose(0, 1).reshape(*batch, *state.shape[::2]) for state in after]
        return output.reshape(*batch, -1), back

    def _sequences(self, values: Tensor, first: Tensor, states: list[Tensor]) -> Tensor:
        batch = values.shape[:-1]
        if not batch:
            raise PolicyError(f"{type(self).__name__}: {self.in_key!r}: expected a dimension for time, found none")
        length = batch[-1]
        rows, marks = values.reshape(-1, length, values.shape[-1]), first.reshape(-1, length)
        memory = _rows_last([state.select(len(batch) - 1, 0) for state in states], len(batch) - 1)
        # Between the steps at which some episode begins, all rows go on together.
        starts = [0, *(marks[:, 1:].any(0).nonzero().flatten() + 1).tolist()]
        outputs = []
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            output, memory = self._run(rows[:, start:stop], _emptied(memory, marks[:, start]))
            outputs.append(output)
        return torch.cat(outputs, 1).reshape(*batch, -1)

    @abstractmethod
    def _run(self, rows: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Outputs ``[n, time, hidden]`` and memory ``[layers, n, hidden]`` after ``rows`` ``[n, time, features]``."""


class LSTMModule(RecurrentModule):
    """An :class:`torch.nn.LSTM` in a TensorDict; see :class:`RecurrentModule`.

    Args:
        input_size: number of input features.
        hidden_size: number of output features.
        num_layers: number of layers.
        bias: whether there are biases.
        dropout: probability of zeroing a feature between layers.
        in_key: the features to read.
        out_key: where the output goes.
        state_keys: where hidden state and cell state stand.
        is_init_key: the mark of first steps.
        default_recurrent_mode: whether sequences are read outside of :func:`set_recurrent_mode`.
        device: device of the parameters.
        lstm: a network to use in place of all sizes; its first dimension must be the batch (``batch_first``).

    Raises:
        ValueError: if neither sizes nor ``lstm`` are given, or both, or the network is bidirectional,
            has a projection or has time first.

    Example:
        >>> from agents import Actor, MLP, TensorDictSequential
        >>> from envkit import Compose, GymEnv, InitTracker, TransformedEnv
        >>> lstm = LSTMModule(3, 8, in_key="observation", out_key="features")
        >>> policy = TensorDictSequential(lstm, Actor(MLP(8, 1), ["features"]))
        >>> env = TransformedEnv(GymEnv("Pendulum-v1"), Compose(InitTracker(), lstm.make_tensordict_primer()))
        >>> env.rollout(5, policy)["recurrent_state_c"].shape
        torch.Size([5, 1, 8])
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        *,
        in_key: NestedKey,
        out_key: NestedKey,
        state_keys: tuple[NestedKey, NestedKey] = ("recurrent_state_h", "recurrent_state_c"),
        is_init_key: NestedKey = "is_init",
        default_recurrent_mode: bool = False,
        device: torch.device | str | int | None = None,
        lstm: nn.LSTM | None = None,
    ) -> None:
        network = _network(nn.LSTM, lstm, input_size, hidden_size, num_layers, bias, dropout, device)
        super().__init__(network, in_key, out_key, state_keys, is_init_key, default_recurrent_mode)

    def _run(self, rows: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, after = self.rnn(rows, (states[0], states[1]))
        return output, list(after)


class GRUModule(RecurrentModule):
    """A :class:`torch.nn.GRU` in a TensorDict; see :class:`RecurrentModule`.

    Args:
        input_size: number of input features.
        hidden_size: number of output features.
        num_layers: number of layers.
        bias: whether there are biases.
        dropout: probability of zeroing a feature between layers.
        in_key: the features to read.
        out_key: where the output goes.
        state_key: where the hidden state stands.
        is_init_key: the mark of first steps.
        default_recurrent_mode: whether sequences are read outside of :func:`set_recurrent_mode`.
        device: device of the parameters.
        gru: a network to use in place of all sizes; its first dimension must be the batch (``batch_first``).

    Raises:
        ValueError: if neither sizes nor ``gru`` are given, or both, or the network is bidirectional
            or has time first.

    Example:
        >>> import torch
        >>> from tensordict import TensorDict
        >>> gru = GRUModule(3, 8, in_key="observation", out_key="features")
        >>> td = TensorDict(observation=torch.randn(4, 3), is_init=torch.ones(4, 1) > 0, batch_size=[4])
        >>> td["recurrent_state"] = torch.zeros(4, 1, 8)
        >>> td = gru(td)
        >>> td["features"].shape, td["next", "recurrent_state"].shape
        (torch.Size([4, 8]), torch.Size([4, 1, 8]))
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        *,
        in_key: NestedKey,
        out_key: NestedKey,
        state_key: NestedKey = "recurrent_state",
        is_init_key: NestedKey = "is_init",
        default_recurrent_mode: bool = False,
        device: torch.device | str | int | None = None,
        gru: nn.GRU | None = None,
    ) -> None:
        network = _network(nn.GRU, gru, input_size, hidden_size, num_layers, bias, dropout, device)
        super().__init__(network, in_key, out_key, [state_key], is_init_key, default_recurrent_mode)

    def _run(self, rows: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, after = self.rnn(rows, states[0])
        return output, [after]


def get_primers_from_module(module: nn.Module) -> TensorDictPrimer:
    """The transform that gives an env the memory of all recurrent modules in ``module``.

    Raises:
        ValueError: if there is none.

    Example:
        >>> from agents import TensorDictSequential
        >>> policy = TensorDictSequential(GRUModule(3, 8, in_key="observation", out_key="features"))
        >>> get_primers_from_module(policy).memory_keys
        ['recurrent_state']
    """
    parts = [part for part in module.modules() if isinstance(part, RecurrentModule)]
    if not parts:
        raise ValueError(f"expected a module with recurrent parts, found {type(module).__name__}")
    return TensorDictPrimer(
        {key: leaf for part in parts for key, leaf in part.make_tensordict_primer().primers.items()}
    )


def _network(
    kind: Any,
    given: Any,
    input_size: int | None,
    hidden_size: int | None,
    layers: int,
    bias: bool,
    dropout: float,
    device: torch.device | str | int | None,
) -> Any:
    name = kind.__name__
    if (given is None) == (input_size is None or hidden_size is None):
        raise ValueError(f"{name}Module: expected input_size and hidden_size, or a network, found both or neither")
    if given is None:
        return kind(input_size, hidden_size, layers, bias=bias, dropout=dropout, batch_first=True, device=device)
    if not given.batch_first or given.bidirectional or given.proj_size:
        raise ValueError(f"{name}Module: expected a one-way network with batch_first=True, found {given}")
    return given


def _rows_last(states: list[Tensor], batch_dims: int) -> list[Tensor]:
    """Memory ``[*batch, layers, hidden]`` as torch's networks take it: ``[layers, rows, hidden]``."""
    return [state.reshape(-1, *state.shape[batch_dims:]).transpose(0, 1) for state in states]


def _emptied(states: list[Tensor], first: Tensor) -> list[Tensor]:
    """Memory ``[layers, rows, hidden]``, zero in the rows where an episode begins."""
    return [state.masked_fill(first.unsqueeze(-1), 0.0).contiguous() for state in states]
