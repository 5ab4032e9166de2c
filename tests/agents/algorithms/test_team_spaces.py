"""What agents that learn together read off the specs of an env."""

import pytest
import torch
from tensordict import TensorDict

from agents import DQN, PPO
from agents.algorithms.team_spaces import TeamSpaces
from envkit import Bounded, Categorical, Composite, SerialEnv, SpecError, Unbounded

FLAG = Categorical(2, shape=(1,), dtype=torch.bool)


def group(agents=3, **leaves):
    return Composite(leaves, shape=(agents,))


@pytest.mark.parametrize("envs", [1, 2])
def test_of_discrete_actions(meeting, envs):
    env = meeting() if envs == 1 else SerialEnv(envs, meeting)
    spaces = TeamSpaces(env, "Agent")
    assert (spaces.count, spaces.streams, spaces.group, spaces.team) == (envs, envs, ("agents",), torch.Size([3]))
    assert (spaces.discrete, spaces.action_size, spaces.observation_width()) == (True, 3, 2)
    assert spaces.observation_keys == [("agents", "observation")]
    assert (spaces.action_key, spaces.reward_key, spaces.done_key) == (("agents", "action"), "reward", "done")
    assert spaces.describe()["action"] == "3 agents, 3 torch.int64"


def test_of_continuous_actions(meeting):
    spaces = TeamSpaces(SerialEnv(2, lambda: meeting(discrete=False, own_reward=True)), "Agent")
    assert (spaces.discrete, spaces.action_size, spaces.reward_key) == (False, 1, ("agents", "reward"))
    low, high = spaces.finite_action_bounds()
    assert (low.tolist(), high.tolist()) == ([[-1.0]] * 3, [[1.0]] * 3)


def test_infos_and_masks_are_not_seen(meeting, specs_only):
    spaces = TeamSpaces(meeting(masked=True, state=True), "Agent")
    assert spaces.observation_keys == [("agents", "observation")]
    assert spaces.mask_key == ("agents", "action_mask")
    seen = Composite(
        agents=group(observation=Unbounded((3, 2)), far=Unbounded((3, 1)), info=Composite(x=Unbounded((3,))))
    )
    env = specs_only(action=Composite(agents=group(action=Categorical(2, shape=(3,)))), observation=seen)
    assert TeamSpaces(env, "Agent").observation_keys == [("agents", "far"), ("agents", "observation")]


def test_the_state_is_told_or_what_all_see(meeting):
    told, seen = TeamSpaces(meeting(state=True), "Agent"), TeamSpaces(meeting(), "Agent")
    assert (told.state_keys, told.state_width()) == (["state"], 3)
    assert (seen.state_keys, seen.state_width()) == ([("agents", "observation")], 6)
    rows = meeting(state=True).rollout(4)
    assert torch.equal(told.state(rows), rows["state"])
    assert torch.equal(seen.state(rows), rows["agents", "observation"].flatten(1))


def test_one_reward_and_one_flag_count_for_all(meeting):
    spaces = TeamSpaces(meeting(), "Agent")
    ends = {name: torch.tensor(value).reshape(2, 1) for name, value in {"done": [0, 1], "terminated": [0, 0]}.items()}
    after = TensorDict({"reward": torch.tensor([[1.0], [2.0]]), **{k: v.bool() for k, v in ends.items()}}, [2])
    assert spaces.reward(after).tolist() == [[1.0] * 3, [2.0] * 3]
    assert spaces.done(after).tolist() == [[False] * 3, [True] * 3]
    assert spaces.terminated(after).tolist() == [[False] * 3] * 2
    assert spaces.team_reward(after).tolist() == [1.0, 2.0]
    assert spaces.alive(after) is None
    reward, done = spaces.episodes(after)
    assert (reward.tolist(), done.tolist()) == ([[1.0, 2.0]], [[False, True]])


