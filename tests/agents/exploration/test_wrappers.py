import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents import (
    Actor,
    AdditiveGaussianModule,
    AdditiveGaussianWrapper,
    EGreedyModule,
    EGreedyWrapper,
    OrnsteinUhlenbeckProcessModule,
    OrnsteinUhlenbeckProcessWrapper,
    TensorDictSequential,
)
from envkit import Bounded, ExplorationType, set_exploration_type

SPEC = Bounded(-1.0, 1.0, shape=(2,))


@pytest.mark.parametrize(
    ("wrapper", "module"),
    [
        (EGreedyWrapper, EGreedyModule),
        (AdditiveGaussianWrapper, AdditiveGaussianModule),
        (OrnsteinUhlenbeckProcessWrapper, OrnsteinUhlenbeckProcessModule),
    ],
)
@pytest.mark.parametrize("own_spec", [False, True])
def test_is_a_policy_with_the_module_behind_it(wrapper, module, own_spec):
    actor = Actor(nn.Linear(3, 2), spec=SPEC)
    wrapped = wrapper(actor, SPEC if own_spec else None, annealing_num_steps=10)
    long = TensorDictSequential(actor, module(SPEC, annealing_num_steps=10))
    wrapped.step(5)
    long[1].step(5)
    td = TensorDict({"observation": torch.randn(5, 3), "is_init": torch.ones(5, 1) > 0}, [5])
    actions = []
    for policy in (wrapped, long):
        torch.manual_seed(0)
        with set_exploration_type(ExplorationType.RANDOM):
            actions.append(policy(td.clone())["action"])
    assert torch.equal(*actions)
    assert not torch.equal(actions[0], actor(td)["action"])
    assert wrapped.state_dict().keys() == long.state_dict().keys()
    assert (wrapped.td_module, wrapped.exploration) == (actor, wrapped.module[1])
