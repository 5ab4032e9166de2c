from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from agents import LazyTensorStorage, ReplayBuffer
from envkit import (
    Bounded,
    CatFrames,
    Collector,
    Compose,
    GrayScale,
    GymEnv,
    GymWrapper,
    ObservationNorm,
    RandomPolicy,
    Resize,
    SerialEnv,
    SpecError,
    TimeMaxPool,
    ToTensorImage,
    TransformedEnv,
    UnsqueezeTransform,
    check_env_specs,
)
from envkit.transforms.functional.frames import last_frames

few = settings(deadline=None, max_examples=25, derandomize=True)
KEYS = {"in_keys": ["observation"]}

STACKS = {
    "same": lambda: CatFrames(4, -3, **KEYS),
    "constant": lambda: CatFrames(3, -1, **KEYS, padding="constant", padding_value=7),
    "apart": lambda: CatFrames(3, -2, ["observation"], ["last"]),
    "one": lambda: CatFrames(1, -3, **KEYS),
}


class TestCatFrames:
    @pytest.mark.parametrize("name", STACKS)
    def test_promises(self, name, kit, fake_atari):
        kit.all(lambda: GymWrapper(fake_atari()), STACKS[name])

    @pytest.mark.parametrize("name", STACKS)
    def test_on_rows(self, name, kit, fake_atari):
        assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), STACKS[name]()))

    def test_on_data_that_the_env_reads(self, kit, walk):
        kit.all(walk, lambda: CatFrames(3, -1, ["position"], ["last"]))

    def test_numbers(self, scripted):
        env = scripted(terminated=[False, False, True], observations=[[0.0], [1.0], [2.0], [3.0]])
        data = TransformedEnv(env, CatFrames(3, -1, **KEYS)).rollout(5, break_when_any_done=False)
        assert data["observation"].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0], [0, 0, 1]]
        assert data["next", "observation"].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 1], [0, 1, 2]]

    def test_constant_padding(self, scripted):
        env = scripted(observations=[[1.0], [2.0]])
        data = TransformedEnv(env, CatFrames(3, -1, **KEYS, padding="constant", padding_value=-5)).rollout(2)
        assert data["observation"].tolist() == [[-5, -5, 1], [-5, 1, 2]]

    @pytest.mark.parametrize("padding", ["reset", "zero"])
    def test_as_gymnasium(self, padding, fake_atari):
        theirs = gymnasium.wrappers.FrameStackObservation(fake_atari((6, 5)), 3, padding_type=padding)
        ours = CatFrames(3, -3, **KEYS, padding={"reset": "same", "zero": "constant"}[padding])
        ours = TransformedEnv(GymWrapper(fake_atari((6, 5))), Compose(UnsqueezeTransform(-3, **KEYS), ours))
        ours.set_seed(3)
        first, data = theirs.reset(seed=3)[0], ours.rollout(9)
        assert np.array_equal(data["observation"][0], first)
        for action, frames in zip(data["action"], data["next", "observation"], strict=True):
            assert np.array_equal(frames, theirs.step(int(action))[0])

    @few
    @given(data=st.data(), padding=st.sampled_from(["same", "constant"]), value=st.integers(0, 90))
    def test_output_in_its_spec(self, kit, data, padding, value):
        leaf = data.draw(kit.leaf_specs)
        transform = CatFrames(3, -1, **KEYS, padding=padding, padding_value=value)
        specs = kit.specs_with(leaf)
        try:
            outer = transform.transform_specs(specs)["observation"]
        except SpecError as error:
            if padding == "same" or "padding_value" not in str(error):
                raise
            return
        for _ in range(5):
            td = transform._reset(None, TensorDict(specs["observation"].rand()))
            assert outer.is_in(td), outer.violations(td)
            td = transform._step(td, TensorDict(specs["observation"].rand()))
            assert outer.is_in(td), outer.violations(td)

    def test_spec(self, kit):
        outer = CatFrames(4, -3, **KEYS).transform_specs(kit.specs_with(Bounded(0, 255, (1, 8, 8), dtype=torch.uint8)))
        assert outer["observation"]["observation"] == Bounded(0, 255, (4, 8, 8), dtype=torch.uint8)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"N": 0, "dim": -1}, "N: expected at least 1, found 0"),
            ({"N": 2, "dim": 0}, "dim: expected a negative number.* found 0"),
            ({"N": 2, "dim": -1, "padding": "zeros"}, "padding: expected 'same' or 'constant', found 'zeros'"),
        ],
    )
    def test_options(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            CatFrames(**kwargs)

    def test_refused(self, fake_atari):
        env = GymWrapper(fake_atari())
        with pytest.raises(SpecError, match=r"CatFrames: 'observation': .*at least 4 dimensions, found shape \[15, 10"):
            TransformedEnv(env, CatFrames(2, -4, **KEYS))
        with pytest.raises(SpecError, match=r"CatFrames: unknown key 'reward' in in_keys"):
            TransformedEnv(env, CatFrames(2, -1, in_keys=["reward"]))
        with pytest.raises(SpecError, match=r"expected to find 'observation' again .* ToTensorImage"):
            TransformedEnv(env, Compose(CatFrames(2, -1, **KEYS), ToTensorImage(**KEYS)))

    def test_other_names_let_more_follow(self, fake_atari, kit):
        def chain():
            return Compose(
                CatFrames(2, -1, **KEYS, out_keys=["last"]), ObservationNorm(0.0, 255.0, ["last"], ["normed"])
            )

        kit.commutes(lambda: GymWrapper(fake_atari()), chain)


class TestStoredFrames:
    @pytest.mark.parametrize("name", STACKS)
    @pytest.mark.parametrize("batch", [(), (2,)])
    def test_as_the_env_shows_them(self, name, batch, fake_atari, tools):
        """Episodes of many lengths, side by side in a batch of envs."""

        def one():
            return GymWrapper(fake_atari(lives=1))

        def make():
            return SerialEnv(2, one) if batch else one()

        env, plain = TransformedEnv(make(), STACKS[name]()), make()
        actions = tools.draw_actions(env, 40)
        for each in (env, plain):
            each.set_seed(1)
        expected, stored = (e.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False) for e in (env, plain))
        assert expected["next", "done"].sum() > 1
        tools.assert_same(STACKS[name]()(stored), expected)

    def test_named_under_next(self, scripted):
        env = scripted(terminated=[False, False, True], observations=[[0.0], [1.0], [2.0], [3.0]])
        stored = env.rollout(5, break_when_any_done=False)
        expected = CatFrames(3, -1, **KEYS)(stored.clone())
        found = CatFrames(3, -1, in_keys=["observation", ("next", "observation")])(stored.clone())
        assert (found == expected).all()
        alone = CatFrames(3, -1, in_keys=[("next", "observation")], out_keys=["last"])(stored.clone())
        assert torch.equal(alone["last"], expected["next", "observation"])
        assert torch.equal(alone["observation"], stored["observation"])

    def test_without_done_flags(self):
        td = CatFrames(2, -1, in_keys=["x"])(TensorDict({"x": torch.arange(3.0).unsqueeze(-1)}, [3]))
        assert td["x"].tolist() == [[0, 0], [0, 1], [1, 2]]

    def test_refused(self):
        frames = CatFrames(2, -1, in_keys=["x"])
        with pytest.raises(ValueError, match=r"expected data of several steps, .* found a single step"):
            frames(TensorDict({"x": torch.zeros(3)}))
        with pytest.raises(KeyError, match="CatFrames: 'x' is missing"):
            frames(TensorDict({"y": torch.zeros(3, 1)}, [3]))
        with pytest.raises(KeyError, match=r"CatFrames: .*next.*done.* is missing"):
            frames(TensorDict({"x": torch.zeros(3, 1), "next": {"x": torch.zeros(3, 1)}}, [3]))

    @few
    @given(
        ends=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=3),
        count=st.integers(1, 8),
        fill=st.none() | st.just(-1.0),
    )
    def test_index_arithmetic(self, ends, count, fill):
        frames = torch.arange(len(ends) * 6.0).reshape(len(ends), 6, 1)
        found = last_frames(frames, torch.tensor(ends), count, -1, fill)
        for series, flags, stacks in zip(frames.flatten(1).tolist(), ends, found.tolist(), strict=True):
            start = 0
            for t, stack in enumerate(stacks):
                seen = series[start : t + 1][-count:]
                padding = series[start] if fill is None else fill
                assert stack == [padding] * (count - len(seen)) + seen
                start = t + 1 if flags[t] else start

    def test_in_a_buffer_as_in_the_documentation(self):
        """A collector's stacks are made again of the pixels alone, of one entry that is a trajectory."""
        pytest.importorskip("pygame")

        def chain(pixels, names):
            return Compose(
                ToTensorImage(in_keys=pixels, out_keys=names),
                Resize(in_keys=names, w=64, h=64),
                GrayScale(in_keys=names),
                UnsqueezeTransform(-4, in_keys=names),
                CatFrames(dim=-4, N=4, in_keys=names),
            )

        env = TransformedEnv(GymEnv("CartPole-v1", from_pixels=True), chain(["pixels"], ["pixels_trsf"]))
        collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=10, total_frames=1000)
        data = next(iter(collector))
        assert data["pixels_trsf"].shape == (10, 4, 1, 64, 64)
        names = ["pixels_trsf", ("next", "pixels_trsf")]
        buffer = ReplayBuffer(
            LazyTensorStorage(5), transform=chain(["pixels", ("next", "pixels")], names), batch_size=16
        )
        buffer.add(data.exclude(*names))
        sample = buffer.sample(1)
        assert (data.exclude("collector") == sample.squeeze(0).exclude("index", "collector")).all()
        collector.shutdown()
        env.close()


