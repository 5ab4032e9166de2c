import pytest
import torch

from agents.returns import gae


def slow_gae(reward, value, next_value, done, terminated, gamma, lmbda):
    """The recursion of the paper, one element at a time in double precision."""
    advantage = torch.zeros_like(reward, dtype=torch.float64)
    layout = (-1, *reward.shape[-2:])
    rows = [tensor.reshape(layout).tolist() for tensor in (reward, value, next_value, done, terminated)]
    for row, columns in enumerate(zip(*rows, strict=True)):
        following = 0.0
        for step in reversed(range(reward.shape[-2])):
            r, v, n, d, t = (column[step][0] for column in columns)
            delta = r + gamma * n * (not t) - v
            following = delta + gamma * lmbda * (not d) * following
            advantage.view(-1, reward.shape[-2])[row, step] = following
    return advantage


def make_inputs(*shape, ends=0.1, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    numbers = [torch.randn(*shape, 1, generator=generator, dtype=dtype) for _ in range(3)]
    done = torch.rand(*shape, 1, generator=generator) < ends
    terminated = done & (torch.rand(*shape, 1, generator=generator) < 0.5)
    return (*numbers, done, terminated)


# Lengths with many divisors, primes, and batches on both sides of the width where the recursion runs plainly.
@pytest.mark.parametrize(
    "shape", [(1,), (2,), (3, 1), (8, 128), (1, 97), (5, 30), (2, 3, 24), (1, 360), (1700, 6), (4, 2 * 53)]
)
@pytest.mark.parametrize("ends", [0.0, 0.1, 1.0])
def test_same_as_the_recursion(shape, ends):
    inputs = make_inputs(*shape, ends=ends)
    advantage, target = gae(*inputs, gamma=0.97, lmbda=0.9)
    expected = slow_gae(*inputs, 0.97, 0.9)
    assert advantage.shape == target.shape == (*shape, 1)
    torch.testing.assert_close(advantage.double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(target, advantage + inputs[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    inputs = make_inputs(3, 12, dtype=dtype)
    advantage, _ = gae(*inputs, gamma=0.97, lmbda=0.9)
    tolerance = 1e-12 if dtype is torch.float64 else 0.1
    assert advantage.dtype is dtype
    torch.testing.assert_close(advantage.double(), slow_gae(*inputs, 0.97, 0.9), atol=tolerance, rtol=tolerance)


def test_mixed_dtypes_are_promoted():
    reward, value, next_value, *flags = make_inputs(3, 12)
    advantage, _ = gae(reward.double(), value, next_value, *flags, gamma=0.97, lmbda=0.9)
    assert advantage.dtype is torch.float64


def test_worked_example():
    # gamma 1/2, lambda 1/2: deltas are 1 + 0 - 0, 2 + 2/2 - 1 and 4 + 6/2 - 2, from the last step backwards
    # 5, 2 + 5/4 and 1 + 3.25/4.
    reward, value, next_value = (torch.tensor(column).view(3, 1) for column in ([1.0, 2, 4], [0.0, 1, 2], [0.0, 2, 6]))
    nothing = torch.zeros(3, 1, dtype=torch.bool)
    advantage, target = gae(reward, value, next_value, nothing, nothing, gamma=0.5, lmbda=0.5)
    assert advantage.squeeze(-1).tolist() == [1.8125, 3.25, 5.0]
    assert target.squeeze(-1).tolist() == [1.8125, 4.25, 7.0]


@pytest.mark.parametrize(("terminated", "expected"), [(True, 1.0), (False, 1.0 + 0.5 * 8.0)])
def test_truncation_bootstraps_and_termination_does_not(terminated, expected):
    ones, eights, zeros = torch.ones(2, 1), torch.full((2, 1), 8.0), torch.zeros(2, 1)
    done = torch.tensor([[True], [False]])
    flag = torch.tensor([[terminated], [False]])
    advantage, _ = gae(ones, zeros, eights, done, flag, gamma=0.5, lmbda=1.0)
    # The first step ends an episode: nothing of the second may reach it.
    assert advantage[0].item() == expected
    assert advantage[1].item() == 1.0 + 0.5 * 8.0


def test_value_after_termination_is_ignored_even_if_not_finite():
    zeros, done = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    advantage, _ = gae(zeros, zeros, torch.full((1, 1), torch.nan), done, done, gamma=0.9, lmbda=0.9)
    assert advantage.item() == 0.0


@pytest.mark.parametrize(("lmbda", "steps"), [(0.0, 1), (1.0, 6)])
def test_limits_of_lambda(lmbda, steps):
    reward, value, next_value, *_ = make_inputs(6)
    next_value[:-1] = value[1:]
    nothing = torch.zeros(6, 1, dtype=torch.bool)
    advantage, _ = gae(reward, value, next_value, nothing, nothing, gamma=0.9, lmbda=lmbda)
    discounted = sum(0.9**k * reward[k] for k in range(steps)) + 0.9**steps * next_value[steps - 1]
    torch.testing.assert_close(advantage[0], discounted - value[0])


def test_memory_laid_out_by_time():
    inputs = make_inputs(4, 24)
    by_time = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in inputs]
    for ours, expected in zip(gae(*by_time, gamma=0.9, lmbda=0.9), gae(*inputs, gamma=0.9, lmbda=0.9), strict=True):
        assert torch.equal(ours, expected)


def test_inputs_stay_as_they_are_and_get_no_gradient():
    inputs = make_inputs(4, 24)
    copies = [tensor.clone() for tensor in inputs]
    inputs[1].requires_grad_()
    advantage, target = gae(*inputs, gamma=0.9, lmbda=0.9)
    assert not advantage.requires_grad
    assert not target.requires_grad
    for tensor, copy in zip(inputs, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_nothing_to_do():
    advantage, target = gae(*make_inputs(0, 5), gamma=0.9, lmbda=0.9)
    assert advantage.shape == target.shape == (0, 5, 1)


@pytest.mark.parametrize("index", range(1, 5))
def test_shapes_must_agree(index):
    inputs = list(make_inputs(4, 6))
    name = ["reward", "value", "next_value", "done", "terminated"][index]
    inputs[index] = inputs[index].squeeze(-1)
    with pytest.raises(ValueError, match=rf"expected {name} of shape \[4, 6, 1\], found \[4, 6\]"):
        gae(*inputs, gamma=0.9, lmbda=0.9)


@pytest.mark.parametrize("shape", [(), (1,), (4, 6)])
def test_layout_is_batch_time_one(shape):
    numbers, flags = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\[\*batch, T, 1\]"):
        gae(numbers, numbers, numbers, flags, flags, gamma=0.9, lmbda=0.9)


def test_flags_must_be_bool():
    reward, value, next_value, done, terminated = make_inputs(4, 6)
    with pytest.raises(ValueError, match=r"done of dtype torch.bool, found torch.float32"):
        gae(reward, value, next_value, done.float(), terminated, gamma=0.9, lmbda=0.9)
