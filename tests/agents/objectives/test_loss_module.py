import pytest
import torch
from tensordict import TensorDict

from agents.nn import MLP, Actor, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.objectives import A2CLoss, ClipPPOLoss, DDPGLoss, DQNLoss, clipped_surrogate
from agents.returns import TDLambdaEstimator, ValueEstimators
from envkit import MultiStepTransform

ON_POLICY = ["a2c", "clip_ppo", "kl_ppo", "ppo", "reinforce"]
OFF_POLICY = [
    "cql",
    "crossq",
    "ddpg",
    "discrete_cql",
    "discrete_sac",
    "distributional_dqn",
    "dqn",
    "iql",
    "quantile_dqn",
    "redq",
    "sac",
    "td3",
]
ALL = sorted(ON_POLICY + OFF_POLICY)
# Those in which nothing is drawn.
SURE = [*ON_POLICY, "ddpg", "discrete_cql", "distributional_dqn", "dqn", "iql", "quantile_dqn"]


def seeded(loss, data):
    torch.manual_seed(1)
    return loss(data)


def losses_of(results):
    return {key: value for key, value in results.items() if key.startswith("loss")}


@pytest.mark.parametrize("name", ALL)
def test_losses_have_a_gradient_and_metrics_none(make_loss, name):
    loss, data = make_loss(name)
    results = loss(data(8))
    found = losses_of(results)
    assert found
    assert all(value.requires_grad and value.shape == () for value in found.values())
    assert not any(value.requires_grad for key, value in results.items() if key not in found)
    sum(found.values()).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in loss.parameters())


@pytest.mark.parametrize("name", ALL)
def test_data_stays_as_it_is_but_for_the_priority(make_loss, name):
    loss, data = make_loss(name)
    steps = data(8)
    copy = steps.clone()
    loss(steps)
    if name in OFF_POLICY:
        assert steps.pop("td_error").shape == (8,)
    assert set(steps.keys(True, True)) == set(copy.keys(True, True))
    assert bool((steps == copy).all())


@pytest.mark.parametrize("name", ALL)
def test_in_keys_are_what_is_read(make_loss, name):
    loss, data = make_loss(name)
    steps = data(8)
    loss.eval()  # where a coefficient adapts in training
    expected = seeded(loss, steps.clone())
    results = seeded(loss, steps.select(*loss.in_keys))
    assert all(torch.equal(results[key], expected[key]) for key in expected.keys())
    for key in loss.in_keys:
        # Without a terminated flag done stands for it, and without an advantage REINFORCE estimates one.
        if key not in (("next", "terminated"), "advantage"):
            with pytest.raises(KeyError, match=str(key[-1] if isinstance(key, tuple) else key)):
                loss(steps.select(*[other for other in loss.in_keys if other != key]))


@pytest.mark.parametrize("name", ALL)
def test_padding_counts_for_nothing(make_loss, name):
    loss, data = make_loss(name)
    loss.eval()
    steps = data(2, 5)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    steps["collector", "mask"] = mask
    expected = seeded(loss, steps.clone())
    garbage = steps.clone()
    for key in ("observation", "advantage", "value_target", ("next", "reward"), ("next", "observation")):
        garbage[key][~mask] = 7.0
    results = seeded(loss, garbage)
    for key in losses_of(expected):
        assert torch.equal(results[key], expected[key]), key
    if name in OFF_POLICY:
        assert not garbage["td_error"][~mask].any()
    if name in SURE:
        alone = loss(steps.exclude("collector")[mask])
        for key in losses_of(expected):
            torch.testing.assert_close(alone[key], expected[key])


@pytest.mark.parametrize("name", ALL)
def test_a_mask_of_all_is_none(make_loss, name):
    loss, data = make_loss(name)
    loss.eval()
    steps = data(2, 5)
    expected = seeded(loss, steps.clone())
    steps["collector", "mask"] = torch.ones(2, 5, dtype=torch.bool)
    results = seeded(loss, steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected.keys())


