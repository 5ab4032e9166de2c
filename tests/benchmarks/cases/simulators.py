"""Other simulators, random actions, everything recorded: steps per second beside a loop over the simulator itself.

`ale`: one Atari game, raw frames. `envpool_*`: a pool of 8 envs in one thread, counted by steps of an env: an Atari
game, and CartPole, whose steps cost next to nothing. Same work: `size` steps, each leaving observation, action, reward,
next observation, terminated and truncated in memory, with a reset where an episode ends. The raw loops draw their
actions and allocate their arrays before the clock starts, ours draws and allocates inside. A pool starts episodes by
itself, by steps whose action is wasted: its loop leaves them in its arrays, and they are not counted.
"""

from collections.abc import Callable

from measure import Case, Sample, rate

GAME = "ALE/Pong-v5"
ENVS = 8


def ale(size: int) -> Sample:
    from envkit import GymEnv

    import_ale()
    return rollout_rate(GymEnv(GAME, max_episode_steps=200), size, size)


def ale_loop(size: int) -> Sample:
    import gymnasium
    import numpy as np

    import_ale()
    env = gymnasium.make(GAME, max_episode_steps=200)
    env.reset(seed=0)

    def recorded(count):
        actions = np.random.default_rng(0).integers(0, env.action_space.n, count)
        observations, following = np.zeros((2, count, *env.observation_space.shape), np.uint8)
        rewards = np.zeros(count, np.float32)
        terminated, truncated = np.zeros((2, count), bool)

        def loop():
            seen, _ = env.reset()
            for i, action in enumerate(actions):
                observations[i] = seen
                seen, rewards[i], ended, cut, _ = env.step(action)
                following[i] = seen
                terminated[i], truncated[i] = ended, cut
                if ended or cut:
                    seen, _ = env.reset()

        return loop

    recorded(100)()
    return rate(recorded(size), size)


def import_ale() -> None:
    """Makes the games known to Gymnasium."""
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)


def rollout_rate(env, size: int, count: int) -> Sample:
    env.set_seed(0)
    env.rollout(100, break_when_any_done=False)
    return rate(lambda: env.rollout(size, break_when_any_done=False), count)


def pool(size: int, game: str) -> Sample:
    from envkit import MultiThreadedEnv

    env = MultiThreadedEnv(ENVS, game, create_env_kwargs={"num_threads": 1})
    return rollout_rate(env, size // ENVS, size)


def pool_loop(size: int, game: str) -> Sample:
    import envpool
    import numpy as np

    env = envpool.make_gymnasium(game, num_envs=ENVS, num_threads=1, seed=0)

    def recorded(count):
        actions = np.random.default_rng(0).integers(0, env.action_space.n, (count, ENVS))
        space = env.observation_space
        observations, following = np.zeros((2, count, ENVS, *space.shape), space.dtype)
        rewards = np.zeros((count, ENVS), np.float32)
        terminated, truncated = np.zeros((2, count, ENVS), bool)

        def loop():
            seen, _ = env.reset()
            for i in range(count):
                observations[i] = seen
                seen, rewards[i], terminated[i], truncated[i], _ = env.step(actions[i])
                following[i] = seen

        return loop, terminated, truncated

    recorded(100)[0]()
    loop, terminated, truncated = recorded(size // ENVS)
    sample = rate(loop, size)
    useful = 1 - (terminated | truncated)[:-1].sum() / size
    return Sample(sample.value * useful, sample.cpu_value * useful)


def of_game(implementation: Callable[[int, str], Sample], game: str) -> Callable[[int], Sample]:
    """An implementation for one game."""
    return lambda size: implementation(size, game)


def envpool_case(game: str, size: int) -> Case:
    """Our pool and the raw one on one game."""
    return Case(
        unit="steps/s",
        size=size,
        ours={"envkit": of_game(pool, game)},
        peers={"raw loop": of_game(pool_loop, game)},
        targets={"raw loop": 0.85},
    )


CASES = {
    "ale": Case(
        unit="steps/s",
        size=3_000,
        ours={"envkit": ale},
        peers={"gymnasium loop": ale_loop},
        targets={"gymnasium loop": 0.85},
    ),
    "envpool_cartpole": envpool_case("CartPole-v1", 400_000),
    "envpool_pong": envpool_case("Pong-v5", 8_000),
}
