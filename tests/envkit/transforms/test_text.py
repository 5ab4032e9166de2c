from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import NonTensorData, NonTensorStack, TensorDict

from envkit import (
    Categorical,
    GymEnv,
    LLMEnv,
    SpecError,
    Tokenizer,
    TransformedEnv,
)

few = settings(deadline=None, max_examples=30, derandomize=True)


class Letters:
    """A token for each letter of ASCII."""

    vocab_size, pad_token_id = 128, 0

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def tokens_of(texts, length):
    return torch.tensor([(Letters().encode(text) + [0] * length)[:length] for text in texts])


@few
@given(texts=st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=9), min_size=1, max_size=4))
def test_round_trip(texts):
    both = Tokenizer("text", "tokens", "text", "tokens", tokenizer=Letters(), max_length=9)
    td = TensorDict({"text": NonTensorStack(*map(NonTensorData, texts))}, [len(texts)])
    out = both(td)
    assert torch.equal(out["tokens"], tokens_of(texts, 9))
    assert torch.equal(out["attention_mask"], out["tokens"] != 0)
    back = both.inv(out.exclude("text"))
    assert back["text"] == texts
    assert both(TensorDict({"text": texts[0]}))["tokens"].shape == (9,)


def test_long_texts_are_cut():
    short = Tokenizer(tokenizer=Letters(), max_length=3, return_attention_mask=False)
    out = short(TensorDict({"text": "abcdef"}))
    assert out["tokens"].tolist() == [97, 98, 99]
    assert "attention_mask" not in out.keys()


class TestInAnEnv:
    def make(self, **kwargs):
        base = LLMEnv(prompts=["ab"], str2str=True, eos=".", max_tokens=12, **kwargs)
        transform = Tokenizer("text", None, "action", "action", tokenizer=Letters(), max_length=6)
        return TransformedEnv(base, transform)

    def test_of_text(self):
        env = self.make()
        assert env.action_spec == Categorical(128, (6,))
        assert env.observation_spec["tokens"] == Categorical(128, (6,))
        td = env.reset()
        assert torch.equal(td["tokens"], tokens_of(["ab"], 6)[0])
        td = env.step(td.set("action", tokens_of(["cd"], 6)[0]))
        assert torch.equal(td["next", "tokens"], tokens_of(["abcd"], 6)[0])
        td = env.step(env.step_mdp(td).set("action", tokens_of(["."], 6)[0]))
        assert td["next", "terminated"].item()

    def test_in_a_loop(self):
        env = self.make(batch_size=[2])
        data = env.rollout(2, lambda td: td.set("action", tokens_of(["x", "yz"], 6)))
        assert torch.equal(data[:, -1]["next", "tokens"], tokens_of(["abxx", "abyzyz"], 6))

    def test_refused(self):
        with pytest.raises(SpecError, match="Tokenizer: 'observation': expected text, found"):
            TransformedEnv(GymEnv("CartPole-v1"), Tokenizer("observation", tokenizer=Letters(), max_length=3))
        with pytest.raises(ValueError, match="Tokenizer: expected vocab_size, or a tokenizer that has one"):
            Tokenizer(tokenizer=object(), max_length=3)
        with pytest.raises(ValueError, match="Tokenizer: max_length: expected at least 1, found 0"):
            Tokenizer(tokenizer=Letters(), max_length=0)
