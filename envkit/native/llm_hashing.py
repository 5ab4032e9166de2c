"""Text as a tree: one token a step, and a hash of all that led there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.native_env import NativeEnv
from envkit.native.tokens import Tokenizer, chain_hash, each_text, encoded, hash_tokens
from envkit.specs import Bounded, Categorical, Composite, NonTensor, Unbounded

__all__ = ["LLMHashingEnv"]


class LLMHashingEnv(NativeEnv):
    """Generates text token by token, and tells each chain of tokens by a hash: the node of a search tree.

    ============== ============================= ========================================================
    entry          dtype and shape               content
    ============== ============================= ========================================================
    observation    int64 ``[*batch, -1]``        the prompt and all tokens chosen since: one more a step
    hashing        int64 ``[*batch, 1]``         hash of the observation: equal chains have equal hashes
    text           str, one for each element     the observation decoded (``text_output``)
    action         int64 ``[*batch]``            the next token
    reward         float32 ``[*batch, 1]``       0
    terminated     bool ``[*batch, 1]``          never
    ============== ============================= ========================================================

    A step reads ``observation`` and ``hashing`` from its input, so that every node of a tree can be gone on from. The
    length of the observation grows: rollouts are lazy stacks, and the elements of a batch start anew together. A reset
    starts from the tokens in its input, if there are any and it is not the reset of elements that ended, and otherwise
    from ``prompt``.

    Args:
        vocab_size: number of tokens; by default the tokenizer's ``vocab_size``.
        hashing_module: from int64 ``[*batch, 2]``, the hash so far and the next token, to the next hash, int64
            ``[*batch]``; :func:`~envkit.native.tokens.chain_hash` by default, whose values are equal for different
            chains once in 2**64 times.
        observation_key, hashing_key, text_key: names of the entries.
        text_output: whether there is text; by default if there is a tokenizer.
        tokenizer: an object with ``encode(text)`` and ``decode(tokens)``.
        prompt: tokens, or a text, to start from.
        device: device of inputs and outputs.

    Raises:
        ValueError: neither a number of tokens nor a tokenizer that knows it; text without a tokenizer.

    Examples:
        >>> env = LLMHashingEnv(vocab_size=100)
        >>> td = env.reset(TensorDict({"observation": torch.tensor([[3, 1], [3, 2]])}, [2]))
        >>> td["action"] = torch.tensor([7, 7])
        >>> td = env.step_mdp(env.step(td))
        >>> td["observation"]
        tensor([[3, 1, 7],
                [3, 2, 7]])
        >>> td["hashing"].unique().numel()
        2
    """

    def __init__(
        self,
        vocab_size: int | None = None,
        *,
        hashing_module: Callable[[torch.Tensor], torch.Tensor] | None = None,
        observation_key: str = "observation",
        hashing_key: str = "hashing",
        text_output: bool | None = None,
        text_key: str = "text",
        tokenizer: Tokenizer | None = None,
        prompt: str | Sequence[int] = (),
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device)
        vocab_size = vocab_size or getattr(tokenizer, "vocab_size", None)
        if vocab_size is None:
            raise ValueError("vocab_size: expected a number, or a tokenizer with a vocab_size, found neither")
        if text_output and tokenizer is None:
            raise ValueError("text_output: expected a tokenizer, found none")
        self.tokenizer = tokenizer
        self.text_output = tokenizer is not None if text_output is None else text_output
        self.hashing_module = chain_hash if hashing_module is None else hashing_module
        self.observation_key, self.hashing_key, self.text_key = observation_key, hashing_key, text_key
        self.prompt = encoded(prompt, tokenizer)
        read = Composite(
            {
                observation_key: Bounded(0, vocab_size - 1, (-1,), dtype=torch.int64),
                hashing_key: Unbounded((1,), dtype=torch.int64),
            }
        )
        self.state_spec = read
        shown = read.clone()
        if self.text_output:
            shown[text_key] = NonTensor((), example_data="")
        self.observation_spec = shown
        self.action_spec = Categorical(vocab_size)
        self.reward_spec = Unbounded((1,), dtype=torch.float32)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self._size(tensordict)
        tokens = None
        if tensordict is not None and "_reset" not in tensordict:
            tokens = tensordict.get(self.observation_key, None)
        if tokens is None:
            tokens = torch.tensor(self.prompt, dtype=torch.int64, device=self._device).expand(*size, -1).clone()
        return self._shown(tokens, hash_tokens(tokens, self.hashing_module))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["action"].unsqueeze(-1)
        tokens = torch.cat((tensordict[self.observation_key], action), -1)
        value = self.hashing_module(torch.cat((tensordict[self.hashing_key], action), -1))
        out = self._shown(tokens, value)
        out["reward"] = torch.zeros((*out.batch_size, 1), device=self._device)
        out["terminated"] = torch.zeros((*out.batch_size, 1), dtype=torch.bool, device=self._device)
        return out

    def _shown(self, tokens: torch.Tensor, value: torch.Tensor) -> TensorDictBase:
        size = tokens.shape[:-1]
        out = TensorDict({self.observation_key: tokens, self.hashing_key: value.unsqueeze(-1)}, size)
        if self.text_output:
            decode = self.tokenizer.decode  # type: ignore[union-attr]
            out.set(self.text_key, each_text(tokens.tolist(), decode, len(size)))
        return out
