"""What all agents share: an env, a policy, a state that can be saved, and a trainer around their update."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor

from agents.algorithms.episodes import EpisodeStatistics
from agents.algorithms.spaces import Spaces
from agents.algorithms.team_spaces import TeamSpaces
from agents.checkpoint import load_checkpoint, save_checkpoint
from agents.evaluation import Evaluation, evaluate
from agents.trainer.evaluation import EvaluationHook
from agents.trainer.hook import Hook, Metrics
from agents.trainer.learner import Learner
from agents.trainer.log import CallbackHook
from agents.trainer.trainer import Trainer
from envkit import Collector, EnvBase, ExplorationType, TransformedEnv, set_exploration_type
from envkit.errors import CheckpointError
from envkit.spelling import did_you_mean

__all__ = ["BaseAgent"]

COUNTS = ("iterations", "steps", "episodes")


class BaseAgent(Learner):
    """An env, networks, and a way of learning.

    A subclass has a class of hyper-parameters, ``Config``, takes networks as further arguments of its constructor, in
    which it sets those of the attributes below that this one does not, and defines :meth:`step`, one iteration of
    collecting and learning.

    Args:
        env: where it learns; an env with a batch is stepped as one.
        config: the hyper-parameters; the defaults of ``Config`` by default.
        seed: seeds the env, the networks and the sampling; None leaves them as they are.
        observation_keys: what the networks see, all observations by default.

    Raises:
        SpecError: the env has actions it cannot take, or several actions, rewards or done flags.

    Attributes:
        env: where it learns.
        config: its hyper-parameters, a ``Config`` of its class.
        policy: a TensorDict module that writes the action; what collects, is evaluated and is handed to rollouts.
        spaces: what it reads off the env's specs.
        collector: what it collects with.
        statistics: returns of the episodes it learns from.
    """

    Config: ClassVar[type]
    actions: ClassVar[tuple[str, ...]] = ("discrete", "continuous")
    """Kinds of actions it can take."""
    team: ClassVar[bool] = False
    """Whether it is a group of agents that learn together."""
    env: EnvBase
    config: Any
    policy: Any
    spaces: Spaces
    collector: Collector
    statistics: EpisodeStatistics

    def __init__(
        self,
        env: EnvBase,
        config: Any = None,
        *,
        seed: int | None = 0,
        observation_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        if seed is not None:
            torch.manual_seed(seed)
            env.set_seed(seed)
        self.env, self.config = env, self.Config() if config is None else config
        spaces = TeamSpaces if self.team else Spaces
        self.spaces = spaces(env, type(self).__name__, observation_keys, self.actions)
        self.statistics = EpisodeStatistics(self.spaces.streams)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Any, env: EnvBase, **kwargs: Any) -> Self:
        """An agent of a config, or of a mapping of its entries.

        Raises:
            TypeError: an entry that there is not.
            ValueError: an entry out of range.
        """
        if isinstance(config, Mapping):
            known = [field.name for field in fields(cls.Config)]
            if unknown := [name for name in config if name not in known]:
                raise TypeError(
                    f"{cls.Config.__name__}: expected entries among {known}, found {unknown[0]!r}"
                    f"{did_you_mean(unknown[0], known)}"
                )
            config = cls.Config(**config)
        return cls(env, config, **kwargs)

    # --------------------------------------------------------------- training

    def train(
        self,
        *,
        max_iters: int = -1,
        max_episodes: int = -1,
        max_steps: int = -1,
        log_freq: int = 1,
        eval_env: EnvBase | None = None,
        eval_freq: int | None = None,
        callback: Callable[[Metrics], Any] | None = None,
        hooks: Iterable[Hook] = (),
    ) -> Metrics:
        """Repeats :meth:`step` until any limit is reached; limits count from the agent's first step, -1 is none.

        Args:
            max_iters: limit on iterations.
            max_episodes: limit on finished episodes.
            max_steps: limit on env steps, summed over the envs of a batch. Training stops before an iteration
                would pass it, so that a budget is never overdrawn.
            log_freq: number of iterations between calls of ``callback``; those that evaluate call it as well.
            eval_env: env without batch to evaluate the policy in, other than the one that is learnt in.
            eval_freq: number of iterations between evaluations of 20 episodes; never by default.
            callback: called with the metrics. An exception it raises ends the training and leaves the agent as it is.
            hooks: what else is to be done, see :class:`~agents.Hook`.

        Returns:
            The metrics of the last iteration.

        Raises:
            ValueError: no limit at all, a budget smaller than one iteration, a frequency below 1, or ``eval_freq``
                without an ``eval_env`` that fits it.
        """
        all_hooks = list(hooks)
        if eval_freq is not None:
            if eval_freq < 1:
                raise ValueError(f"eval_freq: expected at least 1, found {eval_freq}")
            if eval_env is None:
                raise ValueError("train: eval_freq needs an eval_env, found None")
            all_hooks.append(EvaluationHook(eval_env, eval_freq, unit="iterations"))
        if callback is not None:
            all_hooks.append(CallbackHook(callback))
        return Trainer(
            self,
            max_iters=max_iters,
            max_episodes=max_episodes,
            max_steps=max_steps,
            log_freq=log_freq,
            hooks=all_hooks,
        ).run()

    def _count_episodes(self, batch: TensorDictBase) -> None:
        """Adds the episodes of a collected batch to the statistics."""
        self.statistics.update(*self.spaces.episodes(batch["next"]))
        self.episodes = self.statistics.finished

    def _metrics(self, **others: float) -> Metrics:
        return {
            "iteration": float(self.iterations),
            "steps": float(self.steps),
            "episodes": float(self.episodes),
            "return_mean": self.statistics.return_mean,
            "episode_length_mean": self.statistics.length_mean,
            **others,
        }

    # ----------------------------------------------------------------- acting

    def evaluate(self, env: EnvBase, seeds: Iterable[int] = range(10_000, 10_100)) -> Evaluation:
        """One episode from each start seed with the deterministic policy; see :func:`~agents.evaluation.evaluate`.

        In the env that is learnt in, the episodes that were going on are given up.
        """
        result = evaluate(env, self.policy, seeds)
        if env is self.env:
            self.restart()
        return result

    def restart(self) -> None:
        """Goes on learning with new episodes, after the env was run by someone else."""
        self.collector.restart()
        self._forget_episodes()

    def _forget_episodes(self) -> None:
        """Forgets what is summed of episodes that have not ended: the envs begin new ones."""
        self.statistics.restart()

    def select_action(
        self, state: TensorDictBase | Tensor | Any, step: int = 0, *, deterministic: bool = False
    ) -> Tensor:
        """The action for an observation: a TensorDict, or the value of the only observation entry.

        Args:
            state: one observation or a batch of them.
            step: number of the env step, for agents whose exploration changes over time.
            deterministic: the most likely action instead of a sampled one.

        Raises:
            ValueError: ``state`` is one value where the env has several observations, or of another shape.
        """
        if not isinstance(state, TensorDictBase):
            state = self._observed(state)
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with torch.no_grad(), set_exploration_type(kind):
            return self.policy(state.copy()).get(self.env.action_key)

    def _observed(self, value: Tensor | Any) -> TensorDict:
        """The value of the only observation entry, or a batch of values, as a TensorDict."""
        keys = self.spaces.observation_keys
        if len(keys) != 1:
            raise ValueError(f"state: expected a TensorDict with {keys}, found {type(value).__name__}")
        leaf = self.env.observation_spec[keys[0]]
        shape = leaf.shape[self.env.batch_dims :]
        value = torch.as_tensor(value, dtype=leaf.dtype)
        lead = value.ndim - len(shape)
        if lead < 0 or value.shape[lead:] != shape:
            raise ValueError(f"{keys[0]!r}: expected shape [*batch, *{list(shape)}], found {list(value.shape)}")
        return TensorDict({keys[0]: value}, value.shape[:lead])

    # ------------------------------------------------------------ checkpoints

    def _parts(self) -> dict[str, Any]:
        """What learns: all that has a ``state_dict`` besides the collector and the statistics."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that the agent needs to go on with the same numbers: nested dicts of tensors and plain values.

        That is: networks, optimizers and whatever else learns, statistics of the env's transforms, replay, counts, the
        collector with its env and the random state. If the env cannot say where it stands in plain values, the agent
        that resumes begins new episodes, the same ones every time.
        """
        return {
            "config": asdict(self.config),
            "spaces": self.spaces.describe(),
            "observation_keys": self.spaces.keys(),
            "envs": self.spaces.count,
            "counts": {name: getattr(self, name) for name in COUNTS},
            "parts": {name: part.state_dict() for name, part in self._parts().items()},
            "statistics": self.statistics.state_dict(),
            "transform": self.env.transform.state_dict() if isinstance(self.env, TransformedEnv) else {},
            "collector": self.collector.state_dict(env="plain"),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, resume: bool = True) -> None:
        """Takes over what :meth:`state_dict` of an agent like this one returned.

        Args:
            state: the state.
            resume: whether to go on where that one stopped. Otherwise only what was learnt is taken over, as is
                enough to act or to evaluate; and so it is if the number of envs is another.

        Raises:
            KeyError, ValueError, RuntimeError: it is not the state of an agent like this one.
        """
        for name, part in self._parts().items():
            part.load_state_dict(state["parts"][name])
        for name in COUNTS:
            setattr(self, name, int(state["counts"][name]))
        self.statistics.load_state_dict(state["statistics"])
        if isinstance(self.env, TransformedEnv):
            self.env.transform.load_state_dict(state["transform"])
        if resume and state["envs"] == self.spaces.count:
            self.collector.load_state_dict(state["collector"])
        else:
            self._forget_episodes()

    def save(self, path: str | os.PathLike, *, keep_previous: bool = False) -> Path:
        """Writes :meth:`state_dict` to one safetensors file; see :func:`~agents.save_checkpoint`."""
        return save_checkpoint(path, type(self).__name__, self.state_dict(), keep_previous=keep_previous)

    @classmethod
    def load(cls, path: str | os.PathLike, env: EnvBase, *, resume: bool = True, **networks: Any) -> Self:
        """An agent as :meth:`save` left it, in ``env``; networks that are not the default ones have to be passed.

        Args:
            path: the file.
            env: an env like the one that was learnt in.
            resume: see :meth:`load_state_dict`.
            networks: those of the constructor.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: the file is damaged, or was saved for other observations, actions or networks.

        Warns:
            UserWarning: the env could not be saved, and new episodes begin.
        """
        state = load_checkpoint(path, cls.__name__)
        name = cls.__name__
        try:
            config = cls.Config(**state["config"])
            spaces = state["spaces"]
            keys = [tuple(key) if isinstance(key, list) else key for key in state["observation_keys"]]
            if lacking := {"envs", "counts", "parts", "statistics", "collector"} - state.keys():
                raise KeyError(sorted(lacking))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: expected config, counts and spaces of a {name} agent: {error}") from error
        if absent := [key for key in keys if key not in env.observation_keys]:
            raise CheckpointError(f"{path}: saved for observations {absent}, found an env with {env.observation_keys}")
        agent = cls(env, config, seed=None, observation_keys=keys, **networks)
        if spaces != agent.spaces.describe():
            raise CheckpointError(f"{path}: saved for {spaces}, found an env with {agent.spaces.describe()}")
        try:
            agent.load_state_dict(state, resume=resume)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: does not fit the agent's networks: {error}") from error
        return agent
