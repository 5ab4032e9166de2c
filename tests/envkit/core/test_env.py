"""The contract of an environment: construction, specs, reset, step."""

from __future__ import annotations

import gymnasium
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    GymEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    seed_generator,
)
from envkit.errors import (
    EnvDataError,
    LockedSpecError,
    NonFiniteError,
    PolicyError,
    ResetNeededError,
    SpecError,
)


class Plain(EnvBase):
    """Returns whatever its attributes ``first`` and ``following`` say."""

    def __init__(self, first=None, following=None, spec=None, **kwargs):
        super().__init__(**kwargs)
        self.observation_spec = Unbounded((2,)) if spec is None else spec
        self.action_spec = Unbounded((1,))
        self.first = {"observation": torch.zeros(2)} if first is None else first
        self.following = following or {}

    def _reset(self, tensordict=None):
        return TensorDict(dict(self.first))

    def _step(self, tensordict):
        default = {"observation": torch.ones(2), "reward": torch.zeros(1), "done": torch.zeros(1, dtype=torch.bool)}
        return TensorDict({k: v for k, v in {**default, **self.following}.items() if v is not None})

    def _set_seed(self, seed):
        self.seed = seed


def step(env: EnvBase) -> TensorDict:
    return env.step(env.rand_action(env.reset()))["next"]


class TestConstruction:
    def test_an_env_is_of_its_class(self, scripted, walk):
        assert type(Plain()) is Plain
        assert type(scripted()) is scripted
        assert type(GymEnv("CartPole-v1")) is GymEnv
        assert type(type(Plain())) is type(EnvBase) is type

    def test_locks_when_the_outermost_init_returns(self):
        seen = []

        class Middle(Plain):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                seen.append(self.is_spec_locked)
                self.observation_spec["middle"] = Unbounded((1,))

        class Silent(Middle):
            """Has no __init__ of its own."""

        class Outer(Silent):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                seen.append(self.is_spec_locked)
                self.observation_spec["outer"] = Unbounded((1,))

        for cls, keys in ((Outer, {"observation", "middle", "outer"}), (Silent, {"observation", "middle"})):
            env = cls()
            assert env.is_spec_locked
            assert set(env.observation_keys) == keys
        assert not any(seen)

    def test_spec_locked_false(self):
        env = Plain(spec_locked=False)
        assert not env.is_spec_locked
        env.observation_spec["more"] = Unbounded((1,))
        assert env.observation_keys == ["more", "observation"]
        env.set_spec_lock_()
        with pytest.raises(LockedSpecError):
            env.observation_spec["even_more"] = Unbounded((1,))

    def test_missing_methods_are_named(self):
        class Empty(EnvBase):
            pass

        env = Empty()
        for call, name in ((env.reset, "_reset"), (lambda: env.set_seed(0), "_set_seed")):
            with pytest.raises(NotImplementedError, match=f"Empty defines no {name}"):
                call()

    def test_calling_an_env_is_refused(self):
        with pytest.raises(NotImplementedError, match="reset, step or rollout"):
            Plain()(TensorDict())

    def test_close_twice(self):
        env = Plain()
        assert not env.is_closed
        env.close()
        env.close()
        assert env.is_closed


