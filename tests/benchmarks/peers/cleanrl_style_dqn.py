"""Deep Q-learning in plain PyTorch as single-file implementations have it: a Gymnasium env, arrays, a loop."""

import random
from collections import deque

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim


class SingleFileDQN:
    def __init__(self, setting: dict, start: int, total: int):
        self.setting, self.start, self.total = setting, start, total
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.env = gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1"))
        self.q, self.target = self.network(), self.network()
        self.target.load_state_dict(self.q.state_dict())
        self.optimizer = optim.Adam(self.q.parameters(), lr=setting["learning_rate"])
        size = setting["buffer_size"]
        self.observations = np.zeros((size, 4), np.float32)
        self.following = np.zeros((size, 4), np.float32)
        self.actions = np.zeros((size, 1), np.int64)
        self.rewards = np.zeros(size, np.float32)
        self.dones = np.zeros(size, np.float32)
        self.returns: deque[float] = deque(maxlen=100)
        self.step = 0
        self.observation, _ = self.env.reset(seed=0)

    @staticmethod
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2))

    @property
    def mean_return(self) -> float:
        return sum(self.returns) / max(1, len(self.returns))

    def epsilon(self) -> float:
        s = self.setting
        slope = (s["exploration_final_eps"] - 1.0) / (s["exploration_fraction"] * self.total)
        return max(slope * self.step + 1.0, s["exploration_final_eps"])

    def run(self, steps: int) -> None:
        s, size = self.setting, self.setting["buffer_size"]
        for _ in range(steps):
            if random.random() < self.epsilon():
                action = self.env.action_space.sample()
            else:
                action = int(torch.argmax(self.q(torch.Tensor(self.observation))).item())
            following, reward, terminated, truncated, info = self.env.step(action)
            row = self.step % size
            self.observations[row], self.following[row] = self.observation, following
            self.actions[row], self.rewards[row], self.dones[row] = action, reward, terminated
            if terminated or truncated:
                self.returns.append(float(info["episode"]["r"]))
                following, _ = self.env.reset()
            self.observation = following
            self.step += 1
            if self.step > self.start and self.step % s["train_freq"] == 0:
                self.update(np.random.randint(0, min(self.step, size), s["batch_size"]))
            if self.step % s["target_update_interval"] == 0:
                self.target.load_state_dict(self.q.state_dict())

    def update(self, rows: np.ndarray) -> None:
        column = [torch.from_numpy(array[rows]) for array in (self.observations, self.following, self.actions)]
        observations, following, actions = column
        with torch.no_grad():
            best, _ = self.target(following).max(dim=1)
            goal = torch.from_numpy(self.rewards[rows]) + self.setting["gamma"] * best * (
                1 - torch.from_numpy(self.dones[rows])
            )
        loss = F.mse_loss(goal, self.q(observations).gather(1, actions).squeeze())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