def test_agents_may_leave_before_the_episode_ends(meeting):
    spaces = TeamSpaces(meeting(own_reward=True, flags="both"), "Agent")
    assert (spaces.done_key, spaces.terminated_key, spaces.alive_key) == ("done", "terminated", ("agents", "done"))
    assert len(spaces.flag_keys) == 4
    own = {"done": [[0, 1, 0], [0, 1, 0]], "terminated": [[0, 1, 0], [0, 1, 0]]}
    agents = {name: torch.tensor(value, dtype=torch.bool).unsqueeze(-1) for name, value in own.items()}
    agents["reward"] = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]]).unsqueeze(-1)
    root = {"done": torch.tensor([[False], [True]]), "terminated": torch.tensor([[False], [False]])}
    after = TensorDict({"agents": TensorDict(agents, [2, 3]), **root}, [2])
    assert spaces.reward(after).tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]]
    assert spaces.done(after).tolist() == [[False, True, False], [True, True, True]]
    assert spaces.terminated(after).tolist() == [[False, True, False]] * 2
    assert spaces.alive(after).tolist() == [[True, False, True]] * 2
    assert spaces.team_reward(after).tolist() == [2.0, 2.0]
    reward, done = spaces.episodes(after)
    assert (reward.tolist(), done.tolist()) == ([[2.0, 2.0]], [[False, True]])


def test_agents_may_have_episodes_of_their_own(meeting):
    env = SerialEnv(2, lambda: meeting(own_reward=True, flags="group"))
    spaces = TeamSpaces(env, "Agent")
    assert (spaces.count, spaces.streams, spaces.alive_key) == (2, 6, None)
    batch = env.rollout(5)
    reward, done = spaces.episodes(batch["next"])
    assert reward.shape == done.shape == (6, 5)
    assert torch.equal(reward[4], batch["next", "agents", "reward"][1, :, 1, 0])


GROUP = {
    "action": Composite(agents=group(action=Categorical(2, shape=(3,)))),
    "observation": Composite(agents=group(observation=Unbounded((3, 2)))),
}
TWO = {
    "action": Composite(a=group(2, action=Categorical(2, shape=(2,))), b=group(1, action=Categorical(2, shape=(1,)))),
    "observation": Composite(a=group(2, seen=Unbounded((2, 2))), b=group(1, seen=Unbounded((1, 2)))),
}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, r"expected the action of a group of agents, .* found 'action' within one of shape \[\]"),
        (TWO, r"expected one group of agents, found actions .*; agents of one kind can be put into one, such"),
        (GROUP | {"reward": Unbounded((3,))}, r"expected 'reward' of shape \[1\], found \[3\]"),
        (
            GROUP | {"reward": Composite(agents=group(reward=Unbounded((3, 2))))},
            r"expected \('agents', 'reward'\) of shape \[3, 1\], found \[3, 2\]",
        ),
        (
            GROUP | {"reward": Composite(agents=group(reward=Unbounded((3, 1))), score=Unbounded((1,)))},
            "expected one reward, and done flags at the root or in the group 'agents', found",
        ),
        (
            GROUP | {"done": Composite(done=FLAG, terminated=FLAG, others=Composite(done=FLAG, terminated=FLAG))},
            "expected one reward, and done flags at the root or in the group 'agents', found",
        ),
        (
            GROUP | {"action": Composite(agents=group(action=Bounded(-1, 1, (3, 2, 2))))},
            "expected one action, an index .* or a vector of floats",
        ),
    ],
)
def test_what_it_refuses(specs_only, parts, message):
    with pytest.raises(SpecError, match=f"Agent: {message}"):
        TeamSpaces(specs_only(**parts), "Agent")


def test_agents_of_several_kinds(specs_only):
    kinds = [Composite(observation=Unbounded((width,))) for width in (2, 3)]
    parts = {
        "action": Composite(agents=group(2, action=Categorical(2, shape=(2,)))),
        "observation": Composite(agents=torch.stack(kinds)),
    }
    with pytest.raises(SpecError, match="Agent: expected agents of one kind in the group 'agents'"):
        TeamSpaces(specs_only(**parts), "Agent")


@pytest.mark.parametrize("kind", [PPO, DQN])
def test_agents_that_learn_alone_refuse_groups(kind, meeting):
    with pytest.raises(SpecError, match=f"{kind.__name__}: expected the action of one agent, found those of 3 at"):
        kind(meeting())
