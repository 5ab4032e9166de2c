import pytest
import torch

from agents.objectives import value_loss


@pytest.mark.parametrize(("kind", "expected"), [("l1", [0.5, 2.0]), ("l2", [0.25, 4.0]), ("smooth_l1", [0.125, 1.5])])
def test_value_loss_by_hand(kind, expected):
    loss = value_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.5, 1.0]), kind)
    assert loss.tolist() == expected


def test_value_loss_with_clipping_by_hand():
    old, target = torch.zeros(3), torch.tensor([2.0, 2.0, -2.0])
    # Towards the target beyond the clip: that of the clipped value, without gradient. Within: as it is. Away
    # from the target: that of the value, the larger one.
    value = torch.tensor([1.0, 0.25, 1.0], requires_grad=True)
    loss = value_loss(value, target, "l2", old, 0.5)
    assert loss.tolist() == [2.25, 3.0625, 9.0]
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    assert gradient.tolist() == [0.0, -3.5, 6.0]


def test_value_loss_refuses():
    ones = torch.ones(5)
    with pytest.raises(ValueError, match=r"target of the shape of value, \[5\], found \[5, 1\]"):
        value_loss(ones, torch.ones(5, 1))
    with pytest.raises(ValueError, match=r"old_value of the shape of value, \[5\], found \[1\]"):
        value_loss(ones, ones, "l2", torch.ones(1), 0.2)
    with pytest.raises(ValueError, match="found 'huber'"):
        value_loss(ones, ones, "huber")
    with pytest.raises(ValueError, match="clip needs old_value"):
        value_loss(ones, ones, clip=0.2)
