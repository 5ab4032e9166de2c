from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from envkit import (
    Compose,
    GymEnv,
    GymVectorWrapper,
    GymWrapper,
    InvalidActionError,
    ResetNeededError,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    as_gymnasium,
    as_gymnasium_vector,
    seed_generator,
)

MODES = [mode.value for mode in AutoresetMode]


def vectors(name, count, mode):
    return gymnasium.make_vec(name, count, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})


# ------------------------------------------------------------- G2: transitions


@pytest.mark.parametrize(("name", "limit"), [("CartPole-v1", None), ("Pendulum-v1", 30), ("FrozenLake-v1", None)])
def test_all_modes_give_the_same_transitions(name, limit, export):
    """Every mode, Gymnasium's own vector envs, and a rollout of the batch: 4 envs, 500 steps."""
    options = {} if limit is None else {"max_episode_steps": limit}
    theirs = gymnasium.make_vec(name, 4, vectorization_mode="sync", **options)
    expected = export.transitions(theirs, 500)
    if name == "Pendulum-v1":  # whose rewards are of double precision
        expected = [[(o, a, float(np.float32(r)), *rest) for o, a, r, *rest in row] for row in expected]
    for mode in MODES:
        ours = as_gymnasium_vector(SerialEnv(4, lambda: GymEnv(name, **options)), autoreset_mode=mode)
        found = export.transitions(ours, 500)
        export.assert_same_transitions(found, expected, least=350)
        assert len(found[0]) == 500 or mode == "NextStep"


@pytest.mark.parametrize("mode", MODES)
def test_the_batch_itself_has_the_same_transitions(mode, export):
    batch = export.cartpoles()
    found = export.transitions(as_gymnasium_vector(batch, autoreset_mode=mode), 500)
    actions = iter(
        np.stack([step[1] for step in row]) for row in export.transitions(vectors("CartPole-v1", 4, "SameStep"), 500)
    )
    actions = torch.from_numpy(np.stack(list(actions), 1))
    env = export.cartpoles()
    for i, inner in enumerate(env._envs):
        inner.set_seed(3 + i)
    counter = iter(range(500))
    data = env.rollout(500, lambda td: td.set("action", actions[next(counter)]), break_when_any_done=False)
    expected = [
        [
            (
                data["observation"][i, t].numpy(),
                data["action"][i, t].numpy(),
                data["next", "reward"][i, t].item(),
                data["next", "terminated"][i, t].item(),
                data["next", "truncated"][i, t].item(),
                data["next", "observation"][i, t].numpy(),
            )
            for t in range(500)
        ]
        for i in range(4)
    ]
    export.assert_same_transitions(found, expected, least=350)


@pytest.mark.parametrize("mode", MODES)
def test_transforms_see_the_same_in_all_modes(mode, export):
    """Counts and sums, which live in the data, restart with the episodes and skip wasted steps."""
    env = TransformedEnv(export.cartpoles(), Compose(StepCounter(max_steps=12), RewardSum()))
    venv = as_gymnasium_vector(env, autoreset_mode=mode, info_keys=["step_count", "episode_reward"])
    plain = vectors("CartPole-v1", 4, mode)
    plain.envs = [gymnasium.wrappers.TimeLimit(e.unwrapped, 12) for e in plain.envs]
    export.assert_same_transitions(export.transitions(venv, 200), export.transitions(plain, 200), least=150)
    _, info = venv.reset(seed=0)
    assert info["step_count"].tolist() == [[0]] * 4
    assert info["_step_count"].all()
    for _ in range(12):
        *_, terminated, truncated, info = venv.step(np.zeros(4, dtype=np.int64))
        if mode == "Disabled" and (terminated | truncated).any():
            venv.reset(options={"reset_mask": terminated | truncated})
    assert (info["step_count"] == info["episode_reward"]).all()


def test_the_same_step_says_what_the_last_observation_was(export, dict_obs):
    venv = as_gymnasium_vector(
        TransformedEnv(SerialEnv(3, lambda: GymWrapper(dict_obs())), StepCounter()),
        autoreset_mode=AutoresetMode.SAME_STEP,
        info_keys=["step_count"],
    )
    venv.reset(seed=0)
    seen = 0
    for _ in range(20):
        observation, _, terminated, truncated, info = venv.step(venv.action_space.sample())
        over = terminated | truncated
        assert observation in venv.observation_space
        assert ("final_obs" in info) == over.any()
        if over.any():
            assert info["_final_obs"].tolist() == over.tolist()
            assert info["_final_info"].tolist() == over.tolist()
            for i in np.flatnonzero(over):
                seen += 1
                assert info["final_obs"][i] in venv.single_observation_space
                assert info["final_info"]["step_count"][i] >= 2
                assert info["step_count"][i] == 0
            assert all(info["final_obs"][i] is None for i in np.flatnonzero(~over))
    assert seen


