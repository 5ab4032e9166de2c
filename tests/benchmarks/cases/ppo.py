"""PPO from end to end, collecting and updating: environment steps per second.

`ppo_cartpole`: eight CartPoles. `ppo_cheetah`: one HalfCheetah-v5 with continuous actions, 2,048 steps an iteration and
320 updates on 64 of them. Same work: the hyper-parameters below, separate actor and critic, no annealing, nothing
normalised, the returns of recent episodes kept. Whole iterations are clocked; imports, set-up and the first iterations
(JAX compiles there) are left out. The note gives the mean return of the last 100 finished episodes, to show that each
one learns while it is fast.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from measure import Case, Sample, rate


@dataclass(frozen=True)
class Setting:
    """The hyper-parameters that all implementations share."""

    env: str = "CartPole-v1"
    num_envs: int = 8
    steps_per_env: int = 128
    epochs: int = 4
    num_minibatches: int = 4
    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    critic: float = 0.5
    max_grad_norm: float = 0.5
    hidden: tuple[int, int] = (64, 64)

    @property
    def batch(self) -> int:
        return self.num_envs * self.steps_per_env


SETTING = Setting()
CHEETAH = Setting(
    env="HalfCheetah-v5",
    num_envs=1,
    steps_per_env=2048,
    epochs=10,
    num_minibatches=32,
    learning_rate=3e-4,
    entropy=0.0,
)
WARM_UP = 2  # iterations


def envkit(size: int, s: Setting = SETTING) -> Sample:
    import torch

    from agents import PPO, PPOConfig
    from envkit import DoubleToFloat, GymEnv, SerialEnv, TransformedEnv

    config = PPOConfig(
        steps_per_env=s.steps_per_env,
        num_minibatches=s.num_minibatches,
        epochs=s.epochs,
        gamma=s.gamma,
        gae_lambda=s.gae_lambda,
        lr=s.learning_rate,
        anneal_lr=False,
        clip_epsilon=s.clip,
        entropy_coef=s.entropy,
        critic_coef=s.critic,
        max_grad_norm=s.max_grad_norm,
        hidden_sizes=s.hidden,
    )
    env = SerialEnv(s.num_envs, lambda: GymEnv(s.env))
    if env.observation_spec["observation"].dtype == torch.float64:
        env = TransformedEnv(env, DoubleToFloat())
    agent = PPO(env, config, seed=0)
    marks: list[tuple[float, float, float]] = []
    returns: list[float] = []

    def mark(metrics: dict[str, float]) -> None:
        marks.append((metrics["steps"], time.perf_counter(), time.process_time()))
        returns.append(metrics["return_mean"])

    agent.train(max_steps=WARM_UP * s.batch + size, callback=mark)
    (steps, wall, cpu), last = marks[WARM_UP - 1], marks[-1]
    steps = last[0] - steps
    return Sample(steps / (last[1] - wall), steps / (last[2] - cpu), f"return {returns[-1]:.0f}")


def stable_baselines3(size: int, s: Setting = SETTING) -> Sample:
    from stable_baselines3 import PPO

    return baselines_rate(PPO, size, s, device="cpu")


def sbx(size: int, s: Setting = SETTING) -> Sample:
    from sbx import PPO

    return baselines_rate(PPO, size, s)


def baselines_rate(algorithm, size: int, s: Setting, **options) -> Sample:
    from stable_baselines3.common.env_util import make_vec_env

    model = algorithm(
        "MlpPolicy",
        make_vec_env(s.env, n_envs=s.num_envs, seed=0),
        n_steps=s.steps_per_env,
        batch_size=s.batch // s.num_minibatches,
        n_epochs=s.epochs,
        learning_rate=s.learning_rate,
        gamma=s.gamma,
        gae_lambda=s.gae_lambda,
        clip_range=s.clip,
        ent_coef=s.entropy,
        vf_coef=s.critic,
        max_grad_norm=s.max_grad_norm,
        policy_kwargs={"net_arch": list(s.hidden)},
        seed=0,
        **options,
    )
    model.learn(WARM_UP * s.batch)
    steps = size // s.batch * s.batch
    sample = rate(lambda: model.learn(steps, reset_num_timesteps=False), steps)
    episodes = model.ep_info_buffer
    return Sample(sample.value, sample.cpu_value, f"return {sum(e['r'] for e in episodes) / len(episodes):.0f}")


def cleanrl_style(size: int, s: Setting = SETTING) -> Sample:
    from peers.cleanrl_style import SingleFilePPO

    return iterations_rate(SingleFilePPO(s), size)


def torchrl(size: int) -> Sample:
    from peers.torchrl_ppo import TorchRLPPO

    return iterations_rate(TorchRLPPO(SETTING), size // 3)


def iterations_rate(learner, size: int) -> Sample:
    learner.train(WARM_UP)
    batch = learner.setting.batch
    iterations = max(1, size // batch)
    sample = rate(lambda: learner.train(iterations), iterations * batch)
    recent = learner.returns[-100:]
    return Sample(sample.value, sample.cpu_value, f"return {sum(recent) / len(recent):.0f}")


CASES = {
    "ppo_cartpole": Case(
        unit="steps/s",
        size=81_920,
        ours={"envkit": envkit},
        peers={
            "stable-baselines3": stable_baselines3,
            "sbx": sbx,
            "cleanrl style": cleanrl_style,
            "torchrl": torchrl,
        },
        targets={"stable-baselines3": 1.7, "sbx": 1.7, "cleanrl style": 1.7},
    ),
    "ppo_cheetah": Case(
        unit="steps/s",
        size=20_480,
        ours={"envkit": partial(envkit, s=CHEETAH)},
        peers={
            "stable-baselines3": partial(stable_baselines3, s=CHEETAH),
            "sbx": partial(sbx, s=CHEETAH),
            "cleanrl style": partial(cleanrl_style, s=CHEETAH),
        },
        targets={"stable-baselines3": 1.3, "sbx": 1.3, "cleanrl style": 1.3},
    ),
}
