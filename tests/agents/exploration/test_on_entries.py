"""What policies do on plain entries, beside what they do on TensorDicts."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents import (
    Actor,
    AdditiveGaussianModule,
    DistributionalQValueActor,
    EGreedyModule,
    OrnsteinUhlenbeckProcessModule,
    QValueActor,
    TensorDictSequential,
)
from envkit import Bounded, Categorical, ExplorationType, set_exploration_type
from envkit.core.inlined import on_entries

BOX = Bounded(-1.0, 1.0, shape=(2,))
MAKERS = {
    "q": lambda: QValueActor(nn.Linear(3, 4), spec=Categorical(4)),
    "q-mask": lambda: QValueActor(nn.Linear(3, 4), spec=Categorical(4), action_mask_key="mask"),
    "distributional": lambda: DistributionalQValueActor(
        nn.Sequential(nn.Linear(3, 8), nn.Unflatten(-1, (2, 4))), spec=Categorical(4), support=torch.tensor([0.0, 1.0])
    ),
    "egreedy": lambda: TensorDictSequential(
        QValueActor(nn.Linear(3, 4), spec=Categorical(4)), EGreedyModule(Categorical(4), action_mask_key="mask")
    ),
    "gaussian": lambda: TensorDictSequential(Actor(nn.Linear(3, 2)), AdditiveGaussianModule(BOX)),
    "process": lambda: TensorDictSequential(Actor(nn.Linear(3, 2)), OrnsteinUhlenbeckProcessModule(BOX)),
}


@torch.no_grad()
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("kind", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
def test_entries_get_the_same_values(make, kind):
    torch.manual_seed(0)
    policy = make()
    td = TensorDict({"observation": torch.randn(6, 3), "mask": torch.rand(6, 4) < 0.7}, [6])
    td["mask"][:, 0], td["is_init"] = True, torch.ones(6, 1, dtype=torch.bool)
    entries = dict(td.items())
    run = on_entries(policy, entries.keys())
    with set_exploration_type(kind):
        torch.manual_seed(1)
        policy(td)
        torch.manual_seed(1)
        run(entries)
    assert entries.keys() == set(td.keys())
    assert all(torch.equal(entries[key], td[key]) for key in entries)


@pytest.mark.parametrize("module", [EGreedyModule(Categorical(2), action_mask_key="mask"), MAKERS["q-mask"]()])
def test_without_its_entries_a_module_is_not_known(module):
    assert on_entries(module, ["observation", "action"]) is None
