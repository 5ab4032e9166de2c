import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from envkit.record import CSVLogger
from envkit.record.loggers.base import bins_of, flat_hparams


@dataclass
class Net:
    cells: tuple = (64, 64)


@dataclass
class Config:
    lr: float = 0.1
    net: Net = field(default_factory=Net)


def test_settings_are_flattened():
    expected = {"lr": 0.1, "net/cells": "(64, 64)"}
    assert flat_hparams(Config()) == flat_hparams({"lr": 0.1, "net": Net()}) == expected
    with pytest.raises(TypeError, match="cfg: expected a mapping or a dataclass, found type"):
        flat_hparams(Config)


def test_bins_count_every_number_once():
    values = np.random.default_rng(0).normal(size=(7, 11))
    counts, edges = bins_of(torch.from_numpy(values), 5)
    assert counts.sum() == 77
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    for found, bad in {"none": [], "others among them": [0.0, float("nan")]}.items():
        with pytest.raises(ValueError, match=f"expected finite numbers, found {found}"):
            bins_of(bad, 5)


@pytest.mark.parametrize("channels_last", [True, False])
def test_videos_may_be_one_or_several(logger, video_of, channels_last):
    several = torch.arange(2 * 3, dtype=torch.uint8).reshape(2, 3, 1, 1, 1).repeat(1, 1, 6, 8, 3)
    video = several if channels_last else several.permute(0, 1, 4, 2, 3)
    logger.log_video("one", video[0])
    logger.log_video("two", video.numpy())
    assert torch.equal(video_of(logger, "one_0"), several[0])
    frames = video_of(logger, "two_0")
    assert torch.equal(frames[:, :, :8], several[0])
    assert torch.equal(frames[:, :, -8:], several[1])


@pytest.mark.parametrize("shape", [(6, 8, 3), (0, 6, 8, 3), (1, 1, 1, 6, 8, 3)])
def test_other_shapes_are_refused_and_leave_nothing(logger, shape):
    with pytest.raises(ValueError, match=r"'run': expected a video of shape .*, found shape \["):
        logger.log_video("run", torch.zeros(shape, dtype=torch.uint8))
    assert list(logger._spool().iterdir()) == []


def test_what_is_no_picture_leaves_nothing(logger):
    with pytest.raises(ValueError, match="'run': expected pictures of shape"):
        logger.log_video("run", torch.zeros(4, 6, 8, 2))
    assert list(logger._spool().iterdir()) == []


def test_copies_are_the_logger_itself(logger):
    assert copy.deepcopy({"logger": logger})["logger"] is logger
    assert copy.copy(logger) is logger


def test_experiments_do_not_lead_elsewhere(tmp_path):
    with pytest.raises(ValueError, match=r"exp_name: expected .* found '\.\./exp'"):
        CSVLogger("../exp", log_dir=tmp_path)
    with pytest.raises(ValueError, match="video_fps: expected a positive number, found 0"):
        CSVLogger("exp", log_dir=tmp_path, video_fps=0)
    assert list(tmp_path.iterdir()) == []
