import pytest
import torch

from agents.replay import SamplerWithoutReplacement


def draw(sampler, times, length=10, batch_size=4):
    return [sampler.sample(length, batch_size).tolist() for _ in range(times)]


def test_an_epoch_visits_everything_once():
    torch.manual_seed(0)
    sampler = SamplerWithoutReplacement()
    for _ in range(3):
        batches = draw(sampler, 3)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert sorted(index for batch in batches for index in batch) == list(range(10))
        assert sampler.epoch_ended


def test_epochs_differ():
    torch.manual_seed(0)
    sampler = SamplerWithoutReplacement()
    assert draw(sampler, 1, batch_size=10) != draw(sampler, 1, batch_size=10)


def test_in_order():
    assert draw(SamplerWithoutReplacement(shuffle=False), 4) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
        [0, 1, 2, 3],
    ]


def test_drop_last():
    sampler = SamplerWithoutReplacement(drop_last=True, shuffle=False)
    assert draw(sampler, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert draw(SamplerWithoutReplacement(drop_last=True, shuffle=False), 2, length=4) == [[0, 1, 2, 3]] * 2
    with pytest.raises(ValueError, match="batch_size=4 items, found 3"):
        sampler.sample(3, 4)


def test_refresh_begins_an_epoch():
    sampler = SamplerWithoutReplacement(shuffle=False)
    draw(sampler, 1)
    assert not sampler.epoch_ended
    sampler.refresh()
    assert draw(sampler, 1) == [[0, 1, 2, 3]]


def test_another_length_begins_an_epoch():
    sampler = SamplerWithoutReplacement(shuffle=False)
    draw(sampler, 1)
    assert draw(sampler, 1, length=11) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("drawn", [0, 1, 3])
def test_state_goes_on_where_it_stopped(drawn):
    sampler, other = SamplerWithoutReplacement(), SamplerWithoutReplacement()
    torch.manual_seed(0)
    draw(sampler, drawn)
    other.load_state_dict(sampler.state_dict())
    torch.manual_seed(1)
    expected = draw(sampler, 4)
    torch.manual_seed(1)
    assert draw(other, 4) == expected


def test_follows_the_generator():
    first = SamplerWithoutReplacement().sample(10, 10, torch.Generator().manual_seed(3))
    assert torch.equal(first, SamplerWithoutReplacement().sample(10, 10, torch.Generator().manual_seed(3)))
