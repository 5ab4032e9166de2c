import pytest
import torch
from torch import distributions

from agents.nn import Categorical


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_same_as_torch(batch, name):
    parameter = torch.rand(*batch, 4) + 0.1
    ours, reference = Categorical(**{name: parameter}), distributions.Categorical(**{name: parameter})
    value = reference.sample()
    assert ours.batch_shape == reference.batch_shape
    assert ours.event_shape == reference.event_shape
    torch.testing.assert_close(ours.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(ours.entropy(), reference.entropy())
    torch.testing.assert_close(ours.probs, reference.probs)
    torch.testing.assert_close(ours.logits, reference.logits)
    torch.testing.assert_close(ours.mode, reference.mode)
    torch.testing.assert_close(ours.deterministic_sample, reference.mode)
    torch.testing.assert_close(ours.enumerate_support(), reference.enumerate_support())
    torch.testing.assert_close(ours.enumerate_support(False), reference.enumerate_support(False))
    assert bool(ours.support.check(ours.sample()).all())


def test_gradients_are_those_of_torch():
    logits = torch.randn(6, 3, requires_grad=True)
    value = torch.randint(3, (6,))
    for quantity in (lambda dist: dist.log_prob(value).sum(), lambda dist: dist.entropy().sum()):
        (ours,) = torch.autograd.grad(quantity(Categorical(logits)), logits)
        (reference,) = torch.autograd.grad(quantity(distributions.Categorical(logits=logits)), logits)
        torch.testing.assert_close(ours, reference)


def test_frequencies_of_samples():
    probs = torch.tensor([[0.1, 0.2, 0.7], [0.0, 0.5, 0.5]])
    samples = Categorical(probs=probs).sample((20_000,))
    assert samples.shape == (20_000, 2)
    assert samples.dtype is torch.int64
    frequencies = torch.nn.functional.one_hot(samples, 3).float().mean(0)
    torch.testing.assert_close(frequencies, probs, atol=0.015, rtol=0)
    assert frequencies[1, 0] == 0


def test_excluded_index():
    logits = torch.tensor([0.0, -torch.inf, 0.0], requires_grad=True)
    dist = Categorical(logits)
    assert dist.log_prob(torch.tensor(1)) == -torch.inf
    entropy = dist.entropy()
    torch.testing.assert_close(entropy, torch.tensor(2.0).log())
    entropy.backward()
    assert bool(logits.grad.isfinite().all())


def test_sample_dimensions_in_front():
    dist = Categorical(torch.randn(5, 3))
    values = dist.sample((4,))
    assert dist.log_prob(values).shape == (4, 5)
    torch.testing.assert_close(dist.log_prob(values)[2], dist.log_prob(values[2]))


@pytest.mark.parametrize("shape", [(5, 1), (3,), (1,), ()])
def test_values_never_broadcast(shape):
    with pytest.raises(ValueError, match=r"expected a value of shape \[\*sample_shape, \*\[5\]\], found"):
        Categorical(torch.randn(5, 3)).log_prob(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("kwargs", [{}, {"logits": torch.zeros(2), "probs": torch.ones(2)}])
def test_exactly_one_parameter(kwargs):
    with pytest.raises(ValueError, match="exactly one of logits and probs"):
        Categorical(**kwargs)


def test_no_mean():
    with pytest.raises(NotImplementedError, match="use mode"):
        _ = Categorical(torch.zeros(2)).mean


def test_samples_follow_the_seed():
    dist = Categorical(torch.randn(50, 3))
    torch.manual_seed(1)
    first = dist.sample()
    torch.manual_seed(1)
    assert torch.equal(first, dist.sample())
