import pytest
import torch

from agents.objectives.bounds import bounds_of
from envkit import Bounded, Unbounded


def test_of_numbers_and_specs():
    assert bounds_of("Loss", bounds=(-1.0, 2)) == (torch.tensor(-1.0), torch.tensor(2.0))
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0])
    for spec in (Bounded(low, high), Bounded(low, high).expand(3, 2), Bounded(low, high).expand(4, 3, 2)):
        for found, expected in zip(bounds_of("Loss", spec), (low, high), strict=True):
            assert torch.equal(found, expected)


def test_refuses():
    with pytest.raises(ValueError, match="Loss: expected exactly one of action_spec and bounds"):
        bounds_of("Loss", Bounded(-1.0, 1.0, (1,)), (-1.0, 1.0))
    with pytest.raises(ValueError, match="Loss: expected a bounded action_spec"):
        bounds_of("Loss", Unbounded(2))
    with pytest.raises(ValueError, match="Loss: expected equal bounds for all of a batch"):
        bounds_of("Loss", Bounded(torch.tensor([[-1.0], [-2.0]]), torch.tensor([[1.0], [1.0]])))
