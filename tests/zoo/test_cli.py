import json
import os
import signal
import subprocess
import sys
import time

import av
import pytest
from typer.testing import CliRunner

from agents import PPO
from zoo.building import make_env
from zoo.cli import app
from zoo.config import config_to_yaml
from zoo.metrics import read_metrics
from zoo.registry import find_config
from zoo.result import read_result
from zoo.run import RunFolder

TINY = ["-o", "agent.epochs=1", "-o", "eval.episodes=5"]


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder root with one tiny run in it, and what the command printed."""
    root = tmp_path_factory.mktemp("runs")
    result = invoke("train", "--steps", 2048, "--out", root, *TINY)
    assert result.exit_code == 0, result.output
    return root, result.output


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_zoo_alone_shows_the_three_commands_of_a_newcomer():
    result = invoke()
    assert result.exit_code == 0
    for command in ("zoo train", "zoo eval last", "zoo video last"):
        assert command in result.output


def test_help_lists_the_commands_without_loading_torch():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from zoo.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0\n"
        "print(result.output)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = ("train", "resume", "eval", "video", "list", "bench", "plot", "report", "verify", "tune")
    shown = [line.split()[1] for line in done.stdout.splitlines() if line[:1] in "│|" and line[2:3].isalpha()]
    assert tuple(shown) == commands


def test_train_without_a_name_says_what_it_trains_and_what_to_type_next(trained):
    root, output = trained
    run = RunFolder.find(root / "last")
    assert f"No name given: training ppo/CartPole-v1, 2,048 steps, seed 0, into {run.path}" in output
    assert "steps/s | return " in output
    assert "\x1b" not in output
    assert "over 5 episodes" in output
    assert "the bar of 475" in output
    for command in ("zoo eval", "zoo video", "tensorboard --logdir"):
        assert f"{command} {run.path}" in output
    assert run.path.parent == root / "ppo" / "CartPole-v1"
    assert read_metrics(run.metrics)[-1]["steps"] == 2048


def test_train_quietly_with_a_seed(tmp_path):
    result = invoke("train", "ppo/CartPole-v1", "--steps", 256, "--seed", 3, "--out", tmp_path, "-q", *TINY)
    assert result.exit_code == 0
    assert result.output.startswith("ppo/CartPole-v1 seed 3: ")
    assert len(result.output.splitlines()) == 1
    assert RunFolder.find(tmp_path / "last").load_config().seed == 3


def test_eval_prints_and_writes_the_score(trained):
    root, _ = trained
    run = RunFolder.find(root / "last")
    told = json.loads(run.evaluation.read_text())
    result = invoke("eval", root / "last")
    assert result.exit_code == 0
    assert f"{told['mean']:.1f} ± {told['std']:.1f} over 5 episodes" in result.output
    assert "start seeds 10000 to 10004" in result.output


def test_eval_as_json(trained, monkeypatch):
    root, _ = trained
    monkeypatch.chdir(root.parent)
    run = RunFolder.find(root / "last")
    result = invoke("eval", run.path, "--episodes", 2, "--json")
    data = json.loads(result.output)
    assert data["episodes"] == len(data["returns"]) == 2
    assert data == json.loads(run.evaluation.read_text())


def test_video_has_a_frame_for_the_reset_and_each_step(trained, tmp_path):
    root, _ = trained
    run = RunFolder.find(root / "last")
    lengths = json.loads(invoke("eval", run.path, "--episodes", 2, "--json").output)["lengths"]
    file = tmp_path / "sub" / "two.mp4"
    result = invoke("video", run.path, "--episodes", 2, "--out", file)
    assert result.exit_code == 0, result.output
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (600, 400)
        assert stream.average_rate == 50
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == sum(lengths) + 2
    assert f"{file}: {len(frames)} frames" in result.output
    assert frames[0].std() > 0
    assert abs(frames[0].astype(int) - frames[lengths[0]]).max() > 50


def test_list_shows_every_config():
    result = invoke("list")
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if line.startswith("ppo/CartPole-v1"))
    assert "100,000" in line
    assert "475" in line


@pytest.fixture(scope="module")
def benchmarked(tmp_path_factory):
    """A folder with a tiny benchmark and its result, and what the command printed."""
    root = tmp_path_factory.mktemp("benchmarks")
    config = root / "mine.yaml"
    settings = {"agent.epochs": 1, "eval.episodes": 5, "eval.points": 2, "eval.curve_episodes": 2}
    text = config_to_yaml(find_config("ppo/CartPole-v1", [f"{key}={value}" for key, value in settings.items()]))
    config.write_text(text.replace("total_steps: 100000", "total_steps: 512"))
    options = ["--seeds", 2, "--at-least", 1, "--out", root / "runs", "--save", root / "results"]
    result = invoke("bench", config, *options)
    assert result.exit_code == 0, result.output
    return root, result.output


def test_bench_prints_each_seed_and_the_summary_and_keeps_the_result(benchmarked):
    root, output = benchmarked
    for word in ("seed 0: ", "seed 1: ", "mean ", "worst ", "IQM ", "wall time ", "CPU time "):
        assert word in output
    assert "2 of 2 seeds reach the bar of 1\n" in output
    (file,) = root.glob("runs/ppo/CartPole-v1/benchmark-*/benchmark.json")
    assert read_result(file) == read_result(root / "results/ppo/CartPole-v1.json")


def test_bench_goes_on(benchmarked):
    root, _ = benchmarked
    (folder,) = root.glob("runs/ppo/CartPole-v1/benchmark-*")
    result = invoke("benchmark", "--continue", folder)
    assert result.exit_code == 0
    assert "seed 0" not in result.output
    assert "2 of 2 seeds reach the bar of 1\n" in result.output


def test_plot_report_and_verify(benchmarked):
    root, _ = benchmarked
    (folder,) = root.glob("runs/ppo/CartPole-v1/benchmark-*")
    result = invoke("plot", folder, folder / "seed-0", "--out", root / "curves.png")
    assert result.output.strip() == str(root / "curves.png")
    assert (root / "curves.png").read_bytes().startswith(b"\x89PNG")
    result = invoke("report", root / "runs", "--out", root / "site")
    assert result.exit_code == 0
    assert "zoo bench config.yaml --seeds 2" in (root / "site/index.html").read_text()
    result = invoke("report", "--markdown", root / "results.md")
    assert (root / "results.md").read_text().startswith("# Results of the zoo\n")


def test_verify_tells_by_its_exit_code(benchmarked):
    root, _ = benchmarked
    mine, results = root / "bar.yaml", root / "results"
    mine.write_text((root / "mine.yaml").read_text().replace("target: 475.0", "target: 1.0"))
    result = invoke("verify", mine, "--results", results, "-q")
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith("as published")
    kept = results / "ppo/CartPole-v1.json"
    scored = f'"score": {read_result(kept).seeds[0].score}'
    kept.write_text(kept.read_text().replace(scored, '"score": 1.5'))
    result = invoke("verify", mine, "--results", results, "-q")
    assert result.exit_code == 1
    assert "score: published 1.5, found " in result.output


def test_tune_prints_a_snippet():
    pytest.importorskip("optuna")
    small = ["-o", "total_steps=256", "-o", "eval.episodes=1"]
    result = invoke("tune", "ppo/CartPole-v1", "--trials", 2, "--seeds", 1, *small)
    assert result.exit_code == 0, result.output
    assert "trial 1: " in result.output
    assert "2 trials complete" in result.output
    assert "\nagent:\n  lr: " in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ppo/CartPoll-v1"], "did you mean 'ppo/CartPole-v1'"),
        (["train", "-o", "agent.lrr=1"], "unknown key 'agent.lrr'; did you mean 'agent.lr'?"),
        (["train", "-o", "env.id=CartPoll-v1"], "CartPole"),
        (
            ["train", "-o", "env.kwargs={gravity_of_mars: true}"],
            "CartPole-v1 refuses {'gravity_of_mars': True}",
        ),
        (["train", "--steps", "100"], "one iteration of 256 steps"),
        (["train", "--seed", "-1"], "seed must be between"),
        (["eval", "nowhere"], "nowhere is no run folder"),
        (["video", "last"], "no run is found in runs"),
        (["bench", "zzz"], "no config is named 'zzz'"),
        (["bench"], "expected NAME with its options, or --continue FOLDER"),
        (["bench", "ppo/CartPole-v1", "--continue", "x"], "expected NAME with its options, or --continue FOLDER"),
        (["bench", "--continue", "nowhere"], "nowhere is no folder of a benchmark"),
        (["plot", "nowhere"], "nowhere: expected a run folder"),
        (["report", "nowhere"], "nowhere: expected a folder"),
        (["verify", "ppo/CartPole-v1", "--results", "nowhere"], "no result is kept in nowhere"),
        (["tune", "ppo/Acrobot-v1"], "expected a tune section"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    line = next(line for line in result.output.splitlines() if line.startswith("error: "))
    assert message in line
    assert "Traceback" not in result.output
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_damaged_checkpoint_is_exit_code_1(trained, tmp_path):
    root, _ = trained
    run = RunFolder.find(root / "last")
    broken = RunFolder.create(tmp_path, "broken")
    broken.config.write_text(run.config.read_text())
    broken.checkpoint.write_bytes(b"damaged")
    result = invoke("eval", broken.path)
    assert result.exit_code == 1
    assert "error: " in result.output


def test_a_folder_that_cannot_be_written_is_exit_code_1(tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = invoke("train", "--out", file)
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert str(file) in result.output


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(app, ["train", "zzz", "--debug"])
    assert type(result.exception).__name__ == "UnknownConfigError"


def test_ctrl_c_leaves_a_checkpoint_that_loads(tmp_path):
    # Shells start background jobs with SIGINT ignored, and children inherit that.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom zoo.cli import main; main()"
    command = [sys.executable, "-c", script, "train", "--steps", "10000000", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(path.stat().st_size for path in tmp_path.glob("*/*/*/metrics.jsonl")):
                assert time.monotonic() < deadline, "training did not begin"
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    run = RunFolder.find(tmp_path / "last")
    assert "stopped by SIGINT; a checkpoint was written" in errors
    assert f"zoo eval {run.path}" in errors
    assert "Traceback" not in errors
    PPO.load(run.checkpoint, make_env(run.load_config()))
    assert not list(run.path.glob(".*"))
