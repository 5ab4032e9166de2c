from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import NormalizeObservation
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Compose,
    GymEnv,
    ObservationNorm,
    ParallelEnv,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    VecNorm,
    check_env_specs,
)

few = settings(deadline=None, max_examples=25, derandomize=True)


pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)


def pendulums(n=3):
    return SerialEnv(n, pendulum)


def normed(env, **kwargs):
    return TransformedEnv(env, VecNorm(**kwargs))


def moments(env, i=0):
    return env.transform[0].statistics[i]


def shown(plain, actions, tools):
    """Every value that a loop sees of an env: first ones where an episode begins, and those after each step."""
    data = plain.rollout(len(actions), tools.FixedPolicy(actions), break_when_any_done=False)
    values = [data["observation"][:, 0]]
    for t in range(len(actions)):
        values.append(data["next", "observation"][:, t])
        done = data["next", "done"][:, t, 0]
        if t + 1 < len(actions) and done.any():
            values.append(data["observation"][:, t + 1][done])
    return values


class TestStatistics:
    def test_are_those_of_every_value_shown(self, tools, kit):
        env, plain = normed(pendulums(), in_keys=["observation"], decay=1.0), pendulums()
        actions = tools.draw_actions(env, 30)
        kit.rollout(env, actions)
        values = torch.cat(shown(kit.seeded(plain), actions, tools)).double()
        found = moments(env)
        assert found.weight.tolist() == [len(values)] * 3
        torch.testing.assert_close(found.mean, values.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.spread / found.weight, values.var(0, correction=0), rtol=1e-12, atol=1e-12)

    @few
    @given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4), min_size=1, max_size=6), st.floats(0.1, 1))
    def test_are_discounted(self, steps, decay):
        norm = normed(SerialEnv(1, pendulum), in_keys=["reward"], decay=decay).transform[0]
        weights = [decay ** (len(steps) - 1 - t) for t, values in enumerate(steps) for _ in values]
        for values in steps:
            norm.statistics[0].update(torch.tensor(values, dtype=torch.float64).unsqueeze(-1))
        values = np.concatenate(steps)
        mean = np.average(values, weights=weights)
        found = norm.statistics[0]
        assert found.weight.item() == pytest.approx(sum(weights))
        assert found.mean.item() == pytest.approx(mean, abs=1e-7)
        variance = np.average((values - mean) ** 2, weights=weights)
        assert (found.spread / found.weight).item() == pytest.approx(variance, abs=1e-5)

    def test_survive_a_large_offset(self):
        env = normed(SerialEnv(1, pendulum), in_keys=["observation"], decay=1.0)
        values = 1e8 + torch.rand(500, 3, dtype=torch.float64)
        for value in values:
            moments(env).update(value.unsqueeze(0))
        found = moments(env).spread / moments(env).weight
        torch.testing.assert_close(found, values.var(0, correction=0), rtol=1e-6, atol=0)

    def test_of_entries_with_shapes_of_their_own(self, two_agents):
        env = normed(SerialEnv(2, two_agents), in_keys=[("agent0", "val"), ("agent1", "reward")])
        env.rollout(4, break_when_any_done=False)
        assert [m.shape for m in env.transform[0].statistics] == [(2,), (1,)]

    def test_count_only_who_takes_part(self, two_agents, kit):
        env = normed(SerialEnv(2, two_agents), in_keys=[("agent0", "val"), ("agent1", "val")], decay=1.0)
        td = kit.seeded(env).reset()
        td = env.step(td.update(env.full_action_spec.zero()))
        assert [m.weight[0].item() for m in env.transform[0].statistics] == [4, 4]
        td = env.step_mdp(td)
        td["agent0", "_reset"] = torch.tensor([[True], [False]])
        td["agent1", "_reset"] = torch.tensor([[False], [False]])
        env.reset(td)
        assert [m.weight[0].item() for m in env.transform[0].statistics] == [5, 4]

    @pytest.mark.parametrize("name", ["_reset", "_step"])
    def test_count_only_who_is_stepped_or_reset(self, name, kit):
        env = normed(pendulums(), in_keys=["observation"], decay=1.0)
        td = kit.seeded(env).reset()
        before = moments(env).weight[0].item()
        td[name] = torch.tensor([[True], [False], [True]])
        td = env.reset(td) if name == "_reset" else env.step(env.rand_action(td))
        assert moments(env).weight.tolist() == [before + 2] * 3


