from __future__ import annotations

import copy
import random
import sys

import numpy as np
import pytest
import torch
from tensordict import LazyStackedTensorDict

from envkit import (
    Categorical,
    Collector,
    MarlGroupMapType,
    MissingDependencyError,
    MultiCategorical,
    OneHot,
    PixelRenderTransform,
    PolicyError,
    RewardSum,
    SerialEnv,
    TransformedEnv,
    UnknownEnvError,
    check_env_specs,
    plain_snapshot,
    restore_plain_snapshot,
)
from envkit.libs.vmas import VmasEnv, VmasWrapper
from envkit.testing import env_checks

vmas = pytest.importorskip("vmas")

SEED = 7


class Leaving(type(vmas.make_env("simple", 1).scenario)):
    """Ends where the agent is far from the middle, and tells things of several kinds."""

    def observation(self, agent):
        return {"pos": agent.state.pos, "own": {"vel": agent.state.vel}}

    def done(self):
        return self.world.agents[0].state.pos.norm(dim=-1) > 0.8

    def info(self, agent):
        near = agent.state.pos.norm(dim=-1) < 0.5
        return {"near": near, "count": near.to(torch.int32), "where": {"x": agent.state.pos[:, :1]}}


# One group and two, infos, messages, discrete actions, agents of unequal observations and actions in one group,
# observations and infos of several entries.
KINDS = {
    "leaving": {"scenario": Leaving, "max_steps": 30},
    "dropout": {"scenario": "dropout", "n_agents": 2, "max_steps": 20},
    "balance": {"scenario": "balance", "n_agents": 2, "max_steps": 20},
    "two groups": {"scenario": "simple_tag", "num_adversaries": 2, "max_steps": 5},
    "messages": {"scenario": "simple_reference", "max_steps": 5},
    "discrete": {"scenario": "simple_spread", "continuous_actions": False, "max_steps": 5},
    "multi-discrete": {
        "scenario": "dispersion",
        "n_agents": 2,
        "continuous_actions": False,
        "multidiscrete_actions": True,
        "max_steps": 5,
    },
    "unequal": {"scenario": "simple_speaker_listener", "group_map": MarlGroupMapType.ALL_IN_ONE_GROUP, "max_steps": 5},
}


def made(kind, num_envs=3, **options):
    wanted = {"num_envs": num_envs, **KINDS[kind], **options}
    if not isinstance(wanted["scenario"], str):
        wanted["scenario"] = wanted["scenario"]()
    return VmasEnv(**wanted)


def raw(kind, num_envs=3):
    wanted = {name: value for name, value in KINDS[kind].items() if name != "group_map"}
    if not isinstance(wanted["scenario"], str):
        wanted["scenario"] = wanted["scenario"]()
    return vmas.make_env(num_envs=num_envs, **wanted, terminated_truncated=True)


def flat(value):
    """The tensors of an observation, or an info, of VMAS in the order of their names; those of numbers as columns."""
    if isinstance(value, torch.Tensor):
        return [value.reshape(len(value), -1)]
    return [leaf for name in sorted(value) for leaf in flat(value[name])]


def at(entry, t):
    """The same of a step of a rollout."""
    if isinstance(entry, torch.Tensor):
        return [entry[:, t]]
    return [leaf for name in sorted(entry.keys()) for leaf in at(entry[name], t)]


def same(mine, theirs):
    return len(mine) == len(theirs) and all(map(torch.equal, mine, theirs))


def of_agents(env, data, name):
    """An entry of each agent, in the simulator's order, from the data of a rollout."""
    out = {}
    for group, names in env.group_map.items():
        inner = data[group]
        if isinstance(inner, LazyStackedTensorDict):
            out |= {agent: inner[:, :, i][name] for i, agent in enumerate(names)}
        else:
            out |= {agent: inner[name][:, :, i] for i, agent in enumerate(names)}
    return [out[agent] for agent in env.agent_names]


