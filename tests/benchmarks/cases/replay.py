"""Replay buffers: transitions written and batches read per second, and the bytes of one with images.

Transitions have an observation of 17 floats and the next one, an action of 6, a reward and two flags. Buffers hold a
million, all of them written. Everybody stores the same numbers and returns copies of them in torch tensors.

`replay_extend1`, `replay_extend64`: so many at a time, as TensorDicts of tensors to torchrl, as numpy arrays to the
others, ours by nested mappings of those; `envkit, TensorDict` is ours with TensorDicts. `limit: numpy` writes rows into
arrays, one for each entry, and does nothing else. `replay_sample256` reads batches of 256, drawn uniformly.
`replay_per256` reads 256 by priority, with their weights, and gives them new priorities.

`replay_frames` counts the bytes of resident memory that 20,000 steps add (with `--quick` fewer), per step, whose
observations are stacks of four images of 84 x 84 bytes, in episodes of 1,000: 7,056 bytes would hold one image.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from measure import Case, Sample, rate

CAPACITY = 1_000_000
OBSERVATION, ACTION = 17, 6
FRAME, STACK, EPISODE = (84, 84), 4, 1_000
KEYS = ("observation", "action", "next_observation", "reward", "terminated", "truncated")


def arrays(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    observation, following = rng.random((2, count, OBSERVATION), np.float32)
    return {
        "observation": observation,
        "action": rng.random((count, ACTION), np.float32),
        "next_observation": following,
        "reward": rng.random((count, 1), np.float32),
        "terminated": np.zeros((count, 1), bool),
        "truncated": np.zeros((count, 1), bool),
    }


def nested(count: int) -> dict[str, Any]:
    given = arrays(count)
    following = {"observation": given["next_observation"]}
    following |= {name: given[name] for name in ("reward", "terminated", "truncated")}
    return {"observation": given["observation"], "action": given["action"], "next": following}


def tensordict(count: int) -> Any:
    import torch
    from tensordict import TensorDict

    return TensorDict(nested(count), [count]).apply(torch.as_tensor)


def repeated(work: Callable[[], object], count: int, per_call: int = 1) -> Sample:
    """Calls of `work` a second, times `per_call`."""

    def loop(calls: int) -> None:
        for _ in range(calls):
            work()

    loop(max(50, count // 20))
    return rate(lambda: loop(count), count * per_call)


# -------------------------------------------------------------------- ours


def envkit_buffer(kind: str = "ReplayBuffer", **options: Any) -> Any:
    import agents

    buffer = getattr(agents, kind)(agents.LazyTensorStorage(CAPACITY), batch_size=256, **options)
    part = tensordict(CAPACITY // 10)
    for _ in range(10):
        buffer.extend(part)
    return buffer


def envkit_extend(rows: int, given: Callable[[int], Any] = nested) -> Callable[[int], Sample]:
    def measured(size: int) -> Sample:
        buffer, data = envkit_buffer(), given(rows)
        return repeated(lambda: buffer.extend(data), size, rows)

    return measured


def envkit_sample(size: int) -> Sample:
    return repeated(envkit_buffer().sample, size)


def envkit_per(size: int) -> Sample:
    import torch

    buffer = envkit_buffer("TensorDictPrioritizedReplayBuffer", alpha=0.6, beta=0.4)
    buffer.update_priority(torch.arange(CAPACITY), torch.rand(CAPACITY))
    errors = torch.rand(256)

    def work() -> None:
        buffer.update_priority(buffer.sample()["index"], errors)

    return repeated(work, size)


# ------------------------------------------------------------------- peers


def numpy_arrays() -> dict[str, np.ndarray]:
    held = {name: np.empty((CAPACITY, *value.shape[1:]), value.dtype) for name, value in arrays(1).items()}
    for column in held.values():
        column[:] = 1
    return held


def numpy_extend(rows: int) -> Callable[[int], Sample]:
    def measured(size: int) -> Sample:
        held, data = numpy_arrays(), arrays(rows)
        place = 0

        def work() -> None:
            nonlocal place
            stop = place + rows
            for name, column in held.items():
                column[place:stop] = data[name]
            place = stop if stop + rows <= CAPACITY else 0

        return repeated(work, size, rows)

    return measured


def cleanrl_sample(size: int) -> Sample:
    """One array for each entry, a fancy index each, and from_numpy, as single-file scripts do."""
    import torch

    held, rng = numpy_arrays(), np.random.default_rng(0)

    def work() -> list[Any]:
        index = rng.integers(0, CAPACITY, 256)
        return [torch.from_numpy(column[index]) for column in held.values()]

    return repeated(work, size)


def baselines_buffer(envs: int = 1) -> Any:
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer

    spaces = [Box(-1, 1, (width,), np.float32) for width in (OBSERVATION, ACTION)]
    buffer = ReplayBuffer(CAPACITY, *spaces, device="cpu", n_envs=envs)
    for column in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards, buffer.dones):
        column[:] = 1
    buffer.full = True
    return buffer


def baselines_extend(rows: int) -> Callable[[int], Sample]:
    def measured(size: int) -> Sample:
        buffer, data = baselines_buffer(rows), arrays(rows)
        infos: list[dict] = [{} for _ in range(rows)]
        values = (data["observation"], data["next_observation"], data["action"])
        reward, done = data["reward"][:, 0], data["terminated"][:, 0]
        return repeated(lambda: buffer.add(*values, reward, done, infos), size, rows)

    return measured


def baselines_sample(size: int) -> Sample:
    buffer = baselines_buffer()
    return repeated(lambda: buffer.sample(256), size)


def tianshou_buffer(kind: str = "ReplayBuffer", **options: Any) -> tuple[Any, Any]:
    """A full buffer, and the transition in it."""
    from tianshou import data as tianshou

    one = {name: value[0] for name, value in arrays(1).items()}
    flags = {"terminated": False, "truncated": False}
    step = tianshou.Batch(
        obs=one["observation"], act=one["action"], rew=0.5, obs_next=one["next_observation"], info={}, **flags
    )
    buffer = getattr(tianshou, kind)(CAPACITY, **options)
    buffer.add(step)
    for name in ("obs", "act", "obs_next"):
        buffer._meta[name][:] = 1
    buffer._size = CAPACITY
    return buffer, step


def tianshou_extend(rows: int) -> Callable[[int], Sample]:
    def measured(size: int) -> Sample:
        buffer, step = tianshou_buffer()

        def work() -> None:
            for _ in range(rows):  # it takes one step at a time for each of its sub-buffers
                buffer.add(step)

        return repeated(work, max(1, size // rows), rows)

    return measured


def tianshou_sample(size: int) -> Sample:
    buffer, _ = tianshou_buffer()

    def work() -> None:
        tianshou_torch(buffer.sample(256)[0])

    return repeated(work, size)


def tianshou_per(size: int) -> Sample:
    buffer, _ = tianshou_buffer("PrioritizedReplayBuffer", alpha=0.6, beta=0.4)
    buffer.update_weight(np.arange(CAPACITY), np.random.default_rng(0).random(CAPACITY))
    errors = np.random.default_rng(1).random(256)

    def work() -> None:
        batch, index = buffer.sample(256)
        tianshou_torch(batch)
        buffer.update_weight(index, errors)

    return repeated(work, size)


def tianshou_torch(batch: Any) -> list[Any]:
    import torch

    return [torch.from_numpy(batch[name]) for name in ("obs", "act", "rew", "obs_next", "terminated", "truncated")]


def torchrl_buffer(kind: str = "TensorDictReplayBuffer", **options: Any) -> Any:
    from torchrl import data as torchrl

    buffer = getattr(torchrl, kind)(storage=torchrl.LazyTensorStorage(CAPACITY), batch_size=256, **options)
    part = tensordict(CAPACITY // 10)
    for _ in range(10):
        buffer.extend(part)
    return buffer


def torchrl_extend(rows: int) -> Callable[[int], Sample]:
    def measured(size: int) -> Sample:
        buffer, data = torchrl_buffer(), tensordict(rows)
        return repeated(lambda: buffer.extend(data), max(1, size // 20), rows)

    return measured


def torchrl_sample(size: int) -> Sample:
    return repeated(torchrl_buffer().sample, size)


def torchrl_per(size: int) -> Sample:
    import torch

    buffer = torchrl_buffer("TensorDictPrioritizedReplayBuffer", alpha=0.6, beta=0.4)
    errors = torch.rand(256)

    def work() -> None:
        buffer.update_priority(buffer.sample()["index"], errors)

    return repeated(work, size)


# ------------------------------------------------------------------- images


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def film(steps: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Stacks of noise, [4, 84, 84]: an observation, the next one, and whether the episode ends."""
    rng = np.random.default_rng(0)
    stack = np.zeros((STACK, *FRAME), np.uint8)
    for step in range(steps):
        if step % EPISODE == 0:
            stack = np.repeat(rng.integers(0, 256, (1, *FRAME), np.uint8), STACK, 0)
        following = np.concatenate([stack[1:], rng.integers(0, 256, (1, *FRAME), np.uint8)])
        yield stack, following, step % EPISODE == EPISODE - 1
        stack = following