class TestSpecs:
    def test_in_place_edits_of_a_locked_spec_are_refused(self):
        env = Plain()
        with pytest.raises(LockedSpecError):
            env.observation_spec["x"] = Unbounded((1,))
        with pytest.raises(LockedSpecError):
            del env.full_reward_spec["reward"]
        assert env.observation_keys == ["observation"]

    def test_assignment_compiles_anew(self):
        env = Plain()
        plan = env.plan
        env.observation_spec = Composite(a=Unbounded((3,)), b=Unbounded((1,)))
        assert env.is_spec_locked
        assert env.plan is not plan
        assert env.observation_keys == ["a", "b"]
        with pytest.raises(LockedSpecError):
            env.observation_spec["c"] = Unbounded((1,))

    def test_assigned_specs_are_copies(self):
        spec = Composite(a=Unbounded((3,)))
        env = Plain()
        env.observation_spec = spec
        spec["b"] = Unbounded((1,))
        assert env.observation_keys == ["a"]

    def test_unlock_edit_lock(self):
        env = Plain()
        env.set_spec_lock_(False)
        env.observation_spec["x"] = Unbounded((1,))
        env.set_spec_lock_(True)
        assert env.observation_keys == ["observation", "x"]

    def test_leaf_or_composite(self, two_agents):
        env = Plain()
        assert isinstance(env.action_spec, Unbounded)
        assert isinstance(env.reward_spec, Unbounded)
        assert isinstance(env.observation_spec, Composite)
        assert isinstance(env.done_spec, Composite)
        assert isinstance(two_agents().action_spec, Composite)
        assert env.reward_spec == env.output_spec["full_reward_spec"][env.reward_key]
        assert env.action_spec == env.input_spec["full_action_spec"][env.action_key]

    def test_full_setters(self):
        env = Plain()
        env.full_action_spec = Composite(agents=Composite(action=Bounded(-1, 1, shape=(2,))))
        env.full_reward_spec = Composite(agents=Composite(reward=Unbounded((2, 1))))
        env.full_observation_spec = Composite(x=Unbounded((1,)))
        env.full_done_spec = Composite(agents=Composite(done=Binary(1, shape=(2, 1), dtype=torch.bool)))
        env.full_state_spec = Composite(s=Unbounded((1,)))
        assert (env.action_key, env.reward_key, env.done_key) == tuple(
            ("agents", n) for n in ("action", "reward", "done")
        )
        assert env.done_keys == [("agents", "done"), ("agents", "terminated")]
        assert env.reset_keys == [("agents", "_reset")]
        assert (env.state_keys, env.observation_keys) == (["s"], ["x"])

    @pytest.mark.parametrize("role", ["action", "reward", "state"])
    def test_full_setters_want_a_composite(self, role):
        with pytest.raises(SpecError, match=f"full_{role}_spec: expected a Composite, found Unbounded"):
            setattr(Plain(), f"full_{role}_spec", Unbounded((1,)))

    def test_agents_of_a_group_as_stacked_specs(self):
        class Group(EnvBase):
            def __init__(self):
                super().__init__()
                specs = [Unbounded((4,)) for _ in range(3)]
                self.observation_spec = Composite(
                    {"agents": Composite({"observation": torch.stack(specs)}, shape=(3,))}
                )
                actions = [Bounded(-1, 1, shape=(2,)) for _ in range(3)]
                self.action_spec = Composite({"agents": Composite({"action": torch.stack(actions)}, shape=(3,))})
                rewards = [Unbounded((1,)) for _ in range(3)]
                self.reward_spec = Composite({"agents": Composite({"reward": torch.stack(rewards)}, shape=(3,))})
                self.done_spec = Categorical(n=2, shape=torch.Size((1,)), dtype=torch.bool)

        env = Group()
        assert env.action_key == ("agents", "action")
        assert env.reward_key == ("agents", "reward")
        assert env.reward_spec.shape == torch.Size([3, 1])
        assert env.done_key == "done"
        fake = env.fake_tensordict()
        assert fake["agents"].batch_size == fake["next", "agents"].batch_size == torch.Size([3])

    def test_several_keys_have_no_single_one(self, two_agents):
        env = two_agents()
        for name in ("action_key", "reward_key", "done_key"):
            with pytest.raises(KeyError, match=f"{name}: expected one"):
                getattr(env, name)

    def test_done_key_of_an_ordinary_env(self):
        env = GymEnv("CartPole-v1")
        assert (env.done_key, env.reward_key, env.action_key) == ("done", "reward", "action")
        assert env.done_keys == ["done", "terminated", "truncated"]

    @pytest.mark.parametrize("role", ["observation", "action", "reward", "done"])
    def test_wrong_batch_size(self, role):
        env = Plain()
        env.batch_size = (4,)
        spec = Binary(1, shape=(3, 1), dtype=torch.bool) if role == "done" else Unbounded((3, 1))
        with pytest.raises(SpecError) as error:
            setattr(env, f"{role}_spec", spec)
        for part in (f"{role}_spec", "[4]", "[3, 1]", f"{role}_spec_unbatched"):
            assert part in str(error.value)

    @pytest.mark.parametrize("role", ["reward", "done"])
    def test_rewards_and_flags_need_a_dimension(self, role):
        with pytest.raises(SpecError, match=rf"{role}.*trailing 1"):
            setattr(Plain(), f"{role}_spec", Unbounded(()))

    def test_unbatched(self):
        env = SerialEnv(3, lambda: GymEnv("Pendulum-v1"))
        single = GymEnv("Pendulum-v1")
        for role in ("action", "observation", "reward", "done", "full_action", "full_reward"):
            name = f"{role}_spec"
            assert getattr(env, f"{name}_unbatched") == getattr(single, name), name

    def test_unbatched_setters(self):
        class Batch(EnvBase):
            def __init__(self):
                super().__init__(batch_size=(5,))
                self.action_spec_unbatched = Bounded(-1, 1, shape=(2,))
                self.observation_spec_unbatched = Composite(a=Unbounded((3,)))
                self.reward_spec_unbatched = Unbounded((1,))
                self.done_spec_unbatched = Binary(1, shape=(1,), dtype=torch.bool)
                self.state_spec_unbatched = Composite(s=Unbounded(()))

        env = Batch()
        assert env.action_spec.shape == torch.Size([5, 2])
        assert env.observation_spec["a"].shape == torch.Size([5, 3])
        assert env.reward_spec.shape == torch.Size([5, 1])
        assert {leaf.shape for leaf in env.done_spec.values()} == {torch.Size([5, 1])}
        assert env.state_spec["s"].shape == torch.Size([5])

    def test_batch_size_setter(self):
        env = Plain()
        env.batch_size = (4,)
        assert env.batch_size == torch.Size([4])
        assert env.action_spec.shape == torch.Size([4, 1])
        assert env.reward_spec.shape == torch.Size([4, 1])
        assert env.fake_tensordict().batch_size == torch.Size([4])
        env.batch_size = (4,)
        with pytest.raises(SpecError, match=r"batch_size.*\[4\]"):
            env.batch_size = (2,)

    @pytest.mark.parametrize(
        ("role", "key"),
        [("reward", "observation"), ("done", "observation"), ("action", "observation"), ("done", "reward")],
    )
    def test_a_key_has_one_role(self, role, key):
        class Colliding(Plain):
            def __init__(self):
                super().__init__()
                self.reward_spec = Unbounded((1,))
                setattr(self, f"full_{role}_spec", Composite({key: Binary(1, shape=(1,), dtype=torch.bool)}))

        with pytest.raises(SpecError, match=rf"one role.*{key}"):
            Colliding()

    def test_a_state_may_be_observed(self):
        env = Plain()
        env.state_spec = Composite(observation=Unbounded((2,)))
        assert env.state_keys == env.observation_keys == ["observation"]

    def test_gathered_specs(self):
        env = Plain()
        assert set(env.input_spec.keys()) == {"full_action_spec", "full_state_spec"}
        assert set(env.output_spec.keys()) == {"full_observation_spec", "full_reward_spec", "full_done_spec"}
        assert set(env.specs.keys()) == {"input_spec", "output_spec"}
        env.state_spec = None
        assert env.state_keys == []

    def test_default_reward_and_done(self):
        env = Plain()
        assert env.reward_spec == Unbounded((1,))
        assert env.done_keys == ["done", "terminated"]
        assert env.done_spec["done"].shape == torch.Size([1])


