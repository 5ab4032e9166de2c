import math

import pytest
import torch

from agents.objectives import KLPENPPOLoss


def make(make_loss, shift, **options):
    """A loss, and steps of which each ratio is exp(shift)."""
    loss, data = make_loss("kl_ppo")
    loss = KLPENPPOLoss(loss.actor_network, loss.critic_network, **options)
    steps = data(8)
    steps["sample_log_prob"] = (loss.actor_network.log_prob(steps) - shift).detach()
    return loss, steps


def test_by_hand(make_loss):
    loss, steps = make(make_loss, 1.0, beta=3.0)
    results = loss(steps)
    kl = math.e - 2.0
    torch.testing.assert_close(results["kl"].item(), kl)
    objective = -math.e * steps["advantage"].mean().item() + 3.0 * kl
    torch.testing.assert_close(results["loss_objective"].item(), objective, rtol=1e-4, atol=1e-5)
    assert results["kl_coef"].item() == 3.0
    torch.testing.assert_close(results["ESS"].item(), 8.0)


@pytest.mark.parametrize(("shift", "factor"), [(0.5, 2.0), (0.1424, 1.0), (0.125, 1.0), (0.0, 0.5)])
def test_the_weight_adapts(make_loss, shift, factor):
    # The divergences are 0.149, about 0.0106 and 0.0081, and 0, beside a target of 0.01.
    loss, steps = make(make_loss, shift, beta=1.0)
    loss(steps)
    assert loss.beta.item() == factor
    loss(steps)
    assert loss.beta.item() == factor**2
    assert loss.state_dict()["beta"].item() == factor**2


def test_the_weight_stays_where_nothing_is_learnt(make_loss):
    loss, steps = make(make_loss, 0.5)
    with torch.no_grad():
        loss(steps)
    loss.eval()
    loss(steps)
    assert loss.beta.item() == 1.0


def test_refuses(make_loss):
    loss, _ = make_loss("kl_ppo")
    with pytest.raises(ValueError, match="expected increment of at least 1 and decrement of at most 1"):
        KLPENPPOLoss(loss.actor_network, loss.critic_network, increment=0.5)
