"""Writing text, by tokens or by pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.native.tokens import Tokenizer, each_text, encoded
from envkit.specs import Bounded, Categorical, Composite, NonTensor, TensorSpec, Unbounded
from envkit.storage import unchecked

__all__ = ["LLMEnv"]


class LLMEnv(NativeEnv):
    """Writes text: each step appends an action to a prompt and what was written since.

    By tokens, everything has a fixed size:

    ================ ================================== ===================================================
    entry            dtype and shape                    content
    ================ ================================== ===================================================
    tokens           int64 ``[*batch, max_tokens]``     the prompt and what follows it, then ``pad_token_id``
    attention_mask   bool ``[*batch, max_tokens]``      where there is a token
    action           int64 ``[*batch]``                 the next token
    reward           float32 ``[*batch, 1]``            what ``reward`` says; 0 without it
    terminated       bool ``[*batch, 1]``               the token was ``eos``
    truncated        bool ``[*batch, 1]``               there is no room for another one
    ================ ================================== ===================================================

    With ``str2str=True`` observation (``"text"``) and action are strings, one for each element of the batch. An action
    is a piece of text of any length, ``eos`` is a text that an action ends with, and the room is counted in tokens if
    there is a tokenizer, and in characters otherwise. Rollouts are then lazy stacks.

    Args:
        tokenizer: an object with ``encode(text)`` and ``decode(tokens)``, such as those of Hugging Face; needed for
            prompts that are texts.
        vocab_size: number of tokens; by default the tokenizer's ``vocab_size``. Not needed for strings.
        prompts: what to start from, of which each reset draws one for each element: texts, or sequences of tokens.
        max_tokens: room for the prompt and what follows it.
        eos: the token (or the text) that ends an episode.
        pad_token_id: stands where there is no token yet.
        reward: from the TensorDict of what follows a step to its reward, a tensor of shape ``[*batch, 1]`` (or a
            number, without a batch). It finds ``terminated`` and ``truncated`` there as well.
        str2str: strings instead of tokens.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.

    Raises:
        ValueError: neither a number of tokens nor a tokenizer that knows it; a prompt that leaves no room; no prompt.

    Examples:
        >>> env = LLMEnv(vocab_size=50, prompts=[[3, 1, 4]], max_tokens=6, eos=0)
        >>> td = env.reset()
        >>> td["action"] = torch.tensor(15)
        >>> env.step(td)["next", "tokens"]
        tensor([ 3,  1,  4, 15,  0,  0])
        >>> env = LLMEnv(prompts=["The answer is"], str2str=True, eos=".")
        >>> td = env.reset().set_non_tensor("action", " 42.")
        >>> td = env.step(td)
        >>> td["next", "text"], td["next", "terminated"]
        ('The answer is 42.', tensor([True]))
    """

    _prompts: torch.Tensor
    _lengths: torch.Tensor

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        *,
        vocab_size: int | None = None,
        prompts: Sequence[str | Sequence[int]] = ("",),
        max_tokens: int = 64,
        eos: int | str | None = None,
        pad_token_id: int = 0,
        reward: Callable[[TensorDictBase], Any] | None = None,
        str2str: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(device, batch_size)
        if not prompts:
            raise ValueError("prompts: expected at least one, found none")
        if eos is not None and isinstance(eos, str) is not str2str:
            raise ValueError(f"eos: expected a {'text' if str2str else 'token'}, found {eos!r}")
        self.tokenizer, self.max_tokens, self.eos, self.reward, self.str2str = (
            tokenizer,
            max_tokens,
            eos,
            reward,
            str2str,
        )
        if str2str:
            self._texts = [text if isinstance(text, str) else self._decoded(text) for text in prompts]
            lengths = [self._length(text) for text in self._texts]
            self.observation_spec_unbatched = Composite(text=NonTensor((), example_data=self._texts[0]))
            action: TensorSpec = NonTensor((), example_data=" ")
        else:
            vocab_size = vocab_size or getattr(tokenizer, "vocab_size", None)
            if vocab_size is None:
                raise ValueError("vocab_size: expected a number, or a tokenizer with a vocab_size, found neither")
            numbers = [encoded(prompt, tokenizer) for prompt in prompts]
            lengths = [len(prompt) for prompt in numbers]
            self.observation_spec_unbatched = Composite(
                tokens=Bounded(0, max(vocab_size - 1, pad_token_id), (max_tokens,), dtype=torch.int64),
                attention_mask=Categorical(2, (max_tokens,), dtype=torch.bool),
            )
            action = Categorical(vocab_size)
        if max(lengths) >= max_tokens:
            raise ValueError(
                f"prompts: expected fewer than max_tokens={max_tokens} tokens, found {max(lengths)} in prompt "
                f"{lengths.index(max(lengths))}"
            )
        if not str2str:
            rows = [[*prompt, *[pad_token_id] * (max_tokens - len(prompt))] for prompt in numbers]
            self.register_buffer("_prompts", torch.tensor(rows, device=self._device), persistent=False)
            self.register_buffer("_lengths", torch.tensor(lengths, device=self._device), persistent=False)
        self.action_spec_unbatched = action
        self.state_spec_unbatched = self.observation_spec_unbatched.clone()
        flag = Categorical(2, (1,), dtype=torch.bool)
        self.full_done_spec_unbatched = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    def _decoded(self, tokens: Sequence[int]) -> str:
        if self.tokenizer is None:
            raise ValueError(f"prompts: expected texts, or a tokenizer, found the tokens {list(tokens)}")
        return self.tokenizer.decode(tokens)

    def _length(self, text: str) -> int:
        return len(text) if self.tokenizer is None else len(self.tokenizer.encode(text))

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        count = len(self._texts) if self.str2str else len(self._prompts)
        which = torch.randint(count, size, generator=self._random, device=self._device)
        if self.str2str:
            return unchecked(
                {"text": each_text(which.tolist(), self._texts.__getitem__, len(size))}, size, self._device
            )
        there = torch.arange(self.max_tokens, device=self._device) < self._lengths[which].unsqueeze(-1)
        return unchecked({"tokens": self._prompts[which], "attention_mask": there}, size, self._device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        out = self._written(tensordict) if self.str2str else self._appended(tensordict)
        if self.reward is None:
            reward = torch.zeros((*out.batch_size, 1), device=self._device)
        else:
            reward = torch.as_tensor(self.reward(out), dtype=torch.float32, device=self._device)
        return out.set("reward", reward.reshape(*out.batch_size, 1))

    def _appended(self, tensordict: TensorDictBase) -> TensorDictBase:
        action, mask = tensordict["action"].unsqueeze(-1), tensordict["attention_mask"]
        # Where the room is used up already, which only elements that are not to be stepped are, nothing is lost: what
        # they hold is put back.
        place = mask.sum(-1, keepdim=True).clamp(max=self.max_tokens - 1)
        tokens = tensordict["tokens"].scatter(-1, place, action)
        mask = mask.scatter(-1, place, torch.ones_like(place, dtype=torch.bool))
        ended = torch.zeros_like(action, dtype=torch.bool) if self.eos is None else action == self.eos
        full = (place >= self.max_tokens - 1) & ~ended
        seen = {"tokens": tokens, "attention_mask": mask}
        return unchecked({**seen, "terminated": ended, "truncated": full}, tensordict.batch_size, self._device)

    def _written(self, tensordict: TensorDictBase) -> TensorDictBase:
        size = tensordict.batch_size
        pieces, texts = (_flat(tensordict.get(key), len(size)) for key in ("action", "text"))
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        ended = [self.eos is not None and piece.endswith(str(self.eos)) for piece in pieces]
        full = [self._length(text) >= self.max_tokens and not end for text, end in zip(texts, ended, strict=True)]
        numbers = torch.arange(size.numel()).reshape(size).tolist()
        flags = [torch.tensor(flag, device=self._device).reshape(*size, 1) for flag in (ended, full)]
        text = each_text(numbers, texts.__getitem__, len(size))
        return unchecked({"text": text, "terminated": flags[0], "truncated": flags[1]}, size, self._device)


def _flat(texts: Any, dims: int) -> list[str]:
    values = texts.tolist() if dims else [texts.data]
    for _ in range(dims - 1):
        values = [text for group in values for text in group]
    return values
