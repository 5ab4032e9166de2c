"""Actions that are not possible are neither taken, nor explored, nor reckoned with."""

import math

import pytest
import torch
from tensordict import TensorDict

from agents import A2C, DQN, PPO, REINFORCE, DiscreteSAC, DQNConfig, gae
from agents.algorithms.spaces import Spaces
from envkit import Categorical, Composite, ExplorationType, TicTacToeEnv, Unbounded

SMALL = {"hidden_sizes": (8,), "batch_size": 8, "learning_starts": 40, "train_freq": 1, "steps_per_iteration": 40}
VARIANTS = {
    "plain": {},
    "double": {"double": True, "dueling": True},
    "n-step": {"n_steps": 2},
    "noisy": {"noisy": True},
    "prioritized": {"prioritized": True},
    "categorical": {"distribution": "categorical", "num_atoms": 5, "v_min": -1.0, "v_max": 1.0},
    "quantile": {"distribution": "quantile", "num_atoms": 5},
}


def game(**kwargs):
    return TicTacToeEnv(single_player=True, batch_size=[4], include_observation=True, **kwargs)


def dqn(network=None, seed=0, **options):
    return DQN(game(), DQNConfig(**{**SMALL, **options}), seed=seed, observation_keys=["observation"], network=network)


class Fixed(torch.nn.Module):
    """The same values of actions at any observation: the higher the number, the better."""

    def __init__(self, *shape):
        super().__init__()
        self.values = torch.nn.Parameter(torch.arange(9.0).expand(*shape, 9).clone())

    def forward(self, observation):
        return self.values.expand(*observation.shape[:-1], *self.values.shape)


@pytest.mark.parametrize("variant", VARIANTS)
def test_illegal_moves_are_never_made(variant):
    """The env refuses them: at random, as the policy explores, and as it acts."""
    agent = dqn(**VARIANTS[variant])
    agent.train(max_steps=400)
    assert agent.updates > 0
    env = game(player=None)
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        env.rollout(30, agent.policy, break_when_any_done=False, exploration_type=kind)


@pytest.mark.parametrize(("distribution", "shape"), [(None, ()), ("quantile", (5,)), ("categorical", (5,))])
def test_the_best_action_is_the_best_that_is_possible(distribution, shape):
    agent = dqn(Fixed(*shape), distribution=distribution, num_atoms=5, v_min=-1.0, v_max=1.0)
    env = game()
    td = env.reset()
    td["mask"][:] = torch.tensor([True, True, False, True, True, False, False, False, False])
    if distribution == "categorical":  # the more of the highest return, the better
        with torch.no_grad():
            agent.network.values.copy_(torch.outer(torch.arange(5.0), torch.arange(9.0)))
    found = agent.policy.module[0](td.clone())["action"]
    assert found.tolist() == [4] * 4


def test_a_policy_in_a_loop_takes_the_actions_that_it_takes_alone():
    agent, env = dqn(), game()
    env.set_seed(0)
    data = env.rollout(40, agent.policy, break_when_any_done=False, exploration_type=ExplorationType.DETERMINISTIC)
    for t in range(40):
        row = data[:, t].select("observation", "mask")
        assert torch.equal(agent.policy.module[0](row)["action"], data[:, t]["action"])


@pytest.mark.parametrize("double", [False, True])
def test_targets_reckon_with_possible_actions_alone(double):
    agent = dqn(Fixed(), double=double, gamma=0.5)
    with torch.no_grad():
        agent.target.module.values.mul_(10.0)
    mask = torch.zeros((3, 9), dtype=torch.bool)
    mask[0, [1, 4]] = mask[1, [7, 2]] = mask[2] = True
    rows = TensorDict(
        {
            "observation": torch.zeros(3, 18),
            "action": torch.tensor([0, 1, 2]),
            "next": {
                "observation": torch.zeros(3, 18),
                "mask": mask,
                "reward": torch.ones(3, 1),
                "done": torch.tensor([[False], [False], [True]]),
                "terminated": torch.tensor([[False], [False], [True]]),
            },
        },
        [3],
    )
    _, errors = agent.losses(agent.network(rows["observation"]), rows)
    targets = torch.tensor([1 + 0.5 * 40, 1 + 0.5 * 70, 1.0])
    assert torch.equal(errors.detach(), (torch.tensor([0.0, 1.0, 2.0]) - targets).abs())


def test_what_follows_is_another_players_gain():
    agent = dqn(Fixed(), gamma=-1.0)
    rows = agent.collector.next().reshape(-1).select(*agent._read)
    rows["next", "terminated"].zero_()
    rows["next", "mask"].fill_(True)
    rows["action"].zero_()
    _, errors = agent.losses(agent.network(rows["observation"]), rows)
    assert torch.equal(errors.detach(), (rows["next", "reward"].squeeze(-1) - 8.0).abs())


