"""How the flags of a done group complete each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import Binary, Categorical, Composite, EnvBase, Unbounded
from envkit.core.plan import complete_done_spec
from envkit.errors import EnvDataError, SpecError

few = settings(deadline=None, max_examples=60, derandomize=True)

FLAG = Binary(1, shape=(1,), dtype=torch.bool)


class Flags(EnvBase):
    """Returns the flags it is given, and declares ``declared`` ones."""

    def __init__(self, declared, returned, prefix=()):
        super().__init__()
        self.observation_spec = Unbounded((1,))
        self.action_spec = Unbounded((1,))
        done = Composite({name: FLAG.clone() for name in declared})
        for name in reversed(prefix):
            done = Composite({name: done})
        self.full_done_spec = done
        self.returned, self.prefix = returned, prefix

    def _reset(self, tensordict=None):
        return TensorDict({"observation": torch.zeros(1)})

    def _step(self, tensordict):
        out = TensorDict({"observation": torch.zeros(1), "reward": torch.zeros(1)})
        for name, value in self.returned.items():
            out[(*self.prefix, name)] = torch.tensor([value])
        return out

    def _set_seed(self, seed):
        self.seed = seed


def flags_after_step(declared, returned, prefix=()):
    env = Flags(declared, returned, prefix)
    following = env.step(env.rand_action(env.reset()))["next"]
    group = following.get(prefix) if prefix else following
    return {name: group[name].item() for name in ("done", "terminated", "truncated") if name in group.keys()}


two = st.booleans()


@few
@given(
    returned=st.fixed_dictionaries({}, optional={"done": two, "terminated": two, "truncated": two}),
    with_truncated=two,
    prefix=st.sampled_from([(), ("agents",), ("a", "b")]),
)
def test_completion(returned, with_truncated, prefix):
    declared = ["done", "terminated", "truncated"] if with_truncated else ["done", "terminated"]
    returned = {name: value for name, value in returned.items() if name in declared}
    if not {"done", "terminated"} & set(returned):
        with pytest.raises(EnvDataError, match=r"neither .*done.* nor .*terminated"):
            flags_after_step(declared, returned, prefix)
        return
    found = flags_after_step(declared, returned, prefix)
    assert set(found) == set(declared)
    terminated, truncated = returned.get("terminated"), returned.get("truncated")
    for name in {"terminated", "truncated"} & set(returned):
        assert found[name] is returned[name]
    assert found["done"] is any(returned.values())
    if terminated is None:
        assert found["terminated"] is (returned["done"] and not truncated)
    if with_truncated and truncated is None:
        assert found["truncated"] is (returned.get("done", False) and not found["terminated"])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ([], ["done", "terminated"]),
        (["done"], ["done", "terminated"]),
        (["terminated"], ["done", "terminated"]),
        (["truncated"], ["done", "terminated", "truncated"]),
        (["done", "truncated"], ["done", "terminated", "truncated"]),
        (["done", "terminated", "truncated"], ["done", "terminated", "truncated"]),
    ],
)
def test_specs_are_completed(declared, expected):
    assert Flags(declared, {}).done_keys == expected


@pytest.mark.parametrize("up", ["terminated", "truncated"])
@pytest.mark.parametrize("told", [["done"], ["done", "terminated", "truncated"]])
def test_a_done_flag_that_contradicts_is_put_up(up, told):
    """And both ports go on alike: from a new episode, all of whose flags are down."""
    env = Flags(["done", "terminated", "truncated"], {**dict.fromkeys(told, False), up: True})
    data = env.rollout(3, break_when_any_done=False)
    td = env.reset()
    for row in range(3):
        step, td = env.step_and_maybe_reset(env.rand_action(td))
        for name in env.done_keys:
            assert torch.equal(data[name][row], step[name])
            assert not step[name].any()
            assert torch.equal(data["next", name][row], step["next", name])
            assert step["next", name].item() is (name in ("done", up))


def test_spec_completion_by_level():
    spec = Composite(a=Composite(done=FLAG.clone()), b=Composite(terminated=FLAG.clone()), done=FLAG.clone())
    out = complete_done_spec(spec, torch.Size([]))
    expected = {(*prefix, name) for prefix in ((), ("a",), ("b",)) for name in ("done", "terminated")}
    assert {key if isinstance(key, tuple) else (key,) for key in out.keys(True, True)} == expected
    assert set(spec.keys(True, True)) == {("a", "done"), ("b", "terminated"), "done"}


def test_empty_spec_gets_the_batch_size():
    out = complete_done_spec(Composite(shape=(3,)), torch.Size([3]))
    assert {leaf.shape for leaf in out.values()} == {torch.Size([3, 1])}
    assert {leaf.dtype for leaf in out.values()} == {torch.bool}


def test_flags_of_one_level_share_a_shape():
    spec = Composite(done=FLAG.clone(), terminated=Binary(2, shape=(2,), dtype=torch.bool))
    with pytest.raises(SpecError, match=r"flags of one shape.*'done': \[1\].*'terminated': \[2\]"):
        complete_done_spec(spec, torch.Size([]))


@pytest.mark.parametrize("name", ["done", "terminated", "truncated"])
def test_flags_are_booleans_from_the_start(name):
    class Numbers(EnvBase):
        def __init__(self):
            super().__init__()
            self.observation_spec = self.action_spec = Unbounded((1,))
            self.full_done_spec = Composite({name: Categorical(2, shape=(1,))})

    with pytest.raises(SpecError, match=rf"done spec '{name}': expected dtype torch.bool, found torch.int64"):
        Numbers()


def test_flags_after_a_reset_are_false():
    td = Flags(["done", "truncated"], {"done": True}).reset()
    assert {name: td[name].item() for name in ("done", "terminated", "truncated")} == dict.fromkeys(
        ("done", "terminated", "truncated"), False
    )
