from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    GymWrapper,
    InitTracker,
    NonFiniteError,
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

SEED = 4


def chain():
    return Compose(
        ObservationNorm(loc=0.1, scale=2.0, standard_normal=True), StepCounter(max_steps=11), RewardSum(), InitTracker()
    )


def cartpole():
    return GymEnv("CartPole-v1")


LAYERS = {
    "single": lambda: TransformedEnv(cartpole(), chain()),
    "around_a_batch": lambda: TransformedEnv(SerialEnv(3, cartpole), chain()),
    "in_a_batch": lambda: SerialEnv(3, lambda: TransformedEnv(cartpole(), chain())),
    "both": lambda: TransformedEnv(
        SerialEnv(3, lambda: TransformedEnv(cartpole(), chain()[:1])),
        chain()[1:],
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_rollouts_equal_loops_by_hand(layer, tools):
    rolled, stepped = LAYERS[layer](), LAYERS[layer]()
    assert rolled.set_seed(SEED) == stepped.set_seed(SEED)
    actions = tools.draw_actions(rolled, 40)
    found = rolled.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False)
    tools.assert_same(found, tools.by_hand(stepped, actions))
    assert found["next", "truncated"].any()
    assert found["next", "terminated"].any()


@pytest.mark.parametrize("layer", LAYERS)
def test_specs_are_kept(layer):
    check_env_specs(LAYERS[layer]())


def test_around_a_batch_or_in_it_is_the_same(tools):
    envs = [LAYERS[layer]() for layer in ("around_a_batch", "in_a_batch", "both")]
    actions = tools.draw_actions(envs[0], 40)
    data = []
    for env in envs:
        env.set_seed(SEED)
        assert env.specs == envs[0].specs
        data.append(env.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False))
    tools.assert_same(data[1], data[0])
    tools.assert_same(data[2], data[0])


class TestFlattening:
    def test_one_longer_chain(self):
        inner = TransformedEnv(cartpole(), StepCounter())
        env = TransformedEnv(inner, Compose(RewardSum(), InitTracker()))
        assert env.base_env is inner.base_env
        assert [type(t) for t in env.transform] == [StepCounter, RewardSum, InitTracker]
        assert env.transform[0] is not inner.transform[0]
        assert inner.transform[0].container is inner
        assert len(inner.transform) == 1

    def test_append_transform_of_an_env(self):
        base = cartpole()
        env = base.append_transform(StepCounter())
        assert isinstance(env, TransformedEnv)
        assert env.base_env is base
        assert env.append_transform(RewardSum()) is env
        assert [type(t) for t in env.transform] == [StepCounter, RewardSum]
        assert set(env.observation_spec.keys()) == {"observation", "step_count", "episode_reward"}

    def test_insert_transform(self):
        env = TransformedEnv(cartpole(), RewardSum())
        assert env.insert_transform(0, StepCounter()) is env
        assert [type(t) for t in env.transform] == [StepCounter, RewardSum]
        assert len(env.rollout(5)["step_count"]) == 5

    def test_without_a_transform(self, tools):
        env, plain = TransformedEnv(cartpole()), cartpole()
        assert env.specs == plain.specs
        for each in (env, plain):
            each.set_seed(SEED)
        tools.assert_same(env.rollout(30), plain.rollout(30))

    def test_only_envs(self):
        with pytest.raises(TypeError, match="expected an env, found StepCounter"):
            TransformedEnv(StepCounter())
        with pytest.raises(TypeError, match="expected a Transform, found str"):
            TransformedEnv(cartpole(), "StepCounter")


