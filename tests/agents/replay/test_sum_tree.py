import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.replay.sum_tree import SumTree


def filled(weights):
    tree = SumTree(len(weights))
    tree.fill(np.asarray(weights, float))
    return tree


@pytest.mark.parametrize("size", [1, 7, 2048, 2049, 20_000])
def test_places_lie_where_sums_pass_the_share(size):
    weights = np.random.default_rng(size).random(size)
    weights[::3] = 0
    weights[-1] = 1
    tree = filled(weights)
    shares = np.random.default_rng(0).random(500)
    sums = weights.cumsum()
    expected = sums.searchsorted(shares * sums[-1], "right")
    found = tree.find(shares)
    # Sums in another order may be rounded differently, and a share on the edge falls to the neighbour.
    assert (found != expected).mean() < 0.01
    assert (weights[found] > 0).all()


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 5000),
    st.lists(st.lists(st.tuples(st.integers(0, 4999), st.floats(0, 1e6)), min_size=1, max_size=20), max_size=6),
)
def test_changes_leave_the_sums_of_a_new_tree(size, changes):
    tree, weights = SumTree(size), np.zeros(size)
    for change in changes:
        index = np.array([place % size for place, _ in change])
        values = np.array([value for _, value in change])
        tree.update(index, values)
        for place, value in zip(index, values, strict=True):
            weights[place] = value
    assert np.array_equal(tree.weights, weights)
    shares = np.random.default_rng(1).random(64)
    anew = filled(weights)
    assert tree.total == anew.total
    if tree.total:
        assert np.array_equal(tree.find(shares), anew.find(shares))


def test_extreme_shares_find_positive_weights():
    weights = np.zeros(30_000)
    weights[[5, 12_345, 29_000]] = 1e-9, 1e9, 1e-9
    found = filled(weights).find(np.array([0.0, 1 - 2**-53, 0.5]))
    assert set(found) <= {5, 12_345, 29_000}
    assert found[2] == 12_345


def test_shares_of_draws():
    tree = filled([1.0, 0.0, 3.0, 4.0])
    counts = np.bincount(tree.find((np.arange(8_000) + 0.5) / 8_000), minlength=4)
    assert counts.tolist() == [1_000, 0, 3_000, 4_000]
