from __future__ import annotations

import json
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from envkit import EnvBase, GymEnv, RewardSum, StepCounter, TransformedEnv, native
from envkit.export.native_ids import NATIVE_IDS, register_native

GAMES = ("ConnectFour", "TicTacToe")  # which Gymnasium does not have
NATIVE = [name for name in sorted(gymnasium.registry) if name.startswith("envkit/")]


@pytest.fixture
def env_id():
    """An id that is free, and is again afterwards."""
    yield "test/Exported-v0"
    gymnasium.registry.pop("test/Exported-v0", None)


def test_make_builds_what_was_registered(env_id):
    GymEnv.register_gym(
        env_id,
        env_name="CartPole-v1",
        transform=RewardSum(),
        info_keys=["episode_reward"],
        max_episode_steps=7,
        reward_threshold=6.5,
        nondeterministic=True,
    )
    spec = gymnasium.spec(env_id)
    assert (spec.max_episode_steps, spec.reward_threshold, spec.nondeterministic) == (7, 6.5, True)
    first, second = gymnasium.make(env_id), gymnasium.make(env_id)
    for env in (first, second):
        observation, info = env.reset(seed=1)
        assert np.array_equal(observation, gymnasium.make("CartPole-v1").reset(seed=1)[0])
        for _ in range(7):
            *_, truncated, info = env.step(0)
        assert truncated
        assert info["episode_reward"].tolist() == [7.0]
    assert first.unwrapped.base_env.transform is not second.unwrapped.base_env.transform


def test_options_can_be_given_when_it_is_made(env_id):
    GymEnv.register_gym(env_id, env_name="CartPole-v1", to_numpy=False)
    env = gymnasium.make(env_id, to_numpy=True, transform=StepCounter(), info_keys=["step_count"], frame_skip=2)
    assert isinstance(env.reset()[0], np.ndarray)
    assert env.step(0)[1] == 2.0
    assert env.unwrapped.metadata.get("torch") is None
    assert gymnasium.make(env_id, disable_env_checker=True).unwrapped.metadata["torch"] is True


def test_a_spec_survives_json(env_id):
    GymEnv.register_gym(env_id, env_name="CartPole-v1", transform="envkit:RewardSum", info_keys=[("episode_reward",)])
    env = gymnasium.make(env_id, frame_skip=3)
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"]["env"] == "envkit.libs.gym:GymEnv"
    again = gymnasium.make(EnvSpec.from_json(text))
    assert again.spec == env.spec
    assert again.observation_space == env.observation_space
    for made in (env, again):
        made.reset(seed=4)
    for action in (0, 1, 1):
        found, expected = again.step(action), env.step(action)
        assert np.array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]


def test_nested_info_keys_survive_json(env_id, export):
    EnvBase.register_gym(env_id, entry_point=export.Painter, info_keys=[("inner", "clock"), "action_mask"])
    spec = gymnasium.spec(env_id)
    assert spec.kwargs["info_keys"] == [["inner", "clock"], "action_mask"]
    env = gymnasium.make(env_id, render_mode="rgb_array")
    assert env.render_mode == "rgb_array"
    assert env.reset()[1]["inner"]["clock"].tolist() == [0]


