import pytest
import torch

from agents.objectives import KLAdaptiveLR


def make(lr, **options):
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=lr)
    return optimizer, KLAdaptiveLR(optimizer, 0.01, factor=2.0, **options)


@pytest.mark.parametrize(("kl", "expected"), [(0.021, 5e-4), (0.019, 1e-3), (0.006, 1e-3), (torch.tensor(0.004), 2e-3)])
def test_by_hand(kl, expected):
    optimizer, scheduler = make(1e-3)
    scheduler.step(kl)
    assert optimizer.param_groups[0]["lr"] == expected


def test_within_bounds():
    optimizer, scheduler = make(1e-3, min_lr=7e-4, max_lr=1.5e-3)
    for kl, expected in ((1.0, 7e-4), (0.0, 1.4e-3), (0.0, 1.5e-3)):
        scheduler.step(kl)
        assert optimizer.param_groups[0]["lr"] == expected


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"target_kl": 0.0}, {"min_lr": 0.1, "max_lr": 0.01}])
def test_refuses(options):
    with pytest.raises(ValueError, match="expected factor above 1, target_kl above 0 and min_lr at most max_lr"):
        KLAdaptiveLR(torch.optim.SGD([torch.zeros(1)], 0.1), **options)
