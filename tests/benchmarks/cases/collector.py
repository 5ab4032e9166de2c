"""Collecting with a policy on eight CartPoles: env steps per second of the data that PPO learns from.

Same work: batches of 128 steps of the eight, in one process; actor and critic of two tanh layers of 64 each; sampled
actions, their log-probabilities and the values of all observations are recorded. SB3 clocks `collect_rollouts`, which
ends with the advantages of the batch (about a hundredth of it). torchrl's collector is that of its PPO in the case
`ppo_cartpole`, which leaves the values to the update.
"""

from collections.abc import Callable

from cases.ppo import SETTING, WARM_UP
from measure import Case, Sample, rate
from vector_loops import cartpole


def envkit(size: int) -> Sample:
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torch.nn import Tanh

    from agents import MLP, Categorical, ProbabilisticActor, ValueOperator
    from envkit import Collector, GymEnv, SerialEnv

    def net(outputs: int) -> MLP:
        return MLP(4, outputs, num_cells=list(SETTING.hidden), activation_class=Tanh)

    actor = ProbabilisticActor(
        TensorDictModule(net(2), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=Categorical,
        return_log_prob=True,
    )
    env = SerialEnv(SETTING.num_envs, lambda: GymEnv(SETTING.env))
    env.set_seed(0)
    policy = TensorDictSequential(actor, ValueOperator(net(1)))
    return batches_rate(Collector(env, policy, frames_per_batch=SETTING.batch).next, size)


def stable_baselines3(size: int) -> Sample:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    env = DummyVecEnv([cartpole] * SETTING.num_envs)
    layers = list(SETTING.hidden)
    model = PPO(
        "MlpPolicy", env, n_steps=SETTING.steps_per_env, policy_kwargs={"net_arch": layers}, seed=0, device="cpu"
    )
    _, callback = model._setup_learn(total_timesteps=size)
    return batches_rate(
        lambda: model.collect_rollouts(env, callback, model.rollout_buffer, SETTING.steps_per_env), size
    )


def cleanrl_style(size: int) -> Sample:
    from peers.cleanrl_style import SingleFilePPO

    return batches_rate(SingleFilePPO(SETTING).collect, size)


def torchrl(size: int) -> Sample:
    from peers.torchrl_ppo import TorchRLPPO

    batches = TorchRLPPO(SETTING).batches
    return batches_rate(lambda: next(batches), size // 4)


def batches_rate(collect: Callable[[], object], size: int) -> Sample:
    def several(count: int) -> None:
        for _ in range(count):
            collect()

    several(WARM_UP)
    count = max(1, size // SETTING.batch)
    return rate(lambda: several(count), count * SETTING.batch)


CASES = {
    "collector": Case(
        unit="steps/s",
        size=81_920,
        ours={"envkit": envkit},
        peers={"stable-baselines3": stable_baselines3, "cleanrl style": cleanrl_style, "torchrl": torchrl},
        targets={"stable-baselines3": 1.8},
    )
}
