import pytest
import torch
from torch import nn

from agents import (
    A2C,
    DDPG,
    DQN,
    PPO,
    REDQ,
    REINFORCE,
    SAC,
    TD3,
    CrossQ,
    DiscreteSAC,
    PPOConfig,
    auto_input_shape,
    get_module_list,
    nn_from_config,
)
from envkit import Categorical, Composite, GymWrapper, SerialEnv, Unbounded

BODY = [{"func": "Linear", "out_features": 8}, {"func": "Tanh"}]
STATE, DISCRETE, CONTINUOUS = {"shape": (4,)}, {"shape": 3, "dtype": "int"}, {"shape": (2,), "dtype": "float"}


def network(env, last, body=BODY):
    return nn_from_config({"body": body, "head": [last]}, env.observation_spec_unbatched, env.action_spec_unbatched)


def moved(net, train):
    """Whether training changes all parameters of a network."""
    before = [parameter.detach().clone() for parameter in net.parameters()]
    train()
    return all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("agent", [A2C, PPO, REINFORCE])
@pytest.mark.parametrize("make", ["cart_pole", "pendulum"])
def test_agents_of_one_batch_learn_with_described_networks(agent, make, tools):
    env = SerialEnv(2, getattr(tools, make))
    actor, critic = network(env, {"func": "ActionLinear"}), network(env, {"func": "Linear", "out_features": 1})
    learner = agent(env, agent.Config(steps_per_env=224), actor=actor, critic=critic)
    assert moved(nn.ModuleList([actor, critic]), lambda: learner.train(max_iters=2))


@pytest.mark.parametrize(
    ("agent", "make", "argument", "output"),
    [
        (DQN, "cart_pole", "network", "action"),
        (DiscreteSAC, "cart_pole", "actor", "distribution"),
        (DDPG, "pendulum", "actor", "action"),
        (TD3, "pendulum", "actor", "action"),
        (SAC, "pendulum", "actor", "mean_and_log_std"),
        (REDQ, "pendulum", "actor", "mean_and_log_std"),
        (CrossQ, "pendulum", "actor", "mean_and_log_std"),
    ],
)
def test_agents_with_replay_learn_with_described_networks(agent, make, argument, output, tools):
    env = getattr(tools, make)()
    net = network(env, {"func": "ActionLinear", "output": output})
    config = agent.Config(learning_starts=8, batch_size=4, steps_per_iteration=16, buffer_size=64, hidden_sizes=(8,))
    learner = agent(env, config, **{argument: net})
    assert moved(net, lambda: learner.train(max_iters=2))


def test_several_observations_are_joined(senses, tools):
    env = GymWrapper(senses())
    actor = network(env, {"func": "ActionLinear"})
    assert actor[0].in_features == 5
    agent = PPO(
        env, PPOConfig(steps_per_env=16), actor=actor, critic=network(env, {"func": "Linear", "out_features": 1})
    )
    assert moved(actor, lambda: agent.train(max_iters=2))
    first, second = torch.randn(7, 2), torch.randn(7, 3)
    assert torch.equal(actor(first, second), nn.Sequential(*actor)(torch.cat([first, second], -1)))


def test_images_flow_through_layers_of_each_kind():
    described = [
        {"func": "Conv2d", "out_channels": 4, "kernel_size": 3},
        {"func": "BatchNorm2d"},
        {"func": "GroupNorm", "num_groups": 2},
        {"func": "ReLU"},
        {"func": "FlattenLinear", "out_features": 6},
        {"func": "LayerNorm"},
        {"func": "NoisyLinear", "out_features": 5},
        {"func": "MLP", "out_features": 4, "num_cells": [7], "activation_class": "ELU"},
        {"func": nn.Linear, "out_features": 3},
    ]
    net = nn.Sequential(*get_module_list(described, (3, 8, 8)))
    assert [net[0].in_channels, net[1].num_features, net[2].num_channels, net[4].in_features] == [3, 4, 4, 144]
    assert (net[5].normalized_shape, net[6].in_features, net[7][0].in_features) == ((6,), 6, 5)
    assert isinstance(net[7][1], nn.ELU)
    assert net.training
    assert int(net[1].num_batches_tracked) == 0
    assert net(torch.zeros(5, 3, 8, 8)).shape == (5, 3)


