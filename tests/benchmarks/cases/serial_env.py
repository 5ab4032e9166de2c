"""Eight CartPoles in one process, random actions: env steps per second.

`serial_cartpole` records. Same work: `size` env steps over many episodes, each leaving observation, reward, terminated
and truncated in memory, with a reset where an episode ends. Ours and torchrl's are `rollout`s, whose actions are drawn
and whose memory is taken inside the clock, and which keep both ends of every step, the last observation of an episode
and the first of the next; the peers' loops write what `step` returned into arrays they have, once, over actions they
have. Gymnasium's and PufferLib's vectors reset in place of the step after an episode's end, and that reset is counted
as a step (about one in 23); SB3's hides last observations in its infos, where they stay.

`serial_cartpole_step` steps by hand and keeps nothing: our public `step_and_maybe_reset`, which hands out TensorDicts,
beside the peers' `step`, which hands out arrays that it overwrites (SB3's are copies).
"""

from functools import partial

from measure import Case, Sample
from peers import vector_envs
from vector_loops import ENVS, Work, cartpole, hand_rate, rollout_rate, vector_rate

WORK = Work(cartpole, size=200_000)
VECTORS = {
    "gymnasium": vector_envs.gymnasium_sync,
    "pufferlib": vector_envs.pufferlib_serial,
    "stable-baselines3": vector_envs.baselines_dummy,
}


def envkit(record: bool, size: int) -> Sample:
    from envkit import GymEnv, SerialEnv

    env = SerialEnv(ENVS, lambda: GymEnv("CartPole-v1"))
    return rollout_rate(env, WORK, size) if record else hand_rate(env, size)


def torchrl(size: int) -> Sample:
    from torchrl.envs import GymEnv, SerialEnv

    env = SerialEnv(ENVS, lambda: GymEnv("CartPole-v1", categorical_action_encoding=True))
    return rollout_rate(env, WORK, size // 20)


def vectors(record: bool) -> dict:
    return {name: partial(vector_rate, build, WORK, record=record) for name, build in VECTORS.items()}


CASES = {
    "serial_cartpole": Case(
        unit="steps/s",
        size=WORK.size,
        ours={"envkit": partial(envkit, True)},
        peers={**vectors(record=True), "torchrl": torchrl},
        targets={"gymnasium": 1, "pufferlib": 1, "torchrl": 15},
    ),
    "serial_cartpole_step": Case(
        unit="steps/s", size=WORK.size, ours={"envkit": partial(envkit, False)}, peers=vectors(record=False)
    ),
}
