from __future__ import annotations

import os
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import (
    ClosedEnvError,
    Collector,
    Compose,
    MissingDependencyError,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    UnknownEnvError,
    UnsupportedSpaceError,
    check_env_specs,
)
from envkit.libs.envpool import MultiThreadedEnv, MultiThreadedEnvWrapper

HERE = find_spec("envpool") is not None
needs_envpool = pytest.mark.skipif(not HERE, reason="envpool is not installed")
SEED = 7
COUNT = 3
# Vectors, images, numbers and nested dictionaries; discrete and continuous actions.
TASKS = {
    "CartPole-v1": {},
    "Pendulum-v1": {"max_episode_steps": 17},
    "Acrobot-v1": {"max_episode_steps": 23},
    "Catch-v0": {},
    "Taxi-v3": {"max_episode_steps": 20},
    "Maze-v0": {"max_episode_steps": 15},
    "TSP-v1": {},
}


def raw_pool(name="CartPole-v1", count=COUNT, seed=SEED, **kwargs):
    import envpool

    pool = envpool.make_gymnasium(name, num_envs=count, seed=seed, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Gymnasium, on the bounds of EnvPool's spaces
        pool.observation_space  # noqa: B018 - kept from here on
    return pool


def threaded(name="CartPole-v1", count=COUNT, seed=SEED, **kwargs):
    return MultiThreadedEnv(count, name, create_env_kwargs={"seed": seed, **kwargs})


def entries(observation, prefix=()):
    """The leaves of what a pool observes, by their keys here."""
    if isinstance(observation, dict):
        for name, value in observation.items():
            yield from entries(value, (*prefix, name))
    else:
        yield prefix or ("observation",), observation


def alone(pool, actions, steps):
    """What each env of a pool does when it is left to start its episodes by itself.

    Such a start takes a step whose action is ignored, and which is no step here: for every env the list of
    (observation, action, next observation, reward, terminated, truncated) without it.
    """
    seen, _ = pool.reset()
    last = dict(entries(seen))
    lines = [[] for _ in range(len(pool))]
    over = np.zeros(len(pool), bool)
    while min(map(len, lines)) < steps:
        row = np.minimum([len(line) for line in lines], steps - 1)
        action = actions[row, np.arange(len(pool))]
        seen, reward, terminated, truncated, _ = pool.step(action)
        now = dict(entries(seen))
        for i, line in enumerate(lines):
            if not over[i] and len(line) < steps:
                before, after = ({key: value[i].copy() for key, value in part.items()} for part in (last, now))
                line.append((before, action[i], after, reward[i], terminated[i], truncated[i]))
        over = terminated | truncated
        last = now
    return lines


def value_of(env, data, key):
    """An entry of a rollout as the simulator counts it."""
    leaf = env.observation_spec_unbatched[key]
    return leaf.to_numpy(data[key])


def drawn(env, steps, tools):
    actions = tools.draw_actions(env, steps)
    single = env.full_action_spec_unbatched["action"]
    return actions, np.stack([np.asarray(single.to_numpy(action["action"])) for action in actions])


@needs_envpool
class TestValues:
    @pytest.mark.parametrize("name", TASKS)
    def test_are_those_of_the_pool(self, name, tools):
        steps = 1000
        env, pool = threaded(name, **TASKS[name]), raw_pool(name, **TASKS[name])
        actions, numbers = drawn(env, steps, tools)
        data = env.rollout(steps, tools.FixedPolicy(actions), break_when_any_done=False)
        assert data["next", "done"].sum() >= 2 * COUNT
        for i, line in enumerate(alone(pool, numbers, steps)):
            found = data[i]
            for key in line[0][0]:
                name = key[0] if len(key) == 1 else key
                for part, place in ((found, 0), (found["next"], 2)):
                    expected = np.stack([step[place][key] for step in line])
                    values = np.asarray(value_of(env, part, name))
                    np.testing.assert_array_equal(values, expected.reshape(values.shape))
            for place, entry in ((3, "reward"), (4, "terminated"), (5, "truncated")):
                assert found["next", entry].squeeze(-1).tolist() == [step[place].item() for step in line]

    @pytest.mark.parametrize("name", TASKS)
    def test_of_both_ports_are_the_same(self, name, tools):
        env, other = threaded(name, **TASKS[name]), threaded(name, **TASKS[name])
        actions = tools.draw_actions(env, 60)
        rows = env.rollout(60, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(rows, tools.by_hand(other, actions))

    def test_when_what_is_done_waits_for_the_others(self, tools):
        env, pool = threaded(count=4), raw_pool(count=4)
        actions, numbers = drawn(env, 200, tools)
        data = env.rollout(200, tools.FixedPolicy(actions), break_when_any_done=False, break_when_all_done=True)
        assert data["next", "done"][:, -1].all()
        for i, line in enumerate(alone(pool, numbers, 200)):
            length = 1 + next(t for t, step in enumerate(line) if step[4] or step[5])
            last = torch.from_numpy(line[length - 1][2]["observation",])
            assert data["next", "reward"][i].sum() == length
            assert torch.equal(data["next", "observation"][i, length - 1 :], last.expand(data.shape[1] + 1 - length, 4))

    @settings(deadline=None, max_examples=15, derandomize=True)
    @given(plan=st.lists(st.tuples(*[st.sampled_from(["step", "rest", "reset"])] * COUNT), min_size=1, max_size=10))
    def test_of_some_envs_while_others_rest(self, plan):
        """Resets in mid-episode and steps of some, against the pool's own calls on some of its envs."""
        env, pool = threaded(), raw_pool()
        td, (expected, _) = env.reset(), pool.reset()
        expected = expected.copy()
        for orders in plan:
            steps, resets = ([order == kind for order in orders] for kind in ("step", "reset"))
            td["action"] = torch.tensor([1, 0, 1])
            td = env.step_mdp(env.step(td.set("_step", torch.tensor(steps))))
            td = env.reset(td.set("_reset", torch.tensor(resets).unsqueeze(-1)))
            if any(steps):
                chosen = np.flatnonzero(steps)
                expected[chosen] = pool.step(np.array([1, 0, 1])[chosen], chosen)[0]
            if any(resets):
                chosen = np.flatnonzero(resets)
                expected[chosen] = pool.reset(chosen.astype(np.int32))[0]
            assert np.array_equal(td["observation"].numpy(), expected)

    def test_of_a_step_that_an_env_sits_out(self):
        env = threaded()
        td = env.rand_action(env.reset()).set("_step", torch.tensor([True, False, True]))
        before = td["observation"][1].clone()
        following = env.step(td)["next"]
        assert torch.equal(following["observation"][1], before)
        assert following["reward"].flatten().tolist() == [1, 0, 1]

    def test_in_batches_of_batches(self, tools):
        nested = SerialEnv(2, [lambda: threaded(seed=1), lambda: threaded(seed=2)])
        actions = tools.draw_actions(nested, 80)
        data = nested.rollout(80, tools.FixedPolicy(actions), break_when_any_done=False)
        assert data.batch_size == (2, COUNT, 80)
        for i in range(2):
            single = threaded(seed=i + 1)
            policy = tools.FixedPolicy([action[i] for action in actions])
            tools.assert_same(data[i], single.rollout(80, policy, break_when_any_done=False))

    def test_of_a_pool_for_dm_env(self, tools):
        import envpool

        env = MultiThreadedEnvWrapper(envpool.make_dm("CartPole-v1", num_envs=COUNT, seed=SEED))
        actions = tools.draw_actions(env, 50)
        found = env.rollout(50, tools.FixedPolicy(actions), break_when_any_done=False)
        tools.assert_same(found, threaded().rollout(50, tools.FixedPolicy(actions), break_when_any_done=False))


@needs_envpool
class TestSpecs:
    @pytest.mark.parametrize("name", TASKS)
    def test_hold(self, name):
        env = threaded(name, **TASKS[name])
        assert env.batch_size == (COUNT,)
        assert env.num_workers == COUNT
        assert check_env_specs(env) == []

    def test_numbers_may_begin_below_zero(self):
        env = threaded("TSP-v1")
        assert env.observation_spec_unbatched["position"].start == -1
        assert env.reset()["position"].tolist() == [0] * COUNT  # the first number there is, -1

    def test_bounds_that_envpool_does_not_know_are_none(self):
        env = threaded("Ant-v4")
        assert isinstance(env.observation_spec["observation"], Unbounded)

    def test_one_hot_actions(self, tools):
        env = MultiThreadedEnvWrapper(raw_pool(), categorical_action_encoding=False)
        assert env.action_spec.shape == (COUNT, 2)
        actions = tools.draw_actions(env, 40)
        found = env.rollout(40, tools.FixedPolicy(actions), break_when_any_done=False)
        numbers = [action.set("action", action["action"].long().argmax(-1)) for action in (a.clone() for a in actions)]
        expected = threaded().rollout(40, tools.FixedPolicy(numbers), break_when_any_done=False)
        tools.assert_same(found["next"], expected["next"])

    def test_device(self, tools):
        env = MultiThreadedEnv(COUNT, "CartPole-v1", create_env_kwargs={"seed": SEED}, device="cpu")
        actions = tools.draw_actions(env, 30)
        found = env.rollout(30, tools.FixedPolicy(actions), break_when_any_done=False)
        assert found.device == env.reset().device == torch.device("cpu")
        tools.assert_same(found, threaded().rollout(30, tools.FixedPolicy(actions), break_when_any_done=False))


@needs_envpool
class TestSeeds:
    def observed(self, env):
        env.rollout(9)
        return env.reset()["observation"]

    def test_make_the_pool_of_that_seed(self):
        env = threaded(seed=1)
        first = self.observed(env)
        env.set_seed(2)
        assert torch.equal(env.reset()["observation"], threaded(seed=2).reset()["observation"])
        assert env.config["seed"] == 2
        env.set_seed(1)
        assert torch.equal(self.observed(env), first)

    def test_keep_the_options_of_the_pool(self):
        env = MultiThreadedEnvWrapper(raw_pool(max_episode_steps=5, render_mode="rgb_array"))
        env.set_seed(3)
        env.reset()
        assert env.config["max_episode_steps"] == 5
        assert env.render_mode == "rgb_array"

    def test_reach_beyond_those_of_the_pool(self):
        env, other = threaded(), threaded()
        env.set_seed(2**31 + 5)
        other.set_seed(5)
        assert torch.equal(env.reset()["observation"], other.reset()["observation"])

    def test_wait_for_a_reset_of_all(self):
        env, pool = threaded(), raw_pool()
        td, _ = env.reset(), pool.reset()
        env.set_seed(SEED + 1)
        some = env.reset(td.set("_reset", torch.tensor([True, False, False])))
        assert np.array_equal(some["observation"][0].numpy(), pool.reset(np.array([0], np.int32))[0][0])
        assert torch.equal(env.reset()["observation"], threaded(seed=SEED + 1).reset()["observation"])

    def test_none_changes_nothing(self):
        env = threaded()
        env.set_seed(None)
        assert torch.equal(env.reset()["observation"], threaded().reset()["observation"])


@needs_envpool
class TestRunning:
    def test_transforms_and_collectors_go_around_it(self):
        env = TransformedEnv(threaded(), Compose(StepCounter(max_steps=9), RewardSum()))
        for batch in Collector(env, None, frames_per_batch=90, total_frames=180):
            assert batch["next", "step_count"].max() <= 9
            assert torch.equal(batch["next", "step_count"].float(), batch["next", "episode_reward"])
            assert batch["next", "done"].any()

    def test_an_episode_that_is_over_must_be_reset(self):
        env = threaded("Pendulum-v1", max_episode_steps=1)
        td = env.rand_step(env.reset())
        with pytest.raises(ResetNeededError, match=r"reset of the envs \[0, 1, 2\], whose episodes are over"):
            env.rand_step(env.step_mdp(td))
        td = env.reset(env.step_mdp(td).set("_reset", torch.tensor([True, False, True])))
        late = env.rand_action(td).set("_step", torch.tensor([True, True, False]))
        with pytest.raises(ResetNeededError, match=r"expected a reset of the envs \[1\]"):
            env.step(late)

    def test_a_reset_takes_no_arguments(self):
        with pytest.raises(TypeError, match=r"takes no arguments at a reset: found \['options'\]; set_seed"):
            threaded().reset(options={})

    def test_attributes_of_the_pool(self):
        env = threaded(max_episode_steps=11)
        assert env.config["max_episode_steps"] == 11
        with pytest.raises(AttributeError, match=r"neither MultiThreadedEnv nor the wrapped \w+ has 'gravitas'"):
            env.gravitas  # noqa: B018
        assert repr(env) == "MultiThreadedEnv(CartPoleGymnasiumEnvPool, batch_size=[3], device=None)"


@needs_envpool
class TestClose:
    def test_ends_the_threads(self):
        tasks = "/proc/self/task"
        if not os.path.isdir(tasks):
            pytest.skip("threads are counted where Linux lists them")
        threaded(num_threads=1).close()
        before = len(os.listdir(tasks))
        env = threaded(count=6, num_threads=6)
        env.rollout(5)
        assert len(os.listdir(tasks)) >= before + 6
        env.close()
        env.close()
        assert len(os.listdir(tasks)) == before
        assert env.is_closed

    def test_is_final(self):
        env = threaded()
        env.close()
        with pytest.raises(ClosedEnvError):
            env.reset()
        with pytest.raises(AttributeError):
            env.config  # noqa: B018


@needs_envpool
class TestConstruction:
    def test_unknown_names(self):
        with pytest.raises(UnknownEnvError, match=r"unknown env id 'CartPole-v7'.*did you mean 'CartPole-v1'"):
            MultiThreadedEnv(2, "CartPole-v7")

    def test_counts(self):
        with pytest.raises(ValueError, match="num_workers: expected a positive number, found 0"):
            MultiThreadedEnv(0, "CartPole-v1")

    def test_pools_of_several_players(self):
        with pytest.raises(UnsupportedSpaceError, match="expected envs of one player and one action, found 2 players"):
            MultiThreadedEnv(2, "Go9x9-v1")

    def test_asynchronous_pools(self):
        with pytest.raises(ValueError, match=r"expected a pool whose batch_size is its num_envs \(3\), found 2"):
            MultiThreadedEnvWrapper(raw_pool(batch_size=2))

    def test_other_objects(self):
        with pytest.raises(TypeError, match="expected a pool of EnvPool, found str"):
            MultiThreadedEnvWrapper("CartPole-v1")

    def test_cannot_be_copied(self):
        with pytest.raises(TypeError, match="expected a simulator that can be copied"):
            threaded().snapshot()


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'envkit\[envpool\]'"):
        MultiThreadedEnv(2, "CartPole-v1")
