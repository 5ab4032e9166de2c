import pytest

from zoo.summary import interquartile_mean, summarize


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([5.0], 5.0), ([1.0, 2.0, 6.0], 3.0), ([100.0, 1.0, 3.0, -50.0], 2.0), (range(10), 4.5)],
)
def test_interquartile_mean_drops_a_quarter_at_either_end(scores, expected):
    assert interquartile_mean(scores) == expected


def test_summary_by_hand():
    summary = summarize([1.0, 2.0, 3.0, 10.0], target=3.0)
    assert summary.mean == 4.0
    assert summary.std == pytest.approx((50 / 3) ** 0.5)
    assert summary.worst == 1.0
    assert summary.iqm == 2.5
    assert summary.reached == 2
    assert 1.0 <= summary.iqm_interval[0] < 2.5 < summary.iqm_interval[1] <= 10.0
    assert summarize([1.0, 2.0, 3.0, 10.0], target=3.0) == summary


def test_a_single_seed_has_no_spread_and_no_target_no_count():
    summary = summarize([5.0])
    assert (summary.std, summary.iqm_interval, summary.reached) == (0.0, (5.0, 5.0), None)
    with pytest.raises(ValueError, match="at least one seed"):
        summarize([])