class TestInEnvs:
    def test_specs(self):
        env = normed(pendulums())
        assert env.observation_spec["observation"] == Unbounded((3, 3))
        assert env.reward_spec == Unbounded((3, 1))
        check_env_specs(env)

    def test_a_check_leaves_the_statistics_alone(self, kit):
        env = normed(pendulums())
        kit.seeded(env).rollout(5)
        before = moments(env).mean.clone()
        check_env_specs(env)
        assert torch.equal(moments(env).mean, before)

    @pytest.mark.parametrize("make", [pendulum, pendulums])
    def test_a_loop_records_what_steps_by_hand_do(self, kit, make):
        kit.ports_agree(make, VecNorm, steps=30)
        kit.ports_agree(make, lambda: VecNorm(["observation"], ["seen"], decay=0.9), steps=30)
        assert kit.on_rows(normed(make()))

    def test_partial_resets_and_steps(self, kit, tools):
        """Those who are not reset keep what they saw; masks that are all True are none."""
        env = normed(pendulums())
        td = env.step_mdp(env.rand_step(kit.seeded(env).reset()))
        mask = torch.tensor([[True], [False], [False]])
        out = env.reset(td.clone().set("_reset", mask))
        assert torch.equal(out["observation"][1:], td["observation"][1:])
        assert not torch.equal(out["observation"][0], td["observation"][0])

    def test_integers_become_floats(self, mapping_env, kit):
        make = lambda: SerialEnv(2, mapping_env)
        env = normed(make(), in_keys=["count"])
        assert env.observation_spec["count"].dtype is torch.float32
        kit.ports_agree(make, lambda: VecNorm(["count"]))

    def test_one_owner_around_workers(self, kit, tools):
        found = []
        for batch in (ParallelEnv, SerialEnv):
            env = normed(batch(2, pendulum))
            found.append(kit.rollout(env, tools.draw_actions(env, 12)))
            found.append(TensorDict(env.transform.state_dict()))
            env.close()
        tools.assert_same(found[0], found[2])
        assert all(torch.equal(value, found[3][key]) for key, value in found[1].items(True, True))

    def test_does_not_belong_on_one_of_a_batch(self):
        with pytest.raises(SpecError, match=r"VecNorm belongs on a batch as a whole"):
            SerialEnv(2, lambda: normed(pendulum()))

    def test_same_as_gymnasium(self):
        """200 steps of Gymnasium's vector wrapper, whose prior of 1e-4 values is taken out."""
        actions = np.random.default_rng(0).uniform(-2, 2, (200, 4, 1)).astype(np.float32)
        venv = NormalizeObservation(gymnasium.make_vec("Pendulum-v1", 4, max_episode_steps=500))
        rms = venv.obs_rms
        rms.count, rms.mean, rms.var = 0.0, rms.mean.astype(np.float64), rms.var.astype(np.float64)
        expected = [venv.reset(seed=list(range(4)))[0]] + [venv.step(action)[0] for action in actions]
        env = normed(
            SerialEnv(4, lambda: GymEnv("Pendulum-v1", max_episode_steps=500)),
            in_keys=["observation"],
            decay=1.0,
            eps=1e-8,
        )
        raw = gymnasium.make_vec("Pendulum-v1", 4, max_episode_steps=500)
        first = raw.reset(seed=list(range(4)))[0]
        values = [first] + [raw.step(action)[0] for action in actions]
        norm = env.transform[0]
        found = []
        for value in values:
            norm.statistics[0].update(torch.from_numpy(value))
            found.append(norm(TensorDict({"observation": torch.from_numpy(value)}))["observation"])
        torch.testing.assert_close(torch.stack(found), torch.from_numpy(np.stack(expected)), rtol=1e-5, atol=1e-5)