class TestBaseEnv:
    def test_its_device_and_batch_size_are_inherited(self):
        env = TransformedEnv(SerialEnv(2, cartpole, device="cpu"), StepCounter())
        assert env.device == torch.device("cpu")
        assert env.batch_size == (2,)
        assert env.rollout(3).device == torch.device("cpu")
        assert env.observation_spec["step_count"].device == torch.device("cpu")

    def test_to(self):
        env = TransformedEnv(cartpole(), ObservationNorm(loc=torch.zeros(4), scale=torch.ones(4))).to("cpu")
        assert env.device == env.base_env.device == env.rollout(2).device == torch.device("cpu")

    def test_its_attributes_pass_through(self):
        env = TransformedEnv(GymEnv("Pendulum-v1", g=9.81), StepCounter())
        assert env.g == 9.81
        assert env.env_name == "Pendulum-v1"
        with pytest.raises(AttributeError, match="gravitas"):
            env.gravitas  # noqa: B018

    def test_its_seeds(self, scripted):
        env, base = TransformedEnv(scripted(), StepCounter()), scripted()
        assert env.set_seed(SEED) == base.set_seed(SEED)
        assert env.base_env.seed == SEED
        assert env.set_seed(SEED, static_seed=True) == SEED

    def test_random_actions_follow_the_seed(self, tools):
        def data(early):
            env = cartpole()
            if early:
                env.set_seed(SEED)
            env = TransformedEnv(env, StepCounter())
            if not early:
                env.set_seed(SEED)
            return env.rollout(20, break_when_any_done=False)

        tools.assert_same(data(early=True), data(early=False))

    def test_reset_arguments(self, line):
        env = TransformedEnv(GymWrapper(line()), StepCounter())
        env.reset(seed=3, options={"low": 1})
        assert (env.unwrapped.seeds, env.unwrapped.options) == ([3], [{"low": 1}])

    def test_close(self, line):
        env = TransformedEnv(GymWrapper(line()), StepCounter())
        env.close()
        env.close()
        assert env.is_closed
        assert env.base_env._env.closes == 1

    def test_batch_unlocked(self):
        class Free(EnvBase):
            batch_locked = False

            def __init__(self):
                super().__init__()
                self.observation_spec = Unbounded((1,))
                self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

            def _reset(self, tensordict=None):
                size = () if tensordict is None else tensordict.batch_size
                return TensorDict({"observation": torch.zeros(*size, 1)}, size)

            def _step(self, tensordict):
                value = tensordict["observation"] + tensordict["action"]
                return TensorDict({"observation": value, "reward": value, "done": value > 9}, tensordict.batch_size)

        env = TransformedEnv(Free(), Compose(StepCounter(), RewardSum()))
        assert not env.batch_locked
        td = env.reset(TensorDict({}, [5]))
        assert td["step_count"].shape == (5, 1)
        td = env.step(td.set("action", torch.ones(5, 1)))
        assert td["next", "step_count"].flatten().tolist() == [1] * 5
        assert td["next", "episode_reward"].flatten().tolist() == [1.0] * 5

    def test_nan_is_refused_or_let_through(self, scripted):
        env = TransformedEnv(scripted(rewards=[1.0, float("nan")]), StepCounter())
        with pytest.raises(NonFiniteError):
            env.rollout(3)
        env.nonfinite = "allow"
        assert env.base_env.nonfinite == "allow"
        assert env.rollout(3)["next", "reward"].isnan().any()
        assert TransformedEnv(env, RewardSum()).nonfinite == "allow"


class TestPlacement:
    class Within(Transform):
        placement = "single"

    class Around(Transform):
        placement = "batch"

    def test_of_what_belongs_on_single_envs(self):
        TransformedEnv(cartpole(), self.Within())
        SerialEnv(2, lambda: TransformedEnv(cartpole(), self.Within()))
        with pytest.raises(SpecError, match=r"Within belongs on a single env: .* found batch size \[2\]"):
            TransformedEnv(SerialEnv(2, cartpole), self.Within())

    def test_of_what_belongs_on_a_batch(self):
        TransformedEnv(cartpole(), self.Around())
        TransformedEnv(SerialEnv(2, cartpole), self.Around())
        for inner in (
            lambda: TransformedEnv(cartpole(), self.Around()),
            lambda: TransformedEnv(SerialEnv(2, cartpole), Compose(StepCounter(), self.Around())),
        ):
            with pytest.raises(
                SpecError, match=r"Around belongs on a batch as a whole: .* transform the batch instead"
            ):
                SerialEnv(2, inner)

    def test_when_appended(self):
        env = TransformedEnv(SerialEnv(2, cartpole), StepCounter())
        with pytest.raises(SpecError, match="Within belongs on a single env"):
            env.append_transform(self.Within())
        assert len(env.transform) == 1


