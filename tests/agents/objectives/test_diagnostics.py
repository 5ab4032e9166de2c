import torch
from torch import distributions

from agents.objectives import approximate_kl, clip_fraction, effective_sample_size


def test_approximate_kl_is_right_on_average():
    old, new = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.3, 0.5, 0.7])
    old_dist, new_dist = distributions.Categorical(logits=old), distributions.Categorical(logits=new)
    samples = old_dist.sample((50_000,))
    log_ratio = new_dist.log_prob(samples) - old_dist.log_prob(samples)
    expected = distributions.kl_divergence(old_dist, new_dist)
    torch.testing.assert_close(approximate_kl(log_ratio), expected, rtol=0.02, atol=0)


def test_clip_fraction_by_hand():
    ratios = torch.tensor([0.79, 0.81, 1.0, 1.19, 1.21])
    torch.testing.assert_close(clip_fraction(ratios.log(), 0.2), torch.tensor(0.4))


def test_effective_sample_size_by_hand():
    torch.testing.assert_close(
        effective_sample_size(torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()), torch.tensor(36.0 / 12.0)
    )
