"""VMAS's balance, 256 envs of five agents on the CPU, random actions: env steps per second.

Same work: `size` steps of 256 envs from a reset of all, without gradients. Actions are drawn in one go; envs whose
episode has ended are reset one by one, and what all of them then observe is asked for once, as VMAS does it fastest.
Ours and torchrl's are `rollout`s, which record everything; the raw loop keeps nothing.
"""

from collections.abc import Callable
from functools import partial

from measure import Case, Sample, rate

ENVS, AGENTS = 256, 5
SETTING = {"num_envs": ENVS, "n_agents": AGENTS, "seed": 0}


def measured(work: Callable[[int], object], size: int) -> Sample:
    """Env steps per second, after a warm-up."""
    work(max(5, size // 5))
    return rate(partial(work, size), size * ENVS)


def envkit(size: int) -> Sample:
    from envkit.libs.vmas import VmasEnv

    env = VmasEnv("balance", **SETTING)
    return measured(lambda steps: env.rollout(steps, break_when_any_done=False), size)


def raw(size: int) -> Sample:
    import torch
    import vmas

    env = vmas.make_env("balance", **SETTING)

    def loop(steps: int) -> None:
        env.reset()
        actions = torch.rand(steps, AGENTS, ENVS, 2).mul_(2).sub_(1)
        for action in actions:
            _, _, done, _ = env.step(list(action.unbind(0)))
            if done.any():
                for index in done.nonzero().flatten().tolist():
                    env.reset_at(index, return_observations=False)
                env.get_from_scenario(get_observations=True, get_rewards=False, get_infos=False, get_dones=False)

    with torch.no_grad():
        return measured(loop, size)


def torchrl(size: int) -> Sample:
    from torchrl.envs.libs.vmas import VmasEnv

    env = VmasEnv("balance", **SETTING)
    return measured(lambda steps: env.rollout(steps, break_when_any_done=False), size)


CASES = {
    "vmas_balance": Case(
        unit="steps/s",
        size=150,
        ours={"envkit": envkit},
        peers={"raw vmas": raw, "torchrl": torchrl},
        targets={"raw vmas": 0.95, "torchrl": 1},
    )
}