def bytes_a_step(make: Callable[[int], Callable[..., object]], size: int) -> Sample:
    """Of the buffer for `size` steps whose `write` is made by `make`."""
    write = make(100)
    for step in film(300):  # what libraries load at their first calls is no part of the data
        write(*step)
    before = resident()
    write = make(size)
    for step in film(size):
        write(*step)
    return Sample((resident() - before) / size)


def written_as_tensordict(buffer: Any, stack: np.ndarray, following: np.ndarray, done: bool) -> None:
    import torch
    from tensordict import TensorDict

    after = {"pixels": torch.from_numpy(following), "done": torch.tensor([done]), "reward": torch.zeros(1)}
    buffer.add(TensorDict({"pixels": torch.from_numpy(stack), "action": torch.tensor(0), "next": after}))


def envkit_frames(size: int) -> Callable[..., object]:
    from agents import FrameStackStorage, ReplayBuffer

    return partial(written_as_tensordict, ReplayBuffer(FrameStackStorage(size)))


def baselines_frames(size: int) -> Callable[..., object]:
    """Its thriftier way, which keeps next observations where the step after has its own."""
    from gymnasium.spaces import Box, Discrete
    from stable_baselines3.common.buffers import ReplayBuffer

    space = Box(0, 255, (STACK, *FRAME), np.uint8)
    buffer = ReplayBuffer(
        size, space, Discrete(4), device="cpu", optimize_memory_usage=True, handle_timeout_termination=False
    )
    action, reward = np.zeros((1, 1)), np.zeros(1)
    return lambda stack, following, done: buffer.add(
        stack[None], following[None], action, reward, np.array([done]), [{}]
    )


