import math

import pytest
import torch

from agents.objectives import clipped_surrogate, kl_penalty, surrogate


def test_surrogate_by_hand():
    log_prob = torch.tensor([math.log(2.0), 0.0], requires_grad=True)
    losses = surrogate(log_prob, torch.zeros(2), torch.tensor([3.0, -1.0]))
    torch.testing.assert_close(losses.detach(), torch.tensor([-6.0, 1.0]))
    losses.sum().backward()
    torch.testing.assert_close(log_prob.grad, torch.tensor([-6.0, 1.0]))


def test_penalty_and_its_gradient_are_right_on_average():
    old, new = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.3, 0.5, 0.7], requires_grad=True)
    log_old, log_new = old.log_softmax(0), new.log_softmax(0)
    estimate = (log_old.exp() * kl_penalty(log_new, log_old)).sum()  # every action, weighted by its probability
    exact = (log_old.exp() * (log_old - log_new)).sum()
    torch.testing.assert_close(estimate, exact)
    (gradient,) = torch.autograd.grad(estimate, new, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(exact, new)[0])


@pytest.mark.parametrize("function", [kl_penalty, lambda *args: surrogate(*args, torch.zeros(5))])
def test_shapes_are_checked(function):
    with pytest.raises(ValueError, match=r"old_log_prob of the shape of log_prob, \[5\], found \[5, 1\]"):
        function(torch.zeros(5), torch.zeros(5, 1))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.5, 2.0, -2.4),  # already moved too far in the right direction: cut at 1.2
        (0.5, 2.0, -1.0),  # moved in the wrong direction: not cut
        (1.5, -2.0, 3.0),  # likewise
        (0.5, -2.0, 1.6),  # cut at 0.8
        (1.1, 2.0, -2.2),
        (1.1, -2.0, 2.2),
        (3.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, expected):
    old = torch.tensor([-1.0])
    log_prob = (old + math.log(ratio)).requires_grad_()
    loss = clipped_surrogate(log_prob, old, torch.tensor([advantage]), 0.2)
    torch.testing.assert_close(loss, torch.tensor([expected]))
    (gradient,) = torch.autograd.grad(loss.sum(), log_prob)
    cut = expected in (-2.4, 1.6)
    torch.testing.assert_close(gradient, torch.tensor([0.0 if cut else -ratio * advantage]))


def test_clipped_surrogate_is_the_formula_of_the_paper():
    log_prob, old, advantage = torch.randn(3, 500)
    ratio = (log_prob - old).exp()
    expected = -torch.minimum(ratio * advantage, ratio.clamp(0.7, 1.3) * advantage)
    torch.testing.assert_close(clipped_surrogate(log_prob, old, advantage, 0.3), expected)


@pytest.mark.parametrize(("position", "name"), [(1, "old_log_prob"), (2, "advantage")])
def test_clipped_surrogate_never_broadcasts(position, name):
    tensors = [torch.zeros(5) for _ in range(3)]
    tensors[position] = torch.zeros(5, 1)
    with pytest.raises(ValueError, match=rf"{name} of the shape of log_prob, \[5\], found \[5, 1\]"):
        clipped_surrogate(*tensors, 0.2)
