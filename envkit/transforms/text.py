"""Text as tokens."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, NonTensorData, NonTensorStack, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Categorical, Composite, NonTensor, TensorSpec
from envkit.transforms.base import Transform
from envkit.transforms.keys import Keys, sibling

__all__ = ["Tokenizer"]


class Tokenizer(Transform):
    """Shows text as tokens, and takes tokens where the env takes text.

    Tokens are int64 ``[*batch, max_length]``: shorter texts are padded on the right, of longer ones the first tokens
    are kept. Beside them stands a bool of the same shape, True where there is a token.

    Args:
        in_keys: texts of the env, ``["text"]`` by default if there are no ``in_keys_inv``.
        out_keys: names of their tokens, ``"tokens"`` beside each by default.
        in_keys_inv: text actions (and states) of the env.
        out_keys_inv: names of their tokens outside.
        tokenizer: an object with ``encode(text)`` and ``decode(tokens)``, such as those of Hugging Face.
        max_length: how many tokens there are.
        vocab_size: number of tokens; by default the tokenizer's ``vocab_size``.
        pad_token_id: the padding; by default the tokenizer's ``pad_token_id``, or 0. What is decoded ends where padding
            begins.
        return_attention_mask: whether there is a mask.
        attention_mask_key: its name.

    Raises:
        SpecError: an entry is no text.
        ValueError: the number of tokens is not known.

    Examples:
        >>> from tensordict import TensorDict
        >>> class Letters:
        ...     vocab_size = 128
        ...     def encode(self, text):
        ...         return [ord(letter) for letter in text]
        ...     def decode(self, tokens):
        ...         return "".join(map(chr, tokens))
        >>> tokenizer = Tokenizer(in_keys=["text"], tokenizer=Letters(), max_length=4)
        >>> tokenizer(TensorDict({"text": "hi"}))["tokens"]
        tensor([104, 105,   0,   0])
    """

    def __init__(
        self,
        in_keys: Keys = None,
        out_keys: Keys = None,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        *,
        tokenizer: Any,
        max_length: int,
        vocab_size: int | None = None,
        pad_token_id: int | None = None,
        return_attention_mask: bool = True,
        attention_mask_key: str = "attention_mask",
    ) -> None:
        if in_keys is None and in_keys_inv is None:
            in_keys = ["text"]
        if out_keys is None and in_keys is not None:
            out_keys = [sibling(key, "tokens") for key in ([in_keys] if isinstance(in_keys, (str, tuple)) else in_keys)]
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        if max_length < 1:
            raise ValueError(f"Tokenizer: max_length: expected at least 1, found {max_length}")
        size = getattr(tokenizer, "vocab_size", None) if vocab_size is None else vocab_size
        if size is None:
            raise ValueError(f"Tokenizer: expected vocab_size, or a tokenizer that has one, found {tokenizer!r}")
        pad = getattr(tokenizer, "pad_token_id", None) if pad_token_id is None else pad_token_id
        self.tokenizer, self.max_length, self.vocab_size = tokenizer, max_length, size
        self.pad_token_id = 0 if pad is None else pad
        self.return_attention_mask, self.attention_mask_key = return_attention_mask, attention_mask_key

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        values = [next_tensordict.get(key, None) for key in self.in_keys]
        for key, value in zip(self.out_keys, values, strict=True):
            if value is None:
                continue
            lists = _nested(value, self._tokens)
            tokens = _mapped(lists, lambda ids: ids + [self.pad_token_id] * (self.max_length - len(ids)))
            device = next_tensordict.device
            next_tensordict.set(key, torch.tensor(tokens, device=device))
            if self.return_attention_mask:
                mask = _mapped(lists, lambda ids: [i < len(ids) for i in range(self.max_length)])
                next_tensordict.set(sibling(key, self.attention_mask_key), torch.tensor(mask, device=device))
        return next_tensordict

    def _tokens(self, text: str) -> _Tokens:
        return _Tokens(list(self.tokenizer.encode(text))[: self.max_length])

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        for key, out_key in zip(self.in_keys_inv, self.out_keys_inv, strict=True):
            tokens = tensordict.get(out_key, None)
            if tokens is not None:
                tensordict = tensordict.exclude(out_key) if key == out_key else tensordict
                tensordict.set(key, self._texts(tokens.tolist(), tokens.ndim - 1))
        return tensordict

    def _texts(self, tokens: list, dims: int) -> Any:
        if dims:
            return NonTensorStack(*(self._texts(part, dims - 1) for part in tokens))
        end = tokens.index(self.pad_token_id) if self.pad_token_id in tokens else len(tokens)
        return NonTensorData(self.tokenizer.decode(tokens[:end]))

    def _leaf(self, key: NestedKey, leaf: TensorSpec) -> Categorical:
        if not isinstance(leaf, NonTensor):
            raise SpecError(f"Tokenizer: {key!r}: expected text, found {leaf}")
        return Categorical(self.vocab_size, (*leaf.shape, self.max_length), device=leaf.device)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds tokens and masks."""
        out = observation_spec.clone()
        for key, out_key in zip(self.in_keys, self.out_keys, strict=True):
            tokens = self._leaf(key, observation_spec.get(key, None))
            if out_key == key:
                del out[key]
            out[out_key] = tokens
            if self.return_attention_mask:
                mask = Categorical(2, tokens.shape, dtype=torch.bool, device=tokens.device)
                out[sibling(out_key, self.attention_mask_key)] = mask
        return out

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """Tokens in the place of text."""
        return self._taken(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Tokens in the place of text."""
        return self._taken(state_spec)

    def _taken(self, spec: Composite) -> Composite:
        out = spec.clone()
        for key, out_key in zip(self.in_keys_inv, self.out_keys_inv, strict=True):
            if key in spec.keys(True):
                tokens = self._leaf(key, spec[key])
                del out[key]
                out[out_key] = tokens
        return out

    def extra_repr(self) -> str:
        """The keys."""
        return f"{super().extra_repr()}, max_length={self.max_length}"


class _Tokens(list):
    """The tokens of one text, in lists of the shape of a batch."""


def _nested(value: Any, make: Any) -> Any:
    """What ``make`` makes of each text, in lists nested as the batch is."""
    if isinstance(value, str):
        return make(value)
    if isinstance(value, NonTensorData):
        return make(value.data)
    return [_nested(part, make) for part in value.unbind(0)]


def _mapped(lists: Any, function: Any) -> Any:
    return function(lists) if isinstance(lists, _Tokens) else [_mapped(part, function) for part in lists]
