"""Additive Gaussian noise, and that of an Ornstein-Uhlenbeck process."""

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents import Actor, AdditiveGaussianModule, OrnsteinUhlenbeckProcessModule, TensorDictSequential
from envkit import (
    Bounded,
    Collector,
    ExplorationType,
    GymEnv,
    InitTracker,
    SerialEnv,
    TransformedEnv,
    Unbounded,
    set_exploration_type,
)
from envkit.errors import PolicyError

FREE = Unbounded((2,))


def explore(module, action, is_init=None):
    batch = action.shape[:-1]
    td = TensorDict({"action": action}, batch)
    if is_init is not None:
        td["is_init"] = torch.as_tensor(is_init).expand(*batch).unsqueeze(-1)
    with set_exploration_type(ExplorationType.RANDOM):
        return module(td)["action"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("make", [AdditiveGaussianModule, OrnsteinUhlenbeckProcessModule])
@pytest.mark.parametrize("kind", [None, ExplorationType.DETERMINISTIC, ExplorationType.MEAN])
def test_only_the_random_type_explores(make, kind):
    with set_exploration_type(kind):
        td = TensorDict(action=torch.zeros(5, 2), is_init=torch.ones(5, 1, dtype=torch.bool), batch_size=[5])
        assert not make(FREE)(td)["action"].any()


@pytest.mark.parametrize("make", [AdditiveGaussianModule, OrnsteinUhlenbeckProcessModule])
def test_actions_stay_in_the_spec_if_safe(make):
    spec, scale = Bounded(-0.5, 0.5, shape=(2,)), {"std": 10.0} if make is AdditiveGaussianModule else {"sigma": 1e3}
    assert spec.is_in(explore(make(spec, **scale), torch.zeros(50, 2), True))
    assert not spec.is_in(explore(make(spec, safe=False, **scale), torch.zeros(50, 2), True))


def test_gaussian_has_the_moments_asked_for():
    module = AdditiveGaussianModule(FREE, sigma_init=2.0, sigma_end=1.0, annealing_num_steps=10, mean=0.5, std=3.0)
    module.step(5)
    assert module.sigma == 1.5
    noise = explore(module, torch.ones(100_000, 2)) - 1.0
    torch.testing.assert_close(noise.mean(0), torch.full((2,), 0.75), atol=0.05, rtol=0.0)
    torch.testing.assert_close(noise.std(0), torch.full((2,), 4.5), atol=0.05, rtol=0.0)


def test_process_follows_its_recursion():
    generator = torch.Generator().manual_seed(3)
    module = OrnsteinUhlenbeckProcessModule(
        FREE,
        eps_init=0.5,
        eps_end=0.5,
        theta=2.0,
        mu=1.0,
        sigma=0.4,
        sigma_min=0.2,
        n_steps_annealing=2,
        dt=0.1,
        x0=3.0,
        generator=copy.deepcopy(generator),
    )
    x = torch.full((4, 2), 3.0)
    for step, sigma in enumerate([0.4, 0.3, 0.2, 0.2]):
        x = x + 2.0 * 0.1 * (1.0 - x) + sigma * math.sqrt(0.1) * torch.randn(4, 2, generator=generator)
        torch.testing.assert_close(explore(module, torch.ones(4, 2), step == 0), 1.0 + 0.5 * x)


def test_process_has_a_deviation_for_each_number_of_the_action():
    alone, both = (
        explore(
            OrnsteinUhlenbeckProcessModule(FREE, sigma=sigma, generator=torch.Generator().manual_seed(3)),
            torch.zeros(4, 2),
            True,
        )
        for sigma in (0.5, torch.tensor([0.5, 0.0]))
    )
    assert torch.equal(both[:, 0], alone[:, 0])
    assert both[:, 1].tolist() == [0.0] * 4
    assert alone[:, 1].all()


def test_process_starts_anew_where_episodes_do():
    module = OrnsteinUhlenbeckProcessModule(FREE, sigma=0.0, theta=1.0, dt=0.5, x0=8.0, eps_end=1.0)
    zero = torch.zeros(3, 2)
    explore(module, zero, True)
    explore(module, zero, False)
    noise = explore(module, zero, [False, True, False])
    assert noise[:, 0].tolist() == [1.0, 4.0, 1.0]


@pytest.mark.parametrize("make", [AdditiveGaussianModule, OrnsteinUhlenbeckProcessModule])
def test_state_resumes_exactly(make):
    first = make(FREE, generator=torch.Generator().manual_seed(3), annealing_num_steps=10)
    action = torch.zeros(4, 2)
    explore(first, action, True)
    explore(first, action, False)
    first.step(3)
    second = make(FREE, generator=torch.Generator(), annealing_num_steps=10)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        assert torch.equal(explore(first, action, False), explore(second, action, False))


def test_weights_published_by_an_idle_policy_leave_running_noise_alone():
    running, idle = (OrnsteinUhlenbeckProcessModule(FREE, sigma=0.0, x0=1.0, theta=0.0) for _ in range(2))
    explore(running, torch.zeros(4, 2), True)
    idle.step(500)
    running.load_state_dict(idle.state_dict())
    assert running.eps == idle.eps
    torch.testing.assert_close(explore(running, torch.zeros(4, 2), False), torch.full((4, 2), running.eps))


def test_process_runs_in_batches_with_partial_resets():
    def make_env(length):
        return GymEnv("Pendulum-v1", max_episode_steps=length)

    env = TransformedEnv(SerialEnv(2, [lambda: make_env(3), lambda: make_env(5)]), InitTracker())
    net = nn.Linear(3, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    noise = OrnsteinUhlenbeckProcessModule(env.action_spec, sigma=0.0, theta=1.0, dt=0.5, x0=2.0, eps_end=1.0)
    policy = TensorDictSequential(Actor(net), noise)
    (data,) = Collector(env, policy, frames_per_batch=20, total_frames=20)
    curve = [2.0 * 0.5**k for k in range(1, 6)]
    assert data["action"][0].flatten().tolist() == [*curve[:3]] * 3 + curve[:1]
    assert data["action"][1].flatten().tolist() == curve * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda module: explore(module, torch.zeros(3, 2)), "InitTracker.* at key 'is_init', found keys"),
        (
            lambda module: [explore(module, torch.zeros(n, 2), [True, False, True][:n]) for n in (2, 3)],
            "in the middle of episodes",
        ),
        (lambda module: explore(module, torch.zeros(3, 3), True), r"expected shape \[..., 2\], found \[3, 3\]"),
    ],
)
def test_errors(call, message):
    with pytest.raises(PolicyError, match=message):
        call(OrnsteinUhlenbeckProcessModule(FREE))


def test_annealing_within_episodes_takes_steps():
    with pytest.raises(ValueError, match="n_steps_annealing: expected at least 1, found 0"):
        OrnsteinUhlenbeckProcessModule(FREE, n_steps_annealing=0)
