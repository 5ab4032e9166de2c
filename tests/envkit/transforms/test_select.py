from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from agents import ReplayBuffer
from envkit import (
    Bounded,
    Composite,
    EnvBase,
    ExcludeTransform,
    GymEnv,
    GymWrapper,
    RemoveEmptySpecs,
    SelectTransform,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)


class Several(EnvBase):
    """Two observations at the root, one a level below; the first tells the step of the episode."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Composite(
            a=Unbounded((2,)), b=Unbounded((1,)), nested=Composite(c=Unbounded((3,)), d=Unbounded(()))
        )
        self.action_spec = Bounded(-1.0, 1.0, (1,))
        self.count = 0

    def _set_seed(self, seed):
        pass

    def _observe(self):
        t = float(self.count)
        return {
            "a": torch.full((2,), t),
            "b": torch.full((1,), -t),
            "nested": TensorDict({"c": torch.full((3,), 2 * t), "d": torch.tensor(3 * t)}),
        }

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict(self._observe())

    def _step(self, tensordict):
        self.count += 1
        ends = torch.tensor([self.count >= 4])
        return TensorDict({**self._observe(), "reward": tensordict["action"].clone(), "terminated": ends})


def observed(env):
    return {str(key) for key in env.observation_keys}


class TestSelect:
    def test_promises(self, kit):
        kit.all(Several, lambda: SelectTransform("b", ("nested", "c")))

    @pytest.mark.parametrize("transform", [SelectTransform("camera"), ExcludeTransform("state", "pair")])
    def test_on_rows(self, kit, dict_obs, transform):
        make = lambda: GymWrapper(dict_obs())
        assert kit.on_rows(TransformedEnv(make(), transform.clone()))
        kit.all(make, transform.clone)

    def test_shown(self):
        env = TransformedEnv(Several(), SelectTransform("b", "nested"))
        assert env.observation_keys == ["b", ("nested", "c"), ("nested", "d")]
        data = env.rollout(3)
        assert set(data.keys()) == {"b", "nested", "action", "done", "terminated", "next"}
        assert "reward" in data["next"].keys()
        assert env.base_env.observation_keys == Several().observation_keys

    def test_inputs_may_be_named_as_well(self):
        env = TransformedEnv(Several(), SelectTransform("b", "action"))
        assert observed(env) == {"b"}

    def test_flags_and_rewards_not_named(self, scripted):
        env = TransformedEnv(
            scripted(truncated=[False, True]),
            SelectTransform("observation", "reward", "done", keep_rewards=False, keep_dones=False),
        )
        assert set(env.done_keys) == {"done", "terminated"}  # the second one is the runtime's
        with pytest.raises(SpecError, match=r"SelectTransform: expected at least one reward to stay.*\['reward'\]"):
            TransformedEnv(scripted(), SelectTransform("observation", keep_rewards=False))
        with pytest.raises(SpecError, match="SelectTransform: expected 'done' to stay, which tells when episodes end"):
            TransformedEnv(scripted(), SelectTransform("observation", keep_dones=False))

    def test_what_the_env_reads_stays(self):
        class Stateless(Several):
            def __init__(self):
                super().__init__()
                self.state_spec = Composite(b=Unbounded((1,)))

        assert observed(TransformedEnv(Stateless(), SelectTransform("a"))) == {"a", "b"}
        with pytest.raises(SpecError, match="expected 'b' to stay, as the next step of the env inside reads it"):
            TransformedEnv(Stateless(), ExcludeTransform("b"))

    def test_what_an_inner_transform_remembers_stays(self):
        with pytest.raises(SpecError, match="StepCounter: expected to find 'step_count' again"):
            TransformedEnv(Several(), [StepCounter(), SelectTransform("a")])

    def test_unknown(self):
        with pytest.raises(SpecError, match=r"SelectTransform: unknown key 'oops' in selected_keys"):
            TransformedEnv(Several(), SelectTransform("oops"))
        with pytest.raises(ValueError, match="SelectTransform: expected at least one key, found none"):
            SelectTransform()

    def test_stored(self):
        stored = Several().rollout(3)
        out = SelectTransform("b", "action", ("next", "a"))(stored)
        assert set(out.keys()) == {"b", "action", "done", "terminated", "next"}
        assert set(out["next"].keys()) == {"a", "b", "reward", "done", "terminated"}
        with pytest.raises(KeyError, match=r"SelectTransform: .*oops.* is missing"):
            SelectTransform("oops")(stored)


class TestExclude:
    def test_promises(self, kit):
        kit.all(Several, lambda: ExcludeTransform("b", ("nested", "c")))

    def test_shown(self):
        env = TransformedEnv(Several(), ExcludeTransform("a", "nested"))
        assert env.observation_keys == ["b"]
        assert "nested" not in env.rollout(2)["next"].keys()

    def test_refused(self, scripted):
        with pytest.raises(SpecError, match="ExcludeTransform: expected 'done' to stay"):
            TransformedEnv(scripted(), ExcludeTransform("done"))
        with pytest.raises(SpecError, match="ExcludeTransform: unknown key 'oops' in excluded_keys"):
            TransformedEnv(scripted(), ExcludeTransform("oops"))
        with pytest.raises(SpecError, match="expected inverse=False in an env"):
            TransformedEnv(scripted(), ExcludeTransform("observation", inverse=True))

    def test_truncations_may_go(self, scripted):
        env = TransformedEnv(scripted(truncated=[False, True]), ExcludeTransform("truncated"))
        assert env.done_keys == ["done", "terminated"]
        assert env.rollout(5)["next", "done"].flatten().tolist() == [False, True]

    def test_at_the_door_of_a_buffer(self):
        stored = Several().rollout(4)
        for inverse in (False, True):
            buffer = ReplayBuffer(transform=ExcludeTransform("a", "nested", inverse=inverse))
            buffer.extend(stored)
            assert ("a" in buffer.storage.get(torch.tensor([0]))[0].keys()) is not inverse
            batch = buffer.sample(2)
            assert set(batch.keys()) == {"b", "action", "done", "terminated", "next"}
            assert set(batch["next"].keys()) == {"b", "reward", "done", "terminated"}


class TestRemoveEmptySpecs:
    class Hollow(Several):
        def __init__(self):
            super().__init__()
            self.observation_spec = Composite(a=Unbounded((2,)), hollow=Composite(more=Composite()))
            self.full_action_spec = Composite(action=Bounded(-1.0, 1.0, (1,)), idle=Composite())

        def _observe(self):
            return {"a": torch.full((2,), float(self.count)), "hollow": TensorDict({"more": TensorDict()})}

    def test_promises(self, kit):
        kit.ports_agree(self.Hollow, RemoveEmptySpecs)
        kit.stored_data_agrees(self.Hollow, RemoveEmptySpecs)
        kit.commutes(Several, RemoveEmptySpecs)

    def test_specs_and_data(self):
        env = TransformedEnv(self.Hollow(), RemoveEmptySpecs())
        assert list(env.observation_spec.keys(True)) == ["a"]
        assert list(env.full_action_spec.keys(True)) == ["action"]
        td = env.rand_step(env.reset())
        assert env.transform.inv(td)["idle"].is_empty()
        assert "hollow" not in td.keys()
        assert "hollow" not in td["next"].keys()
        check_env_specs(env)

    def test_nothing_to_do(self):
        env = TransformedEnv(GymEnv("CartPole-v1"), RemoveEmptySpecs())
        assert env.specs == env.base_env.specs
