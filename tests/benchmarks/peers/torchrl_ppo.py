"""PPO with torchrl's own parts: serial env, collector, advantage, loss; then shuffled minibatches."""

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, RewardSum, SerialEnv, TransformedEnv
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE


class TorchRLPPO:
    def __init__(self, setting):
        self.setting = setting
        torch.manual_seed(0)
        env = TransformedEnv(
            SerialEnv(setting.num_envs, lambda: GymEnv(setting.env, categorical_action_encoding=True)),
            RewardSum(),
        )
        env.set_seed(0)
        net = {"num_cells": list(setting.hidden), "activation_class": torch.nn.Tanh}
        actor = ProbabilisticActor(
            TensorDictModule(MLP(4, 2, **net), in_keys=["observation"], out_keys=["logits"]),
            in_keys=["logits"],
            distribution_class=torch.distributions.Categorical,
            return_log_prob=True,
        )
        critic = ValueOperator(MLP(4, 1, **net), in_keys=["observation"])
        self.batches = iter(
            Collector(
                env,
                actor,
                frames_per_batch=setting.batch,
                total_frames=-1,
                auto_register_policy_transforms=False,
            )
        )
        self.advantage = GAE(gamma=setting.gamma, lmbda=setting.gae_lambda, value_network=critic)
        self.loss = ClipPPOLoss(
            actor,
            critic,
            clip_epsilon=setting.clip,
            entropy_coeff=setting.entropy,
            critic_coeff=setting.critic,
            loss_critic_type="l2",
            normalize_advantage=True,
        )
        self.optimizer = torch.optim.Adam(self.loss.parameters(), lr=setting.learning_rate, eps=1e-5)
        self.returns: list[float] = []

    def train(self, iterations: int) -> None:
        for _ in range(iterations):
            batch = next(self.batches)
            self.returns.extend(batch["next", "episode_reward"][batch["next", "done"]].tolist())
            with torch.no_grad():
                batch = self.advantage(batch).reshape(-1)
            for _ in range(self.setting.epochs):
                for rows in torch.randperm(self.setting.batch).chunk(self.setting.num_minibatches):
                    self.update(batch[rows])

    def update(self, minibatch) -> None:
        losses = self.loss(minibatch)
        total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.loss.parameters(), self.setting.max_grad_norm)
        self.optimizer.step()
