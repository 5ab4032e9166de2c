import torch
from tensordict import TensorDict
from torch import nn

from agents.legacy import NormalParamWrapper
from agents.nn import NormalParamExtractor, ProbabilisticActor, TanhNormal, TensorDictModule


def test_is_a_network_and_an_extractor():
    net, inputs = nn.Linear(5, 4), torch.randn(3, 5)
    loc, scale = NormalParamWrapper(net, scale_lb=0.5)(inputs)
    expected = NormalParamExtractor(scale_lb=0.5)(net(inputs))
    torch.testing.assert_close((loc, scale), expected)


def test_serves_an_actor():
    module = TensorDictModule(NormalParamWrapper(nn.Linear(5, 4)), in_keys=["input"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(module, ["loc", "scale"], distribution_class=TanhNormal)
    assert actor(TensorDict({"input": torch.randn(3, 5)}, [3]))["action"].shape == (3, 2)
