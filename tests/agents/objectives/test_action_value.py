import pytest
import torch

from agents.objectives import chosen_value, greedy_value


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_indices_and_one_hot_vectors_agree(batch):
    values, action = torch.randn(*batch, 4), torch.randint(4, batch)
    expected = chosen_value(values, action)
    assert expected.shape == batch
    assert torch.equal(chosen_value(values, action.unsqueeze(-1)), expected)
    for dtype in (torch.bool, torch.int64, torch.float32):
        assert torch.equal(chosen_value(values, torch.nn.functional.one_hot(action, 4).to(dtype)), expected)


def test_one_action():
    values = torch.randn(5, 1)
    assert torch.equal(chosen_value(values, torch.zeros(5, 1, dtype=torch.int64)), values.squeeze(-1))


def test_best_by_hand():
    values, selector = torch.tensor([[1.0, 5.0, 3.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    mask = torch.tensor([[True, True, False]])
    assert greedy_value(values).item() == 5.0
    assert greedy_value(values, selector).item() == 3.0
    assert greedy_value(values, selector, mask).item() == 5.0
    assert greedy_value(values, mask=~mask).item() == 3.0


def test_best_is_the_maximum():
    values = torch.randn(20, 6)
    assert torch.equal(greedy_value(values), values.amax(-1))


def test_shapes_are_checked():
    values = torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"action of shape \[5\] \(indices\) or \[5, 3\] \(one-hot\), found \[5, 2\]"):
        chosen_value(values, torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"mask of the shape of values, \[5, 3\], found \[5\]"):
        greedy_value(values, mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"selector of the shape of values, \[5, 3\], found \[5, 1\]"):
        greedy_value(values, torch.zeros(5, 1))