class TestFakesAndRandom:
    def test_fake_tensordict(self, two_agents):
        for env in (GymEnv("CartPole-v1"), SerialEnv(2, lambda: GymEnv("Pendulum-v1")), two_agents()):
            fake, real = env.fake_tensordict(), env.step(env.rand_action(env.reset()))
            assert set(fake.keys(True, True)) == set(real.keys(True, True))
            for key, value in real.items(True, True):
                assert (fake[key].shape, fake[key].dtype) == (value.shape, value.dtype)

    def test_rand_action(self):
        env = GymEnv("Pendulum-v1")
        td = TensorDict({"mine": torch.ones(1)})
        assert env.rand_action(td) is td
        assert env.action_spec.is_in(td["action"])
        assert set(env.rand_action().keys()) == {"action"}

    def test_rand_step(self, scripted):
        env = scripted()
        first = env.rand_step()
        assert (env.resets, first["next", "observation"].item()) == (1, 1.0)
        second = env.rand_step(env.step_mdp(first))
        assert (env.resets, second["next", "observation"].item()) == (1, 2.0)

    def test_all_actions(self):
        assert GymEnv("CartPole-v1").all_actions()["action"].tolist() == [0, 1]


class TestSeeds:
    def test_chain(self):
        assert GymEnv("CartPole-v1").set_seed(0) == 795726461 == seed_generator(0)
        assert Plain().set_seed(7, static_seed=True) == 7
        assert Plain().set_seed(None) is None

    def test_batch_chain(self):
        env = SerialEnv(3, lambda: GymEnv("CartPole-v1"))
        assert env.set_seed(0) == seed_generator(seed_generator(seed_generator(0)))
        assert env.set_seed(5, static_seed=True) == 5
        observation = env.reset()["observation"]
        assert torch.equal(observation[0], observation[2])

    def test_random_actions_follow_the_seed_alone(self):
        def actions(noise: int) -> torch.Tensor:
            env = GymEnv("Pendulum-v1")
            env.set_seed(4)
            torch.manual_seed(noise)
            return torch.stack([env.rand_action()["action"] for _ in range(5)])

        assert torch.equal(actions(0), actions(1))

    def test_unseeded_actions_follow_torch(self):
        env = Plain()
        env.set_seed(3)
        env.set_seed(None)
        draws = []
        for _ in range(2):
            torch.manual_seed(1)
            draws.append(env.rand_action()["action"])
        assert torch.equal(*draws)


