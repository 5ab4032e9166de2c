from __future__ import annotations

import pytest
import torch

from envkit.transforms.moments import RunningMoments


def test_dtypes_that_numpy_lacks():
    moments = RunningMoments(torch.Size([1]), decay=1.0, eps=1e-4)
    moments.update(torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16))
    assert (moments.mean.item(), moments.spread.item()) == (2.0, 2.0)


def test_whole_values_by_a_mask_as_by_themselves():
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True, True, False])
    one, other = (RunningMoments(torch.Size([3]), decay=0.9, eps=1e-4) for _ in range(2))
    one.update(values, mask.unsqueeze(-1))
    other.update(values[mask])
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def test_nobody():
    moments = RunningMoments(torch.Size([3]), decay=0.5, eps=1e-4)
    moments.update(torch.ones(2, 3))
    moments.update(torch.ones(2, 3), torch.zeros(2, 1, dtype=torch.bool))
    assert moments.weight.tolist() == [2.0] * 3


def test_little_variance():
    moments = RunningMoments(torch.Size([1]), decay=1.0, eps=0.25)
    assert not moments.known
    moments.update(torch.ones(4, 1))
    loc, scale = moments.loc_scale(torch.float32)
    assert (loc.item(), scale.item()) == (1.0, 0.5)
    assert moments.known


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    values = torch.randn(5, 3)
    mask = torch.tensor([True, False, True, True, False]).unsqueeze(-1)
    here, there = (RunningMoments(torch.Size([3]), decay=0.9, eps=1e-4) for _ in range(2))
    there.to("cuda")
    for moments, device in ((here, "cpu"), (there, "cuda")):
        moments.update(values.to(device))
        moments.update(values.to(device), mask.to(device))
    for one, other in zip(here.buffers(), there.buffers(), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-12, atol=1e-12)
