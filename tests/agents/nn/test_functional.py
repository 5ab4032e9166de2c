"""Modules called with parameters from elsewhere, one set or many."""

import torch
from tensordict import TensorDict, TensorDictParams
from torch import nn

from agents.nn import MLP, Actor, Ensemble, TensorDictModule, TensorDictSequential, ValueOperator


def make_sequence():
    backbone = TensorDictModule(nn.Linear(5, 3), in_keys=["observation"], out_keys=["hidden"])
    actor = Actor(nn.Linear(3, 4), in_keys=["hidden"])
    critic = ValueOperator(MLP(out_features=1, num_cells=[4, 5]), in_keys=["hidden", "action"])
    sequence = TensorDictSequential(backbone, actor, critic)
    sequence(TensorDict(observation=torch.randn(5)))
    return sequence


def make_observations():
    return TensorDict({"observation": torch.randn(3, 5)}, [3])


def test_parameters_of_one_module_serve_another():
    first, second, td = make_sequence(), make_sequence(), make_observations()
    expected, own = first(td.clone()), second(td.clone())
    with TensorDict.from_module(first).to_module(second):
        assert (second(td.clone()) == expected).all()
    assert (second(td.clone()) == own).all()


def test_vmap_over_stacked_parameters_is_an_ensemble():
    sequences, td = [make_sequence() for _ in range(4)], make_observations()
    stacked = torch.stack([TensorDict.from_module(one) for one in sequences]).detach()

    def call(params, td):
        with params.to_module(sequences[0]):
            return sequences[0](td.clone())

    together = torch.vmap(call, (0, None))(stacked, td)
    assert together.batch_size == (4, 3)
    for number, sequence in enumerate(sequences):
        torch.testing.assert_close(together[number].to_dict(), sequence(td.clone()).to_dict())


def test_stacked_parameters_learn_like_those_of_an_ensemble():
    torch.manual_seed(0)
    ensemble, inputs = Ensemble(3, 5, 2, num_cells=(8,)), torch.randn(16, 5)
    members = [ensemble.member(index) for index in range(3)]
    stacked = torch.stack([TensorDict.from_module(net) for net in members]).detach()
    params = TensorDictParams(stacked, no_convert=False)

    def call(params):
        with params.to_module(members[0]):
            return members[0](inputs)

    torch.vmap(call)(params).square().mean().backward()
    ensemble(inputs).square().mean().backward()
    torch.testing.assert_close(params["0", "weight"].grad.transpose(1, 2), ensemble.weight_0.grad)
    torch.testing.assert_close(params["2", "bias"].grad, ensemble.bias_1.grad)
