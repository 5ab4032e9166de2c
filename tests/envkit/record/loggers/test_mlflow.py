import sys
from pathlib import Path

import pytest
import torch

from envkit import MissingDependencyError, TransformedEnv
from envkit.record import MLflowLogger, VideoRecorder


@pytest.fixture
def store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no database
    return (tmp_path / "mlruns").as_uri()


def test_a_local_store_holds_everything(store, camera, decode):
    with MLflowLogger("exp", store, tags={"kind": "test"}) as logger:
        for value in (1.0, torch.tensor(2.0)):
            logger.log_scalar("train/reward", value)
        logger.log_scalar("loss", 3.0, step=7)
        logger.log_histogram("weights", torch.tensor([0.0, 1.0, 1.0]), bins=2)
        logger.log_hparams({"lr": 0.1, "net": {"cells": [64]}})
        env = TransformedEnv(camera(shape=(32, 48, 3)), VideoRecorder(logger, "eval/run"))
        for _ in range(2):
            env.rollout(9)
            env.transform.dump()
        with pytest.raises(ValueError, match="name: expected"):
            logger.log_scalar("../x", 1.0)
    client = logger.experiment
    run = client.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["kind"] == "test"
    assert run.data.params == {"lr": "0.1", "net/cells": "[64]"}
    history = client.get_metric_history(logger.run_id, "train/reward")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (1, 2.0)]
    assert run.data.metrics["loss"] == 3.0
    videos = [entry.path for entry in client.list_artifacts(logger.run_id, "videos/eval")]
    assert videos == ["videos/eval/run_0.mp4", "videos/eval/run_1.mp4"]
    assert [entry.path for entry in client.list_artifacts(logger.run_id, "histograms")] == ["histograms/weights_0.json"]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert [len(decode(folder / video)) for video in videos] == [10, 10]


def test_runs_share_their_experiment(store):
    loggers = [MLflowLogger("exp", store) for _ in range(2)]
    runs = [logger.experiment.get_run(logger.run_id).info for logger in loggers]
    assert runs[0].experiment_id == runs[1].experiment_id
    assert runs[0].run_id != runs[1].run_id


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(MissingDependencyError, match=r"MLflowLogger needs MLflow: pip install 'envkit\[mlflow\]'"):
        MLflowLogger("exp", "file:///nowhere")
