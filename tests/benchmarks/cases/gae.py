"""Advantages and value targets of a recorded batch: million steps per second.

Same work: float32 rewards and values and the flags of T steps of N envs, one episode end in fifty steps, gamma 0.99
and lambda 0.95; out come advantages and targets. Each library gets the arrays as its own collection leaves them: time
first in numpy for stable-baselines3 (the loop of its buffer, called on a buffer that was filled beforehand), tensors
for the loop that CleanRL's scripts share, TensorDict-shaped tensors for torchrl (its loop and its vectorised form).
Ours reads ``[N, T, 1]`` tensors whose memory is laid out by time, as that of a collector is; in the variant by env
each env's steps lie together.
"""

from collections.abc import Callable

from measure import Case, Sample, rate

GAMMA, LAMBDA = 0.99, 0.95


def columns(steps: int, envs: int, seed: int = 0):
    """Reward, value, the last next value, and done, by time: ``[T, N]``."""
    import numpy as np

    random = np.random.default_rng(seed)
    reward, value = random.standard_normal((2, steps, envs), dtype=np.float32)
    return reward, value, random.standard_normal(envs, dtype=np.float32), random.random((steps, envs)) < 0.02


def measured(work: Callable[[], object], count: int, size: int) -> Sample:
    for _ in range(max(2, size // 10)):
        work()

    def repeated() -> None:
        for _ in range(size):
            work()

    sample = rate(repeated, size * count)
    return Sample(sample.value / 1e6, sample.cpu_value / 1e6)


def envkit_inputs(steps: int, envs: int, by_env: bool = False):
    """What :func:`agents.gae` reads; the values after the steps are an entry of their own."""
    import numpy as np
    import torch

    reward, value, last, done = columns(steps, envs)
    following = np.concatenate([value[1:], last[None]])
    arrays = (torch.from_numpy(array).unsqueeze(-1).transpose(0, 1) for array in (reward, value, following, done, done))
    return [array.contiguous() if by_env else array for array in arrays]


def envkit(steps: int, envs: int, size: int, by_env: bool = False) -> Sample:
    from agents import gae

    inputs = envkit_inputs(steps, envs, by_env)
    return measured(lambda: gae(*inputs, gamma=GAMMA, lmbda=LAMBDA), steps * envs, size)


def stable_baselines3(steps: int, envs: int, size: int) -> Sample:
    import numpy as np
    import torch
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import RolloutBuffer

    reward, value, last, done = columns(steps, envs)
    space = Box(-1, 1, (1,))
    buffer = RolloutBuffer(steps, space, space, "cpu", gamma=GAMMA, gae_lambda=LAMBDA, n_envs=envs)
    buffer.rewards, buffer.values = reward, value
    buffer.episode_starts = np.concatenate([np.zeros((1, envs)), done[:-1]]).astype(np.float32)
    after, over = torch.from_numpy(last), done[-1]
    return measured(lambda: buffer.compute_returns_and_advantage(after, over), steps * envs, size)


def cleanrl_style(steps: int, envs: int, size: int) -> Sample:
    import torch

    reward, value, last, done = (torch.from_numpy(array) for array in columns(steps, envs))
    going = 1.0 - done.float()

    def work() -> None:
        advantages, following, carried = torch.zeros_like(reward), last, 0.0
        for t in reversed(range(steps)):
            delta = reward[t] + GAMMA * following * going[t] - value[t]
            advantages[t] = carried = delta + GAMMA * LAMBDA * going[t] * carried
            following = value[t]
        advantages + value

    return measured(work, steps * envs, max(1, size // 4))


def torchrl(steps: int, envs: int, size: int, vectorised: bool = False) -> Sample:
    from torchrl.objectives.value import functional

    function = "vec_generalized_advantage_estimate" if vectorised else "generalized_advantage_estimate"
    estimate = getattr(functional, function)
    inputs = [array.contiguous() for array in envkit_inputs(steps, envs)]
    reward, value, following, done, terminated = inputs
    return measured(
        lambda: estimate(GAMMA, LAMBDA, value, following, reward, done, terminated), steps * envs, max(1, size // 8)
    )


def case(steps: int, envs: int, size: int, target: float) -> Case:
    """One shape of a batch."""

    def sized(function: Callable[..., Sample], **options: bool) -> Callable[[int], Sample]:
        return lambda size: function(steps, envs, size, **options)

    return Case(
        unit="M steps/s",
        size=size,
        ours={"envkit": sized(envkit), "envkit by env": sized(envkit, by_env=True)},
        peers={
            "stable-baselines3": sized(stable_baselines3),
            "cleanrl style": sized(cleanrl_style),
            "torchrl loop": sized(torchrl),
            "torchrl": sized(torchrl, vectorised=True),
        },
        targets={"stable-baselines3": target},
    )


CASES = {"gae_2048x64": case(2048, 64, 200, 2.0), "gae_128x4096": case(128, 4096, 100, 1.0)}
