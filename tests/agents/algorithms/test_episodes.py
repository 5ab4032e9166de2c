import math

import pytest
import torch

from agents.algorithms.episodes import EpisodeStatistics


def by_hand(rewards, dones):
    """Return and length of all episodes in the order in which they end, first env first at a tie."""
    found, totals, lengths = [], [0.0] * len(rewards), [0] * len(rewards)
    for time in range(rewards.shape[1]):
        for env in range(len(rewards)):
            totals[env] += rewards[env, time].item()
            lengths[env] += 1
            if dones[env, time]:
                found.append((totals[env], lengths[env]))
                totals[env], lengths[env] = 0.0, 0
    return found


def test_nothing_before_the_first_end():
    statistics = EpisodeStatistics(2)
    statistics.update(torch.ones(2, 5), torch.zeros(2, 5, dtype=torch.bool))
    assert statistics.finished == 0
    assert math.isnan(statistics.return_mean)
    assert math.isnan(statistics.length_mean)


def test_an_episode_over_three_batches():
    statistics, never = EpisodeStatistics(1), torch.zeros(1, 2, dtype=torch.bool)
    statistics.update(torch.tensor([[1.0, 2.0]]), never)
    statistics.update(torch.tensor([[4.0, 8.0]]), never)
    statistics.update(torch.tensor([[16.0, 32.0]]), torch.tensor([[True, False]]))
    assert (list(statistics.returns), list(statistics.lengths)) == ([31.0], [5])
    statistics.update(torch.tensor([[64.0]]), torch.tensor([[True]]))
    assert (list(statistics.returns), list(statistics.lengths)) == ([31.0, 96.0], [5, 2])


def test_several_ends_in_one_batch():
    statistics = EpisodeStatistics(1)
    statistics.update(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[True, True, False, True]]))
    assert (list(statistics.returns), list(statistics.lengths)) == ([1.0, 2.0, 12.0], [1, 1, 2])


def test_an_end_on_the_border_of_a_batch():
    statistics, last = EpisodeStatistics(1), torch.tensor([[False, True]])
    for _ in range(3):
        statistics.update(torch.tensor([[1.0, 2.0]]), last)
    assert (list(statistics.returns), list(statistics.lengths)) == ([3.0] * 3, [2] * 3)


def test_episodes_are_listed_in_the_order_in_which_they_end():
    statistics = EpisodeStatistics(2)
    rewards = torch.tensor([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    statistics.update(rewards, torch.tensor([[False, False, True], [True, False, True]]))
    assert list(statistics.returns) == [5.0, 3.0, 10.0]


@pytest.mark.parametrize("steps", [1, 3, 7, 30, 60])
def test_where_batches_are_cut_does_not_matter(steps):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randint(-9, 9, (4, 60), generator=generator).float()
    dones = torch.rand(4, 60, generator=generator) < 0.15
    statistics = EpisodeStatistics(4, last=1000)
    for reward, done in zip(rewards.split(steps, 1), dones.split(steps, 1), strict=True):
        statistics.update(reward, done)
    expected = by_hand(rewards, dones)
    assert list(zip(statistics.returns, statistics.lengths, strict=True)) == expected
    assert statistics.finished == len(expected) == dones.sum().item()
    assert statistics.return_mean == sum(total for total, _ in expected) / len(expected)
    assert statistics.length_mean == sum(length for _, length in expected) / len(expected)


def test_only_the_last_episodes_count():
    statistics = EpisodeStatistics(1, last=2)
    statistics.update(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[True, True, True]]))
    assert (statistics.finished, statistics.return_mean, statistics.length_mean) == (3, 3.0, 1.0)


def test_sums_do_not_lose_small_rewards():
    statistics = EpisodeStatistics(1)
    never = torch.zeros(1, 1, dtype=torch.bool)
    statistics.update(torch.tensor([[2.0**24]]), never)
    for _ in range(3):
        statistics.update(torch.tensor([[1.0]]), never)
    statistics.update(torch.tensor([[1.0]]), ~never)
    assert list(statistics.returns) == [2.0**24 + 4]


def test_what_it_is_given_stays_as_it_is():
    rewards, dones = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    EpisodeStatistics(2).update(rewards, dones)
    assert torch.equal(rewards, torch.ones(2, 3))
    assert dones.all()
