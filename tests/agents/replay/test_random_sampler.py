import torch

from agents.replay import RandomSampler


def test_uniform_with_replacement():
    index = RandomSampler().sample(4, 8_000, torch.Generator().manual_seed(0))
    assert index.dtype is torch.int64
    counts = torch.bincount(index, minlength=4)
    torch.testing.assert_close(counts.float() / 8_000, torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_follows_the_generator():
    first = RandomSampler().sample(100, 10, torch.Generator().manual_seed(3))
    assert torch.equal(first, RandomSampler().sample(100, 10, torch.Generator().manual_seed(3)))
