from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import LLMEnv, LLMHashingEnv, check_env_specs
from envkit.native.tokens import chain_hash, hash_tokens


class Letters:
    """A tokenizer of one token a letter."""

    vocab_size = 128

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def write(env, *actions, start=None):
    td = env.reset(start)
    for action in actions:
        if isinstance(action, (str, list)):
            td["action"] = action
        else:
            td["action"] = torch.as_tensor(action)
        last = env.step(td)["next"]
        td = env.step_mdp(td)
    return last


@pytest.mark.parametrize(
    "make",
    [
        lambda: LLMHashingEnv(10),
        lambda: LLMHashingEnv(tokenizer=Letters(), prompt="ab"),
        lambda: LLMEnv(Letters(), prompts=["hi", "Mr"]),
        lambda: LLMEnv(prompts=["hi"], str2str=True, max_tokens=10),
        lambda: LLMEnv(Letters(), prompts=["hi", [77]], str2str=True, batch_size=[2]),
    ],
)
def test_specs_hold(make):
    assert check_env_specs(make(), seed=0) == []


class TestHashing:
    def test_equal_chains_have_equal_hashes(self):
        env = LLMHashingEnv(10)
        whole = env.reset(TensorDict({"observation": torch.tensor([1, 2, 3])}))["hashing"]
        assert torch.equal(write(env, 1, 2, 3)["hashing"], whole)
        assert not torch.equal(write(env, 2, 1, 3)["hashing"], whole)

    def test_no_collisions_among_short_chains(self):
        grid = torch.cartesian_prod(*[torch.arange(32)] * 3)
        hashes = [hash_tokens(grid), hash_tokens(grid[:, :2].unique(dim=0)), hash_tokens(grid[:32, 2:])]
        assert torch.cat(hashes).unique().numel() == 32**3 + 32**2 + 32

    def test_bits_are_even(self):
        bits = (hash_tokens(torch.arange(4096).unsqueeze(-1)).unsqueeze(-1) >> torch.arange(64)) & 1
        assert (bits.double().mean(0) - 0.5).abs().max() < 0.05

    def test_the_hash_is_that_of_splitmix64(self):
        def finalise(z):
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
            return z ^ (z >> 31)

        for before, token in [(0, 0), (5, 7), (2**62 + 3, 99)]:
            expected = finalise((before * 6364136223846793005 + token + 0x9E3779B97F4A7C15) % 2**64)
            assert chain_hash(torch.tensor([before, token])).item() % 2**64 == expected

    def test_text_follows_the_tokens(self):
        env = LLMHashingEnv(tokenizer=Letters(), prompt="ab")
        assert env.reset()["text"] == "ab"
        last = write(env, [99, 100], start=TensorDict({}, [2]))
        assert last["text"] == ["abc", "abd"]
        assert last["observation"].tolist() == [[97, 98, 99], [97, 98, 100]]

    def test_a_hashing_module_of_ones_own(self):
        env = LLMHashingEnv(10, hashing_module=lambda pair: pair.sum(-1))
        assert write(env, 1, 2, 3)["hashing"].tolist() == [6]

    def test_keys_can_be_named(self):
        env = LLMHashingEnv(10, observation_key="tokens", hashing_key="node")
        assert env.observation_keys == ["node", "tokens"]

    def test_every_node_can_be_gone_on_from(self):
        env = LLMHashingEnv(10)
        node = env.step_mdp(env.step(env.reset().set("action", torch.tensor(4))))
        children = {env.step(node.clone().set("action", torch.tensor(i)))["next", "hashing"].item() for i in range(10)}
        assert len(children) == 10

    @pytest.mark.parametrize(
        ("kwargs", "match"),
        [
            ({}, "vocab_size"),
            ({"vocab_size": 3, "text_output": True}, "text_output"),
            ({"vocab_size": 3, "prompt": "a"}, "tokenizer"),
        ],
    )
    def test_bad_options(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            LLMHashingEnv(**kwargs)


class TestTokens:
    def test_tokens_are_appended_and_padded(self):
        env = LLMEnv(vocab_size=10, prompts=[[1, 2]], max_tokens=5, pad_token_id=9)
        last = write(env, 3)
        assert last["tokens"].tolist() == [1, 2, 3, 9, 9]
        assert last["attention_mask"].tolist() == [True, True, True, False, False]

    def test_ends(self):
        env = LLMEnv(vocab_size=10, prompts=[[1]], max_tokens=3, eos=0)
        ended, full = write(env, 0), write(env, 4, 5)
        assert ended["terminated"].item()
        assert not ended["truncated"].item()
        assert full["truncated"].item()
        assert not full["terminated"].item()
        both = write(env, 4, 0)
        assert both["terminated"].item()
        assert not both["truncated"].item()

    def test_prompts_are_drawn_for_each_element(self):
        env = LLMEnv(Letters(), prompts=["abc", "x"], max_tokens=8)
        env.set_seed(0)
        td = env.reset(TensorDict({}, [200]))
        lengths = td["attention_mask"].sum(-1)
        assert set(lengths.tolist()) == {1, 3}
        assert 70 < (lengths == 1).sum() < 130
        assert (td["tokens"][lengths == 1, 0] == ord("x")).all()

    def test_rewards_see_what_follows(self):
        env = LLMEnv(vocab_size=10, eos=0, reward=lambda td: td["tokens"].sum(-1, keepdim=True) * td["terminated"])
        last = write(env, [3, 4], [0, 5], start=TensorDict({}, [2]))
        assert last["reward"].tolist() == [[3.0], [0.0]]

    @pytest.mark.parametrize(
        ("kwargs", "match"),
        [
            ({}, "vocab_size"),
            ({"vocab_size": 5, "prompts": []}, "prompts"),
            ({"vocab_size": 5, "prompts": [[1, 2, 3]], "max_tokens": 3}, "max_tokens=3"),
            ({"vocab_size": 5, "prompts": ["text"]}, "tokenizer"),
            ({"vocab_size": 5, "eos": "stop"}, "eos"),
            ({"str2str": True, "eos": 3}, "eos"),
            ({"str2str": True, "prompts": [[1]]}, "tokenizer"),
        ],
    )
    def test_bad_options(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            LLMEnv(**kwargs)


class TestText:
    def test_pieces_of_text_are_appended(self):
        env = LLMEnv(prompts=["2 + 2 ="], str2str=True, eos=".", reward=lambda td: float("4" in td["text"]))
        last = write(env, " 4", ".")
        assert last["text"] == "2 + 2 = 4."
        assert last["reward"].tolist() == [1.0]
        assert last["terminated"].item()

    def test_each_element_has_its_text(self):
        env = LLMEnv(prompts=["a"], str2str=True, max_tokens=4)
        last = write(env, ["bc", "bcd"], start=TensorDict({}, [2]))
        assert last["text"] == ["abc", "abcd"]
        assert last["truncated"][:, 0].tolist() == [False, True]

    def test_rollouts_of_text(self):
        env = LLMEnv(prompts=["a"], str2str=True, max_tokens=4)
        data = env.rollout(10, lambda td: td.set("action", "!"), break_when_any_done=False)
        assert [step["next", "text"] for step in data.unbind(0)][:4] == ["a!", "a!!", "a!!!", "a!"]
