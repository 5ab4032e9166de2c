"""Collecting batches of steps in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.collectors.trajectories import TrajectoryCounter
from envkit.core.env import EnvBase
from envkit.core.exploration import ExplorationType, set_exploration_type
from envkit.core.policies import Policy
from envkit.core.rollout import make_runner

__all__ = ["Collector"]


class Collector:
    """An iterator over batches of steps of a policy in an env, which never stop at the end of an episode.

    Each batch is a TensorDict of its own, of batch size ``(*env.batch_size, frames_per_batch // env.numel())``,
    whose last dimension is named ``"time"``. ``("collector", "traj_ids")`` numbers the trajectories, across batches.

    Args:
        create_env_fn: an env, or a function that makes one.
        policy: reads a TensorDict, writes the action; None draws random actions. It runs without gradients.
        frames_per_batch: steps per batch, summed over the envs of a batch; a multiple of their number.
        total_frames: steps in all; -1 never ends.
        device: one device for policy, env and batches, where the next three do not say otherwise.
        storing_device: where batches are handed out.
        env_device: moves the env there.
        policy_device: where the policy wants its input.
        reset_at_each_iter: reset all envs at the start of each batch.
        postproc: called on each batch; what it returns is handed out.
        exploration_type: how the policy turns distributions into actions: it samples, by default.
        split_trajs: accepted for code that switches the splitting of batches into trajectories off.

    Raises:
        ValueError: a number of frames that does not fit the batch.

    Examples:
        >>> from envkit import GymEnv
        >>> collector = Collector(GymEnv("CartPole-v1"), frames_per_batch=50, total_frames=100)
        >>> [batch.batch_size for batch in collector]
        [torch.Size([50]), torch.Size([50])]
    """

    def __init__(
        self,
        create_env_fn: EnvBase | Callable[[], EnvBase],
        policy: Policy | None = None,
        *,
        frames_per_batch: int,
        total_frames: int = -1,
        device: torch.device | str | None = None,
        storing_device: torch.device | str | None = None,
        env_device: torch.device | str | None = None,
        policy_device: torch.device | str | None = None,
        reset_at_each_iter: bool = False,
        postproc: Callable[[TensorDictBase], TensorDictBase] | None = None,
        exploration_type: ExplorationType = ExplorationType.RANDOM,
        split_trajs: bool = False,
    ) -> None:
        env = create_env_fn if isinstance(create_env_fn, EnvBase) else create_env_fn()
        if not isinstance(env, EnvBase):
            raise TypeError(f"create_env_fn: expected an env or a function that makes one, found {type(env).__name__}")
        count = env.numel()
        if frames_per_batch < 1 or frames_per_batch % count:
            raise ValueError(
                f"frames_per_batch: expected a positive multiple of the {count} envs, found {frames_per_batch}"
            )
        if total_frames != -1 and total_frames < 1:
            raise ValueError(f"total_frames: expected a positive number or -1, found {total_frames}")
        if split_trajs:
            raise ValueError(
                "split_trajs: expected False; batches are [*envs, time], with their trajectories numbered in traj_ids"
            )
        env_device = env_device if env_device is not None else device
        if env_device is not None and env.device != torch.device(env_device):
            env = env.to(env_device)
        self.env, self.policy = env, policy
        self.frames_per_batch, self.total_frames = frames_per_batch, total_frames
        self.storing_device = storing_device if storing_device is not None else device
        self.reset_at_each_iter, self.postproc, self.exploration_type = reset_at_each_iter, postproc, exploration_type
        self.frames = 0
        self._restarts = False
        policy_device = policy_device if policy_device is not None else device
        self._runner = make_runner(
            env, policy, None if policy_device is None or policy_device == env_device else torch.device(policy_device)
        )
        self._trajectories = TrajectoryCounter(count)
        self._steps = frames_per_batch // count

    def __iter__(self) -> Iterator[TensorDictBase]:
        while self.total_frames == -1 or self.frames < self.total_frames:
            yield self.next()

    def next(self) -> TensorDictBase:
        """The next batch.

        Raises:
            NonFiniteError: the env returned NaN, or an infinity where its bounds are finite.
        """
        runner = self._runner
        first = runner.rows == 0
        runner.open(self._steps)
        if first or self._restarts or self.reset_at_each_iter:
            runner.reset()
            self._restarts = False
            if not first:
                self._trajectories.restart()
        with set_exploration_type(self.exploration_type):
            runner.run(0, self._steps)
        batch = runner.tensordict(self._steps)
        self._number(batch)
        self.frames += self.frames_per_batch
        if self.storing_device is not None:
            batch = batch.to(self.storing_device)
        return batch if self.postproc is None else self.postproc(batch)

    def restart(self) -> None:
        """Begins the next batch with new episodes, as needed after the env was run by someone else."""
        self._restarts = True

    def _number(self, batch: TensorDictBase) -> None:
        env = self.env
        flags = [batch["next"].get(group.done) for group in env.plan.done_groups]
        lead = env.batch_dims + 1
        done = torch.stack([flag.flatten(lead).any(-1) if flag.ndim > lead else flag for flag in flags]).any(0)
        ids = self._trajectories(done.reshape(env.numel(), self._steps).cpu()).reshape(done.shape)
        numbers: Any = TensorDict({"traj_ids": ids}, batch.batch_size, names=batch.names)
        batch.set("collector", numbers.to(env.device) if env.device is not None else numbers)

    def set_seed(self, seed: int, static_seed: bool = False) -> int | None:
        """Seeds the env; see :meth:`~envkit.EnvBase.set_seed`."""
        return self.env.set_seed(seed, static_seed)

    def update_policy_weights_(self) -> None:
        """Nothing to do: the policy that is trained is the one that collects."""

    def shutdown(self) -> None:
        """Closes the env."""
        self.env.close()
