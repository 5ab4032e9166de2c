from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Bounded,
    CenterCrop,
    Compose,
    Crop,
    GrayScale,
    GymWrapper,
    Resize,
    SpecError,
    ToTensorImage,
    TransformedEnv,
    Unbounded,
)
from envkit.transforms.functional import images

few = settings(deadline=None, max_examples=25, derandomize=True)
KEYS = {"in_keys": ["observation"]}


def bytes_of(*shape):
    return Bounded(0, 255, shape, dtype=torch.uint8)


TRANSFORMS = {
    "tensor": lambda: ToTensorImage(**KEYS),
    "tensor_unsqueezed": lambda: ToTensorImage(
        unsqueeze=True, dtype=torch.float64, in_keys="observation", out_keys="x"
    ),
    "levels": lambda: ToTensorImage(from_int=False, **KEYS),
    "gray": lambda: GrayScale(**KEYS, channel_dim=-1),
    "gray_apart": lambda: GrayScale(["observation"], ["gray"], channel_dim=-1),
    "gray_floats": lambda: Compose(ToTensorImage(**KEYS), GrayScale(**KEYS)),
    "crop": lambda: Compose(ToTensorImage(**KEYS), Crop(3, 5, top=2, left=1, **KEYS)),
    "center": lambda: Compose(GrayScale(**KEYS, channel_dim=-1), CenterCrop(7, 4, **KEYS)),
} | {
    f"{name}_{kind}": lambda name=name, first=first: Compose(first(), Resize(7, 6, name, **KEYS))
    for name in ("nearest", "bilinear", "bicubic", "area")
    for kind, first in {
        "bytes": lambda: GrayScale(**KEYS, channel_dim=-1),
        "floats": lambda: ToTensorImage(**KEYS),
    }.items()
}


