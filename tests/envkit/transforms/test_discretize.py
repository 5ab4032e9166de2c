from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    ActionDiscretizer,
    Bounded,
    Categorical,
    GymEnv,
    MultiCategorical,
    MultiOneHot,
    ObservationDiscretizer,
    OneHot,
    SpecError,
    TransformedEnv,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)
forms = pytest.mark.parametrize(("categorical", "joint"), [(True, False), (False, False), (True, True), (False, True)])


class TestActionDiscretizer:
    @forms
    def test_promises(self, kit, categorical, joint):
        make = functools.partial(ActionDiscretizer, 5, categorical=categorical, joint=joint)
        kit.all(pendulum, lambda: make(out_action_key="choice"))
        kit.ports_agree(pendulum, lambda: make(sampling="high"))

    def test_random_numbers_come_from_the_seed(self, kit, tools):
        kit.ports_agree(pendulum, lambda: ActionDiscretizer(3, sampling="random"))
        env = TransformedEnv(pendulum(), ActionDiscretizer(3, out_action_key="choice", sampling="random"))
        env.set_seed(0)
        one, other = (env.transform.inv(TensorDict({"choice": torch.tensor([2])}))["action"] for _ in range(2))
        assert one != other
        assert min(one.item(), other.item()) >= 2 / 3

    @forms
    def test_specs(self, kit, categorical, joint):
        leaf = Bounded(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]), (2,))
        transform = ActionDiscretizer([3, 4], categorical=categorical, joint=joint)
        found = transform.transform_specs(kit.specs_with(leaf, "action", "action"))["action"]["action"]
        expected = {
            (True, False): MultiCategorical([3, 4]),
            (False, False): MultiOneHot([3, 4]),
            (True, True): Categorical(12),
            (False, True): OneHot(12),
        }
        assert found == expected[categorical, joint]

    @few
    @given(data=st.data(), sampling=st.sampled_from(["low", "median"]))
    def test_round_trip(self, kit, data, sampling):
        shape = data.draw(st.sampled_from([(1,), (3,), (2, 2)]))
        counts = data.draw(
            st.integers(1, 6)
            | st.lists(st.integers(1, 6), min_size=4, max_size=4).map(lambda some: some[: int(np.prod(shape))])
        )
        low = data.draw(st.integers(-9, 9))
        leaf = Bounded(
            low,
            low + data.draw(st.integers(1, 9)),
            shape,
            dtype=data.draw(st.sampled_from([torch.float32, torch.float64])),
        )
        categorical, joint = data.draw(st.booleans()), data.draw(st.booleans())
        if sampling == "low" and leaf.dtype is torch.float32:
            sampling = "median"  # the rounded end of an interval may belong to its neighbour
        kit.round_trip(ActionDiscretizer(counts, sampling=sampling, categorical=categorical, joint=joint), leaf)

    def test_ends_of_intervals(self):
        env = TransformedEnv(pendulum(), ActionDiscretizer(4, out_action_key="choice"))
        ends = {}
        for sampling in ("low", "median", "high"):
            env.transform[0].sampling = sampling
            choices = TensorDict({"choice": torch.arange(4).unsqueeze(-1)}, [4])
            ends[sampling] = env.transform.inv(choices)["action"].flatten().tolist()
        assert ends == {"low": [-2, -1, 0, 1], "median": [-1.5, -0.5, 0.5, 1.5], "high": [-1, 0, 1, 2]}

    @pytest.mark.parametrize("joint", [True, False])
    def test_same_as_gymnasium(self, joint):
        theirs = gymnasium.wrappers.DiscretizeAction(gymnasium.make("Pendulum-v1"), 8, multidiscrete=not joint)
        ours = TransformedEnv(GymEnv("Pendulum-v1"), ActionDiscretizer(8, joint=joint))
        theirs.reset(seed=0)
        td = ours.reset(seed=0)
        for choice in np.random.default_rng(0).integers(0, 8, 200):
            expected = theirs.step(choice if joint else np.array([choice]))[0]
            action = torch.tensor(choice) if joint else torch.tensor([choice])
            td = ours.step(td.set("action", action))["next"]
            assert torch.equal(td["observation"], torch.from_numpy(expected))

    def test_errors(self):
        with pytest.raises(
            ValueError, match=r"ActionDiscretizer: num_intervals: expected positive integers, .* found 0"
        ):
            ActionDiscretizer(0)
        with pytest.raises(ValueError, match=r"sampling: expected 'median', 'low', 'high' or 'random', found 'mean'"):
            ActionDiscretizer(2, sampling="mean")
        with pytest.raises(SpecError, match=r"ActionDiscretizer: 'action': .* expected real numbers between bounds"):
            TransformedEnv(GymEnv("CartPole-v1"), ActionDiscretizer(3))
        with pytest.raises(SpecError, match=r"expected num_intervals for 1 dimensions, found 2"):
            TransformedEnv(pendulum(), ActionDiscretizer([3, 4]))
        with pytest.raises(RuntimeError, match=r"ActionDiscretizer: expected the bounds of an env, found none"):
            ActionDiscretizer(3).inv(TensorDict({"action": torch.tensor([0])}))


class TestObservationDiscretizer:
    @forms
    def test_promises(self, kit, categorical, joint):
        make = functools.partial(ObservationDiscretizer, [2, 3, 4], categorical=categorical, joint=joint)
        kit.all(pendulum, lambda: TransformedEnv(pendulum(), make()).transform[0].clone())

    @few
    @given(data=st.data())
    def test_spec(self, kit, data):
        low = data.draw(st.integers(-9, 9))
        leaf = Bounded(low, low + data.draw(st.integers(1, 9)), data.draw(st.sampled_from([(), (1,), (2, 2)])))
        categorical, joint = data.draw(st.booleans()), data.draw(st.booleans())
        kit.spec_contains_output(
            ObservationDiscretizer(data.draw(st.integers(1, 5)), categorical=categorical, joint=joint), leaf
        )

    @pytest.mark.parametrize("joint", [True, False])
    def test_same_as_gymnasium(self, joint):
        theirs = gymnasium.wrappers.DiscretizeObservation(
            gymnasium.make("Pendulum-v1"), (4, 5, 6), multidiscrete=not joint
        )
        ours = TransformedEnv(GymEnv("Pendulum-v1"), ObservationDiscretizer((4, 5, 6), joint=joint))
        actions = np.random.default_rng(0).uniform(-2, 2, (200, 1)).astype(np.float32)
        expected = [theirs.reset(seed=0)[0]] + [theirs.step(action)[0] for action in actions]
        td = ours.reset(seed=0)
        found = [td["observation"]]
        for action in actions:
            td = ours.step(td.set("action", torch.from_numpy(action)))["next"]
            found.append(td["observation"])
        assert torch.stack(found).tolist() == np.array(expected).tolist()

    def test_ends(self):
        transform = ObservationDiscretizer(4)
        transform._transform_leaf(Bounded(0.0, 4.0, (1,)))
        values = torch.tensor([[-1.0], [0.0], [0.99], [1.0], [4.0], [9.0]])
        assert transform(TensorDict({"observation": values}, [6]))["observation"].flatten().tolist() == [
            0,
            0,
            0,
            1,
            3,
            3,
        ]

    def test_errors(self):
        with pytest.raises(SpecError, match=r"ObservationDiscretizer: 'observation': .* expected finite bounds"):
            TransformedEnv(GymEnv("CartPole-v1"), ObservationDiscretizer(3))
