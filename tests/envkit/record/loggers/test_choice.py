import pytest

from envkit.record import CSVLogger, MLflowLogger, TensorBoardLogger, get_logger


def test_loggers_are_made_by_name(tmp_path):
    logger = get_logger(
        "csv", str(tmp_path), "exp", video_format="pt", csv_kwargs={"video_fps": 5}, wandb_kwargs={"a": 1}
    )
    assert isinstance(logger, CSVLogger)
    assert (logger.exp_name, logger.log_dir, logger.video_fps) == ("exp", str(tmp_path), 5)
    assert (tmp_path / "exp" / "scalars").is_dir()


@pytest.mark.parametrize("nothing", [None, ""])
def test_there_may_be_none(nothing):
    assert get_logger(nothing, "logs", "exp") is None


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    with get_logger("tensorboard", str(tmp_path), "exp") as logger:
        assert isinstance(logger, TensorBoardLogger)
    assert (tmp_path / "exp").is_dir()


@pytest.mark.parametrize("as_uri", [True, False])
def test_mlflow_takes_folders_and_stores(tmp_path, monkeypatch, as_uri):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "ml runs"
    logger = get_logger("mlflow", folder.as_uri() if as_uri else str(folder), "exp", mlflow_kwargs={"tags": {"a": "b"}})
    assert isinstance(logger, MLflowLogger)
    assert logger.log_dir == folder.as_uri()
    assert folder.is_dir()


def test_unknown_names_list_the_known_ones():
    expected = r"logger_type: expected one of \['csv', 'mlflow', 'tensorboard', 'wandb'\], None or '', found 'sacred'"
    with pytest.raises(ValueError, match=expected):
        get_logger("sacred", "logs", "exp")
