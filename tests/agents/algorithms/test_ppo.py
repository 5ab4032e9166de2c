import copy
import math

import pytest
import torch
from torch import nn

from agents import PPO, PPOConfig
from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    GymEnv,
    GymWrapper,
    MultiCategorical,
    ObservationNorm,
    OneHot,
    PolicyError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
)

STEPS = 16
SMALL = PPOConfig(steps_per_env=STEPS, num_minibatches=2, epochs=2, hidden_sizes=(8,))


def small(**changes):
    return PPOConfig(**{**vars(SMALL), **changes})


def cart_pole(**kwargs):
    return GymEnv("CartPole-v1", **kwargs)


def pendulum(**kwargs):
    return GymEnv("Pendulum-v1", **kwargs)


ENVS = {
    "discrete": cart_pole,
    "continuous": pendulum,
    "discrete batch": lambda: SerialEnv(3, cart_pole),
    "continuous batch": lambda: SerialEnv(3, pendulum),
    "batch of batches": lambda: SerialEnv(2, lambda: SerialEnv(2, cart_pole)),
    "transformed": lambda: TransformedEnv(pendulum(), RewardSum()),
    "transformed batch": lambda: TransformedEnv(SerialEnv(2, cart_pole), RewardSum()),
    "batch of transformed": lambda: SerialEnv(2, lambda: TransformedEnv(pendulum(), RewardSum())),
    "truncated": lambda: cart_pole(max_episode_steps=5),
}
every_env = pytest.mark.parametrize("make", ENVS.values(), ids=ENVS)


# --------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("steps_per_env", [0, -1], "at least 1"),
        ("num_minibatches", [0, -1], "at least 1"),
        ("epochs", [0, -1], "at least 1"),
        ("gamma", [-1.01, 1.01, math.nan], "a number from -1 to 1"),
        ("gae_lambda", [-0.1, 1.01, math.nan], "a number from 0 to 1"),
        ("lr", [-1e-3, math.nan], "at least 0"),
        ("clip_epsilon", [-0.2, math.nan], "at least 0"),
        ("entropy_coef", [-1.0], "at least 0"),
        ("critic_coef", [-1.0], "at least 0"),
        ("max_grad_norm", [-1.0, math.nan], "at least 0"),
        ("hidden_sizes", [(0,), (64, -1), (2.5,), "64"], "positive integers"),
        ("activation", ["swish"], r"one of \['elu', 'gelu', 'relu', 'silu', 'tanh'\]"),
    ],
)
def test_values_out_of_range(name, values, expected):
    for value in values:
        with pytest.raises(ValueError, match=rf"PPOConfig\.{name}: expected {expected}, found "):
            PPOConfig(**{name: value})


def test_the_value_that_was_found_is_named():
    with pytest.raises(ValueError, match=r"gamma: expected a number from -1 to 1, found 1\.5$"):
        PPOConfig(gamma=1.5)


def test_values_at_the_ends_of_their_ranges():
    PPOConfig(gamma=0, gae_lambda=1, lr=0, clip_epsilon=0, entropy_coef=0, max_grad_norm=math.inf, hidden_sizes=())


def test_an_unknown_key():
    with pytest.raises(TypeError, match="learning_rate"):
        PPOConfig(learning_rate=1e-3)


def test_hidden_sizes_may_be_a_list():
    assert PPOConfig(hidden_sizes=[3, 4]) == PPOConfig(hidden_sizes=(3, 4))


@pytest.mark.parametrize(("normalizes", "most"), [(True, 4), (False, 8)])
def test_minibatches_have_rows_enough(normalizes, most):
    env = SerialEnv(2, cart_pole)
    agent = PPO(env, small(steps_per_env=4, num_minibatches=most, normalize_advantage=normalizes))
    assert all(math.isfinite(value) for name, value in agent.step().items() if name.startswith("loss"))
    assert all(weight.isfinite().all() for weight in agent.actor.parameters())
    message = rf"num_minibatches: expected at most {most}, for .* of the 8 steps in each, found {most + 1}"
    agent = PPO(env, small(steps_per_env=4, num_minibatches=most + 1, normalize_advantage=normalizes))
    with pytest.raises(ValueError, match=message):
        agent.train(max_iters=1)
    assert agent.iterations == agent.collector.frames == 0


def test_defaults():
    agent = PPO(cart_pole())
    assert agent.config == PPOConfig()
    assert agent.steps_per_iteration == 128


