import io
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")

import av
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from envkit import MissingDependencyError, TransformedEnv
from envkit.record import TensorBoardLogger, VideoRecorder


def read(tmp_path):
    return EventAccumulator(str(tmp_path / "exp"), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_everything_comes_back(tmp_path):
    values = torch.linspace(0, 1, 50)
    with TensorBoardLogger("exp", log_dir=tmp_path) as logger:
        for value in (1.0, 2.0):
            logger.log_scalar("train/reward", value)
        logger.log_scalar("loss", 3.0, step=7)
        logger.log_histogram("weights", values, step=3)
        logger.log_hparams({"lr": 0.1, "net": {"cells": [64]}})
        logger.close()
    events = read(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/reward")] == [(0, 1.0), (1, 2.0)]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(7, 3.0)]
    (histogram,) = events.Histograms("weights")
    assert (histogram.step, histogram.histogram_value.num) == (3, 50)
    assert sum(histogram.histogram_value.bucket) == 50
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_videos_are_moving_pictures(tmp_path, camera):
    with TensorBoardLogger("exp", log_dir=tmp_path, video_fps=20) as logger:
        env = TransformedEnv(camera(start=100, shape=(32, 48, 3)), VideoRecorder(logger, "eval/run"))
        for _ in range(2):
            env.rollout(9)
            env.transform.dump()
    pictures = read(tmp_path).Images("eval/run")
    assert [picture.step for picture in pictures] == [0, 1]
    assert (pictures[0].height, pictures[0].width) == (32, 48)
    with av.open(io.BytesIO(pictures[0].encoded_image_string)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "gif"
        assert stream.average_rate == 20
        assert len(list(container.decode(stream))) == 10


def test_numbers_of_any_kind_are_taken(tmp_path):
    with TensorBoardLogger("exp", log_dir=tmp_path) as logger:
        logger.log_scalar("x", np.float32(1.5))
        logger.log_scalar("x", torch.tensor([2], dtype=torch.int64))
        with pytest.raises(ValueError, match="name: expected"):
            logger.log_scalar("../x", 1.0)
    assert [event.value for event in read(tmp_path).Scalars("x")] == [1.5, 2.0]


def test_a_missing_package_is_told_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"needs TensorBoard: pip install 'envkit\[tensorboard\]'"):
        TensorBoardLogger("exp", log_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
