import sys

import pytest
import torch

from envkit import MissingDependencyError, TransformedEnv
from envkit.record import VideoRecorder, WandbLogger


@pytest.fixture
def offline(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    options = {"settings": {"silent": True, "console": "off", "x_disable_stats": True, "x_disable_machine_info": True}}
    with WandbLogger("exp", offline=True, save_dir=tmp_path / "logs", project="tests", **options) as logger:
        yield logger


def test_an_offline_run_holds_everything(offline, tmp_path, camera, decode):
    offline.log_scalar("train/reward", torch.tensor(1.5), step=20)
    offline.log_scalar("train/reward", 0.5, step=10)
    summary = offline.experiment.summary
    assert (summary["train/reward"], summary["trainer/step"]) == (0.5, 10)
    offline.log_histogram("weights", torch.linspace(0, 1, 50), bins=5)
    assert sum(summary["weights"]["values"]) == 50
    offline.log_hparams({"lr": 0.1, "net": {"cells": [64]}})
    assert dict(offline.experiment.config) == {"lr": 0.1, "net/cells": "[64]"}

    env = TransformedEnv(camera(shape=(32, 48, 3)), VideoRecorder(offline, "eval/run"))
    for _ in range(2):
        env.rollout(9)
        env.transform.dump()
    videos = sorted((tmp_path / "logs").rglob("*.mp4"))
    assert [len(decode(path)) for path in videos] == [10, 10]
    assert summary["trainer/step"] == 1

    assert offline.experiment.name == "exp"
    assert offline.experiment.offline
    with pytest.raises(ValueError, match="name: expected"):
        offline.log_scalar("../x", 1.0)
    offline.close()
    assert list((tmp_path / "logs").rglob("*.wandb"))


def test_folders_are_told_once():
    with pytest.raises(ValueError, match="expected one of save_dir and log_dir, found 'a' and 'b'"):
        WandbLogger("exp", offline=True, save_dir="a", log_dir="b")


def test_a_missing_package_is_told_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match=r"WandbLogger needs wandb: pip install 'envkit\[wandb\]'"):
        WandbLogger("exp", offline=True, save_dir=tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []
