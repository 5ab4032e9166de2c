"""The tutorials run, on a small budget and otherwise as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs/tutorials/ppo.py"


def run(code: str, folder: Path) -> str:
    script = folder / "tutorial.py"
    script.write_text(code)
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ppo_tutorial_runs(tmp_path):
    code = TUTORIAL.read_text()
    small = code.replace("total_frames = 50_000", "total_frames = 2_000").replace("num_epochs = 10", "num_epochs = 2")
    assert small.count("2_000") == 1
    out = run(small + '\nprint("batches:", len(logs["reward"]))', tmp_path)
    assert "normalization constant shape: torch.Size([9])" in out
    assert "Shape of the rollout TensorDict: torch.Size([3])" in out
    assert "batches: 2" in out


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_ppo_tutorial_learns(tmp_path, seed):
    code = TUTORIAL.read_text().replace("import torch\n", f"import torch\ntorch.manual_seed({seed})\n", 1)
    report = """
print("reward", logs["reward"][0], logs["reward"][-1])
print("return", logs["eval reward (sum)"][0], max(logs["eval reward (sum)"]))
print("steps", logs["step_count"][0], max(logs["step_count"]))
"""
    found = dict(line.split(" ", 1) for line in run(code + report, tmp_path).splitlines()[-3:])
    first, last = map(float, found["reward"].split())
    assert last > 9.0 > first
    before, after = map(float, found["return"].split())
    assert after > 3 * before
    short, long = map(float, found["steps"].split())
    assert long > 2 * short
