"""What the envs of text share: tokenizers, hashes of chains of tokens, and strings in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from tensordict import NonTensorData, NonTensorStack

__all__ = ["Tokenizer", "chain_hash", "each_text", "encoded", "hash_tokens"]

# The increment and the multipliers of SplitMix64 as signed numbers.
INCREMENT, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
FACTOR = 6364136223846793005  # Knuth's multiplier for congruential generators modulo 2**64


class Tokenizer(Protocol):
    """Anything that turns text into numbers and back, such as the tokenizers of Hugging Face."""

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of ``text``."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens``."""


def chain_hash(pair: torch.Tensor) -> torch.Tensor:
    """The hash of a chain of tokens, from that of all but its last one.

    A linear step modulo 2**64 and the finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators" (2014).

    Args:
        pair: int64, shape ``[*batch, 2]``: the hash so far (0 for the empty chain) and the next token.

    Returns:
        int64, shape ``[*batch]``.

    Examples:
        >>> first = chain_hash(torch.tensor([0, 7]))
        >>> bool(first == chain_hash(torch.tensor([0, 8])))
        False
    """
    before, token = pair.unbind(-1)
    mixed = before * FACTOR + token + INCREMENT
    mixed = (mixed ^ _shifted(mixed, 30)) * FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * SECOND
    return mixed ^ _shifted(mixed, 31)


def _shifted(number: torch.Tensor, bits: int) -> torch.Tensor:
    """A shift to the right that fills up with zeros, which torch has not for signed numbers."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def hash_tokens(tokens: torch.Tensor, step: Callable[[torch.Tensor], torch.Tensor] = chain_hash) -> torch.Tensor:
    """The hash of whole chains, one token after the other.

    Args:
        tokens: int64, shape ``[*batch, length]``.
        step: from ``[*batch, 2]``, a hash and a token, to the next hash.

    Returns:
        int64, shape ``[*batch]``.

    Examples:
        >>> hash_tokens(torch.tensor([[1, 2], [2, 1]])).unique().numel()
        2
    """
    value = torch.zeros(tokens.shape[:-1], dtype=torch.int64, device=tokens.device)
    for token in tokens.unbind(-1):
        value = step(torch.stack((value, token), -1))
    return value


def encoded(text: str | Sequence[int], tokenizer: Tokenizer | None) -> list[int]:
    """A prompt as tokens.

    Raises:
        ValueError: it is text, and there is no tokenizer.
    """
    if not isinstance(text, str):
        return list(text)
    if not text:
        return []
    if tokenizer is None:
        raise ValueError(f"expected tokens, or a tokenizer, found the text {text!r}")
    return list(tokenizer.encode(text))


def each_text(values: Any, make: Callable[[Any], str], dims: int) -> Any:
    """Texts for the elements of a batch: ``make`` of each item of ``values``, lists nested ``dims`` deep."""
    if not dims:
        return NonTensorData(make(values))
    return NonTensorStack(*(each_text(value, make, dims - 1) for value in values))
