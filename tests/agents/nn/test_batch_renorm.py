import copy

import pytest
import torch
from torch import nn

from agents.nn import BatchRenorm1d


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_is_batch_normalisation_during_warm_up():
    ours, theirs = BatchRenorm1d(3, momentum=0.1), nn.BatchNorm1d(3, momentum=0.1)
    for _ in range(3):
        inputs = torch.randn(64, 3) * 2.0 + 1.0
        torch.testing.assert_close(ours(inputs), theirs(inputs))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)


def test_is_what_evaluation_gives_where_bounds_allow():
    norm = BatchRenorm1d(3, warmup_steps=0, max_r=100.0, max_d=100.0)
    norm.running_mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    inputs = torch.randn(64, 3)
    expected = copy.deepcopy(norm).eval()(inputs)
    torch.testing.assert_close(norm(inputs), expected, atol=1e-5, rtol=1e-5)


def test_bounds_hold():
    norm = BatchRenorm1d(1, warmup_steps=0, max_r=2.0, max_d=0.5, eps=0.0)
    inputs = torch.tensor([[90.0], [110.0]])
    # Mean 100 and deviation 10 against 0 and 1: r = 10 becomes 2, d = 100 becomes 0.5; rows are at -1 and 1.
    torch.testing.assert_close(norm(inputs), torch.tensor([[-1.5], [2.5]]))


def test_bounds_open_smoothly_or_at_once():
    inputs = torch.tensor([[90.0], [110.0]])
    smooth, sudden = (BatchRenorm1d(1, warmup_steps=4, max_r=3.0, max_d=4.0, smooth=s, momentum=0.0) for s in (1, 0))
    assert [round(smooth(inputs)[1].item(), 3) for _ in range(6)] == [1.0, 2.5, 4.0, 5.5, 7.0, 7.0]
    assert [round(sudden(inputs)[1].item(), 3) for _ in range(6)] == [1.0, 1.0, 1.0, 1.0, 7.0, 7.0]


def test_moments_move_by_momentum():
    norm = BatchRenorm1d(1, momentum=0.25)
    norm(torch.tensor([[1.0], [3.0]]))
    assert (norm.running_mean.item(), norm.running_var.item()) == (0.5, 1.0)
    norm.eval()(torch.tensor([[9.0]]))
    assert norm.running_mean.item() == 0.5


def test_gradients_are_those_of_the_formula_with_r_and_d_constant():
    norm = BatchRenorm1d(3, warmup_steps=0, momentum=0.0, dtype=torch.float64)
    inputs = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(norm(inputs).square().sum(), [inputs])
    variance, mean = torch.var_mean(inputs, 0, correction=0)
    std = (variance + norm.eps).sqrt()
    r, d = std.detach().clamp(1 / 3, 3) / (1 + norm.eps) ** 0.5, mean.detach().clamp(-5, 5) / (1 + norm.eps) ** 0.5
    (expected,) = torch.autograd.grad(((inputs - mean) / std * r + d).square().sum(), [inputs])
    torch.testing.assert_close(ours, expected)


def test_rows_may_have_several_dimensions():
    norm, inputs = BatchRenorm1d(3, affine=False), torch.randn(4, 5, 3)
    torch.testing.assert_close(norm(inputs), copy.deepcopy(norm)(inputs.reshape(20, 3)).reshape(4, 5, 3))
    assert not list(norm.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchRenorm1d(3, max_r=0.5), "max_r: expected at least 1.0, found 0.5"),
        (lambda: BatchRenorm1d(3, warmup_steps=-1), "warmup_steps"),
        (lambda: BatchRenorm1d(3)(torch.zeros(5, 4)), r"expected 3 features, found \[5, 4\]"),
        (lambda: BatchRenorm1d(3)(torch.zeros(1, 3)), "at least 2 rows in training, found 1"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
