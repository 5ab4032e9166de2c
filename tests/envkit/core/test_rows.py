"""What custom envs return once their first data has been looked at in full: in rows as at the public port."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import Binary, Bounded, Categorical, Composite, EnvBase, Unbounded
from envkit.errors import ClosedEnvError, EnvDataError

few = settings(deadline=None, max_examples=40, derandomize=True)
NAMES = ("done", "terminated", "truncated")


class Answers(EnvBase):
    """Returns the flags of a script; ``step`` and ``reset`` may make something else of an answer.

    They are called with the number of the answer, the answer, and the input.
    """

    def __init__(self, flags, *, size=(), path=(), declared=NAMES, step=None, reset=None):
        super().__init__(batch_size=size)
        self.flags, self.path = flags, path
        self.change_step, self.change_reset = step, reset
        self.steps = self.resets = 0

        def nest(**leaves):
            spec = Composite({name: leaf.expand(*size, *leaf.shape) for name, leaf in leaves.items()}, shape=size)
            for name in reversed(path):
                spec = Composite({name: spec}, shape=size)
            return spec

        self.observation_spec = nest(seen=Bounded(0, 255, (2,), dtype=torch.uint8), clock=Unbounded(()))
        self.action_spec = Categorical(2, shape=size)
        self.full_reward_spec = nest(reward=Unbounded((1,)))
        self.full_done_spec = nest(**{name: Binary(1, shape=(1,), dtype=torch.bool) for name in declared})

    def _set_seed(self, seed):
        """Nothing is random."""

    def _answer(self, **entries):
        count = self.steps + 20 * self.resets
        entries["seen"] = torch.full((*self.batch_size, 2), count, dtype=torch.uint8)
        entries["clock"] = torch.full(tuple(self.batch_size), count / 10)
        for name in reversed(self.path):
            entries = {name: TensorDict(entries, self.batch_size)}
        return TensorDict(entries, self.batch_size)

    def _reset(self, tensordict=None):
        self.resets += 1
        out = self._answer()
        return out if self.change_reset is None else self.change_reset(self.resets, out, tensordict)

    def _step(self, tensordict):
        self.steps += 1
        flags = self.flags[self.steps % len(self.flags)]
        told = {name: torch.tensor(values).reshape(*self.batch_size, 1) for name, values in flags.items()}
        out = self._answer(reward=torch.full((*self.batch_size, 1), self.steps / 10), **told)
        return out if self.change_step is None else self.change_step(self.steps, out, tensordict)


def act(td):
    return td.set("action", torch.ones(td.batch_size, dtype=torch.int64))


def by_rows(env, steps):
    return env.rollout(steps, act, break_when_any_done=False)


def by_hand(env, steps):
    """The same rollout through the public port, which hands out entries of no spec as well."""
    td, rows, keys = env.reset(), [], list(env.fake_tensordict().keys(True, True))
    for _ in range(steps):
        row, td = env.step_and_maybe_reset(act(td))
        rows.append(row.select(*keys))
    return torch.stack(rows, len(env.batch_size)).contiguous()


@st.composite
def stories(draw):
    """A size, a level, declared flags, and what some steps tell of them: done or terminated at least.

    Whoever tells all of them contradicts nobody: done is up where another one is.
    """
    size = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    count = torch.Size(size).numel()
    values = st.lists(st.booleans(), min_size=count, max_size=count)
    told = st.sets(st.sampled_from(NAMES), min_size=1).filter(lambda names: names != {"truncated"})
    flags = [{name: draw(values) for name in sorted(draw(told))} for _ in range(draw(st.integers(1, 4)))]
    for step in flags:
        if "done" in step:
            step["done"] = [any(each) for each in zip(*step.values(), strict=True)]
    return {
        "size": size,
        "path": draw(st.sampled_from([(), ("a",), ("a", "b")])),
        "declared": draw(st.sampled_from([("done",), ("done", "truncated"), NAMES])),
        "flags": flags,
    }


class TestFlags:
    @few
    @given(story=stories())
    def test_those_missing_follow_as_at_the_public_port(self, tools, story):
        tools.assert_same(by_rows(Answers(**story), 8), by_hand(Answers(**story), 8))

    @few
    @given(story=stories())
    def test_end_a_rollout(self, story):
        path, dim = story["path"], len(story["size"])
        found, endless = Answers(**story).rollout(8, act), by_hand(Answers(**story), 8)
        ended = [bool(step["next", *path, "done"].any()) for step in endless.unbind(dim)]
        assert found.shape[dim] == (ended.index(True) + 1 if True in ended else 8)


def edited(**changes):
    """An answer with other entries; None leaves one out."""

    def edit(out, given):
        entries = {**out, **{name: change and change(out.get(name)) for name, change in changes.items()}}
        return TensorDict({name: value for name, value in entries.items() if value is not None}, out.batch_size)

    return edit


def third(change):
    """Applies a change to the third answer."""
    return lambda number, out, given: change(out, given) if number == 3 else out


TOLERATED = {
    "mapping": lambda out, given: {name: value.tolist() for name, value in out.items()},
    "no batch size": lambda out, given: TensorDict(dict(out)),
    "gradient": edited(clock=lambda clock: clock.clone().requires_grad_()),
    "apart in memory": edited(seen=lambda seen: seen.repeat_interleave(2, -1)[..., ::2]),
    "one number for all": edited(clock=lambda clock: clock[:1].expand(2)),
    "entry of no spec": edited(more=lambda _: torch.zeros(2)),
    "entry of the input": lambda out, given: out.set("seen", given["seen"]),
}
REFUSED = {
    "missing": (edited(seen=None), "'seen' is missing"),
    "shape": (edited(seen=lambda seen: seen[..., :1]), r"'seen'.* expected shape \[2, 2\], found \[2, 1\]"),
    "dtype": (
        edited(clock=lambda clock: clock.double()),
        r"'clock'.* expected dtype torch.float32, found torch.float64",
    ),
    "batch size": (lambda out, given: torch.cat([out, out]), r"expected batch size \[2\], found \[4\]"),
    "nothing": (lambda out, given: None, "expected a TensorDict or a mapping, found NoneType"),
    "input": (lambda out, given: given.update(out), "returned its input"),
}
TOLERATED_STEPS = {
    **TOLERATED,
    "reward without its 1": edited(reward=lambda reward: reward.squeeze(-1)),
    "flag without its 1": edited(terminated=lambda flag: flag.squeeze(-1)),
}
REFUSED_STEPS = {
    **REFUSED,
    "no flag": (edited(terminated=None), "returned neither 'done' nor 'terminated'"),
    "only truncated": (edited(terminated=None, truncated=lambda _: torch.ones(2, 1) > 0), "neither 'done' nor"),
    "flag dtype": (
        edited(terminated=lambda flag: flag.int()),
        r"'terminated': expected dtype torch.bool, found torch.int",
    ),
    "flag shape": (
        edited(terminated=lambda flag: flag.repeat(1, 2)),
        r"'terminated': expected shape \[2, 1\], found \[2, 2\]",
    ),
    "reward missing": (edited(reward=None), "'reward' is missing"),
    "reward dtype": (edited(reward=lambda reward: reward.long()), "'reward'.* expected dtype"),
}
TOLERATED_RESETS = {
    **TOLERATED,
    "flags that are down": edited(done=lambda _: torch.zeros(2, 1, dtype=torch.bool)),
    "flag up outside the mask": edited(terminated=lambda _: torch.tensor([[False], [True]])),
}
REFUSED_RESETS = {
    **REFUSED,
    "reward": (edited(reward=lambda _: torch.zeros(2, 1)), r"returned a reward \('reward'\)"),
    "flag that is up": (
        edited(done=lambda _: torch.ones(2, 1, dtype=torch.bool)),
        "'done' is True right after a reset",
    ),
}


class TestThirdAnswer:
    """It comes once the first answers have been compared with the specs in full."""

    @staticmethod
    def make(**changes):
        # The first of two elements ends at every second step.
        return Answers([{"terminated": [False, False]}, {"terminated": [True, False]}], size=(2,), **changes)

    @pytest.mark.parametrize("change", TOLERATED_STEPS.values(), ids=TOLERATED_STEPS)
    def test_tolerated_steps(self, change, tools):
        found, expected = (way(self.make(step=third(change)), 6) for way in (by_rows, by_hand))
        tools.assert_same(found, expected)

    @pytest.mark.parametrize("change", TOLERATED_RESETS.values(), ids=TOLERATED_RESETS)
    def test_tolerated_resets(self, change, tools):
        found, expected = (way(self.make(reset=third(change)), 8) for way in (by_rows, by_hand))
        tools.assert_same(found, expected)

    @pytest.mark.parametrize(("change", "message"), REFUSED_STEPS.values(), ids=REFUSED_STEPS)
    @pytest.mark.parametrize("way", [by_rows, by_hand])
    def test_refused_steps(self, way, change, message):
        with pytest.raises(EnvDataError, match=message):
            way(self.make(step=third(change)), 6)

    @pytest.mark.parametrize(("change", "message"), REFUSED_RESETS.values(), ids=REFUSED_RESETS)
    @pytest.mark.parametrize("way", [by_rows, by_hand])
    def test_refused_resets(self, way, change, message):
        with pytest.raises(EnvDataError, match=message):
            way(self.make(reset=third(change)), 8)


def test_what_was_returned_stays_apart_from_rows():
    kept = []

    def keep(number, out, given):
        kept.append(out)
        return out

    env = Answers([{"terminated": False}], step=keep)
    found = by_rows(env, 4)
    before = found.clone()
    for out in kept:
        out["clock"].fill_(-1.0)
        out["terminated"].fill_(True)
    assert (found == before).all()


def test_env_closed_between_steps():
    env = Answers([{"terminated": False}], step=third(lambda out, given: env.close() or out))
    with pytest.raises(ClosedEnvError):
        by_rows(env, 6)


def test_env_closed_before_a_reset():
    env = Answers([{"terminated": [True, False]}], size=(2,), step=third(lambda out, given: env.close() or out))
    with pytest.raises(ClosedEnvError):
        by_rows(env, 6)