# ------------------------------------------------------------------- G7: seeds


def test_an_element_can_be_replayed_alone(export):
    venv = as_gymnasium_vector(export.cartpoles(), autoreset_mode="SameStep")
    observation, _ = venv.reset(seed=11)
    rows = export.transitions(venv, 80, seed=11)
    for i in range(4):
        single = as_gymnasium(GymEnv("CartPole-v1"))
        theirs = gymnasium.make("CartPole-v1")
        now, _ = single.reset(seed=11 + i)
        assert np.array_equal(now, theirs.reset(seed=11 + i)[0])
        assert np.array_equal(now, observation[i])
        for root, action, reward, terminated, truncated, last in rows[i]:
            assert np.array_equal(root, now)
            now, *rest, _ = single.step(int(action))
            assert rest == [reward, terminated, truncated]
            assert np.array_equal(now, last)
            if terminated or truncated:
                now, _ = single.reset()


def test_the_chain_of_seeds_of_a_batch_is_that_of_its_envs():
    batch, seed = SerialEnv(3, lambda: GymEnv("CartPole-v1")), 5
    last = batch.set_seed(seed)
    first = batch.reset()["observation"]
    for i in range(3):
        single = GymEnv("CartPole-v1")
        following = single.set_seed(seed)
        assert following == seed_generator(seed)
        assert torch.equal(single.reset()["observation"], first[i])
        seed = following
    assert last == seed


def test_seeds_by_element(export):
    venv = as_gymnasium_vector(export.cartpoles(3), autoreset_mode="Disabled")
    first, _ = venv.reset(seed=[7, 7, 8])
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])
    assert venv.np_random_seed == (7, 7, 8)
    again, _ = venv.reset(seed=[None, 9, 8])
    assert np.array_equal(again[2], first[2])
    assert not np.array_equal(again[0], first[0])
    assert venv.np_random_seed == (7, 9, 8)
    assert [g.random() for g in venv.np_random] == [gymnasium.utils.seeding.np_random(s)[0].random() for s in (7, 9, 8)]
    with pytest.raises(ValueError, match="expected 3 seeds, one per env, found 2"):
        venv.reset(seed=[1, 2])


def test_one_stream_for_a_whole_batch_is_seeded_at_once(export):
    first = [as_gymnasium_vector(export.Painter(batch_size=(3,))).reset(seed=s)[0]["observation"] for s in (4, 4, 5)]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])


# ------------------------------------------------------------- partial resets


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_of_some(mode, export):
    venv = as_gymnasium_vector(export.cartpoles(3), autoreset_mode=mode)
    venv.reset(seed=0)
    before = venv.step(np.array([0, 1, 0]))[0]
    after, _ = venv.reset(seed=20, options={"reset_mask": np.array([False, True, False])})
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert np.array_equal(after[1], gymnasium.make("CartPole-v1").reset(seed=21)[0])
    venv.step(np.array([0, 1, 0]))


@pytest.mark.parametrize(
    ("mask", "error", "found"),
    [
        ([True, False], TypeError, "list"),
        (np.array([1, 0]), TypeError, "int64"),
        (np.array([True]), ValueError, "True"),
        (np.array([False, False]), ValueError, "False"),
    ],
)
def test_wrong_masks_are_refused(mask, error, found, export):
    venv = as_gymnasium_vector(export.cartpoles(2))
    venv.reset()
    with pytest.raises(error, match=rf"reset_mask'\]: expected a numpy array of bool.*found.*{found}"):
        venv.reset(options={"reset_mask": mask})


def test_disabled_means_that_resets_are_yours(scripted):
    venv = as_gymnasium_vector(SerialEnv(2, lambda: scripted(terminated=[False, True])), autoreset_mode="Disabled")
    with pytest.raises(ResetNeededError, match=r"expected reset\(\)"):
        venv.step(np.zeros(2, dtype=np.int64))
    venv.reset()
    venv.step(np.zeros(2, dtype=np.int64))
    assert venv.step(np.zeros(2, dtype=np.int64))[2].all()
    with pytest.raises(ResetNeededError, match=r"\[0, 1\] are over and autoreset is disabled"):
        venv.step(np.zeros(2, dtype=np.int64))
    venv.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeededError, match=r"\[1\] are over"):
        venv.step(np.zeros(2, dtype=np.int64))


def test_whole_batches_that_end_at_once_rest_together(scripted):
    envs = [scripted(terminated=[False, True]) for _ in range(2)]
    venv = as_gymnasium_vector(SerialEnv(2, [lambda e=e: e for e in envs]))
    venv.reset()
    action = np.zeros(2, dtype=np.int64)
    log = [venv.step(action) for _ in range(6)]
    assert [step[1][0] for step in log] == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    assert [bool(step[2][0]) for step in log] == [False, True, False] * 2
    assert [step[0][0, 0] for step in log] == [1.0, 2.0, 0.0] * 2
    assert envs[0].resets == 3


