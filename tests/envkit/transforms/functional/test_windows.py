from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.transforms.functional.windows import chunks_ahead, n_step_returns

few = settings(deadline=None, max_examples=60, derandomize=True)
flags = st.lists(st.booleans(), min_size=1, max_size=9)


@few
@given(done=flags, n=st.integers(1, 12), gamma=st.sampled_from([0.0, 0.5, 1.0]), rest=st.sampled_from([(), (1,), (2,)]))
def test_n_step_returns(done, n, gamma, rest):
    steps = len(done)
    reward = torch.arange(1.0, 1 + steps * max(1, sum(rest))).reshape(steps, *rest)
    total, count = n_step_returns(reward, torch.tensor(done), n, gamma)
    for t in range(steps):
        expected, k = torch.zeros(rest), 0
        while True:
            expected, k = expected + gamma**k * reward[t + k], k + 1
            if done[t + k - 1] or k == n or t + k == steps:
                break
        assert torch.equal(total[t], expected)
        assert count[t] == k


def test_whole_numbers_cannot_be_discounted():
    with pytest.raises(TypeError, match=r"reward: expected floating-point numbers to discount, found torch.int64"):
        n_step_returns(torch.arange(3), torch.zeros(3, dtype=torch.bool), 2, 0.9)


@few
@given(done=flags, size=st.integers(1, 12), rest=st.sampled_from([(), (2,)]))
def test_chunks_ahead(done, size, rest):
    steps = len(done)
    value = torch.arange(steps * max(1, sum(rest))).reshape(steps, *rest)
    chunks, padded = chunks_ahead(value, torch.tensor(done), size)
    for t in range(steps):
        last = next((i for i in range(t, steps) if done[i]), steps - 1)
        for k in range(size):
            assert torch.equal(chunks[t, k], value[min(t + k, last)])
            assert padded[t, k] == (t + k > last)


def test_batches():
    reward, done = torch.rand(2, 3, 7, 1), torch.rand(2, 3, 7) < 0.3
    for found, single in (
        (n_step_returns(reward, done, 3, 0.9), lambda i, j: n_step_returns(reward[i, j], done[i, j], 3, 0.9)),
        (chunks_ahead(reward, done, 3), lambda i, j: chunks_ahead(reward[i, j], done[i, j], 3)),
    ):
        for i in range(2):
            for j in range(3):
                for part, expected in zip(found, single(i, j), strict=True):
                    assert torch.equal(part[i, j], expected)
