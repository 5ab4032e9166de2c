"""The verdict on envs: right ones pass, and each mistake is named."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    DoubleToFloat,
    EnvBase,
    GymEnv,
    GymWrapper,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)
from envkit.errors import EnvCheckError


class Right(EnvBase):
    """The right env, of which the wrong ones change one thing."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observation_spec = Composite(observation=Bounded(-5.0, 5.0, shape=(2,)), count=Categorical(1000))
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        flag = Binary(1, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())
        self.count = 0

    def _set_seed(self, seed):
        self.seed = seed

    def observe(self):
        return {"observation": torch.zeros(2), "count": torch.tensor(self.count)}

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict(self.observe())

    def _step(self, tensordict):
        self.count += 1
        ended = torch.tensor([self.count == 5])
        return TensorDict({**self.observe(), "reward": torch.ones(1), "terminated": ended})


def changed_step(**changes):
    """A Right whose steps differ in some entries; None removes one."""

    class Wrong(Right):
        def _step(self, tensordict):
            out = super()._step(tensordict)
            for key, value in changes.items():
                out = out.exclude(key) if value is None else out.set(key, value)
            return out

    return Wrong


def changed_reset(**changes):
    class Wrong(Right):
        def _reset(self, tensordict=None):
            out = super()._reset(tensordict)
            for key, value in changes.items():
                out = out.exclude(key) if value is None else out.set(key, value)
            return out

    return Wrong


class ChangesInput(Right):
    def _step(self, tensordict):
        tensordict["action"].mul_(2)
        tensordict["observation"] = tensordict["observation"] + 1
        tensordict["note"] = torch.ones(1)
        return super()._step(tensordict)


class ReturnsInput(Right):
    def _step(self, tensordict):
        return tensordict.update(super()._step(tensordict))


class Raises(Right):
    def _step(self, tensordict):
        raise ZeroDivisionError("by zero")


class RaisesAtReset(Right):
    def _reset(self, tensordict=None):
        raise KeyError("nothing here")


class NoAction(Right):
    def __init__(self):
        super().__init__()
        self.full_action_spec = Composite()


class Tuples(Right):
    def _step(self, tensordict):
        return torch.zeros(2), 1.0, False


class WrongBatch(Right):
    def __init__(self):
        super().__init__()
        self.batch_size = (2,)


class LateMistake(Right):
    def observe(self):
        out = super().observe()
        return out if self.count < 3 else {**out, "observation": torch.tensor([0.0, float("nan")])}


class WrongMapping(Right):
    def _step(self, tensordict):
        return {"observation": np.zeros(2, np.float32), "count": 1, "terminated": False}


true, false = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)

