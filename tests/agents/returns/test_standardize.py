import pytest
import torch

from agents.returns import standardize


def test_mean_and_deviation():
    values = standardize(torch.arange(24.0).view(2, 3, 4))
    torch.testing.assert_close(values.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(values.std(), torch.tensor(1.0))


@pytest.mark.parametrize("shape", [(1,), (5,), (1, 1)])
def test_equal_values_become_zero(shape):
    assert torch.equal(standardize(torch.full(shape, 3.0)), torch.zeros(shape))
