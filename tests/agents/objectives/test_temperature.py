import math

import pytest
import torch

from agents.objectives import Temperature, temperature_loss


def test_loss_by_hand():
    log_alpha = torch.tensor(math.log(2.0), requires_grad=True)
    log_prob = torch.tensor([-3.0, 1.0], requires_grad=True)
    losses = temperature_loss(log_alpha, log_prob, -2.0)
    torch.testing.assert_close(losses.detach(), torch.tensor([5.0 * math.log(2.0), math.log(2.0)]))
    losses.sum().backward()
    assert (log_alpha.grad.item(), log_prob.grad) == (6.0, None)


def test_bounds():
    temperature = Temperature(1.0, min_alpha=0.5, max_alpha=2.0)
    for log_alpha, expected in ((-9.0, 0.5), (9.0, 2.0), (0.0, 1.0)):
        temperature.log_alpha.data.fill_(log_alpha)
        assert temperature().item() == expected
    with pytest.raises(ValueError, match=r"expected a positive number from 0.5 to 2.0, found 3.0"):
        Temperature(3.0, min_alpha=0.5, max_alpha=2.0)
