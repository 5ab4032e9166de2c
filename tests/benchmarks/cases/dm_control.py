"""One env of dm_control, random actions, everything recorded: steps per second.

Same work: `size` control steps over many episodes, each leaving observations, action, reward, next observations,
terminated and truncated in memory, with a reset where an episode ends. The raw loop draws its actions and allocates
its arrays before the clock starts, while ours and torchrl's do both inside. Episodes are cut to 100 steps, for resets
to have their part.
"""

from measure import Case, Sample, rate

STEPS_AN_EPISODE = 100


def time_limit(task: tuple[str, str]) -> float:
    """Seconds that so many control steps take."""
    return STEPS_AN_EPISODE * {"cartpole": 0.01, "cheetah": 0.01}[task[0]]


def envkit(size: int, task: tuple[str, str]) -> Sample:
    from envkit.libs.dm_control import DMControlEnv

    env = DMControlEnv(*task, time_limit=time_limit(task))
    env.set_seed(0)
    env.rollout(max(200, size // 20), break_when_any_done=False)
    return rate(lambda: env.rollout(size, break_when_any_done=False), size)


def torchrl(size: int, task: tuple[str, str]) -> Sample:
    from torchrl.envs import DMControlEnv

    size //= 4
    env = DMControlEnv(*task, time_limit=time_limit(task))
    env.set_seed(0)
    env.rollout(200, break_when_any_done=False)
    return rate(lambda: env.rollout(size, break_when_any_done=False), size)


def raw_loop(size: int, task: tuple[str, str]) -> Sample:
    import numpy as np
    from dm_control import suite

    env = suite.load(*task, task_kwargs={"random": 0, "time_limit": time_limit(task)})
    spec = env.action_spec()

    def recorded(count):
        actions = np.random.default_rng(0).uniform(spec.minimum, spec.maximum, (count, *spec.shape))
        shapes = {name: part.shape for name, part in env.observation_spec().items()}
        observations, following = ({name: np.zeros((count, *shape)) for name, shape in shapes.items()} for _ in "ab")
        rewards = np.zeros(count, np.float32)
        terminated, truncated = np.zeros((2, count), bool)

        def loop():
            seen = env.reset().observation
            for i in range(count):
                for name, value in seen.items():
                    observations[name][i] = value
                time_step = env.step(actions[i])
                seen = time_step.observation
                for name, value in seen.items():
                    following[name][i] = value
                rewards[i] = time_step.reward
                if time_step.last():
                    terminated[i] = time_step.discount == 0
                    truncated[i] = time_step.discount != 0
                    seen = env.reset().observation

        return loop

    recorded(max(200, size // 20))()
    return rate(recorded(size), size)


def case(*task: str, size: int) -> Case:
    def of(implementation):
        return lambda count: implementation(count, task)

    return Case(
        unit="steps/s",
        size=size,
        ours={"envkit": of(envkit)},
        peers={"raw loop": of(raw_loop), "torchrl": of(torchrl)},
        targets={"raw loop": 0.85},
    )


CASES = {
    "dmc_cartpole": case("cartpole", "swingup", size=20_000),
    "dmc_cheetah": case("cheetah", "run", size=10_000),
}
