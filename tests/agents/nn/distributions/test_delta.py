import pytest
import torch
from torch.distributions import Distribution

from agents.nn import Delta, InteractionType, TanhDelta, take_sample


def test_all_ways_to_take_a_value_give_the_point():
    param = torch.randn(4, 2)
    dist = Delta(param)
    for interaction in (kind for kind in InteractionType if kind is not InteractionType.MEDIAN):
        assert torch.equal(take_sample(dist, interaction), param)
    assert isinstance(dist, Distribution)
    assert (dist.batch_shape, dist.event_shape) == ((4,), (2,))
    assert dist.sample((3,)).shape == (3, 4, 2)
    assert not dist.variance.any()


def test_log_prob_knows_the_point_with_a_tolerance():
    param = torch.tensor([[0.0, 1.0], [2.0, 1000.0]])
    dist = Delta(param, atol=0.1, rtol=0.01)
    inside, outside = param + torch.tensor([[0.09, -0.1], [0.1, 9.0]]), param + torch.tensor([[0.2, 0.0], [0.0, 11.0]])
    assert dist.log_prob(inside).tolist() == [torch.inf, torch.inf]
    assert dist.log_prob(outside).tolist() == [-torch.inf, -torch.inf]
    assert dist.log_prob(inside.expand(3, 2, 2)).shape == (3, 2)
    with pytest.raises(ValueError, match=r"expected a value of shape \[\*sample_shape, \*\[2, 2\]\], found \[2, 3\]"):
        dist.log_prob(torch.zeros(2, 3))


def test_gradients_pass_through_rsample_only():
    param = torch.randn(3, requires_grad=True)
    assert Delta(param).rsample().requires_grad
    assert not Delta(param).sample().requires_grad
    assert Delta(torch.tensor(1.0)).log_prob(torch.tensor(1.0)) == torch.inf


def test_tanh_delta_is_squashed_into_the_box():
    param = torch.tensor([[-100.0, 0.0, 100.0]], requires_grad=True)
    low, high = torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 4.0, 10.0])
    dist = TanhDelta(param, low=low, high=high)
    assert dist.mode.tolist() == [[-1.0, 1.0, 10.0]]
    assert dist.support.check(dist.mode).all()
    dist.rsample().sum().backward()
    assert param.grad.tolist() == [[0.0, 3.0, 0.0]]
    assert dist.log_prob(dist.sample()).tolist() == [torch.inf]


def test_bounds_of_tanh_delta_have_an_order():
    with pytest.raises(ValueError, match=r"low < high, found low=1\.0 and high=1\.0"):
        TanhDelta(torch.zeros(1), low=1.0, high=1.0)
