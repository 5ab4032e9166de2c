import pytest
import torch
from tensordict.nn import InteractionType
from torch import distributions

from agents.nn import Categorical, TanhNormal, take_sample

NORMAL = distributions.Independent(distributions.Normal(torch.tensor([2.0]), torch.tensor([1.0])), 1)
DISCRETE = distributions.Categorical(probs=torch.tensor([0.2, 0.8]))


@pytest.mark.parametrize(
    ("dist", "interaction", "expected"),
    [
        (NORMAL, InteractionType.DETERMINISTIC, torch.tensor([2.0])),
        (NORMAL, InteractionType.MEAN, torch.tensor([2.0])),
        (NORMAL, InteractionType.MODE, torch.tensor([2.0])),
        (DISCRETE, InteractionType.DETERMINISTIC, torch.tensor(1)),
        (DISCRETE, InteractionType.MODE, torch.tensor(1)),
        (DISCRETE, InteractionType.MEAN, torch.tensor(1)),
        (Categorical(probs=torch.tensor([0.2, 0.8])), InteractionType.MEAN, torch.tensor(1)),
        (Categorical(probs=torch.tensor([0.2, 0.8])), InteractionType.DETERMINISTIC, torch.tensor(1)),
        (TanhNormal(torch.zeros(1), torch.ones(1)), InteractionType.MEAN, torch.zeros(1)),
        (distributions.Bernoulli(torch.tensor(0.8)), InteractionType.DETERMINISTIC, torch.tensor(1.0)),
    ],
)
def test_deterministic_values(dist, interaction, expected):
    assert torch.equal(take_sample(dist, interaction), expected)


def test_random_values_are_reparameterised_where_possible():
    loc = torch.zeros(3, requires_grad=True)
    assert take_sample(TanhNormal(loc, torch.ones(3)), InteractionType.RANDOM).requires_grad
    assert not take_sample(DISCRETE, InteractionType.RANDOM).requires_grad


def test_what_a_distribution_does_not_define():
    with pytest.raises(NotImplementedError, match="Categorical does not define its median"):
        take_sample(DISCRETE, InteractionType.MEDIAN)
    squashed = distributions.TransformedDistribution(NORMAL, distributions.ExpTransform())
    with pytest.raises(NotImplementedError, match="TransformedDistribution does not define its mode"):
        take_sample(squashed, InteractionType.MODE)
