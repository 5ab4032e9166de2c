from __future__ import annotations

import pytest
import torch

from envkit.collectors.ray_progress import Progress


def test_every_life_has_a_seed_of_its_own():
    progress = Progress(seed=3)
    seeds = [progress.begin() for _ in range(4)]
    assert seeds[0] == (3, False)
    assert len(set(seeds)) == 4
    other = Progress(seed=3)
    assert [other.begin() for _ in range(4)] == seeds


@pytest.mark.parametrize("seed", [{"seed": 3, "static_seed": True}, {}])
def test_unless_it_is_static_or_there_is_none(seed):
    progress = Progress(**seed)
    assert progress.begin() == progress.begin() == (seed.get("seed"), seed.get("static_seed", False))


def test_no_number_is_used_twice():
    progress = Progress()
    progress.begin()
    assert progress.receive(torch.tensor([[0, 0], [1, 2]])).tolist() == [[0, 0], [1, 2]]
    assert progress.receive(torch.tensor([[0, 0], [2, 2]])).tolist() == [[0, 0], [2, 2]]
    progress.begin()
    assert progress.receive(torch.tensor([[0, 2], [1, 1]])).tolist() == [[3, 5], [4, 4]]
    progress.begin()
    assert progress.receive(torch.tensor([[0, 0], [1, 1]])).tolist() == [[6, 6], [7, 7]]
    assert progress.frames == 16