class TestDataOfAnAuthor:
    @pytest.mark.parametrize(
        ("following", "message"),
        [
            ({"observation": None}, r"'observation' is missing from what the env's _step returned.*reward"),
            ({"reward": None}, r"'reward' is missing"),
            ({"done": None}, r"neither 'done' nor 'terminated'"),
            ({"observation": torch.ones(3)}, r"'observation'.*_step: expected shape \[2\], found \[3\]"),
            ({"observation": torch.ones(1, 2)}, r"'observation'.*expected shape \[2\], found \[1, 2\]"),
            ({"observation": torch.ones(2, dtype=torch.float64)}, r"'observation'.*torch.float32, found torch.float64"),
            (
                {"reward": torch.zeros(1, dtype=torch.int64)},
                r"'reward'.*expected dtype torch.float32, found torch.int64",
            ),
            ({"reward": torch.zeros(2)}, r"'reward'.*expected shape \[1\], found \[2\]"),
            ({"done": torch.zeros(1)}, r"'done': expected dtype torch.bool, found torch.float32"),
            ({"done": torch.zeros(2, dtype=torch.bool)}, r"'done': expected shape \[1\], found \[2\]"),
        ],
    )
    def test_wrong_step(self, following, message):
        env = Plain(following=following)
        with pytest.raises(EnvDataError, match=message):
            step(env)
        with pytest.raises(EnvDataError, match=message):
            env.rollout(2)

    @pytest.mark.parametrize(
        ("first", "message"),
        [
            ({}, r"'observation' is missing from what the env's _reset returned"),
            ({"observation": torch.zeros(3)}, r"'observation'.*_reset: expected shape \[2\], found \[3\]"),
            ({"observation": torch.zeros(2), "reward": torch.zeros(1)}, r"_reset returned a reward \('reward'\)"),
            (
                {"observation": torch.zeros(2), "done": torch.ones(1, dtype=torch.bool)},
                r"'done' is True right after a reset",
            ),
        ],
    )
    def test_wrong_reset(self, first, message):
        env = Plain()
        env.first = first
        for call in (env.reset, lambda: env.rollout(2)):
            with pytest.raises(EnvDataError, match=message):
                call()

    def test_missing_trailing_one(self):
        env = Plain(following={"reward": torch.tensor(2.0), "done": torch.tensor(False)})
        following = step(env)
        assert following["reward"].tolist() == [2.0]
        assert following["done"].tolist() == [False]

    @pytest.mark.parametrize("key", ["observation", "reward"])
    def test_nan_in_the_first_step(self, key):
        env = Plain(following={key: torch.full((2 if key == "observation" else 1,), float("nan"))})
        with pytest.raises(NonFiniteError, match=rf"'{key}' returned by Plain._step.*nan"):
            step(env)

    def test_nan_in_the_first_reset(self):
        env = Plain(first={"observation": torch.tensor([0.0, float("nan")])})
        with pytest.raises(NonFiniteError, match=r"'observation' returned by Plain._reset.*nan at index \[1\]"):
            env.reset()

    def test_infinity_within_finite_bounds(self):
        inf = {"observation": torch.tensor([0.0, float("inf")])}
        with pytest.raises(NonFiniteError, match="inf"):
            step(Plain(following=inf, spec=Bounded(-2.0, 2.0, shape=(2,))))
        assert step(Plain(following=inf))["observation"].tolist() == [0.0, float("inf")]

    def test_nan_can_be_let_through(self):
        env = Plain(following={"observation": torch.full((2,), float("nan"))})
        env.nonfinite = "allow"
        assert env.rollout(3)["next", "observation"].isnan().all()

    def test_out_of_bounds_is_a_warning(self):
        env = Plain(following={"observation": torch.tensor([0.0, 5.0])}, spec=Bounded(-2.0, 2.0, shape=(2,)))
        with pytest.warns(UserWarning, match=r"'observation' returned by Plain._step is out of bounds"):
            step(env)

    def test_done_after_reset_can_be_allowed(self):
        first = {"observation": torch.zeros(2), "done": torch.ones(1, dtype=torch.bool)}
        env = Plain(first=first, allow_done_after_reset=True)
        assert env.reset()["done"].item() is True

    def test_outputs_are_of_their_own(self):
        class InPlace(Plain):
            def _step(self, tensordict):
                return tensordict.update(super()._step(tensordict))

        with pytest.raises(EnvDataError, match="_step returned its input"):
            step(InPlace())

        class InPlaceReset(Plain):
            def _reset(self, tensordict=None):
                return super()._reset() if tensordict is None else tensordict.update(super()._reset())

        with pytest.raises(EnvDataError, match="_reset returned its input"):
            InPlaceReset().reset(TensorDict())

    def test_neither_tensordict_nor_mapping(self):
        class Tuples(Plain):
            def _step(self, tensordict):
                return torch.zeros(2), 1.0, False

        with pytest.raises(EnvDataError, match="expected a TensorDict or a mapping, found tuple"):
            step(Tuples())

    def test_mappings(self, mapping_env):
        env = mapping_env()
        data = env.rollout(10, lambda td: td.set("action", torch.tensor(2)))
        assert data["next", "position"].tolist() == [[1, 2], [2, 2], [3, 2], [4, 2]]
        assert data["next", "reward"].flatten().tolist() == [0.5, 1.0, 1.5, 2.0]
        assert data["next", "count"].tolist() == [1, 2, 3, 4]
        assert data["next", "terminated"].flatten().tolist() == [False, False, False, True]
        assert data["next", "reward"].dtype == torch.float32

    @pytest.mark.parametrize(
        ("key", "value", "text"),
        [
            ("position", [1.0, 2.0, 3.0], r"expected shape \[2\], found \[3\]"),
            ("position", "far", "expected numbers, found str 'far'"),
            ("reward", "much", "expected numbers, found str 'much'"),
            ("terminated", 0.5, "expected numbers that bool can hold, found 0.5"),
        ],
    )
    def test_mappings_with_something_wrong(self, key, value, text, mapping_env):
        class Wrong(mapping_env):
            def _step(self, tensordict):
                return {**super()._step(tensordict), key: value}

        env = Wrong()
        with pytest.raises(EnvDataError, match=rf"'{key}' returned by the env's _step: {text}"):
            env.step(env.rand_action(env.reset()))
        with pytest.raises(EnvDataError, match=rf"'{key}' returned by the env's _step: {text}"):
            env.rollout(2)

    def test_undeclared_entries_are_not_recorded(self):
        env = Plain(following={"surplus": torch.ones(1)})
        assert "surplus" not in env.rollout(2)["next"].keys()