def check_raw(kind, steps, num_envs=3):
    """Compares a rollout with a loop in VMAS's own terms; returns how many episodes ended."""
    env, other = made(kind, num_envs), raw(kind, num_envs)
    env.set_seed(SEED)
    data = env.rollout(steps, break_when_any_done=False)
    following, ends = data["next"], 0
    before = of_agents(env, data, "observation")
    after, rewards = of_agents(env, following, "observation"), of_agents(env, following, "reward")
    actions = of_agents(env, data, "action")
    informed = "info" in following[next(iter(env.group_map))].keys()
    infos = of_agents(env, following, "info") if informed else [None] * len(after)
    seen = other.reset(seed=SEED)
    for t in range(data.shape[1]):
        for mine, theirs in zip(before, seen, strict=True):
            assert same(at(mine, t), flat(theirs))
        acted = [action[:, t] if action.ndim > 2 else action[:, t, None] for action in actions]
        seen, reward, terminated, truncated, info = other.step(acted)
        for agent in range(len(seen)):
            assert same(at(after[agent], t), flat(seen[agent]))
            assert same(at(rewards[agent], t), flat(reward[agent]))
            assert infos[agent] is None or same(at(infos[agent], t), flat(info[agent]))
        assert torch.equal(following["terminated"][:, t, 0], terminated)
        assert torch.equal(following["truncated"][:, t, 0], truncated)
        over = terminated | truncated
        assert torch.equal(following["done"][:, t, 0], over)
        ends += int(over.sum())
        if over.all():
            seen = other.reset()
        elif over.any():
            for index in over.nonzero().reshape(-1).tolist():
                other.reset_at(index, return_observations=False)
            (seen,) = other.get_from_scenario(True, False, False, False)
    return ends


# ------------------------------------------------------------------------ data


@env_checks(lambda: made("balance"))
def test_conformance(check):
    check()


@pytest.mark.parametrize("kind", list(KINDS))
def test_it_does_what_it_says(kind):
    assert check_env_specs(made(kind), steps=10) == []


def test_a_thousand_steps_are_those_of_vmas():
    assert check_raw("leaving", 1_000) > 100


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "leaving"])
def test_steps_are_those_of_vmas(kind):
    assert check_raw(kind, 60) > 5  # a step of some of them takes milliseconds


def test_layout():
    env = made("balance", num_envs=3, n_agents=5)
    data = env.rollout(4)
    assert data.shape == (3, 4)
    assert data["agents"].shape == (3, 4, 5)
    shapes = {key: tuple(value.shape[2:]) for key, value in data["next"].items(True, True)}
    assert shapes == {
        ("agents", "observation"): (5, 16),
        ("agents", "reward"): (5, 1),
        ("agents", "info", "pos_rew"): (5, 1),
        ("agents", "info", "ground_rew"): (5, 1),
        "done": (1,),
        "terminated": (1,),
        "truncated": (1,),
    }
    assert data["agents", "action"].shape == (3, 4, 5, 2)
    assert env.full_action_spec_unbatched["agents", "action"].shape == (5, 2)
    assert env.group_map == {"agents": [f"agent_{i}" for i in range(5)]}
    assert env.agent_names_to_indices_map["agent_3"] == 3
    assert env.n_agents == 5  # looked up in the simulator
    assert not env.het_specs
    assert env.libname == "vmas"


def test_infos_are_zero_where_an_episode_starts():
    env = made("balance")
    env.rollout(15, break_when_any_done=False)
    start = env.reset()
    assert not start["agents", "info", "pos_rew"].any()
    data = env.rollout(60, break_when_any_done=False)
    over, info = data["next", "done"][:, :-1, 0], data["agents", "info", "pos_rew"][:, 1:]
    assert over.any()
    assert not info[over].any()
    assert torch.equal(info[~over], data["next", "agents", "info", "pos_rew"][:, :-1][~over])


def test_a_limit_truncates_and_the_scenario_terminates():
    given = vmas.make_env(Leaving(), num_envs=5, max_steps=30)  # tells one flag only
    env = VmasWrapper(given)
    env.set_seed(0)
    data = env.rollout(80, break_when_any_done=False)["next"]
    assert data["terminated"].any()
    assert data["truncated"].any()
    assert torch.equal(data["done"], data["terminated"] | data["truncated"])
    assert len(given.step(given.get_random_actions())) == 4  # as it was


