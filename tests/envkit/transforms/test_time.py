from __future__ import annotations

import gymnasium
import pytest
import torch
from gymnasium.wrappers import DelayObservation as GymDelay
from gymnasium.wrappers import TimeAwareObservation as GymTimeAware
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import (
    Bounded,
    CatTensors,
    Composite,
    DelayObservation,
    GymEnv,
    GymWrapper,
    OneHot,
    SerialEnv,
    SpecError,
    TimeAwareObservation,
    TransformedEnv,
    Unbounded,
)

few = settings(deadline=None, max_examples=30, derandomize=True)


def pendulum(length=7):
    return GymEnv("Pendulum-v1", max_episode_steps=length)


class TestTimeAware:
    @pytest.mark.parametrize("max_steps", [None, 3, 7])
    def test_promises(self, kit, max_steps, two_agents):
        kit.all(pendulum, lambda: TimeAwareObservation(max_steps))
        kit.all(lambda: two_agents(lengths=(2, 3)), lambda: TimeAwareObservation(max_steps))
        assert kit.on_rows(TransformedEnv(pendulum(), TimeAwareObservation(max_steps)))

    @few
    @given(max_steps=st.integers(1, 20))
    def test_fractions(self, max_steps):
        env = TransformedEnv(pendulum(15), TimeAwareObservation(max_steps, out_key="t"))
        expected = (torch.arange(1, 16, dtype=torch.float64) / max_steps).clamp(max=1).float()
        assert torch.equal(env.rollout(15)["next", "t"].flatten(), expected)
        assert env.observation_spec["t"] == Bounded(0.0, 1.0, (1,))

    @pytest.mark.parametrize("normalize", [False, True])
    def test_equals_gymnasiums(self, tools, normalize):
        make = lambda: gymnasium.make("Pendulum-v1", max_episode_steps=7)
        env = TransformedEnv(
            GymWrapper(make()),
            [
                TimeAwareObservation(7 if normalize else None),
                CatTensors(["observation", "time"], "both", sort=False, del_keys=False),
            ],
        )
        other = GymTimeAware(make(), normalize_time=normalize)
        actions = tools.draw_actions(env, 7)
        env.set_seed(3)
        data = env.rollout(7, tools.FixedPolicy(actions))
        first, _ = other.reset(seed=3)
        assert torch.allclose(data["both"][0], torch.as_tensor(first, dtype=torch.float32))
        for row, action in zip(data.unbind(0), actions, strict=True):
            seen = other.step(action["action"].numpy())[0]
            assert torch.allclose(row["next", "both"], torch.as_tensor(seen, dtype=torch.float32))

    def test_refused(self):
        with pytest.raises(ValueError, match="max_steps: expected at least 1"):
            TimeAwareObservation(0)
        with pytest.raises(SpecError, match="expected no observation 'observation' in the env inside"):
            TransformedEnv(pendulum(), TimeAwareObservation(out_key="observation"))


class TestDelay:
    @pytest.mark.parametrize("delay", [1, 3])
    @pytest.mark.parametrize("out", [None, "late"])
    def test_promises(self, kit, delay, out):
        kit.all(pendulum, lambda: DelayObservation(delay, out_keys=out))
        assert kit.on_rows(TransformedEnv(SerialEnv(2, pendulum), DelayObservation(delay, out_keys=out)))

    @pytest.mark.parametrize("delay", [1, 2, 9])
    def test_equals_gymnasiums(self, tools, delay):
        make = lambda: gymnasium.make("Pendulum-v1", max_episode_steps=7)
        env, other = TransformedEnv(GymWrapper(make()), DelayObservation(delay)), GymDelay(make(), delay)
        actions = tools.draw_actions(env, 7)
        env.set_seed(3)
        data = env.rollout(7, tools.FixedPolicy(actions))
        assert torch.equal(data["observation"][0], torch.from_numpy(other.reset(seed=3)[0]))
        for row, action in zip(data.unbind(0), actions, strict=True):
            assert torch.equal(row["next", "observation"], torch.from_numpy(other.step(action["action"].numpy())[0]))

    @few
    @given(data=st.data())
    def test_spec(self, kit, data):
        leaf = data.draw(kit.leaf_specs.filter(lambda leaf: not isinstance(leaf, OneHot)))
        outer = DelayObservation(2).transform_specs(kit.specs_with(leaf))["observation"]
        for value in (leaf.rand(), torch.zeros_like(leaf.zero())):
            assert outer["observation"].is_in(value)
        assert outer["observation_coming"].shape == (2, *leaf.shape)

    def test_bounds(self, kit):
        specs = kit.specs_with(Bounded(2.0, 3.0, (1,)))
        assert DelayObservation(1).transform_specs(specs)["observation"]["observation"] == Bounded(0.0, 3.0, (1,))

    def test_refused(self, kit, walk):
        class Stateless(walk):
            def __init__(self):
                super().__init__()
                self.state_spec = Composite(position=Unbounded((2,)))

        with pytest.raises(
            SpecError, match="expected another out_key than 'position', which the env's next step reads"
        ):
            TransformedEnv(Stateless(), DelayObservation(1, "position"))
        kit.ports_agree(Stateless, lambda: DelayObservation(1, "position", "late"))
        with pytest.raises(SpecError, match=r"DelayObservation: 'observation': .*expected values that can be zero"):
            DelayObservation(1).transform_specs(kit.specs_with(OneHot(3)))
        with pytest.raises(ValueError, match="delay: expected at least 1"):
            DelayObservation(0)
