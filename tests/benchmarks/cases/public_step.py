"""The loop a user writes by hand on one CartPole, through `reset`, `step` and `step_mdp`: steps per second.

Same work: `size` environment steps with actions sampled beforehand and a reset where an episode ends. Our
loop and torchrl's carry a TensorDict per step; the raw Gymnasium loop is that of the rollout case, and so
records everything besides. The variant with `rand_action` samples inside the loop.
"""

from cases.rollout import gymnasium_loop
from measure import Case, Sample, rate


def envkit(size: int) -> Sample:
    from envkit import GymEnv, step_mdp

    return loop_rate(GymEnv("CartPole-v1"), step_mdp, size)


def envkit_rand_action(size: int) -> Sample:
    from envkit import GymEnv, step_mdp

    return loop_rate(GymEnv("CartPole-v1"), step_mdp, size, hand_action=False)


def torchrl(size: int) -> Sample:
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import step_mdp

    return loop_rate(GymEnv("CartPole-v1", categorical_action_encoding=True), step_mdp, size // 20)


def loop_rate(env, step_mdp, size: int, hand_action: bool = True) -> Sample:
    env.set_seed(0)
    loop = hand_loop if hand_action else rand_action_loop
    warm_up, actions = (env.action_spec.rand((n,)).unbind(0) for n in (max(100, size // 20), size))
    loop(env, step_mdp, warm_up)
    return rate(lambda: loop(env, step_mdp, actions), size)


def hand_loop(env, step_mdp, actions) -> None:
    td = env.reset()
    for action in actions:
        td["action"] = action
        td = env.step(td)
        td = step_mdp(td)
        if td["done"]:
            td = env.reset()


def rand_action_loop(env, step_mdp, actions) -> None:
    td = env.reset()
    for _ in actions:
        td = env.rand_action(td)
        td = env.step(td)
        td = step_mdp(td)
        if td["done"]:
            td = env.reset()


CASES = {
    "public_step": Case(
        unit="steps/s",
        size=50_000,
        ours={"envkit": envkit, "envkit rand_action": envkit_rand_action},
        peers={"gymnasium loop": gymnasium_loop, "torchrl": torchrl},
        targets={"gymnasium loop": 0.4},
    )
}
