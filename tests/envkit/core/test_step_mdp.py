"""From one step's data to the next step's input."""

from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit import GymEnv, step_mdp


def flat_step() -> TensorDict:
    false = torch.zeros(1, dtype=torch.bool)
    return TensorDict(
        {
            "observation": torch.zeros(2),
            "action": torch.ones(1),
            "hidden": torch.full((3,), 7.0),
            "done": false,
            "terminated": false,
            "next": {
                "observation": torch.ones(2),
                "reward": torch.ones(1),
                "done": ~false,
                "terminated": ~false,
                "truncated": false,
            },
        }
    )


def nested_step() -> TensorDict:
    false = torch.zeros(2, 1, dtype=torch.bool)
    return TensorDict(
        {
            "agents": TensorDict(
                {"obs": torch.zeros(2, 3), "action": torch.ones(2, 1), "hidden": torch.ones(2, 4), "done": false}, [2]
            ),
            "clock": torch.zeros(1),
            "next": {
                "agents": TensorDict({"obs": torch.ones(2, 3), "reward": torch.ones(2, 1), "done": ~false}, [2]),
                "clock": torch.ones(1),
            },
        }
    )


NESTED_KEYS = {"reward_keys": ("agents", "reward"), "action_keys": ("agents", "action")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"observation", "hidden", "done", "terminated", "truncated"}),
        ({"keep_other": False}, {"observation", "done", "terminated", "truncated"}),
        ({"exclude_reward": False}, {"observation", "hidden", "done", "terminated", "truncated", "reward"}),
        ({"exclude_done": True}, {"observation", "hidden"}),
        ({"exclude_action": False}, {"observation", "hidden", "done", "terminated", "truncated", "action"}),
        ({"exclude_done": True, "done_keys": ["done"]}, {"observation", "hidden", "terminated", "truncated"}),
        ({"reward_keys": "cost"}, {"observation", "hidden", "done", "terminated", "truncated", "reward"}),
        ({"reward_keys": ["reward", "hidden"]}, {"observation", "done", "terminated", "truncated"}),
        ({"action_keys": ["observation"]}, {"action", "hidden", "done", "terminated", "truncated"}),
        (
            {"keep_other": False, "exclude_action": False, "exclude_reward": False, "exclude_done": True},
            {"observation", "reward", "action"},
        ),
    ],
)
def test_options(options, expected):
    assert set(step_mdp(flat_step(), **options).keys()) == expected


def test_values_come_from_next():
    td = flat_step()
    out = step_mdp(td)
    assert out["observation"] is td["next", "observation"]
    assert out["done"] is td["next", "done"]
    assert out["hidden"] is td["hidden"]


def test_input_is_left_untouched():
    for td in (flat_step(), nested_step()):
        before, keys = td.clone(), set(td.keys(True))
        step_mdp(td).set("observation", torch.full((2,), 9.0)).set(("agents", "obs"), torch.zeros(2, 3))
        assert set(td.keys(True)) == keys
        assert bool((td == before).all())


def test_writes_into_a_given_tensordict():
    target = TensorDict({"observation": torch.zeros(2), "mine": torch.ones(1)})
    out = step_mdp(flat_step(), target)
    assert out is target
    assert set(out.keys()) == {"observation", "mine", "hidden", "done", "terminated", "truncated"}
    assert out["observation"].tolist() == [1.0, 1.0]


def test_nested_keys():
    out = step_mdp(nested_step(), **NESTED_KEYS)
    expected = {"clock", ("agents", "obs"), ("agents", "hidden"), ("agents", "done")}
    assert set(out.keys(True, True)) == expected
    assert out["agents"].batch_size == torch.Size([2])
    assert out["agents", "obs"].eq(1).all()


def test_nested_done_flags_are_known_by_name():
    out = step_mdp(nested_step(), exclude_done=True, **NESTED_KEYS)
    assert ("agents", "done") not in out.keys(True, True)


def test_nested_action_alone_of_the_root():
    out = step_mdp(nested_step(), keep_other=False, exclude_action=False, action_keys=[("agents", "action"), "absent"])
    assert set(out.keys(True, True)) == {"clock", *(("agents", name) for name in ("obs", "reward", "done", "action"))}


def test_nested_level_without_successor():
    td = TensorDict({"group": {"action": torch.ones(1), "other": torch.ones(1)}, "next": {"x": torch.ones(1)}})
    assert set(step_mdp(td, action_keys=("group", "action")).keys(True, True)) == {"x", ("group", "other")}
    td.del_(("group", "other"))
    assert set(step_mdp(td, action_keys=("group", "action")).keys(True)) == {"x"}


def test_lists_of_nested_keys():
    out = step_mdp(nested_step(), reward_keys=[("agents", "reward")], action_keys=["action", ("agents", "action")])
    assert ("agents", "reward") not in out.keys(True, True)
    assert ("agents", "action") not in out.keys(True, True)


def test_next_below_the_root_is_an_ordinary_entry():
    td = TensorDict({"a": {"next": torch.ones(1)}, "next": {"a": {"next": torch.zeros(1)}}})
    assert set(step_mdp(td).keys(True, True)) == {("a", "next")}


def test_batched():
    td = TensorDict({"observation": torch.zeros(4, 2), "next": {"observation": torch.ones(4, 2)}}, [4])
    out = step_mdp(td)
    assert out.batch_size == torch.Size([4])
    assert out["observation"].eq(1).all()


def test_lazy_stack():
    rows = []
    for width in (1, 2):
        row = TensorDict({"observation": torch.zeros(width), "action": torch.ones(1)})
        rows.append(row.set("next", TensorDict({"observation": torch.ones(width + 1), "reward": torch.ones(1)})))
    out = step_mdp(LazyStackedTensorDict.lazy_stack(rows, 0))
    assert isinstance(out, LazyStackedTensorDict)
    assert out.batch_size == torch.Size([2])
    assert [out[i]["observation"].shape[0] for i in range(2)] == [2, 3]
    assert "reward" not in out.keys()
    assert "action" not in out.keys()


def test_without_next():
    with pytest.raises(KeyError, match=r"next.*observation"):
        step_mdp(TensorDict({"observation": torch.zeros(1)}))


def test_env_step_mdp_keeps_the_action(two_agents):
    env = GymEnv("Pendulum-v1")
    td = env.rand_step()
    out = env.step_mdp(td)
    assert out["action"] is td["action"]
    assert set(out.keys()) == {"observation", "done", "terminated", "truncated", "action"}
    env = two_agents()
    out = env.step_mdp(env.step(env.rand_action(env.reset())))
    assert ("agent0", "action") in out.keys(True, True)
    assert ("agent0", "reward") not in out.keys(True, True)
