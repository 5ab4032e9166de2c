import pytest
import torch
from torch import nn

from agents import Actor, TensorDictModule, TensorDictSequential, gSDEModule
from envkit import ExplorationType, GymEnv, TransformedEnv, gSDENoise, set_exploration_type


def test_action_is_linear_in_the_state():
    module = gSDEModule(2, 3, sigma_init=0.5)
    mu, state, eps = torch.randn(4, 2), torch.randn(4, 3), torch.randn(4, 2, 3)
    with set_exploration_type(ExplorationType.RANDOM):
        loc, _, action = module(mu, state, eps)
    assert loc is mu
    torch.testing.assert_close(action, mu + 0.5 * torch.einsum("bas,bs->ba", eps, state))


def test_scale_is_that_of_the_noise():
    torch.manual_seed(0)
    module = gSDEModule(2, 3)
    state = torch.randn(3)
    with set_exploration_type(ExplorationType.RANDOM):
        _, scale, action = module(torch.zeros(50_000, 2), state.expand(50_000, 3))
    torch.testing.assert_close(action.std(0), scale[0], atol=0.02, rtol=0.0)


def test_bounds_of_the_scale_hold_and_sigma_learns():
    module = gSDEModule(2, 3, scale_min=0.1, scale_max=0.2)
    assert module(torch.zeros(2), torch.zeros(3))[1].tolist() == pytest.approx([0.1, 0.1])
    assert module(torch.zeros(2), torch.full((3,), 9.0))[1].tolist() == pytest.approx([0.2, 0.2])
    free = gSDEModule(2, 3)
    free(torch.zeros(2), torch.ones(3))[1].sum().backward()
    assert (free.log_sigma.grad > 0.0).all()
    assert not list(gSDEModule(2, 3, learn_sigma=False).parameters())


def test_equal_states_get_equal_noise_within_an_episode():
    env = TransformedEnv(GymEnv("Pendulum-v1"), gSDENoise(state_dim=3))
    gsde = TensorDictModule(gSDEModule(1, 3), ["loc", "observation", "_eps_gSDE"], ["loc", "scale", "action"])
    policy = TensorDictSequential(Actor(nn.Linear(3, 1), out_keys=["loc"]), gsde)
    data = env.rollout(5, policy, exploration_type=ExplorationType.RANDOM)
    noise = (data["action"] - data["loc"]).squeeze(-1)
    weights = data["_eps_gSDE"][0, 0] / 3**0.5
    torch.testing.assert_close(noise, data["observation"] @ weights)
    still = env.rollout(5, policy, exploration_type=ExplorationType.DETERMINISTIC)
    assert torch.equal(still["action"], still["loc"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"action_dim": 0}, "action_dim: expected at least 1, found 0"),
        ({"state_dim": 0}, "state_dim: expected at least 1, found 0"),
        ({"sigma_init": 0.0}, "sigma_init: expected a positive number, found 0.0"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        gSDEModule(**{"action_dim": 2, "state_dim": 3, **kwargs})
