from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


class TestStoredData:
    def test_both_ends_of_a_step_equal_what_the_env_shows(self, kit):
        kit.stored_data_agrees(lambda: GymEnv("Pendulum-v1"), AddOneToObs)
        kit.stored_data_agrees(lambda: SerialEnv(2, lambda: GymEnv("Pendulum-v1")), AddOneToObs)
        kit.stored_data_agrees(Echo, lambda: AddOneToObs(["reward", "observation"], ["more", "observation"]))
        kit.stored_data_agrees(Echo, lambda: Compose(Halves(), AddOneToObs()))

    def test_keys_under_next_are_those_and_no_others(self):
        stored = Echo().rollout(3)
        before = stored.clone()
        AddOneToObs([("next", "observation")])(stored)
        assert torch.equal(stored["observation"], before["observation"])
        assert torch.equal(stored["next", "observation"], before["next", "observation"] + 1)

    def test_in_place(self):
        stored = Echo().rollout(3)
        assert AddOneToObs()(stored) is stored

    def test_samples_of_a_replay_buffer(self):
        stored = GymEnv("Pendulum-v1").rollout(8)
        buffer = ReplayBuffer(storage=LazyTensorStorage(8), transform=AddOneToObs(out_keys=["more"]), batch_size=5)
        buffer.extend(stored)
        sample = buffer.sample()
        assert torch.equal(sample["more"], sample["observation"] + 1)
        assert torch.equal(sample["next", "more"], sample["next", "observation"] + 1)
        assert "more" not in stored.keys()


class TestChecksWhenBuilt:
    """Each names the transform, the key, what was expected and what was found."""

    def test_dtypes(self):
        class Bytes(AddOneToObs):
            in_dtypes = (torch.uint8, torch.int16)

        with pytest.raises(
            SpecError,
            match=r"Bytes: 'observation': expected dtype torch.uint8 or torch.int16, found torch.float32",
        ):
            TransformedEnv(Echo(), Bytes())

    def test_what_the_function_itself_refuses(self):
        class Square(AddOneToObs):
            def _apply_transform(self, obs):
                if obs.shape[-1] != 3:
                    raise ValueError(f"expected 3 channels, found {obs.shape[-1]}")
                return obs

        with pytest.raises(
            SpecError,
            match=r"Square: 'observation': cannot transform torch.float32 of shape \[2\]: expected 3 channels",
        ):
            TransformedEnv(Echo(), Square())

    def test_an_inverse_of_another_form(self):
        class Wrong(Halves):
            def _inv_apply_transform(self, action):
                return action[..., :1]

        with pytest.raises(
            SpecError,
            match=r"Wrong: 'action': expected the inverse to give torch.float32 of shape \[2\], as the env inside "
            r"takes it, found torch.float32 of shape \[1\]",
        ):
            TransformedEnv(Echo(), Wrong())

        class Failing(Halves):
            def _inv_apply_transform(self, action):
                return action @ torch.zeros(5, 5)

        with pytest.raises(SpecError, match=r"Failing: 'action': cannot transform torch.float32 of shape \[2\] back"):
            TransformedEnv(Echo(), Failing())

    def test_what_is_of_no_use_in_an_env(self):
        class Later(AddOneToObs):
            data_only = "Later looks ahead: it works on stored data only"

        with pytest.raises(SpecError, match="Later looks ahead"):
            TransformedEnv(Echo(), Later())
        assert (Later()(TensorDict({"observation": torch.zeros(2)}))["observation"] == 1).all()

    def test_what_is_of_no_use_elsewhere(self):
        class Now(AddOneToObs):
            env_only = "Now tells the time of an env"

        assert (TransformedEnv(Echo(), Now()).reset()["observation"] == 1).all()
        with pytest.raises(NotImplementedError, match="Now tells the time of an env"):
            Now()(TensorDict({"observation": torch.zeros(2)}))

    @pytest.mark.parametrize(
        ("outer", "message"),
        [
            (lambda: AddOneToObs(["step_count"]), "that AddOneToObs after it changes it; give it other out_keys"),
            (lambda: lambda td: td.exclude("step_count"), "that a transform after it hides it: only .*'observation'"),
        ],
    )
    def test_memory_that_another_transform_takes(self, outer, message):
        with pytest.raises(SpecError, match=rf"StepCounter: expected to find 'step_count' again.*{message}"):
            TransformedEnv(Echo(), Compose(StepCounter(), outer()))
        assert (
            TransformedEnv(Echo(), Compose(StepCounter(), AddOneToObs(["step_count"], ["more"]))).rollout(3)["more"][2]
            == 3
        )


