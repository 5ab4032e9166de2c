"""What may serve as a policy."""

from __future__ import annotations

import functools

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from envkit import (
    Bounded,
    Collector,
    Composite,
    EnvBase,
    GymEnv,
    PolicyError,
    RandomPolicy,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
)


class Plane(EnvBase):
    """Two observations and one action of two numbers."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(position=Unbounded((2,)), goal=Unbounded((2,)))
        self.action_spec = Unbounded((2,))

    def _reset(self, tensordict=None):
        return TensorDict({"position": torch.zeros(2), "goal": torch.tensor([4.0, 8.0])})

    def _step(self, tensordict):
        position = tensordict["position"] + tensordict["action"]
        done = torch.zeros(1, dtype=torch.bool)
        return TensorDict({"position": position, "goal": tensordict["goal"], "reward": torch.ones(1), "done": done})

    def _set_seed(self, seed):
        pass


def half_way(position, goal):
    return (goal - position) / 2


EXPECTED = [[0, 0], [2, 4], [3, 6], [3.5, 7]]


class ByName(nn.Module):
    def forward(self, position, goal):
        return half_way(position, goal)


class ByPosition(nn.Module):
    def forward(self, first, second):  # in the order of the keys: the goal, then the position
        return half_way(second, first)


class AnyNumber(nn.Module):
    def forward(self, *observations):
        goal, position = observations
        return half_way(position, goal)


class WithDefaults(nn.Module):
    def forward(self, first, second, scale=1.0):
        return half_way(second, first) * scale


class Named(nn.Module):
    def forward(self, td):
        return td.set("action", half_way(td["position"], td["goal"]))


class Annotated(nn.Module):
    def forward(self, data: TensorDictBase) -> TensorDictBase:
        return data.set("action", half_way(data["position"], data["goal"]))


class Called:
    def __call__(self, td):
        return td.set("action", half_way(td["position"], td["goal"]))


class CalledWithObservations:
    def __call__(self, goal, position):
        return half_way(position, goal)


def partial_policy(scale, position, goal):
    return scale * (goal - position)


POLICIES = {
    "function of a TensorDict": lambda td: td.set("action", half_way(td["position"], td["goal"])),
    "function that returns the action": lambda td: half_way(td["position"], td["goal"]),
    "function that returns another TensorDict": lambda td: TensorDict({"action": half_way(td["position"], td["goal"])}),
    "function of observations": half_way,
    "function of observations, in any order": lambda goal, position: half_way(position, goal),
    "function of keyword arguments": lambda *, goal, position: half_way(position, goal),
    "partial": functools.partial(partial_policy, 0.5),
    "object": Called(),
    "object of observations": CalledWithObservations(),
    "TensorDictModule": TensorDictModule(half_way, ["position", "goal"], ["action"]),
    "module by name": ByName(),
    "module by position": ByPosition(),
    "module of any number": AnyNumber(),
    "module with defaults": WithDefaults(),
    "module of a td": Named(),
    "module of an annotated TensorDict": Annotated(),
    "sequential": nn.Sequential(TensorDictModule(half_way, ["position", "goal"], ["action"])),
}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.filterwarnings("error")
class TestForms:
    def policy(self, name):
        policy = POLICIES[name]
        return policy[0] if name == "sequential" else policy

    def test_rollout(self, name):
        data = Plane().rollout(4, self.policy(name))
        assert data["position"].tolist() == EXPECTED
        assert set(data.keys()) == {"position", "goal", "action", "done", "terminated", "next"}

    def test_of_a_batch(self, name):
        data = SerialEnv(3, Plane).rollout(4, self.policy(name))
        assert data["position"].tolist() == [EXPECTED] * 3

    def test_collector(self, name):
        batch = Collector(Plane(), self.policy(name), frames_per_batch=4).next()
        assert batch["position"].tolist() == EXPECTED


class TestObservations:
    def test_of_one_module(self):
        """As the pages write it: a network is a policy."""
        linear = nn.Linear(3, 1)
        data = GymEnv("Pendulum-v1").rollout(3, linear)
        with torch.no_grad():
            torch.testing.assert_close(data["action"], linear(data["observation"]))
        assert not data["action"].requires_grad

    def test_of_networks(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        assert SerialEnv(2, lambda: GymEnv("Pendulum-v1")).rollout(3, network)["action"].shape == (2, 3, 1)

    def test_arguments_with_defaults_are_left_alone(self):
        def policy(position, goal=None):
            assert goal is None
            return position + 1

        assert Plane().rollout(2, policy)["position"].tolist() == [[0, 0], [1, 1]]

    def test_a_function_of_something_else_gets_the_tensordict(self):
        seen = []

        def policy(state):
            seen.append(type(state))
            return torch.zeros(2)

        Plane().rollout(2, policy)
        assert all(issubclass(kind, TensorDictBase) for kind in seen)

    def test_are_those_of_the_env_that_is_run(self):
        def policy(goal, step_count):
            return goal * step_count

        data = TransformedEnv(Plane(), StepCounter()).rollout(3, policy)
        assert data["action"][:, 0].tolist() == [0, 4, 8]

    @pytest.mark.parametrize("make", [Plane, lambda: TransformedEnv(GymEnv("Pendulum-v1"), StepCounter())])
    def test_too_many_for_a_module(self, make):
        with pytest.raises(
            PolicyError,
            match=r"Linear takes \['input'\]: expected one argument for each of the observations \['.*', '.*'\]",
        ):
            make().rollout(3, nn.Linear(3, 1))

    def test_too_few_for_a_module(self):
        with pytest.raises(
            PolicyError, match=r"ByPosition takes \['first', 'second'\]: expected one argument for each"
        ):
            GymEnv("Pendulum-v1").rollout(3, ByPosition())


class TestResults:
    def test_of_an_env_with_several_actions(self, two_agents):
        with pytest.raises(
            PolicyError, match=r"the policy returned Tensor: expected a TensorDict with \[\('agent0', 'action'\), .*\]"
        ):
            two_agents().rollout(3, lambda td: torch.zeros(1))

    @pytest.mark.parametrize(("result", "kind"), [((torch.zeros(2),), "tuple"), (1.0, "float"), ({}, "dict")])
    def test_of_the_wrong_kind(self, result, kind):
        with pytest.raises(
            PolicyError, match=f"the policy returned {kind}: expected a TensorDict, or the action as a te"
        ):
            Plane().rollout(3, lambda td: result)

    def test_of_the_wrong_shape(self):
        with pytest.raises(PolicyError, match=r"'action' written by the policy: expected torch.float32 of shape \[2\]"):
            Plane().rollout(3, lambda position: position[:1])

    def test_nested_actions(self):
        class Nested(Plane):
            def __init__(self):
                super().__init__()
                self.full_action_spec = Composite(arm=Composite(action=Unbounded((2,))))

            def _step(self, tensordict):
                return super()._step(tensordict.copy().set("action", tensordict["arm", "action"]))

        assert Nested().rollout(4, half_way)["position"].tolist() == EXPECTED

    def test_no_callable(self):
        with pytest.raises(TypeError, match="policy: expected a callable, found Tensor"):
            Plane().rollout(3, torch.zeros(2))


class TestRandomPolicy:
    def test_of_a_leaf(self):
        spec = Bounded(-1.0, 1.0, shape=(2,))
        assert spec.is_in(RandomPolicy(spec)(TensorDict())["action"])
        assert RandomPolicy(spec, ("arm", "action"))(TensorDict())["arm", "action"].shape == (2,)

    def test_of_several(self, two_agents):
        env = two_agents()
        data = env.rollout(3, RandomPolicy(env.full_action_spec))
        assert env.full_action_spec["agent0", "action"].is_in(data["agent0", "action"])

    def test_in_a_batch(self):
        env = SerialEnv(2, lambda: GymEnv("CartPole-v1"))
        data = env.rollout(20, RandomPolicy(env.action_spec), break_when_any_done=False)
        assert data["action"].unique().tolist() == [0, 1]
