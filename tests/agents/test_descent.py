"""Adam on one flat tensor, and what it refuses."""

import pytest
import torch
from torch import nn

from agents import NonFiniteUpdateError
from agents.descent import Descent


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def loss_of(model, scale=1.0):
    return scale * model(torch.tensor([[0.5, -1.0], [2.0, 0.3]])).square().mean()


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("bound", [None, 1e-3, 1e3])
def test_steps_are_those_of_adam(bound):
    one, other = net(), net()
    descent = Descent(one.parameters(), 0.01, max_grad_norm=bound)
    adam = torch.optim.Adam(other.parameters(), lr=0.01)
    for _ in range(5):
        descent.step(loss_of(one))
        adam.zero_grad()
        loss_of(other).backward()
        if bound is not None:
            nn.utils.clip_grad_norm_(other.parameters(), bound)
        adam.step()
    torch.testing.assert_close(weights(one), weights(other))


def test_other_parameters_have_no_gradient():
    actor, critic = net(), nn.Linear(1, 1)
    descent = Descent(actor.parameters(), 0.1)
    descent.step(critic(actor(torch.ones(1, 2))).sum())
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_parameters_that_are_frozen_stay():
    model = net()
    descent = Descent(model.parameters(), 0.1)
    model[0].requires_grad_(False)
    before = weights(model)
    descent.step(loss_of(model))
    after = weights(model)
    assert torch.equal(before[:12], after[:12])
    assert not torch.equal(before[12:], after[12:])


def test_the_learning_rate_can_be_set():
    model = net()
    descent = Descent(model.parameters(), 0.1)
    descent.lr = 0.0
    before = weights(model)
    descent.step(loss_of(model))
    assert descent.lr == 0.0
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_without_a_finite_gradient_is_not_made(bad):
    one, other = net(), net()
    descents = Descent(one.parameters(), 0.01, patience=3), Descent(other.parameters(), 0.01)
    for model, descent in zip((one, other), descents, strict=True):
        descent.step(loss_of(model))
    descents[0].step(loss_of(one, bad))
    assert descents[0].skipped == 1
    assert torch.equal(weights(one), weights(other))
    for model, descent in zip((one, other), descents, strict=True):
        descent.step(loss_of(model))  # from the moments of before
    assert torch.equal(weights(one), weights(other))


def test_patience_counts_failures_in_a_row():
    model = net()
    descent = Descent(model.parameters(), 0.01, patience=2)
    for _ in range(3):
        descent.step(loss_of(model, float("nan")))
        descent.step(loss_of(model))
    descent.step(loss_of(model, float("nan")))
    with pytest.raises(NonFiniteUpdateError, match="loss nan, norm of the gradient nan: expected finite numbers"):
        descent.step(loss_of(model, float("nan")))
    assert descent.skipped == 5


def test_the_state_of_one_that_stops_goes_on():
    whole, halves = net(), net()
    first = Descent(whole.parameters(), 0.01)
    for _ in range(4):
        first.step(loss_of(whole))
    second = Descent(halves.parameters(), 0.01)
    for _ in range(2):
        second.step(loss_of(halves))
    third = Descent(halves.parameters(), 0.01)
    third.load_state_dict(second.state_dict())
    for _ in range(2):
        third.step(loss_of(halves))
    assert torch.equal(weights(whole), weights(halves))


def test_the_state_of_none_is_that_before_the_first_step():
    one, other = net(), net()
    fresh = Descent(other.parameters(), 0.01)
    descent = Descent(one.parameters(), 0.01)
    start = {name: value.clone() for name, value in one.state_dict().items()}
    state = descent.state_dict()
    descent.step(loss_of(one))
    descent.load_state_dict(state)
    one.load_state_dict(start)
    for model, each in ((one, descent), (other, fresh)):
        each.step(loss_of(model))
    assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("exp_avg"), r"expected \['exp_avg', 'exp_avg_sq', 'step'\], found only"),
        (lambda state: state.update(exp_avg=torch.zeros(3)), r"expected 'exp_avg' of shape \[17\], found \[3\]"),
    ],
)
def test_the_state_of_others_is_refused(change, message):
    model = net()
    descent = Descent(model.parameters(), 0.01)
    descent.step(loss_of(model))
    state = descent.state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        descent.load_state_dict(state)