# ----------------------------------------------------------------- the surface


def test_the_surface_of_a_vector_env(export):
    venv = as_gymnasium_vector(export.cartpoles(3, render_mode="rgb_array"))
    single = gymnasium.make("CartPole-v1")
    assert isinstance(venv, VectorEnv)
    assert venv.unwrapped is venv
    assert venv.num_envs == 3
    assert venv.single_observation_space == single.observation_space
    assert venv.single_action_space == single.action_space
    assert venv.action_space == gymnasium.vector.utils.batch_space(single.action_space, 3)
    assert venv.observation_space is venv.observation_space
    assert venv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert venv.metadata["render_fps"] == 50
    assert venv.render_mode == "rgb_array"
    assert venv.spec is None
    observation, info = venv.reset(seed=0)
    assert observation in venv.observation_space
    assert info == {}
    _, reward, terminated, truncated, _ = venv.step(venv.action_space.sample())
    assert reward.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    frames = venv.render()
    assert isinstance(frames, tuple)
    assert [frame.shape for frame in frames] == [(400, 600, 3)] * 3
    venv.close()
    venv.close()
    assert venv.closed


def test_a_native_batch(export):
    venv = as_gymnasium_vector(export.Painter(batch_size=(3,)), info_keys=["action_mask"], autoreset_mode="SameStep")
    venv.reset(seed=0)
    for step in range(1, 9):
        observation, reward, terminated, _, info = venv.step(np.array([0, 1, 2]))
        assert reward.tolist() == [0.0, 1.0, 2.0]
        assert observation in venv.observation_space
        assert info["action_mask"].shape == (3, 3)
        assert terminated.all() == (step % 4 == 0)
    assert venv.render() is None


def test_tensors_stay_tensors_if_asked(export):
    venv = as_gymnasium_vector(export.cartpoles(2), to_numpy=False)
    assert venv.metadata["torch"] is True
    observation, _ = venv.reset(seed=0)
    _, *rest, _ = venv.step(torch.tensor([0, 1]))
    assert all(isinstance(value, torch.Tensor) for value in (observation, *rest))
    assert [value.dtype for value in rest] == [torch.float64, torch.bool, torch.bool]


def test_a_limit_on_episodes(export):
    venv = as_gymnasium_vector(SerialEnv(2, lambda: GymEnv("Pendulum-v1")), max_episode_steps=5)
    venv.reset(seed=0)
    ends = [venv.step(venv.action_space.sample())[3].tolist() for _ in range(12)]
    assert [i for i, end in enumerate(ends) if all(end)] == [4, 10]


def test_what_cannot_be_exported_is_refused(two_agents, export):
    with pytest.raises(SpecError, match=r"one batch dimension, found batch size \[\]; as_gymnasium takes"):
        as_gymnasium_vector(GymEnv("CartPole-v1"))
    with pytest.raises(SpecError, match=r"found batch size \[2, 2\]"):
        as_gymnasium_vector(SerialEnv(2, lambda: export.cartpoles(2)))
    with pytest.raises(SpecError, match="as_pettingzoo"):
        as_gymnasium_vector(SerialEnv(2, two_agents))
    with pytest.raises(ValueError, match="Sometimes"):
        as_gymnasium_vector(export.cartpoles(2), autoreset_mode="Sometimes")
    venv = as_gymnasium_vector(export.cartpoles(2))
    venv.reset()
    with pytest.raises(InvalidActionError):
        venv.step(np.array([0, 2]))


# ----------------------------------------------------------------- G5: wrappers

