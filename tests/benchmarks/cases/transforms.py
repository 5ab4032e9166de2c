"""Transforms on eight envs that do nothing: env steps per second, and the cost of running statistics.

`transforms_chain`: observations of 17 doubles are normalised by fixed statistics and cast to float32, steps counted,
rewards summed over the episode (of 200 steps). SB3 does so by VecNormalize, not training, and VecMonitor; Gymnasium by
its vector wrappers TransformObservation (one line of numpy) and RecordEpisodeStatistics. Ours and torchrl's are
recorded rollouts, the step counts and sums of every step included; the peers' loops write observations, rewards and
done flags into arrays, once (see the case `serial_cartpole`).

`transforms_atari`: frames of 210 x 160 x 3 bytes become gray ones of 84 x 84, averaged over areas, and the last four
are stacked. SB3 does so by WarpFrame (bytes) and VecFrameStack; Gymnasium by its single-env wrappers
GrayscaleObservation, ResizeObservation (bytes) and FrameStackObservation; torchrl by floats, and bilinear with
antialiasing. Everyone has one thread, OpenCV's included (`OPENCV_FOR_THREADS_NUM` of `run.py`).

`transforms_vecnorm`: microseconds per step of the eight that normalising by running statistics adds to a recorded
rollout, or to a loop over Gymnasium's vector env without its NormalizeObservation.
"""

from functools import partial
from typing import Any

import numpy as np
from measure import CHUNKS, Case, Sample, added
from peers.vector_envs import baselines_dummy, gymnasium_sync
from vector_loops import ENVS, Work, frames, rollout_rate, stepped, vector_rate

WIDTH = 17
LOC, SCALE = np.linspace(-1, 1, WIDTH), np.linspace(0.5, 2, WIDTH)


def numbers() -> Any:
    from null_env import NullEnv

    return NullEnv((WIDTH,), np.float64, length=200)


CHAIN = Work(numbers, size=200_000)
ATARI = Work(frames, size=20_000, rows=32)


def batch(make: Any, transform: Any = None) -> Any:
    """Ours: eight envs, transformed."""
    from envkit import GymWrapper, SerialEnv, TransformedEnv

    env = SerialEnv(ENVS, lambda: GymWrapper(make()))
    return env if transform is None else TransformedEnv(env, transform)


def envkit_chain(size: int) -> Sample:
    import torch

    from envkit import Compose, DoubleToFloat, ObservationNorm, RewardSum, StepCounter

    norm = ObservationNorm(torch.tensor(LOC), torch.tensor(SCALE), standard_normal=True)
    chain = Compose(norm, DoubleToFloat(), StepCounter(), RewardSum())
    return rollout_rate(batch(CHAIN.make, chain), CHAIN, size)


def baselines_chain(make: Any) -> Any:
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    env = VecNormalize(VecMonitor(baselines_dummy(make)), training=False, norm_reward=False)
    env.obs_rms.mean, env.obs_rms.var = LOC, SCALE**2
    return env


def gymnasium_chain(make: Any) -> Any:
    from gymnasium.spaces import Box
    from gymnasium.wrappers.vector import RecordEpisodeStatistics, TransformObservation

    env = RecordEpisodeStatistics(gymnasium_sync(make))
    one, all_of_them = (Box(-np.inf, np.inf, shape, np.float32) for shape in ((WIDTH,), (ENVS, WIDTH)))
    return TransformObservation(env, lambda x: ((x - LOC) / SCALE).astype(np.float32), one, all_of_them)


def torchrl_chain(size: int) -> Sample:
    import torch
    from peers.torchrl_transforms import normalised

    env = normalised(CHAIN.make, ENVS, torch.tensor(LOC), torch.tensor(SCALE))
    return rollout_rate(env, CHAIN, size // 20)


def envkit_atari(size: int) -> Sample:
    from envkit import CatFrames, Compose, GrayScale, Resize

    keys = {"in_keys": ["observation"]}
    resize = Resize(84, 84, interpolation="area", **keys)
    chain = Compose(GrayScale(channel_dim=-1, **keys), resize, CatFrames(N=4, dim=-3, **keys))
    return rollout_rate(batch(ATARI.make, chain), ATARI, size)


def baselines_atari(make: Any) -> Any:
    from stable_baselines3.common.atari_wrappers import WarpFrame
    from stable_baselines3.common.vec_env import VecFrameStack

    return VecFrameStack(baselines_dummy(lambda: WarpFrame(make())), n_stack=4)


def gymnasium_atari(make: Any) -> Any:
    from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, ResizeObservation

    return gymnasium_sync(lambda: FrameStackObservation(ResizeObservation(GrayscaleObservation(make()), (84, 84)), 4))


def torchrl_atari(size: int) -> Sample:
    from peers.torchrl_transforms import stacked_frames

    return rollout_rate(stacked_frames(ATARI.make, ENVS), ATARI, size // 4)


def envkit_vecnorm(size: int) -> Sample:
    from envkit import VecNorm

    steps = max(1, size // ENVS // CHUNKS)
    plain, normed = batch(numbers), batch(numbers, VecNorm(in_keys=["observation"]))

    def rollout(env: Any) -> None:
        env.rollout(steps, break_when_any_done=False)

    return added(partial(rollout, normed), partial(rollout, plain), steps)


def gymnasium_vecnorm(size: int) -> Sample:
    from gymnasium.wrappers.vector import NormalizeObservation

    actions = CHAIN.actions(size // CHUNKS)
    plain, normed = gymnasium_sync(numbers), NormalizeObservation(gymnasium_sync(numbers))
    for env in (plain, normed):
        env.reset()
    return added(stepped(normed, actions), stepped(plain, actions), len(actions))


CASES = {
    "transforms_chain": Case(
        unit="steps/s",
        size=CHAIN.size,
        ours={"envkit": envkit_chain},
        peers={
            "stable-baselines3": partial(vector_rate, baselines_chain, CHAIN, record=True),
            "gymnasium": partial(vector_rate, gymnasium_chain, CHAIN, record=True),
            "torchrl": torchrl_chain,
        },
        targets={"stable-baselines3": 1, "gymnasium": 1, "torchrl": 25},
    ),
    "transforms_atari": Case(
        unit="steps/s",
        size=ATARI.size,
        ours={"envkit": envkit_atari},
        peers={
            "stable-baselines3": partial(vector_rate, baselines_atari, ATARI, record=True),
            "gymnasium": partial(vector_rate, gymnasium_atari, ATARI, record=True),
            "torchrl": torchrl_atari,
        },
        targets={"stable-baselines3": 1.3, "gymnasium": 8, "torchrl": 8},
    ),
    "transforms_vecnorm": Case(
        unit="us",
        size=160_000,
        ours={"envkit": envkit_vecnorm},
        peers={"gymnasium": gymnasium_vecnorm},
        targets={"gymnasium": 1.2},
        lower_is_better=True,
    ),
}