def tianshou_frames(size: int) -> Callable[..., object]:
    """It keeps the last frame of each observation, and none of the last ones of episodes."""
    from tianshou.data import Batch, ReplayBuffer

    buffer = ReplayBuffer(size, stack_num=STACK, ignore_obs_next=True, save_only_last_obs=True)
    return lambda stack, following, done: buffer.add(
        Batch(obs=stack, act=0, rew=0.0, terminated=done, truncated=False, obs_next=following, info={})
    )


def torchrl_frames(size: int) -> Callable[..., object]:
    from torchrl.data import LazyTensorStorage, ReplayBuffer

    return partial(written_as_tensordict, ReplayBuffer(storage=LazyTensorStorage(size)))


def extending(rows: int, size: int) -> Case:
    return Case(
        unit="transitions/s",
        size=size,
        ours={"envkit": envkit_extend(rows), "envkit, TensorDict": envkit_extend(rows, tensordict)},
        peers={
            "limit: numpy": numpy_extend(rows),
            "stable-baselines3": baselines_extend(rows),
            "tianshou": tianshou_extend(rows),
            "torchrl": torchrl_extend(rows),
        },
        targets={"limit: numpy": 0.5, "torchrl": 30},
    )


CASES = {
    "replay_extend1": extending(1, 200_000),
    "replay_extend64": extending(64, 100_000),
    "replay_sample256": Case(
        unit="batches/s",
        size=20_000,
        ours={"envkit": envkit_sample},
        peers={
            "tianshou": tianshou_sample,
            "cleanrl style": cleanrl_sample,
            "stable-baselines3": baselines_sample,
            "torchrl": torchrl_sample,
        },
        targets={"tianshou": 4, "cleanrl style": 4, "stable-baselines3": 4, "torchrl": 4},
    ),
    "replay_per256": Case(
        unit="batches/s",
        size=10_000,
        ours={"envkit": envkit_per},
        peers={"tianshou": tianshou_per, "torchrl": torchrl_per},
        targets={"tianshou": 1.2},
    ),
    "replay_frames": Case(
        unit="bytes a step",
        size=20_000,
        ours={"envkit": partial(bytes_a_step, envkit_frames)},
        peers={
            "tianshou": partial(bytes_a_step, tianshou_frames),
            "stable-baselines3": partial(bytes_a_step, baselines_frames),
            "torchrl": partial(bytes_a_step, torchrl_frames),
        },
        limit=1.05 * FRAME[0] * FRAME[1] * (1 + 1 / EPISODE),
        lower_is_better=True,
    ),
}
