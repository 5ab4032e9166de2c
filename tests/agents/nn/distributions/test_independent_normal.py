import pytest
import torch
from torch import distributions

from agents.nn import IndependentNormal


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_reference(loc, scale):
    return distributions.Independent(distributions.Normal(loc, scale), 1)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_same_as_torch(batch):
    loc, scale = torch.randn(*batch, 4), torch.rand(*batch, 4) + 0.1
    ours, reference = IndependentNormal(loc, scale), make_reference(loc, scale)
    value = reference.sample((7,))
    assert ours.batch_shape == reference.batch_shape
    assert ours.event_shape == reference.event_shape
    torch.testing.assert_close(ours.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(ours.log_prob(value[0]), reference.log_prob(value[0]))
    torch.testing.assert_close(ours.entropy(), reference.entropy())
    for name in ("mean", "mode", "variance", "stddev"):
        torch.testing.assert_close(getattr(ours, name), getattr(reference, name))
    torch.testing.assert_close(ours.deterministic_sample, loc)


def test_scale_shared_over_the_batch():
    loc, scale = torch.randn(5, 3), torch.rand(3) + 0.1
    ours, reference = IndependentNormal(loc, scale), make_reference(loc, scale)
    value = ours.sample()
    torch.testing.assert_close(ours.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(ours.entropy(), reference.entropy())


def test_moments_of_samples():
    loc, scale = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    samples = IndependentNormal(loc, scale).sample((20_000,))
    assert samples.shape == (20_000, 2)
    torch.testing.assert_close(samples.mean(0), loc, atol=0.05, rtol=0)
    torch.testing.assert_close(samples.std(0), scale, atol=0.05, rtol=0)


def test_gradients_flow_through_rsample_only():
    loc, scale = torch.zeros(5, 2, requires_grad=True), torch.ones(5, 2, requires_grad=True)
    dist = IndependentNormal(loc, scale)
    assert not dist.sample().requires_grad
    torch.manual_seed(3)
    value = dist.rsample()
    gradients = torch.autograd.grad(value.sum(), [loc, scale])
    torch.testing.assert_close(gradients[0], torch.ones(5, 2))
    torch.testing.assert_close(gradients[1], value.detach())


@pytest.mark.parametrize("shape", [(5, 1), (2,), (1, 2), (5,)])
def test_values_never_broadcast(shape):
    with pytest.raises(ValueError, match=r"\*\[5, 2\]\], found"):
        IndependentNormal(torch.zeros(5, 2), torch.ones(5, 2)).log_prob(torch.zeros(shape))
