import pytest
import torch
from torch import distributions
from torch.distributions import transforms

from agents.nn import TanhNormal

BOUNDS = [
    (-1.0, 1.0),
    (-2.0, 2.0),
    (0.0, 10.0),
    (torch.tensor([-1.0, -3.0, 0.0]), torch.tensor([1.0, -1.0, 0.5])),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_reference(loc, scale, low, high):
    low, high = torch.as_tensor(low), torch.as_tensor(high)
    squash = [
        transforms.TanhTransform(),
        transforms.AffineTransform((low + high) / 2, (high - low) / 2),
    ]
    normal = distributions.Normal(loc.double(), scale.double())
    return distributions.Independent(distributions.TransformedDistribution(normal, squash), 1)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_log_prob_is_that_of_torch(low, high):
    loc, scale = torch.randn(50, 3), torch.rand(50, 3) * 0.5 + 0.1
    ours = TanhNormal(loc, scale, low=low, high=high)
    value = ours.sample()
    expected = make_reference(loc, scale, low, high).log_prob(value.double()).float()
    assert ours.batch_shape == (50,)
    assert ours.event_shape == (3,)
    torch.testing.assert_close(ours.log_prob(value), expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("bound", [1.0, torch.tensor([1.0, 1.0])])
def test_log_prob_in_double_precision(bound):
    loc, scale = torch.randn(50, 2).double(), torch.rand(50, 2).double() + 0.1
    ours = TanhNormal(loc, scale, low=-bound, high=bound)
    value = ours.sample()
    torch.testing.assert_close(ours.log_prob(value), make_reference(loc, scale, -bound, bound).log_prob(value))


@pytest.mark.parametrize(("low", "high"), [*BOUNDS, (99.0, 101.0), (torch.tensor(-1e6), torch.tensor(-1e6 + 1))])
def test_extreme_parameters_stay_inside_and_finite(low, high):
    loc = torch.tensor([[-1e4, 0.0, 1e4]]).expand(100, 3)
    dist = TanhNormal(loc, torch.full((100, 3), 50.0), low=low, high=high)
    for value in (dist.sample(), dist.rsample(), dist.deterministic_sample):
        assert bool((value > low).all())
        assert bool((value < high).all())
        assert bool(dist.log_prob(value).isfinite().all())


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_log_prob_at_the_bounds_is_finite(low, high):
    loc = torch.zeros(3, requires_grad=True)
    dist = TanhNormal(loc, torch.ones(3), low=low, high=high)
    log_prob = dist.log_prob(torch.zeros(3) + low) + dist.log_prob(torch.zeros(3) + high)
    (gradient,) = torch.autograd.grad(log_prob, loc)
    assert bool(log_prob.isfinite())
    assert bool(gradient.isfinite().all())


def test_ratio_of_a_stored_action_is_one():
    loc = torch.full((100, 1), 6.0)
    dist = TanhNormal(loc, torch.ones(100, 1))
    action = dist.sample()
    again = TanhNormal(loc.clone(), torch.ones(100, 1))
    assert torch.equal(dist.log_prob(action), again.log_prob(action.clone()))


def test_density_integrates_to_one():
    grid = torch.linspace(-1.999, 1.999, 20_001).double().unsqueeze(-1)
    dist = TanhNormal(torch.tensor([0.3]).double(), torch.tensor([0.7]).double(), low=-2.0, high=2.0)
    mass = torch.trapezoid(dist.log_prob(grid).exp(), grid.squeeze(-1))
    torch.testing.assert_close(mass.item(), 1.0, atol=1e-3, rtol=0)


def test_deterministic_values_are_the_squashed_loc():
    loc = torch.tensor([0.5, -0.5])
    dist = TanhNormal(loc, torch.ones(2), low=0.0, high=4.0)
    expected = 2.0 + 2.0 * torch.tanh(loc)
    for name in ("mode", "mean", "deterministic_sample"):
        torch.testing.assert_close(getattr(dist, name), expected)


def test_old_names_of_the_bounds():
    bounds = torch.tensor([0.0]), torch.tensor([4.0])
    dist = TanhNormal(torch.zeros(5, 1), torch.ones(5, 1), min=bounds[0], max=bounds[1])
    assert (dist.low, dist.high) == bounds
    assert torch.equal(dist.mode, torch.full((5, 1), 2.0))
    assert TanhNormal(torch.zeros(1), torch.ones(1), min=0, max=4).mode.item() == 2.0
    with pytest.raises(ValueError, match="low and min"):
        TanhNormal(torch.zeros(1), torch.ones(1), low=-1.0, min=-1.0)


def test_numbers_in_the_wrong_order():
    with pytest.raises(ValueError, match=r"low=2\.0 and high=1\.0"):
        TanhNormal(torch.zeros(1), torch.ones(1), low=2.0)


def test_tanh_loc_bounds_the_loc():
    dist = TanhNormal(torch.tensor([100.0]), torch.ones(1), tanh_loc=True, upscale=2.0)
    torch.testing.assert_close(dist.loc, torch.tensor([2.0]))


@pytest.mark.parametrize(("dims", "shape"), [(0, (4, 2, 3)), (1, (4, 2)), (2, (4,))])
def test_event_dims(dims, shape):
    dist = TanhNormal(torch.zeros(4, 2, 3), torch.ones(3), event_dims=dims)
    value = dist.sample((5,))
    assert dist.batch_shape == shape
    assert dist.log_prob(value).shape == (5, *shape)
    elementwise = TanhNormal(torch.zeros(4, 2, 3), torch.ones(3), event_dims=0).log_prob(value)
    torch.testing.assert_close(dist.log_prob(value).sum(), elementwise.sum())


def test_gradients_flow_through_rsample_only():
    loc = torch.zeros(5, 2, requires_grad=True)
    dist = TanhNormal(loc, torch.ones(5, 2))
    assert not dist.sample().requires_grad
    value = dist.rsample()
    (gradient,) = torch.autograd.grad(value.sum(), loc)
    torch.testing.assert_close(gradient, 1.0 - value.detach() ** 2)


def test_support_holds_the_samples():
    dist = TanhNormal(torch.zeros(5, 2), torch.ones(5, 2), low=-3.0, high=1.0)
    assert bool(dist.support.check(dist.sample()).all())


def test_entropy_says_what_to_do():
    with pytest.raises(NotImplementedError, match="average -log_prob over samples"):
        TanhNormal(torch.zeros(1), torch.ones(1)).entropy()


@pytest.mark.parametrize("shape", [(5, 1), (2,), (5,)])
def test_values_never_broadcast(shape):
    with pytest.raises(ValueError, match=r"\*\[5, 2\]\], found"):
        TanhNormal(torch.zeros(5, 2), torch.ones(5, 2)).log_prob(torch.zeros(shape))


@pytest.mark.parametrize("bounds", [{}, {"low": -2.0, "high": 3.0}, {"low": torch.tensor([-1.0, 0.0]), "high": 4.0}])
def test_values_come_with_their_density(bounds):
    loc, scale = torch.randn(50, 2), torch.rand(50, 2) + 0.1
    torch.manual_seed(3)
    value, density = TanhNormal(loc, scale, **bounds).rsample_with_log_prob()
    torch.manual_seed(3)
    assert torch.equal(value, TanhNormal(loc, scale, **bounds).rsample())
    assert density.shape == (50,)
    torch.testing.assert_close(density, TanhNormal(loc, scale, **bounds).log_prob(value), rtol=1e-3, atol=1e-3)


def test_the_density_of_a_value_is_differentiable_with_the_noise_held():
    loc = torch.zeros(4, 1, dtype=torch.float64, requires_grad=True)
    scale = torch.full((4, 1), 0.5, dtype=torch.float64, requires_grad=True)

    def density(loc, scale):
        torch.manual_seed(1)
        return TanhNormal(loc, scale, low=-2.0, high=2.0).rsample_with_log_prob()

    assert torch.autograd.gradcheck(density, (loc, scale))
