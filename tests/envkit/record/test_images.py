import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensordict import NonTensorData, NonTensorStack

from envkit.record.images import center_crop, image_size, tile, to_rgb

PICTURES = st.tuples(st.integers(0, 3), st.integers(4, 9), st.integers(4, 9)).flatmap(
    lambda sizes: arrays(np.uint8, ((2,) * sizes[0]) + (sizes[1], sizes[2], 3))
)


@given(PICTURES)
def test_every_layout_and_carrier_gives_the_same_frames(pictures):
    channels_first = np.moveaxis(pictures, -1, -3)
    given_as = [pictures, channels_first, pictures[::-1][::-1], torch.from_numpy(channels_first)]
    given_as += [torch.from_numpy(pictures / np.float32(255)), NonTensorData(pictures)]
    for value in given_as:
        assert np.array_equal(to_rgb(value), pictures)


def test_grey_pictures_have_three_equal_channels():
    grey = torch.arange(20, dtype=torch.uint8).reshape(1, 4, 5)
    for value in (grey, grey.permute(1, 2, 0)):
        frame = to_rgb(value)
        assert frame.shape == (4, 5, 3)
        assert all(np.array_equal(frame[..., channel], grey[0].numpy()) for channel in range(3))


def test_stacked_objects_are_a_batch():
    pictures = [np.full((4, 5, 3), level, dtype=np.uint8) for level in (1, 2)]
    stack = NonTensorStack(*map(NonTensorData, pictures))
    assert np.array_equal(to_rgb(stack), np.stack(pictures))


def test_an_overshoot_of_resampling_is_cut_off():
    assert np.unique(to_rgb(torch.tensor([-0.1, 0.5, 1.1]).repeat(4, 4, 1))).tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(4, 5), r"'cam'.*expected pictures of shape .* found shape \[4, 5\]"),
        (torch.zeros(4, 5, 2), r"with 1 or 3 channels, found shape \[4, 5, 2\]"),
        (torch.zeros(4, 5, 3, dtype=torch.int64), r"'cam'.*torch.uint8 or floats in \[0, 1\], found torch.int64"),
        (torch.full((4, 5, 3), 255.0), r"'cam'.*in \[0, 1\], found values from 255 to 255"),
        (torch.full((4, 5, 3), -1.0), "found values from -1 to -1; record them before they are normalised"),
        (torch.full((4, 5, 3), float("nan")), "found values from nan to nan"),
    ],
)
def test_what_is_no_picture_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(value, "cam")


def test_sizes_are_those_of_the_pictures():
    assert image_size((7, 4, 5, 3), torch.uint8, "cam") == (4, 5)
    assert image_size((7, 3, 4, 5), torch.float32, "cam") == (4, 5)


def test_a_crop_keeps_the_middle():
    picture = torch.zeros(6, 9, 3, dtype=torch.uint8)
    picture[1:5, 2:6] = 1
    assert np.array_equal(center_crop(to_rgb(picture), 4), np.ones((4, 4, 3)))


def test_a_grid_shows_every_picture_once_row_after_row():
    frames = np.stack([np.full((4, 6, 3), level, dtype=np.uint8) for level in range(1, 6)])
    grid = tile(frames)
    assert grid.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    corners = [(0, 0), (0, 8), (0, 16), (6, 0), (6, 8)]
    assert [grid[corner].tolist() for corner in corners] == [[level] * 3 for level in range(1, 6)]
    for frame, (top, left) in zip(frames, corners, strict=True):
        assert np.array_equal(grid[top : top + 4, left : left + 6], frame)
        grid[top : top + 4, left : left + 6] = 0
    assert not grid.any()
