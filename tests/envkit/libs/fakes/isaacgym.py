"""IsaacGymEnvs without a GPU, as packages to be put into ``sys.modules``.

Modelled on the source of IsaacGymEnvs 1.5.1, ``tasks/base/vec_task.py`` and its tasks: a step returns
``(obs_dict, rew_buf, reset_buf, extras)`` out of buffers that are written again at every step; an env whose
``reset_buf`` is up starts its next episode in the step after, after physics and before the observations; ``extras``
tells ``"time_outs"``; ``reset()`` only shows the buffers; tasks of hands take a second argument at ``reset_idx``.
``Walker`` resets within the step that ends an episode, as tasks of other authors do.
"""

from __future__ import annotations

import sys
from types import ModuleType

import torch

from .gym021 import Box


class VecTask:
    num_states = 0

    def __init__(self, num_envs, device="cpu", num_states=0, max_episode_length=20):
        self.num_envs, self.num_obs, self.num_acts, self.num_states = num_envs, 3, 2, num_states
        self.device = self.rl_device = device
        self.max_episode_length, self.clip_obs = max_episode_length, 5.0
        self.observation_space, self.action_space = Box(-float("inf"), float("inf"), (3,)), Box(-1.0, 1.0, (2,))
        self.obs_buf = torch.zeros(num_envs, 3)
        self.states_buf = torch.zeros(num_envs, num_states)
        self.rew_buf = torch.zeros(num_envs)
        self.reset_buf = torch.ones(num_envs, dtype=torch.long)
        self.progress_buf = torch.zeros(num_envs, dtype=torch.long)
        self.extras, self.obs_dict = {}, {}
        self.episodes = torch.zeros(num_envs, dtype=torch.long)
        self.position = torch.zeros(num_envs)
        self.closed = False

    def step(self, actions):
        self.actions = torch.clamp(actions, -1.0, 1.0)
        self.position += 0.3 * self.actions.sum(-1)
        self.post_physics_step()
        timeout_buf = (self.progress_buf >= self.max_episode_length - 1) & (self.reset_buf != 0)
        self.extras["time_outs"] = timeout_buf.to(self.rl_device)
        return self.shown(), self.rew_buf.to(self.rl_device), self.reset_buf.to(self.rl_device), self.extras

    def post_physics_step(self):
        self.progress_buf += 1
        env_ids = self.reset_buf.nonzero(as_tuple=False).squeeze(-1)
        if len(env_ids) > 0:
            self.reset_idx(env_ids)
        self.compute_observations()
        self.compute_reward()

    def reset_idx(self, env_ids):
        self.position[env_ids] = self.start(env_ids)
        self.episodes[env_ids] += 1
        self.reset_buf[env_ids] = 0
        self.progress_buf[env_ids] = 0

    def start(self, env_ids):
        return (self.episodes[env_ids] * 7 + env_ids * 3) % 10 * 0.1  # each env and episode has its own

    def compute_observations(self):
        self.obs_buf[:, 0], self.obs_buf[:, 1] = self.position, self.progress_buf
        self.obs_buf[:, 2] = self.episodes if type(self).start is VecTask.start else 0.0
        self.states_buf[:] = self.position[:, None]

    def compute_reward(self):
        self.rew_buf[:] = -self.position.abs()
        ended = (self.position.abs() > 1.5) | (self.progress_buf >= self.max_episode_length - 1)
        self.reset_buf[:] = torch.where(ended, 1, self.reset_buf)

    def shown(self):
        self.obs_dict["obs"] = torch.clamp(self.obs_buf, -self.clip_obs, self.clip_obs).to(self.rl_device)
        if self.num_states > 0:
            self.obs_dict["states"] = self.states_buf
        return self.obs_dict

    def reset(self):
        return self.shown()

    def render(self, mode="rgb_array"):
        return torch.zeros(2, 2, 3, dtype=torch.uint8)

    def close(self):
        self.closed = True


class Cartpole(VecTask):
    pass


class Random(VecTask):
    def start(self, env_ids):
        return torch.rand(len(env_ids))


class ShadowHand(VecTask):
    def post_physics_step(self):
        self.progress_buf += 1
        env_ids = self.reset_buf.nonzero(as_tuple=False).squeeze(-1)
        self.reset_idx(env_ids, env_ids)
        self.compute_observations()
        self.compute_reward()

    def reset_idx(self, env_ids, goal_env_ids):
        super().reset_idx(env_ids)


class Walker(Random):
    def post_physics_step(self):
        self.progress_buf += 1
        self.reset_buf[:] = 0
        self.compute_reward()
        over = self.reset_buf.clone()
        self.limits = self.progress_buf >= self.max_episode_length - 1
        if over.any():
            self.reset_idx(over.nonzero().flatten())
        self.reset_buf[:] = over
        self.compute_observations()

    def step(self, actions):
        result = super().step(actions)
        self.extras["time_outs"] = self.limits
        return result


TASKS = {"Cartpole": Cartpole, "Random": Random, "ShadowHand": ShadowHand, "Walker": Walker}


def install(monkeypatch):
    """Makes ``import isaacgym`` and ``import isaacgymenvs`` give these packages."""
    isaacgym, isaacgymenvs, tasks = map(ModuleType, ("isaacgym", "isaacgymenvs", "isaacgymenvs.tasks"))
    tasks.isaacgym_task_map = TASKS

    def make(seed, task, num_envs, sim_device, rl_device, graphics_device_id=-1, headless=False, **kwargs):
        assert sim_device == rl_device
        assert headless
        if seed >= 0:
            torch.manual_seed(seed)
        return TASKS[task](num_envs, sim_device, **kwargs)

    isaacgymenvs.tasks, isaacgymenvs.make = tasks, make
    for module in (isaacgym, isaacgymenvs, tasks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
