"""A Gymnasium vector env out of an env with a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import ResetNeededError, SpecError
from envkit.export.gymnasium_env import flags_of, metadata_of
from envkit.export.inner import ask, innermost, seed_rows, takes_options
from envkit.export.layout import Layout

__all__ = ["ExportedVectorEnv", "as_gymnasium_vector"]


class ExportedVectorEnv(gymnasium.vector.VectorEnv):
    """An env with a batch as a ``gymnasium.vector.VectorEnv``; see :func:`as_gymnasium_vector`.

    Args:
        env, autoreset_mode, info_keys, to_numpy, max_episode_steps: see :func:`as_gymnasium_vector`.
    """

    def __init__(
        self,
        env: EnvBase,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        info_keys: Iterable[NestedKey] = (),
        to_numpy: bool = True,
        max_episode_steps: int | None = None,
    ) -> None:
        if not isinstance(env, EnvBase):
            raise TypeError(f"as_gymnasium_vector: expected an env, found {type(env).__name__}")
        if env.batch_dims != 1:
            raise SpecError(
                f"as_gymnasium_vector: expected an env with one batch dimension, found batch size "
                f"{list(env.batch_size)}; as_gymnasium takes envs without one, and SerialEnv makes a batch of them"
            )
        self._reward_key, self._group = flags_of(env, "as_gymnasium_vector")
        if env.full_reward_spec[self._reward_key].shape[1:].numel() != 1:
            raise SpecError(
                f"as_gymnasium_vector: expected one reward per env, found shape "
                f"{list(env.full_reward_spec[self._reward_key].shape)}"
            )
        self.base_env, self.num_envs = env, env.batch_size[0]
        self._layout = Layout(env, info_keys, to_numpy=to_numpy)
        self.single_observation_space = self._layout.observation_space
        self.single_action_space = self._layout.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        found = ask(env, "metadata")
        self.metadata = {
            **metadata_of(found if isinstance(found, dict) else None, to_numpy=to_numpy),
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = ask(env, "render_mode")
        self._to_numpy, self._takes_options, self._most = to_numpy, takes_options(env), max_episode_steps
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        self._over = np.zeros(self.num_envs, dtype=bool)
        self._data: TensorDictBase | None = None
        self._seeds: list[int | None] = [None] * self.num_envs
        self._generators: list[np.random.Generator | None] = [None] * self.num_envs

    # ------------------------------------------------------------------ resets

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes.

        Args:
            seed: element ``i`` is seeded with ``seed + i``, or with ``seed[i]`` unless that is None. (An env that has
                one random stream for its whole batch is seeded with the first number.)
            options: ``"reset_mask"``, a boolean array of shape ``(num_envs,)`` with at least one True, restricts the
                reset to those elements; what else there is goes to the env's reset, if it takes options.

        Returns:
            The observations of all elements and the info.
        """
        options = dict(options or {})
        mask = self._checked(options.pop("reset_mask", None))
        self._seed(seed, mask)
        kwargs: dict[str, Any] = {"options": options} if options and self._takes_options else {}
        with torch.no_grad():
            if mask is None or self._data is None or mask.all():
                self._data = self.base_env.reset(**kwargs)
                self._over[:] = False
                self._elapsed[:] = 0
            else:
                self._data = self._restarted(self._data, mask, **kwargs)
        return self._layout.observation(self._data), self._infos(self._data, mask)

    def _checked(self, mask: Any) -> np.ndarray | None:
        if mask is None:
            return None
        expected = f"options['reset_mask']: expected a numpy array of bool, shape ({self.num_envs},), at least one True"
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            kind = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise TypeError(f"{expected}; found {kind}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"{expected}; found {mask}")
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray | None) -> None:
        if seed is None:
            return
        seeds = list(seed) if isinstance(seed, Sequence) else [seed + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: expected {self.num_envs} seeds, one per env, found {len(seeds)}")
        if mask is not None:
            seeds = [one if chosen else None for one, chosen in zip(seeds, mask.tolist(), strict=True)]
        seed_rows(self.base_env, seeds)
        for i, one in enumerate(seeds):
            if one is not None:
                self._generators[i], self._seeds[i] = seeding.np_random(one)

    def _restarted(self, data: TensorDictBase, mask: np.ndarray, **kwargs: Any) -> TensorDictBase:
        """``data`` with new episodes for the elements in ``mask``."""
        data.set(self._group.reset, self._mask(mask))
        out = self.base_env.reset(data, **kwargs)
        self._over &= ~mask
        self._elapsed[mask] = 0
        return out

    def _mask(self, mask: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(mask.copy()).reshape(-1, 1).to(self._group.device or "cpu")

    # ------------------------------------------------------------------- steps

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Executes an action in each element; what happens where an episode is over is up to the autoreset mode.

        Returns:
            Observations; rewards, float64 of shape ``(num_envs,)``; whether episodes terminated and whether they were
            truncated, bool of the same shape; the info, a dictionary of arrays with a mask ``"_key"`` for each.

        Raises:
            ResetNeededError: there was no reset yet, or (DISABLED) not of all elements whose episode is over.
            InvalidActionError: the actions do not fit the action space.
        """
        data, layout, mode, idle = self._data, self._layout, self.autoreset_mode, self._over.copy()
        if data is None:
            raise ResetNeededError(f"{self}: expected reset() before the first step()")
        if mode is AutoresetMode.DISABLED and idle.any():
            raise ResetNeededError(
                f"{self}: the episodes of {np.flatnonzero(idle).tolist()} are over and autoreset is disabled; expected "
                f"reset(options={{'reset_mask': ...}}) before the next step()"
            )
        layout.put_action(data, actions)
        with torch.no_grad():
            if idle.any():
                data.set("_step", self._mask(~idle))
            data = self.base_env.step(data)
            following = data.get("next")
            current = self.base_env.step_mdp(data)
            reward, terminated, truncated = self._outcome(following)
            if idle.any():
                reward[idle], terminated[idle], truncated[idle] = 0.0, False, False
                current = self._restarted(current, idle)
            over = terminated | truncated
            infos: dict[str, Any] = {}
            if mode is AutoresetMode.SAME_STEP and over.any():
                infos = self._last(following, over)
                current = self._restarted(current, over)
                over = np.zeros_like(over)
        self._data, self._over = current, over
        for name, value in self._infos(current, None).items():
            infos[name] = value
        out = (reward, terminated, truncated)
        if not self._to_numpy:
            out = tuple(torch.from_numpy(part) for part in out)  # type: ignore[assignment]
        return layout.observation(current), *out, infos

    def _outcome(self, following: TensorDictBase) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        group = self._group
        reward = following.get(self._reward_key).detach().cpu().numpy().reshape(-1).astype(np.float64)
        terminated, done = (_flags(following, key) for key in (group.terminated, group.done))
        truncated = done & ~terminated if group.truncated is None else _flags(following, group.truncated)
        self._elapsed += 1
        if self._most is not None:
            truncated |= self._elapsed >= self._most
        return reward, terminated, truncated

    def _last(self, following: TensorDictBase, over: np.ndarray) -> dict[str, Any]:
        """``final_obs`` and ``final_info`` of the elements whose episode is over."""
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(over).tolist():
            element = following[i]
            final = {"final_obs": self._layout.observation(element), "final_info": self._layout.info(element)}
            infos = self._add_info(infos, final, i)
        return infos

    def _infos(self, data: TensorDictBase, mask: np.ndarray | None) -> dict[str, Any]:
        there = np.ones(self.num_envs, dtype=bool) if mask is None else mask
        return _masked(self._layout.info(data), there)

    # ------------------------------------------------------------------ others

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """A generator per element, seeded as the element was."""
        for i, generator in enumerate(self._generators):
            if generator is None:
                self._generators[i], self._seeds[i] = seeding.np_random()
        return tuple(self._generators)  # type: ignore[arg-type]

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of :attr:`np_random`."""
        self.np_random  # noqa: B018 - seeds what has no seed yet
        return tuple(self._seeds)  # type: ignore[arg-type]

    def render(self) -> tuple[Any, ...] | None:
        """One frame per element; None without a render mode."""
        if self.render_mode is None:
            return None
        render: Any = self.base_env.render
        frames = [one() for one in render] if isinstance(render, list) else render()
        return None if frames is None else tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the env; :meth:`close` calls this once."""
        self.base_env.close()

    def __repr__(self) -> str:
        name = type(innermost(self.base_env)).__name__ if self.spec is None else self.spec.id
        return f"{type(self).__name__}({name}, num_envs={self.num_envs})"


def as_gymnasium_vector(
    env: EnvBase,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    info_keys: Iterable[NestedKey] = (),
    to_numpy: bool = True,
    max_episode_steps: int | None = None,
) -> ExportedVectorEnv:
    """An env with a batch, transforms included, for any user of Gymnasium's vector envs.

    Whichever the autoreset mode, the transitions are the same; the modes differ in where the first observation of an
    episode is found:

    - ``NEXT_STEP``: the step after the end returns it, with reward 0, and ignores the action;
    - ``SAME_STEP``: the step that ends an episode returns it already, and the last one is ``info["final_obs"]``;
    - ``DISABLED``: ``reset(options={"reset_mask": ...})`` returns it, and has to be called.

    (An env whose elements share one random stream deals its numbers out in the order of its resets, which the modes
    change; a :class:`~envkit.SerialEnv` has one per element.)

    Args:
        env: an env with one batch dimension, one reward and one done flag per element.
        autoreset_mode: an ``AutoresetMode`` or its value: ``"NextStep"``, ``"SameStep"``, ``"Disabled"``.
        info_keys: observations that go into the info dictionary instead.
        to_numpy: if False, everything returned is tensors (and ``metadata["torch"]`` is True).
        max_episode_steps: truncates episodes after so many steps.

    Raises:
        SpecError: the env has another batch, several rewards or done flags, or ``info_keys`` names no observation.
        ValueError: the mode is unknown.
        UnsupportedSpaceError: a spec has no space.

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> env = as_gymnasium_vector(SerialEnv(3, lambda: GymEnv("CartPole-v1")))
        >>> observations, infos = env.reset(seed=0)
        >>> observations.shape, env.metadata["autoreset_mode"]
        ((3, 4), <AutoresetMode.NEXT_STEP: 'NextStep'>)
        >>> env.step(env.action_space.sample())[1]
        array([1., 1., 1.])
    """
    return ExportedVectorEnv(
        env,
        autoreset_mode=autoreset_mode,
        info_keys=info_keys,
        to_numpy=to_numpy,
        max_episode_steps=max_episode_steps,
    )


def _flags(data: TensorDictBase, key: NestedKey) -> np.ndarray:
    return data.get(key).detach().cpu().numpy().reshape(-1).copy()


def _masked(info: dict[str, Any], there: np.ndarray) -> dict[str, Any]:
    """The dictionary of arrays with a mask for each, nested dictionaries included."""
    out: dict[str, Any] = {}
    for key, value in info.items():
        out[key] = _masked(value, there) if isinstance(value, dict) else value
        out[f"_{key}"] = there.copy()
    return out