class TestTimeMaxPool:
    @pytest.mark.parametrize("count", [2, 4])
    @pytest.mark.parametrize("out_keys", [None, ["most"]])
    def test_promises(self, count, out_keys, kit, fake_atari):
        def make():
            return TimeMaxPool(in_keys=["observation"], out_keys=out_keys, T=count)

        kit.all(lambda: GymWrapper(fake_atari((4, 3))), make)
        assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), make()))

    def test_nested(self, kit, walk):
        kit.all(
            walk, lambda: TimeMaxPool(in_keys=["position", ("nested", "clock")], out_keys=["most", ("nested", "max")])
        )

    def test_numbers(self, scripted):
        env = scripted(terminated=[False, False, False, True], observations=[[5.0], [1.0], [2.0], [0.0], [9.0]])
        data = TransformedEnv(env, TimeMaxPool(T=3)).rollout(6, break_when_any_done=False)
        assert data["observation"].flatten().tolist() == [5, 5, 5, 2, 5, 5]
        assert data["next", "observation"].flatten().tolist() == [5, 5, 2, 9, 5, 5]
        assert data["next", "observation_before"].squeeze(-1).tolist()[:2] == [[5, 1], [1, 2]]

    def test_spec(self, fake_atari):
        env = TransformedEnv(SerialEnv(2, lambda: GymWrapper(fake_atari((4, 3)))), TimeMaxPool(T=3))
        assert env.observation_spec["observation_before"] == Bounded(0, 255, (2, 2, 4, 3), dtype=torch.uint8)
        check_env_specs(env)

    def test_refused(self):
        with pytest.raises(ValueError, match="TimeMaxPool: T: expected at least 2, found 1"):
            TimeMaxPool(T=1)
        with pytest.raises(NotImplementedError, match="TimeMaxPool looks at the steps of an env"):
            TimeMaxPool()(TensorDict({"observation": torch.zeros(3, 1)}, [3]))