@pytest.mark.parametrize("name", ALL)
def test_agents_share_what_is_one_per_step(make_loss, name):
    loss, data = make_loss(name)
    loss.eval()
    steps = data(8, agents=(3,))
    results = losses_of(seeded(loss, steps))
    assert all(torch.isfinite(value) for value in results.values())
    if name in SURE:
        keys = ["observation", "action", "sample_log_prob", "advantage", "value_target", ("next", "observation")]
        alone = []
        for agent in range(3):
            one = steps.clone()
            for key in keys:
                one[key] = steps[key][:, agent]
            alone.append(losses_of(loss(one)))
        for key in results:
            torch.testing.assert_close(results[key], torch.stack([one[key] for one in alone]).mean())


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize("key", ["reward", "done", "terminated"])
def test_entries_of_another_shape(make_loss, name, key):
    loss, data = make_loss(name)
    steps = data(8)
    steps["next", key] = steps["next", key].expand(8, 2).clone()
    with pytest.raises(ValueError, match=rf"expected \('next', '{key}'\) of shape .*found \[8, 2\]"):
        loss(steps)


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize("trailing", [True, False])
def test_with_and_without_a_trailing_one(make_loss, name, trailing):
    loss, data = make_loss(name)
    steps = data(8)
    expected = losses_of(seeded(loss, steps.clone()))
    for key in ("reward", "done", "terminated"):
        steps["next", key] = steps["next", key].view(8, 1) if trailing else steps["next", key].view(8)
    results = seeded(loss, steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", OFF_POLICY)
def test_importance_weights(make_loss, name):
    loss, data = make_loss(name)
    steps = data(8)
    key = next(key for key in loss(steps.clone()).keys() if key in ("loss", "loss_value", "loss_qvalue"))
    plain = seeded(loss, steps.clone())[key]
    steps["_weight"] = torch.full((8,), 0.5)
    torch.testing.assert_close(seeded(loss, steps.clone())[key], 0.5 * plain)
    steps["_weight"] = torch.zeros(8)
    assert seeded(loss, steps.clone())[key] == 0.0
    assert "_weight" in loss.optional_in_keys


@pytest.mark.parametrize("name", OFF_POLICY)
def test_other_keys(make_loss, name):
    loss, data = make_loss(name)
    steps = data(8)
    expected = losses_of(seeded(loss, steps.clone()))
    loss.set_keys(reward=("agent", "gain"), done="over", terminated="lost", priority="surprise")
    after = steps["next"]
    after["agent", "gain"], after["over"], after["lost"] = (
        after.pop("reward"),
        after.pop("done"),
        after.pop("terminated"),
    )
    results = seeded(loss, steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected)
    assert steps["surprise"].shape == (8,)
    with pytest.raises(TypeError, match=r"expected names among .*found \['gains'\]"):
        loss.set_keys(gains="gain")


@pytest.mark.parametrize("name", [one for one in OFF_POLICY if one != "distributional_dqn"])
def test_targets_over_consecutive_steps(make_loss, name):
    loss, data = make_loss(name)
    steps = data(2, 6)
    loss.make_value_estimator(ValueEstimators.TDLambda, gamma=0.9, lmbda=0.0)
    none = losses_of(seeded(loss, steps.clone()))
    loss.make_value_estimator("td0", gamma=0.9)
    for key, value in losses_of(seeded(loss, steps.clone())).items():
        torch.testing.assert_close(none[key], value)
    loss.make_value_estimator("td_lambda", gamma=0.9)
    assert isinstance(loss.value_estimator, TDLambdaEstimator)
    assert loss.value_estimator.lmbda == 0.95
    key = next(key for key in none if key in ("loss", "loss_value", "loss_qvalue"))
    assert not torch.allclose(losses_of(seeded(loss, steps))[key], none[key])


@pytest.mark.parametrize("name", OFF_POLICY)
def test_value_estimators_that_need_more_than_next_values(make_loss, name):
    loss, _ = make_loss(name)
    with pytest.raises(ValueError, match=r"expected value_type to be one of \['td0'.*found 'gae'"):
        loss.make_value_estimator("gae")
    with pytest.raises(TypeError, match="gama"):
        loss.make_value_estimator(gama=0.9)


@pytest.mark.parametrize("name", OFF_POLICY)
def test_transitions_of_several_steps(make_loss, name):
    loss, data = make_loss(name)
    loss.make_value_estimator(gamma=0.5)
    steps = data(8)
    steps["steps_to_next_obs"] = torch.full((8, 1), 3)
    results = losses_of(seeded(loss, steps.clone()))
    del steps["steps_to_next_obs"]
    loss.make_value_estimator(gamma=0.5**3)
    expected = losses_of(seeded(loss, steps))
    assert all(torch.equal(results[key], expected[key]) for key in expected)


def test_transitions_that_multi_step_makes(make_loss):
    loss, data = make_loss("dqn")
    steps = data(6)
    steps["next", "done"] = steps["next", "terminated"] = torch.zeros(6, 1, dtype=torch.bool)
    loss.make_value_estimator(gamma=1.0)
    reward = steps["next", "reward"].squeeze(-1)
    last = loss.value_target(steps) - reward  # the values that follow
    loss.make_value_estimator(gamma=0.5)
    made = MultiStepTransform(n_steps=2, gamma=0.5).inv(steps)
    torch.testing.assert_close(loss.value_target(made), reward[:-1] + 0.5 * reward[1:] + 0.25 * last[1:])


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac", "redq", "crossq", "cql", "discrete_sac"])
def test_actor_and_critic_learn_from_their_own_loss(make_loss, name):
    loss, data = make_loss(name)
    results = loss(data(8))
    results["loss_actor"].backward()
    critics = loss.value_network if name == "ddpg" else loss.qvalue_network
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert all(parameter.grad is not None for parameter in loss.actor_network.parameters())
    loss.zero_grad()
    (results["loss_value"] if name == "ddpg" else results["loss_qvalue"]).backward()
    assert all(parameter.grad is None for parameter in loss.actor_network.parameters())
    assert all(parameter.grad is not None for parameter in critics.parameters())
    assert all(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.parametrize("name", ALL)
def test_state_is_saved_and_restored(make_loss, name):
    (loss, data), (other, _) = make_loss(name), make_loss(name)
    other.load_state_dict(loss.state_dict())
    steps = data(8)
    expected, results = seeded(loss, steps.clone()), seeded(other, steps)
    assert all(torch.equal(results[key], expected[key]) for key in expected.keys())


def test_an_update_can_be_differentiated():
    """As in meta-learning: the loss after a step of gradient descent, with respect to the weights before it."""
    loss = DDPGLoss(Actor(MLP(3, 1)), ValueOperator(MLP(4, 1), in_keys=["observation", "action"]))
    done = torch.zeros(8, 1, dtype=torch.bool)
    after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1), "done": done}
    steps = TensorDict({"observation": torch.randn(8, 3), "action": torch.randn(8, 1), "next": after}, [8])
    weights = TensorDict.from_module(loss.actor_network)
    critic = TensorDict.from_module(loss.value_network)

    def second_loss():
        first = loss(steps)["loss_value"]
        leaves = list(critic.values(True, True))
        gradients = torch.autograd.grad(first, leaves, create_graph=True)
        moved = critic.clone(False)
        for key, leaf, gradient in zip(critic.keys(True, True), leaves, gradients, strict=True):
            moved[key] = leaf - 0.1 * gradient
        with moved.to_module(loss.value_network):
            return loss(steps)

    results = second_loss()
    assert results["loss_value"] < loss(steps)["loss_value"]
    (gradient,) = torch.autograd.grad(results["loss_value"], critic["module", "0", "weight"], retain_graph=True)
    assert gradient.abs().sum() > 0
    results["loss_actor"].backward()
    assert all(parameter.grad is None for parameter in loss.value_network.parameters())
    assert all(weight.grad is not None for weight in weights.values(True, True))


