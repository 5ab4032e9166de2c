"""What agents that learn in groups have in common, and what each of them makes of a group."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from agents import GAE, PPO
from agents.algorithms.independent_dqn import IndependentDQN
from agents.algorithms.ippo import IPPO
from agents.algorithms.maddpg import MADDPG
from agents.algorithms.mappo import MAPPO
from agents.algorithms.qmix import QMIX
from agents.algorithms.vdn import VDN
from agents.nn.mixers import Mixer, QMixer
from agents.nn.multi_agent import MultiAgentMLP
from agents.objectives.qmix import QMixerLoss
from envkit import Bounded, Categorical, Composite, EnvBase, SerialEnv, SpecError, Unbounded

ON_POLICY = {"hidden_sizes": (16,), "steps_per_env": 16, "gamma": 0.8, "lr": 3e-3, "entropy_coef": 0.0}
NORMALIZED = {"normalize_reward": True}
REPLAY = {"hidden_sizes": (16,), "batch_size": 8, "learning_starts": 20, "gamma": 0.8, "steps_per_iteration": 32}
DELAYED = {"target_update_interval": 20, "eps_fraction": 0.5, "train_freq": 2}
CASES = {
    "ippo": (IPPO, ON_POLICY, {}),
    "ippo continuous": (IPPO, ON_POLICY, {"discrete": False}),
    "ippo apart": (IPPO, ON_POLICY | {"share_params": False}, {"own_reward": True, "discrete": False}),
    "ippo leaving": (IPPO, ON_POLICY | NORMALIZED, {"own_reward": True, "flags": "both", "leaves": [3, 8, 5]}),
    "ippo alone": (IPPO, ON_POLICY, {"own_reward": True, "flags": "group"}),
    "mappo": (MAPPO, ON_POLICY | NORMALIZED, {"masked": True}),
    "mappo leaving": (MAPPO, ON_POLICY, {"own_reward": True, "flags": "both", "leaves": [3, 8, 5]}),
    "independent dqn": (IndependentDQN, REPLAY | DELAYED, {}),
    "independent dqn apart": (
        IndependentDQN,
        REPLAY | DELAYED | {"share_params": False, "distribution": "quantile", "num_atoms": 4, "prioritized": True},
        {"own_reward": True},
    ),
    "independent dqn leaving": (
        IndependentDQN,
        REPLAY | DELAYED | {"n_steps": 2},
        {"own_reward": True, "flags": "both", "leaves": [3, 8, 5]},
    ),
    "independent dqn alone": (IndependentDQN, REPLAY | DELAYED, {"own_reward": True, "flags": "group"}),
    "vdn": (VDN, REPLAY | DELAYED | {"double": True, "prioritized": True}, {"masked": True}),
    "qmix": (QMIX, REPLAY | DELAYED | {"n_steps": 2}, {"state": True}),
    "qmix leaving": (QMIX, REPLAY | DELAYED, {"own_reward": True, "flags": "both", "leaves": [3, 8, 5]}),
    "maddpg": (MADDPG, REPLAY | {"train_freq": 2}, {"discrete": False}),
    "maddpg leaving": (
        MADDPG,
        REPLAY | {"train_freq": 2, "share_params": True},
        {"discrete": False, "own_reward": True, "flags": "both", "leaves": [3, 8, 5]},
    ),
    "maddpg alone": (MADDPG, REPLAY, {"discrete": False, "own_reward": True, "flags": "group"}),
}


@pytest.fixture(params=CASES)
def make(request, meeting):
    kind, settings, options = CASES[request.param]

    def make(seed=0, **changes):
        return kind(SerialEnv(2, lambda: meeting(**options)), kind.Config(**settings | changes), seed=seed)

    return make


def test_an_agent_that_resumes_goes_on_as_if_nothing_had_happened(make, tools, tmp_path):
    whole = make()
    expected = tools.records(whole, max_iters=4)
    agent = make()
    with pytest.raises(InterruptedError):
        agent.train(max_iters=4, callback=tools.interrupt_at(2))
    agent.save(tmp_path / "agent.safetensors")
    torch.rand(7)
    loaded = type(agent).load(tmp_path / "agent.safetensors", make(seed=9).env)
    assert tools.records(loaded, max_iters=4) == expected[2:]
    assert tools.same(tools.learnt(loaded), tools.learnt(whole))
    assert tools.records(make(seed=4), max_iters=1) != expected[:1]


def test_actions_are_those_of_the_policy_without_the_env(make):
    agent = make()
    batch = agent.env.rollout(3, agent.policy)
    assert agent.spaces.action.is_in(batch[:, 0][agent.spaces.action_key])
    if agent.spaces.mask_key is None:
        seen = batch["agents", "observation"][0, 0]
        action = agent.select_action(seen, deterministic=True)
        assert action.shape == agent.spaces.action.shape[1:]


def test_returns_are_means_over_the_agents(make, meeting):
    agent = make()
    metrics = agent.train(max_iters=2)
    per_env = 16 if isinstance(agent, PPO) else agent.steps_per_iteration // 2
    streams = agent.spaces.streams
    assert metrics["episodes"] == 2 * per_env // meeting.STEPS * streams
    # Nobody is further than 1 from the mean place at first, and nobody moves by more than 1/4 a step.
    assert -meeting.STEPS * 3.0 < metrics["return_mean"] < 0.0


@pytest.mark.parametrize("flags", ["root", "both", "group"])
def test_an_episode_goes_on_when_an_agent_leaves(flags, meeting):
    leaves = [meeting.STEPS] * 3 if flags == "root" else [3, 8, 5]
    env = meeting(own_reward=True, flags=flags, leaves=leaves)
    agent = IPPO(env, IPPO.Config(**ON_POLICY))
    result = agent.evaluate(env, [5])
    assert result.lengths == [meeting.STEPS]
    env.set_seed(5)
    steps = env.rollout(20, agent.policy, break_when_any_done=False, break_when_all_done=True)
    reward = steps["next", "agents", "reward"][..., 0]
    assert reward[3:, 0].count_nonzero() == (0 if flags != "root" else 5)
    assert result.returns[0] == pytest.approx(reward.double().sum(0).mean().item())


# ------------------------------------------------------------------- learning


GRADIENTS = ON_POLICY | {"steps_per_env": 64, "anneal_lr": False}
VALUES = REPLAY | DELAYED | {"lr": 3e-3, "batch_size": 32}
MIXED = VALUES | {"batch_size": 64, "gamma": 0.5, "target_update_interval": 200, "double": True}
LEARNS = {
    "ippo": (IPPO, GRADIENTS, {}, 2_500),
    "ippo continuous": (IPPO, GRADIENTS, {"discrete": False}, 2_000),
    "mappo": (MAPPO, GRADIENTS, {}, 2_500),
    "independent dqn": (IndependentDQN, VALUES, {}, 1_200),
    "vdn": (VDN, VALUES, {}, 1_200),
    "qmix": (QMIX, MIXED | {"mixing_embed_dim": 8}, {}, 2_000),
    "maddpg": (MADDPG, REPLAY | {"lr": 3e-3, "batch_size": 32, "noise_std": 0.3}, {"discrete": False}, 1_000),
}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
@pytest.mark.parametrize("name", LEARNS)
def test_learns_to_meet(name, seed, meeting):
    kind, settings, options, steps = LEARNS[name]
    agent = kind(SerialEnv(2, lambda: meeting(**options)), kind.Config(**settings), seed=seed)
    agent.train(max_steps=steps)
    # Standing still earns about -3.2 in these episodes; the way to the middle costs 0.2 at least.
    assert agent.evaluate(meeting(**options), range(20)).mean > -1.2


# --------------------------------------------------------------- on-policy


class Grouped(EnvBase):
    """One cart on a track with or without a group around it: the same numbers under other names."""

    def __init__(self, grouped):
        super().__init__()
        self.grouped = grouped
        lead = (1,) if grouped else ()

        def level(**leaves):
            return Composite(agents=Composite(leaves, shape=lead)) if grouped else Composite(leaves)

        self.observation_spec = level(observation=Unbounded((*lead, 2)))
        self.full_action_spec = level(action=Bounded(-1.0, 1.0, (*lead, 1)))
        self.full_reward_spec = level(reward=Unbounded((*lead, 1)))
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        self.drawn = torch.Generator()

    def _set_seed(self, seed):
        self.drawn.manual_seed(seed or 0)

    def _named(self, **entries):
        if not self.grouped:
            return entries
        return {"agents": TensorDict({name: value.unsqueeze(0) for name, value in entries.items()}, [1])}

    def _reset(self, tensordict=None):
        self.time, self.place = 0, torch.rand(2, generator=self.drawn)
        return TensorDict(self._named(observation=self.place.clone()))

    def _step(self, tensordict):
        action = tensordict["agents", "action"][0] if self.grouped else tensordict["action"]
        self.time += 1
        self.place = self.place + 0.1 * action
        seen = self._named(observation=self.place.clone(), reward=-self.place.abs().sum(0, keepdim=True))
        over = torch.tensor([self.time == 7])
        return TensorDict({**seen, "terminated": over & (self.place[:1] > 0.5), "truncated": over})


@pytest.mark.parametrize("kind", [IPPO, MAPPO])
def test_a_group_of_one_learns_as_an_agent_alone(kind):
    settings = ON_POLICY | {"num_minibatches": 2, "epochs": 2}
    alone = PPO(SerialEnv(2, lambda: Grouped(False)), PPO.Config(**settings))
    expected = alone.train(max_iters=3)
    team = kind(SerialEnv(2, lambda: Grouped(True)), kind.Config(**settings))
    found = team.train(max_iters=3)
    # Products of matrices and of stacks of matrices may be rounded differently.
    torch.testing.assert_close(team.optimizer.flat, alone.optimizer.flat)
    assert found["return_mean"] == pytest.approx(expected["return_mean"])
    assert found["kl_approx"] == pytest.approx(expected["kl_approx"], rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"own_reward": True}, {"own_reward": True, "flags": "group"}])
@pytest.mark.parametrize("kind", [IPPO, MAPPO])
def test_advantages_are_those_of_the_estimator(kind, options, meeting):
    agent = kind(SerialEnv(2, lambda: meeting(**options)), kind.Config(**ON_POLICY))
    batch = agent.collector.next()
    data = agent.estimate(batch)
    critic = TensorDictModule(agent.critic, [("agents", "observation")], [("agents", "state_value")])
    estimate = GAE(agent.config.gamma, agent.config.gae_lambda, critic)
    spaces = agent.spaces
    keys = {"reward": spaces.reward_key, "done": spaces.done_key, "terminated": spaces.terminated_key}
    estimate.set_keys(value=("agents", "state_value"), **keys)
    estimate(batch)
    for name, key in (("advantage", "advantage"), ("target", "value_target")):
        torch.testing.assert_close(data[name], batch[key].squeeze(-1).flatten(0, 1))


def test_who_judges_by_what(meeting):
    seen = torch.randn(5, 3, 2)
    changed = seen.clone()
    changed[:, 1] += 1.0
    for kind, expected in ((IPPO, [False, True, False]), (MAPPO, [True, True, True])):
        agent = kind(meeting(), kind.Config(**ON_POLICY))
        values, others = agent.critic(seen), agent.critic(changed)
        assert values.shape == (5, 3, 1)
        assert ((values - others).abs() > 1e-6).flatten(1).any(0).tolist() == expected
        moved = (agent.actor(seen) - agent.actor(changed)).abs().sum(-1) > 0
        assert moved.any(0).tolist() == [False, True, False]


@pytest.mark.parametrize("variant", ["clip", "kl"])
def test_nothing_is_learnt_from_those_who_left(variant, meeting):
    options = {"own_reward": True, "flags": "both", "leaves": [3, 8, 5]}
    settings = ON_POLICY | {"variant": variant, "clip_value": True}
    results = []
    for noise in (0.0, 100.0):
        agent = IPPO(SerialEnv(2, lambda: meeting(**options)), IPPO.Config(**settings))
        data = agent.estimate(agent.collector.next())
        gone = ~data["alive"]
        assert gone.float().mean().item() == pytest.approx(8 / 24)
        for name in ("advantage", "target", "value", "log_prob"):
            data[name][gone] += noise
        results.append((agent.update(data), agent.optimizer.flat.detach().clone()))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


# -------------------------------------------------------------- off-policy


def trained(kind, env, **settings):
    agent = kind(env, kind.Config(**REPLAY | DELAYED | settings))
    agent.train(max_iters=2)
    return agent


@pytest.mark.parametrize("kind", [IndependentDQN, VDN, QMIX])
def test_values_of_those_who_left_do_not_matter(kind, meeting):
    agent = trained(kind, meeting(own_reward=True, flags="both", leaves=[3, 8, 5]))
    rows = agent.buffer.sample()
    gone = rows["agents", "done"].squeeze(-1)
    after = rows["next", "agents", "terminated"].squeeze(-1)
    assert gone.any()
    out = agent.network(*agent.observations(rows)).detach()
    before = agent.losses(out, rows)
    out[gone] += 10.0
    if kind is not QMIX:  # the state of which is what all agents see
        rows["next", "agents", "observation"][after] += 1.0
    if kind is IndependentDQN:
        rows["next", "agents", "reward"][gone] += 1.0
    for found, expected in zip(agent.losses(out, rows), before, strict=True):
        assert found.shape == (8,)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("options", [{"state": True}, {"masked": True}])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", [VDN, QMIX])
def test_the_update_is_that_of_the_loss(kind, double, options, meeting):
    agent = trained(kind, meeting(**options), double=double)
    rows = agent.buffer.sample()
    agent.optimizer.flat.data.add_(0.01)  # so that network and target differ
    mixer = agent.network.mixer
    local, total = ("agents", "chosen_action_value"), "chosen_action_value"
    loss = QMixerLoss(
        TensorDictModule(agent.network.agents, [("agents", "observation")], [("agents", "action_value")]),
        TensorDictModule(mixer, [local, "the state"] if mixer.needs_state else [local], [total]),
        loss_function="smooth_l1",
        double_dqn=double,
        gamma=agent.config.gamma,
    )
    for own, other in ((loss.target_local_value_network, "agents"), (loss.target_mixer_network, "mixer")):
        own.module.load_state_dict(getattr(agent.target.module, other).state_dict())
    losses, errors = agent.losses(agent.network(*agent.observations(rows)), rows)
    for part in (rows, rows["next"]):
        part["the state"] = agent.spaces.state(part)
    results = loss(rows)
    torch.testing.assert_close(losses.mean(), results["loss"])
    torch.testing.assert_close(errors, results["td_error"])


@pytest.mark.parametrize("kind", [IPPO, MAPPO, IndependentDQN, VDN])
def test_impossible_actions_are_never_taken(kind, meeting, tools):
    on_policy = kind in (IPPO, MAPPO)
    settings = ON_POLICY if on_policy else REPLAY | DELAYED | {"learning_starts": 0, "eps_init": 0.5, "eps_end": 0.5}
    agent = kind(SerialEnv(2, lambda: meeting(masked=True)), kind.Config(**settings))
    batches = tools.recorded(agent) if on_policy else []
    agent.train(max_iters=3)
    rows = torch.cat(batches, 1) if on_policy else agent.buffer.storage.get(torch.arange(len(agent.buffer)))
    taken = rows["agents", "action"].reshape(-1, 3)
    assert 2 not in taken[:, 0]
    assert 2 in taken[:, 1]


def test_critics_see_all_and_actors_climb_their_own(meeting):
    agent = MADDPG(meeting(discrete=False), MADDPG.Config(**REPLAY))
    seen, taken = torch.randn(5, 3, 2), torch.randn(5, 3, 1)
    values = agent.critic(seen, taken)
    assert values.shape == (1, 5, 3, 1)
    own = taken.clone().requires_grad_()
    judged = agent.critic.of_own([seen], own, taken)
    torch.testing.assert_close(judged, values[0])
    for i in range(3):
        (slope,) = torch.autograd.grad(judged[:, i].sum(), own, retain_graph=True)
        assert (slope.abs().sum((0, 2)) > 0).tolist() == [j == i for j in range(3)]
    moved = (agent.critic(seen, taken + torch.eye(3)[1].unsqueeze(-1)) != values).flatten(3).any(-1)[0].any(0)
    assert moved.tolist() == [True, True, True]


def test_networks_of_the_user(meeting):
    actor = MultiAgentMLP(2, 3, 3, centralized=False, share_params=False, num_cells=[8])
    critic = MultiAgentMLP(2, 1, 3, centralized=True, share_params=True, num_cells=[8])
    agent = IPPO(meeting(), IPPO.Config(**ON_POLICY), actor=actor, critic=critic)
    assert agent.train(max_iters=1)["steps"] == 16.0
    judge = MultiAgentMLP(3, 1, 3, centralized=True, share_params=True, num_cells=[8])
    before = judge.agent_networks[0][0].weight.clone()
    MADDPG(meeting(discrete=False), MADDPG.Config(**REPLAY), critic=judge).train(max_iters=2)
    assert not torch.equal(judge.agent_networks[0][0].weight, before)

    class Mean(Mixer):
        def mix(self, chosen_action_value, state):
            return chosen_action_value.mean(-2)

    settings = REPLAY | DELAYED
    agent = VDN(meeting(), VDN.Config(**settings), mixer=Mean(3, needs_state=False))
    assert agent.train(max_iters=2)["updates"] > 0
    mixer = QMixer((3,), 4, 3)
    before = mixer.hyper_w_1.weight.clone()
    VDN(meeting(state=True), VDN.Config(**settings), mixer=mixer).train(max_iters=2)
    assert not torch.equal(mixer.hyper_w_1.weight, before)


# ------------------------------------------------------------------- refusals


def test_what_they_refuse(meeting):
    apart = meeting(own_reward=True, flags="group")
    for kind in (VDN, QMIX):
        with pytest.raises(SpecError, match=f"{kind.__name__}: expected a done flag at the root, found one of each"):
            kind(apart, kind.Config(**REPLAY))
    with pytest.raises(SpecError, match="IndependentDQN: expected a done flag of the episode for n_steps 3, found one"):
        IndependentDQN(apart, IndependentDQN.Config(**REPLAY, n_steps=3))
    with pytest.raises(SpecError, match="MADDPG: expected one action, a vector of floats"):
        MADDPG(meeting())
    with pytest.raises(SpecError, match="QMIX: expected one action, an index"):
        QMIX(meeting(discrete=False))
    with pytest.raises(ValueError, match=r"QMIXConfig\.distribution: expected None, .* found 'quantile'"):
        QMIX.Config(distribution="quantile")
    with pytest.raises(ValueError, match=r"QMIXConfig\.mixing_embed_dim: expected at least 1, found 0"):
        QMIX.Config(mixing_embed_dim=0)
    with pytest.raises(ValueError, match=r"MADDPGConfig\.noise: expected none or gaussian, found ornstein-uhlenbeck"):
        MADDPG.Config(noise="ornstein-uhlenbeck")