class TestSizeAndDevice:
    def test_a_transform_may_change_the_batch_size(self, tools):
        class Fold(Transform):
            """Shows a batch of four as two by two."""

            sees_masks = True
            invertible = True

            def transform_env_batch_size(self, batch_size):
                return torch.Size((2, 2))

            def transform_specs(self, specs):
                return {role: spec.reshape(2, 2) for role, spec in specs.items()}

            def _call(self, next_tensordict):
                return next_tensordict.reshape(2, 2)

            def _inv_call(self, tensordict):
                return tensordict.reshape(4)

            def _reset_env_preprocess(self, tensordict):
                return None if tensordict is None else tensordict.reshape(4)

        env, plain = (TransformedEnv(SerialEnv(4, cartpole), parts) for parts in ([Fold(), StepCounter()], []))
        assert env.batch_size == (2, 2)
        actions = tools.draw_actions(plain, 30)
        for each in (env, plain):
            each.set_seed(SEED)
        found = tools.by_hand(env, [action.reshape(2, 2) for action in actions])
        expected = tools.by_hand(plain, actions)
        assert torch.equal(found["next", "observation"].reshape(4, 30, 4), expected["next", "observation"])
        assert expected["next", "done"].any()
        assert (found["step_count"][found["step_count"] > 0] > 0).any()
        env.set_seed(SEED)
        tools.assert_same(
            env.rollout(30, tools.FixedPolicy([action.reshape(2, 2) for action in actions]), break_when_any_done=False),
            found,
        )

    def test_a_transform_may_change_the_device(self):
        class Placed(Transform):
            def transform_env_device(self, device):
                return torch.device("cpu")

            def transform_specs(self, specs):
                return {role: spec.to("cpu") for role, spec in specs.items()}

            def _call(self, next_tensordict):
                return next_tensordict.to("cpu")

        env = TransformedEnv(cartpole(), Placed())
        assert env.base_env.device is None
        assert env.device == env.rollout(3).device == torch.device("cpu")


