from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Compose,
    DoubleToFloat,
    GymEnv,
    ObservationNorm,
    RewardSum,
    SpecError,
    StepCounter,
    Transform,
    TransformedEnv,
)


class AddOneToObs(Transform):
    def __init__(self, out_keys=None):
        super().__init__(in_keys=["observation"], out_keys=out_keys)

    def _apply_transform(self, obs):
        return obs + 1


class Halves(Transform):
    def __init__(self):
        super().__init__(in_keys_inv=["action"], out_keys_inv=["doubled"])

    def _inv_apply_transform(self, action):
        return action / 2


def pendulum():
    return GymEnv("Pendulum-v1")


def names(chain):
    return [type(transform).__name__ for transform in chain]


class TestSequence:
    def test_is_a_sequence(self):
        chain = Compose(AddOneToObs(), StepCounter(), RewardSum())
        assert len(chain) == 3
        assert [type(t) for t in chain] == [AddOneToObs, StepCounter, RewardSum]
        assert chain[-1] is chain[2]
        assert len(chain[1:]) == 2
        assert len(chain[5:]) == 0
        with pytest.raises(IndexError):
            chain[3]

    def test_flattens(self):
        chain = Compose(AddOneToObs(), Compose(StepCounter(), Compose(RewardSum())))
        assert [type(t) for t in chain] == [AddOneToObs, StepCounter, RewardSum]

    def test_append_and_insert(self):
        chain = Compose(StepCounter())
        chain.append(RewardSum())
        chain.insert(0, AddOneToObs())
        chain.insert(-1, Compose(Halves(), DoubleToFloat()))
        assert [type(t).__name__ for t in chain] == [
            "AddOneToObs",
            "StepCounter",
            "RewardSum",
            "Halves",
            "DoubleToFloat",
        ]

    @pytest.mark.parametrize("wrong", [None, "StepCounter", StepCounter])
    def test_holds_transforms_only(self, wrong):
        with pytest.raises(TypeError, match="expected a Transform, found"):
            Compose(wrong)

    def test_as_a_module(self):
        chain = Compose(AddOneToObs(), AddOneToObs(out_keys=["more"]))
        td = chain(TensorDict({"observation": torch.zeros(2)}))
        assert (td["observation"] == 1).all()
        assert (td["more"] == 2).all()

    def test_invertible(self):
        assert not Compose(AddOneToObs(), StepCounter()).invertible
        assert Compose(AddOneToObs(), Halves()).invertible

    def test_empty(self, tools):
        env, plain = TransformedEnv(pendulum(), Compose()), pendulum()
        for each in (env, plain):
            each.set_seed(0)
        assert env.specs == plain.specs
        actions = tools.draw_actions(env, 4)
        tools.assert_same(env.rollout(4, tools.FixedPolicy(actions)), plain.rollout(4, tools.FixedPolicy(actions)))

    def test_closes_what_it_holds(self):
        closed = []

        class Holding(Transform):
            def close(self):
                closed.append(self)

        env = TransformedEnv(pendulum(), Compose(Holding(), Holding()))
        env.close()
        assert closed == list(env.transform)
        assert env.base_env.is_closed


class TestFunctionsAndLists:
    def test_wherever_a_transform_may_stand(self):
        def more(td):
            return td.set("more", td["observation"] + 1)

        parts = [more, [StepCounter(), (more, [RewardSum()])]]
        expected = ["FunctionTransform", "StepCounter", "FunctionTransform", "RewardSum"]
        assert names(Compose(*parts)) == expected
        assert names(TransformedEnv(pendulum(), [more, [StepCounter(), (more, [RewardSum()])]]).transform) == expected
        env = TransformedEnv(pendulum(), more)
        env.append_transform([StepCounter(), more])
        env.insert_transform(0, more)
        assert names(env.transform) == ["FunctionTransform"] * 2 + ["StepCounter", "FunctionTransform"]
        assert pendulum().append_transform(more).rollout(2)["more"].shape == (2, 3)

    @pytest.mark.parametrize("wrong", [[None], [StepCounter], ["StepCounter", StepCounter()]])
    def test_of_something_else(self, wrong):
        with pytest.raises(TypeError, match=r"expected a Transform, found .* a list, would do"):
            Compose(wrong)


class TestEdits:
    def test_pop(self):
        env = TransformedEnv(pendulum(), Compose(AddOneToObs(), StepCounter(), RewardSum()))
        counter = env.transform.pop(1)
        assert isinstance(counter, StepCounter)
        assert counter.parent is None
        assert "step_count" not in env.observation_spec.keys()
        assert "step_count" not in env.rollout(2).keys()
        assert isinstance(env.transform.pop(), RewardSum)
        assert names(env.transform) == ["AddOneToObs"]

    def test_del(self):
        env = TransformedEnv(pendulum(), Compose(AddOneToObs(), StepCounter()))
        gone = env.transform[0]
        del env.transform[0]
        assert names(env.transform) == ["StepCounter"]
        TransformedEnv(pendulum(), gone)

    def test_assignment(self):
        env = TransformedEnv(pendulum(), Compose(AddOneToObs(), StepCounter()))
        before = env.transform[1]
        env.transform[-1] = StepCounter(max_steps=3)
        assert len(env.rollout(9)) == 3
        assert before.parent is None
        env.transform[0] = [RewardSum(), DoubleToFloat()]
        assert names(env.transform) == ["RewardSum", "DoubleToFloat", "StepCounter"]

    @pytest.mark.parametrize(
        "edit",
        [
            lambda chain: chain.pop(0),
            lambda chain: chain.__delitem__(0),
            lambda chain: chain.__setitem__(0, StepCounter()),
            lambda chain: chain.insert(0, ObservationNorm(0.0, 1.0, in_keys=["oops"])),
        ],
    )
    def test_that_do_not_fit_change_nothing(self, edit):
        env = TransformedEnv(pendulum(), Compose(AddOneToObs(["more"]), ObservationNorm(0.0, 1.0, in_keys=["more"])))
        before, specs = list(env.transform), env.specs
        with pytest.raises(SpecError, match="ObservationNorm: unknown key"):
            edit(env.transform)
        assert list(env.transform) == before
        assert all(transform.container is env for transform in before)
        assert env.specs == specs
        assert len(env.rollout(3)) == 3

    def test_with_a_transform_of_another_env(self):
        other = TransformedEnv(pendulum(), AddOneToObs())
        free = StepCounter()
        chain = Compose(RewardSum())
        with pytest.raises(RuntimeError, match="AddOneToObs already belongs"):
            chain.append([free, other.transform[0]])
        assert names(chain) == ["RewardSum"]
        Compose(free)

    @pytest.mark.parametrize("index", [2, -3])
    def test_of_what_is_not_there(self, index):
        chain = Compose(AddOneToObs(), StepCounter())
        for edit in (chain.pop, chain.__delitem__, lambda i: chain.__setitem__(i, RewardSum())):
            with pytest.raises(IndexError):
                edit(index)


def test_dump_reaches_all():
    dumped = []

    class Recording(Transform):
        def dump(self, suffix=None):
            dumped.append(suffix)

    Compose(Recording(), StepCounter(), Recording()).dump(suffix="a")
    assert dumped == ["a", "a"]


def test_state_dict_goes_round():
    chain = Compose(StepCounter(), ObservationNorm(torch.ones(3), torch.full((3,), 2.0)))
    twin = Compose(StepCounter(), ObservationNorm())
    twin.load_state_dict(chain.state_dict())
    td = TensorDict({"observation": torch.ones(3)})
    assert torch.equal(twin[1](td.clone())["observation"], chain[1](td.clone())["observation"])