# ------------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("name", "layer"),
    [("elu", nn.ELU), ("gelu", nn.GELU), ("relu", nn.ReLU), ("silu", nn.SiLU), ("tanh", nn.Tanh)],
)
def test_layers(name, layer):
    agent = PPO(cart_pole(), PPOConfig(hidden_sizes=(8, 6), activation=name))
    for net, out in ((agent.actor, 2), (agent.critic, 1)):
        assert [type(module) for module in net] == [nn.Linear, layer, nn.Linear, layer, nn.Linear]
        assert [tuple(module.weight.shape) for module in net[::2]] == [(8, 4), (6, 8), (out, 6)]


def test_first_weights():
    agent = PPO(cart_pole(), PPOConfig(hidden_sizes=(8,)))
    for net, gain in ((agent.actor, 0.01), (agent.critic, 1.0)):
        first, last = net[0].weight, net[-1].weight
        torch.testing.assert_close(first.T @ first, 2 * torch.eye(4))
        torch.testing.assert_close(last @ last.T, gain**2 * torch.eye(len(last)))
        assert not any(layer.bias.any() for layer in net[::2])


def test_first_standard_deviation():
    agent = PPO(pendulum(), PPOConfig(initial_log_std=-1.0))
    assert torch.equal(agent.distribution(torch.zeros(2, 3)).scale, torch.full((2, 1), -1.0).exp())


def test_several_observations_are_joined_in_order(senses):
    agent = PPO(SerialEnv(2, lambda: GymWrapper(senses())), SMALL)
    assert agent.observation_keys == ["touch", ("far", "sight")]
    assert agent.actor[0].in_features == agent.critic[0].in_features == 5
    agent.train(max_iters=3)
    touch, sight = torch.randn(4, 2), torch.randn(4, 3)
    expected = agent.actor(torch.cat([touch, sight], -1))
    torch.testing.assert_close(agent.distribution(touch, sight).logits, expected.log_softmax(-1))


def test_networks_of_ones_own_see_what_the_default_ones_cannot():
    env = TransformedEnv(cart_pole(), StepCounter(max_steps=4))
    with pytest.raises(SpecError, match=r"'step_count' to be a float32 vector, found torch\.int64"):
        PPO(env, SMALL)

    class Counting(nn.Module):
        def __init__(self, out):
            super().__init__()
            self.layer = nn.Linear(5, out)

        def forward(self, observation, count):
            return self.layer(torch.cat([observation, count.float()], -1))

    agent = PPO(env, SMALL, actor=Counting(2), critic=Counting(1))
    metrics = agent.train(max_iters=2)
    assert metrics["episode_length_mean"] == 4


def test_networks_may_share_a_trunk(tools, tmp_path):
    def nets():
        trunk = nn.Linear(4, 8)
        return {name: nn.Sequential(trunk, nn.Tanh(), nn.Linear(8, n)) for name, n in (("actor", 2), ("critic", 1))}

    agent = PPO(cart_pole(), SMALL, **nets())
    before = agent.actor[0].weight.clone()
    agent.train(max_iters=2)
    assert not torch.equal(agent.actor[0].weight, before)
    assert agent.actor[0].weight is agent.critic[0].weight
    agent.save(tmp_path / "agent")
    loaded = PPO.load(tmp_path / "agent", cart_pole(), **nets())
    assert tools.same(tools.weights(loaded), tools.weights(agent))


def test_frozen_weights_stay():
    actor = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    actor[0].requires_grad_(False)
    frozen, free = actor[0].weight.clone(), actor[2].weight.clone()
    PPO(cart_pole(), SMALL, actor=actor).train(max_iters=2)
    assert torch.equal(actor[0].weight, frozen)
    assert not torch.equal(actor[2].weight, free)


def test_an_actor_of_the_wrong_width():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, observation):
            loc = self.net(observation)
            return loc, torch.ones_like(loc)

    with pytest.raises(PolicyError, match=r"'action' written by the policy: expected .* of shape \[1\], found .*\[2\]"):
        PPO(pendulum(), SMALL, actor=Wide()).step()


# ---------------------------------------------------------------------- specs


