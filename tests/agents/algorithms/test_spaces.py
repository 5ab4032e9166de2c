"""What an agent reads off the specs of an env."""

import pytest
import torch

from agents.algorithms.spaces import Spaces
from envkit import Bounded, Categorical, Composite, OneHot, SerialEnv, SpecError, Unbounded

FLAG = Categorical(2, shape=(1,), dtype=torch.bool)


def test_of_a_batch_of_discrete_actions(tools):
    spaces = Spaces(SerialEnv(3, tools.cart_pole), "Agent")
    assert (spaces.count, spaces.discrete, spaces.action_size) == (3, True, 2)
    assert (spaces.action_key, spaces.reward_key) == ("action", "reward")
    assert (spaces.done_key, spaces.terminated_key) == ("done", "terminated")
    assert spaces.observation_keys == ["observation"]
    assert spaces.observation_width() == 4


@pytest.mark.parametrize("envs", [1, 2])
def test_of_continuous_actions(tools, envs):
    spaces = Spaces(tools.pendulum() if envs == 1 else SerialEnv(envs, tools.pendulum), "Agent")
    assert (spaces.discrete, spaces.action_size) == (False, 1)
    low, high = spaces.finite_action_bounds()
    assert (low.tolist(), high.tolist()) == ([-2.0], [2.0])
    assert spaces.describe()["action"] == "[1] torch.float32 from [-2.0] to [2.0]"


def test_unbounded_actions_have_infinite_bounds(specs_only):
    spaces = Spaces(specs_only(action=Unbounded((2,))), "Agent")
    low, high = spaces.action_bounds()
    assert (low.tolist(), high.tolist()) == ([-torch.inf] * 2, [torch.inf] * 2)
    with pytest.raises(SpecError, match="Agent: expected actions with finite bounds"):
        spaces.finite_action_bounds()


def test_what_is_seen_can_be_chosen(specs_only):
    env = specs_only(observation=Unbounded((3,)))
    assert Spaces(env, "Agent", ["observation"]).keys() == ["observation"]
    with pytest.raises(SpecError, match=r"Agent: unknown observation 'sight'; the env has \['observation'\]"):
        Spaces(env, "Agent", ["sight"])


@pytest.mark.parametrize(
    ("action", "kinds", "message"),
    [
        (OneHot(3), ("discrete", "continuous"), r"expected one action, an index .* or a vector of floats"),
        (Categorical(3, shape=(2,)), ("discrete",), r"expected one action, an index \(Categorical\), found"),
        (Categorical(3), ("continuous",), "expected one action, a vector of floats, found"),
        (Bounded(-1, 1, (2, 2)), ("continuous",), "expected one action, a vector of floats, found"),
        (Bounded(-1, 1, (2,), dtype=torch.int64), ("continuous",), "expected one action, a vector of floats, found"),
    ],
)
def test_other_actions(specs_only, action, kinds, message):
    with pytest.raises(SpecError, match=message):
        Spaces(specs_only(action=action), "Agent", actions=kinds)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"reward": Composite(a=Unbounded((1,)), b=Unbounded((1,)))}, "expected one reward and one done flag"),
        ({"reward": Unbounded((2,))}, r"expected 'reward' of shape \[1\], found \[2\]"),
        (
            {"done": Composite(done=FLAG, terminated=FLAG, inner=Composite(done=FLAG, terminated=FLAG))},
            r"expected one reward and one done flag, found \['reward'\] and",
        ),
    ],
)
def test_other_rewards_and_flags(specs_only, parts, message):
    with pytest.raises(SpecError, match=f"Agent: {message}"):
        Spaces(specs_only(**parts), "Agent")


@pytest.mark.parametrize("leaf", [Unbounded((2, 2)), Unbounded((2,), dtype=torch.float64)])
def test_observations_for_networks_are_float_vectors(specs_only, leaf):
    spaces = Spaces(specs_only(observation=leaf), "Agent")
    with pytest.raises(SpecError, match="Agent: expected 'observation' to be a float32 vector"):
        spaces.observation_width()
