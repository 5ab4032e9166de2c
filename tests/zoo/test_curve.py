import pytest

from zoo.curve import LearningCurve


@pytest.mark.parametrize(
    ("returns", "steps"),
    [
        ([], None),
        ([9.0, 9.0], None),
        ([9.0, 9.0, 9.0], 10),
        ([1.0, 9.0, 5.0, 7.0, 9.0], 20),
        ([9.0, 9.0, 1.0, 9.0, 5.0, 5.0], 40),
        ([9.0, 9.0, 1.0, 9.0, 9.0], None),
    ],
)
def test_a_threshold_counts_where_the_next_two_evaluations_pass_as_well(returns, steps):
    curve = LearningCurve([10 * (n + 1) for n in range(len(returns))], returns, None)
    assert curve.steps_to(5.0) == steps
    assert curve.as_dict(5.0) == {
        "train_return": None,
        "curve_max": max(returns) if returns else None,
        "steps_to_threshold": steps,
    }
    assert curve.as_dict(None)["steps_to_threshold"] is None


def test_the_training_return_is_that_of_the_last_record():
    records = [
        {"steps": 10, "return_mean": 3.0, "eval_return_mean": 1.0},
        {"steps": 20, "return_mean": 4.0},
        {"steps": 30, "return_mean": 5.0, "eval_return_mean": 2.0},
    ]
    assert LearningCurve.of(records) == LearningCurve([10, 30], [1.0, 2.0], 5.0)
    assert LearningCurve.of([]) == LearningCurve([], [], None)
