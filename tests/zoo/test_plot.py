from zoo.plot import plot_learning_curve


def test_the_curve_is_a_picture_of_the_finite_points(tmp_path):
    records = [
        {"steps": 0, "return_mean": None},
        {"steps": 1, "return_mean": float("nan")},
        {"steps": 2},
        {"steps": 3, "return_mean": 1.0},
        {"steps": 4, "return_mean": 2.0},
    ]
    file = tmp_path / "curve.png"
    assert plot_learning_curve(records, file, title="ppo/CartPole-v1", target=475.0) == 2
    assert file.read_bytes().startswith(b"\x89PNG")


def test_no_finished_episode_gives_an_empty_plot(tmp_path):
    assert plot_learning_curve([], tmp_path / "curve.png") == 0
    assert (tmp_path / "curve.png").stat().st_size > 0