def test_values_without_a_trailing_one_of_several_numbers():
    loss = DQNLoss(ValueOperator(MLP(3, 2), out_keys=["action_value"]))
    done = torch.zeros(8, 1, dtype=torch.bool)
    after = {"observation": torch.randn(8, 3), "reward": torch.randn(8, 1), "done": done}
    steps = TensorDict({"observation": torch.randn(8, 3), "action": torch.zeros(8, 5), "next": after}, [8])
    with pytest.raises(ValueError, match=r"action of shape \[8\] \(indices\) or \[8, 2\] \(one-hot\), found \[8, 5\]"):
        loss(steps)


def group_of_agents(*batch, agents=3):
    """Steps of agents that share the flags, and have observations, actions and rewards in a TensorDict of their own."""
    shape = (*batch, agents)
    done = torch.rand(*batch, 1) < 0.3
    group = {"observation": torch.randn(*shape, 4), "action": torch.randint(3, shape)}
    group["sample_log_prob"] = torch.randn(shape)
    after = {"observation": torch.randn(*shape, 4), "reward": torch.randn(*shape, 1)}
    following = {"agents": TensorDict(after, shape), "done": done, "terminated": done}
    return TensorDict({"agents": TensorDict(group, shape), "next": following}, batch)


def in_group(network, out):
    return TensorDictModule(network, [("agents", "observation")], [("agents", out)])