wrappers = gymnasium.wrappers.vector
WRAPPERS = {
    "ClipAction": (wrappers.ClipAction, "Pendulum-v1"),
    "ClipReward": (lambda v: wrappers.ClipReward(v, -1.0, 1.0), "Pendulum-v1"),
    "DictInfoToList": (wrappers.DictInfoToList, "CartPole-v1"),
    "DtypeObservation": (lambda v: wrappers.DtypeObservation(v, np.float64), "CartPole-v1"),
    "FlattenObservation": (wrappers.FlattenObservation, "FrozenLake-v1"),
    "NormalizeObservation": (wrappers.NormalizeObservation, "CartPole-v1"),
    "NormalizeReward": (wrappers.NormalizeReward, "CartPole-v1"),
    "RecordEpisodeStatistics": (wrappers.RecordEpisodeStatistics, "CartPole-v1"),
    "RescaleAction": (lambda v: wrappers.RescaleAction(v, np.float32(-1), np.float32(1)), "Pendulum-v1"),
    "RescaleObservation": (lambda v: wrappers.RescaleObservation(v, np.float32(0), np.float32(1)), "MountainCar-v0"),
    "ReshapeObservation": (lambda v: wrappers.ReshapeObservation(v, (2, 2)), "CartPole-v1"),
    "TransformAction": (lambda v: wrappers.TransformAction(v, lambda a: a), "CartPole-v1"),
    "TransformObservation": (lambda v: wrappers.TransformObservation(v, lambda o: o / 2), "CartPole-v1"),
    "TransformReward": (lambda v: wrappers.TransformReward(v, lambda r: 2 * r), "CartPole-v1"),
    "VectorizeTransformAction": (
        lambda v: wrappers.VectorizeTransformAction(v, gymnasium.wrappers.ClipAction),
        "Pendulum-v1",
    ),
    "VectorizeTransformObservation": (
        lambda v: wrappers.VectorizeTransformObservation(v, gymnasium.wrappers.FlattenObservation),
        "FrozenLake-v1",
    ),
    "VectorizeTransformReward": (
        lambda v: wrappers.VectorizeTransformReward(v, gymnasium.wrappers.ClipReward, min_reward=0, max_reward=1),
        "Pendulum-v1",
    ),
}
ELSEWHERE = {
    "FilterObservation": "needs a Dict observation: test_filter_observation",
    "GrayscaleObservation": "needs images",
    "ResizeObservation": "needs images and OpenCV",
    "HumanRendering": "opens a window",
    "RecordVideo": "needs moviepy",
    "ArrayConversion": "needs array_api_compat",
    "JaxToNumpy": "needs jax",
    "JaxToTorch": "needs jax",
    "NumpyToTorch": "needs array_api_compat",
}


def test_every_vector_wrapper_is_accounted_for():
    assert set(wrappers.__all__) == {*WRAPPERS, *ELSEWHERE}


@pytest.mark.parametrize("name", WRAPPERS)
def test_vector_wrappers_go_around_it(name):
    wrap, env_id = WRAPPERS[name]
    venv = wrap(as_gymnasium_vector(SerialEnv(3, lambda: GymEnv(env_id, max_episode_steps=40))))
    theirs = wrap(gymnasium.make_vec(env_id, 3, vectorization_mode="sync", max_episode_steps=40))
    assert venv.observation_space == theirs.observation_space
    assert venv.action_space == theirs.action_space
    venv.action_space.seed(0)
    for found, expected in zip(venv.reset(seed=2)[:1], theirs.reset(seed=2)[:1], strict=True):
        assert np.allclose(found, expected)
    for _ in range(100):
        actions = venv.action_space.sample()
        found, expected = venv.step(actions), theirs.step(actions)
        for one, other in zip(found[:4], expected[:4], strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype
            assert np.allclose(one, other, rtol=1e-5, atol=1e-5)
        assert found[0] in venv.observation_space


def test_filter_observation(dict_obs):
    env = as_gymnasium_vector(SerialEnv(2, lambda: GymWrapper(dict_obs())))
    venv = wrappers.FilterObservation(env, ["camera", "state"])
    venv.reset(seed=0)
    for _ in range(100):
        assert venv.step(venv.action_space.sample())[0] in venv.observation_space


def test_episode_statistics_are_what_an_env_says(export):
    venv = wrappers.RecordEpisodeStatistics(as_gymnasium_vector(export.cartpoles(2)))
    venv.reset(seed=0)
    for _ in range(60):
        *_, info = venv.step(venv.action_space.sample())
        if "episode" in info:
            over = info["_episode"]
            assert (info["episode"]["r"][over] == info["episode"]["l"][over]).all()
            assert set(info["episode"]) == {"r", "l", "t"}


# ------------------------------------------------------------------ round trips


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inner", MODES)
def test_out_of_a_vector_env_that_came_in(mode, inner):
    """Data stays in its spaces, and episodes have the lengths they should, whatever the two modes are."""
    came_in = GymVectorWrapper(
        gymnasium.make_vec(
            "Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": inner}, max_episode_steps=5
        )
    )
    venv = as_gymnasium_vector(TransformedEnv(came_in, StepCounter()), autoreset_mode=mode, info_keys=["step_count"])
    venv.reset(seed=0)
    counts = []
    for _ in range(18):
        *_, truncated, info = venv.step(venv.action_space.sample())
        if mode == "Disabled" and truncated.any():
            venv.reset(options={"reset_mask": truncated})
        counts.append(int(info["step_count"][0, 0]))
    period = {"NextStep": [1, 2, 3, 4, 5, 0], "SameStep": [1, 2, 3, 4, 0], "Disabled": [1, 2, 3, 4, 5]}[mode]
    assert counts == (period * 4)[:18]
