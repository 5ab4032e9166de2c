"""Policies that loops run without TensorDicts: the same data, to the bit, and the same care."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential, set_skip_existing
from torch import nn

from envkit import Collector, Composite, EnvBase, PolicyError, SerialEnv, StepCounter, TransformedEnv, Unbounded
from envkit.core.inlined import on_entries


class Nested(EnvBase):
    """Observations at two levels; the action moves one of them."""

    def __init__(self):
        super().__init__()
        self._set_seed(0)
        self.observation_spec = Composite(
            observation=Unbounded((3,)), place=Composite(position=Unbounded((2,)), speed=Unbounded((2,)))
        )
        self.action_spec = Composite(arm=Composite(action=Unbounded((2,))))

    def _reset(self, tensordict=None):
        place = {"position": torch.rand(2, generator=self.rng), "speed": torch.zeros(2)}
        return TensorDict({"observation": torch.rand(3, generator=self.rng), "place": place})

    def _step(self, tensordict):
        speed = tensordict["place", "speed"] + tensordict["arm", "action"]
        position = tensordict["place", "position"] + speed
        terminated = position.abs().sum(-1, keepdim=True) > 3
        place = {"position": position, "speed": speed}
        return TensorDict(
            {
                "observation": torch.rand(3, generator=self.rng),
                "place": place,
                "reward": torch.ones(1),
                "terminated": terminated,
                "done": terminated,
            }
        )

    def _set_seed(self, seed):
        self.rng = torch.Generator().manual_seed(seed)


ACTION = ("arm", "action")
POSITION = ("place", "position")


class Pair(nn.Module):
    """Two results, as a tuple or a dict."""

    def __init__(self, form=tuple):
        super().__init__()
        self.net, self.form = nn.Linear(3, 4), form

    def forward(self, observation):
        first, second = self.net(observation).chunk(2, -1)
        return (first, second) if self.form is tuple else {"second": second, "first": first}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 2)

    def forward(self, observation, hidden):
        shape = hidden.shape
        new = self.cell(observation.reshape(-1, 3), hidden.reshape(-1, 2)).reshape(shape)
        return new, new


class Doubled(TensorDictModule):
    """One with a call of its own."""

    def forward(self, tensordict):
        tensordict = super().forward(tensordict)
        return tensordict.set(self.out_keys[0], 2 * tensordict.get(self.out_keys[0]))


class Called(TensorDictModule):
    """The same, in another place."""

    def __call__(self, tensordict):
        tensordict = super().__call__(tensordict)
        return tensordict.set(self.out_keys[0], 2 * tensordict.get(self.out_keys[0]))


def layers(bias=True):
    return nn.Sequential(
        nn.Linear(3, 8, bias=bias), nn.Tanh(), nn.Sequential(nn.LayerNorm(8), nn.ReLU()), nn.Linear(8, 2)
    )


def joined(observation, position):
    return torch.cat([observation[..., :1], position[..., :1]], -1).sin()


KNOWN = {
    "layers": lambda: TensorDictModule(layers(), ["observation"], [ACTION]),
    "without bias": lambda: TensorDictModule(layers(bias=False), ["observation"], [ACTION]),
    "one layer": lambda: TensorDictModule(nn.Linear(3, 2), ["observation"], [ACTION]),
    "function": lambda: TensorDictModule(joined, ["observation", POSITION], [ACTION]),
    "samples": lambda: TensorDictModule(lambda x: torch.randn_like(x[..., :2]), ["observation"], [ACTION]),
    "two results": lambda: TensorDictModule(Pair(), ["observation"], ["first", ACTION]),
    "one result left out": lambda: TensorDictModule(Pair(), ["observation"], ["_", ACTION]),
    "a dict": lambda: TensorDictSequential(
        TensorDictModule(Pair(dict), ["observation"], ["first", "second"]),
        TensorDictModule(torch.tanh, ["second"], [ACTION]),
    ),
    "sequence": lambda: TensorDictSequential(
        TensorDictModule(nn.Linear(3, 4), ["observation"], [("place", "features")]),
        TensorDictSequential(
            TensorDictModule(nn.Linear(4, 2), [("place", "features")], [ACTION]),
            TensorDictModule(nn.Linear(4, 1), [("place", "features")], ["value"]),
        ),
    ),
    "named sequence, written twice": lambda: TensorDictSequential(
        {
            "first": TensorDictModule(nn.Linear(3, 2), ["observation"], [ACTION]),
            "second": TensorDictModule(nn.Linear(2, 2), [ACTION], [ACTION]),
        }
    ),
}
OTHER = {
    "own call": lambda: Called(nn.Linear(3, 2), ["observation"], [ACTION]),
    "own forward": lambda: Doubled(nn.Linear(3, 2), ["observation"], [ACTION]),
    "by name": lambda: TensorDictModule(joined, {"observation": "observation", "position": POSITION}, [ACTION]),
    "not in place": lambda: TensorDictModule(nn.Linear(3, 2), ["observation"], [ACTION], inplace=False),
    "method": lambda: TensorDictModule(nn.Linear(3, 2), ["observation"], [ACTION], method="forward"),
    "selected": lambda: TensorDictModule(Pair(), ["observation"], ["first", ACTION]).select_out_keys(ACTION),
    "selected sequence": lambda: TensorDictSequential(
        TensorDictModule(Pair(), ["observation"], ["first", ACTION])
    ).select_out_keys(ACTION),
    "reads a level": lambda: TensorDictModule(lambda place: place["position"], ["place"], [ACTION]),
}


def batches(policy, *, count=3):
    torch.manual_seed(3)
    env = SerialEnv(3, Nested)
    env.set_seed(0)
    collector = Collector(env, policy, frames_per_batch=30)
    return [collector.next() for _ in range(count)]


def made(name):
    torch.manual_seed(1)
    return {**KNOWN, **OTHER}[name]()


@pytest.mark.parametrize("name", [*KNOWN, *OTHER])
def test_same_data(name):
    policy = made(name)
    for one, other in zip(batches(policy), batches(lambda td: policy(td)), strict=True):
        assert set(one.keys(True, True)) == set(other.keys(True, True))
        assert (one == other).all()
    assert one["next", "done"].any()


@pytest.mark.parametrize("name", [*KNOWN, *OTHER])
def test_known_ones_run_without_tensordicts(name, monkeypatch):
    policy, calls = made(name), []
    call = nn.Module.__call__

    def counted(module, *args, **kwargs):
        if module is policy:
            calls.append(module)
        return call(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", counted)
    batches(policy, count=1)
    assert len(calls) == (1 if name in KNOWN else 10)


def test_memory_of_a_policy():
    torch.manual_seed(0)
    module = TensorDictModule(Recurrent(), ["observation", "hidden"], [ACTION, ("next", "hidden")])

    def opaque(tensordict):
        return module(tensordict)

    opaque.in_keys = module.in_keys

    def data(policy):
        env = SerialEnv(3, Nested)
        env.set_seed(0)
        start = env.reset().set("hidden", torch.zeros(3, 2))
        return env.rollout(12, policy, tensordict=start, auto_reset=False, break_when_any_done=False)

    one, other = data(module), data(opaque)
    assert one["hidden"][:, 1:].any()
    assert (one == other).all()


class TestExchanges:
    """What is done to a policy between batches, or to its values at any time, is done to what runs."""

    def collector(self, policy):
        env = SerialEnv(2, Nested)
        env.set_seed(0)
        return Collector(env, policy, frames_per_batch=10)

    def test_hook(self):
        policy, seen = made("sequence"), []
        collector = self.collector(policy)
        collector.next()
        handle = policy.module[1].register_forward_hook(lambda *_: seen.append(1))
        collector.next()
        handle.remove()
        collector.next()
        assert len(seen) == 5

    def test_hook_of_a_layer(self):
        policy, seen = made("layers"), []
        policy.module[1].register_forward_hook(lambda module, args, out: seen.append(out))
        self.collector(policy).next()
        assert len(seen) == 5

    def test_part(self):
        policy = made("sequence")
        collector = self.collector(policy)
        collector.next()
        policy.module[1].module[0].module = nn.Sequential(nn.Linear(4, 2), nn.Threshold(torch.inf, 0.25))
        assert (collector.next()[ACTION] == 0.25).all()

    def test_parameters_and_values(self):
        policy = made("one layer")
        collector = self.collector(policy)
        collector.next()
        nn.init.zeros_(policy.module.weight)
        nn.init.constant_(policy.module.bias, 0.5)
        assert (collector.next()[ACTION] == 0.5).all()
        policy.module.bias = nn.Parameter(torch.full((2,), 0.75))
        assert (collector.next()[ACTION] == 0.75).all()

    def test_parameters_swapped_for_tensors(self):
        policy = made("layers")
        collector = self.collector(policy)
        collector.next()
        values = TensorDict.from_module(policy).data.apply(torch.zeros_like)
        with values.to_module(policy):
            assert (collector.next()[ACTION] == 0).all()
        assert (collector.next()[ACTION] != 0).any()

    def test_skipped_where_there_is_an_answer(self):
        policy, known = made("layers"), ["observation"]
        assert on_entries(policy, known) is not None
        with set_skip_existing(True):
            assert on_entries(policy, known) is None


def test_inputs_that_are_not_there():
    policy = made("function")
    assert on_entries(policy, ["observation", POSITION]) is not None
    assert on_entries(policy, ["observation"]) is None
    later = TensorDictSequential(TensorDictModule(torch.sin, ["b"], ["c"]), TensorDictModule(torch.sin, ["a"], ["b"]))
    assert on_entries(later, ["a"]) is None
    assert on_entries(later, ["a", "b"]) is not None


@pytest.mark.parametrize("later", [torch.zeros(2, 3), torch.zeros(2)])
def test_another_shape_is_refused(later):
    answers = iter([torch.zeros(2, 2), later])
    policy = TensorDictModule(lambda _: next(answers), ["observation"], [ACTION])
    with pytest.raises(PolicyError, match=r"expected shape \[2, 2\], found \["):
        SerialEnv(2, Nested).rollout(3, policy)


def test_steps_of_some_envs_and_limits():
    """Rollouts that step what is left, and collectors that truncate, use the same loop."""

    def data(policy):
        env = TransformedEnv(SerialEnv(3, Nested), StepCounter(4))
        env.set_seed(0)
        first = env.rollout(20, policy, break_when_any_done=False, break_when_all_done=True)
        return first, Collector(env, policy, frames_per_batch=30, max_frames_per_traj=3).next()

    policy = made("sequence")
    for one, other in zip(data(policy), data(lambda td: policy(td)), strict=True):
        assert (one == other).all()
