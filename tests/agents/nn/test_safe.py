import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import (
    Delta,
    IndependentNormal,
    InteractionType,
    NormalParamExtractor,
    SafeModule,
    SafeProbabilisticModule,
    SafeProbabilisticTensorDictSequential,
    SafeSequential,
    TensorDictModule,
    VmapModule,
    set_interaction_type,
)
from envkit import Bounded, Categorical, Composite

BOX = Bounded(-1.0, 1.0, shape=(2,))
FAR = TensorDict({"obs": torch.tensor([[9.0, -9.0], [0.5, 9.0]])}, [2])


def test_only_safe_modules_project():
    for safe in (False, True):
        module = SafeModule(nn.Identity(), ["obs"], ["action"], spec=BOX, safe=safe)
        expected = torch.tensor([[1.0, -1.0], [0.5, 1.0]]) if safe else FAR["obs"]
        assert torch.equal(module(FAR.clone())["action"], expected)
        assert torch.equal(module(FAR["obs"]), expected)
        assert torch.equal(module(obs=FAR["obs"]), expected)


def test_several_outputs_have_specs_of_their_own():
    spec = Composite({("agent", "a"): BOX})
    module = SafeModule(lambda x: (x, x), ["obs"], [("agent", "a"), "b"], spec=spec, safe=True)
    td = module(FAR.clone())
    assert BOX.is_in(td["agent", "a"])
    assert torch.equal(td["b"], FAR["obs"])


def test_samples_are_projected():
    module = SafeProbabilisticModule(
        ["loc", "scale"],
        ["action"],
        BOX,
        safe=True,
        default_interaction_type="random",
        distribution_class=IndependentNormal,
        return_log_prob=True,
    )
    td = module(TensorDict({"loc": FAR["obs"], "scale": torch.ones(2, 2)}, [2]))
    assert BOX.is_in(td["action"])
    assert len(td.keys()) == 4
    assert module.default_interaction_type is InteractionType.RANDOM


def test_sequences_join_specs():
    net = nn.Sequential(nn.Linear(2, 4), NormalParamExtractor())
    first = SafeModule(net, ["obs"], ["loc", "scale"], spec=Composite(loc=BOX))
    last = SafeProbabilisticModule(
        {"loc": "loc", "scale": "scale"}, "action", BOX, safe=True, distribution_class=IndependentNormal
    )
    plain = TensorDictModule(nn.Identity(), ["obs"], ["copy"])
    policy = SafeProbabilisticTensorDictSequential(first, plain, last)
    assert set(policy.spec.keys()) == {"loc", "action"}
    with set_interaction_type(InteractionType.RANDOM):
        assert BOX.is_in(policy(FAR.clone())["action"])
    later = SafeModule(nn.Identity(), ["loc"], ["loc"], spec=Categorical(2))
    assert SafeSequential(first, later).spec["loc"] == Categorical(2)


def test_a_deterministic_policy_is_a_delta():
    module = SafeProbabilisticModule(["param"], ["action"], BOX, safe=True, distribution_class=Delta)
    with set_interaction_type(InteractionType.RANDOM):
        assert BOX.is_in(module(TensorDict({"param": FAR["obs"]}, [2]))["action"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"safe": True}, "SafeModule: safe=True .* found spec=None"),
        ({"spec": Composite(other=BOX)}, r"keys among \['action'\], found \['other'\]"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SafeModule(nn.Identity(), ["obs"], ["action"], **kwargs)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_vmap_sees_slices(dim):
    seen = []

    def outer(a, b):
        seen.append(a.shape)
        return a.unsqueeze(-1) * b.unsqueeze(-2)

    td = TensorDict({"a": torch.randn(5, 4, 3), "b": torch.randn(5, 4, 2)}, [5, 4])
    module = VmapModule(TensorDictModule(outer, ["a", "b"], ["product"]), dim)
    assert torch.equal(module(td)["product"], td["a"].unsqueeze(-1) * td["b"].unsqueeze(-2))
    assert seen == [(4, 3) if dim == 0 else (5, 3)]
    assert (module.in_keys, module.out_keys) == (["a", "b"], ["product"])


def test_vmap_needs_its_dimension():
    module = VmapModule(TensorDictModule(nn.Identity(), ["a"], ["b"]), 1)
    with pytest.raises(ValueError, match=r"batch dimension 1, found batch size \[5\]"):
        module(TensorDict({"a": torch.zeros(5, 3)}, [5]))