def test_groups():
    assert made("two groups").group_map == {"adversary": ["adversary_0", "adversary_1"], "agent": ["agent_0"]}
    apart = made("balance", group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT)
    assert apart.rollout(2)["next", "agent_1", "reward"].shape == (3, 2, 1, 1)
    turned = made("balance", group_map={"team": ["agent_1", "agent_0"]})
    plain = made("balance")
    turned.set_seed(0), plain.set_seed(0)
    seen = plain.reset()["agents", "observation"]
    assert torch.equal(turned.reset()["team", "observation"], seen.flip(1))
    # Names without a number put all agents into one group.
    assert VmasEnv("goal", 2).group_map == {"agents": ["agent 0"]}
    assert list(VmasEnv("simple_speaker_listener", 2).group_map) == ["speaker", "listener"]


def test_agents_that_differ():
    env = made("unequal")
    assert env.het_specs
    assert env.het_specs_map == {"agents": True}
    data = env.rollout(3)
    assert [data["agents"][:, :, i]["observation"].shape for i in range(2)] == [(3, 3, 3), (3, 3, 11)]
    assert [data["agents"][:, :, i]["action"].shape for i in range(2)] == [(3, 3, 5), (3, 3, 2)]
    apart = made("unequal", group_map=MarlGroupMapType.ONE_GROUP_PER_AGENT)
    assert not apart.het_specs


def test_discrete_actions():
    env = made("discrete")
    hot, several = made("discrete", categorical_actions=False), made("multi-discrete")
    assert isinstance(env.full_action_spec["agents", "action"], Categorical)
    assert isinstance(hot.full_action_spec["agents", "action"], OneHot)
    assert isinstance(several.full_action_spec["agents", "action"], MultiCategorical)
    env.set_seed(0), hot.set_seed(0)
    one, other = env.rand_action(env.reset()), hot.reset()
    other["agents", "action"] = hot.full_action_spec["agents", "action"].encode(one["agents", "action"])
    assert torch.equal(env.step(one)["next", "agents", "reward"], hot.step(other)["next", "agents", "reward"])
    assert check_env_specs(made("multi-discrete", categorical_actions=False), steps=3) == []


def test_entries_of_several_kinds():
    data = made("leaving").rollout(3, break_when_any_done=False)["next", "agents"]
    assert data["observation", "own", "vel"].shape == (3, 3, 1, 2)
    assert data["info", "near"].dtype is torch.bool
    assert data["info", "count"].dtype is torch.int32
    assert data["info", "where", "x"].shape == (3, 3, 1, 1)


# ----------------------------------------------------------------- masks, seeds


@pytest.mark.parametrize("kind", ["balance", "unequal"])
def test_a_partial_reset_leaves_the_others_alone(kind):
    env, other = made(kind), made(kind)
    env.set_seed(SEED), other.set_seed(SEED)
    one, two = env.rand_step(env.reset()), other.rand_step(other.reset())
    one, two = env.step_mdp(one), other.step_mdp(two)
    before = one.clone()
    fresh = env.reset(one.set("_reset", torch.tensor([[False], [True], [False]])))
    kept = [0, 2]
    assert (fresh[kept] == before[kept]).all()
    assert not (fresh[1] == before[1]).all()
    action = other.rand_action(two)
    one = env.step(fresh.update(action.select(*env.action_keys)))["next"]
    assert (one[kept] == other.step(action)["next"][kept]).all()


