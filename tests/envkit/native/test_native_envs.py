"""What all envs in tensors promise: specs that hold, any batch, one set of data by either port, seeds."""

from __future__ import annotations

import re

import gymnasium
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    AcrobotEnv,
    CartPoleEnv,
    Compose,
    ConnectFourEnv,
    InitTracker,
    LLMEnv,
    LLMHashingEnv,
    MountainCarContinuousEnv,
    MountainCarEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TicTacToeEnv,
    TransformedEnv,
    check_env_specs,
)
from envkit.errors import EnvDataError, PolicyError

SEED, STEPS, BATCH = 3, 25, 6
FACTORIES = {
    "acrobot": AcrobotEnv,
    "cartpole": CartPoleEnv,
    "connect_four": ConnectFourEnv,
    "connect_four_self": lambda **kw: ConnectFourEnv(True, opponent="self", include_observation=True, **kw),
    "llm": lambda **kw: LLMEnv(vocab_size=5, prompts=[[1], [2, 3]], max_tokens=7, eos=0, **kw),
    "mountain_car": MountainCarEnv,
    "mountain_car_continuous": MountainCarContinuousEnv,
    "pendulum": PendulumEnv,
    "pendulum_cos_sin": lambda **kw: PendulumEnv(cos_sin=True, **kw),
    "tictactoe": TicTacToeEnv,
    "tictactoe_minimax": lambda **kw: TicTacToeEnv(True, opponent="minimax", player=None, **kw),
    "tictactoe_single_player": lambda **kw: TicTacToeEnv(single_player=True, **kw),
}
every = pytest.mark.parametrize("name", FACTORIES)


def seeded(name, **kwargs):
    env = FACTORIES[name](**kwargs)
    env.set_seed(SEED)
    return env


def counted(name):
    env = TransformedEnv(FACTORIES[name](), Compose(StepCounter(max_steps=9), RewardSum(), InitTracker()))
    env.set_seed(SEED)
    return env


def several(size=(BATCH,)):
    return TensorDict({}, size)


def by_hand(env, data):
    """The steps of a rollout with its actions, through the public port alone."""
    tensordict, rows = env.reset(several()), []
    for t in range(data.shape[-1]):
        row, tensordict = env.step_and_maybe_reset(tensordict.update(data[:, t].select(*env.action_keys)))
        rows.append(row)
    return torch.stack(rows, 1).contiguous()


@every
@pytest.mark.parametrize("size", [(), (2,)])
def test_specs_hold(name, size):
    assert check_env_specs(FACTORIES[name](batch_size=size), seed=SEED) == []


@every
def test_specs_hold_under_transforms(name):
    assert check_env_specs(counted(name)) == []


@every
@pytest.mark.parametrize("make", [seeded, counted])
def test_row_port_equals_public_port(name, make, tools):
    """Under masks, too: what is done is reset by itself, at either port from the same stream."""
    found = make(name).rollout(STEPS, tensordict=several(), break_when_any_done=False)
    env = make(name)
    tools.assert_same(found, by_hand(env, found))
    if make is counted:
        assert found["next", "done"].any()


@every
def test_seeds_reproduce_bit_by_bit(name, tools):
    first, second = (seeded(name).rollout(STEPS, tensordict=several(), break_when_any_done=False) for _ in range(2))
    tools.assert_same(first, second)
    env = FACTORIES[name]()
    env.set_seed(SEED + 1)
    other = env.rollout(STEPS, tensordict=several(), break_when_any_done=False)
    assert any(not torch.equal(first[key], other[key]) for key in first.keys(True, True))


@every
def test_set_seed_leaves_the_global_stream_alone(name):
    env = seeded(name)
    before = torch.get_rng_state()
    env.rollout(5, tensordict=several())
    assert torch.equal(torch.get_rng_state(), before)


@every
@pytest.mark.parametrize("size", [(), (1,), (4,), (2, 3), (0,)])
def test_any_batch_size(name, size):
    env = seeded(name)
    data = env.rollout(3, tensordict=several(size), break_when_any_done=False)
    assert data.batch_size == (*size, 3)
    td = env.reset(several(size))
    assert td.batch_size == size
    assert env.step(env.rand_action(td))["next"].batch_size == size


@every
def test_elements_of_a_batch_do_not_touch_each_other(name):
    env = seeded(name)
    td = env.rand_action(env.reset(several()))
    if name in ("tictactoe_minimax", "tictactoe_single_player"):
        pytest.skip("the other player draws its moves for the whole batch")
    whole = env.step(td.clone())["next"]
    for i in range(BATCH):
        single = env.step(td[i].clone())["next"]
        for key, value in single.items(True, True):
            torch.testing.assert_close(value, whole[key][i])