def test_a_mask_is_found_beside_the_action(specs_only):
    def spaces(**leaves):
        env = specs_only(observation=Composite(seen=Unbounded((3,)), **leaves), action=Categorical(5))
        found = Spaces(env, "Agent")
        return found.mask_key, found.observation_keys

    flags = Categorical(2, (5,), dtype=torch.bool)
    assert spaces(mask=flags) == ("mask", ["seen"])
    assert spaces(action_mask=flags) == ("action_mask", ["seen"])
    assert spaces(hidden=flags) == (None, ["hidden", "seen"])
    assert spaces(mask=Categorical(2, (4,), dtype=torch.bool)) == (None, ["mask", "seen"])
    assert spaces(mask=Unbounded((5,))) == (None, ["mask", "seen"])
    assert spaces() == (None, ["seen"])


@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE])
@pytest.mark.parametrize("opponent", ["random", "self"])
def test_agents_without_replay_draw_possible_actions_alone(kind, opponent):
    """The env refuses others; and what they learn from is the distribution that they drew from."""
    env = game(opponent=opponent)
    gamma = 0.9 if opponent == "random" else -0.9
    config = kind.Config(hidden_sizes=(8,), steps_per_env=32, gamma=gamma)
    agent = kind(env, config, observation_keys=["observation"])
    agent.train(max_steps=4 * 32 * 3)
    data = agent.estimate(agent.collector.next())
    distribution = agent.distribution(data["observation", "observation"], mask=data["mask"])
    assert torch.equal(distribution.probs > 0, data["mask"])
    assert distribution.entropy().isfinite().all()
    if "log_prob" in data:
        torch.testing.assert_close(distribution.log_prob(data["action"]), data["log_prob"])
    env.rollout(30, agent.policy, break_when_any_done=False, exploration_type=ExplorationType.DETERMINISTIC)


def test_soft_actor_critic_takes_and_reckons_with_possible_actions_alone():
    agent = DiscreteSAC(game(), DiscreteSAC.Config(**SMALL), observation_keys=["observation"])
    losses = agent.train(max_steps=400)
    assert agent.updates > 0
    assert all(map(math.isfinite, losses.values()))
    env = game(player=None)
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        env.rollout(30, agent.policy, break_when_any_done=False, exploration_type=kind)


def test_soft_values_of_possible_actions():
    """Equal logits: the value of what follows is the mean over the possible ones, and their entropy."""

    class Logits(torch.nn.Linear):
        def forward(self, observation):
            return super().forward(observation) * 0.0

    class Critics(Fixed):
        def forward(self, observation):
            return super().forward(observation).repeat(2, 1, 1)  # not a view of what the update changes

    config = DiscreteSAC.Config(**SMALL, alpha=0.5, gamma=0.5)
    agent = DiscreteSAC(game(), config, observation_keys=["observation"], actor=Logits(18, 9), critic=Critics())
    mask = torch.zeros((1, 9), dtype=torch.bool)
    mask[0, [2, 6]] = True
    flags = {"done": torch.zeros(1, 1, dtype=torch.bool), "terminated": torch.zeros(1, 1, dtype=torch.bool)}
    seen = {"observation": torch.zeros(1, 18), "mask": mask}
    rows = TensorDict({**seen, "action": torch.tensor([2]), "next": {**seen, "reward": torch.ones(1, 1), **flags}}, [1])
    said = agent.update(rows)
    assert said["entropy"].item() == pytest.approx(math.log(2))
    assert said["loss_actor"].item() == pytest.approx(-(4.0 + 0.5 * math.log(2)))
    target = 1.0 + 0.5 * (4.0 + 0.5 * math.log(2))
    assert said["loss_critic"].item() == pytest.approx((2.0 - target) ** 2)  # half of it for each of two critics


def test_an_episode_may_end_where_nothing_is_possible():
    agent = DiscreteSAC(game(), DiscreteSAC.Config(**SMALL), observation_keys=["observation"])
    over = {"done": torch.ones(1, 1, dtype=torch.bool), "terminated": torch.ones(1, 1, dtype=torch.bool)}
    seen = torch.zeros(1, 18)
    after = {"observation": seen, "mask": torch.zeros(1, 9, dtype=torch.bool), "reward": torch.ones(1, 1), **over}
    before = {"observation": seen, "mask": torch.ones(1, 9, dtype=torch.bool), "action": torch.tensor([2])}
    said = agent.update(TensorDict({**before, "next": after}, [1]))
    assert all(value.isfinite() for value in said.values())
    value = said["value"]  # of the two critics, whose target is the reward alone
    assert said["loss_critic"] >= (value - 1.0) ** 2 - 1e-6


def test_advantages_of_players_who_take_turns():
    """Whoever wins with the last move of three also gains by the first one, and the other one loses by the second."""
    done = torch.tensor([[False], [False], [True]])
    reward = torch.tensor([[0.0], [0.0], [1.0]])
    zeros = torch.zeros(3, 1)
    advantage, _ = gae(reward, zeros, zeros, done, done, gamma=-0.5, lmbda=1.0)
    assert advantage.flatten().tolist() == [0.25, -0.5, 1.0]
