from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from agents import LazyTensorStorage, ReplayBuffer
from envkit import (
    Bounded,
    Compose,
    Composite,
    DoubleToFloat,
    EnvBase,
    GymEnv,
    ObservationNorm,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    Transform,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)


class AddOneToObs(Transform):
    def __init__(self, in_keys=("observation",), out_keys=None):
        super().__init__(in_keys=list(in_keys), out_keys=out_keys)

    def _apply_transform(self, obs):
        return obs + 1


class AddOneToAction(Transform):
    def __init__(self):
        super().__init__(in_keys=[], out_keys=[], in_keys_inv=["action"], out_keys_inv=["action"])

    def _apply_transform(self, action):
        return action - 1

    def _inv_apply_transform(self, action):
        return action + 1


class Halves(Transform):
    """The policy speaks of twice what the env takes, under another name."""

    def __init__(self):
        super().__init__(in_keys_inv=["action"], out_keys_inv=["doubled"])

    def _apply_transform(self, action):
        return 2 * action

    def _inv_apply_transform(self, action):
        return action / 2


class Scale(Transform):
    def __init__(self, factor):
        super().__init__(in_keys=["observation"], in_keys_inv=["action"])
        self.factor = factor

    def _apply_transform(self, value):
        return value * self.factor

    def _inv_apply_transform(self, value):
        return value + self.factor


