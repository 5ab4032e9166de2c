from __future__ import annotations

import copy
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import LazyStackedTensorDict

from envkit import (
    ClosedEnvError,
    Collector,
    EnvDataError,
    MarlGroupMapType,
    MissingDependencyError,
    PixelRenderTransform,
    PolicyError,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    UnknownEnvError,
    UnsupportedSpaceError,
    as_gymnasium,
    as_pettingzoo,
    check_env_specs,
)
from envkit.libs.pettingzoo import PettingZooEnv, PettingZooWrapper
from envkit.storage import flat_items
from envkit.testing import env_checks

pettingzoo = pytest.importorskip("pettingzoo")
pytest.importorskip("mpe2")

SEED = 5
ALL, EACH = MarlGroupMapType.ALL_IN_ONE_GROUP, MarlGroupMapType.ONE_GROUP_PER_AGENT


class Mortals(pettingzoo.ParallelEnv):
    """Agents come and go by chance. They see their age and a number; masks, infos and a state are optional."""

    metadata = {"name": "mortals", "is_parallelizable": True}  # noqa: RUF012
    render_mode = None

    def __init__(self, masks=False, infos=False, births=True, length=12, silent=False):
        self.possible_agents = [f"{kind}_{i}" for kind in ("cat", "dog") for i in range(2)]
        self.masks, self.infos, self.births, self.length, self.silent = masks, infos, births, length, silent
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        mask = spaces.Box(0, 1, (3,), np.int8)
        seen = spaces.Dict({"place": box, "action_mask": mask}) if masks else box
        self.spaces = {name: (seen, spaces.Discrete(3)) for name in self.possible_agents}
        self.random = np.random.default_rng()
        self.agents = []
        self.resets = []

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]

    def observe(self, name):
        place = np.array([self.age[name], self.random.normal()], np.float32)
        if not self.masks:
            return place
        mask = self.random.integers(0, 2, 3).astype(np.int8)
        mask[self.random.integers(3)] = 1
        self.allowed[name] = mask
        return {"place": place, "action_mask": mask}

    def inform(self, names):
        return {name: {"age": self.age[name], "name": name} if self.infos else {} for name in names}

    def reset(self, seed=None, options=None):
        self.resets.append((seed, options))
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.time, self.dead, self.allowed = 0, set(), {}
        self.agents = self.possible_agents[:3] if self.births else self.possible_agents[:]
        self.age = dict.fromkeys(self.agents, 0)
        return {name: self.observe(name) for name in self.agents}, self.inform(self.agents)

    def step(self, actions):
        assert list(actions) == self.agents
        assert not self.masks or all(self.allowed[name][action] for name, action in actions.items())
        self.time += 1
        here = self.agents
        for name in here:
            self.age[name] += 1
        rewards = {name: float(actions[name]) + self.age[name] / 8 for name in here}
        terminations = {name: bool(self.random.random() < 0.15) for name in here}
        truncations = dict.fromkeys(here, self.time >= self.length)
        self.dead |= {name for name in here if terminations[name] or truncations[name]}
        born = []
        if self.births and self.time == 3:
            born = [name for name in self.possible_agents if name not in here and name not in self.dead]
            self.age |= dict.fromkeys(born, 0)
        self.agents = [name for name in here if name not in self.dead] + born
        observations = {name: self.observe(name) for name in [*here, *born]}
        infos = self.inform([*here, *born])
        if self.silent:  # the dead leave without a word
            observations, terminations, truncations = (
                {name: value for name, value in part.items() if name in self.agents}
                for part in (observations, terminations, truncations)
            )
        return observations, rewards, terminations, truncations, infos

    def state(self):
        return np.array([self.time, len(self.agents)], np.int64)

    def render(self):
        return None


