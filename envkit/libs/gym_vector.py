"""Gymnasium vector environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import EnvDataError, ResetNeededError
from envkit.libs.attributes import ForwardsAttributes
from envkit.libs.translate_vector import translate_vector
from envkit.specs import Categorical, Composite, Unbounded, spec_from_space

__all__ = ["GymVectorWrapper"]


class GymVectorWrapper(ForwardsAttributes, EnvBase):
    """An env with a batch out of a Gymnasium vector env.

    Keys are those of :class:`~envkit.GymWrapper`, each with the batch size ``(num_envs,)``. Whichever way the vector
    env starts new episodes, the data is the same: ``"next"`` holds the true last observation of an episode, the root
    after it the first of the next one, and no step is wasted.

    - ``DISABLED``: a reset of some envs is the vector env's own, by ``options={"reset_mask": ...}``.
    - ``SAME_STEP``: the last observation is taken from the info, and the first one kept until the reset. In
      mid-episode, only a ``SyncVectorEnv`` or ``AsyncVectorEnv`` can be reset in part. A vector env that does not tell
      last observations (those of gym 0.21) is wrapped with ``auto_reset=True``, which puts fillers in their place.
    - ``NEXT_STEP``: a ``SyncVectorEnv`` or ``AsyncVectorEnv`` is reset as if it were ``DISABLED``. Others cannot start
      an episode without stepping all envs, and are refused.

    Some envs of a ``SyncVectorEnv`` can be stepped while others rest. Other vector envs step all of theirs, and a
    ``"_step"`` mask may leave out no env but those whose episode is over. :meth:`set_seed` seeds env ``i`` with
    ``seed + i``, as Gymnasium does. Info other than last observations is not read.

    Args:
        env: a Gymnasium vector env, one of ``gym`` (0.21 or later), or a ``VecEnv`` of Stable-Baselines3.
        autoreset_mode: how it starts new episodes, if its metadata does not say.
        categorical_action_encoding: discrete actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs.

    Raises:
        ValueError: the mode is unknown, or cannot be served; (when run) a partial reset cannot.
        UnsupportedSpaceError: a space without a tensor form.
        ResetNeededError: (when run) a step of an env whose episode is over.
        EnvDataError: (when run) a last observation is missing, or a ``"_step"`` mask leaves out an env whose episode
            goes on.

    Examples:
        >>> import gymnasium
        >>> venv = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
        >>> env = GymVectorWrapper(venv)
        >>> env.rollout(50, break_when_any_done=False)["next", "observation"].shape
        torch.Size([3, 50, 4])
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv,
        *,
        autoreset_mode: AutoresetMode | str | None = None,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        try:
            env = translate_vector(env)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        count = env.num_envs
        super().__init__(device=device, batch_size=(count,))
        self._env = env
        self.autoreset_mode = _mode(env, autoreset_mode)
        self._seeds: int | list[int | None] | None = None
        spec = spec_from_space(env.single_observation_space)
        self._wraps_dict = isinstance(env.single_observation_space, gymnasium.spaces.Dict)
        self._single: Composite = spec if self._wraps_dict else Composite(observation=spec)  # type: ignore[assignment]
        self._single_action = spec_from_space(env.single_action_space, one_hot=not categorical_action_encoding)
        self.observation_spec = self._single.expand(count)
        self.full_action_spec = Composite(action=self._single_action).expand(count)
        self.reward_spec = Unbounded((count, 1))
        flag = Categorical(2, shape=(count, 1), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=(count,))
        # The envs whose episode is over; those (SAME_STEP) whose next one has begun, and its first data.
        self._over, self._begun = np.zeros((2, count), dtype=bool)
        self._first: TensorDictBase | None = None

    def set_seeds(self, seeds: Sequence[int | None]) -> None:
        """Seeds env ``i`` with ``seeds[i]`` at its next reset; None leaves it as it is."""
        self._seeds = list(seeds)

    def _set_seed(self, seed: int | None) -> None:
        self._seeds = seed

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        some = np.ones_like(self._over) if mask is None else mask.reshape(-1).cpu().numpy()
        if self._seeds is None and mask is not None and self._begun[some].all():
            out = self._first
        else:
            if not some.all():
                self._check_partial_reset(some)
                kwargs["options"] = {**(kwargs.get("options") or {}), "reset_mask": some.copy()}
            out = self._encode(self._env.reset(seed=self._take_seeds(some), **kwargs)[0])
        self._over &= ~some
        self._begun &= ~some
        return out  # type: ignore[return-value]

    def _check_partial_reset(self, some: np.ndarray) -> None:
        """A vector env that starts episodes by itself need not know masks, and would reset all envs without a word."""
        known = isinstance(self._env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        if not known and self.autoreset_mode is AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{self}: expected a reset of all envs, or of those that have just ended, from a vector env of class "
                f"{type(self._env.unwrapped).__name__} with autoreset_mode SAME_STEP; found one of "
                f"{np.flatnonzero(some).tolist()}"
            )

    def _take_seeds(self, some: np.ndarray) -> Any:
        seeds, self._seeds = self._seeds, None
        if isinstance(seeds, list) and None not in seeds and seeds == [seeds[0] + i for i in range(len(seeds))]:  # type: ignore[operator]
            return seeds[0]  # which every vector env takes, unlike a list
        if isinstance(seeds, list):
            return [seed if chosen else None for seed, chosen in zip(seeds, some.tolist(), strict=True)]
        return seeds

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        mask = tensordict.get("_step", None)
        idle = np.zeros_like(self._over) if mask is None else ~mask.reshape(-1).cpu().numpy()
        late = self._over & ~idle
        if late.any() and self.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ResetNeededError(
                f"{self}: expected a reset of the envs {np.flatnonzero(late).tolist()}, whose episodes are over, "
                f"before the next step()"
            )
        action = self._single_action.to_numpy(tensordict.get("action"))
        waiting = self._begun & idle
        if not idle.any():
            observation, reward, terminated, truncated, info = self._env.step(action)
        elif isinstance(self._env.unwrapped, SyncVectorEnv):
            observation, reward, terminated, truncated, info = self._step_some(action, tensordict, idle)
        else:
            self._prepare_idle(idle)
            observation, reward, terminated, truncated, info = self._env.step(action)
            waiting[:] = False  # they have not stood still, and have to be reset in earnest
        out = self._encode(observation)
        over = np.logical_or(terminated, truncated)
        # With auto_reset=True the runtime goes without last observations.
        restores = self.autoreset_mode is AutoresetMode.SAME_STEP and self._runtime.auto_reset is None
        ended = np.array(over, dtype=bool) & ~idle & restores
        self._over = np.where(idle, self._over, over)
        self._begun = ended | waiting
        if self._begun.any():
            self._first = out.clone()
            self._restore_last(out, info, ended)
        flags = {"terminated": terminated, "truncated": truncated, "done": over}
        for name, value in flags.items():
            out.set(name, torch.from_numpy(np.array(value, dtype=bool)).reshape(-1, 1))
        out.set("reward", torch.from_numpy(np.array(reward, dtype=np.float32)).reshape(-1, 1))
        return out if self.device is None else out.to(self.device)

    def _step_some(self, action: Any, tensordict: TensorDictBase, idle: np.ndarray) -> tuple:
        """A step in which stand-ins rest for the envs that do; a SyncVectorEnv keeps its envs in a list."""
        inner: SyncVectorEnv = self._env.unwrapped  # type: ignore[assignment]
        envs, mode = inner.envs, inner.autoreset_mode
        try:
            present: list[Any] = list(envs)
            for i in np.flatnonzero(idle).tolist():
                present[i] = _Resting(self._seen(tensordict, i))
            inner.envs = present
            if mode is AutoresetMode.DISABLED:
                # In which it refuses to step an env, or its stand-in, whose episode is over.
                inner.autoreset_mode = AutoresetMode.NEXT_STEP
            return self._env.step(action)
        finally:
            inner.envs, inner.autoreset_mode = envs, mode

    def _seen(self, tensordict: TensorDictBase, i: int) -> Any:
        data = self._first if self._begun[i] else tensordict
        value = self._single.to_numpy(data[i])  # type: ignore[index]
        return value if self._wraps_dict else value["observation"]

    def _prepare_idle(self, idle: np.ndarray) -> None:
        alive = idle & ~self._over
        if alive.any():
            raise EnvDataError(
                f'{self}: only a SyncVectorEnv steps some of its envs; expected a "_step" mask that leaves out none '
                f"but those whose episode is over, found {np.flatnonzero(alive).tolist()} left out as well"
            )
        if self.autoreset_mode is AutoresetMode.DISABLED:
            # Such a vector env steps no env whose episode is over.
            self._env.reset(options={"reset_mask": idle.copy()})

    def _restore_last(self, out: TensorDictBase, info: Mapping[str, Any], ended: np.ndarray) -> None:
        """Puts the last observations of episodes where SAME_STEP has put the first of the next ones."""
        # The second name is that of Gymnasium before 1.0, which third parties still write.
        last = next((info[name] for name in ("final_obs", "final_observation") if name in info), None)
        for i in np.flatnonzero(ended).tolist():
            value = None if last is None else _element(last, i)
            if value is None:
                raise EnvDataError(
                    f"info['final_obs'] of {self._env}: expected the last observation of env {i}, whose episode is "
                    f"over, found {'nothing' if last is None else 'None'} (keys {sorted(info)}); auto_reset=True puts "
                    f"fillers in its place"
                )
            out[i] = self._single.encode(value if self._wraps_dict else {"observation": value})

    def _encode(self, observation: Any) -> TensorDictBase:
        spec = self.observation_spec
        return spec.encode(observation if self._wraps_dict else {"observation": observation})

    def render(self) -> Any:
        """What the vector env renders: a tuple of one frame per env."""
        return self._env.render()

    def close(self) -> None:
        """Closes the vector env, once."""
        if not self.is_closed:
            self._env.close()
        super().close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(env={self._env}, batch_size={list(self.batch_size)}, device={self.device})"


