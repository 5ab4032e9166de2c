import pytest
import torch

from agents.nn import Ensemble
from agents.nn.only_member import OnlyMember


def test_is_the_member():
    torch.manual_seed(0)
    ensemble = Ensemble(1, 3, 2, num_cells=[4])
    x, y = torch.randn(5, 2), torch.randn(5, 1)
    assert torch.equal(OnlyMember(ensemble)(x, y), ensemble(x, y)[0])


def test_several_members_are_none():
    with pytest.raises(ValueError, match="expected an ensemble of one member, found 2"):
        OnlyMember(Ensemble(2, 3, 2))