@every
def test_a_partial_reset_leaves_the_others_alone(name):
    env = seeded(name)
    td = env.step_mdp(env.step(env.rand_action(env.reset(several()))))
    before = td.clone()
    mask = torch.tensor([True, False, True, False, False, False]).reshape(BATCH, 1)
    env.reset(td.set("_reset", mask))
    for key in env.observation_keys:
        assert torch.equal(td[key][~mask.squeeze(-1)], before[key][~mask.squeeze(-1)])


@every
def test_a_batch_of_its_own_is_kept(name):
    env = seeded(name, batch_size=[4])
    assert env.rollout(3, break_when_any_done=False).batch_size == (4, 3)
    with pytest.raises(ValueError, match="batch size"):
        env.reset(several((5,)))


@every
def test_breaks_when_all_are_done(name):
    env = counted(name)
    data = env.rollout(30, tensordict=several(), break_when_all_done=True)
    assert data["next", "done"][:, -1].all()
    assert data.shape[1] <= 9


@every
def test_runs_in_a_serial_batch(name):
    batch = SerialEnv(3, FACTORIES[name])
    batch.set_seed(SEED)
    assert batch.rollout(12, break_when_any_done=False).batch_size == (3, 12)


@every
def test_moves_to_another_device(name):
    env = FACTORIES[name](device="cpu")
    env.set_seed(SEED)
    before = env.rollout(4)
    assert before.device == torch.device("cpu")
    env.to("cpu").set_seed(SEED)
    assert torch.equal(env.rollout(4)["action"], before["action"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every
def test_runs_on_a_gpu(name):
    env = FACTORIES[name](device="cuda")
    env.set_seed(SEED)
    data = env.rollout(STEPS, tensordict=TensorDict({}, [BATCH], device="cuda"), break_when_any_done=False)
    assert all(value.device.type == "cuda" for value in data.values(True, True))


@every
def test_unseeded_again(name):
    env = seeded(name)
    env.set_seed(None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = env.reset(several())
        torch.manual_seed(0)
        second = env.reset(several())
    assert all(torch.equal(first[key], second[key]) for key in env.observation_keys)


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("acrobot", "Acrobot-v1"),
        ("cartpole", "CartPole-v1"),
        ("mountain_car", "MountainCar-v0"),
        ("mountain_car_continuous", "MountainCarContinuous-v0"),
        ("pendulum_cos_sin", "Pendulum-v1"),
    ],
)
def test_starts_and_spaces_are_gymnasiums(name, env_id):
    env, raw = seeded(name), gymnasium.make(env_id)
    space = raw.observation_space
    leaf = env.observation_spec["observation"]
    torch.testing.assert_close(leaf.space.low.clamp(-1e9, 1e9), torch.from_numpy(space.low).clamp(-1e9, 1e9))
    torch.testing.assert_close(leaf.space.high.clamp(-1e9, 1e9), torch.from_numpy(space.high).clamp(-1e9, 1e9))
    found = env.reset(several((4000,)))["observation"]
    starts = torch.stack([torch.from_numpy(raw.reset(seed=seed)[0]) for seed in range(400)])
    assert (found.amin(0) <= starts.amin(0) + 1e-6).all()
    assert (found.amax(0) >= starts.amax(0) - 1e-6).all()
    torch.testing.assert_close(found.std(0), starts.std(0), rtol=0.15, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["acrobot", "cartpole", "mountain_car", "mountain_car_continuous", "pendulum", "pendulum_cos_sin"]
)
def test_an_entry_that_a_step_misses_is_named(name):
    env = seeded(name)
    td = env.rand_action(env.reset(several()))
    with pytest.raises(PolicyError, match=r"'action' is missing from the input of \w+\.step: found only \["):
        env.step(td.exclude("action"))
    for key in (*env.observation_keys, *env.state_keys):
        with pytest.raises(EnvDataError, match=f"{re.escape(repr(key))} is missing"):
            env.step(td.exclude(key))


def test_hashing_env_by_either_port():
    env = LLMHashingEnv(vocab_size=9, prompt=[1, 2])
    env.set_seed(SEED)
    data = env.rollout(5, tensordict=several((2,)))
    td = env.reset(several((2,)))
    for t in range(5):
        td = env.step(td.set("action", data[:, t]["action"]))
        for key in ("observation", "hashing"):
            assert torch.equal(td["next", key], data[:, t]["next", key])
        td = env.step_mdp(td)