class _Resting:
    """Stands in a vector env for an env that rests."""

    def __init__(self, observation: Any) -> None:
        self._observation = observation

    def step(self, action: Any) -> tuple:
        """What was seen last, again."""
        return self._observation, 0.0, False, False, {}

    def reset(self, **kwargs: Any) -> tuple:
        """What was seen last, again."""
        return self._observation, {}


def _mode(env: gymnasium.vector.VectorEnv, told: AutoresetMode | str | None) -> AutoresetMode:
    found = told if told is not None else env.metadata.get("autoreset_mode")
    if found is None:
        raise ValueError(
            f"{env} does not say how it starts new episodes: expected metadata['autoreset_mode'], or the argument "
            f"autoreset_mode (one of {[mode.value for mode in AutoresetMode]})"
        )
    mode = AutoresetMode(found)
    if mode is AutoresetMode.NEXT_STEP and not isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
        raise ValueError(
            f"{env} starts new episodes by steps that are wasted (NEXT_STEP), and cannot reset some of its envs "
            f"without stepping the others: expected a SyncVectorEnv or AsyncVectorEnv "
            f'(make_vec(..., vectorization_mode="sync")), or one with autoreset_mode SAME_STEP or DISABLED'
        )
    return mode


def _element(value: Any, i: int) -> Any:
    """Element ``i`` of a batch, which may be a dictionary or a tuple of arrays."""
    if isinstance(value, Mapping):
        return {name: _element(part, i) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_element(part, i) for part in value)
    return value[i]
