"""Continuous distributions beside torch's own, and their gradients beside finite differences."""

import pytest
import torch
from torch import distributions
from torch.distributions import AffineTransform, TanhTransform, TransformedDistribution

from agents.nn import IndependentNormal, NormalParamExtractor, TanhNormal


def theirs_tanh(loc, scale):
    normal = distributions.Independent(distributions.Normal(loc, scale), 1)
    return TransformedDistribution(normal, [TanhTransform(), AffineTransform(1.0, 3.0, event_dim=1)])


PAIRS = [
    (IndependentNormal, lambda loc, scale: distributions.Independent(distributions.Normal(loc, scale), 1)),
    (lambda loc, scale: TanhNormal(loc, scale, low=-2.0, high=4.0), theirs_tanh),
]


def make_parameters():
    torch.manual_seed(0)
    loc = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    scale = (torch.rand(3, 2, dtype=torch.float64) + 0.2).requires_grad_()
    return loc, scale


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["normal", "tanh"])
def test_densities_and_their_gradients_are_those_of_torch(ours, theirs):
    loc, scale = make_parameters()
    value = theirs(loc, scale).sample()
    mine, own = (make(loc, scale).log_prob(value) for make in (ours, theirs))
    torch.testing.assert_close(mine, own)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), [loc, scale]) for out in (mine, own)))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["normal", "tanh"])
def test_gradients_are_those_of_finite_differences(ours, theirs):
    loc, scale = make_parameters()
    value = theirs(loc, scale).sample().requires_grad_()

    def drawn(loc, scale):
        torch.manual_seed(0)
        sample = ours(loc, scale).rsample()
        return sample, ours(loc, scale).log_prob(sample)

    assert torch.autograd.gradcheck(lambda *p: ours(*p[:2]).log_prob(p[2]), (loc, scale, value))
    assert torch.autograd.gradcheck(drawn, (loc, scale))


@pytest.mark.parametrize("mapping", ["biased_softplus_1.0", "exp", "softplus", "relu"])
def test_scales_are_positive_and_have_gradients(mapping):
    inputs = torch.linspace(-4.0, 4.0, 8, dtype=torch.float64).reshape(2, 4).requires_grad_()
    extract = NormalParamExtractor(mapping, scale_lb=0.01)
    loc, scale = extract(inputs)
    assert torch.equal(loc, inputs[:, :2])
    assert (scale >= 0.01).all()
    assert torch.autograd.gradcheck(extract, (inputs,))
