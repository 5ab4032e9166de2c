"""A small env for teams."""

import pytest
import torch
from tensordict import TensorDict

from envkit import Bounded, Categorical, Composite, EnvBase, Unbounded

FLAG = Categorical(2, shape=(1,), dtype=torch.bool)


class Meeting(EnvBase):
    """Agents on a line are to meet.

    Each sees where it is and how far the others are from it on average, and moves by at most a quarter. It pays, to all
    of them, minus their mean distance from their mean place; or, with ``own_reward``, minus its own to each. Episodes
    end after ``STEPS`` steps. Flags stand at the root, in the group, or in both places: then agent ``i`` leaves after
    ``leaves[i]`` steps, sees 0 from then on and earns nothing. With ``masked``, agent 0 may never move right.
    """

    STEPS = 8
    STRIDE = 0.25

    def __init__(
        self, agents=3, *, discrete=True, own_reward=False, flags="root", leaves=None, state=False, masked=False
    ):
        super().__init__()
        self.agents, self.discrete, self.own_reward, self.flags = agents, discrete, own_reward, flags
        self.leaves = torch.tensor([self.STEPS] * agents if leaves is None else leaves)
        self.has_state, self.masked = state, masked
        flag, one = FLAG.expand(agents, 1), Unbounded((1,))
        mask = {"action_mask": Categorical(2, shape=(agents, 3), dtype=torch.bool)} if masked else {}
        seen = {"agents": self._group(observation=Unbounded((agents, 2)), **mask)}
        self.observation_spec = Composite(seen | ({"state": Unbounded((agents,))} if state else {}))
        action = Categorical(3, shape=(agents,)) if discrete else Bounded(-1.0, 1.0, (agents, 1))
        self.full_action_spec = Composite(agents=self._group(action=action))
        reward = {"agents": self._group(reward=Unbounded((agents, 1)))} if own_reward else {"reward": one}
        self.full_reward_spec = Composite(reward)
        done = {} if flags == "group" else {"done": FLAG, "terminated": FLAG, "truncated": FLAG}
        if flags != "root":
            done["agents"] = self._group(done=flag, terminated=flag, truncated=flag)
        self.full_done_spec = Composite(done)
        self.drawn = torch.Generator()

    def _group(self, **leaves):
        return Composite(leaves, shape=(self.agents,))

    def _set_seed(self, seed):
        self.drawn.manual_seed(seed or 0)

    def _observed(self):
        others = (self.place.sum() - self.place) / (self.agents - 1)
        seen = torch.stack([self.place, others - self.place], -1)
        seen[self.time >= self.leaves] = 0.0
        out = {"agents": TensorDict({"observation": seen}, [self.agents])}
        if self.masked:
            out["agents"]["action_mask"] = torch.ones(self.agents, 3, dtype=torch.bool)
            out["agents"]["action_mask"][0, 2] = False
        return out | ({"state": self.place.clone()} if self.has_state else {})

    def _reset(self, tensordict=None):
        self.time = 0
        self.place = torch.rand(self.agents, generator=self.drawn) * 2 - 1
        return TensorDict(self._observed())

    def _step(self, tensordict):
        action = tensordict["agents", "action"]
        move = action - 1.0 if self.discrete else action.squeeze(-1)
        self.place = self.place + self.STRIDE * move
        here = self.time < self.leaves
        self.time += 1
        apart = -(self.place - self.place.mean()).abs()
        out = self._observed()
        if self.own_reward:
            out["agents"]["reward"] = (apart * here).unsqueeze(-1)
        else:
            out["reward"] = apart.mean().reshape(1)
        over = torch.tensor([self.time == self.STEPS])
        if self.flags != "group":
            out |= {"terminated": torch.tensor([False]), "truncated": over}
        if self.flags != "root":
            gone = (self.time >= self.leaves).unsqueeze(-1)
            out["agents"].update({"terminated": gone & ~over, "truncated": gone & over})
        return TensorDict(out)


@pytest.fixture(scope="session")
def meeting():
    return Meeting