class TestFrozen:
    def test_keeps_its_statistics(self, kit):
        env = normed(pendulums())
        kit.seeded(env).rollout(5)
        before = moments(env).mean.clone()
        env.transform[0].freeze()
        env.rollout(5)
        assert torch.equal(moments(env).mean, before)
        env.transform[0].unfreeze()
        env.rollout(5)
        assert not torch.equal(moments(env).mean, before)

    def test_is_a_transform_like_others(self, kit):
        env = normed(pendulums())
        env.rollout(5)
        make = lambda: env.transform[0].clone().freeze()
        kit.ports_agree(pendulums, make)
        kit.stored_data_agrees(pendulums, make)

    def test_a_clone_shares_statistics_but_not_the_freezing(self):
        env = normed(pendulums())
        env.rollout(3)
        evaluation = TransformedEnv(pendulum(), env.transform[0].clone().freeze())
        env.rollout(3)
        assert torch.equal(moments(evaluation).mean, moments(env).mean)
        before = moments(env).mean.clone()
        evaluation.rollout(3)
        assert torch.equal(moments(env).mean, before)

    def test_without_statistics(self):
        env = TransformedEnv(pendulums(), VecNorm().freeze())
        for use in (env.reset, lambda: env.rollout(2), lambda: VecNorm(["a"])(TensorDict({"a": torch.ones(1)}))):
            with pytest.raises(RuntimeError, match=r"VecNorm: '(observation|a)': expected statistics, found none"):
                use()


class TestExport:
    def test_one_key(self, kit, tools):
        env = normed(pendulums(), in_keys=["observation"])
        env.rollout(20)
        norm = env.transform[0].freeze().to_observation_norm()
        assert isinstance(norm, ObservationNorm)
        actions = tools.draw_actions(env, 20)
        tools.assert_same(kit.rollout(TransformedEnv(pendulums(), norm), actions), kit.rollout(env, actions))

    def test_several_keys(self, kit, tools):
        env = normed(pendulums(), in_keys=["observation", "reward"], out_keys=["seen", "reward"])
        env.rollout(20)
        norms = env.transform[0].freeze().to_observation_norm()
        assert isinstance(norms, Compose)
        actions = tools.draw_actions(env, 20)
        tools.assert_same(kit.rollout(TransformedEnv(pendulums(), norms), actions), kit.rollout(env, actions))

    def test_without_statistics(self):
        with pytest.raises(RuntimeError, match=r"expected statistics, found none"):
            VecNorm().to_observation_norm()


class TestState:
    def test_goes_on_where_it_was(self, kit, tools):
        env = normed(pendulums())
        env.rollout(10)
        state = {key: value.clone() for key, value in env.state_dict().items()}
        other = normed(pendulums())
        other.load_state_dict(state)
        actions = tools.draw_actions(env, 20)
        tools.assert_same(kit.rollout(other, actions), kit.rollout(env, actions))

    def test_into_a_transform_that_has_seen_no_env(self):
        env = normed(pendulums(), in_keys=["observation"])
        env.rollout(10)
        norm = VecNorm(["observation"])
        norm.load_state_dict(env.transform[0].state_dict())
        value = torch.randn(5, 3)
        expected = env.transform[0](TensorDict({"observation": value.clone()}, [5]))
        assert torch.equal(norm(TensorDict({"observation": value}, [5]))["observation"], expected["observation"])

    def test_of_another_shape(self):
        norm = normed(pendulums(), in_keys=["observation"]).transform[0]
        with pytest.raises(SpecError, match=r"VecNorm: 'observation': expected statistics of shape \[4\], found \[3\]"):
            TransformedEnv(GymEnv("CartPole-v1"), norm.clone())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"decay": 0.0}, r"expected decay in \(0, 1\], found 0.0"), ({"eps": 0.0}, "expected eps above 0, found 0.0")],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        VecNorm(**kwargs)


def test_after_another_transform(kit):
    kit.ports_agree(pendulums, lambda: Compose(StepCounter(4), VecNorm()))
