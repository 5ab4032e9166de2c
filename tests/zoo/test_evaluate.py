import pytest

from zoo.evaluate import Score


def score(*returns, target=None):
    return Score(list(returns), [int(value) for value in returns], first_seed=10_000, target=target)


def test_statistics_by_hand():
    result = score(1.0, 2.0, 6.0, target=3.0)
    assert result.mean == 3.0
    assert result.std == pytest.approx((14 / 3) ** 0.5)
    assert result.reached is True
    data = result.as_dict()
    assert (data["min"], data["max"], data["episodes"], data["first_seed"]) == (1.0, 6.0, 3, 10_000)
    assert data["returns"] == [1.0, 2.0, 6.0]


def test_the_verdict_names_the_bar():
    assert str(score(474.9, target=475.0)).endswith("is below the bar of 475")
    assert str(score(475.0, target=475.0)).endswith("reaches the bar of 475")
    assert str(score(475.0)).endswith("no bar is set")
    assert score(475.0).reached is None
