"""What agents with replay have in common."""

import pytest
import torch

from agents import DDPG, DQN, REDQ, SAC, TD3, CrossQ, DiscreteSAC, NonFiniteUpdateError
from envkit import SerialEnv, SpecError

SMALL = {
    "hidden_sizes": (8,),
    "batch_size": 8,
    "buffer_size": 200,
    "learning_starts": 20,
    "train_freq": 2,
    "steps_per_iteration": 16,
}
AGENTS = {
    "dqn": (DQN, "cart_pole", {}),
    "dqn double": (DQN, "cart_pole", {"double": True, "dueling": True}),
    "dqn n-step": (DQN, "cart_pole", {"n_steps": 3}),
    "dqn prioritized": (DQN, "cart_pole", {"prioritized": True}),
    "dqn noisy": (DQN, "cart_pole", {"noisy": True, "dueling": True}),
    "dqn categorical": (DQN, "cart_pole", {"distribution": "categorical", "num_atoms": 5, "double": True}),
    "dqn quantile": (DQN, "cart_pole", {"distribution": "quantile", "num_atoms": 5, "dueling": True}),
    "ddpg": (DDPG, "pendulum", {}),
    "ddpg ornstein-uhlenbeck": (DDPG, "pendulum", {"noise": "ornstein-uhlenbeck"}),
    "ddpg without noise": (DDPG, "pendulum", {"noise": "none"}),
    "td3": (TD3, "pendulum", {}),
    "sac": (SAC, "pendulum", {}),
    "sac delayed": (SAC, "pendulum", {"actor_freq": 3, "alpha": 0.1, "num_critics": 3}),
    "sac ornstein-uhlenbeck": (SAC, "pendulum", {"noise": "ornstein-uhlenbeck"}),
    "redq": (REDQ, "pendulum", {"num_critics": 4, "gradient_steps": 3}),
    "crossq": (CrossQ, "pendulum", {"warmup_updates": 2}),
    "discrete sac": (DiscreteSAC, "cart_pole", {}),
}


@pytest.fixture(params=AGENTS)
def make(request, tools):
    kind, env, options = AGENTS[request.param]

    def make(seed=0, envs=1, **changes):
        simulator = getattr(tools, env)
        batch = simulator() if envs == 1 else SerialEnv(envs, simulator)
        return kind(batch, kind.Config(**{**SMALL, **options, **changes}), seed=seed)

    return make


def stored(agent):
    """All rows of the buffer, in the order in which they lie there."""
    return agent.buffer.storage.get(torch.arange(len(agent.buffer)))


@pytest.mark.parametrize("envs", [1, 2])
def test_counts(make, envs):
    agent = make(envs=envs)
    metrics = agent.train(max_steps=64)
    assert (agent.steps, agent.iterations, len(agent.buffer)) == (64, 4, 64)
    # Rounds of 2 steps per env; updates begin once more than 20 steps were made.
    rounds = 64 // (2 * envs) - 20 // (2 * envs)
    assert metrics["updates"] == agent.updates == rounds * agent.config.gradient_steps


def test_the_first_actions_are_random(make):
    agents = [make(), make()]
    for parameter in (agents[0].actor if hasattr(agents[0], "actor") else agents[0].network).parameters():
        parameter.data.zero_()
    for agent in agents:
        agent.train(max_steps=16)
    key = agents[0].spaces.action_key
    first, second = (stored(agent)[key][:16] for agent in agents)
    assert torch.equal(first, second)


def test_what_is_replayed_is_what_the_env_did(make):
    agent = make(learning_starts=1000, buffer_size=1000)
    agent.train(max_steps=400)
    rows = stored(agent)
    jumps = (rows["observation"][1:] != rows["next", "observation"][:-1]).any(-1)
    # The observation before an end is the true last one, not the first of the episode that follows.
    assert torch.equal(jumps, rows["next", "done"][:-1, 0])
    assert rows["next", "done"].sum() == agent.episodes > 0


def test_same_seed_same_numbers(make, tools):
    records = [tools.records(make(seed=seed), max_iters=5) for seed in (3, 3, 4)]
    assert records[0] == records[1] != records[2]


def test_an_agent_that_resumes_goes_on_as_if_nothing_had_happened(make, tools, tmp_path):
    whole = make()
    expected = tools.records(whole, max_iters=9)
    agent = make()
    with pytest.raises(InterruptedError):
        agent.train(max_iters=9, callback=tools.interrupt_at(5))
    agent.save(tmp_path / "agent.safetensors")
    torch.rand(7)
    loaded = type(agent).load(tmp_path / "agent.safetensors", make(seed=9).env)
    assert tools.records(loaded, max_iters=9) == expected[5:]
    assert tools.same(tools.learnt(loaded), tools.learnt(whole))
    assert (stored(loaded) == stored(whole)).all()


def test_a_loaded_agent_acts_as_the_saved_one(make, tmp_path):
    agent = make()
    agent.train(max_steps=64)
    agent.save(tmp_path / "agent.safetensors")
    loaded = type(agent).load(tmp_path / "agent.safetensors", make(seed=9).env, resume=False)
    observations = stored(agent)["observation"]
    assert torch.equal(*(one.select_action(observations, deterministic=True) for one in (agent, loaded)))
    assert len(loaded.buffer) == 0


def test_an_update_that_is_not_finite_is_not_made(make, tools):
    agent = make()
    agent.train(max_steps=48)
    before = {name: value.clone() for name, value in tools.learnt(agent).items()}
    rows = agent.buffer.sample()
    rows["next", "reward"].fill_(torch.nan)
    with pytest.raises(NonFiniteUpdateError, match="expected finite numbers; the step was not made"):
        agent.update(rows)
    after = tools.learnt(agent)
    # Counts of failures, noise and running moments are no part of the update.
    others = ("skipped", "in_a_row", "epsilon", "running_mean", "running_var", "num_batches_tracked")
    names = [name for name in before if not name.endswith(others)]
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_actions_it_cannot_take(make, tools):
    agent = make()
    other = tools.pendulum() if agent.spaces.discrete else tools.cart_pole()
    with pytest.raises(SpecError, match=f"{type(agent).__name__}: expected one action, a"):
        type(agent)(other)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gamma", 1.5, "gamma: expected a number from (0|-1) to 1, found 1.5"),
        ("train_freq", 0, "train_freq: expected at least 1, found 0"),
        ("hidden_sizes", (0,), r"hidden_sizes: expected positive integers, found \(0,\)"),
        ("activation", "sin", "activation: expected one of .*, found 'sin'"),
        ("buffer_size", 7, "buffer_size: expected at least batch_size 8, found 7"),
    ],
)
def test_settings_out_of_range(make, field, value, message):
    with pytest.raises(ValueError, match=message):
        make(**{field: value})
