import pytest
import torch
from tensordict import TensorDict


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def make_columns():
    """Reward, value, next value, done and terminated, of shape ``[*shape, 1]``."""

    def make(*shape, ends=0.2, dtype=torch.float64):
        numbers = [torch.randn(*shape, 1, dtype=dtype) for _ in range(3)]
        done = torch.rand(*shape, 1) < ends
        return (*numbers, done, done & (torch.rand(*shape, 1) < 0.5))

    return make


@pytest.fixture
def make_data(make_columns):
    """A TensorDict of steps that holds the values already."""

    def make(*batch, agents=(), **options):
        reward, value, next_value, done, terminated = make_columns(*batch, *agents, **options)
        after = {"reward": reward, "state_value": next_value, "done": done, "terminated": terminated}
        return TensorDict({"state_value": value, "next": after}, batch)

    return make
