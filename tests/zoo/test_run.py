import os

import pytest

from zoo.errors import RunFolderError
from zoo.registry import find_config
from zoo.run import RunFolder, runs_folder


def finished(path, age=0):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("")
    (path / "checkpoint.safetensors").write_bytes(b"")
    os.utime(path / "checkpoint.safetensors", (1_000_000 - age, 1_000_000 - age))
    return path


def test_folders_follow_algorithm_and_environment(tmp_path):
    config = find_config("ppo/CartPole-v1", ["env.id=ALE/Pong-v5"])
    assert runs_folder(tmp_path, config) == tmp_path / "ppo" / "ALE-Pong-v5"


def test_names_are_unique_within_a_second(tmp_path):
    names = {RunFolder.create(tmp_path, seed=3).path.name for _ in range(3)}
    assert len(names) == 3
    assert all("seed3" in name for name in names)


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "nul"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(RunFolderError, match="cannot name a folder"):
        RunFolder.create(tmp_path / "runs", name)
    assert not (tmp_path / "escape").exists()


def test_a_taken_name_is_refused(tmp_path):
    RunFolder.create(tmp_path, "first")
    with pytest.raises(RunFolderError, match="first exists"):
        RunFolder.create(tmp_path, "first")


def test_last_is_the_run_with_the_latest_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match=r"no run is found in runs; `zoo train` makes one"):
        RunFolder.find("last")
    finished(tmp_path / "runs/ppo/CartPole-v1/b", age=20)
    latest = finished(tmp_path / "runs/ppo/Acrobot-v1/a", age=10)
    (tmp_path / "runs/ppo/Acrobot-v1/failed").mkdir()
    assert RunFolder.find("last").path.resolve() == latest
    assert RunFolder.find(tmp_path / "runs" / "last").path == latest


def test_only_complete_runs_are_found(tmp_path):
    with pytest.raises(RunFolderError, match=r"is no run folder \(it has no config\.yaml\)"):
        RunFolder.find(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunFolderError, match=r"it has no checkpoint\.safetensors"):
        RunFolder.find(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    assert RunFolder.find(str(tmp_path)).path == tmp_path


def test_discard_removes_empty_folders_only(tmp_path):
    finished(tmp_path / "ppo/CartPole-v1/kept")
    RunFolder.create(tmp_path / "ppo/Typo-v1", "x").discard()
    assert [path.name for path in (tmp_path / "ppo").iterdir()] == ["CartPole-v1"]
    RunFolder.create(tmp_path / "ppo/CartPole-v1", "x").discard()
    assert (tmp_path / "ppo/CartPole-v1/kept").is_dir()
    used = finished(tmp_path / "ppo/CartPole-v1/used")
    with pytest.raises(OSError, match="not empty"):
        RunFolder(used).discard()