class TestMore:
    def test_random_actions_of_a_transforms_own(self, tools):
        class Ones(Transform):
            def _rand_action(self, tensordict, generator):
                return tensordict.set("action", torch.ones_like(tensordict["action"]))

        env = TransformedEnv(cartpole(), Ones())
        assert not env.draws_from_spec
        assert env.rollout(8)["action"].all()
        assert env.rand_action()["action"] == 1

    def test_transforms_are_seeded_each_by_a_seed_of_its_own(self):
        class Noise(Transform):
            seed: int | None = None

            def set_seed(self, seed):
                self.seed = seed

        env = TransformedEnv(cartpole(), [Noise(), Noise()])
        env.set_seed(3)
        first = [noise.seed for noise in env.transform]
        assert len(set(first)) == 2
        env.set_seed(3)
        assert [noise.seed for noise in env.transform] == first
        env.set_seed(None)
        assert [noise.seed for noise in env.transform] == [None, None]

    def test_a_transform_may_step_and_reset_what_is_inside_of_it(self, scripted):
        class Twice(Transform):
            """Steps twice for one; starts one step later."""

            def _step(self, tensordict, next_tensordict):
                again = self._step_inside(tensordict)
                return again.set("reward", again["reward"] + next_tensordict["reward"])

            def _reset(self, tensordict, tensordict_reset):
                first = self._reset_inside()
                assert torch.equal(first["observation"], tensordict_reset["observation"])
                return self._step_inside(first.set("action", torch.tensor(0))).exclude("reward")

        class Plus(Transform):
            def _apply_transform(self, value):
                return value + 100

        env = TransformedEnv(scripted(rewards=[1.0, 2.0, 4.0, 8.0, 16.0]), [Plus(in_keys="observation"), Twice()])
        env.append_transform(Plus(in_keys="observation"))
        data = env.rollout(2)
        assert data["observation"].flatten().tolist() == [201.0, 203.0]
        assert data["next", "observation"].flatten().tolist() == [203.0, 205.0]
        assert data["next", "reward"].flatten().tolist() == [6.0, 24.0]

    def test_each_is_given_what_comes_from_outside_of_it(self):
        given = {}

        class Spy(Transform):
            def __init__(self, name):
                super().__init__(in_keys_inv="action")
                self.name = name

            def _inv_apply_transform(self, value):
                return value + 1

            def _step(self, tensordict, next_tensordict):
                given[self.name] = tensordict["action"].item()
                return next_tensordict

        env = TransformedEnv(GymEnv("Pendulum-v1"), [Spy("inner"), Spy("outer")])
        env.step(env.reset().set("action", torch.tensor([-2.0])))
        assert given == {"inner": -1.0, "outer": -2.0}

    def test_a_transform_may_skip_steps(self, tools):
        class Skip(Transform):
            """Steps only the envs whose count is even."""

            invertible = True

            def _inv_call(self, tensordict):
                return tensordict.set("_step", tensordict["position"][..., :1] > 0)

        from_env = SerialEnv(3, lambda: GymEnv("Pendulum-v1"))

        def position(td):
            return td.set("position", td["observation"] * 2)

        env = TransformedEnv(from_env, [position, Skip()])
        env.set_seed(SEED)
        td = env.rand_action(env.reset())
        moving = (td["position"][..., 0] > 0).tolist()
        assert True in moving
        assert False in moving
        out = env.step(td.clone())
        stays = (out["next", "observation"] == td["observation"]).all(-1)
        assert [not stay for stay in stays.tolist()] == moving
        assert torch.equal(out["next", "position"][stays], td["position"][stays])
        assert not out["next", "reward"][stays].any()
        assert "_step" not in out.keys()
        out = env.step(td.clone().set("_step", torch.tensor([[True], [True], [False]])))
        expected = [move and index < 2 for index, move in enumerate(moving)]
        assert [not stay for stay in (out["next", "observation"] == td["observation"]).all(-1).tolist()] == expected

    def test_a_parent_is_kept_until_something_changes(self):
        env = LAYERS["single"]()
        parent = env.transform[2].parent
        assert env.transform[2].parent is parent
        env.insert_transform(0, RewardSum())
        assert env.transform[3].parent is not parent
        assert len(env.transform[3].parent.transform) == 3


class TestSpecs:
    @pytest.mark.parametrize(
        "name", ["observation_spec", "action_spec", "reward_spec", "done_spec", "full_action_spec"]
    )
    def test_follow_and_are_not_assigned(self, name):
        env = TransformedEnv(cartpole(), StepCounter())
        with pytest.raises(AttributeError, match=r"follows from its base env and transforms; assign to env.base_env"):
            setattr(env, name, getattr(env, name))

    def test_follow_what_is_assigned_to_the_base_env(self, scripted):
        env = TransformedEnv(scripted(), Compose(StepCounter(), RewardSum()))
        env.rollout(2)
        env.base_env.observation_spec = Composite(observation=Unbounded((1,), dtype=torch.float32), extra=Unbounded(()))
        assert set(env.observation_spec.keys()) == {"observation", "extra", "step_count", "episode_reward"}
        assert "extra" in env.observation_keys
        with pytest.raises(ValueError, match="'extra' is missing from what the env's _reset returned"):
            env.rollout(1)

    def test_a_base_env_that_no_longer_fits(self, scripted):
        env = TransformedEnv(scripted(), ObservationNorm(loc=0.0, scale=1.0))
        env.base_env.observation_spec = Composite(other=Unbounded((1,)))
        with pytest.raises(SpecError, match="ObservationNorm: unknown key 'observation'"):
            env.reset()

    def test_locks(self):
        env = TransformedEnv(cartpole(), StepCounter())
        assert env.is_spec_locked
        with pytest.raises(RuntimeError, match="locked"):
            env.observation_spec["more"] = Unbounded(())
        env.set_spec_lock_(False)
        assert not env.base_env.is_spec_locked
        env.base_env.observation_spec["more"] = Unbounded(())
        assert "more" in env.observation_spec.keys()
        env.set_spec_lock_(True)
        assert env.base_env.is_spec_locked
        assert "more" in env.observation_keys

    def test_an_unlocked_base_env_stays_so(self, scripted):
        base = scripted(spec_locked=False)
        env = TransformedEnv(base, StepCounter(max_steps=3))
        assert not base.is_spec_locked
        assert not env.is_spec_locked
        assert set(env.observation_spec.keys()) == {"observation", "step_count"}
        assert len(env.rollout(9)) == 3

    def test_looking_at_a_parent_disturbs_nothing(self):
        env = LAYERS["single"]()
        plan, base_plan = env.plan, env.base_env.plan
        assert env.transform[2].parent.observation_keys == ["observation", "step_count"]
        assert env.plan is plan
        assert env.base_env.plan is base_plan


