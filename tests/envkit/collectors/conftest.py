"""An env whose data no rows can hold, for the loop that keeps it step by step."""

from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase

from envkit import Bounded, Categorical, Composite, EnvBase, Unbounded


class Pair(EnvBase):
    """Two agents of different sizes, whose shared episode ends at a random time."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 2)
        self.observation_spec = Composite(agents=torch.stack([Composite(obs=Unbounded((w,))) for w in widths]))
        self.full_action_spec = Composite(
            agents=torch.stack([Composite(action=Bounded(-1.0, 1.0, (w,))) for w in widths])
        )
        self.reward_spec = Unbounded((1,))
        self.full_done_spec = Composite(done=Categorical(2, shape=(1,), dtype=torch.bool))
        self.random = torch.Generator()

    def _set_seed(self, seed: int | None) -> None:
        self.random.manual_seed(seed or 0)

    def _observe(self, *values: torch.Tensor) -> TensorDict:
        return TensorDict({"agents": LazyStackedTensorDict.lazy_stack([TensorDict({"obs": v}) for v in values])})

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDict:
        self.left = int(torch.randint(2, 12, (), generator=self.random))
        return self._observe(torch.zeros(1), torch.zeros(2))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        self.left -= 1
        agents = tensordict["agents"].unbind(0)
        out = self._observe(*(agent["obs"] + agent["action"] for agent in agents))
        return out.update({"reward": agents[0]["action"].clone(), "done": torch.tensor([self.left == 0])})


@pytest.fixture(scope="session")
def pair() -> type[Pair]:
    return Pair
