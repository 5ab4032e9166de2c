import math

import pytest
import torch

from agents import explained_variance


@pytest.mark.parametrize(
    ("target", "prediction", "share"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0),
        ([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], 1.0),  # off by a constant
        ([1.0, 2.0, 3.0], [9.0, 9.0, 9.0], 0.0),
        # Deviations of the rest 2 - (-2), of the target 1 - (-1): 8 / 2 of the variance.
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -3.0),
        # The rest is 0, 1, 0, -1 with a sum of squares of 2; the target's is 4.
        ([0.0, 2.0, 0.0, 2.0], [0.0, 1.0, 0.0, 3.0], 0.5),
    ],
)
def test_by_hand(target, prediction, share):
    assert explained_variance(torch.tensor(target), torch.tensor(prediction)).item() == share


def test_equal_targets_have_no_variance_to_explain():
    assert math.isnan(explained_variance(torch.ones(3), torch.zeros(3)))
    assert math.isnan(explained_variance(torch.ones(3), torch.ones(3)))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"prediction: expected shape \[3\], found \[3, 1\]"):
        explained_variance(torch.ones(3), torch.ones(3, 1))
