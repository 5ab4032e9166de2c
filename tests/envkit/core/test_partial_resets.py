"""Resets of some elements at the row port, which takes a way of its own, are those of the public port."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import Bounded, Categorical, Composite, EnvBase, Unbounded

AGENTS = 2


class Groups(EnvBase):
    """Groups of walkers at nested levels, each of which ends where one of its walkers is too far away."""

    batch_locked = False

    def __init__(self, levels, starts_done=False, says_flags=False):
        super().__init__(allow_done_after_reset=starts_done)
        self.levels, self.starts_done, self.says_flags = levels, starts_done, says_flags
        self.random = torch.Generator()

        def nest(**leaves):
            out = Composite()
            for path in levels:
                for name, leaf in leaves.items():
                    out[(*path, name)] = leaf.clone()
            return out

        flag = Categorical(2, (1,), dtype=torch.bool)
        # A size of its own, one number an element, and a vector for each walker.
        self.observation_spec = nest(place=Unbounded((AGENTS, 3)), clock=Unbounded((), dtype=torch.int64))
        self.state_spec = Composite({**self.observation_spec, "wind": Unbounded(())})
        self.full_action_spec = nest(action=Bounded(-1.0, 1.0, (AGENTS, 3)))
        self.full_reward_spec = nest(reward=Unbounded((AGENTS, 1)))
        self.full_done_spec = nest(done=flag, terminated=flag, truncated=flag)

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _reset(self, tensordict=None):
        size = torch.Size() if tensordict is None else tensordict.batch_size
        out = TensorDict({"wind": torch.rand(size, generator=self.random)}, size)
        for path in self.levels:
            out[(*path, "place")] = torch.rand((*size, AGENTS, 3), generator=self.random)
            out[(*path, "clock")] = torch.zeros(size, dtype=torch.int64)
            if self.says_flags or self.starts_done:
                done = torch.rand((*size, 1), generator=self.random) < 0.1
                out[(*path, "done")] = done if self.starts_done else torch.zeros_like(done)
        return out

    def _step(self, tensordict):
        out = TensorDict({}, tensordict.batch_size)
        for path in self.levels:
            place = tensordict[(*path, "place")] + tensordict[(*path, "action")]
            place = place + tensordict["wind"].reshape(*tensordict.batch_size, 1, 1) / 10
            out[(*path, "place")] = place
            out[(*path, "clock")] = tensordict[(*path, "clock")] + 1
            out[(*path, "reward")] = -place.square().sum(-1, keepdim=True)
            out[(*path, "terminated")] = (place.abs().amax(-1) > 2.5).any(-1, keepdim=True)
            out[(*path, "truncated")] = (out[(*path, "clock")] > 7).unsqueeze(-1)
        return out


LEVELS = {
    "root": [()],
    "one_below": [("a",)],
    "apart": [("a",), ("b", "c"), ("d", "e", "f")],
    "in_each_other": [(), ("a",), ("a", "b")],
    "mixed": [("a",), ("a", "b"), ("c", "d")],
}


@pytest.mark.parametrize("size", [(), (3,), (200,), (2, 3)])
@pytest.mark.parametrize("options", [{}, {"says_flags": True}, {"starts_done": True}], ids=str)
@pytest.mark.parametrize("levels", LEVELS)
def test_row_port_equals_public_port(levels, options, size, tools):
    env, other = (Groups(LEVELS[levels], **options) for _ in range(2))
    env.set_seed(0)
    other.set_seed(0)
    found = env.rollout(20, tensordict=TensorDict({}, size), break_when_any_done=False)
    td, rows, time = other.reset(TensorDict({}, size)), [], len(size)
    for row in found.unbind(time):
        row, td = other.step_and_maybe_reset(td.update(row.select(*env.action_keys)))
        rows.append(row)
    tools.assert_same(found, torch.stack(rows, time).contiguous())
    done = [found["next", key] for key in env.done_keys if key == "done" or key[-1] == "done"]
    assert all(flag.any() for flag in done)
