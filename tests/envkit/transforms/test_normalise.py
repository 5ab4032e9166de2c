from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Bounded,
    Compose,
    Composite,
    EnvBase,
    GymEnv,
    ObservationNorm,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
numbers = st.floats(-8, 8, width=32)


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=20)


def normalised(env, **kwargs):
    env = TransformedEnv(env, ObservationNorm(**kwargs))
    env.set_seed(0)
    return env


class Images(EnvBase):
    """Small images whose channels differ, and a constant one."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(
            pixels=Bounded(0, 255, (3, 4, 4), dtype=torch.uint8), state=Unbounded((2,)), flat=Unbounded((1,))
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(2,))
        self.random = torch.Generator().manual_seed(0)

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _observe(self):
        pixels = torch.randint(0, 80, (3, 4, 4), generator=self.random) + torch.arange(3).reshape(3, 1, 1) * 80
        return {
            "pixels": pixels.to(torch.uint8),
            "state": torch.randn(2, generator=self.random),
            "flat": torch.full((1,), 3.0),
        }

    def _reset(self, tensordict=None):
        return TensorDict(self._observe())

    def _step(self, tensordict):
        return TensorDict({**self._observe(), "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)})


class TestFormula:
    @few
    @given(loc=numbers, scale=st.floats(0.125, 8, width=32), values=st.lists(numbers, min_size=1, max_size=5))
    def test_both_directions(self, loc, scale, values):
        x = torch.tensor(values)
        td = TensorDict({"observation": x.clone()})
        assert torch.equal(ObservationNorm(loc, scale, standard_normal=True)(td)["observation"], (x - loc) / scale)
        td = TensorDict({"observation": x.clone()})
        found = ObservationNorm(loc, scale)(td)["observation"]
        assert torch.equal(found, x * torch.tensor(scale) + torch.tensor(loc))

    @pytest.mark.parametrize("standard_normal", [True, False])
    def test_inverse(self, standard_normal):
        norm = ObservationNorm(2.0, 4.0, in_keys_inv=["action"], standard_normal=standard_normal)
        assert norm.in_keys == []
        outer = norm._apply_transform(torch.tensor([1.0, 2.0, 3.0]))  # what the policy would see of these actions
        assert norm.inv(TensorDict({"action": outer}))["action"].tolist() == [1.0, 2.0, 3.0]

    def test_one_value_per_entry(self):
        norm = ObservationNorm(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), standard_normal=True)
        out = norm(TensorDict({"observation": torch.tensor([[3.0, 2.0], [1.0, 6.0]])}, [2]))
        assert out["observation"].tolist() == [[1.0, 0.0], [0.0, 1.0]]

    def test_observation_by_default(self):
        assert ObservationNorm().in_keys == ["observation"]
        assert ObservationNorm(in_keys=["a", ("b", "c")]).out_keys == ["a", ("b", "c")]

    def test_loc_and_scale_come_together(self):
        with pytest.raises(ValueError, match=r"expected loc and scale together or neither, found loc=1.0, scale=None"):
            ObservationNorm(loc=1.0)
        with pytest.raises(ValueError, match="found loc=None"):
            ObservationNorm(scale=1.0)

    def test_integers_become_floats(self):
        norm = ObservationNorm(0, 2, in_keys=["pixels"], standard_normal=True)
        out = norm(TensorDict({"pixels": torch.tensor([1, 2], dtype=torch.uint8)}))
        assert out["pixels"].tolist() == [0.5, 1.0]
        assert out["pixels"].dtype is torch.float32

    def test_float64_stays(self, walk):
        assert ObservationNorm(torch.zeros(2, dtype=torch.float64), 1.0).loc.dtype is torch.float64
        env = TransformedEnv(
            walk(), ObservationNorm(torch.zeros((), dtype=torch.float64), 1.0, in_keys=["reward", "position"])
        )
        assert env.reward_spec.dtype is torch.float64
        check_env_specs(env)


class TestInEnvs:
    @pytest.mark.parametrize("standard_normal", [True, False])
    def test_rollouts(self, standard_normal, tools):
        env = normalised(pendulum(), loc=0.5, scale=2.0, standard_normal=standard_normal)
        plain = pendulum()
        plain.set_seed(0)
        actions = tools.draw_actions(env, 45)
        found = env.rollout(45, tools.FixedPolicy(actions), break_when_any_done=False)
        expected = plain.rollout(45, tools.FixedPolicy(actions), break_when_any_done=False)
        for td in (expected, expected["next"]):
            x = td["observation"]
            td["observation"] = (
                (x - 0.5) / 2 if standard_normal else torch.addcmul(torch.tensor(0.5), x, torch.tensor(2.0))
            )
        tools.assert_same(found, expected)

    def test_under_another_name(self):
        env = TransformedEnv(
            pendulum(), ObservationNorm(0.5, 2.0, in_keys=["observation"], out_keys=["seen"], standard_normal=True)
        )
        data = env.rollout(5)
        assert torch.equal(data["next", "seen"], (data["next", "observation"] - 0.5) / 2)
        assert env.base_env.observation_spec["observation"] == env.observation_spec["observation"]

    @pytest.mark.parametrize(
        ("kwargs", "low", "high"),
        [
            ({"loc": 1.0, "scale": 2.0}, -1.0, 3.0),
            ({"loc": 1.0, "scale": 2.0, "standard_normal": True}, -1.0, 0.0),
            ({"loc": 1.0, "scale": -2.0}, -1.0, 3.0),
        ],
    )
    def test_bounds_follow(self, kwargs, low, high):
        env = TransformedEnv(Images(), ObservationNorm(**kwargs, in_keys_inv=["action"]))
        assert env.action_spec == Bounded(low, high, shape=(2,))
        for _ in range(10):
            assert Images().action_spec.is_in(env.transform.inv(env.rand_action())["action"])

    def test_specs_of_integers_and_of_the_unbounded(self):
        env = TransformedEnv(Images(), ObservationNorm(0.0, 255.0, in_keys=["pixels", "state"], standard_normal=True))
        assert env.observation_spec["pixels"] == Bounded(0.0, 1.0, (3, 4, 4))
        assert env.observation_spec["state"] == Unbounded((2,))
        assert env.base_env.observation_spec == Images().observation_spec
        check_env_specs(env)

    def test_a_broadcast_that_changes_the_shape_is_found_out(self):
        with pytest.raises(SpecError, match=r"ObservationNorm: 'observation': .* broadcast to \[3\], found \[2, 3\]"):
            TransformedEnv(pendulum(), ObservationNorm(torch.zeros(2, 3), torch.ones(2, 3)))

    def test_unknown_keys(self):
        with pytest.raises(SpecError, match=r"ObservationNorm: unknown key 'oops' in in_keys; .*'observation'"):
            TransformedEnv(pendulum(), ObservationNorm(0.0, 1.0, in_keys=["oops"]))

    def test_without_statistics(self):
        env = TransformedEnv(pendulum(), ObservationNorm())
        assert not env.transform[0].initialized
        assert env.observation_spec["observation"] == Unbounded((3,))
        with pytest.raises(RuntimeError, match="expected loc and scale, found none; call init_stats or pass them"):
            env.reset()

    def test_in_a_batch_and_around_it(self, tools):
        inside = SerialEnv(2, lambda: TransformedEnv(pendulum(), ObservationNorm(0.5, 2.0)))
        outside = TransformedEnv(SerialEnv(2, pendulum), ObservationNorm(0.5, 2.0))
        assert inside.specs == outside.specs
        actions = tools.draw_actions(inside, 30)
        data = []
        for env in (inside, outside):
            env.set_seed(0)
            data.append(env.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False))
        tools.assert_same(*data)


class TestInitStats:
    @pytest.mark.parametrize("standard_normal", [True, False])
    def test_are_those_of_a_random_rollout(self, standard_normal):
        env = normalised(pendulum(), standard_normal=standard_normal)
        env.transform[0].init_stats(20)
        plain = pendulum()
        plain.set_seed(0)
        data = plain.rollout(20)["observation"]
        loc, scale = data.mean(0), data.std(0)
        if not standard_normal:
            loc, scale = -loc / scale, 1 / scale
        assert torch.equal(env.transform[0].loc, loc)
        assert torch.equal(env.transform[0].scale, scale)
        assert env.transform[0].initialized

    def test_as_many_steps_as_it_takes(self):
        """Episodes of 20 steps, so that 50 need three."""
        env = normalised(pendulum())
        env.transform[0].init_stats(50)
        plain = pendulum()
        plain.set_seed(0)
        data = torch.cat([plain.rollout(50)["observation"] for _ in range(3)])
        assert data.shape == (60, 3)
        assert torch.equal(env.transform[0].scale, 1 / data.std(0))

    def test_specs_follow(self):
        env = normalised(pendulum())
        before = env.observation_spec
        env.transform[0].init_stats(40)
        assert isinstance(env.observation_spec["observation"], Bounded)
        assert env.observation_spec != before
        check_env_specs(env)

    def test_make_the_data_standard(self):
        env = normalised(pendulum(), standard_normal=True)
        env.transform[0].init_stats(20)
        env.set_seed(0)
        data = env.rollout(20)["observation"].double()
        torch.testing.assert_close(data.mean(0), torch.zeros(3).double(), atol=1e-5, rtol=0)
        torch.testing.assert_close(data.std(0), torch.ones(3).double(), atol=1e-5, rtol=0)

    def test_of_what_the_transforms_before_it_show(self):
        env = TransformedEnv(
            pendulum(), Compose(ObservationNorm(5.0, 1.0), StepCounter(max_steps=10), ObservationNorm())
        )
        env.set_seed(0)
        env.transform[2].init_stats(10)
        plain = pendulum()
        plain.set_seed(0)
        data = torch.addcmul(torch.tensor(5.0), plain.rollout(10)["observation"], torch.tensor(1.0))
        assert torch.equal(env.transform[2].scale, 1 / data.std(0))

    def test_of_images_per_channel(self):
        env = TransformedEnv(Images(), ObservationNorm(in_keys=["pixels"], standard_normal=True))
        norm = env.transform[0]
        norm.init_stats(30, reduce_dim=(-1, -2, -4), cat_dim=-4, keep_dims=(-1, -2))
        assert norm.loc.shape == norm.scale.shape == (3, 1, 1)
        assert (norm.loc.flatten().diff() > 60).all()
        check_env_specs(env)
        assert env.rollout(40)["pixels"].mean((0, 2, 3)).abs().max() < 0.3

    @pytest.mark.parametrize(("keep_dims", "shape"), [((0, 2, 3), (1, 3, 1, 1)), ((-1, 2), (3, 1, 1)), (None, (3,))])
    def test_kept_dimensions(self, keep_dims, shape):
        norm = TransformedEnv(Images(), ObservationNorm(in_keys=["pixels"])).transform[0]
        with pytest.MonkeyPatch.context() as patch:
            # The shape of the statistics alone is looked at: not each of them fits the images.
            patch.setattr(norm, "_changed", lambda: None)
            norm.init_stats(5, reduce_dim=(0, 2, 3), cat_dim=0, keep_dims=keep_dims)
        assert norm.loc.shape == shape

    def test_of_a_batch(self):
        env = TransformedEnv(SerialEnv(3, pendulum), ObservationNorm(standard_normal=True))
        env.set_seed(0)
        env.transform[0].init_stats(40, reduce_dim=(0, 1), cat_dim=1)
        plain = SerialEnv(3, pendulum)
        plain.set_seed(0)
        data = torch.cat([plain.rollout(40)["observation"] for _ in range(2)], 1)
        assert data.shape == (3, 40, 3)
        assert torch.equal(env.transform[0].loc, data.mean((0, 1)))
        assert torch.equal(env.transform[0].scale, data.std((0, 1)))
        check_env_specs(env)

    def test_key(self):
        norm = TransformedEnv(Images(), ObservationNorm(in_keys=["pixels", "state"])).transform[0]
        with pytest.raises(ValueError, match=r"expected key, one of \['pixels', 'state'\]"):
            norm.init_stats(5)
        env = TransformedEnv(Images(), ObservationNorm(in_keys=["state", "flat"]))
        env.transform[0].init_stats(50, reduce_dim=(0, 1), cat_dim=0, key="state")
        assert env.transform[0].loc.shape == ()

    def test_what_does_not_vary_is_divided_by_eps(self):
        env = TransformedEnv(Images(), ObservationNorm(in_keys=["flat"], standard_normal=True, eps=0.5))
        env.transform[0].init_stats(10)
        assert env.transform[0].scale.item() == 0.5
        assert env.rollout(3)["flat"].flatten().tolist() == [0.0] * 3

    def test_reproducible_under_a_seed(self):
        found = []
        with torch.random.fork_rng(devices=[]):
            for noise in (1, 2):
                torch.manual_seed(noise)
                env = normalised(pendulum())
                env.transform[0].init_stats(30)
                found.append(env.transform[0].loc)
        assert torch.equal(*found)

    @pytest.mark.parametrize(
        ("norm", "args", "error", "message"),
        [
            (ObservationNorm(0.0, 1.0), {"num_iter": 5}, RuntimeError, "loc and scale are set already"),
            (ObservationNorm(), {"num_iter": 0}, ValueError, "expected num_iter of at least 1, found 0"),
            (ObservationNorm(), {"num_iter": 1}, ValueError, "at least 2 values .*, found 1; increase num_iter"),
            (
                ObservationNorm(),
                {"num_iter": 5, "reduce_dim": (0, 1)},
                ValueError,
                "expected cat_dim with several reduced",
            ),
            (
                ObservationNorm(),
                {"num_iter": 5, "key": "oops"},
                KeyError,
                "ObservationNorm: .*oops.* is missing; found .*observation",
            ),
        ],
    )
    def test_errors(self, norm, args, error, message):
        env = TransformedEnv(pendulum(), norm)
        before = norm.loc
        with pytest.raises(error, match=message):
            env.transform[0].init_stats(**args)
        assert norm.loc is before

    def test_outside_of_an_env(self):
        with pytest.raises(RuntimeError, match="expected a transform of an env, found one without parent"):
            ObservationNorm().init_stats(5)


class TestState:
    def test_moves_from_one_to_another(self):
        env = normalised(pendulum(), standard_normal=True)
        env.transform[0].init_stats(20)
        other = TransformedEnv(pendulum(), ObservationNorm(standard_normal=True))
        other.load_state_dict(env.state_dict())
        assert other.transform[0].initialized
        assert torch.equal(other.transform[0].loc, env.transform[0].loc)
        assert other.observation_spec == env.observation_spec
        for each in (env, other):
            each.set_seed(1)
        assert torch.equal(env.rollout(9)["observation"], other.rollout(9)["observation"])

    def test_copies(self):
        source, target = ObservationNorm(torch.zeros(2), torch.ones(2)), ObservationNorm()
        target.load_state_dict(source.state_dict())
        source.loc.add_(1.0)
        assert not target.loc.any()

    def test_over_other_statistics(self):
        norm = ObservationNorm(torch.ones(2), torch.ones(2))
        norm.load_state_dict(ObservationNorm(torch.zeros(2), torch.full((2,), 3.0)).state_dict())
        assert (norm.loc.tolist(), norm.scale.tolist()) == ([0.0, 0.0], [3.0, 3.0])

    def test_statistics_of_another_shape(self):
        with pytest.raises(RuntimeError, match="size mismatch for loc"):
            ObservationNorm(torch.ones(2), torch.ones(2)).load_state_dict(
                ObservationNorm(torch.ones(3), torch.ones(3)).state_dict()
            )

    def test_none_to_load(self):
        with pytest.raises(RuntimeError, match="Missing key"):
            ObservationNorm(0.0, 1.0).load_state_dict(ObservationNorm().state_dict())
        assert ObservationNorm().state_dict() == {}

    def test_a_clone_shares_it(self):
        norm = ObservationNorm(torch.zeros(2), torch.ones(2))
        norm.clone().loc.fill_(4.0)
        assert norm.loc.tolist() == [4.0, 4.0]
