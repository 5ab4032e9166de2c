from __future__ import annotations

import importlib.util
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AddRenderObservation, RecordVideo, RenderCollection

from envkit import GymEnv, SerialEnv, as_gymnasium, as_gymnasium_vector


def exported(**kwargs):
    return as_gymnasium(GymEnv("CartPole-v1", render_mode="rgb_array", **kwargs))


def run(env, steps=40):
    env.reset(seed=0)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(0)
        if terminated or truncated:
            env.reset()


def test_frames_are_those_of_the_simulator():
    ours, theirs = exported(), gymnasium.make("CartPole-v1", render_mode="rgb_array")
    for env in (ours, theirs):
        env.reset(seed=0)
        env.step(1)
    assert np.array_equal(ours.render(), theirs.render())


def test_render_wrappers_go_around_it():
    pixels = AddRenderObservation(exported())
    observation, _ = pixels.reset(seed=0)
    assert observation in pixels.observation_space
    frames = RenderCollection(exported())
    run(frames, 5)
    assert len(frames.render()) == 6


def video_length(path):
    import av

    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.mark.skipif(importlib.util.find_spec("moviepy") is None, reason="moviepy is not installed")
def test_videos_are_recorded(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the encoder's own code
        env = RecordVideo(exported(), str(tmp_path), episode_trigger=lambda episode: True, disable_logger=True)
        run(env, 25)
        env.close()
    names = sorted(path.name for path in tmp_path.glob("*.mp4"))
    assert names == [f"rl-video-episode-{i}.mp4" for i in range(len(names))]
    assert len(names) > 1
    assert video_length(tmp_path / names[0]) > 5


@pytest.mark.skipif(importlib.util.find_spec("moviepy") is None, reason="moviepy is not installed")
@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_videos_of_batches_are_recorded(mode, tmp_path):
    batch = SerialEnv(2, lambda: GymEnv("CartPole-v1", render_mode="rgb_array"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        venv = gymnasium.wrappers.vector.RecordVideo(
            as_gymnasium_vector(batch, autoreset_mode=mode),
            str(tmp_path),
            video_length=5,
            step_trigger=lambda s: s == 0,
        )
        venv.reset(seed=0)
        for _ in range(8):
            venv.step(np.zeros(2, dtype=np.int64))
        venv.close()
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["rl-video-step-0.mp4"]
