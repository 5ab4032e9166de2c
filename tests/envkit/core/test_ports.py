"""The row port (rollouts) and the public port (step, step_mdp, reset) carry bit-identical data."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from envkit import (
    Compose,
    EnvBase,
    GymEnv,
    GymWrapper,
    InitTracker,
    ObservationNorm,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    default_info_dict_reader,
)

SEED, STEPS = 3, 40
TAXI = max(name for name in gymnasium.registry if name.startswith("Taxi-v"))


class AutoResetting(GymEnv):
    """Starts the next episode within the step that ends one, and has nothing to do when it is told to."""

    def _step(self, tensordict):
        tensordict = super()._step(tensordict)
        if tensordict["done"].any():
            tensordict.update(super().reset().exclude(*self.done_keys))
        return tensordict

    def _reset(self, tensordict=None):
        if tensordict is not None and "_reset" in tensordict:
            return tensordict.exclude(*self.done_keys)
        return super()._reset(tensordict)


FACTORIES = {
    "cartpole": lambda request: GymEnv("CartPole-v1"),
    "cartpole_one_hot": lambda request: GymEnv("CartPole-v1", categorical_action_encoding=False),
    "cartpole_frame_skip": lambda request: GymEnv("CartPole-v1", frame_skip=2),
    "cartpole_pixels": lambda request: GymEnv("CartPole-v1", from_pixels=True, pixels_only=False),
    "cartpole_device": lambda request: GymEnv("CartPole-v1", device="cpu"),
    "pendulum": lambda request: GymEnv("Pendulum-v1", max_episode_steps=13),
    "frozen_lake": lambda request: GymEnv("FrozenLake-v1"),
    "taxi": lambda request: GymEnv(TAXI, max_episode_steps=15),
    "blackjack": lambda request: GymEnv("Blackjack-v1"),
    "dict_obs": lambda request: GymWrapper(request.getfixturevalue("dict_obs")()),
    "info": lambda request: GymWrapper(request.getfixturevalue("dict_obs")()).set_info_dict_reader(
        default_info_dict_reader(["left", "absent"])
    ),
    "auto_resetting": lambda request: AutoResetting("CartPole-v1"),
    "walk": lambda request: request.getfixturevalue("walk")(),
    "mapping": lambda request: request.getfixturevalue("mapping_env")(),
    "two_agents": lambda request: request.getfixturevalue("two_agents")(),
    "two_agents_shared_done": lambda request: request.getfixturevalue("two_agents")(shared_done=True),
}

LAYERS = {
    "plain": lambda make: make(),
    "transformed": lambda make: TransformedEnv(make(), Compose(StepCounter(max_steps=9), RewardSum(), InitTracker())),
    "serial": lambda make: SerialEnv(3, make),
    "serial_of_one": lambda make: SerialEnv(1, make),
    "serial_of_serial": lambda make: SerialEnv(2, lambda: SerialEnv(2, make)),
    "serial_of_transformed": lambda make: SerialEnv(2, lambda: LAYERS["transformed"](make)),
    "transformed_serial": lambda make: LAYERS["transformed"](lambda: SerialEnv(2, make)),
}


def steps_of(name: str) -> int:
    return 4 if "pixels" in name else STEPS


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", FACTORIES)
def test_row_port_equals_public_port(name, layer, request, tools):
    def make() -> EnvBase:
        env = LAYERS[layer](lambda: FACTORIES[name](request))
        env.set_seed(SEED)
        return env

    rolled, stepped = make(), make()
    actions = tools.draw_actions(rolled, steps_of(name))
    found = rolled.rollout(len(actions), tools.FixedPolicy(actions), break_when_any_done=False)
    tools.assert_same(found, tools.by_hand(stepped, actions))


@pytest.mark.parametrize("name", FACTORIES)
def test_ports_can_be_mixed(name, request, tools):
    """A rollout that goes on from where the public port stopped, and the other way round."""

    def make() -> EnvBase:
        env = FACTORIES[name](request)
        env.set_seed(SEED)
        return env

    mixed, plain = make(), make()
    actions = tools.draw_actions(mixed, 3 * (half := steps_of(name) // 4))
    expected = tools.by_hand(plain, actions)
    first = mixed.rollout(half, tools.FixedPolicy(actions[:half]), break_when_any_done=False)
    tools.assert_same(first, expected[:half])
    td = mixed.maybe_reset(mixed.step_mdp(first[-1]))
    for t in range(half, 2 * half):
        row, td = mixed.step_and_maybe_reset(td.update(actions[t]))
        tools.assert_same(row, expected[t])
    last = mixed.rollout(
        half, tools.FixedPolicy(actions[2 * half :]), break_when_any_done=False, auto_reset=False, tensordict=td
    )
    tools.assert_same(last, expected[2 * half :])


@pytest.mark.parametrize("name", FACTORIES)
def test_serial_env_equals_single_envs_with_chained_seeds(name, request, tools):
    batch = SerialEnv(3, lambda: FACTORIES[name](request))
    following = batch.set_seed(SEED)
    actions = tools.draw_actions(batch, steps_of(name))
    found = batch.rollout(len(actions), tools.FixedPolicy(actions), break_when_any_done=False)
    seed = SEED
    for i in range(3):
        single = FACTORIES[name](request)
        seed = single.set_seed(seed)
        expected = single.rollout(len(actions), tools.FixedPolicy([a[i] for a in actions]), break_when_any_done=False)
        tools.assert_same(found[i], expected)
    assert following == seed


@pytest.mark.parametrize("name", FACTORIES)
def test_what_was_handed_out_stays_as_it_was(name, request, tools):
    env = FACTORIES[name](request)
    env.set_seed(SEED)
    td, kept, copies = env.reset(), [], []
    for action in tools.draw_actions(env, steps_of(name)):
        row, td = env.step_and_maybe_reset(td.update(action))
        kept.append(row)
        copies.append(row.clone())
    for row, copy in zip(kept, copies, strict=True):
        tools.assert_same(row, copy)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {"max_episode_steps": 11}),
        ("FrozenLake-v1", {}),
        (TAXI, {"max_episode_steps": 15}),
        ("MountainCarContinuous-v0", {"max_episode_steps": 20}),
        ("Acrobot-v1", {"max_episode_steps": 20}),
    ],
)
def test_rollout_equals_a_gymnasium_loop(env_id, kwargs, tools):
    env, raw = GymEnv(env_id, **kwargs), gymnasium.make(env_id, **kwargs)
    env.set_seed(SEED)
    actions = tools.draw_actions(env, 100)
    data = env.rollout(100, tools.FixedPolicy(actions), break_when_any_done=False)
    observation, _ = raw.reset(seed=SEED)
    episodes = 0
    for t, action in enumerate(actions):
        given = action["action"].numpy()
        assert np.array_equal(data["observation"][t].numpy(), observation)
        observation, reward, terminated, truncated, _ = raw.step(given if given.shape else int(given))
        assert np.array_equal(data["next", "observation"][t].numpy(), observation)
        assert data["next", "reward"][t].item() == np.float32(reward)
        assert data["next", "terminated"][t].item() == terminated
        assert data["next", "truncated"][t].item() == truncated
        assert data["next", "done"][t].item() == (terminated or truncated)
        if terminated or truncated:
            observation, _ = raw.reset()
            episodes += 1
    assert episodes > 0


def test_tuple_observations_equal_gymnasium():
    env, raw = GymEnv("Blackjack-v1"), gymnasium.make("Blackjack-v1")
    td, (observation, _) = env.reset(seed=SEED), raw.reset(seed=SEED)
    assert [int(td["observation", str(i)]) for i in range(3)] == [int(part) for part in observation]


def test_normalised_ports_agree(tools):
    def make() -> EnvBase:
        norm = ObservationNorm(loc=0.3, scale=1.7, in_keys=["observation"], standard_normal=True)
        env = TransformedEnv(SerialEnv(2, lambda: GymEnv("CartPole-v1")), norm)
        env.set_seed(SEED)
        return env

    actions = tools.draw_actions(make(), STEPS)
    found = make().rollout(STEPS, tools.FixedPolicy(actions), break_when_any_done=False)
    tools.assert_same(found, tools.by_hand(make(), actions))


def test_auto_resetting_env_is_not_reset_again():
    env = AutoResetting("CartPole-v1")
    env.set_seed(0)
    data = env.rollout(60, break_when_any_done=False)
    ends = data["next", "done"].squeeze(-1)[:-1].nonzero().flatten()
    assert len(ends) > 1
    for t in ends.tolist():
        assert torch.equal(data["next", "observation"][t], data["observation"][t + 1])
        assert data["next", "observation"][t].abs().max() <= 0.05
