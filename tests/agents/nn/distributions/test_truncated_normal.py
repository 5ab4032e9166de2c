import math

import pytest
import torch

from agents.nn import TruncatedNormal


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(loc, scale, low=-1.0, high=2.0, **kwargs):
    tensors = (torch.as_tensor(value, dtype=torch.float64).reshape(-1) for value in (loc, scale))
    return TruncatedNormal(*tensors, low=low, high=high, **kwargs)


CASES = [(0.0, 1.0), (0.5, 0.1), (3.0, 2.0), (-4.0, 1.0), (0.0, 100.0), (12.0, 1.0)]


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_density_mean_and_entropy_are_those_of_an_integral(loc, scale):
    dist = make(loc, scale)
    # The midpoint rule with 100,000 points.
    width = 3.0 / 100_000
    points = torch.linspace(-1.0 + width / 2, 2.0 - width / 2, 100_000, dtype=torch.float64).unsqueeze(-1)
    log_density = dist.log_prob(points)
    density = log_density.exp()
    normal = torch.exp(-0.5 * ((points - loc) / scale) ** 2).squeeze(-1)
    torch.testing.assert_close(density, normal / (normal.sum() * width), rtol=1e-5, atol=1e-8)
    one = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(density.sum() * width, one, rtol=1e-6, atol=0.0)
    torch.testing.assert_close((density * points.squeeze(-1)).sum() * width, dist.mean[0], rtol=1e-5, atol=1e-7)
    entropy = -(density * log_density).nan_to_num().sum() * width
    torch.testing.assert_close(entropy, dist.entropy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_samples_are_inside_and_have_the_mean(loc, scale):
    dist = make(loc, scale)
    values = dist.sample((40_000,))
    assert ((values >= -1.0) & (values <= 2.0)).all()
    deviation = values.std().item() / math.sqrt(len(values))
    assert abs((values.mean() - dist.mean).item()) < 5 * deviation + 1e-6


@pytest.mark.parametrize("loc", [-60.0, -20.0, 20.0, 60.0])
def test_float32_holds_far_outside(loc):
    dist = TruncatedNormal(torch.full((1,), loc), torch.ones(1), low=-1.0, high=1.0)
    nearest = math.copysign(1.0, loc)
    values = dist.sample((100,))
    assert (nearest * values > 0.0).all()
    assert dist.log_prob(torch.tensor([nearest])).isfinite()
    assert dist.log_prob(values).isfinite().all()
    assert dist.mode == nearest


def test_nothing_is_outside():
    dist = make([0.0, 0.0], [1.0, 1.0])
    assert dist.log_prob(torch.tensor([0.0, 3.0])) == -torch.inf
    assert dist.log_prob(torch.tensor([-1.1, 0.0])) == -torch.inf
    assert dist.log_prob(torch.tensor([-1.0, 2.0])).isfinite()


def test_gradients_are_those_of_finite_differences():
    loc = torch.tensor([[0.3, -3.0], [2.5, 0.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([[0.5, 1.0], [2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([[0.1, -0.5], [1.5, 0.9]], dtype=torch.float64, requires_grad=True)

    def drawn(loc, scale):
        torch.manual_seed(0)
        return TruncatedNormal(loc, scale, low=-1.0, high=2.0).rsample()

    assert torch.autograd.gradcheck(
        lambda *p: TruncatedNormal(*p[:2], low=-1.0, high=2.0).log_prob(p[2]), (loc, scale, value)
    )
    assert torch.autograd.gradcheck(drawn, (loc, scale))
    assert torch.autograd.gradcheck(lambda *p: TruncatedNormal(*p, low=-1.0, high=2.0).entropy(), (loc, scale))


def test_options():
    loc = torch.full((4, 3), 1e9)
    dist = TruncatedNormal(loc, torch.ones(3), upscale=2.0, low=-1.0, high=3.0, tanh_loc=True, event_dims=2)
    assert torch.equal(dist.loc, torch.full((4, 3), 5.0))
    assert (dist.batch_shape, dist.event_shape, dist.log_prob(dist.sample((7,))).shape) == ((), (4, 3), (7,))
    bounds = torch.tensor([0.0, 1.0, 2.0])
    values = TruncatedNormal(torch.zeros(3), torch.ones(3), low=bounds, high=bounds + 0.5).sample((50,))
    assert ((values >= bounds) & (values <= bounds + 0.5)).all()
    with pytest.raises(ValueError, match=r"low < high, found low=2\.0 and high=1\.0"):
        TruncatedNormal(loc, loc, low=2.0, high=1.0)