class Scripted(pettingzoo.ParallelEnv):
    """Two agents, ``a`` and ``b``. A step of the script names who is observed, whose flag is up and who is left."""

    metadata = {"name": "scripted"}  # noqa: RUF012
    possible_agents = ("a", "b")

    def __init__(self, *script):
        self.script = script

    def observation_space(self, agent):
        return spaces.Box(0, 99, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.time, self.agents = 0, ["a", "b"]
        return self.observations("ab"), {"a": {}, "b": {}}

    def observations(self, names):
        return {name: np.array([self.time + 1], np.float32) for name in names}

    def step(self, actions):
        assert list(actions) == self.agents
        seen, up, left = self.script[self.time]
        self.time, self.agents = self.time + 1, list(left)
        flags = {name: name in up for name in seen}
        return (
            self.observations(seen),
            dict.fromkeys("ab", 1.0),
            flags,
            dict.fromkeys(seen, False),
            {name: {} for name in seen},
        )


def turns(**kwargs):
    from pettingzoo.utils.conversions import parallel_to_aec

    return parallel_to_aec(Mortals(**kwargs))


def made(task, parallel=True, **kwargs):
    return PettingZooEnv(task, parallel, seed=SEED, **kwargs)


def raw(task, parallel=True, **kwargs):
    if task.startswith("simple"):
        module = __import__(f"mpe2.{task}", fromlist=["env"])
        return (module.parallel_env if parallel else module.env)(**kwargs)
    return pettingzoo.make("parallel" if parallel else "aec", task, **kwargs)


def seats(env):
    """The group and place of each agent."""
    return {name: (group, i) for group, names in env.group_map.items() for i, name in enumerate(names)}


def as_named(env, lines):
    """A policy that does what each line says, by the names of agents."""
    lines = iter(lines)

    def policy(tensordict):
        line = next(lines)
        for group, names in env.group_map.items():
            tensordict.set((group, "action"), torch.stack([line[name] for name in names]))
        return tensordict

    return policy


def stacked(data):
    """A rollout as plain arrays by key."""
    return {key: value.numpy() for key, value in data.items(True, True)}


def parts(observation):
    """What an agent observes, by the names it has here; zeros and a free choice for None."""
    if observation is None:
        return None
    return observation if isinstance(observation, dict) else {"observation": observation}


def assert_seen(data, t, prefix, seat, observation, keys):
    """Row ``t`` shows an agent's observation; or what stands for one who is not there."""
    group, i = seat
    for key in keys:
        found = data[*prefix, group, key][t, i]
        if observation is None:
            assert (found == (key == "action_mask")).all()
        elif key == "action_mask" and not np.any(observation[key]):
            assert found.all()
        else:
            assert np.array_equal(found, observation[key]), key


def assert_parallel(env, simulator, data, done_on_any):
    """A rollout equals what the simulator does by its own API, with the same actions. Returns how many episodes end."""
    data, places = stacked(data), seats(env)
    keys = {
        name: [path[1] for path in env.observation_keys if path[0] == places[name][0] and len(path) == 2]
        for name in places
    }
    keys = {name: [key for key in found if key != "mask"] for name, found in keys.items()}
    observations, _ = simulator.reset(seed=SEED)
    gone, episodes = {}, 0
    for t in range(len(data["done"])):
        alive = simulator.agents[:]
        actions = {name: data[places[name][0], "action"][t, places[name][1]] for name in alive}
        for name, seat in places.items():
            assert_seen(data, t, (), seat, parts(observations.get(name)), keys[name])
            if env.use_mask:
                assert data[seat[0], "mask"][t, seat[1]] == (name in alive)
        following, rewards, terminations, truncations, _ = simulator.step(actions)
        gone |= {
            name: (terminations[name], truncations[name]) for name in alive if terminations[name] or truncations[name]
        }
        over = bool(gone) if done_on_any else not simulator.agents
        for name, (group, i) in places.items():
            assert_seen(data, t, ("next",), (group, i), parts(following.get(name)), keys[name])
            assert data["next", group, "reward"][t, i, 0] == np.float32(rewards.get(name, 0))
            terminated, truncated = gone.get(name, (False, over))
            assert data["next", group, "terminated"][t, i, 0] == terminated
            assert data["next", group, "truncated"][t, i, 0] == truncated
            assert data["next", group, "done"][t, i, 0] == (terminated or truncated)
        assert data["next", "done"][t, 0] == over
        if env.return_state:
            np.testing.assert_array_equal(data["next", "state"][t], simulator.state())
        observations = following  # the last observations of the dead among them, which a step hands on
        if over:
            episodes += 1
            if done_on_any:
                assert data["next", "terminated"][t, 0] == any(flags[0] for flags in gone.values())
            observations, gone = simulator.reset()[0], {}
    return episodes


class TestParallel:
    @pytest.mark.parametrize(
        ("task", "options", "done_on_any"),
        [("simple_spread_v3", {}, True), ("simple_tag_v3", {"max_cycles": 17}, False)],
    )
    def test_values_are_the_simulators(self, task, options, done_on_any):
        env = made(task, done_on_any=done_on_any, return_state=True, **options)
        data = env.rollout(1000, break_when_any_done=False)
        episodes = assert_parallel(env, raw(task, **options), data, done_on_any)
        assert episodes == 1000 // options.get("max_cycles", 25)

    @pytest.mark.parametrize("done_on_any", [True, False])
    @pytest.mark.parametrize("options", [{}, {"masks": True}, {"masks": True, "births": False}])
    def test_values_of_agents_who_come_and_go(self, options, done_on_any):
        env = PettingZooWrapper(
            Mortals(**options), seed=SEED, use_mask=True, done_on_any=done_on_any, return_state=True
        )
        data = env.rollout(1000, break_when_any_done=False)
        assert assert_parallel(env, Mortals(**options), data, done_on_any) > 50

    def test_values_of_a_game_with_deaths(self):
        options = {"max_cycles": 100, "line_death": True}
        env = made("knights_archers_zombies_v11", use_mask=True, done_on_any=False, **options)
        data = env.rollout(300, break_when_any_done=False)
        assert assert_parallel(env, raw("butterfly/knights_archers_zombies_v11", **options), data, False) >= 2
        assert not data["archer", "mask"].all()

    def test_the_same_by_both_ports(self, tools):
        for env, other in [(made(task), made(task)) for task in ("simple_spread_v3", "simple_tag_v3")]:
            actions = tools.draw_actions(env, 60)
            rows = env.rollout(60, tools.FixedPolicy(actions), break_when_any_done=False)
            tools.assert_same(rows, tools.by_hand(other, actions))
        env, other = (
            PettingZooWrapper(Mortals(), seed=SEED, use_mask=True, done_on_any=False, return_state=True)
            for _ in range(2)
        )
        actions = tools.draw_actions(env, 200)
        rows = env.rollout(200, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_an_agent_that_is_missing_needs_a_mask(self):
        with pytest.raises(EnvDataError, match=r"agent 'dog_1': expected an observation.*use_mask=True"):
            PettingZooWrapper(Mortals()).reset()
        env = PettingZooWrapper(Mortals(births=False), done_on_any=False, seed=SEED)
        with pytest.raises(EnvDataError, match="use_mask=True"):
            env.rollout(100, break_when_any_done=False)
        env = PettingZooWrapper(Mortals(births=False), seed=SEED)
        assert env.rollout(100, break_when_any_done=False)["next", "done"].any()

    def test_who_leaves_without_a_word_is_terminated(self):
        env = PettingZooWrapper(Mortals(births=False, silent=True), done_on_any=False, use_mask=True, seed=SEED)
        data = env.rollout(100, break_when_any_done=False)
        assert data["next", "done"].sum() > 4
        assert torch.equal(data["next", "terminated"], data["next", "done"])
        assert data["next", "cat", "observation"][data["next", "cat", "done"].squeeze(-1)].eq(0).all()

    @pytest.mark.parametrize(
        ("script", "dones", "masks", "seen", "rewards"),
        [
            ((("ab", "a", "b"), ("b", "", "b"), ("b", "b", "")), [1, 1, 1], [0, 0, 0], [2, 0, 0], [1, 0, 0]),
            ((("ab", "a", "ab"), ("ab", "a", "ab"), ("ab", "ab", "ab")), [1, 1, 1], [0, 0, 0], [2, 0, 0], [1, 0, 0]),
            ((("ab", "a", "ab"), ("b", "", "ab"), ("b", "b", "ab")), [1, 1, 1], [0, 0, 0], [2, 0, 0], [1, 0, 0]),
            ((("ab", "a", "b"), ("ab", "", "ab"), ("ab", "ab", "")), [1, 0, 1], [0, 1, 0], [2, 3, 4], [1, 1, 1]),
            ((("b", "", "b"), ("b", "", "b"), ("b", "b", "")), [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]),
            ((("b", "", "ab"), ("ab", "", "ab"), ("ab", "ab", "ab")), [0, 0, 1], [0, 1, 0], [0, 3, 4], [1, 1, 1]),
        ],
        ids=["leaves", "lingers", "lingers unseen", "comes back", "vanishes", "is overlooked"],
    )
    def test_ways_to_go(self, script, dones, masks, seen, rewards):
        env = PettingZooWrapper(Scripted(*script), use_mask=True, done_on_any=False)
        data = env.rollout(5, break_when_all_done=True)["next"]
        assert data["done"].flatten().tolist() == [False, False, True]
        assert data["a", "done"].flatten().tolist() == dones
        assert data["a", "terminated"].flatten().tolist() == dones
        assert data["a", "mask"].flatten().tolist() == masks
        assert data["a", "observation"].flatten().tolist() == seen
        assert data["b", "observation"].flatten().tolist() == [2, 3, 4]
        assert data["a", "reward"].flatten().tolist() == rewards

    def test_the_end_of_one_cuts_off_the_others(self):
        env = PettingZooWrapper(Mortals(births=False), seed=SEED)
        data = env.rollout(200, break_when_any_done=False)["next"]
        last = data[data["done"].squeeze(-1)]
        alone = last["terminated"].squeeze(-1) & ~last["truncated"].squeeze(-1)
        assert alone.any()
        for group in ("cat", "dog"):
            assert last[group, "done"].all()
            assert (last[alone][group, "terminated"] ^ last[alone][group, "truncated"]).all()

    def test_steps_end_with_the_last_agent(self):
        env = PettingZooWrapper(Mortals(), use_mask=True, done_on_any=False, seed=SEED)
        td = env.rollout(100, break_when_all_done=True)[-1]["next"]
        with pytest.raises(ResetNeededError, match="no agent is alive"):
            env.step(env.rand_action(td))


def assert_turns(env, simulator, data):
    """A rollout equals what an AEC env does in its own loop, with the same actions. Returns how many episodes end."""
    data, places = stacked(data), seats(env)
    keys = {name: [path[1] for path in env.observation_keys if path[0] == places[name][0]] for name in places}
    keys = {name: [key for key in found if key != "mask"] for name, found in keys.items()}
    earned = dict.fromkeys(places, 0.0)
    simulator.reset(seed=SEED)
    t = episodes = 0
    while t < len(data["done"]):
        name = simulator.agent_selection
        group, i = places[name]
        observation, reward, terminated, truncated, _ = simulator.last()
        assert np.float32(earned[name]) == np.float32(reward)
        earned[name] = 0.0
        if terminated or truncated:
            if all(simulator.terminations[other] or simulator.truncations[other] for other in simulator.agents):
                assert data["next", "done"][t - 1].all()
            seen = [key for key in keys[name] if key != "action_mask"]  # which follows whose turn it is to leave
            assert_seen(data, t - 1, ("next",), (group, i), parts(observation), seen)
            assert data["next", group, "terminated"][t - 1, i, 0] == terminated
            assert data["next", group, "truncated"][t - 1, i, 0] == truncated
            simulator.step(None)
            if not simulator.agents:
                simulator.reset()
                episodes, earned = episodes + 1, dict.fromkeys(places, 0.0)
            continue
        assert {other: data[seat[0], "mask"][t, seat[1]] for other, seat in places.items()} == {
            other: other == name for other in places
        }
        assert_seen(data, t, (), (group, i), parts(observation), keys[name])
        simulator.step(data[group, "action"][t, i])
        for other, seat in places.items():
            earned[other] += data["next", seat[0], "reward"][t, seat[1], 0]
        t += 1
    return episodes


class TestTurns:
    @pytest.mark.parametrize(
        ("task", "options"),
        [
            ("classic/tictactoe_v3", {}),
            ("classic/connect_four_v3", {}),
            ("simple_spread_v3", {}),
            ("simple_tag_v3", {"max_cycles": 6}),
        ],
    )
    def test_values_are_the_simulators(self, task, options):
        env = made(task, parallel=False, **options)
        data = env.rollout(1000, break_when_any_done=False)
        assert assert_turns(env, raw(task, parallel=False, **options), data) > 10

    def test_values_of_agents_who_die(self):
        env = PettingZooWrapper(turns(births=False), seed=SEED)
        data = env.rollout(1000, break_when_any_done=False)
        assert assert_turns(env, turns(births=False), data) > 20

    def test_the_same_by_both_ports(self, tools):
        env, other = made("simple_tag_v3", parallel=False), made("simple_tag_v3", parallel=False)
        actions = tools.draw_actions(env, 120)
        rows = env.rollout(120, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_random_moves_are_legal(self):
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            from pettingzoo.utils.env_logger import EnvLogger

            patch.setattr(EnvLogger, "warn_on_illegal_move", lambda: pytest.fail("an illegal move"))
            for env in (made("tictactoe_v3", False), made("tictactoe_v3", False, categorical_actions=False)):
                data = env.rollout(300, break_when_any_done=False)
                assert data["next", "done"].sum() > 20
                assert env.step(env.rand_action(env.reset()))["next", "player_2", "mask"].all()
                batch = SerialEnv(2, lambda env=env: copy.deepcopy(env))
                assert batch.rollout(50, break_when_any_done=False)["next", "done"].any()

    def test_everything_is_allowed_to_those_who_do_not_act(self):
        data = made("connect_four_v3", parallel=False).rollout(400, break_when_any_done=False)
        for group in ("player_0", "player_1"):
            allowed, acts = data[group, "action_mask"], data[group, "mask"]
            assert allowed[~acts].all()
            assert not allowed[acts].all()

    def test_the_first_end_may_end_it_all(self):
        env = PettingZooWrapper(turns(births=False), seed=SEED, done_on_any=True)
        data = env.rollout(400, break_when_any_done=False)["next"]
        last = data[data["done"].squeeze(-1)]
        assert len(last) > 10
        assert all(last[name, "done"].all() for name in env.group_map)
        assert not all(last[name, "terminated"].all() for name in env.group_map)

    def test_a_mask_is_needed(self):
        with pytest.raises(ValueError, match="use_mask: expected True for an AEC env"):
            made("tictactoe_v3", parallel=False, use_mask=False)


class TestGroups:
    def test_by_default(self):
        assert made("simple_tag_v3").group_map == {
            "adversary": [f"adversary_{i}" for i in range(3)],
            "agent": ["agent_0"],
        }
        assert made("tictactoe_v3", False).group_map == {"player_1": ["player_1"], "player_2": ["player_2"]}

    def test_as_told(self):
        env = made("simple_spread_v3", group_map=ALL)
        assert env.group_map == {"agents": ["agent_0", "agent_1", "agent_2"]}
        other = made("simple_spread_v3", group_map=EACH)
        assert list(other.group_map) == ["agent_0", "agent_1", "agent_2"]
        third = made("simple_spread_v3", group_map={"b": ["agent_2", "agent_0"], "a": ["agent_1"]})
        assert third.group_map == {"b": ["agent_2", "agent_0"], "a": ["agent_1"]}
        lines = [dict(zip(env.possible_agents, line, strict=True)) for line in torch.randint(5, (30, 3))]
        first, second, last = (
            one.rollout(30, as_named(one, lines), break_when_any_done=False)["next"] for one in (env, other, third)
        )
        for i, (group, place) in enumerate([("b", 1), ("a", 0), ("b", 0)]):
            expected = first["agents", "observation"][:, i]
            assert torch.equal(second[f"agent_{i}", "observation"][:, 0], expected)
            assert torch.equal(last[group, "observation"][:, place], expected)

    def test_wrong_ones_are_refused(self):
        for wrong in ({"a": ["agent_0"]}, {"a": ["agent_0", "agent_1", "agent_2", "agent_3"]}, {"a": []}):
            with pytest.raises(ValueError, match="group_map"):
                made("simple_spread_v3", group_map=wrong)

    def test_of_unequal_agents(self):
        env, apart = made("simple_speaker_listener_v4", group_map=ALL), made("simple_speaker_listener_v4")
        assert list(apart.group_map) == ["speaker", "listener"]
        assert check_env_specs(env) == []
        td = env.reset()
        assert isinstance(td["agents"], LazyStackedTensorDict)
        assert [one["observation"].shape[0] for one in td["agents"].unbind(0)] == [3, 11]
        env.set_seed(SEED)
        data = env.rollout(60, break_when_any_done=False)
        assert data.batch_size == (60,)
        lines = []
        for t in range(60):
            acted = dict(flat_items(data[t]))
            lines.append({name: acted["agents", i, "action"] for i, name in enumerate(env.possible_agents)})
        apart.set_seed(SEED)
        expected = apart.rollout(60, as_named(apart, lines), break_when_any_done=False)
        for t in range(60):
            found = dict(flat_items(data[t]["next"]))
            for i, group in enumerate(apart.group_map):
                for key in ("observation", "reward", "done", "terminated", "truncated"):
                    assert torch.equal(found["agents", i, key], expected[t]["next", group, key][0]), key
        with pytest.raises(PolicyError, match=r"'action'\) of 'speaker_0' is missing"):
            env.step(env.reset())

    def test_of_unequal_agents_with_masks(self):
        class Choices(Mortals):
            def __init__(self):
                super().__init__(masks=True, births=False)
                for i, name in enumerate(self.possible_agents):
                    mask = spaces.Box(0, 1, (3 + i,), np.int8)
                    box = self.spaces[name][0]["place"]
                    self.spaces[name] = spaces.Dict({"place": box, "action_mask": mask}), spaces.Discrete(3 + i)

            def observe(self, name):
                seen = super().observe(name)
                mask = np.zeros(self.spaces[name][1].n, np.int8)
                mask[self.random.integers(len(mask))] = 1
                self.allowed[name] = mask
                return {**seen, "action_mask": mask}

        env = PettingZooWrapper(Choices(), group_map=ALL, seed=SEED, use_mask=True, done_on_any=False)
        assert env.plan.unequal == ["agents"]
        assert check_env_specs(env) == []
        assert env.rollout(40, break_when_any_done=False).batch_size == (40,)


class TestEntries:
    def test_layout(self):
        env = made("simple_tag_v3", use_mask=True, return_state=True)
        td = env.rand_action(env.reset())
        assert td["adversary"].batch_size == (3,)
        shapes = {key: (tuple(value.shape), value.dtype) for key, value in env.step(td)["next"].items(True, True)}
        assert shapes["adversary", "observation"] == ((3, 16), torch.float32)
        assert shapes["adversary", "mask"] == ((3,), torch.bool)
        assert shapes["adversary", "reward"] == ((3, 1), torch.float32)
        assert shapes["agent", "done"] == ((1, 1), torch.bool)
        assert shapes["done"] == ((1,), torch.bool)
        assert shapes["state"][0] == (62,)
        assert env.full_action_spec["adversary", "action"].n == 5

    def test_continuous_and_one_hot_actions(self):
        env = made("simple_spread_v3", continuous_actions=True)
        assert env.full_action_spec["agent", "action"].shape == (3, 5)
        assert env.rollout(30, break_when_any_done=False)["agent", "action"].dtype == torch.float32
        hot, plain = made("simple_spread_v3", categorical_actions=False), made("simple_spread_v3")
        data = plain.rollout(40, break_when_any_done=False)
        actions = iter(torch.nn.functional.one_hot(data["agent", "action"], 5).bool())
        other = hot.rollout(40, lambda td: td.set(("agent", "action"), next(actions)), break_when_any_done=False)
        assert torch.equal(other["next", "agent", "observation"], data["next", "agent", "observation"])

    def test_entries_of_a_dictionary_have_their_own_names(self):
        env = PettingZooWrapper(Mortals(masks=True), use_mask=True)
        assert set(env.observation_keys) == {
            (group, key) for group in ("cat", "dog") for key in ("place", "action_mask", "mask")
        }

        class Taken(Mortals):
            def __init__(self):
                super().__init__()
                box = spaces.Box(0, 1, (1,))
                self.spaces = {name: (spaces.Dict({"info": box}), two) for name, (_, two) in self.spaces.items()}

        with pytest.raises(SpecError, match=r"observations of 'cat_0': expected other names than \['info'\]"):
            PettingZooWrapper(Taken())

    def test_numbers_of_infos(self):
        env = PettingZooWrapper(Mortals(infos=True), seed=SEED, use_mask=True, done_on_any=False)
        assert list(env.observation_spec["cat", "info"]) == ["age"]
        data = env.rollout(300, break_when_any_done=False)
        for part in (data, data["next"]):
            for group in ("cat", "dog"):
                assert torch.equal(part[group, "info", "age"].float(), part[group, "observation"][..., 0])

    def test_masks_in_infos(self):
        class Told(Mortals):
            def inform(self, names):
                return {name: {"action_mask": np.array([0, 1, name not in self.dead])} for name in names}

        env = PettingZooWrapper(Told(births=False), seed=SEED, use_mask=True, done_on_any=False)
        assert ("cat", "info", "action_mask") not in env.observation_keys
        data = env.rollout(300, break_when_any_done=False)
        for group in ("cat", "dog"):
            there = data[group, "mask"]
            assert 0 < there.sum() < there.numel()
            assert (data[group, "action_mask"][there] == torch.tensor([False, True, True])).all()
            assert data[group, "action_mask"][~data[group, "observation"].any(-1)].all()
            assert (data[group, "action"][there] != 0).all()

    def test_a_mask_that_changes_its_shape(self):
        class Shrinking(Mortals):
            def observe(self, name):
                seen = super().observe(name)
                self.allowed[name] = np.ones(3 - (self.time > 3), np.int8)
                return {**seen, "action_mask": self.allowed[name]}

        env = PettingZooWrapper(Shrinking(masks=True), use_mask=True, done_on_any=False, seed=SEED)
        with pytest.raises(EnvDataError, match=r"'action_mask'\) of '.*': expected shape \[3\], found \[2\]"):
            env.rollout(50, break_when_any_done=False)

    def test_what_is_no_number(self):
        class Rich(Mortals):
            def step(self, actions):
                out = super().step(actions)
                return out[0], dict.fromkeys(out[1], "much"), *out[2:]

        env = PettingZooWrapper(Rich(), use_mask=True)
        with pytest.raises(EnvDataError, match=r"\('cat', 'reward'\) of 'cat_0': expected a number, found 'much'"):
            env.rollout(3)

        class Talking(Mortals):
            def observation_space(self, agent):
                return spaces.Text(4)

        with pytest.raises(UnsupportedSpaceError, match="observation of 'cat_0': expected a space of numbers"):
            PettingZooWrapper(Talking())

    def test_a_state_must_be_there(self):
        with pytest.raises(ValueError, match="return_state: expected an env with a state"):
            made("connect_four_v3", parallel=False, return_state=True)

    def test_pixels(self):
        env = TransformedEnv(made("simple_spread_v3", render_mode="rgb_array"), PixelRenderTransform())
        frames = env.rollout(2)["next", "pixels"]
        assert frames.dtype == torch.uint8
        assert frames.shape[-1] == 3
        assert frames.float().std() > 0
        env.close()


class TestBehaviour:
    @env_checks(lambda: PettingZooEnv("simple_tag_v3", parallel=True))
    def test_of_a_parallel_env(self, check):
        check()

    @env_checks(lambda: PettingZooEnv("connect_four_v3", parallel=False))
    def test_of_turns(self, check):
        check()

    @env_checks(lambda: PettingZooWrapper(Mortals(masks=True, infos=True), use_mask=True, done_on_any=False))
    def test_of_mortals(self, check):
        check()

    def test_same_seed_same_bytes(self, tools):
        one, other = (PettingZooEnv("simple_spread_v3", True, seed=3) for _ in range(2))
        data = one.rollout(80, break_when_any_done=False)
        tools.assert_same(other.rollout(80, break_when_any_done=False), data)
        one.set_seed(3)
        tools.assert_same(one.rollout(80, break_when_any_done=False), data)
        one.set_seed(4)
        assert not torch.equal(
            one.rollout(80, break_when_any_done=False)["agent", "observation"], data["agent", "observation"]
        )

    def test_seeds_and_options_reach_the_simulator_once(self):
        world = Mortals()
        env = PettingZooWrapper(world, seed=7, use_mask=True)
        world.resets.clear()
        env.reset(options={"size": 3})
        env.reset()
        env.reset(seed=9)
        assert world.resets == [(7, {"size": 3}), (None, None), (9, None)]

    def test_batches_equal_their_envs(self, tools):
        def make(i):
            return PettingZooWrapper(Mortals(), seed=i, use_mask=True, done_on_any=bool(i))

        batch = SerialEnv(2, [lambda: make(0), lambda: make(1)])
        actions = tools.draw_actions(batch, 150)
        data = batch.rollout(150, tools.FixedPolicy(actions), break_when_any_done=False)
        for i in range(2):
            policy = tools.FixedPolicy([action[i] for action in actions])
            tools.assert_same(data[i], make(i).rollout(150, policy, break_when_any_done=False))

    def test_some_envs_of_a_batch_are_reset_or_rest(self):
        batch = SerialEnv(3, lambda: made("simple_spread_v3"))
        td = batch.step_mdp(batch.step(batch.rand_action(batch.reset())))
        before = td.clone()
        mask = torch.tensor([[True], [False], [False]])
        td = batch.reset(td.set("_reset", mask))
        same = [torch.equal(td["agent", "observation"][i], before["agent", "observation"][i]) for i in range(3)]
        assert same == [False, True, True]
        moves = torch.ones_like(batch.rand_action(td)["agent", "action"])  # a draw may be of rest alone
        following = batch.step(td.set(("agent", "action"), moves).set("_step", mask))["next"]
        same = [torch.equal(following["agent", "observation"][i], td["agent", "observation"][i]) for i in range(3)]
        assert same == [False, True, True]
        assert (following["agent", "reward"][1:] == 0).all()

    def test_agents_are_not_reset_or_stepped_one_by_one(self):
        env = made("simple_spread_v3")
        td = env.rand_action(env.reset())
        some = torch.tensor([[True], [False], [False]])
        with pytest.raises(SpecError, match=r"'_reset' at the root, for the env as a whole"):
            env.reset(td.clone().set(("agent", "_reset"), some))
        with pytest.raises(SpecError, match=r"'_step' at the root, for the env as a whole"):
            env.step(td.clone().set(("agent", "_step"), some))
        whole = env.reset(td.clone().set(("agent", "_reset"), torch.ones(3, 1, dtype=torch.bool)))
        assert not torch.equal(whole["agent", "observation"], td["agent", "observation"])
        kept = env.reset(td.clone().set("_reset", torch.zeros(1, dtype=torch.bool)))
        assert torch.equal(kept["agent", "observation"], td["agent", "observation"])

    def test_transforms_and_collectors(self, tools):
        def make():
            env = PettingZooWrapper(Mortals(), seed=SEED, use_mask=True, done_on_any=False)
            return TransformedEnv(env, StepCounter(5)).append_transform(
                RewardSum(in_keys=[("cat", "reward")], out_keys=[("cat", "total")])
            )

        data = make().rollout(100, break_when_any_done=False)
        assert data["step_count"].max() == 4
        ends = data["next", "done"].squeeze(-1).nonzero().flatten().tolist()
        starts = [0, *(t + 1 for t in ends)]
        for start, end in zip(starts, ends, strict=False):
            total = data["next", "cat", "reward"][start : end + 1].sum(0)
            assert torch.allclose(data["next", "cat", "total"][end], total)
        actions = tools.draw_actions(make(), 120)
        data = make().rollout(120, tools.FixedPolicy(actions), break_when_any_done=False)
        collector = Collector(make(), tools.FixedPolicy(actions), frames_per_batch=40, total_frames=120)
        batches = [batch.exclude("collector") for batch in collector]
        assert [batch.batch_size for batch in batches] == [(40,)] * 3
        tools.assert_same(torch.cat(batches), data)

    @pytest.mark.parametrize("make", [lambda: made("simple_spread_v3"), lambda: made("tictactoe_v3", False)])
    def test_snapshots_and_copies_go_on_from_there(self, make, tools):
        env = make()
        td = env.rollout(4)[-1].exclude("next")
        start = env.snapshot()
        twin = copy.deepcopy(env)

        def go_on(one):
            rows, current = [], td.clone()
            for _ in range(30):
                row, current = one.step_and_maybe_reset(one.rand_action(current))
                rows.append(row)
            return torch.stack(rows).contiguous()

        td = env.step_mdp(env.step(env.rand_action(env.reset())))
        start, twin = env.snapshot(), copy.deepcopy(env)
        expected = go_on(env)
        tools.assert_same(go_on(twin), expected)
        env.restore(start)
        tools.assert_same(go_on(env), expected)

    def test_attributes_are_those_of_the_simulator(self):
        env = made("simple_spread_v3", max_cycles=11)
        assert env.possible_agents == ["agent_0", "agent_1", "agent_2"]
        assert env.unwrapped.max_cycles == 11
        assert (env.libname, env.task) == ("pettingzoo", "simple_spread_v3")
        assert "groups={'agent'" in repr(env)
        with pytest.raises(AttributeError, match=r"neither PettingZooEnv nor the wrapped .* has 'wheels'"):
            env.wheels  # noqa: B018

    def test_close(self):
        env = made("simple_spread_v3")
        env.close()
        env.close()
        with pytest.raises(ClosedEnvError):
            env.reset()


class TestExport:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: PettingZooEnv("simple_spread_v3", True),
            lambda: PettingZooEnv("simple_tag_v3", True, return_state=True),
            lambda: PettingZooEnv("simple_adversary_v3", True, group_map=ALL),
            lambda: PettingZooEnv("connect_four_v3", False),
            lambda: PettingZooWrapper(Mortals(births=False, infos=True), use_mask=True, done_on_any=False),
        ],
        ids=["spread", "tag", "unequal", "turns", "mortals"],
    )
    def test_pettingzoo_finds_nothing_wrong_with_what_came_from_it(self, make):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it imports is deprecated by itself
            from pettingzoo.test import parallel_api_test, parallel_seed_test

        def exported():
            env = make()
            return as_pettingzoo(env, env.group_map)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parallel_api_test(exported(), num_cycles=60)
            parallel_seed_test(exported, num_cycles=30)

    def test_values_survive_the_round_trip(self):
        env = made("simple_tag_v3")
        there, origin = as_pettingzoo(env, env.group_map), raw("simple_tag_v3")
        assert there.possible_agents == origin.possible_agents
        (found, _), (expected, _) = there.reset(seed=2), origin.reset(seed=2)
        for name in origin.agents:
            assert there.action_space(name) == origin.action_space(name)
            assert there.observation_space(name) == origin.observation_space(name)
            origin.action_space(name).seed(1)
        while True:
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])
            if not origin.agents:
                break
            actions = {name: origin.action_space(name).sample() for name in origin.agents}
            (found, gains, *flags, _), (expected, rewards, *ends, _) = there.step(actions), origin.step(actions)
            assert gains == {name: float(np.float32(reward)) for name, reward in rewards.items()}
            assert flags == ends
        assert there.agents == []

    def test_a_single_agent_for_gymnasium(self):
        from gymnasium.utils.env_checker import check_env

        env = as_gymnasium(PettingZooEnv("simple_v3", True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_env(env, skip_render_check=True)

    def test_back_and_forth(self):
        env = made("simple_spread_v3")
        again = PettingZooWrapper(as_pettingzoo(made("simple_spread_v3"), env.group_map), seed=SEED)
        data = env.rollout(60, break_when_any_done=False)
        actions = iter(data["agent", "action"])
        other = again.rollout(60, lambda td: td.set(("agent", "action"), next(actions)), break_when_any_done=False)
        for key in ("observation", "reward", "done", "terminated", "truncated"):
            assert torch.equal(other["next", "agent", key], data["next", "agent", key])


class TestTasks:
    def test_names(self):
        names = PettingZooEnv.available_envs
        assert {"classic/tictactoe_v3", "mpe/simple_spread_v3", "butterfly/pistonball_v6"} <= set(names)
        assert made("tictactoe_v3", False).available_envs == names
        for spelling in ("classic/tictactoe_v3", "tictactoe-v3", "classic/tictactoe-v3"):
            assert list(made(spelling, False).group_map) == ["player_1", "player_2"]
        for spelling in ("mpe/simple_v3", "mpe2/simple_v3", "simple_v3"):
            assert made(spelling).group_map == {"agent": ["agent_0"]}

    def test_registered_ones_are_among_them(self):
        from pettingzoo.env_registry.registration import parallel_registry

        pettingzoo.register("parallel", "mine/mortals_v0", entry_point=Mortals)
        try:
            assert made("mortals_v0", use_mask=True).group_map["cat"] == ["cat_0", "cat_1"]
            with pytest.raises(ValueError, match="mortals_v0: expected a task with an env for parallel=False"):
                made("mortals_v0", parallel=False)
        finally:
            del parallel_registry["mine/mortals-v0"]

    def test_unknown_ones(self):
        with pytest.raises(UnknownEnvError, match=r"unknown task 'simple_spraed_v3'.*did you mean 'simple_spread_v3'"):
            made("simple_spraed_v3")
        with pytest.raises(UnknownEnvError, match="knights_archers_zombies_v11"):
            made("knights_archers_zombies_v10")

    def test_without_a_parallel_env(self):
        with pytest.raises(ValueError, match="tictactoe_v3: expected a task with an env for parallel=True"):
            made("tictactoe_v3")

    def test_of_packages_that_are_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "mpe2.simple_v3", None)
        with pytest.raises(
            MissingDependencyError, match=r"simple_v3 needs a package.*pip install 'envkit\[pettingzoo\]'"
        ):
            made("simple_v3")
        monkeypatch.setitem(sys.modules, "pettingzoo.classic.tictactoe.tictactoe", None)
        from pettingzoo.env_registry.spec import _load_env_creator

        _load_env_creator.cache_clear()
        with pytest.raises(MissingDependencyError, match="tictactoe_v3 needs a package"):
            made("tictactoe_v3", False)
        monkeypatch.setitem(sys.modules, "pettingzoo", None)
        with pytest.raises(MissingDependencyError, match=r"PettingZoo is not installed: .*envkit\[pettingzoo\]"):
            made("simple_v3")

    def test_what_is_no_pettingzoo_env(self):
        with pytest.raises(TypeError, match=r"expected a pettingzoo.ParallelEnv or AECEnv, found .*TimeLimit"):
            PettingZooWrapper(gymnasium.make("CartPole-v1"))
        nameless = Mortals()
        del nameless.possible_agents
        with pytest.raises(TypeError, match="with possible_agents, found None"):
            PettingZooWrapper(nameless)