class TestStep:
    def test_before_reset(self):
        for env in (Plain(), GymEnv("CartPole-v1"), SerialEnv(2, lambda: GymEnv("CartPole-v1"))):
            with pytest.raises(ResetNeededError, match="reset") as error:
                env.step(env.rand_action())
            assert isinstance(error.value, gymnasium.error.ResetNeeded)

    def test_wrong_batch_size(self):
        env = SerialEnv(2, lambda: GymEnv("CartPole-v1"))
        env.reset()
        with pytest.raises(EnvDataError, match=r"expected a TensorDict of batch size \[2\], found \[3\]"):
            env.step(TensorDict({"action": torch.zeros(3, dtype=torch.int64)}, [3]))

    def test_returns_its_input(self):
        for env in (Plain(), GymEnv("CartPole-v1")):
            td = env.rand_action(env.reset())
            assert env.step(td) is td
            assert "next" in td.keys()

    def test_no_action(self):
        env = GymEnv("CartPole-v1")
        with pytest.raises(PolicyError, match=r"'action' is missing.*int64"):
            env.step(env.reset())

    def test_preset_next_entries_stay(self):
        for env in (Plain(), GymEnv("Pendulum-v1")):
            env.step(env.rand_action(env.reset()))
            td = env.rand_action(env.reset())
            td["next"] = TensorDict({"mine": torch.full((1,), 7.0)})
            following = env.step(td)["next"]
            assert following["mine"].item() == 7.0
            assert "observation" in following.keys()

    def test_locked_tensordicts_are_refused_by_tensordict(self):
        env = GymEnv("CartPole-v1")
        td = env.rand_action(env.reset())
        with pytest.raises(RuntimeError, match="lock"):
            env.step(td.lock_())

    def test_batch_unlocked(self):
        class Stateless(EnvBase):
            batch_locked = False

            def __init__(self):
                super().__init__()
                self.observation_spec = Unbounded((2,))
                self.state_spec = Composite(observation=Unbounded((2,)))
                self.action_spec = Bounded(-1.0, 1.0, shape=(2,))

            def _reset(self, tensordict=None):
                size = () if tensordict is None else tensordict.batch_size
                return TensorDict({"observation": torch.zeros(*size, 2)}, size)

            def _step(self, tensordict):
                position = tensordict["observation"] + tensordict["action"]
                far = position.norm(dim=-1, keepdim=True)
                return TensorDict({"observation": position, "reward": -far, "done": far > 1.5}, tensordict.batch_size)

        env = Stateless()
        td, resets = env.reset(TensorDict({}, [5])), 0
        for _ in range(20):
            row, td = env.step_and_maybe_reset(env.rand_action(td))
            assert torch.equal(row["next", "observation"], row["observation"] + row["action"])
            ended = row["next", "done"].squeeze(-1)
            resets += int(ended.sum())
            assert td["observation"][ended].eq(0).all()
            assert torch.equal(td["observation"][~ended], row["next", "observation"][~ended])
        assert resets > 5
        assert env.rollout(4, break_when_any_done=False).batch_size == torch.Size([4])


class TestAppendTransform:
    def test_gives_a_transformed_env(self):
        env = Plain().append_transform(StepCounter())
        assert isinstance(env, TransformedEnv)
        assert "step_count" in env.observation_keys
