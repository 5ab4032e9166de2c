from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from agents import ReplayBuffer
from envkit import GymEnv, KLRewardTransform, SpecError, TransformedEnv


class Actor(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.net = torch.nn.Linear(3, 4)

    def get_dist(self, td):
        return torch.distributions.Categorical(logits=self.net(td["observation"]))


def collected(actor, size):
    td = TensorDict({"observation": torch.randn(*size, 3)}, size)
    with torch.no_grad():
        td["action"] = actor.get_dist(td).sample()
        td["sample_log_prob"] = actor.get_dist(td).log_prob(td["action"])
    td["next", "reward"] = torch.ones(*size, 1)
    return td


@pytest.mark.parametrize("size", [(5,), (2, 3)])
def test_the_divergence_comes_off_the_reward(size):
    policy, reference = Actor(0), Actor(1)
    td = collected(policy, size)
    out = KLRewardTransform(reference, coef=0.5)(td.clone())
    with torch.no_grad():
        ratio = td["sample_log_prob"] - reference.get_dist(td).log_prob(td["action"])
    assert torch.equal(out["next", "reward"], 1 - 0.5 * ratio.unsqueeze(-1))
    assert not out["next", "reward"].requires_grad
    assert set(out.keys(True)) == set(td.keys(True))


def test_none_from_itself():
    policy = Actor(0)
    out = KLRewardTransform(policy, out_keys="shaped")(collected(policy, (4,)))
    assert torch.equal(out["next", "shaped"], out["next", "reward"])


def test_in_a_buffer():
    buffer = ReplayBuffer(transform=KLRewardTransform(Actor(1)))
    buffer.extend(collected(Actor(0), (10,)))
    assert (buffer.sample(4)["next", "reward"] != 1).all()
    assert not buffer.state_dict().get("transform", {})


def test_refused():
    with pytest.raises(SpecError, match="which an env does not see"):
        TransformedEnv(GymEnv("CartPole-v1"), KLRewardTransform(Actor(0)))
    with pytest.raises(TypeError, match="expected an actor with get_dist, found Linear"):
        KLRewardTransform(torch.nn.Linear(1, 1))
    with pytest.raises(KeyError, match=r"sample_log_prob.* is missing"):
        KLRewardTransform(Actor(0))(collected(Actor(0), (3,)).exclude("sample_log_prob"))
    with pytest.raises(ValueError, match=r"expected one log-probability for each reward \[3, 1\], found \[3, 2\]"):
        KLRewardTransform(Actor(0))(collected(Actor(0), (3,)).set("sample_log_prob", torch.zeros(3, 2)))
