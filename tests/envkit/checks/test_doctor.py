"""The verdict on envs: right ones pass, and each mistake is named."""

from __future__ import annotations

import random

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
    diagnose,
)
from envkit.errors import EnvCheckError, ResetNeededError


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


class GlobalRandom(Right):
    def observe(self):
        return {**super().observe(), "observation": torch.rand(2) + random.random() + np.random.rand()}


class NoSeed(Right):
    _set_seed = EnvBase._set_seed


class SameBuffer(Right):
    def __init__(self):
        super().__init__()
        self.buffer = torch.zeros(2)

    def observe(self):
        self.buffer.fill_(self.count / 1000)
        return {**super().observe(), "observation": self.buffer}


class CloseFails(Right):
    def close(self):
        raise RuntimeError("the simulator is gone")


class CloseOnce(Right):
    def close(self):
        if self.is_closed:
            raise RuntimeError("closed already")
        super().close()


class CloseAlone(Right):
    def close(self):
        pass


class Batch(EnvBase):
    """Two counters kept by the env itself; they honour masks."""

    honours = ("_reset", "_step")

    def __init__(self):
        super().__init__(batch_size=(2,))
        self.observation_spec = Composite(count=Unbounded((2, 1)), shape=(2,))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2, 1))
        self.count = torch.zeros(2, 1)

    def _set_seed(self, seed):
        self.count = torch.zeros(2, 1)

    def _mask(self, tensordict, name):
        mask = None if tensordict is None or name not in self.honours else tensordict.get(name, None)
        return torch.ones(2, 1, dtype=torch.bool) if mask is None else mask.reshape(2, 1)

    def _reset(self, tensordict=None):
        self.count = torch.where(self._mask(tensordict, "_reset"), 0.0, self.count)
        return TensorDict({"count": self.count}, [2])

    def _step(self, tensordict):
        self.count = self.count + self._mask(tensordict, "_step")
        return TensorDict({"count": self.count, "reward": torch.ones(2, 1), "done": self.count > 100}, [2])


class ResetsAll(Batch):
    honours = ("_step",)


class StepsAll(Batch):
    honours = ("_reset",)


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
    "global random": (GlobalRandom, {("set_seed", "observation", "a difference at step 0")}),
    "no seed": (NoSeed, {("set_seed", "", "NotImplementedError")}),
    "one buffer": (SameBuffer, {("_reset", "observation", "changes"), ("_step", "observation", "changes")}),
    "close fails": (CloseFails, {("close", "", "the simulator is gone")}),
    "closes once": (CloseOnce, {("close", "", "closed already")}),
    "close forgets": (CloseAlone, {("close", "", "False")}),
    "resets all": (ResetsAll, {("_reset", "_reset", "they are reset as well")}),
    "steps all": (StepsAll, {("_step", "_step", "they are stepped as well")}),
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
    "batch": lambda request: Batch(),
    "acrobot": lambda request: GymEnv("Acrobot-v1"),
    "mountain car": lambda request: GymEnv("MountainCarContinuous-v0"),
    "inverted pendulum": lambda request: GymEnv("InvertedPendulum-v5"),
    "taxi": lambda request: GymEnv("Taxi-v4"),
    "serial of serial": lambda request: SerialEnv(2, lambda: SerialEnv(2, lambda: GymEnv("CartPole-v1"))),
    "agents": lambda request: request.getfixturevalue("two_agents")(shared_done=True),
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


def test_the_env_is_left_as_it_was():
    env, twin = GymEnv("CartPole-v1"), GymEnv("CartPole-v1")
    for each in (env, twin):
        each.set_seed(0)
        each.reset()
    check_env_specs(env)
    first, second = (each.step(each.rand_action()) for each in (env, twin))
    assert torch.equal(first["next", "observation"], second["next", "observation"])
    assert not env.is_closed


class Uncopyable(Right):
    steps = 0

    def __deepcopy__(self, memo):
        raise TypeError("one of a kind")

    def _step(self, tensordict):
        self.steps += 1
        return super()._step(tensordict)


def test_an_env_that_cannot_be_copied_is_examined_itself():
    env = Uncopyable()
    assert check_env_specs(env, steps=7, seed=3) == []
    assert env.steps >= 7
    assert env.seed == 3
    assert not env.is_closed
    with pytest.raises(ResetNeededError):
        env.step(env.rand_action())


def test_goes_on_until_episodes_have_ended():
    class LateMistake(Right):
        def _step(self, tensordict):
            out = super()._step(tensordict)
            return out.set("terminated", torch.tensor([self.count == 30])) if self.count < 30 else out.exclude("reward")

    findings = check_env_specs(LateMistake(), steps=20, raise_error=False)
    assert {(f.where, f.key) for f in findings} == {("_step", "reward")}


def test_global_streams_are_left_alone():
    def streams():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = streams()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    check_env_specs(GlobalRandom(), raise_error=False)
    assert streams() == expected


def test_diagnosis():
    sick = diagnose(changed_step(reward=None))
    assert sick.seconds_per_step is None
    assert "reward" in str(sick)
    well = diagnose(lambda: GymEnv("CartPole-v1"), "CartPole-v1")
    assert str(well).startswith("CartPole-v1: nothing wrong")
    assert 0 < well.seconds_per_step < 0.1
    assert well.to_dict()["findings"] == []
    assert diagnose(Uncopyable).notes == []

    def broken():
        raise OSError("no simulator here")

    assert [f.found for f in diagnose(broken).findings] == ["OSError: no simulator here"]


def test_what_cannot_be_pickled_is_noted():
    class Local(Right):
        pass

    diagnosis = diagnose(Local)
    assert diagnosis.findings == []
    assert len(diagnosis.notes) == 1
    assert "cannot be pickled" in diagnosis.notes[0]


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