@pytest.mark.parametrize("kind", ["balance", "unequal", "two groups"])
def test_a_partial_step_leaves_the_others_where_they_are(kind):
    env, other = made(kind), made(kind)
    env.set_seed(SEED), other.set_seed(SEED)
    one, two = env.rand_action(env.reset()), other.reset()
    data = env.step(one.set("_step", torch.tensor([[True], [False], [True]])))
    assert (data["next"].select(*env.observation_keys)[1] == one.select(*env.observation_keys)[1]).all()
    # The one that rested makes its first step now.
    late = env.step(env.step_mdp(data))["next"]
    expected = other.step(two.update(one.select(*env.action_keys)))["next"]
    assert (late[1] == expected[1]).all()
    assert not (late[0] == expected[0]).all()


def test_rollouts_go_on_until_all_are_done():
    env = made("leaving")
    env.set_seed(0)
    data = env.rollout(40, break_when_all_done=True)
    over = data["next", "done"].squeeze(-1)
    assert over[:, -1].all()
    assert len(set(over.float().argmax(1).tolist())) > 1  # not at once


def streams():
    return random.random(), np.random.rand(), torch.rand(())


@pytest.mark.parametrize("kind", ["balance", "unequal"])
def test_seeds(kind):
    env = made(kind)
    env.set_seed(3)
    first = env.rollout(25, break_when_any_done=False)
    torch.manual_seed(11)
    env.set_seed(3)
    assert (env.rollout(25, break_when_any_done=False) == first).all()
    other = made(kind, seed=3)
    assert (other.rollout(25, break_when_any_done=False) == first).all()
    env.set_seed(4)
    assert not (env.reset() == first[:, 0].select(*env.observation_keys, *env.done_keys)).all()


def test_neighbours_and_global_generators_have_no_part_in_a_seeded_env():
    alone = VmasEnv("het_mass", 2, seed=3).rollout(15)  # draws from numpy, too
    env, neighbour = VmasEnv("het_mass", 2, seed=3), VmasEnv("het_mass", 2, seed=5)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = [streams() for _ in range(2)]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    found = [streams()]
    current = env.reset()
    steps = []
    for action in alone["agents", "action"].unbind(1):
        neighbour.rollout(2)
        steps.append(env.step(current.set(("agents", "action"), action)).clone())
        current = env.step_mdp(steps[-1])
    assert (torch.stack(steps, 1)["next"] == alone["next"]).all()
    found.append(streams())
    assert found == expected


def test_seeds_start_anew_on_another_device():
    env = made("leaving", seed=3)
    first = env.reset()
    assert (env.to("cpu").reset() == first).all()


def test_without_a_seed_it_draws_from_the_global_generators():
    env = made("balance")
    torch.manual_seed(1)
    first = env.reset()
    torch.manual_seed(1)
    assert (env.reset() == first).all()


def test_the_global_generators_survive_a_failure():
    env = made("balance", seed=0)
    current = env.reset()
    torch.manual_seed(1)
    expected = streams()[2]
    torch.manual_seed(1)
    with pytest.raises(PolicyError):
        env.step(current.set(("agents", "action"), torch.full((3, 2, 2), 9.0)))
    with pytest.raises(TypeError):
        VmasEnv("balance", 2, n_agents="many")
    made("balance", seed=4).rollout(2)
    assert streams()[2] == expected


def test_snapshots_and_copies():
    env = made("balance", seed=0)
    current = env.step_mdp(env.rand_step(env.reset()))
    kept, twin, other = env.snapshot(), copy.deepcopy(env), made("balance")
    restore_plain_snapshot(other, plain_snapshot(env))

    def go_on(env):
        return env.rollout(30, auto_reset=False, tensordict=current.clone(), break_when_any_done=False)

    expected = go_on(env)
    env.restore(kept)
    assert (go_on(env) == expected).all()
    assert (go_on(twin) == expected).all()
    assert (go_on(other) == expected).all()


# ------------------------------------------------------------------------ uses


def test_gradients_flow_through_steps():
    env = made("balance", grad_enabled=True, seed=0)
    current = env.reset()
    action = torch.zeros(3, 2, 2, requires_grad=True)
    for _ in range(3):
        current = env.step_mdp(env.step(current.set(("agents", "action"), action)))
    current["agents", "observation"].sum().backward()
    assert action.grad.abs().sum() > 0


