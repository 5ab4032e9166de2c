import pickle
import sys

import av
import pytest
import torch

from envkit import MissingDependencyError
from envkit.record import CSVLogger

VIDEO = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).repeat(1, 16, 16, 3) * 50


def lines(path):
    return path.read_text().splitlines()


def test_scalars_are_on_disk_as_soon_as_they_come(tmp_path):
    logger = CSVLogger("exp", log_dir=tmp_path)
    for value in (0.5, torch.tensor([2]), 3):
        logger.log_scalar("train/reward", value)
        logger.log_scalar("loss", value, step=7)
    folder = tmp_path / "exp" / "scalars"
    assert lines(folder / "train" / "reward.csv") == ["0,0.5", "1,2.0", "2,3.0"]
    assert lines(folder / "loss.csv") == ["7,0.5", "7,2.0", "7,3.0"]


def test_histograms_have_a_line_for_each_bin(tmp_path):
    logger = CSVLogger("exp", log_dir=tmp_path)
    logger.log_histogram("weights", torch.tensor([0.0, 1.0, 1.0]), step=3, bins=2)
    assert lines(tmp_path / "exp" / "histograms" / "weights.csv") == ["3,0.0,0.5,1", "3,0.5,1.0,2"]


def test_settings_are_text(tmp_path):
    logger = CSVLogger("exp", log_dir=tmp_path)
    for lr in (0.1, 0.2):
        logger.log_hparams({"net": {"depth": 2}, "lr": lr})
    assert lines(tmp_path / "exp" / "texts" / "hparams.txt") == ["lr: 0.2", "net/depth: 2"]


@pytest.mark.parametrize("video_format", ["pt", "memmap", "mp4", "gif"])
def test_videos_take_free_numbers_or_their_step(tmp_path, video_format):
    for _ in range(2):  # another run in the same folder
        logger = CSVLogger("exp", log_dir=tmp_path, video_format=video_format)
        logger.log_video("eval/run", VIDEO)
        logger.log_video("eval/run", VIDEO, step=100)
    names = [path.name for path in (tmp_path / "exp" / "videos" / "eval").glob(f"*.{video_format}")]
    assert sorted(names) == [f"run_{step}.{video_format}" for step in (0, 1, 100)]
    assert [path.name for path in (tmp_path / "exp" / "videos").iterdir()] == ["eval"]


def test_frames_per_second_are_those_asked_for(tmp_path):
    logger = CSVLogger("exp", log_dir=tmp_path, video_format="mp4", video_fps=12)
    logger.log_video("run", VIDEO)
    logger.log_video("run", VIDEO, fps=25)
    for number, fps in enumerate((12, 25)):
        with av.open(str(tmp_path / "exp" / "videos" / f"run_{number}.mp4")) as container:
            assert container.streams.video[0].average_rate == fps


def test_it_can_be_sent_to_other_processes(tmp_path):
    logger = pickle.loads(pickle.dumps(CSVLogger("exp", log_dir=tmp_path)))
    logger.log_scalar("loss", 1.0)
    assert lines(tmp_path / "exp" / "scalars" / "loss.csv") == ["0,1.0"]


@pytest.mark.parametrize("log", ["log_scalar", "log_histogram", "log_video"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, log):
    logger = CSVLogger("exp", log_dir=tmp_path)
    value = {"log_scalar": 1.0, "log_histogram": [1.0], "log_video": VIDEO}[log]
    with pytest.raises(ValueError, match=r"name: expected .* found '\.\./\.\./name'"):
        getattr(logger, log)("../../name", value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_mistakes_are_told_at_construction(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"video_format: expected one of \['pt', .*'gif'\], found 'avi'"):
        CSVLogger("exp", log_dir=tmp_path, video_format="avi")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"CSVLogger writes mp4 by PyAV: pip install 'envkit\[video\]'"):
        CSVLogger("exp", log_dir=tmp_path, video_format="mp4")
    assert list(tmp_path.iterdir()) == []
    CSVLogger("exp", log_dir=tmp_path).log_video("run", VIDEO)
