"""Learning by any loss: the usual loop around a collector, a buffer, a loss and an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from agents.descent import NonFiniteUpdateError
from agents.objectives import LossModule, TargetNetUpdater
from agents.replay import ReplayBuffer
from agents.trainer.hook import Metrics
from agents.trainer.learner import Learner
from envkit.collectors.base import CollectorBase

__all__ = ["LossLearner"]


class LossLearner(Learner):
    """Collects a batch, hands it to a buffer if there is one, and makes some steps down a loss; again and again.

    An iteration is a batch of the collector. Its metrics are means over the updates of what the loss returns.

    Args:
        collector: where batches come from, in this process or in several.
        loss_module: reads a TensorDict, returns one whose entries ``loss`` and ``loss_*`` are to be minimised, summed.
        optimizer: of the loss's parameters; :class:`torch.optim.Adam` with a learning rate of 3e-4 by default.
        replay_buffer: what batches are stored in, step by step, and sampled from; without one every update is on the
            whole batch.
        optim_steps_per_batch: updates for each batch.
        advantage: called with each batch before anything else, such as :class:`~agents.GAE`.
        target_net_updater: stepped after each update.
        clip_norm: largest norm of the gradient; None for any.
        updates_from: steps collected before the first update.
        done_key: the flag that ends episodes, below ``"next"``, for the count of them.

    Examples:
        >>> from agents import DQNLoss, LazyTensorStorage, MLP, QValueActor, SoftUpdate, Trainer
        >>> from envkit import Collector, GymEnv
        >>> env = GymEnv("CartPole-v1")
        >>> actor = QValueActor(MLP(4, 2), spec=env.action_spec)
        >>> loss = DQNLoss(actor, delay_value=True)
        >>> learner = LossLearner(
        ...     Collector(env, actor, frames_per_batch=16),
        ...     loss,
        ...     replay_buffer=ReplayBuffer(LazyTensorStorage(1_000), batch_size=8),
        ...     target_net_updater=SoftUpdate(loss, tau=0.01),
        ... )
        >>> Trainer(learner, max_steps=64).run()["steps"]
        64.0
    """

    def __init__(
        self,
        collector: CollectorBase,
        loss_module: LossModule,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        replay_buffer: ReplayBuffer | None = None,
        optim_steps_per_batch: int = 1,
        advantage: Callable[[TensorDictBase], Any] | None = None,
        target_net_updater: TargetNetUpdater | None = None,
        clip_norm: float | None = None,
        updates_from: int = 0,
        done_key: NestedKey = "done",
    ) -> None:
        if optim_steps_per_batch < 1:
            raise ValueError(f"optim_steps_per_batch: expected at least 1, found {optim_steps_per_batch}")
        self.collector, self.loss_module, self.replay_buffer = collector, loss_module, replay_buffer
        self.optim_steps_per_batch, self.advantage, self.clip_norm = optim_steps_per_batch, advantage, clip_norm
        self.target_net_updater, self.updates_from = target_net_updater, updates_from
        self.done_key = done_key
        self._parameters = [one for one in loss_module.parameters() if one.requires_grad]
        self.optimizer = torch.optim.Adam(self._parameters, lr=3e-4) if optimizer is None else optimizer

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of a batch."""
        return self.collector.frames_per_batch

    def step(self) -> Metrics:
        """One batch, and the updates that it allows; the collector gets the new weights.

        Raises:
            NonFiniteUpdateError: an update had a gradient that is not finite, and was not made.
        """
        self._before_batch()
        batch = self.collector.next()
        self.steps += batch.numel()
        self.iterations += 1
        self.episodes += int(batch["next"].get(self.done_key).sum())
        if self.advantage is not None:
            self.advantage(batch)
        batch = self._after_batch(batch)
        if self.replay_buffer is not None:
            self.replay_buffer.extend(batch.reshape(-1))
        metrics = {"iteration": float(self.iterations), "steps": float(self.steps), "episodes": float(self.episodes)}
        if self.steps < self.updates_from:
            return metrics
        said: dict[str, list[Tensor]] = {}
        for _ in range(self.optim_steps_per_batch):
            losses: Any = self._update(batch)
            for name, value in losses.items():
                said.setdefault(str(name), []).append(value.detach().float().mean())
        self.collector.update_policy_weights_()
        return {**metrics, **{name: torch.stack(values).mean().item() for name, values in said.items()}}

    def _update(self, batch: TensorDictBase) -> TensorDictBase:
        rows = self._before_update(batch if self.replay_buffer is None else self.replay_buffer.sample())
        losses = self.loss_module(rows)
        self.optimizer.zero_grad()
        total: Any = sum(_minimised(losses))
        total.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, math.inf if self.clip_norm is None else self.clip_norm).item()
        if not math.isfinite(norm):
            raise NonFiniteUpdateError.of(total.item(), norm, rows)
        self.optimizer.step()
        if self.target_net_updater is not None:
            self.target_net_updater.step()
        self._after_update(losses)
        return losses


def _minimised(losses: Any) -> Iterable[Tensor]:
    return [value for name, value in losses.items() if str(name) == "loss" or str(name).startswith("loss_")]