def test_conv_net_takes_images_with_any_number_of_batch_dimensions():
    described = [{"func": "ConvNet", "num_cells": [4], "kernel_sizes": [3]}, {"func": "ActionLinear"}]
    net = nn_from_config(described, Unbounded((3, 8, 8)), Categorical(6))
    for batch in ((), (5,), (2, 5)):
        assert net(torch.zeros(*batch, 3, 8, 8)).shape == (*batch, 6)


def test_given_modules_stand_for_what_is_described():
    body, head = nn.Linear(4, 9), nn.Linear(9, 1)
    config = {"body": [{"func": "no such layer"}], "head": [{"func": "ActionLinear"}]}
    net = nn_from_config(config, STATE, DISCRETE, body=body)
    assert net[0] is body
    assert net[1].net.in_features == 9
    assert nn_from_config({"body": BODY}, STATE, head=nn.Linear(8, 1))[-1].out_features == 1
    assert list(nn_from_config(config, STATE, body=body, head=head)) == [body, head]


def test_sizes_that_are_given_are_left_alone():
    assert auto_input_shape({"func": "Linear", "in_features": 9, "out_features": 2}, (4,))["in_features"] == 9
    with pytest.raises(ValueError, match=r"body\[0\]: Linear refuses an input of shape \[4\]"):
        nn_from_config({"body": [{"func": "Linear", "in_features": 9, "out_features": 2}]}, STATE)


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ([{"func": "os.system", "command": "true"}], ValueError, r"layers\[0\].func: expected a class of torch.nn"),
        ([{"func": "functional"}], ValueError, "found 'functional'"),
        ([{"func": "Parameter"}], ValueError, "found 'Parameter'"),
        ([{"func": "Linnear"}], ValueError, "did you mean 'Linear'"),
        ([{"func": print}], ValueError, r"layers\[0\].func: expected"),
        ([{"func": "Module"}], ValueError, r"layers\[0\]: Module refuses an input"),
        ([{"func": "MLP", "out_features": 1, "activation_class": "eval"}], ValueError, r"\.activation_class: expected"),
        ([{"out_features": 3}], TypeError, r"layers\[0\]: expected a mapping with a func"),
        (["Linear"], TypeError, r"layers\[0\]: expected a mapping with a func, found 'Linear'"),
        ("Linear", TypeError, "layers: expected a list of layers, found str"),
        ([*BODY, {"func": "Linear"}], ValueError, r"layers\[2\]: Linear refuses its arguments: .*out_features"),
        ([{"func": "Linear", "out_features": 2, "bais": False}], ValueError, "bais"),
        ([{"func": "ActionLinear"}], ValueError, r"layers\[0\]: ActionLinear needs the action_info"),
        ([{"func": "ActionLinear", "action_info": CONTINUOUS}, *BODY], ValueError, r"layers\[1\]: expected one tensor"),
        ([], ValueError, "at least one layer"),
        ({"body": BODY, "haed": []}, ValueError, r"expected body and head, found \['haed'\]"),
    ],
)
def test_what_is_refused(layers, error, words):
    with pytest.raises(error, match=words):
        nn_from_config(layers, STATE)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"size": 3}, "expected a shape, found"),
        (Categorical(3), "expected a tensor of floats"),
        (Composite(a=Unbounded((2,)), b=Unbounded((2, 2))), "expected float vectors, found 'b'"),
        (Composite(a=Unbounded((5, 2)), shape=(5,)), r"spec of one env .* found that of \[5\]"),
    ],
)
def test_observations_that_are_refused(info, words):
    with pytest.raises(ValueError, match=words):
        nn_from_config(BODY, info)
