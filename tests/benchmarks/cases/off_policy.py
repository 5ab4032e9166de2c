"""Agents with replay from end to end: env steps per second, once updates have begun.

`dqn_cartpole`: two layers of 120 and 84, a batch of 128 every 10 steps, a hard copy of the target every 500, as
CleanRL's script has it. `sac_cheetah`, `td3_cheetah`, `ddpg_cheetah`: HalfCheetah-v5, two layers of 256, a batch of 256
and one update per step, float32. Same hyper-parameters, one env, a replay buffer of 1,000,000 steps (10,000 for DQN).
SB3 normalises nothing here; JAX compiles in the warm-up. The note gives the mean return of the last episodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from measure import Case, Sample, rate

START = 1_000  # random steps
WARM_UP = 500  # steps with updates that are not clocked
DQN = {
    "learning_rate": 2.5e-4,
    "buffer_size": 10_000,
    "batch_size": 128,
    "gamma": 0.99,
    "train_freq": 10,
    "gradient_steps": 1,
    "tau": 1.0,
    "target_update_interval": 500,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.05,
    "exploration_fraction": 0.5,
}
CONTINUOUS = {
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "batch_size": 256,
    "gamma": 0.99,
    "tau": 0.005,
    "train_freq": 1,
    "gradient_steps": 1,
}


def envkit(algorithm: str, **others: object) -> Callable[[int], Sample]:
    def run(size: int) -> Sample:
        import agents
        from envkit import DoubleToFloat, GymEnv, TransformedEnv

        same = {**DQN, **CONTINUOUS} if algorithm != "DQN" else DQN
        options = {
            "lr": same["learning_rate"],
            **{name: same[name] for name in ("buffer_size", "batch_size", "gamma", "tau", "train_freq")},
            "learning_starts": START,
            "steps_per_iteration": 100,
            **others,
        }
        env = GymEnv("CartPole-v1" if algorithm == "DQN" else "HalfCheetah-v5")
        if algorithm != "DQN":
            env = TransformedEnv(env, DoubleToFloat())
        agent = getattr(agents, algorithm)(env, getattr(agents, f"{algorithm}Config")(**options), seed=0)
        marks: list[tuple[float, float, float]] = []

        def mark(metrics: dict[str, float]) -> None:
            marks.append((metrics["steps"], time.perf_counter(), time.process_time()))

        metrics = agent.train(max_steps=START + WARM_UP + size, callback=mark)
        first = next(one for one in marks if one[0] >= START + WARM_UP)
        last = marks[-1]
        steps = last[0] - first[0]
        return Sample(
            steps / (last[1] - first[1]), steps / (last[2] - first[2]), f"return {metrics['return_mean']:.0f}"
        )

    return run


def baselines(library: str, algorithm: str, **others: object) -> Callable[[int], Sample]:
    def run(size: int) -> Sample:
        import importlib

        from stable_baselines3.common.env_util import make_vec_env

        discrete = algorithm == "DQN"
        options = dict(DQN if discrete else CONTINUOUS) | others
        if library == "stable_baselines3":
            options["device"] = "cpu"
        model = getattr(importlib.import_module(library), algorithm)(
            "MlpPolicy",
            make_vec_env("CartPole-v1" if discrete else "HalfCheetah-v5", n_envs=1, seed=0),
            learning_starts=START,
            policy_kwargs={"net_arch": [120, 84] if discrete else [256, 256]},
            seed=0,
            **options,
        )
        model.learn(START + WARM_UP)
        sample = rate(lambda: model.learn(size, reset_num_timesteps=False), size)
        episodes = model.ep_info_buffer
        mean = sum(episode["r"] for episode in episodes) / max(1, len(episodes))
        return Sample(sample.value, sample.cpu_value, f"return {mean:.0f}")

    return run


def case(algorithm: str, size: int, targets: dict[str, float], ours: dict, theirs: dict, peers: dict) -> Case:
    return Case(
        unit="steps/s",
        size=size,
        ours={"envkit": envkit(algorithm, **ours)},
        peers={
            "stable-baselines3": baselines("stable_baselines3", algorithm, **theirs),
            "sbx": baselines("sbx", algorithm, **theirs),
            **peers,
        },
        targets=targets,
    )


def dqn_cleanrl_style(size: int) -> Sample:
    from peers.cleanrl_style_dqn import SingleFileDQN

    learner = SingleFileDQN(DQN, START, size)
    learner.run(START + WARM_UP)
    sample = rate(lambda: learner.run(size), size)
    return Sample(sample.value, sample.cpu_value, f"return {learner.mean_return:.0f}")


CASES = {
    "dqn_cartpole": case(
        "DQN",
        20_000,
        {"stable-baselines3": 2.0, "sbx": 2.0, "cleanrl style": 2.0},
        {"hidden_sizes": (120, 84), "target_update_interval": 500, "eps_fraction": 0.5, "max_grad_norm": None},
        {},
        {"cleanrl style": dqn_cleanrl_style},
    ),
    "sac_cheetah": case("SAC", 2_000, {"stable-baselines3": 1.8, "sbx": 1.0}, {}, {}, {}),
    "td3_cheetah": case("TD3", 2_000, {"stable-baselines3": 1.8, "sbx": 1.0}, {}, {}, {}),
    "ddpg_cheetah": case("DDPG", 2_000, {"stable-baselines3": 1.8, "sbx": 1.0}, {}, {}, {}),
}
