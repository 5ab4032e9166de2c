import json

import numpy as np
import pytest
import torch
from tensordict import MemoryMappedTensor

from envkit.record.raw_video import RawVideo

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def write(path, frames=FRAMES):
    with RawVideo(path, fps=12) as video:
        for frame in frames:
            video.add(frame)


def test_tensors_come_back_as_they_were(tmp_path):
    write(tmp_path / "video.pt")
    found = torch.load(tmp_path / "video.pt", mmap=True)
    assert found.dtype is torch.uint8
    assert np.array_equal(found.permute(0, 2, 3, 1), FRAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["video.pt"]


def test_bytes_come_back_by_the_shape_beside_them(tmp_path):
    write(tmp_path / "video.memmap")
    told = json.loads((tmp_path / "video.json").read_text())
    assert told == {"dtype": "uint8", "shape": [5, 3, 6, 8], "fps": 12}
    found = MemoryMappedTensor.from_filename(str(tmp_path / "video.memmap"), torch.uint8, torch.Size(told["shape"]))
    assert np.array_equal(found.permute(0, 2, 3, 1), FRAMES)


def test_frames_that_change_their_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"frame 1: expected uint8 of shape \(6, 8, 3\), found uint8 of \(6, 7, 3\)"):
        write(tmp_path / "video.pt", [FRAMES[0], FRAMES[0][:, :-1]])


def test_a_video_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one frame, found none"):
        write(tmp_path / "video.pt", [])