@pytest.mark.parametrize(
    "action",
    [
        Bounded(-1.0, 1.0, shape=()),
        Bounded(-1.0, 1.0, shape=(2, 2)),
        Bounded(0, 5, shape=(2,), dtype=torch.int64),
        MultiCategorical([2, 3]),
        Binary(3),
        OneHot(3),
        Categorical(3, shape=(2,)),
        Composite(a=Categorical(2), b=Categorical(2)),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_actions_it_cannot_take(specs_only, action):
    with pytest.raises(SpecError, match=r"PPO: expected one action, an index .* or a vector of floats, found "):
        PPO(specs_only(action=action), SMALL)


@pytest.mark.parametrize(
    ("observation", "found"),
    [
        (Categorical(4), r"torch\.int64 of shape \[\]"),
        (Unbounded(()), r"torch\.float32 of shape \[\]"),
        (Unbounded((3,), dtype=torch.float64), r"torch\.float64 of shape \[3\]"),
        (Bounded(0, 255, shape=(4, 4, 3), dtype=torch.uint8), r"torch\.uint8 of shape \[4, 4, 3\]"),
    ],
)
def test_observations_the_default_networks_cannot_see(specs_only, observation, found):
    env = specs_only(observation=Composite(good=Unbounded((2,)), bad=observation))
    with pytest.raises(SpecError, match=rf"PPO: expected 'bad' to be a float32 vector, found {found}"):
        PPO(env, SMALL)
    with pytest.raises(SpecError, match="'bad'"):
        PPO(env, SMALL, actor=nn.Linear(2, 2))
    PPO(env, SMALL, actor=nn.Linear(2, 2), critic=nn.Linear(2, 1))


def test_rewards_and_done_flags_it_cannot_tell_apart(specs_only):
    flag = Categorical(2, shape=(1,), dtype=torch.bool)
    rewards = Composite(a=Composite(reward=Unbounded((1,))), b=Composite(reward=Unbounded((1,))))
    groups = Composite(a=Composite(done=flag), b=Composite(done=flag.clone()))
    with pytest.raises(
        SpecError, match=r"one reward and one done flag, found \[\('a', 'reward'\), \('b', 'reward'\)\]"
    ):
        PPO(specs_only(reward=rewards), SMALL)
    with pytest.raises(SpecError, match=r"one reward and one done flag, .* and \[\('a', 'done'\), \('b', 'done'\)\]"):
        PPO(specs_only(done=groups), SMALL)
    with pytest.raises(SpecError, match=r"PPO: expected 'reward' of shape \[1\], found \[2\]"):
        PPO(specs_only(reward=Unbounded((2,))), SMALL)


# ----------------------------------------------------------------- collecting


@every_env
def test_a_short_training(make, tools):
    env = make()
    agent = PPO(env, SMALL)
    before = tools.weights(agent)
    count = env.batch_size.numel()
    metrics = agent.train(max_steps=3 * STEPS * count)
    assert (agent.iterations, agent.steps) == (3, 3 * STEPS * count)
    after = tools.weights(agent)
    assert all(weight.isfinite().all() for weight in after.values())
    assert not any(torch.equal(after[name], before[name]) for name in before)
    assert all(math.isfinite(value) for name, value in metrics.items() if not name.endswith("_mean"))
    assert metrics["entropy"] > 0
    assert 0 <= metrics["clip_fraction"] <= 1


@every_env
def test_the_seed_decides_everything(make, tools):
    runs = []
    for seed in (3, 3, 4):
        agent = PPO(make(), SMALL, seed=seed)
        runs.append((tools.records(agent, max_iters=4), tools.weights(agent)))
    assert runs[0][0] == runs[1][0]
    assert tools.same(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]
    assert not any(torch.equal(runs[0][1][name], runs[2][1][name]) for name in runs[0][1])


def test_without_a_seed_generators_are_left_as_they_are(tools):
    runs = []
    for _ in range(2):
        env = cart_pole()
        env.set_seed(5)
        torch.manual_seed(5)
        agent = PPO(env, SMALL, seed=None)
        agent.train(max_iters=2)
        runs.append(tools.weights(agent))
    agent = PPO(cart_pole(), SMALL, seed=5)
    agent.train(max_iters=2)
    assert tools.same(runs[0], runs[1])
    assert tools.same(runs[0], tools.weights(agent))


@pytest.mark.parametrize("make", [cart_pole, pendulum])
def test_a_batch_of_one_is_a_single_env(make, tools):
    runs = []
    for env in (make(), SerialEnv(1, make)):
        agent = PPO(env, SMALL)
        runs.append((tools.records(agent, max_iters=3), tools.weights(agent)))
    assert runs[0][0] == runs[1][0]
    assert tools.same(runs[0][1], runs[1][1])


def test_a_transform_that_changes_nothing(tools):
    runs = []
    for env in (cart_pole(), TransformedEnv(cart_pole(), ObservationNorm(loc=0.0, scale=1.0))):
        agent = PPO(env, SMALL)
        runs.append((tools.records(agent, max_iters=3), tools.weights(agent)))
    assert runs[0][0] == runs[1][0]
    assert tools.same(runs[0][1], runs[1][1])


def test_continuous_actions_are_clipped_on_their_way_to_the_env(tools):
    agent = PPO(SerialEnv(2, pendulum), small(initial_log_std=1.0))
    batches = tools.recorded(agent)
    agent.step()
    raw, action = batches[0]["raw_action"], batches[0]["action"]
    assert torch.equal(action, raw.clamp(-2, 2))
    assert (raw.abs() > 2).any()


def test_actions_without_bounds_are_not_clipped(specs_only):
    agent = PPO(specs_only(action=Unbounded((2,))), small(initial_log_std=9.0))
    observations = torch.randn(20, 3)
    torch.manual_seed(1)
    actions = agent.select_action(observations)
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(actions, agent.distribution(observations).sample())


# -------------------------------------------------------------------- episodes


@pytest.mark.parametrize(
    "make",
    [lambda: SerialEnv(3, cart_pole), cart_pole, lambda: SerialEnv(2, lambda: cart_pole(max_episode_steps=9))],
    ids=["batch", "single", "truncated"],
)
def test_returns_and_lengths_are_those_of_the_recorded_steps(make, tools):
    agent = PPO(make(), small(steps_per_env=25))
    batches = tools.recorded(agent)
    records = tools.records(agent, max_iters=6)
    following = torch.cat([batch["next"].reshape(-1, 25) for batch in batches], 1)
    rewards, dones = following["reward"][..., 0], following["done"][..., 0]
    expected = [tools.episodes(*pair) for pair in zip(rewards.tolist(), dones.tolist(), strict=True)]
    together = sorted(episode for episodes in expected for episode in episodes)
    assert len(together) >= 5
    assert sorted(zip(agent.statistics.returns, agent.statistics.lengths, strict=True)) == together
    assert agent.episodes == len(together)
    assert [record["episodes"] for record in records] == [dones[:, : 25 * n].sum().item() for n in range(1, 7)]
    assert records[-1]["return_mean"] == sum(total for total, _ in together) / len(together)
    assert records[-1]["episode_length_mean"] == sum(length for _, length in together) / len(together)


def test_terminated_and_truncated_episodes_both_count(stations, tools):
    agent = PPO(stations([(5, True), (3, False), (30, True)]), SMALL)
    records = tools.records(agent, max_iters=3)
    # Steps 5, 8 and 38 of 48 end episodes; their places are 1 ... 5, 11 ... 13 and 21 ... 50.
    expected = [(15.0, 5), (36.0, 3), (sum(range(21, 51)), 30), (sum(range(31, 36)), 5), (41.0 + 42 + 43, 3)]
    assert list(zip(agent.statistics.returns, agent.statistics.lengths, strict=True)) == expected
    assert [record["episodes"] for record in records] == [2, 2, 5]
    assert [record["return_mean"] for record in records[:2]] == [25.5, 25.5]


def test_nothing_is_claimed_before_an_episode_has_ended(stations):
    metrics = PPO(stations([(100, False)]), SMALL).train(max_iters=2)
    assert metrics["episodes"] == 0
    assert math.isnan(metrics["return_mean"])
    assert math.isnan(metrics["episode_length_mean"])


# ------------------------------------------------------------------ advantages


def by_hand(rewards, values, next_values, dones, terminated, gamma, lmbda):
    """The recursion of generalised advantage estimation, step by step from the last one."""
    advantages, following = [], 0.0
    for reward, value, next_value, done, end in reversed(
        list(zip(rewards, values, next_values, dones, terminated, strict=True))
    ):
        delta = reward + gamma * next_value * (not end) - value
        following = delta + gamma * lmbda * following * (not done)
        advantages.insert(0, following)
    return advantages


def test_targets_on_paper(stations):
    """The critic says where the agent stands, and so every number can be followed.

    Places are 0 1 2 | 10 11 12 | 20 21: the first episode is truncated at 2, the second terminates at 12, the batch
    ends at 21.
    """
    env = stations([(2, True), (2, False)])
    config = small(steps_per_env=5, gamma=0.5, gae_lambda=0.5)
    agent = PPO(env, config, actor=nn.Linear(1, 2), critic=nn.Identity())
    data = agent.estimate(agent.collector.next())
    deltas = [1 + 0.5 * 1 - 0, 2 + 0.5 * 2 - 1, 11 + 0.5 * 11 - 10, 12 - 11, 21 + 0.5 * 21 - 20]
    assert data["value"].tolist() == [0, 1, 10, 11, 20]
    assert data["advantage"].tolist() == [deltas[0] + 0.25 * deltas[1], deltas[1], deltas[2] + 0.25, 1, deltas[4]]
    assert data["target"].tolist() == [2, 3, 16.75, 12, 31.5]


def test_targets_of_a_batch_over_several_iterations(stations):
    timetables = [[(2, True), (3, False)], [(7, True)], [(1, False), (1, True)], [(40, False)]]
    env = SerialEnv(4, [lambda table=table: stations(table) for table in timetables])
    agent = PPO(env, small(steps_per_env=6, gamma=0.5, gae_lambda=0.5), actor=nn.Linear(1, 2), critic=nn.Identity())
    for _ in range(3):
        batch = agent.collector.next()
        data = agent.estimate(batch)
        for number in range(4):
            rows, following = batch[number], batch[number]["next"]
            columns = [following["reward"], rows["observation"], following["observation"]]
            columns += [following["done"], following["terminated"]]
            expected = by_hand(*(column[:, 0].tolist() for column in columns), 0.5, 0.5)
            advantage, target = (data[name].reshape(4, 6)[number] for name in ("advantage", "target"))
            assert advantage.tolist() == expected
            assert target.tolist() == [x + v for x, v in zip(expected, columns[1][:, 0].tolist(), strict=True)]


def test_truncation_counts_on_the_true_last_observation():
    agent = PPO(SerialEnv(2, lambda: pendulum(max_episode_steps=5)), small(gamma=0.9, gae_lambda=0.8))
    batch = agent.collector.next()
    data = agent.estimate(batch)
    following = batch["next"]
    assert following["truncated"][:, 4::5].all()
    # The row after a truncation shows the new episode, not where the old one ended.
    assert not torch.isclose(batch["observation"][:, 5::5], following["observation"][:, 4:15:5]).all(-1).any()
    with torch.no_grad():
        value, next_value = agent.critic(batch["observation"]), agent.critic(following["observation"])
    for number in range(2):
        columns = [following["reward"], value, next_value, following["done"], following["terminated"]]
        expected = by_hand(*(column[number, :, 0].tolist() for column in columns), 0.9, 0.8)
        torch.testing.assert_close(data["advantage"].reshape(2, STEPS)[number], torch.tensor(expected))


# --------------------------------------------------------------------- update


def reference(actor, critic, batch, data, config, action_key):
    """Weights after one gradient step on a whole batch, written down from the paper."""
    observation, action = batch["observation"].flatten(0, -2), batch[action_key]
    out = actor(observation)
    if action_key == "action":
        distribution = torch.distributions.Categorical(logits=out)
        action = action.flatten()
    else:
        distribution = torch.distributions.Independent(torch.distributions.Normal(*out), 1)
        action = action.flatten(0, -2)
    advantage = (data["advantage"] - data["advantage"].mean()) / (data["advantage"].std() + 1e-8)
    log_prob = distribution.log_prob(action)
    ratio = (log_prob - log_prob.detach()).exp()
    clipped = ratio.clamp(1 - config.clip_epsilon, 1 + config.clip_epsilon)
    surrogate = torch.min(ratio * advantage, clipped * advantage).mean()
    entropy = distribution.entropy().mean()
    error = 0.5 * (critic(observation).flatten() - data["target"]).square().mean()
    (-surrogate - config.entropy_coef * entropy + config.critic_coef * error).backward()
    parameters = [*actor.parameters(), *critic.parameters()]
    nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    torch.optim.Adam(parameters, lr=config.lr, eps=1e-5).step()
    return {"loss_objective": -surrogate, "loss_critic": error, "entropy": entropy}


@pytest.mark.parametrize(("make", "action_key"), [(cart_pole, "action"), (pendulum, "raw_action")])
def test_one_gradient_step_is_that_of_the_paper(make, action_key, tools):
    config = small(steps_per_env=64, num_minibatches=1, epochs=1, lr=1e-3, entropy_coef=0.01)
    agent = PPO(SerialEnv(2, make), config)
    batches = tools.recorded(agent)
    actor, critic = copy.deepcopy(agent.actor), copy.deepcopy(agent.critic)
    for parameter in (*actor.parameters(), *critic.parameters()):
        parameter.grad = None
    data = {}
    estimate = agent.estimate
    agent.estimate = lambda batch: data.update(estimate(batch)) or data
    metrics = agent.step()
    expected = reference(actor, critic, batches[0], data, config, action_key)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value.item(), rel=1e-5, abs=1e-6), name
    assert metrics["clip_fraction"] == 0
    assert metrics["kl_approx"] == pytest.approx(0, abs=1e-6)
    for net, other in ((agent.actor, actor), (agent.critic, critic)):
        for name, weight in net.state_dict().items():
            torch.testing.assert_close(weight, other.state_dict()[name], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("changes", [{"clip_value": True}, {"normalize_advantage": False}, {"num_minibatches": 5}])
def test_options_matter(changes, tools):
    runs = []
    for config in (small(epochs=4, lr=1e-2), small(epochs=4, lr=1e-2, **changes)):
        agent = PPO(pendulum(), config)
        agent.train(max_iters=2)
        runs.append(tools.weights(agent))
    assert all(weight.isfinite().all() for weight in runs[1].values())
    assert not tools.same(*runs)


def test_a_learning_rate_of_zero_changes_nothing(tools):
    agent = PPO(cart_pole(), small(lr=0.0))
    before = tools.weights(agent)
    agent.train(max_iters=2)
    assert tools.same(tools.weights(agent), before)


# ------------------------------------------------------------------- annealing


def rates(agent, tools, **limits):
    return [record["learning_rate"] for record in tools.records(agent, **limits)]


@pytest.mark.parametrize("limits", [{"max_iters": 4}, {"max_steps": 64}, {"max_iters": 4, "max_steps": 999}])
def test_the_learning_rate_falls_to_zero(limits, tools):
    agent = PPO(cart_pole(), small(lr=0.5))
    assert rates(agent, tools, **limits) == [0.5, 0.375, 0.25, 0.125]
    assert agent.optimizer.lr == 0.125


def test_the_learning_rate_stays_where_it_is_not_annealed(tools):
    assert rates(PPO(cart_pole(), small(lr=0.5, anneal_lr=False)), tools, max_iters=3) == [0.5] * 3


def test_the_learning_rate_stays_where_the_end_is_not_known(tools):
    assert set(rates(PPO(cart_pole(), small(lr=0.5)), tools, max_episodes=3)) == {0.5}


def test_annealing_goes_on_with_the_training(tools):
    agent = PPO(cart_pole(), small(lr=0.5))
    rates(agent, tools, max_iters=2)
    assert rates(agent, tools, max_iters=4) == [0.25, 0.125]


@pytest.mark.parametrize(("anneals", "expected"), [(False, [0.5] * 4), (True, [0.5, 0.375, 0.25, 0.125])])
def test_the_clipping_range(anneals, expected):
    agent = PPO(cart_pole(), small(clip_epsilon=0.5, anneal_clip=anneals))
    seen = []
    agent.train(max_iters=4, callback=lambda metrics: seen.append(metrics["clip_epsilon"]))
    assert seen == expected


def test_networks_see_the_observations_they_are_told(tmp_path):
    def make():
        return TransformedEnv(GymEnv("CartPole-v1"), StepCounter(max_steps=50)).append_transform(RewardSum())

    with pytest.raises(SpecError, match=r"'step_count' to be a float32 vector.*leave it out of observation_keys"):
        PPO(make())
    agent = PPO(make(), PPOConfig(steps_per_env=32), observation_keys=["observation"])
    agent.train(max_iters=2)
    agent.save(tmp_path / "a.safetensors")
    twin = PPO.load(tmp_path / "a.safetensors", make())
    assert twin.observation_keys == ["observation"]
    observation = make().reset()
    assert torch.equal(
        twin.select_action(observation, deterministic=True), agent.select_action(observation, deterministic=True)
    )
    with pytest.raises(SpecError, match="unknown observation 'speed'"):
        PPO(make(), observation_keys=["speed"])


def test_evaluating_in_the_env_that_is_learnt_in():
    agent = PPO(GymEnv("CartPole-v1"), PPOConfig(steps_per_env=32))
    agent.train(max_iters=1)
    agent.evaluate(agent.env, [1])
    batch = agent.collector.next()
    assert batch["observation"][0].abs().max() <= 0.05
    assert batch["collector", "traj_ids"][0] > 0
