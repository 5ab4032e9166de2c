"""One CartPole, random actions, everything recorded: steps per second.

Same work: `size` environment steps over many episodes, each leaving observation, action, reward, next
observation, terminated and truncated in memory, with a reset where an episode ends. The raw Gymnasium loop
is the hardest honest baseline: it samples its actions and allocates its arrays before the clock starts,
while ours and torchrl's do both inside.
"""

from collections.abc import Callable

from measure import Case, Sample, rate


def envkit(size: int) -> Sample:
    from envkit import GymEnv

    return rollout_rate(GymEnv("CartPole-v1"), size)


def torchrl(size: int) -> Sample:
    from torchrl.envs import GymEnv

    return rollout_rate(GymEnv("CartPole-v1", categorical_action_encoding=True), size // 20)


def rollout_rate(env, size: int) -> Sample:
    env.set_seed(0)
    env.rollout(max(100, size // 20), break_when_any_done=False)
    return rate(lambda: env.rollout(size, break_when_any_done=False), size)


def gymnasium_loop(size: int) -> Sample:
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    recorded_loop(env, max(100, size // 20))()
    return rate(recorded_loop(env, size), size)


def recorded_loop(env, size: int) -> Callable[[], None]:
    """The loop by hand, over actions sampled and arrays allocated here, before it is called."""
    import numpy as np

    actions = np.random.default_rng(0).integers(0, 2, size)
    observations, next_observations = np.zeros((2, size, 4), np.float32)
    rewards = np.zeros(size, np.float32)
    terminated, truncated = np.zeros((2, size), bool)

    def loop() -> None:
        observation, _ = env.reset()
        for i, action in enumerate(actions):
            observations[i] = observation
            observation, reward, ended, cut, _ = env.step(action)
            next_observations[i] = observation
            rewards[i] = reward
            terminated[i] = ended
            truncated[i] = cut
            if ended or cut:
                observation, _ = env.reset()

    return loop


CASES = {
    "rollout": Case(
        unit="steps/s",
        size=100_000,
        ours={"envkit": envkit},
        peers={"gymnasium loop": gymnasium_loop, "torchrl": torchrl},
        targets={"gymnasium loop": 0.85, "torchrl": 20},
    )
}
