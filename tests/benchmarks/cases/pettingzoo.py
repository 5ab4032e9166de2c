"""simple_spread of MPE2, three agents at once, random actions, everything recorded: steps per second.

Same work: `size` steps of the env over many episodes of 25, each leaving the observation, action, reward, next
observation, termination and truncation of every agent in memory, with a reset where an episode ends. The raw loop
samples its actions and allocates its arrays before the clock starts, while ours and torchrl's do both inside.
"""

from collections.abc import Callable

from cases.rollout import rollout_rate
from measure import Case, Sample, rate


def envkit(size: int) -> Sample:
    from envkit.libs.pettingzoo import PettingZooEnv

    return rollout_rate(PettingZooEnv("simple_spread_v3", parallel=True), size)


def torchrl(size: int) -> Sample:
    from mpe2 import simple_spread_v3
    from torchrl.envs import PettingZooWrapper

    return rollout_rate(PettingZooWrapper(simple_spread_v3.parallel_env()), size // 4)


def raw_loop(size: int) -> Sample:
    from mpe2 import simple_spread_v3

    env = simple_spread_v3.parallel_env()
    env.reset(seed=0)
    recorded_loop(env, max(100, size // 20))()
    return rate(recorded_loop(env, size), size)


def recorded_loop(env, size: int) -> Callable[[], None]:
    """The loop by hand, over actions sampled and arrays allocated here, before it is called."""
    import numpy as np

    names = env.possible_agents
    (width,) = env.observation_space(names[0]).shape
    actions = np.random.default_rng(0).integers(0, env.action_space(names[0]).n, (size, len(names)))
    observations, next_observations = np.zeros((2, size, len(names), width), np.float32)
    rewards = np.zeros((size, len(names)), np.float32)
    terminated, truncated = np.zeros((2, size, len(names)), bool)

    def loop() -> None:
        seen, _ = env.reset()
        for t in range(size):
            for i, name in enumerate(names):
                observations[t, i] = seen[name]
            seen, gained, ended, cut, _ = env.step(dict(zip(names, actions[t], strict=True)))
            for i, name in enumerate(names):
                next_observations[t, i] = seen[name]
                rewards[t, i] = gained[name]
                terminated[t, i] = ended[name]
                truncated[t, i] = cut[name]
            if not env.agents:
                seen, _ = env.reset()

    return loop


CASES = {
    "pettingzoo": Case(
        unit="steps/s",
        size=10_000,
        ours={"envkit": envkit},
        peers={"pettingzoo raw loop": raw_loop, "torchrl": torchrl},
        targets={"pettingzoo raw loop": 0.8},
    )
}