def test_batches_collectors_and_transforms():
    batch = SerialEnv(2, lambda: made("balance"))
    batch.set_seed(0)
    assert batch.rollout(3)["next", "agents", "reward"].shape == (2, 3, 3, 2, 1)
    env = TransformedEnv(made("balance"), RewardSum(in_keys=[("agents", "reward")]))
    data = env.rollout(5)["next", "agents"]
    assert torch.equal(data["episode_reward"], data["reward"].cumsum(1))
    collected = next(iter(Collector(made("balance"), frames_per_batch=30, total_frames=30)))
    assert collected["agents", "observation"].shape == (3, 10, 2, 16)


def alike(picture, other):
    """Whether pictures are the same but for a few pixels, in which the renderer itself wavers."""
    return (picture != other).any(-1).sum() < 5


def test_pictures():
    env = made("balance", num_envs=2, seed=0)
    current = env.reset()
    pictures = env.render()
    assert [picture.shape for picture in pictures] == [(700, 700, 3)] * 2
    assert pictures[0].dtype == np.uint8
    assert not alike(*pictures)
    assert alike(env.render(env_index=1), pictures[1])
    # What is drawn on is no part of the env's state.
    kept, twin = env.snapshot(), copy.deepcopy(env)
    action = current.set(("agents", "action"), torch.ones(2, 2, 2))
    env.step(action.clone())
    assert not alike(env.render(env_index=0), pictures[0])
    env.restore(kept)
    assert alike(env.render(env_index=0), pictures[0])
    assert alike(twin.render(env_index=0), pictures[0])
    twin.close(), env.close()


def test_pictures_in_the_data():
    env = TransformedEnv(made("balance", num_envs=2), PixelRenderTransform())
    data = env.rollout(2)
    assert data["pixels"].shape == (2, 2, 700, 700, 3)
    env.close()


def test_scenarios_by_name_and_as_objects():
    env = VmasEnv("dropout.py", 2, scenario_kwargs={"n_agents": 3})
    assert env.n_agents == 3
    own = VmasEnv(type(env.scenario)(), 2, n_agents=2)
    assert own.n_agents == 2
    assert repr(own) == "VmasEnv(Scenario, batch_size=[2], device=cpu)"


def test_available_envs():
    assert {"balance", "goal", "simple_tag"} <= set(VmasEnv.available_envs)


def test_errors(monkeypatch):
    with pytest.raises(UnknownEnvError, match=r"unknown scenario 'balanse'.*did you mean 'balance'"):
        VmasEnv("balanse", 2)
    with pytest.raises(TypeError, match=r"expected arguments that 'balance' reads, found \{'n_agens': 4\}"):
        VmasEnv("balance", 2, n_agens=4)
    with pytest.raises(ValueError, match="num_envs: expected a positive number, found 0"):
        VmasEnv("balance", 0)
    with pytest.raises(ValueError, match=r"group_map: .*found none for \['agent_1'\]"):
        made("balance", group_map={"a": ["agent_0"]})
    with pytest.raises(TypeError, match=r"expected what vmas.make_env returns, found VmasEnv"):
        VmasWrapper(made("balance"))
    env = made("balance")
    current = env.reset()
    with pytest.raises(PolicyError, match=r"\('agents', 'action'\) is missing from the input of a step"):
        env.step(current.clone())
    with pytest.raises(PolicyError, match=r"'agents', 'action'.*expected .*found .*9"):
        env.step(current.set(("agents", "action"), torch.full((3, 2, 2), 9.0)))
    with pytest.raises(AttributeError, match="neither VmasEnv nor the wrapped Environment has 'wings'"):
        env.wings  # noqa: B018
    with pytest.raises(PolicyError, match=r"'agents', 'action'.*found .*nan"):
        env.step(current.set(("agents", "action"), torch.full((3, 2, 2), torch.nan)))
    monkeypatch.setitem(sys.modules, "vmas", None)
    with pytest.raises(MissingDependencyError, match=r"envkit\[vmas\]"):
        VmasEnv("balance", 2)
    assert VmasEnv.available_envs == []
