import copy

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents import Actor, EGreedyModule, QValueActor, TensorDictSequential, set_exploration_modules_spec_from_env
from envkit import (
    Bounded,
    Categorical,
    Collector,
    Composite,
    ExplorationType,
    GymEnv,
    MultiCategorical,
    OneHot,
    SerialEnv,
    set_exploration_type,
)
from envkit.errors import PolicyError


def explore(module, action, batch=None, **entries):
    td = TensorDict({"action": action, **entries}, action.shape[:1] if batch is None else batch)
    with set_exploration_type(ExplorationType.RANDOM):
        return module(td)["action"]


def test_a_fraction_eps_of_a_batch_acts_at_random():
    torch.manual_seed(0)
    module = EGreedyModule(Categorical(10), eps_init=0.5)
    action = explore(module, torch.zeros(20_000, dtype=torch.int64))
    # Half explore, and of those nine in ten draw another action than 0: 0.45, with a deviation of 0.0035.
    assert abs((action != 0).float().mean().item() - 0.45) < 0.015
    assert action.unique().tolist() == list(range(10))


@pytest.mark.parametrize("kind", [None, ExplorationType.DETERMINISTIC, ExplorationType.MODE, ExplorationType.MEAN])
def test_only_the_random_type_explores(kind):
    module = EGreedyModule(Categorical(10), eps_init=1.0, eps_end=1.0)
    with set_exploration_type(kind):
        assert not module(TensorDict(action=torch.zeros(100, dtype=torch.int64), batch_size=[100]))["action"].any()


@pytest.mark.parametrize(
    ("spec", "action"),
    [
        (OneHot(4), OneHot(4).rand((500,))),
        (MultiCategorical([2, 3]), MultiCategorical([2, 3]).rand((500,))),
        (Categorical(3).expand(500), torch.zeros(500, dtype=torch.int64)),
        (Composite(action=Categorical(3)), torch.zeros(500, dtype=torch.int64)),
        (Bounded(-1.0, 1.0, shape=(2,)), torch.zeros(500, 2)),
    ],
    ids=["one_hot", "multi", "batched", "composite", "continuous"],
)
def test_whole_actions_are_replaced(spec, action):
    changed = explore(EGreedyModule(spec, eps_init=1.0), action)
    leaf = spec["action"] if isinstance(spec, Composite) else spec
    assert changed.shape == action.shape
    assert changed.dtype == action.dtype
    assert leaf.is_in(changed)
    kept = explore(EGreedyModule(spec, eps_init=0.0, eps_end=0.0), action)
    assert torch.equal(kept, action)


@pytest.mark.parametrize("one_hot", [False, True])
def test_random_actions_obey_the_mask(one_hot):
    mask = torch.rand(300, 6) < 0.5
    mask[:, 2] = True
    spec = OneHot(6) if one_hot else Categorical(6)
    module = EGreedyModule(spec, eps_init=1.0, action_mask_key="mask")
    index = torch.full((300,), 2)
    action = explore(module, nn.functional.one_hot(index, 6).bool() if one_hot else index, mask=mask)
    chosen = action.long().argmax(-1) if one_hot else action
    assert mask.gather(-1, chosen.unsqueeze(-1)).all()
    assert len(chosen.unique()) == 6


def test_groups_of_agents_explore_one_by_one():
    module = EGreedyModule(Categorical(50).expand(3), eps_init=0.5, action_key=("agents", "action"))
    torch.manual_seed(0)
    inner = TensorDict(action=torch.full((200, 3), -1), batch_size=[200, 3])
    td = TensorDict({"agents": inner}, [200])
    with set_exploration_type(ExplorationType.RANDOM):
        explored = (module(td)["agents", "action"] >= 0).sum(-1)
    assert explored.unique().tolist() == [0, 1, 2, 3]


def test_eps_goes_along_a_line():
    module = EGreedyModule(Categorical(2), eps_init=1.0, eps_end=0.1, annealing_num_steps=10)
    seen = []
    for _ in range(4):
        seen.append(module.eps)
        module.step(4)
    assert seen == pytest.approx([1.0, 0.64, 0.28, 0.1])


def test_a_generator_makes_it_repeatable_and_state_resumes():
    make = lambda: EGreedyModule(Categorical(100), eps_init=1.0, generator=torch.Generator().manual_seed(7))
    first, second, action = make(), make(), torch.zeros(20, dtype=torch.int64)
    assert torch.equal(explore(first, action), explore(second, action))
    first.step(300)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.eps == first.eps
    assert torch.equal(explore(first, action), explore(second, action))


def test_serves_collectors_over_batches_of_envs():
    env = SerialEnv(2, lambda: GymEnv("CartPole-v1"))
    policy = TensorDictSequential(QValueActor(nn.Linear(4, 2), spec=env.action_spec), EGreedyModule(eps_init=1.0))
    set_exploration_modules_spec_from_env(policy, env)
    torch.manual_seed(0)
    for data in Collector(env, policy, frames_per_batch=100, total_frames=100):
        assert data["action"].shape == (2, 50)
        differs = data["action"] != data["action_value"].argmax(-1)
        assert 0.3 < differs.float().mean() < 0.7


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EGreedyModule(Categorical(2), eps_init=1.5), ValueError, "eps_init: expected a probability"),
        (lambda: EGreedyModule(Categorical(2), annealing_num_steps=0), ValueError, "annealing_num_steps"),
        (lambda: EGreedyModule(Categorical(2)).step(-1), ValueError, "at least 0, found -1"),
        (lambda: EGreedyModule(Composite(move=Categorical(2))), PolicyError, "at key 'action'"),
        (lambda: explore(EGreedyModule(), torch.zeros(2).long()), PolicyError, "found none; see set_spec"),
        (lambda: explore(EGreedyModule(OneHot(3)), torch.zeros(2, 4).bool()), PolicyError, r"\[..., 3\].*\[2, 4\]"),
        (
            lambda: explore(EGreedyModule(Categorical(2), action_mask_key="mask"), torch.zeros(2).long()),
            PolicyError,
            "mask of the allowed actions at key 'mask', found keys",
        ),
        (
            lambda: explore(
                EGreedyModule(Categorical(2), action_mask_key="mask"), torch.zeros(2).long(), mask=torch.ones(2, 3) > 0
            ),
            PolicyError,
            r"expected shape \[2, 2\], found \[2, 3\]",
        ),
        (
            lambda: explore(
                EGreedyModule(MultiCategorical([2]), action_mask_key="mask"),
                torch.zeros(2, 1).long(),
                mask=torch.ones(2, 2) > 0,
            ),
            PolicyError,
            "Categorical or OneHot",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_errors_name_a_missing_action():
    with set_exploration_type(ExplorationType.RANDOM), pytest.raises(PolicyError, match="comes first at key 'action'"):
        EGreedyModule(Categorical(2))(TensorDict(observation=torch.zeros(3)))


def test_stands_behind_a_policy():
    policy = TensorDictSequential(Actor(nn.Linear(3, 2)), EGreedyModule(Bounded(-1.0, 1.0, shape=(2,)), eps_init=1.0))
    assert policy.in_keys == ["observation"]
    assert "action" in policy.out_keys
