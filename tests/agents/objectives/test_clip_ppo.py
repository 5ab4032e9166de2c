import pytest
import torch
from tensordict import TensorDict
from torch import distributions, nn

from agents.nn import (
    MLP,
    Categorical,
    NormalParamExtractor,
    ProbabilisticActor,
    TanhNormal,
    TensorDictModule,
    ValueOperator,
    set_interaction_type,
)
from agents.objectives import (
    ClipPPOLoss,
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    effective_sample_size,
    value_loss,
)
from agents.returns import GAE

LOSSES = ("loss_objective", "loss_critic", "loss_entropy")
DIAGNOSTICS = ("entropy", "kl_approx", "clip_fraction", "ESS")


def make_actor(**kwargs):
    module = TensorDictModule(MLP(4, 3), in_keys=["observation"], out_keys=["logits"])
    return ProbabilisticActor(module, ["logits"], distribution_class=Categorical, return_log_prob=True, **kwargs)


def make_batch(actor, *batch):
    data = TensorDict({"observation": torch.randn(*batch, 4)}, batch)
    with torch.no_grad(), set_interaction_type("random"):
        actor(data)
    # A policy that has moved on since it acted.
    data["sample_log_prob"] += 0.3 * torch.randn(batch)
    data["advantage"], data["value_target"] = torch.randn(*batch, 1), torch.randn(*batch, 1)
    data["state_value"] = torch.randn(*batch, 1)
    return data


def make_loss(**kwargs):
    actor = make_actor()
    return ClipPPOLoss(actor, ValueOperator(MLP(4, 1)), **kwargs), make_batch(actor, 64)


@pytest.mark.parametrize("batch", [(1,), (64,), (4, 16)])
def test_loss_is_made_of_the_functions(batch):
    actor, critic = make_actor(), ValueOperator(MLP(4, 1))
    data = make_batch(actor, *batch)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.1, entropy_coef=0.5, critic_coef=0.25, loss_critic_type="l2")
    losses = loss(data)
    assert set(losses.keys()) == {*LOSSES, *DIAGNOSTICS}
    dist = distributions.Categorical(logits=actor.module.module(data["observation"]))
    log_prob, old = dist.log_prob(data["action"]), data["sample_log_prob"]
    value = critic.module(data["observation"]).squeeze(-1)
    expected = {
        "loss_objective": clipped_surrogate(log_prob, old, data["advantage"].squeeze(-1), 0.1).mean(),
        "loss_critic": 0.25 * (value - data["value_target"].squeeze(-1)).square().mean(),
        "loss_entropy": -0.5 * dist.entropy().mean(),
        "entropy": dist.entropy().mean(),
        "kl_approx": approximate_kl(log_prob - old),
        "clip_fraction": clip_fraction(log_prob - old, 0.1),
        "ESS": effective_sample_size(log_prob - old),
    }
    for key, figure in expected.items():
        torch.testing.assert_close(losses[key], figure)
    assert all(losses[key].requires_grad for key in LOSSES)
    assert not any(losses[key].requires_grad for key in DIAGNOSTICS)


def test_the_sum_trains_both_networks():
    loss, data = make_loss()
    losses = loss(data)
    sum(losses[key] for key in LOSSES).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    optimiser = torch.optim.Adam(loss.parameters(), 1e-2)
    first = losses["loss_critic"].item()
    for _ in range(100):
        optimiser.zero_grad()
        losses = loss(data)
        sum(losses[key] for key in LOSSES).backward()
        optimiser.step()
    assert losses["loss_critic"].item() < 0.7 * first
    assert losses["loss_objective"].item() < 0.0


def test_data_stays_as_it_is():
    loss, data = make_loss()
    copy = data.clone()
    loss(data)
    assert set(data.keys()) == set(copy.keys())
    assert bool((data == copy).all())


@pytest.mark.parametrize("trailing", [True, False])
def test_entries_with_and_without_a_trailing_one(trailing):
    loss, data = make_loss(clip_value=True)
    expected = loss(data.clone())
    for key in ("advantage", "value_target", "sample_log_prob", "state_value"):
        data[key] = data[key].view(64, 1) if trailing else data[key].view(64)
    losses = loss(data)
    for key in LOSSES:
        assert torch.equal(losses[key], expected[key])


@pytest.mark.parametrize("key", ["advantage", "value_target", "sample_log_prob"])
def test_entries_of_another_shape(key):
    loss, data = make_loss()
    data[key] = torch.zeros(64, 2)
    with pytest.raises(ValueError, match=rf"expected '{key}' of shape \[64\] or \[64, 1\], found \[64, 2\]"):
        loss(data)


@pytest.mark.parametrize("key", ["advantage", "value_target", "sample_log_prob", "action"])
def test_missing_entries(key):
    loss, data = make_loss()
    del data[key]
    with pytest.raises(KeyError, match=key):
        loss(data)


