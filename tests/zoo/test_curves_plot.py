import xml.etree.ElementTree as ElementTree

import pytest

from zoo.curves_plot import SeedCurves, curves_svg, load_curves, plot_curves
from zoo.errors import UsageError
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.train import train

TINY = ["total_steps=256", "env.num_envs=2", "agent.steps_per_env=64", "agent.epochs=1", "eval.episodes=1"]


def test_curves_of_a_run_and_of_a_benchmark(made_up, tmp_path):
    run = RunFolder.create(tmp_path / "run")
    train(find_config("ppo/CartPole-v1", TINY), run)
    made_up().write(tmp_path / "bench/benchmark.json")
    curves = [load_curves(path) for path in (run.path, tmp_path / "bench", tmp_path / "bench/benchmark.json")]
    assert curves[0].label == "ppo/CartPole-v1 (seed 0)"
    assert curves[0].steps == [128, 256]
    assert (
        curves[1]
        == curves[2]
        == SeedCurves(
            "ppo/CartPole-v1 (2 seeds)",
            [100, 200, 300, 400],
            [[400.0, 500.0, 500.0, 500.0], [370.0, 470.0, 470.0, 470.0]],
            475.0,
        )
    )
    plot_curves(curves, tmp_path / "sub/curves.png")
    assert (tmp_path / "sub/curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_has_no_curve(tmp_path):
    with pytest.raises(UsageError, match="expected a run folder"):
        load_curves(tmp_path)
    run = RunFolder.create(tmp_path / "run")
    train(find_config("ppo/CartPole-v1", [*TINY, "eval.points=0"]), run)
    with pytest.raises(UsageError, match="expected evaluations amid training"):
        load_curves(run.path)


def test_svg_is_well_formed_and_always_the_same(made_up):
    curves = [SeedCurves.of(made_up())]
    text = curves_svg(curves)
    assert text == curves_svg(curves)
    words = " ".join(ElementTree.fromstring(text).itertext())
    assert "ppo/CartPole-v1 (2 seeds)" in words
    assert "environment steps" in words


def test_pictures_of_one_page_share_no_ids(made_up):
    def ids(text):
        return {element.get("id") for element in ElementTree.fromstring(text).iter() if "clipPath" in element.tag}

    one = curves_svg([SeedCurves.of(made_up())])
    other = curves_svg([SeedCurves.of(made_up("ppo/Acrobot-v1", (1.0, 2.0)))])
    assert ids(one)
    assert not ids(one) & ids(other)