class Echo(EnvBase):
    """Observes the action it was given."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Unbounded((2,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2,))

    def _set_seed(self, seed):
        pass

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(2)})

    def _step(self, tensordict):
        done = torch.zeros(1, dtype=torch.bool)
        return TensorDict({"observation": tensordict["action"].clone(), "reward": torch.ones(1), "done": done})


def three():
    """An env with three transforms."""
    norm = ObservationNorm(loc=torch.ones(2), scale=torch.full((2,), 2.0))
    return TransformedEnv(Echo(), Compose(norm, StepCounter(max_steps=9), RewardSum()))


class TestKeys:
    def test_out_keys_default_to_in_keys(self):
        transform = Transform(in_keys=["a", ("b", "c")], in_keys_inv="d")
        assert transform.out_keys == transform.in_keys == ["a", ("b", "c")]
        assert transform.out_keys_inv == transform.in_keys_inv == ["d"]

    def test_one_key_needs_no_list(self):
        assert Transform(in_keys=("b", "c")).in_keys == [("b", "c")]

    @pytest.mark.parametrize("inverse", ["", "_inv"])
    def test_pair_up(self, inverse):
        with pytest.raises(
            ValueError, match=rf"expected as many out_keys{inverse} as in_keys{inverse}, found \['b', 'c'\]"
        ):
            Transform(**{f"in_keys{inverse}": ["a"], f"out_keys{inverse}": ["b", "c"]})

    def test_repr_names_them(self):
        assert "in_keys=['observation']" in repr(AddOneToObs())


class TestOutward:
    def test_a_transform_of_ones_own(self, tools):
        env, plain = TransformedEnv(GymEnv("Pendulum-v1"), AddOneToObs()), GymEnv("Pendulum-v1")
        for each in (env, plain):
            each.set_seed(0)
        actions = tools.draw_actions(env, 10)
        found = env.rollout(10, tools.FixedPolicy(actions))
        expected = plain.rollout(10, tools.FixedPolicy(actions))
        expected["observation"] += 1
        expected["next", "observation"] += 1
        tools.assert_same(found, expected)

    def test_a_new_name_leaves_the_old_entry(self):
        env = TransformedEnv(Echo(), AddOneToObs(out_keys=["more"]))
        assert set(env.observation_spec.keys()) == {"observation", "more"}
        data = env.rollout(4)
        assert torch.equal(data["more"], data["observation"] + 1)
        assert torch.equal(data["next", "more"], data["next", "observation"] + 1)
        check_env_specs(env)

    def test_nested_keys(self, two_agents):
        env = TransformedEnv(two_agents(), AddOneToObs([("agent0", "val")], [("agent0", "more")]))
        data = env.rollout(3)
        assert torch.equal(data["agent0", "more"], data["agent0", "val"] + 1)
        check_env_specs(env)

    @pytest.mark.parametrize("key", ["reward", "observation"])
    def test_rewards_and_observations(self, key):
        env = TransformedEnv(Echo(), AddOneToObs([key]))
        data = env.rollout(3, lambda td: td.set("action", torch.zeros(2)))
        assert (data["next", key] == (2 if key == "reward" else 1)).all()
        assert "reward" not in data.keys()

    def test_specs_follow_the_data(self):
        class Widen(Transform):
            def _apply_transform(self, value):
                return torch.cat([value, value], -1).double()

        env = TransformedEnv(Echo(), Widen(in_keys=["observation"]))
        assert env.observation_spec["observation"] == Unbounded((4,), dtype=torch.float64)
        assert env.base_env.observation_spec["observation"] == Unbounded((2,))
        check_env_specs(env)

    def test_what_changes_nothing_keeps_its_spec(self):
        env = TransformedEnv(Echo(), Transform(in_keys=["observation"], in_keys_inv=["action"]))
        assert env.specs == env.base_env.specs

    def test_innermost_first(self):
        env = TransformedEnv(Echo(), Compose(AddOneToObs(), Scale(3.0)))
        assert (env.reset()["observation"] == 3).all()
        env = TransformedEnv(Echo(), Compose(Scale(3.0), AddOneToObs()))
        assert (env.reset()["observation"] == 1).all()


class TestInward:
    def test_actions_on_their_way_in(self):
        env = TransformedEnv(Echo(), AddOneToAction())
        td = env.step(env.reset().set("action", torch.zeros(2)))
        assert (td["next", "observation"] == 1).all()
        assert not td["action"].any()

    def test_outermost_first(self):
        env = TransformedEnv(Echo(), Compose(Scale(2.0), Halves()))
        given = TensorDict({"doubled": torch.full((2,), 4.0)})
        assert (env.transform.inv(given)["action"] == 4 / 2 + 2).all()
        td = env.step(env.reset().update(given))
        assert (td["next", "observation"] == 2 * 4).all()

    def test_equals_the_loop_of_the_pages(self):
        chain = Compose(AddOneToAction(), Scale(2.0), Halves())
        given = TensorDict({"doubled": torch.full((2,), 4.0)})
        td = given
        for transform in reversed(list(chain)):
            td = transform.inv(td)
        assert torch.equal(td["action"], chain.inv(given)["action"])

    def test_inv_leaves_its_input_alone(self):
        given = TensorDict({"action": torch.zeros(2)})
        assert (AddOneToAction().inv(given)["action"] == 1).all()
        assert not given["action"].any()

    def test_the_outside_sees_the_outer_names(self, tools):
        env = TransformedEnv(Echo(), Halves())
        assert env.action_keys == ["doubled"]
        assert env.base_env.action_keys == ["action"]
        data = env.rollout(3, lambda td: td.set("doubled", torch.ones(2)))
        assert (data["next", "observation"] == 0.5).all()
        assert "action" not in data.keys()
        assert set(env.rand_action().keys()) == {"doubled"}
        check_env_specs(env)
        actions = tools.draw_actions(env, 5)
        tools.assert_same(env.rollout(5, tools.FixedPolicy(actions)), tools.by_hand(env, actions))

    def test_action_specs_go_from_the_inside_out(self):
        """Outside, an action is what the outward change makes of one inside."""

        class Shown(Halves):
            def _transform_leaf(self, leaf):
                return Bounded(2 * leaf.space.low, 2 * leaf.space.high, shape=leaf.shape)

        env = TransformedEnv(Echo(), Shown())
        assert env.action_spec == Bounded(-2.0, 2.0, shape=(2,))
        for _ in range(20):
            assert env.base_env.action_spec.is_in(env.transform.inv(env.rand_action())["action"])


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("transform", "message"),
        [
            (
                lambda: AddOneToObs(["oops"]),
                r"AddOneToObs: unknown key 'oops' in in_keys; the env inside has \['done', 'obs",
            ),
            (lambda: AddOneToObs(["action"]), "AddOneToObs: unknown key 'action' in in_keys"),
            (lambda: AddOneToObs([("a", "b")]), r"AddOneToObs: unknown key \('a', 'b'\) in in_keys"),
            (
                lambda: Transform(in_keys_inv=["oops"]),
                r"Transform: unknown key 'oops' in in_keys_inv; the env inside has \['action'\]",
            ),
            (lambda: Transform(in_keys_inv=["observation"]), "unknown key 'observation' in in_keys_inv"),
            (lambda: Compose(AddOneToObs(out_keys=["new"]), AddOneToObs(["oops"])), r"unknown key 'oops'.*'new'"),
        ],
    )
    def test_fail_when_the_env_is_built(self, transform, message):
        with pytest.raises(SpecError, match=message):
            TransformedEnv(Echo(), transform())

    def test_fail_when_appended_and_leave_the_env_as_it_was(self):
        env, wrong = three(), AddOneToObs(["oops"])
        before = list(env.transform)
        with pytest.raises(SpecError, match="AddOneToObs: unknown key 'oops'"):
            env.append_transform(wrong)
        with pytest.raises(SpecError, match="AddOneToObs: unknown key 'step_count'"):
            env.insert_transform(0, AddOneToObs(["step_count"]))
        assert list(env.transform) == before
        assert wrong.parent is None
        assert len(env.rollout(3)) == 3

    def test_what_comes_before_is_known(self):
        env = TransformedEnv(Echo(), Compose(AddOneToObs(out_keys=["new"]), AddOneToObs(["new"])))
        assert (env.reset()["new"] == 2).all()

    def test_in_a_module_call(self):
        with pytest.raises(KeyError, match=r"AddOneToObs: .*observation.* is missing; found .*b.*c.*a"):
            AddOneToObs()(TensorDict({"a": torch.ones(1), "b": {"c": torch.ones(1)}}))


class TestParents:
    def test_a_transform_of_no_env(self):
        assert AddOneToObs().parent is None
        assert Compose(AddOneToObs())[0].parent is None

    def test_the_env_up_to_it(self):
        env = three()
        parent = env.transform[-1].parent
        assert isinstance(parent, TransformedEnv)
        assert parent.base_env is env.base_env
        assert [type(t) for t in parent.transform] == [ObservationNorm, StepCounter]
        assert parent.specs == TransformedEnv(env.base_env, env.transform[:-1]).specs
        assert len(env.transform[0].parent.transform) == 0
        assert env.transform.container is env

    def test_an_index_keeps_it(self):
        env = three()
        third = env.transform[2]
        assert third.parent is not None
        with pytest.raises(RuntimeError, match="RewardSum already belongs to Compose; a transform has one parent"):
            TransformedEnv(Echo(), third)
        other = TransformedEnv(Echo(), third.clone())
        assert isinstance(other.transform[0], RewardSum)
        assert third.container is env

    def test_a_slice_loses_it(self):
        env = three()
        last_two = env.transform[-2:]
        assert isinstance(last_two, Compose)
        assert last_two.parent is None
        assert last_two[0] is not env.transform[1]
        assert isinstance(last_two[0], StepCounter)
        assert last_two[0].max_steps == 9
        assert last_two[1] is not env.transform[2]
        assert isinstance(last_two[1], RewardSum)
        assert len(TransformedEnv(Echo(), last_two).rollout(20)) == 9

    def test_a_chain_belongs_to_one_env(self):
        env = three()
        with pytest.raises(RuntimeError, match="Compose already belongs to an env"):
            TransformedEnv(Echo(), env.transform)
        assert len(TransformedEnv(Echo(), env.transform.clone()).transform) == 3

    def test_twice_in_one_chain(self):
        transform = AddOneToObs()
        with pytest.raises(RuntimeError, match="already belongs"):
            Compose(transform, transform)

    def test_reset_parent(self):
        env = three()
        first = env.transform[0]
        first.reset_parent()
        assert first.parent is None
        TransformedEnv(Echo(), first)


class TestClones:
    def test_share_buffers(self):
        norm = three().transform[0]
        twin = norm.clone()
        assert twin is not norm
        assert twin.loc is norm.loc
        norm.loc.add_(1.0)
        assert torch.equal(twin(TensorDict({"observation": torch.zeros(2)}))["observation"], torch.full((2,), 2.0))

    def test_of_a_chain_share_them_too(self):
        chain = three().transform
        assert chain.clone()[0].loc is chain[0].loc
        assert chain[:1][0].scale is chain[0].scale

    def test_keep_options(self):
        twin = StepCounter(max_steps=4, step_count_key="steps").clone()
        assert (twin.max_steps, twin.step_count_key) == (4, "steps")

    def test_are_free_to_differ(self):
        norm = ObservationNorm(loc=0.0, scale=1.0)
        twin = norm.clone()
        twin.loc = torch.ones(())
        assert norm.loc == 0


class TestCompose:
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
        env, plain = TransformedEnv(Echo(), Compose()), Echo()
        assert env.specs == plain.specs
        actions = tools.draw_actions(env, 4)
        tools.assert_same(env.rollout(4, tools.FixedPolicy(actions)), plain.rollout(4, tools.FixedPolicy(actions)))

    def test_closes_what_it_holds(self):
        closed = []

        class Holding(Transform):
            def close(self):
                closed.append(self)

        env = TransformedEnv(Echo(), Compose(Holding(), Holding()))
        env.close()
        assert closed == list(env.transform)
        assert env.base_env.is_closed


class TestStoredData:
    def test_a_recorded_batch_equals_one_seen_through_the_env(self, tools):
        env = TransformedEnv(SerialEnv(2, lambda: GymEnv("Pendulum-v1")), AddOneToObs())
        env.set_seed(0)
        actions = tools.draw_actions(env, 6)
        data = env.rollout(6, tools.FixedPolicy(actions))
        plain = SerialEnv(2, lambda: GymEnv("Pendulum-v1"))
        plain.set_seed(0)
        stored = plain.rollout(6, tools.FixedPolicy(actions))
        assert torch.equal(AddOneToObs()(stored)["observation"], data["observation"])

    def test_samples_of_a_replay_buffer(self):
        stored = GymEnv("Pendulum-v1").rollout(8)
        buffer = ReplayBuffer(storage=LazyTensorStorage(8), transform=AddOneToObs(out_keys=["more"]), batch_size=5)
        buffer.extend(stored)
        sample = buffer.sample()
        assert torch.equal(sample["more"], sample["observation"] + 1)
        assert "more" not in stored.keys()


def test_step_and_reset_hooks_see_both_ends():
    class Delta(Transform):
        """How far the last step moved."""

        def _reset(self, tensordict, tensordict_reset):
            return tensordict_reset.set("delta", torch.zeros_like(tensordict_reset["observation"]))

        def _step(self, tensordict, next_tensordict):
            return next_tensordict.set("delta", next_tensordict["observation"] - tensordict["observation"])

        def transform_observation_spec(self, observation_spec):
            out = observation_spec.clone()
            out["delta"] = observation_spec["observation"].clone()
            return out

    env = TransformedEnv(Echo(), Delta())
    data = env.rollout(5)
    assert torch.equal(data["next", "delta"], data["next", "observation"] - data["observation"])
    assert not data["delta"][0].any()
    check_env_specs(env)


def test_base_specs_are_not_edited():
    base = Echo()
    before = base.specs.clone()
    kept = {name: getattr(base, name) for name in ("observation_spec", "full_action_spec", "full_done_spec")}
    env = TransformedEnv(
        base, Compose(AddOneToObs(out_keys=["new"]), Halves(), StepCounter(max_steps=3), RewardSum(), DoubleToFloat())
    )
    env.rollout(3)
    assert base.specs == before
    assert all(getattr(base, name) is spec for name, spec in kept.items())
    assert isinstance(env.observation_spec, Composite)