class TestSeveralKeys:
    def test_are_read_before_any_is_written(self):
        class Swap(Transform):
            def __init__(self):
                super().__init__(["a", "b"], ["b", "a"], ["c", "d"], ["d", "c"])

        td = TensorDict({"a": torch.zeros(1), "b": torch.ones(1), "c": torch.zeros(1), "d": torch.ones(1)})
        out = Swap()(Swap().inv(td))
        assert (out["a"], out["b"], out["c"], out["d"]) == (1, 0, 1, 0)

    def test_in_specs_as_well(self):
        class Swap(Transform):
            def __init__(self):
                super().__init__(["a", "b"], ["b", "a"], ["c", "d"], ["d", "c"])

        float32, float64 = Unbounded((1,)), Unbounded((2,), dtype=torch.float64)
        flag = Echo().done_spec
        specs = {
            "observation": Composite(a=float32, b=float64),
            "action": Composite(c=float32, d=float64),
            "state": Composite(),
            "reward": Composite(reward=float32),
            "done": flag,
        }
        out = Swap().transform_specs(specs)
        assert (out["observation"]["a"], out["observation"]["b"]) == (float64, float32)
        assert (out["action"]["c"], out["action"]["d"]) == (float64, float32)


class TestSpecHooks:
    @pytest.mark.parametrize(
        ("hook", "attribute"),
        [
            ("transform_observation_spec", "observation_spec"),
            ("transform_reward_spec", "full_reward_spec"),
            ("transform_done_spec", "done_spec"),
            ("transform_action_spec", "full_action_spec"),
            ("transform_state_spec", "state_spec"),
        ],
    )
    def test_of_one_role(self, hook, attribute):
        def more(self, spec):
            out = spec.clone()
            out["more"] = Unbounded((1,), dtype=torch.bool)
            return out

        env = TransformedEnv(Echo(), type("More", (Transform,), {hook: more})())
        assert "more" in getattr(env, attribute).keys()
        assert "more" not in getattr(env.base_env, attribute).keys()

    def test_of_inputs_and_outputs(self):
        class More(Transform):
            def transform_input_spec(self, input_spec):
                out = super().transform_input_spec(input_spec)
                out["full_state_spec", "memory"] = Unbounded((3,))
                return out

            def transform_output_spec(self, output_spec):
                out = super().transform_output_spec(output_spec)
                out["full_observation_spec", "memory"] = Unbounded((3,))
                return out

        env = TransformedEnv(Echo(), More())
        assert env.state_keys == ["memory"]
        assert "memory" in env.observation_keys

    def test_the_base_envs_own_cannot_be_edited(self):
        class Editing(Transform):
            def transform_observation_spec(self, observation_spec):
                observation_spec["more"] = Unbounded((1,))
                return observation_spec

        base = Echo()
        env = TransformedEnv(base, Editing())
        assert "more" in env.observation_spec.keys()
        assert "more" not in base.observation_spec.keys()

    @settings(deadline=None, max_examples=40, derandomize=True)
    @given(data=st.data())
    def test_the_spec_contains_the_output(self, data, kit):
        leaf = data.draw(kit.leaf_specs)
        out = kit.spec_contains_output(AddOneToObs(), leaf)
        assert out.shape == leaf.shape


class TestFreezing:
    def test_of_a_chain(self):
        chain = Compose(AddOneToObs(), StepCounter())
        assert chain.freeze() is chain
        assert all(transform.frozen for transform in chain)
        chain.freeze(False)
        assert not any(transform.frozen for transform in chain)

    def test_of_a_clone_is_its_own(self):
        transform = AddOneToObs()
        twin = transform.clone().freeze()
        assert twin.frozen
        assert not transform.frozen
        assert twin.clone().frozen


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