def test_groups_of_agents_on_policy():
    net = in_group(MLP(4, 3), out="logits")
    actor = ProbabilisticActor(
        net, {"logits": ("agents", "logits")}, [("agents", "action")], distribution_class=Categorical
    )
    loss = ClipPPOLoss(actor, in_group(MLP(4, 1), out="value"), gamma=0.9)
    names = {"value": "value", "action": "action", "reward": "reward", "sample_log_prob": "sample_log_prob"}
    loss.set_keys(**{name: ("agents", key) for name, key in (names | {"advantage": "gain"}).items()})
    steps = group_of_agents(2, 8)
    results = loss(steps)
    assert steps["agents", "gain"].shape == (2, 8, 3, 1)
    assert all(torch.isfinite(value) for value in results.values())
    log_prob, old = actor.log_prob(steps), steps["agents", "sample_log_prob"]
    expected = clipped_surrogate(log_prob, old, steps["agents", "gain"].squeeze(-1), 0.2).mean()
    torch.testing.assert_close(results["loss_objective"], expected)


def test_groups_of_agents_off_policy():
    loss = DQNLoss(in_group(MLP(4, 3), out="values"), gamma=0.9)
    loss.set_keys(action=("agents", "action"), action_value=("agents", "values"), reward=("agents", "reward"))
    steps = group_of_agents(8)
    results = loss(steps)
    assert results["target_value"].shape == (8, 3)
    torch.testing.assert_close(steps["td_error"], results["td_error"].mean(-1))
    best = loss.target_value_network.module(steps["next", "agents", "observation"]).amax(-1)
    going = ~steps["next", "terminated"]
    expected = steps["next", "agents", "reward"].squeeze(-1) + 0.9 * going * best
    torch.testing.assert_close(results["target_value"], expected)


def test_a_value_for_all_and_a_log_probability_for_each():
    net = in_group(MLP(4, 3), out="logits")
    actor = ProbabilisticActor(
        net, {"logits": ("agents", "logits")}, [("agents", "action")], distribution_class=Categorical
    )
    critic = TensorDictModule(lambda state: state.sum((-1, -2)).unsqueeze(-1), [("agents", "observation")], ["value"])
    loss = A2CLoss(actor, critic)
    loss.set_keys(action=("agents", "action"), value="value")
    steps = group_of_agents(8)
    steps["advantage"], steps["value_target"] = torch.randn(8, 1), torch.randn(8, 1)
    log_prob = actor.log_prob(steps)
    assert log_prob.shape == (8, 3)
    expected = -(log_prob * steps["advantage"]).mean()
    torch.testing.assert_close(loss(steps)["loss_objective"], expected)
