import sys

import numpy as np
import pytest

from envkit import MissingDependencyError
from envkit.record.video_file import ENCODED_FORMATS, VideoFile, require_encoder


@pytest.mark.parametrize("video_format", ENCODED_FORMATS)
@pytest.mark.parametrize("fps", [10, 29.97, 500])
def test_every_frame_comes_back_in_order(tmp_path, decode, video_format, fps):
    path = tmp_path / f"video.{video_format}"
    frames = np.zeros((12, 33, 47, 3), dtype=np.uint8)
    frames[:] = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    with VideoFile(path, fps=fps) as video:
        for frame in frames:
            video.add(frame)
    assert video.frames == 12
    found = decode(path)
    assert len(found) == 12
    for before, after in zip(frames, found, strict=True):
        assert after.shape == (34, 48, 3)
        assert abs(before[0, 0].astype(int) - after.mean((0, 1))).max() < 12


def test_the_format_may_differ_from_the_suffix(tmp_path):
    with VideoFile(tmp_path / "video.tmp", video_format="gif") as video:
        video.add(np.zeros((16, 16, 3), dtype=np.uint8))
    assert (tmp_path / "video.tmp").read_bytes().startswith(b"GIF8")


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a video of format mp4 or gif, found 'avi'"):
        VideoFile(tmp_path / "video.avi")


def test_an_exception_in_the_block_is_the_one_that_is_raised(tmp_path):
    with pytest.raises(KeyError, match="mine"), VideoFile(tmp_path / "video.mp4"):
        raise KeyError("mine")


def test_a_missing_package_is_told_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"VideoFile writes mp4 by PyAV: pip install 'envkit\[video\]'"):
        VideoFile(tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_is_told(monkeypatch):
    monkeypatch.setitem(ENCODED_FORMATS, "mp4", ENCODED_FORMATS["mp4"]._replace(codec="libnothing"))
    with pytest.raises(MissingDependencyError, match="expected a PyAV with the encoder 'libnothing', found"):
        require_encoder("the test", "mp4")