def test_batches_are_native_where_the_env_takes_one(env_id, export):
    EnvBase.register_gym(env_id, entry_point=export.Painter, length=6)
    venv = gymnasium.make_vec(env_id, num_envs=3)
    assert isinstance(venv.unwrapped.base_env, export.Painter)
    assert venv.base_env.length == 6
    assert venv.num_envs == 3
    assert venv.spec.id == env_id


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_batches_have_the_time_limit_of_the_spec(mode, env_id, export):
    GymEnv.register_gym(env_id, env_name="CartPole-v1", max_episode_steps=9)
    native = gymnasium.make_vec(env_id, 3, autoreset_mode=mode)
    theirs = gymnasium.make_vec(
        "CartPole-v1",
        3,
        vectorization_mode="sync",
        max_episode_steps=9,
        vector_kwargs={"autoreset_mode": mode},
    )
    serial = gymnasium.make_vec(env_id, 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    expected = export.transitions(theirs, 100)
    for venv in (native, serial):
        export.assert_same_transitions(export.transitions(venv, 100), expected, least=80)
    assert any(step[4] for step in expected[0])


def test_a_batch_has_its_transform_around_it(env_id):
    GymEnv.register_gym(env_id, env_name="CartPole-v1", transform=StepCounter, info_keys="step_count")
    venv = gymnasium.make_vec(env_id, 2)
    assert isinstance(venv.unwrapped.base_env, TransformedEnv)
    assert venv.reset()[1]["step_count"].shape == (2, 1)


def test_wrong_options_are_refused_at_once(env_id, export):
    with pytest.raises(TypeError, match=r"'autoreset' is no option of Gymnasium since 1\.0; vector envs have"):
        GymEnv.register_gym(env_id, env_name="CartPole-v1", autoreset=True)
    with pytest.raises(TypeError, match="'apply_api_compatibility' is no option"):
        GymEnv.register_gym(env_id, env_name="CartPole-v1", apply_api_compatibility=True)
    with pytest.raises(TypeError, match=r"Painter: got an unexpected keyword argument 'colour'; expected .*'length'"):
        EnvBase.register_gym(env_id, entry_point=export.Painter, colour="red")
    with pytest.raises(TypeError, match="GymEnv: missing a required argument: 'env_name'"):
        GymEnv.register_gym(env_id)
    with pytest.raises(ValueError, match="expected gymnasium, found 'gym'"):
        GymEnv.register_gym(env_id, env_name="CartPole-v1", backend="gym")
    assert env_id not in gymnasium.registry
    GymEnv.register_gym(env_id, env_name="CartPole-v1", backend=gymnasium)
    assert env_id in gymnasium.registry


def test_what_has_no_name_is_registered_as_it_is(env_id):
    GymEnv.register_gym(env_id, entry_point=lambda **kwargs: GymEnv("CartPole-v1", **kwargs))
    env = gymnasium.make(env_id, frame_skip=4)
    env.reset(seed=0)
    assert env.step(0)[1] == 4.0
    with pytest.raises(TypeError, match="not JSON serializable"):
        env.spec.to_json()


# ------------------------------------------------------------------- native ids


def test_native_envs_are_all_registered():
    assert sorted(f"envkit/{name}-v0" for name in NATIVE_IDS) == NATIVE
    assert all(hasattr(native, f"{name}Env") for name in NATIVE_IDS)
    before = dict(gymnasium.registry)
    register_native()
    assert gymnasium.registry == before


@pytest.mark.parametrize("name", NATIVE)
def test_native_envs_can_be_made(name):
    env = gymnasium.make(name)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(50):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert type(reward) is float
        if terminated or truncated:
            env.reset()
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert again.observation_space == env.observation_space


@pytest.mark.parametrize("name", NATIVE)
def test_gymnasium_finds_nothing_wrong_with_native_envs(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make(name).unwrapped)
    # What it also says of its own CartPole and Pendulum.
    known = ("minimum value is -infinity", "maximum value is infinity", "recommend using a symmetric")
    assert not [text for text in (str(one.message) for one in caught) if not any(part in text for part in known)]


@pytest.mark.parametrize("name", [name for name in NATIVE if name[7:-3] not in GAMES])
def test_native_envs_have_the_interface_of_their_model(name):
    models = [spec.id for spec in gymnasium.registry.values() if spec.name == name[7:-3] and spec.namespace is None]
    ours, theirs = gymnasium.make(name), gymnasium.make(max(models))
    assert ours.action_space == theirs.action_space
    assert ours.observation_space.shape == theirs.observation_space.shape
    assert ours.observation_space.dtype == theirs.observation_space.dtype
    assert np.allclose(ours.observation_space.low, theirs.observation_space.low)
    assert np.allclose(ours.observation_space.high, theirs.observation_space.high)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    assert ours.spec.reward_threshold == theirs.spec.reward_threshold


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("vectorization", [None, "sync", "async"])
def test_native_envs_can_be_made_in_batches(name, vectorization):
    venv = gymnasium.make_vec(name, 3, vectorization_mode=vectorization)
    venv.action_space.seed(0)
    venv.reset(seed=0)
    for _ in range(50):
        observation, reward, *_ = venv.step(venv.action_space.sample())
        assert observation in venv.observation_space
        assert reward.shape == (3,)
    venv.close()


def test_importing_envkit_is_what_registers():
    """Gymnasium has had no entry points for plug-ins since 1.0, and importing it brings no torch with it."""
    code = (
        "import sys, gymnasium; assert 'torch' not in sys.modules; before = set(gymnasium.registry);"
        "import envkit; gymnasium.register_envs(envkit); new = set(gymnasium.registry) - before;"
        "assert all(name.startswith('envkit/') for name in new), new;"
        "assert 'pettingzoo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    code = "import gymnasium; print(gymnasium.make('envkit:envkit/CartPole-v0').spec.id)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "envkit/CartPole-v0"
