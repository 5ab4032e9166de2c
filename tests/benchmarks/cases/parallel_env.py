"""Eight envs over processes, random actions: env steps per second of CartPole, HalfCheetah-v5, and frames.

`parallel_*` records, in the way of the case `serial_cartpole` (see there): ours and torchrl's by `rollout`, the peers'
into arrays of `rows` steps, which are overwritten again and again. `parallel_*_step` steps by hand and keeps nothing,
as `serial_cartpole_step` does. No step begins before all eight envs are through with the one before.

The frames are 210 x 160 x 3 bytes of an env that does nothing else. Ours has two workers with four envs each, torchrl's
as well, by a serial env in each (quicker than eight workers); Gymnasium and SB3 know only a process for each env;
PufferLib has its best number of workers. `ref: envpool` has simulators of its own in C++, and threads. `limit: two
processes` steps bare simulators, half of them in each process, with no caller to wait for; observations are all that it
writes.

The remark is the CPU time that all processes took together for a step of one env. On a machine that has other things to
do it says more than the rates: `limit:` takes what the simulator takes. Of peers that spin it counts the spinning.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from measure import Case, Sample, family_time
from peers import vector_envs
from peers.two_processes import two_processes
from vector_loops import ENVS, Work, cartpole, frames, hand_rate, rollout_rate, vector_rate

WORKERS = 2


def cheetah() -> Any:
    import gymnasium

    return gymnasium.make("HalfCheetah-v5", disable_env_checker=True)


WORKS = {
    "cartpole": Work(cartpole, size=160_000),
    "cheetah": Work(cheetah, size=80_000),
    "pixels": Work(frames, size=40_000, rows=32),
}
ENVPOOL_IDS = {"cartpole": "CartPole-v1", "cheetah": "HalfCheetah-v5"}
VECTORS = {  # and which part of the work they do: a process for each env is slow
    "pufferlib": (vector_envs.pufferlib_parallel, 1),
    "gymnasium": (vector_envs.gymnasium_async, 4),
    "stable-baselines3": (vector_envs.baselines_subproc, 4),
}
PYTHON_PEERS = (*VECTORS, "torchrl")
TARGETS = {
    "cartpole": {"pufferlib": 1.2, "gymnasium": 5},
    "cheetah": {**dict.fromkeys(PYTHON_PEERS, 2), "limit: two processes": 0.75},
    "pixels": dict.fromkeys(PYTHON_PEERS, 1.5),
}


def envkit(work: Work, record: bool, size: int) -> Sample:
    from envkit import GymWrapper, ParallelEnv

    env = ParallelEnv(WORKERS, lambda: GymWrapper(work.make()), num_envs=ENVS)
    return told(rollout_rate(env, work, size, family_time) if record else hand_rate(env, size, family_time))


def torchrl(work: Work, size: int) -> Sample:
    from torchrl.envs import GymWrapper, ParallelEnv, SerialEnv

    def some() -> Any:
        return SerialEnv(ENVS // WORKERS, lambda: GymWrapper(work.make(), categorical_action_encoding=True))

    return told(rollout_rate(ParallelEnv(WORKERS, some, mp_start_method="fork"), work, size // 20, family_time))


def vector(build: Any, work: Work, record: bool, part: int, size: int) -> Sample:
    return told(vector_rate(build, work, size // part, record, family_time))


def limit(work: Work, record: bool, size: int) -> Sample:
    return told(two_processes(work, size, record))


def told(sample: Sample) -> Sample:
    """With the CPU time in words: rates are compared by the wall clock."""
    return replace(sample, cpu_value=None, note=f"cpu {1e6 / sample.cpu_value:.1f} us")


def case(name: str, record: bool) -> Case:
    work = WORKS[name]
    vectors = dict(VECTORS)
    if name in ENVPOOL_IDS:
        vectors["ref: envpool"] = (partial(vector_envs.envpool, ENVPOOL_IDS[name]), 1)
    peers: dict = {peer: partial(vector, build, work, record, part) for peer, (build, part) in vectors.items()}
    if record:
        peers["torchrl"] = partial(torchrl, work)
    return Case(
        unit="steps/s",
        size=work.size,
        ours={"envkit": partial(envkit, work, record)},
        peers={**peers, "limit: two processes": partial(limit, work, record)},
        targets=TARGETS[name] if record else {},
    )


CASES = {f"parallel_{name}": case(name, record=True) for name in WORKS} | {
    f"parallel_{name}_step": case(name, record=False) for name in WORKS
}