@pytest.fixture(params=[True, False], ids=["opencv", "no_opencv"])
def with_opencv(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(images, "opencv", lambda: None)
    elif images.opencv() is None:
        pytest.skip("OpenCV is not installed")


class TestPromises:
    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_all(self, name, kit, fake_atari):
        kit.all(lambda: GymWrapper(fake_atari()), TRANSFORMS[name], steps=12)

    @pytest.mark.parametrize("name", ["gray", "gray_floats"])
    def test_without_opencv(self, name, kit, fake_atari, monkeypatch):
        monkeypatch.setattr(images, "opencv", lambda: None)
        kit.all(lambda: GymWrapper(fake_atari()), TRANSFORMS[name], steps=12)

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_on_rows(self, name, kit, fake_atari):
        assert kit.on_rows(TransformedEnv(GymWrapper(fake_atari()), TRANSFORMS[name]()))

    @few
    @given(data=st.data(), shape=st.tuples(st.integers(4, 9), st.integers(4, 9)))
    def test_output_in_its_spec(self, kit, data, shape):
        dtype = data.draw(st.sampled_from([torch.uint8, torch.float32, torch.float64]))
        low = data.draw(st.integers(0, 100))
        leaf = Bounded(low, low + data.draw(st.integers(0, 100)), (3, *shape), dtype=dtype)
        mode = data.draw(st.sampled_from(["nearest", "bilinear", "bicubic", "area"]))
        size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        for transform in (
            ToTensorImage(**KEYS),
            GrayScale(**KEYS),
            Resize(*size, mode, **KEYS),
            Crop(2, 3, 1, 2, **KEYS),
            CenterCrop(4, 1, **KEYS),
        ):
            assert kit.spec_contains_output(transform, leaf).dtype.is_floating_point or dtype is torch.uint8


class TestToTensorImage:
    def test_spec(self, kit):
        spec = kit.spec_contains_output(ToTensorImage(**KEYS), bytes_of(4, 5, 3))
        assert spec == Bounded(0.0, 1.0, (3, 4, 5))
        spec = kit.spec_contains_output(ToTensorImage(**KEYS), Unbounded((4, 5, 3)))
        assert spec == Unbounded((3, 4, 5))

    def test_floats_stay(self):
        image = torch.rand(4, 5, 3)
        assert torch.equal(ToTensorImage()(TensorDict({"pixels": image}))["pixels"], image.permute(2, 0, 1))
        assert torch.equal(
            ToTensorImage(from_int=True)(TensorDict({"pixels": image}))["pixels"], image.permute(2, 0, 1) / 255
        )

    def test_errors(self, kit):
        with pytest.raises(ValueError, match=r"expected a floating-point dtype, found torch.uint8"):
            ToTensorImage(dtype=torch.uint8)
        with pytest.raises(SpecError, match=r"ToTensorImage: 'observation': cannot transform .* of shape \[5\]"):
            ToTensorImage(**KEYS).transform_specs(kit.specs_with(bytes_of(5)))


class TestGrayScale:
    def test_as_opencv(self):
        cv2 = pytest.importorskip("cv2")
        frame = np.random.default_rng(0).integers(0, 256, (210, 160, 3), dtype=np.uint8)
        expected = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        assert np.array_equal(images.grayscale(frame, -1), expected)
        assert np.array_equal(images.grayscale(torch.from_numpy(frame), -1), expected)
        assert np.array_equal(images.grayscale(torch.from_numpy(frame).permute(2, 0, 1)), expected)

    def test_each_level_of_each_colour_as_opencv(self):
        cv2 = pytest.importorskip("cv2")
        levels = np.arange(256, dtype=np.uint8)
        frame = np.zeros((3, 256, 3), np.uint8)
        for channel in range(3):
            frame[channel, :, channel] = levels
        assert np.array_equal(images.grayscale(torch.from_numpy(frame), -1), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))

    def test_in_pieces_and_into_memory_with_gaps(self, with_opencv):
        frames = np.random.default_rng(0).integers(0, 256, (3, 700, 130, 3), dtype=np.uint8)
        expected = images.grayscale(torch.from_numpy(frames), -1).numpy()
        out = np.zeros((6, 700, 130), np.uint8)
        images.gray_bytes(frames, out[::2])
        assert np.array_equal(out[::2], expected)
        assert not out[1::2].any()
        assert np.array_equal(images.grayscale(frames, -1), expected)

    def test_floats(self):
        image = torch.rand(2, 3, 4, 5, dtype=torch.float64)
        expected = (image * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(-3)
        torch.testing.assert_close(GrayScale()(TensorDict({"pixels": image}))["pixels"].squeeze(-3), expected)

    @pytest.mark.parametrize(
        ("transform", "leaf", "message"),
        [
            (GrayScale(**KEYS), bytes_of(4, 5, 3), r"expected 3 channels in dimension -3, found shape \[4, 5, 3\]"),
            (GrayScale(**KEYS, channel_dim=-1), bytes_of(3, 4, 5), r"in dimension -1, found shape \[3, 4, 5\]"),
            (GrayScale(**KEYS), bytes_of(3), r"expected 3 channels"),
            (
                GrayScale(**KEYS),
                Bounded(0, 9, (3, 4, 5), dtype=torch.int64),
                r"GrayScale: 'observation': expected dtype torch.uint8 or torch.float32 or .*, found torch.int64",
            ),
        ],
    )
    def test_refused(self, transform, leaf, message, kit):
        with pytest.raises(SpecError, match=message):
            transform.transform_specs(kit.specs_with(leaf))

    def test_unknown_dimension(self):
        with pytest.raises(ValueError, match="expected channel_dim -1 or -3, found -2"):
            GrayScale(channel_dim=-2)


class TestResize:
    @few
    @given(
        old=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        new=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        seed=st.integers(0, 9),
    )
    def test_area_is_the_mean_over_what_a_pixel_covers(self, old, new, seed):
        image = torch.from_numpy(np.random.default_rng(seed).random(old))
        fine = image.repeat_interleave(new[0], 0).repeat_interleave(new[1], 1)
        expected = fine.reshape(new[0], old[0], new[1], old[1]).mean((1, 3))
        torch.testing.assert_close(images.resize(image, *new, "area"), expected)

    @few
    @given(
        old=st.tuples(st.integers(4, 60), st.integers(4, 60)),
        new=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        seed=st.integers(0, 9),
    )
    def test_area_as_opencv(self, old, new, seed):
        cv2 = pytest.importorskip("cv2")
        image = np.random.default_rng(seed).integers(0, 256, old, dtype=np.uint8)
        expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(images.mean_over_areas(image, *new).astype(int) - expected).max() <= 1
        assert np.array_equal(
            images.mean_over_areas(torch.from_numpy(image), *new), images.mean_over_areas(image, *new)
        )
        image = torch.from_numpy(image / 255)
        expected = torch.from_numpy(cv2.resize(image.numpy(), new[::-1], interpolation=cv2.INTER_AREA))
        torch.testing.assert_close(images.resize(image, *new, "area"), expected)

    @few
    @given(
        old=st.tuples(st.integers(1, 120), st.integers(1, 120)),
        new=st.tuples(st.integers(1, 90), st.integers(1, 90)),
        batch=st.lists(st.integers(1, 4), max_size=2),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    def test_area_of_each_float_image_as_alone(self, old, new, batch, dtype):
        stack = np.random.default_rng(0).random((*batch, *old)).astype(dtype)
        found = images.mean_over_areas(stack, *new)
        for index in np.ndindex(*batch):
            assert np.array_equal(found[index], images.mean_over_areas(stack[index].copy(), *new))

    def test_area_of_large_images(self):
        """Whose sums float32 does not hold."""
        image = torch.full((301, 299), 255, dtype=torch.uint8)
        image[::2] -= 1
        exact = image.double().repeat_interleave(7, 0).reshape(7, 301, 299).mean((1, 2)).round()
        assert torch.equal(images.resize(image, 7, 1, "area").squeeze(-1).double(), exact)

    def test_atari_frames_as_opencv(self, with_opencv):
        cv2 = pytest.importorskip("cv2")
        frames = np.random.default_rng(0).integers(0, 256, (5, 210, 160, 3), dtype=np.uint8)
        td = TensorDict({"pixels": torch.from_numpy(frames)}, [5])
        found = Compose(GrayScale(channel_dim=-1), Resize(84, 84, "area"))(td)["pixels"][:, 0].numpy()
        for frame, one in zip(frames, found, strict=True):
            expected = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)
            assert np.abs(one.astype(int) - expected).max() <= 1

    def test_as_gymnasium(self, fake_atari):
        pytest.importorskip("cv2")
        theirs = gymnasium.wrappers.ResizeObservation(fake_atari((15, 10)), (8, 7))
        ours = TransformedEnv(GymWrapper(fake_atari((15, 10))), Resize(7, 8, "area", **KEYS))
        ours.set_seed(3)
        first, data = theirs.reset(seed=3)[0], ours.rollout(5)
        assert np.abs(data["observation"][0].numpy().astype(int) - first).max() <= 1
        for action, frame in zip(data["action"], data["next", "observation"].numpy(), strict=True):
            assert np.abs(frame.astype(int) - theirs.step(int(action))[0]).max() <= 1

    def test_width_and_height(self):
        td = TensorDict({"pixels": torch.zeros(3, 8, 8)})
        assert Resize(5, 4)(td.clone())["pixels"].shape == (3, 4, 5)
        assert Resize(5)(td)["pixels"].shape == (3, 5, 5)

    @pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
    def test_flat_images_stay_flat(self, mode):
        td = TensorDict({"pixels": torch.full((9, 7), 200, dtype=torch.uint8)})
        assert Resize(4, 12, mode)(td)["pixels"].unique().tolist() == [200]

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_as_torch(self, mode):
        image = torch.rand(2, 3, 9, 9)
        expected = torch.nn.functional.interpolate(image, (4, 5), mode=mode, antialias=True)
        torch.testing.assert_close(images.resize(image, 4, 5, mode), expected)

    def test_gradients_pass(self):
        image = torch.rand(1, 8, 8, requires_grad=True)
        images.resize(image, 2, 2, "area").sum().backward()
        torch.testing.assert_close(image.grad, torch.full((1, 8, 8), 1 / 16))

    def test_bounds_of_cubics(self, kit):
        assert kit.spec_contains_output(Resize(3, 3, "bicubic", **KEYS), bytes_of(5, 5)) == bytes_of(3, 3)
        spec = kit.spec_contains_output(Resize(3, 3, "bicubic", **KEYS), Bounded(0.0, 1.0, (5, 5)))
        assert spec == Unbounded((3, 3))

    def test_errors(self, kit):
        with pytest.raises(ValueError, match=r"Resize: expected a size of at least 1 x 1, found w=0, h=0"):
            Resize(0)
        with pytest.raises(ValueError, match=r"interpolation: expected one of \('nearest', .*\), found 'cubic'"):
            Resize(4, 4, "cubic")
        with pytest.raises(SpecError, match=r"Resize: 'observation': .*expected images of shape .* found \[5\]"):
            Resize(4, **KEYS).transform_specs(kit.specs_with(bytes_of(5)))


class TestCrops:
    def test_parts(self):
        image = torch.arange(30).reshape(1, 5, 6)
        td = TensorDict({"pixels": image})
        assert torch.equal(Crop(2, 3, top=1, left=4)(td.clone())["pixels"], image[:, 1:4, 4:6])
        assert torch.equal(Crop(2)(td.clone())["pixels"], image[:, :2, :2])
        assert torch.equal(CenterCrop(2, 3)(td.clone())["pixels"], image[:, 1:4, 2:4])
        assert torch.equal(CenterCrop(6, 5)(td)["pixels"], image)

    def test_bounds_follow(self, kit):
        low = torch.arange(20.0).reshape(4, 5)
        spec = kit.spec_contains_output(Crop(2, 2, 1, 3, **KEYS), Bounded(low, low + 1, (4, 5)))
        assert spec.low.tolist() == low[1:3, 3:5].tolist()

    def test_errors(self, kit):
        with pytest.raises(ValueError, match="Crop: expected top and left of at least 0, found -1 and 0"):
            Crop(2, 2, top=-1)
        with pytest.raises(SpecError, match=r"'observation'.*hold 3 x 2 pixels from row 0, column 4, found 5 x 5"):
            Crop(2, 3, left=4, **KEYS).transform_specs(kit.specs_with(bytes_of(5, 5)))
        with pytest.raises(SpecError, match=r"hold 9 x 9 pixels .* found 5 x 5"):
            CenterCrop(9, **KEYS).transform_specs(kit.specs_with(bytes_of(5, 5)))