class TestPorts:
    def test_what_was_handed_out_stays_as_it_was(self, tools):
        env = LAYERS["around_a_batch"]()
        td, kept, copies = env.reset(), [], []
        for action in tools.draw_actions(env, 20):
            row, td = env.step_and_maybe_reset(td.update(action))
            kept.append(row)
            copies.append(row.clone())
        for row, copy in zip(kept, copies, strict=True):
            tools.assert_same(row, copy)

    def test_the_stepped_tensordict_keeps_its_entries(self, tools):
        env = LAYERS["single"]()
        td = env.rand_action(env.reset())
        before = td.clone()
        out = env.step(td)
        assert out is td
        tools.assert_same(td.exclude("next"), before)

    def test_a_step_can_be_taken_twice(self, walk, tools):
        """Memory is in the data: what a stateless env does once, it does again."""
        env = TransformedEnv(walk(), Compose(StepCounter(), RewardSum()))
        td = env.rand_action(env.reset())
        tools.assert_same(env.step(td.clone()), env.step(td.clone()))

    def test_resets_inside_the_mask_alone(self):
        env = LAYERS["around_a_batch"]()
        td = env.reset()
        for _ in range(3):
            td = env.step_mdp(env.step(env.rand_action(td)))
        before = td.clone()
        out = env.reset(td.set("_reset", torch.tensor([[True], [False], [True]])))
        assert out["step_count"].flatten().tolist() == [0, 3, 0]
        assert out["is_init"].flatten().tolist() == [True, False, True]
        assert out["episode_reward"].flatten().tolist() == [0.0, 3.0, 0.0]
        same = (out["observation"] == before["observation"]).all(-1)
        assert same.tolist() == [False, True, False]

    def test_an_inverse_that_gives_another_kind_of_action(self):
        class FromSign(Transform):
            """A sign chooses one of two actions."""

            def __init__(self):
                super().__init__(in_keys_inv=["action"], out_keys_inv=["sign"])

            def _inv_apply_transform(self, value):
                return (value > 0).long().squeeze(-1)

            def _transform_leaf(self, leaf):
                return Unbounded((1,))

        env = TransformedEnv(cartpole(), FromSign())
        env.set_seed(SEED)
        data = env.rollout(5, lambda td: td.set("sign", torch.ones(1)))
        plain = cartpole()
        plain.set_seed(SEED)
        expected = plain.rollout(5, lambda td: td.set("action", torch.tensor(1)))
        assert torch.equal(data["observation"], expected["observation"])


def test_state_is_that_of_the_transforms():
    env = TransformedEnv(cartpole(), Compose(StepCounter(), ObservationNorm(loc=torch.zeros(4), scale=torch.ones(4))))
    assert set(env.state_dict()) == {"transform.transforms.1.loc", "transform.transforms.1.scale"}


def test_repr_shows_env_and_chain():
    text = repr(TransformedEnv(cartpole(), StepCounter(max_steps=3)))
    assert "GymEnv(env=CartPole-v1" in text
    assert "StepCounter(max_steps=3)" in text
