import pytest
import torch

from agents.objectives import PPOLoss, approximate_kl, effective_sample_size, surrogate


def test_made_of_the_functions(make_loss):
    loss, data = make_loss("ppo")
    steps = data(4, 16)
    results = loss(steps)
    log_prob, old = loss.actor_network.log_prob(steps), steps["sample_log_prob"]
    expected = {
        "loss_objective": surrogate(log_prob, old, steps["advantage"].squeeze(-1)).mean(),
        "kl_approx": approximate_kl(log_prob - old),
        "ESS": effective_sample_size(log_prob - old),
    }
    for key, number in expected.items():
        torch.testing.assert_close(results[key], number)
    names = {"loss_objective", "loss_critic", "loss_entropy", "entropy", "kl_approx", "ESS"}
    assert set(results.keys()) == names


def test_nothing_is_clipped(make_loss):
    loss, data = make_loss("ppo")
    steps = data(8)
    steps["sample_log_prob"] = (loss.actor_network.log_prob(steps) - 3.0).detach()
    steps["advantage"].fill_(1.0)
    (gradient,) = torch.autograd.grad(loss(steps)["loss_objective"], loss.actor_network.module.module[-1].weight)
    assert gradient.abs().sum() > 0


def test_clip_value_needs_a_distance(make_loss):
    loss, _ = make_loss("ppo")
    with pytest.raises(ValueError, match="expected clip_value to be a distance, found True"):
        PPOLoss(loss.actor_network, loss.critic_network, clip_value=True)
