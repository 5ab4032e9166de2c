"""Groups of agents that differ: stacks of unequal specs, lazy stacks of data."""

from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit import (
    Bounded,
    Categorical,
    Collector,
    Composite,
    EnvBase,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)
from envkit.errors import EnvDataError, NonFiniteError, PolicyError
from envkit.storage import flat_items


class Unequal(EnvBase):
    """Two agents: the second one sees and does more, and has an entry of its own."""

    def __init__(self, length: int = 4, apart: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.length, self.apart, self.time = length, apart, 0
        self.observation_spec = Composite(
            agents=torch.stack([Composite(obs=Unbounded((2,))), Composite(obs=Unbounded((3,)), arm=Unbounded((1,)))]),
            clock=Unbounded((1,)),
        )
        self.full_action_spec = Composite(
            agents=torch.stack([Composite(action=Bounded(-1.0, 1.0, (1,))), Composite(action=Bounded(-1.0, 1.0, (2,)))])
        )
        self.full_reward_spec = Composite(agents=Composite(reward=Unbounded((2, 1)), shape=(2,)))
        flag = Categorical(2, shape=(2, 1) if apart else (1,), dtype=torch.bool)
        self.full_done_spec = Composite(agents=Composite(done=flag, shape=(2,))) if apart else Composite(done=flag)

    def _set_seed(self, seed):
        self.seed = seed

    def observe(self, first, second):
        return TensorDict(
            {
                "agents": LazyStackedTensorDict.lazy_stack(
                    [
                        TensorDict({"obs": torch.full((2,), float(first))}),
                        TensorDict({"obs": torch.full((3,), float(second)), "arm": torch.full((1,), float(second))}),
                    ]
                ),
                "clock": torch.full((1,), float(self.time)),
            }
        )

    def _reset(self, tensordict=None):
        self.time = 0
        return self.observe(0, 0)

    def _step(self, tensordict):
        self.time += 1
        first, second = (agent["obs"][0].item() + 1 for agent in tensordict["agents"].unbind(0))
        out = self.observe(first, second)
        sums = [agent["action"].sum().reshape(1) for agent in tensordict["agents"].unbind(0)]
        out["agents", "reward"] = torch.stack(sums)
        if self.apart:
            out["agents", "done"] = torch.tensor([[first >= self.length], [second >= self.length + 2]])
        else:
            out["done"] = torch.tensor([self.time >= self.length])
        return out


def values(tensordict, *path):
    return dict(flat_items(tensordict))[path].flatten().tolist()


def test_keys_and_specs():
    env = Unequal()
    assert env.observation_keys == ["clock", ("agents", "obs")]
    assert env.action_keys == [("agents", "action")]
    assert env.has_dynamic_specs
    assert env.plan.unequal == ["agents"]
    fake = env.fake_tensordict()
    assert values(fake["next"], "agents", 1, "arm") == [0]


def test_steps_by_hand():
    env = Unequal()
    td = env.rand_action(env.reset())
    assert env.full_action_spec.is_in(td.select(("agents", "action")))
    assert env.step(td) is td
    assert values(td["next"], "agents", 1, "arm") == [1]
    onward = env.step_mdp(td)
    assert values(onward, "agents", 1, "arm") == [1]
    assert ("agents", 0, "reward") not in dict(flat_items(onward))


def test_rollout_equals_the_loop_by_hand():
    env = Unequal()
    data = env.rollout(7, break_when_any_done=False)
    assert isinstance(data, LazyStackedTensorDict)
    assert (data.batch_size, data.names) == (torch.Size([7]), ["time"])
    actions = [data[t].select(("agents", "action")) for t in range(7)]
    td = env.reset()
    for t, action in enumerate(actions):
        row, td = env.step_and_maybe_reset(td.update(action))
        expected = dict(flat_items(row))
        found = dict(flat_items(data[t]))
        assert set(found) == set(expected)
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert [values(data[t], "agents", 1, "arm")[0] for t in range(7)] == [0, 1, 2, 3, 0, 1, 2]


def test_ways_to_break():
    assert Unequal().rollout(10).batch_size == torch.Size([4])
    assert Unequal(apart=True).rollout(10).batch_size == torch.Size([4])
    data = Unequal(apart=True).rollout(10, break_when_all_done=True)
    assert data.batch_size == torch.Size([6])
    assert [values(data[t]["next"], "agents", 0, "obs")[0] for t in range(6)] == [1, 2, 3, 4, 4, 4]
    assert [values(data[t]["next"], "agents", 1, "obs")[0] for t in range(6)] == [1, 2, 3, 4, 5, 6]
    assert values(data[5]["next"], "agents", 0, "reward") == [0]


def test_partial_resets():
    env = Unequal(apart=True)
    td = env.reset()
    for _ in range(2):
        td = env.step_mdp(env.step(env.rand_action(td)))
    td["agents", "_reset"] = torch.tensor([[True], [False]])
    td = env.reset(td)
    assert values(td, "agents", 0, "obs") == [0, 0]
    assert values(td, "agents", 1, "obs") == [2, 2, 2]
    assert values(td, "agents", 1, "arm") == [2]


def test_partial_steps():
    env = Unequal(apart=True)
    td = env.rand_action(env.reset())
    td["agents", "_step"] = torch.tensor([[False], [True]])
    following = env.step(td)["next"]
    assert values(following, "agents", 0, "obs") == [0, 0]
    assert values(following, "agents", 1, "obs") == [1, 1, 1]
    assert values(following, "agents", 0, "reward") == [0]
    assert values(following, "agents", 1, "reward") != [0]


def test_policies():
    env = Unequal()

    def policy(td):
        for agent, width in zip(td["agents"].unbind(0), (1, 2), strict=True):
            agent["action"] = torch.full((width,), 0.5)
        return td.set("note", torch.ones(1))

    data = env.rollout(3, policy)
    assert values(data[2]["next"], "agents", 1, "reward") == [1.0]
    assert values(data[1], "note") == [1]
    with pytest.raises(PolicyError, match=r"wrote no \('agents', 'action'\)"):
        env.rollout(3, lambda td: td.set("other", torch.ones(1)))


def test_collector():
    batches = list(Collector(Unequal(), frames_per_batch=6, total_frames=12))
    assert [batch.batch_size for batch in batches] == [torch.Size([6])] * 2
    ids = torch.cat([batch["collector", "traj_ids"] for batch in batches])
    assert ids.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_transforms():
    env = TransformedEnv(Unequal(), StepCounter(max_steps=3))
    assert env.rollout(10).batch_size == torch.Size([3])
    data = TransformedEnv(Unequal(), RewardSum()).rollout(3)
    assert data[2]["next", "agents", "episode_reward"].shape == torch.Size([2, 1])


def test_nan():
    class Broken(Unequal):
        def _step(self, tensordict):
            out = super()._step(tensordict)
            if self.time == 2:
                out["agents"][1]["arm"].fill_(float("nan"))
            return out

    with pytest.raises(NonFiniteError, match=r"\('next', 'agents', 1, 'arm'\).*nan at step 1"):
        Broken().rollout(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda agent: agent.del_("arm"), r"\('agents', 1, 'arm'\) is missing"),
        (lambda agent: agent.set("arm", torch.ones(2)), r"\('agents', 1, 'arm'\).*expected shape \[1\], found \[2\]"),
        (
            lambda agent: agent.set("obs", agent["obs"].double()),
            r"\('agents', 1, 'obs'\).*expected dtype torch.float32",
        ),
    ],
)
def test_wrong_data(change, message):
    class Wrong(Unequal):
        def _step(self, tensordict):
            out = super()._step(tensordict)
            change(out["agents"][1])
            return out

    env = Wrong()
    td = env.rand_action(env.reset())
    with pytest.raises(EnvDataError, match=message):
        env.step(td)
    findings = check_env_specs(Wrong(), raise_error=False)
    assert [(f.where, f.key.rpartition(".")[0]) for f in findings] == [("_step", "agents.1")]


@pytest.mark.parametrize("apart", [False, True])
def test_right_envs_pass(apart):
    assert check_env_specs(Unequal(apart=apart)) == []


def test_nan_that_the_policy_writes_is_its_own_affair():
    env = Unequal()

    def policy(td):
        return env.rand_action(td).set("note", torch.full((1,), float("nan")))

    assert env.rollout(3, policy).batch_size == torch.Size([3])


@pytest.mark.parametrize("apart", [False, True])
def test_batches_of_them_have_all_their_entries(apart):
    def layout(step):
        return [{key: value.shape for key, value in agent.items()} for agent in step["next", "agents"].unbind(0)]

    found = SerialEnv(2, lambda: Unequal(apart=apart)).rollout(3)
    assert found.names == [None, "time"]
    assert found.batch_size == (2, 3)
    expected = layout(Unequal(apart=apart).rollout(3)[0])
    assert "arm" in expected[1]
    for step in found.unbind(1):
        assert [layout(row) for row in step.unbind(0)] == [expected, expected]