def test_log_prob_per_action_dimension():
    net = nn.Sequential(MLP(4, 6), NormalParamExtractor())
    module = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(module, ["loc", "scale"], distribution_class=distributions.Normal, return_log_prob=True)
    data = TensorDict({"observation": torch.randn(8, 4), "action": torch.randn(8, 3)}, [8])
    with pytest.raises(ValueError, match=r"\[8\], found \[8, 3\] from Normal"):
        ClipPPOLoss(actor, ValueOperator(MLP(4, 1)))(data)


def test_entropy_without_closed_form():
    net = nn.Sequential(MLP(4, 2), NormalParamExtractor())
    module = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(module, ["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)
    data = make_batch(actor, 4_000)
    losses = ClipPPOLoss(actor, ValueOperator(MLP(4, 1)))(data)
    dist = actor.get_dist(data)
    expected = -dist.log_prob(dist.sample((20,))).mean()
    torch.testing.assert_close(losses["entropy"], expected.detach(), atol=0.03, rtol=0)
    losses["loss_entropy"].backward()
    assert net[0][0].weight.grad.abs().sum() > 0


def test_without_entropy_bonus():
    loss, data = make_loss(entropy_bonus=False)
    losses = loss(data)
    assert losses["loss_entropy"] == 0.0
    assert not losses["loss_entropy"].requires_grad
    assert losses["entropy"] > 0.0


def test_normalised_advantage():
    loss, data = make_loss(normalize_advantage=True)
    expected = loss(data)["loss_objective"]
    data["advantage"] = 5.0 * data["advantage"] + 3.0
    torch.testing.assert_close(loss(data)["loss_objective"], expected)


@pytest.mark.parametrize(("clip_value", "distance"), [(True, 0.1), (0.3, 0.3), (None, None), (False, None)])
def test_clip_value(clip_value, distance):
    loss, data = make_loss(clip_epsilon=0.1, clip_value=clip_value)
    value = loss.critic_network.module(data["observation"])
    expected = value_loss(value, data["value_target"], "smooth_l1", data["state_value"], distance).mean()
    torch.testing.assert_close(loss(data)["loss_critic"], expected)


def test_other_spellings():
    actor, critic = make_actor(), ValueOperator(MLP(4, 1))
    loss = ClipPPOLoss(actor=actor, critic=critic, entropy_coeff=0.0, critic_coeff=2.0)
    assert (loss.actor_network, loss.critic_network) == (actor, critic)
    assert (loss.entropy_coef, loss.critic_coef) == (0.0, 2.0)
    defaults = ClipPPOLoss(actor_network=actor, critic_network=critic)
    assert (defaults.entropy_coef, defaults.critic_coef) == (0.01, 1.0)
    with pytest.raises(ValueError, match="'entropy_coef', 'entropy_coeff'"):
        ClipPPOLoss(actor, critic, entropy_coef=0.1, entropy_coeff=0.1)
    with pytest.raises(ValueError, match="critic_network is required"):
        ClipPPOLoss(actor)
    with pytest.raises(ValueError, match="found 'huber'"):
        ClipPPOLoss(actor, critic, loss_critic_type="huber")


def test_other_keys():
    actor, critic = make_actor(), TensorDictModule(MLP(4, 1), in_keys=["observation"], out_keys=["v"])
    data = make_batch(actor, 16)
    loss = ClipPPOLoss(actor, critic)
    loss.set_keys(value="v", advantage="gain", value_target=("agent", "goal"))
    data["gain"], data["agent", "goal"] = data.pop("advantage"), data.pop("value_target")
    assert loss(data)["loss_critic"] > 0.0
    with pytest.raises(TypeError, match="gains"):
        loss.set_keys(gains="gain")


@pytest.mark.parametrize("by_argument", [True, False])
def test_missing_advantages_are_estimated(by_argument):
    actor, critic = make_actor(), ValueOperator(MLP(4, 1))
    data = make_batch(actor, 4, 16)
    flags = torch.zeros(4, 16, 1, dtype=torch.bool)
    data["next"] = TensorDict(
        {
            "observation": torch.randn(4, 16, 4),
            "gain": torch.randn(4, 16, 1),
            "done": flags,
            "terminated": flags,
        },
        [4, 16],
    )
    del data["advantage"], data["value_target"]
    loss = ClipPPOLoss(actor, critic, gamma=0.9 if by_argument else None)
    if not by_argument:
        loss.make_value_estimator(loss.default_value_estimator, gamma=0.9)
    loss.set_keys(reward="gain")
    estimate = GAE(0.9, 0.95, critic)
    estimate.set_keys(reward="gain")
    expected = estimate(data.clone())
    loss(data)
    torch.testing.assert_close(data["advantage"], expected["advantage"])
    torch.testing.assert_close(data["value_target"], expected["value_target"])


def test_estimator_shares_the_critic_without_registering_it_twice():
    loss, _ = make_loss()
    before = set(loss.state_dict())
    loss.make_value_estimator(gamma=0.9, lmbda=0.8)
    assert set(loss.state_dict()) == before
    assert loss.value_estimator.value_network is loss.critic_network
    assert (loss.value_estimator.gamma, loss.value_estimator.lmbda) == (0.9, 0.8)
    with pytest.raises(ValueError, match="found 'td2'"):
        loss.make_value_estimator("td2")
