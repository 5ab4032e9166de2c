"""PPO in plain PyTorch as single-file implementations have it: a Gymnasium vector env, tensors, loops."""

import gymnasium as gym
import numpy as np
import torch
from torch import nn, optim
from torch.distributions import Categorical, Normal


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    def __init__(self, features: int, actions: int, hidden: tuple[int, int]):
        super().__init__()
        a, b = hidden
        self.critic = nn.Sequential(layer(features, a), nn.Tanh(), layer(a, b), nn.Tanh(), layer(b, 1, 1.0))
        self.actor = nn.Sequential(layer(features, a), nn.Tanh(), layer(a, b), nn.Tanh(), layer(b, actions, 0.01))

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        policy = Categorical(logits=self.actor(x))
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action), policy.entropy(), self.critic(x)


class ContinuousAgent(Agent):
    def __init__(self, features: int, actions: int, hidden: tuple[int, int]):
        super().__init__(features, actions, hidden)
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))

    def get_action_and_value(self, x, action=None):
        mean = self.actor(x)
        policy = Normal(mean, self.actor_logstd.expand_as(mean).exp())
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action).sum(1), policy.entropy().sum(1), self.critic(x)


class SingleFilePPO:
    def __init__(self, setting):
        self.setting = setting
        torch.manual_seed(0)
        np.random.seed(0)
        self.envs = gym.vector.SyncVectorEnv(
            [lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(setting.env))] * setting.num_envs,
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        )
        features = self.envs.single_observation_space.shape[0]
        space = self.envs.single_action_space
        self.continuous = isinstance(space, gym.spaces.Box)
        if self.continuous:
            self.low, self.high = torch.tensor(space.low), torch.tensor(space.high)
            self.agent = ContinuousAgent(features, space.shape[0], setting.hidden)
        else:
            self.agent = Agent(features, int(space.n), setting.hidden)
        self.optimizer = optim.Adam(self.agent.parameters(), lr=setting.learning_rate, eps=1e-5)
        self.returns: list[float] = []

        shape = (setting.steps_per_env, setting.num_envs)
        self.obs = torch.zeros((*shape, features))
        self.actions = torch.zeros((*shape, *space.shape), dtype=torch.float32 if self.continuous else torch.int64)
        self.logprobs = torch.zeros(shape)
        self.rewards = torch.zeros(shape)
        self.dones = torch.zeros(shape)
        self.values = torch.zeros(shape)

        first, _ = self.envs.reset(seed=0)
        self.next_obs = torch.Tensor(first)
        self.next_done = torch.zeros(setting.num_envs)

    def train(self, iterations: int) -> None:
        for _ in range(iterations):
            self.collect()
            self.update(*self.estimate())

    def collect(self) -> None:
        for step in range(self.setting.steps_per_env):
            self.obs[step] = self.next_obs
            self.dones[step] = self.next_done
            with torch.no_grad():
                action, logprob, _, value = self.agent.get_action_and_value(self.next_obs)
                self.values[step] = value.flatten()
            self.actions[step] = action
            self.logprobs[step] = logprob

            chosen = action.clamp(self.low, self.high) if self.continuous else action
            next_obs, reward, terminated, truncated, infos = self.envs.step(chosen.numpy())
            self.rewards[step] = torch.tensor(reward).view(-1)
            self.next_obs = torch.Tensor(next_obs)
            self.next_done = torch.Tensor(np.logical_or(terminated, truncated))
            if "final_info" in infos:
                episodes = infos["final_info"]["episode"]
                self.returns.extend(episodes["r"][infos["final_info"]["_episode"]].tolist())

    def estimate(self):
        s = self.setting
        with torch.no_grad():
            next_value = self.agent.get_value(self.next_obs).reshape(1, -1)
            advantages = torch.zeros_like(self.rewards)
            running = 0
            for t in reversed(range(s.steps_per_env)):
                if t == s.steps_per_env - 1:
                    alive, following = 1.0 - self.next_done, next_value
                else:
                    alive, following = 1.0 - self.dones[t + 1], self.values[t + 1]
                delta = self.rewards[t] + s.gamma * following * alive - self.values[t]
                advantages[t] = running = delta + s.gamma * s.gae_lambda * alive * running
            return advantages, advantages + self.values

    def update(self, advantages, returns) -> None:
        s = self.setting
        obs = self.obs.reshape(s.batch, -1)
        logprobs, actions = self.logprobs.reshape(-1), self.actions.flatten(0, 1)
        advantages, returns = advantages.reshape(-1), returns.reshape(-1)
        size = s.batch // s.num_minibatches
        indices = np.arange(s.batch)
        clipped_shares = []
        for _ in range(s.epochs):
            np.random.shuffle(indices)
            for start in range(0, s.batch, size):
                rows = indices[start : start + size]
                _, newlogprob, entropy, newvalue = self.agent.get_action_and_value(obs[rows], actions[rows])
                logratio = newlogprob - logprobs[rows]
                ratio = logratio.exp()
                with torch.no_grad():
                    ((ratio - 1) - logratio).mean()  # the divergence estimate that such scripts log
                    clipped_shares.append(((ratio - 1.0).abs() > s.clip).float().mean().item())

                chosen = advantages[rows]
                chosen = (chosen - chosen.mean()) / (chosen.std() + 1e-8)
                plain = -chosen * ratio
                clipped = -chosen * torch.clamp(ratio, 1 - s.clip, 1 + s.clip)
                policy_loss = torch.max(plain, clipped).mean()
                value_loss = 0.5 * ((newvalue.view(-1) - returns[rows]) ** 2).mean()
                loss = policy_loss - s.entropy * entropy.mean() + s.critic * value_loss

                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), s.max_grad_norm)
                self.optimizer.step()