WRONG = {
    "missing observation": (changed_step(observation=None), {("_step", "observation", "nothing")}),
    "missing reward": (changed_step(reward=None), {("_step", "reward", "nothing")}),
    "no done flag": (changed_step(terminated=None), {("_step", "done", "neither")}),
    "wrong shape": (changed_step(observation=torch.zeros(3)), {("_step", "observation", "[3]")}),
    "wrong dtype": (
        changed_step(observation=torch.zeros(2, dtype=torch.float64)),
        {("_step", "observation", "float64")},
    ),
    "out of bounds": (changed_step(observation=torch.full((2,), 9.0)), {("_step", "observation", "9.0")}),
    "not a category": (changed_step(count=torch.tensor(1000)), {("_step", "count", "1000")}),
    "nan": (changed_step(observation=torch.full((2,), float("nan"))), {("_step", "observation", "nan")}),
    "nan reward": (changed_step(reward=torch.full((1,), float("nan"))), {("_step", "reward", "nan")}),
    "float flag": (changed_step(terminated=torch.zeros(1)), {("_step", "terminated", "float32")}),
    "undeclared": (changed_step(surplus=torch.ones(1)), {("_step", "surplus", "without a spec")}),
    "contradicting flags": (changed_step(done=false, terminated=true), {("_step", "done", "False")}),
    "done for no reason": (changed_step(done=true, terminated=false, truncated=false), {("_step", "done", "neither")}),
    "changed input": (
        ChangesInput,
        {("_step", "action", "changed"), ("_step", "observation", "changed"), ("_step", "note", "added")},
    ),
    "returned input": (ReturnsInput, {("_step", "", "the input TensorDict")}),
    "raises": (Raises, {("_step", "", "ZeroDivisionError: by zero")}),
    "raises at reset": (RaisesAtReset, {("_reset", "", "KeyError")}),
    "no action": (NoAction, {("specs", "action", "none")}),
    "tuples": (Tuples, {("_step", "", "tuple")}),
    "wrong batch": (WrongBatch, {("_reset", "", "batch size []")}),
    "late": (LateMistake, {("_step", "observation", "nan")}),
    "mapping": (WrongMapping, {("_step", "", "'reward' is missing")}),
    "missing at reset": (changed_reset(observation=None), {("_reset", "observation", "nothing")}),
    "reward at reset": (changed_reset(reward=torch.zeros(1)), {("_reset", "reward", "a reward")}),
    "done at reset": (changed_reset(done=true), {("_reset", "done", "True")}),
    "wrong shape at reset": (changed_reset(observation=torch.zeros(2, 1)), {("_reset", "observation", "[2, 1]")}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_envs(name):
    make, expected = WRONG[name]
    findings = check_env_specs(make(), raise_error=False)
    for where, key, found in expected:
        assert any((f.where, f.key) == (where, key) and found in f.found for f in findings), findings
    if name not in ("wrong batch", "returned input", "float flag"):
        assert {(f.where, f.key) for f in findings} == {(where, key) for where, key, _ in expected}
    with pytest.raises(EnvCheckError) as error:
        check_env_specs(make())
    for finding in error.value.findings:
        assert finding.fix
        assert " ".join(finding.found.split())[:50] in str(error.value)


RIGHT = {
    "right": lambda request: Right(),
    "missing trailing ones": lambda request: changed_step(reward=torch.tensor(1.0), terminated=torch.tensor(False))(),
    "done alone": lambda request: changed_step(terminated=None, done=false)(),
    "allowed to start done": lambda request: _starts_done(),
    "mapping": lambda request: request.getfixturevalue("mapping_env")(),
    "walk": lambda request: request.getfixturevalue("walk")(),
    "two agents": lambda request: request.getfixturevalue("two_agents")(),
    "cartpole": lambda request: GymEnv("CartPole-v1"),
    "one-hot": lambda request: GymEnv("CartPole-v1", categorical_action_encoding=False),
    "pixels": lambda request: GymEnv("CartPole-v1", from_pixels=True),
    "dict": lambda request: GymWrapper(request.getfixturevalue("dict_obs")()),
    "blackjack": lambda request: GymEnv("Blackjack-v1"),
    "frozen lake": lambda request: GymEnv("FrozenLake-v1"),
    "serial": lambda request: SerialEnv(2, lambda: GymEnv("Pendulum-v1")),
    "transformed": lambda request: TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(3)).append_transform(RewardSum()),
    "doubles": lambda request: TransformedEnv(request.getfixturevalue("walk")(), DoubleToFloat()),
}


def _starts_done() -> EnvBase:
    class StartsDone(Right):
        def _reset(self, tensordict=None):
            return super()._reset(tensordict).set("done", true)

    return StartsDone(allow_done_after_reset=True)


@pytest.mark.parametrize("name", RIGHT)
def test_right_envs(name, request):
    assert check_env_specs(RIGHT[name](request)) == []


def test_all_findings_at_once():
    class Bad(Right):
        def _reset(self, tensordict=None):
            return super()._reset(tensordict).set("reward", torch.zeros(1))

        def _step(self, tensordict):
            out = super()._step(tensordict).exclude("terminated", "reward")
            return out.set("observation", torch.zeros(3)).set("more", torch.ones(1))

    findings = check_env_specs(Bad(), raise_error=False)
    assert {(f.where, f.key) for f in findings} == {
        ("_reset", "reward"),
        ("_step", "reward"),
        ("_step", "done"),
        ("_step", "observation"),
        ("_step", "more"),
    }


def test_message_reads_well():
    with pytest.raises(AssertionError) as error:
        check_env_specs(changed_step(observation=torch.zeros(3), reward=None)())
    lines = str(error.value).splitlines()
    assert lines[0] == "Wrong: 2 findings"
    assert lines[2].split() == ["where", "key", "expected", "found", "fix"]
    assert set(lines[3]) == {"-", " "}
    rows = lines[4:]
    assert len(rows) == 2
    assert rows[0].startswith("_step  observation  ")
    assert rows[1].startswith("_step  reward       float32 of shape [1]")
    assert all(line == line.rstrip() for line in lines)


def test_the_global_stream_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_env_specs(Right())
    assert torch.equal(torch.rand(3), expected)


def test_the_env_needs_a_reset_afterwards():
    env = GymEnv("CartPole-v1")
    env.reset()
    check_env_specs(env)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.rand_action())


def test_seed_and_steps():
    class Counting(Right):
        steps = 0

        def _step(self, tensordict):
            self.steps += 1
            return super()._step(tensordict)

    env = Counting()
    check_env_specs(env, steps=7, seed=3)
    assert (env.steps, env.seed) == (7, 3)


def test_dynamic_shapes_pass_but_not_another_number_of_dimensions():
    class Dynamic(Right):
        def __init__(self):
            super().__init__()
            self.observation_spec = Composite(observation=Unbounded((-1, 2)))

        def observe(self):
            return {"observation": torch.zeros(self.count + 1, 2)}

    class MoreDimensions(Dynamic):
        def observe(self):
            return {"observation": torch.zeros(*(1,) * self.count, 2, 2)}

    assert check_env_specs(Dynamic()) == []
    findings = check_env_specs(MoreDimensions(), raise_error=False)
    assert {(f.where, f.key) for f in findings} == {("_step", "observation")}
