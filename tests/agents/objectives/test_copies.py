import pytest
import torch
from torch import nn

from agents.objectives.copies import copies_of


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


def test_copies_have_weights_of_their_own():
    net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    copies = copies_of(net, 3, "critic")
    assert copies[0] is net
    for index in (0, 2):
        one, two, three = (copy[index].weight for copy in copies)
        assert not torch.equal(one, two)
        assert not torch.equal(two, three)


def test_networks_that_are_given():
    nets = [nn.Linear(1, 1), nn.Linear(1, 1)]
    assert list(copies_of(nets, 2, "critic")) == list(copies_of(nn.ModuleList(nets), 2, "critic")) == nets
    with pytest.raises(ValueError, match="critic: expected 3 networks, found 2"):
        copies_of(nets, 3, "critic")


def test_copies_that_would_be_alike():
    with pytest.raises(ValueError, match=r"critic: expected modules with a reset_parameters method, found Bare at '1'"):
        copies_of(nn.Sequential(nn.Linear(3, 1), Bare()), 2, "critic")
    assert len(copies_of(Bare(), 1, "critic")) == 1


def test_lazy_parameters():
    with pytest.raises(ValueError, match="critic: expected parameters of known shape, found lazy ones"):
        copies_of(nn.LazyLinear(1), 2, "critic")
