from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict, TensorDictParams
from tensordict.nn import TensorDictModule
from torch import nn

from envkit import Collector
from envkit.collectors.weights import load_weights, placed


class Net(nn.Module):
    """Parameters, and buffers of both kinds."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("fixed", torch.zeros(3), persistent=False)

    def forward(self, observation):
        return self.linear(observation).argmax(-1)


def policy():
    return TensorDictModule(Net(), in_keys=["observation"], out_keys=["action"])


def same(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


FORMS = {
    "state_dict": lambda module: module.state_dict(),
    "tensordict": TensorDict.from_module,
    "params": lambda module: TensorDictParams(TensorDict.from_module(module)),
    "data": lambda module: TensorDict.from_module(module).data,
}


class TestLoading:
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_in_place(self, form):
        old, new = policy(), policy()
        parameters = list(old.parameters())
        assert not same(old, new)
        load_weights(old, form(new))
        assert same(old, new)
        assert all(a is b for a, b in zip(old.parameters(), parameters, strict=True))
        with torch.no_grad():
            new.module.linear.weight.add_(1)
        assert not same(old, new)

    def test_of_another_policy(self):
        with pytest.raises(RuntimeError, match="size mismatch"):
            load_weights(policy(), {**policy().state_dict(), "module.linear.bias": torch.zeros(5)})
        with pytest.raises(RuntimeError, match="Missing key"):
            load_weights(policy(), TensorDict({}))

    @pytest.mark.parametrize(
        ("module", "weights", "message"),
        [
            (lambda td: td, {}, "expected an nn.Module to load them into, found function"),
            (None, {}, "expected an nn.Module to load them into, found NoneType"),
            (nn.Linear(1, 1), [1], "expected a state_dict or a TensorDict, found list"),
        ],
    )
    def test_of_nothing(self, module, weights, message):
        with pytest.raises(TypeError, match=f"policy_weights: {message}"):
            load_weights(module, weights)


class TestPlaces:
    def test_a_policy_that_is_there_is_not_copied(self):
        module = policy()
        assert placed(module, None) is placed(module, torch.device("cpu")) is module
        assert placed(len, torch.device("meta")) is len
        assert placed(None, torch.device("meta")) is None
        there = policy().to("meta")
        assert placed(there, torch.device("meta")) is there

    def test_a_policy_that_is_elsewhere_is_copied(self):
        module = policy()
        copied = placed(module, torch.device("meta"))
        assert {tensor.device.type for tensor in copied.parameters()} == {"meta"}
        assert {tensor.device.type for tensor in module.parameters()} == {"cpu"}


class TestCollecting:
    def biased(self, action):
        module = policy()
        with torch.no_grad():
            module.module.linear.bias.copy_(torch.eye(2)[action] * 100)
        return module

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_with_weights(self, scripted, form):
        collector = Collector(scripted(), self.biased(0), frames_per_batch=3)
        assert collector.next()["action"].tolist() == [0, 0, 0]
        collector.update_policy_weights_(form(self.biased(1)))
        assert collector.next()["action"].tolist() == [1, 1, 1]

    def test_the_policy_itself_needs_none(self, scripted):
        collector = Collector(scripted(), self.biased(0), frames_per_batch=3)
        load_weights(collector.policy, self.biased(1).state_dict())
        collector.update_policy_weights_()
        assert collector.next()["action"].tolist() == [1, 1, 1]

    def test_of_a_function(self, scripted):
        collector = Collector(scripted(), lambda td: td.set("action", torch.tensor(0)), frames_per_batch=3)
        collector.update_policy_weights_()
        with pytest.raises(TypeError, match=r"policy_weights: expected an nn\.Module"):
            collector.update_policy_weights_({})

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_on_another_device(self, scripted):
        trained = self.biased(0).cuda()
        collector = Collector(scripted(), trained, frames_per_batch=3, policy_device="cpu")
        assert collector.next()["action"].tolist() == [0, 0, 0]
        load_weights(trained, self.biased(1).state_dict())
        assert collector.next()["action"].tolist() == [0, 0, 0]
        collector.update_policy_weights_()
        assert collector.next()["action"].tolist() == [1, 1, 1]
        assert next(trained.parameters()).is_cuda
