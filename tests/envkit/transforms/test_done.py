from __future__ import annotations

import functools

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Composite,
    DoneTransform,
    EnvBase,
    EnvDataError,
    ExpandAs,
    GymEnv,
    SpecError,
    TerminateTransform,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

cartpole = functools.partial(GymEnv, "CartPole-v1")


class Team(EnvBase):
    """Three agents with rewards of their own, one end, and one score."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(agents=Composite(seen=Unbounded((3, 2)), shape=(3,)), score=Unbounded(()))
        self.full_action_spec = Composite(agents=Composite(action=Bounded(-1.0, 1.0, (3, 1)), shape=(3,)))
        self.full_reward_spec = Composite(agents=Composite(reward=Unbounded((3, 1)), shape=(3,)))
        self.random = torch.Generator()

    def _set_seed(self, seed):
        self.random.manual_seed(seed)

    def _reset(self, tensordict=None):
        self.left = int(torch.randint(2, 7, (), generator=self.random))
        return TensorDict({"agents": TensorDict({"seen": torch.zeros(3, 2)}, [3]), "score": torch.tensor(0.0)})

    def _step(self, tensordict):
        action = tensordict["agents", "action"]
        self.left -= 1
        agents = TensorDict({"seen": action.expand(3, 2), "reward": action}, [3])
        return TensorDict({"agents": agents, "score": action.sum(), "terminated": torch.tensor([self.left == 0])})


class TestTerminateTransform:
    @staticmethod
    def stop(td):
        return td["observation"][..., 2] > 0.05

    def test_promises(self, kit):
        kit.all(cartpole, lambda: TerminateTransform(self.stop))

    def test_both_shapes(self, kit, tools):
        actions = tools.draw_actions(cartpole(), 20)
        stops = (self.stop, lambda td: self.stop(td).unsqueeze(-1))
        found = [kit.rollout(TransformedEnv(cartpole(), TerminateTransform(stop)), actions) for stop in stops]
        tools.assert_same(*found)
        assert found[0]["next", "done"].any()

    def test_done_may_stay(self, scripted):
        env = TransformedEnv(
            scripted([1.0], [False]), TerminateTransform(lambda td: td["observation"] > 1, write_done=False)
        )
        td = env.step(env.rand_action(env.step_mdp(env.rand_step(env.reset()))))["next"]
        assert (td["terminated"].item(), td["done"].item()) == (True, False)

    def test_errors(self):
        with pytest.raises(TypeError, match=r"TerminateTransform: stop: expected a function, found bool"):
            TerminateTransform(True)
        with pytest.raises(SpecError, match=r"TerminateTransform: unknown key \('a', 'done'\) in done_key"):
            TransformedEnv(cartpole(), TerminateTransform(self.stop, ("a", "done")))
        env = TransformedEnv(cartpole(), TerminateTransform(lambda td: td["observation"]))
        with pytest.raises(
            EnvDataError, match=r"stop: expected torch.bool of shape \[1\] or \[\], found torch.float32"
        ):
            env.rollout(2)


class TestExpandAs:
    def test_promises(self, kit):
        kit.all(Team, lambda: ExpandAs("score", ("agents", "reward"), ("agents", "score")))
        kit.all(Team, lambda: ExpandAs("score", ("agents", "seen"), ("agents", "score")))
        assert kit.on_rows(TransformedEnv(Team(), ExpandAs("score", ("agents", "seen"), ("agents", "score"))))

    def test_values(self):
        env = TransformedEnv(Team(), ExpandAs("score", ("agents", "seen"), ("agents", "score")))
        assert env.observation_spec["agents", "score"] == Unbounded((3, 2))
        data = env.rollout(3)
        assert torch.equal(data["agents", "score"], data["score"].reshape(-1, 1, 1).expand(-1, 3, 2))

    def test_errors(self):
        with pytest.raises(SpecError, match=r"ExpandAs: unknown key 'oops' in ref_key"):
            TransformedEnv(Team(), ExpandAs("score", "oops", "more"))
        with pytest.raises(
            SpecError, match=r"ExpandAs: \('agents', 'seen'\): expected shape \[\] or \[1\], found \[3, 2\]"
        ):
            TransformedEnv(Team(), ExpandAs(("agents", "seen"), ("agents", "reward"), "more"))


class TestDoneTransform:
    def test_promises(self, kit):
        kit.all(Team, lambda: DoneTransform(("agents", "reward")))
        assert kit.on_rows(TransformedEnv(Team(), DoneTransform(("agents", "reward"))))

    def test_values(self):
        env = TransformedEnv(Team(), DoneTransform(("agents", "reward"), ["done"]))
        check_env_specs(env)
        assert env.done_keys == env.base_env.done_keys
        data = env.rollout(8)
        assert torch.equal(data["next", "agents", "done"], data["next", "done"].unsqueeze(1).expand(-1, 3, 1))
        assert data["next", "agents", "done"].any()

    def test_errors(self):
        with pytest.raises(ValueError, match=r"DoneTransform: reward_key: expected the key of a group's reward, found"):
            DoneTransform("reward")
        with pytest.raises(SpecError, match=r"DoneTransform: unknown key 'oops' in in_keys"):
            TransformedEnv(Team(), DoneTransform(("agents", "reward"), "oops"))
