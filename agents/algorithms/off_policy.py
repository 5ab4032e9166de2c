"""What agents share that learn from replayed steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn

from agents.algorithms.base import BaseAgent
from agents.algorithms.config import ACTIVATIONS, OffPolicyConfig
from agents.descent import Descent, NonFiniteUpdateError
from agents.nn import Ensemble
from agents.replay import LazyTensorStorage, MultiStep, ReplayBuffer
from agents.trainer.hook import Metrics
from envkit import Collector, SpecError
from envkit.core.plan import path_of

__all__ = ["OffPolicyAgent"]


class OffPolicyAgent(BaseAgent):
    """Collects some steps, stores them, and makes some updates on stored ones; again and again.

    A subclass sets ``policy`` and whatever learns in its constructor, then calls :meth:`_begin`. It
    defines :meth:`update`.
    """

    config: OffPolicyConfig
    buffer: ReplayBuffer
    updates: int = 0
    """How many updates were made."""

    @abstractmethod
    def update(self, rows: TensorDictBase) -> dict[str, Tensor]:
        """One update on rows of the buffer; returns what there is to say about it, without gradients."""

    def _begin(self) -> None:
        """Makes the collector and the buffer."""
        config, spaces = self.config, self.spaces
        self._round = config.train_freq * spaces.count
        self._rounds = max(1, config.steps_per_iteration // self._round)
        self.collector = Collector(
            self.env,
            self.policy,
            frames_per_batch=self.steps_per_iteration,
            init_random_frames=config.learning_starts or None,
        )
        self.buffer = self._make_buffer()
        following = dict.fromkeys([*self._seen_keys(), *spaces.mask_keys, spaces.reward_key, *spaces.flag_keys])
        self._read: list[NestedKey] = [
            *self._seen_keys(),
            spaces.action_key,
            *([] if spaces.alive_key is None else [spaces.alive_key]),
            *(("next", *path_of(key)) for key in following),
        ]

    def _seen_keys(self) -> list[NestedKey]:
        """The observations that an update reads."""
        return self.spaces.observation_keys

    def _ensemble(self, members: int, width: int, out: int) -> Ensemble:
        """Networks of the config's layers."""
        cells, activation = list(self.config.hidden_sizes), ACTIVATIONS[self.config.activation]
        return Ensemble(members, width, out, num_cells=cells, activation_class=activation)

    def _descent(self, parameters: Iterable[nn.Parameter]) -> Descent:
        return Descent(parameters, self.config.lr, max_grad_norm=self.config.max_grad_norm)

    def _make_buffer(self) -> ReplayBuffer:
        return ReplayBuffer(self._storage(), **self._buffer_options())

    def _storage(self) -> LazyTensorStorage:
        return LazyTensorStorage(self.config.buffer_size, ndim=2)  # the steps of an env follow one another

    def _buffer_options(self) -> dict[str, Any]:
        config, spaces = self.config, self.spaces
        options: dict[str, Any] = {"batch_size": config.batch_size}
        if config.n_steps > 1:
            if spaces.streams > spaces.count:
                raise SpecError(
                    f"{spaces.agent}: expected a done flag of the episode for n_steps {config.n_steps}, found one of "
                    f"each agent at {spaces.done_key!r}"
                )
            options["multi_step"] = MultiStep(config.gamma, config.n_steps, [spaces.reward_key], spaces.done_key)
        return options

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of one iteration."""
        return self._rounds * self._round

    # -------------------------------------------------------------- iteration

    def step(self) -> Metrics:
        """Rounds of collecting and updating; the metrics are means over the updates.

        Raises:
            NonFiniteUpdateError: an update had a gradient that is not finite; the rows are in the error.
        """
        self._schedule()
        config, start = self.config, 0
        said: list[dict[str, Tensor]] = []
        batches = self.collector.growing(config.train_freq)
        for _ in range(self._rounds):
            self._before_batch()
            batch, stop = next(batches)
            self._store(batch, start, stop)
            start = stop
            self.steps += self._round
            self._collected(self._round)
            if self.steps > config.learning_starts and len(self.buffer) >= config.batch_size:
                self._anneal()
                said += [self._updated() for _ in range(config.gradient_steps)]
        self._count_episodes(batch)
        self.iterations += 1
        return self._metrics(updates=float(self.updates), **self._further(), **_means(said))

    def _store(self, batch: TensorDictBase, start: int, stop: int) -> None:
        """Takes the newest steps into the buffer."""
        if self._hooks["after_batch"]:
            part = self._after_batch(batch[..., start:stop])
            self.buffer.extend(part.select(*self._read).reshape(self.spaces.count, -1))
            return
        if start == 0:  # views of the batch's memory, which fills
            self._columns = _Columns(batch, self._read)
        self.buffer.extend(self._columns.between(start, stop))

    def _updated(self) -> dict[str, Tensor]:
        rows = self._before_update(self.buffer.sample())
        try:
            losses = self.update(rows)
        except NonFiniteUpdateError as error:
            error.rows = rows
            raise
        self.updates += 1
        self._after_update(losses)
        return losses

    def observations(self, rows: TensorDictBase) -> list[Tensor]:
        """What the networks see of rows, ``[batch, *shape]`` each."""
        return [rows.get(key) for key in self.spaces.observation_keys]

    def outcome(self, rows: TensorDictBase) -> tuple[Tensor, Tensor, float | Tensor]:
        """Rewards, whether the env's rules ended the episode, and the discount of what follows; ``[batch, *team]``."""
        following = rows["next"]
        reward = self.spaces.reward(following)
        return reward, self.spaces.terminated(following), self._discount(rows, reward)

    def _discount(self, rows: TensorDictBase, like: Tensor) -> float | Tensor:
        """The discount of what follows steps; where it depends on the step, of the shape of ``like``."""
        if self.config.n_steps == 1:
            return self.config.gamma
        discount = self.config.gamma ** rows["steps_to_next_obs"]
        return discount.reshape(-1, *(1,) * (like.ndim - 1)).expand_as(like)

    def mean(self, rows: TensorDictBase, numbers: Tensor) -> Tensor:
        """The mean of numbers ``[batch, *team]`` over the agents that took part in the steps."""
        alive = self.spaces.alive(rows)
        return numbers.mean() if alive is None else numbers[alive].mean()

    def _schedule(self) -> None:
        """Called at the start of an iteration, for what depends on the length of the training."""

    def _collected(self, steps: int) -> None:
        """Called when steps were collected, for what goes by their number."""

    def _further(self) -> dict[str, float]:
        """What else there is to report."""
        return {}

    def _anneal(self) -> None:
        if self.config.anneal_lr:
            for part in self._parts().values():
                if isinstance(part, Descent):
                    part.lr = self.config.lr * self.remaining

    # ------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`BaseAgent.state_dict`; the buffer's content is among it."""
        return {**super().state_dict(), "updates": self.updates, "buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: Any, *, resume: bool = True) -> None:
        """See :meth:`BaseAgent.load_state_dict`."""
        if resume:
            self.buffer.load_state_dict(state["buffer"])
        self.updates = int(state["updates"])
        super().load_state_dict(state, resume=resume)


class _Columns:
    """Entries of a batch as ``[envs, time, ...]``, to be sliced in time at little cost."""

    def __init__(self, batch: TensorDictBase, keys: list[NestedKey]) -> None:
        values = [batch[key] for key in keys]
        self._values = [value.unsqueeze(0) if batch.ndim == 1 else value.flatten(0, batch.ndim - 2) for value in values]
        self._paths = [path_of(key) for key in keys]

    def between(self, start: int, stop: int) -> dict[str, Any]:
        """The steps from ``start`` to ``stop``, nested dicts."""
        out: dict[str, Any] = {}
        for path, value in zip(self._paths, self._values, strict=True):
            inner = out
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
            inner[path[-1]] = value[:, start:stop]
        return out


def _means(said: list[dict[str, Tensor]]) -> dict[str, float]:
    """Means of what updates said, each over the updates that said it."""
    values: dict[str, list[Tensor]] = {}
    for one in said:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: torch.stack(several).mean().item() for name, several in values.items()}
