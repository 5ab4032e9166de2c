"""Gymnasium environments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from tensordict import TensorDict, TensorDictBase

from envkit.core.masks import Masks
from envkit.core.row_env import RowEnv
from envkit.core.rows import RowPort
from envkit.errors import EnvDataError
from envkit.libs.attributes import ForwardsAttributes
from envkit.libs.backend import make_gymnasium
from envkit.libs.info import ReadsInfo
from envkit.libs.numpy_rows import row_reader, row_writer
from envkit.libs.simulator_copies import simulator_copied
from envkit.libs.translate import is_legacy, translate
from envkit.specs import Bounded, Categorical, Composite, TensorSpec, Unbounded, spec_from_space
from envkit.storage import Slab

if TYPE_CHECKING:
    from typing import Self

__all__ = ["GymEnv", "GymWrapper"]

BOOLS = (bool, np.bool_)
NUMBERS = (float, int, np.float64, np.float32, np.int64, np.int32)


class GymWrapper(ForwardsAttributes, ReadsInfo, RowEnv):
    """An env out of a Gymnasium env.

    Observations go under ``"observation"``, or under their own names if the space is a ``Dict``; rewards are float32 of
    shape ``(1,)``; ``terminated`` and ``truncated`` are the simulator's, ``done`` is their union.
    Attributes that the wrapper lacks are looked up in the wrapped env.

    Args:
        env: a Gymnasium env, or one of any release of its ancestor ``gym`` from 0.21 on.
        frame_skip: how many times each action is repeated; rewards are summed.
        from_pixels: adds the rendered frame, ``uint8`` of shape ``(H, W, 3)``, under ``"pixels"``. The env must
            have been made with ``render_mode="rgb_array"``.
        pixels_only: with ``from_pixels``, drop the other observations.
        categorical_action_encoding: discrete actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs; the simulator itself works on the CPU.

    Raises:
        UnsupportedSpaceError: a space without a tensor form.
        EnvDataError: (when run) the simulator returned something that contradicts its spaces.

    Examples:
        >>> import gymnasium
        >>> env = GymWrapper(gymnasium.make("Pendulum-v1", g=9.81))
        >>> env.action_spec.shape, env.g
        (torch.Size([1]), 9.81)
        >>> env.rollout(3).batch_size
        torch.Size([3])
    """

    def __init__(
        self,
        env: gymnasium.Env,
        *,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        if is_legacy(env):
            env = translate(env)
        if isinstance(env, gymnasium.vector.VectorEnv) or not isinstance(env, gymnasium.Env):
            raise TypeError(f"GymWrapper: expected a gymnasium.Env, found {type(env).__name__}")
        if frame_skip < 1:
            raise ValueError(f"frame_skip: expected at least 1, found {frame_skip}")
        self._env = env
        self.frame_skip, self.from_pixels, self.pixels_only = frame_skip, from_pixels, pixels_only
        self._seed: int | None = None
        self._readers, self._info_spec = [], Composite()
        spec = spec_from_space(env.observation_space)
        self._wraps_dict = isinstance(env.observation_space, gymnasium.spaces.Dict)
        self._simulator_spec: Composite = (
            spec if isinstance(spec, Composite) and self._wraps_dict else Composite(observation=spec)
        )
        self.observation_spec = self._observation_spec()
        self.full_action_spec = Composite(
            action=spec_from_space(env.action_space, one_hot=not categorical_action_encoding)
        )
        self.reward_spec = self._reward_spec()
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

    def _observation_spec(self) -> Composite:
        out: Composite = Composite() if self.from_pixels and self.pixels_only else self._simulator_spec.clone()
        if self.from_pixels:
            out["pixels"] = Bounded(0, 255, shape=self._first_frame().shape, dtype=torch.uint8)
        return out

    def _reward_spec(self) -> TensorSpec:
        return Unbounded((1,))

    def _read_reward(self, reward: Any) -> Any:
        """A reward that is no plain number, as a row holds it."""
        return _number(self, reward)

    def _first_frame(self) -> np.ndarray:
        if self._env.render_mode != "rgb_array":
            raise ValueError(
                f'from_pixels: expected an env with render_mode="rgb_array", found {self._env.render_mode!r}'
            )
        self._env.reset()
        return np.asarray(self._env.render())

    def _sample_infos(self) -> list[Mapping[str, Any]]:
        return [self._env.reset()[1], self._env.step(self._env.action_space.sample())[4]]

    # --------------------------------------------------------------- the port

    def _native_rows(self, root: Slab, following: Slab) -> RowPort:
        return GymRows(self, root, following)

    def _set_seed(self, seed: int | None) -> None:
        self._seed = seed

    def render(self) -> Any:
        """What the wrapped env renders."""
        return self._env.render()

    def _copied(self, kept: tuple) -> tuple:
        return copy.deepcopy(kept, simulator_copied(kept[0]["_env"].unwrapped, {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy at the same point of the same episode; or where the simulator only makes a new one, at the start."""
        with suppress(Exception):  # whatever it holds that cannot be copied
            memo.update(simulator_copied(self._env.unwrapped, {**memo}))
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(vars(self), memo))
        return twin

    def close(self) -> None:
        """Closes the wrapped env, once."""
        if not self.is_closed:
            self._env.close()
        super().close()

    def _simulator_attribute(self, simulator: gymnasium.Env, name: str) -> Any:
        return simulator.get_wrapper_attr(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(env={self._env}, batch_size={self.batch_size}, device={self.device})"


class GymEnv(GymWrapper):
    """An env out of a Gymnasium id.

    Args:
        env_name: an id known to ``gymnasium.make``.
        frame_skip, from_pixels, pixels_only, categorical_action_encoding, device: see :class:`GymWrapper`.
        **kwargs: passed on to ``gymnasium.make``. Its passive checker is off by default: what it looks for is
            checked here. With a ``render_mode`` for pictures, and no display, ``MUJOCO_GL`` and ``SDL_VIDEODRIVER`` are
            set where they are not.

    Raises:
        UnknownEnvError: no env is registered under ``env_name``.

    Examples:
        >>> env = GymEnv("CartPole-v1")
        >>> env.action_spec.n, env.observation_spec["observation"].shape
        (2, torch.Size([4]))
    """

    def __init__(
        self,
        env_name: str,
        *,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        if from_pixels:
            kwargs.setdefault("render_mode", "rgb_array")
        kwargs.setdefault("disable_env_checker", True)
        super().__init__(
            make_gymnasium(env_name, **kwargs),
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            categorical_action_encoding=categorical_action_encoding,
            device=device,
        )
        self.env_name = env_name

    def __repr__(self) -> str:
        return f"{type(self).__name__}(env={self.env_name}, batch_size={self.batch_size}, device={self.device})"


class GymRows:
    """A Gymnasium env bound to slabs."""

    advance = None  # the loop's own way is as quick, for one simulator

    def __init__(self, env: GymWrapper, root: Slab, following: Slab) -> None:
        self._env, self._root = env, root
        self._write_first = self._writer(root)
        self.step: Callable[..., bool] = self._stepper(root, following)

    def _writer(self, slab: Slab) -> Callable[[int, Any, Mapping[str, Any]], None]:
        """A function that writes everything observed, info and pixels included, to a row."""
        env, arrays = self._env, slab.arrays
        spec, readers = env._simulator_spec, env._readers
        sees_state = not (env.from_pixels and env.pixels_only)
        pixels = row_writer(env.observation_spec["pixels"], arrays, "pixels") if env.from_pixels else None
        write_info = _info_writer(env, slab)
        render = env._env.render
        if env._wraps_dict or not sees_state:
            observe = row_writer(spec, arrays, ()) if sees_state else None
        else:
            observe = row_writer(spec["observation"], arrays, "observation")
        if observe is not None and pixels is None and not readers:
            return lambda row, observation, info: observe(row, observation)

        def write(row: int, observation: Any, info: Mapping[str, Any]) -> None:
            if observe is not None:
                observe(row, observation)
            if pixels is not None:
                pixels(row, render())
            if readers:
                read = TensorDict()
                for reader in readers:
                    read = reader(info, read)
                write_info(row, read)

        return write

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; ``seed`` and ``options`` go to the simulator."""
        env = self._env
        if env._seed is not None and "seed" not in kwargs:
            kwargs["seed"] = env._seed
        env._seed = None
        observation, info = env._env.reset(**kwargs)
        self._write_first(row, observation, info)

    def _stepper(self, root: Slab, following: Slab) -> Callable[[int], bool]:
        """The step of :class:`~envkit.core.rows.RowPort` as one closure, everything it needs bound."""
        env, arrays = self._env, following.arrays
        advance, limit = _inner_step(env._env)
        if env.frame_skip > 1:
            advance, limit = _repeating(env), None
        most = 0 if limit is None else limit._max_episode_steps
        read = row_reader(env.full_action_spec["action"], root.arrays, "action")
        write = self._writer(following)
        observed_alone = not (env._wraps_dict or env.from_pixels or env._readers)
        if observed_alone:
            write_observation = row_writer(env._simulator_spec["observation"], arrays, "observation")
        rewards, dones = arrays["reward"], arrays["done"].reshape(-1)
        one_number = rewards.shape[1:] == (1,)
        rewards, numbers = (rewards.reshape(-1), NUMBERS) if one_number else (rewards, ())
        read_reward = env._read_reward
        terminations, truncations = arrays["terminated"].reshape(-1), arrays["truncated"].reshape(-1)

        def step(row: int) -> bool:
            result = advance(read(row))
            try:
                observation, reward, terminated, truncated, info = result
            except (TypeError, ValueError):
                raise _bad_tuple(env, result) from None
            if limit is not None:
                limit._elapsed_steps += 1
                if limit._elapsed_steps >= most:
                    truncated = True
            if observed_alone:
                write_observation(row, observation)
            else:
                write(row, observation, info)
            if reward.__class__ not in numbers:
                reward = read_reward(reward)
            rewards[row] = reward
            if terminated is False and truncated is False:
                return False
            if terminated.__class__ not in BOOLS or truncated.__class__ not in BOOLS:
                raise _bad_flag(env, terminated, truncated)
            if terminated:
                terminations[row] = dones[row] = True
            if truncated:
                truncations[row] = dones[row] = True
            return bool(terminated or truncated)

        return step


def _info_writer(env: GymWrapper, slab: Slab) -> Callable[[int, TensorDictBase], None]:
    """A function that writes what the readers have read to a row, if it is what their specs say."""
    leaves = list(env._info_spec.items(True, True))
    write = slab.writer([key for key, _ in leaves])

    def checked(row: int, values: TensorDictBase) -> None:
        for key, leaf in leaves:
            value = values.get(key, None)
            if value is None:
                raise EnvDataError(
                    f"{key!r} is missing from what the info readers of {env} wrote: found "
                    f"{sorted(map(str, values.keys(True, True)))}"
                )
            if isinstance(value, torch.Tensor) and not leaf.has_dynamic_shape and value.shape != leaf.shape:
                raise EnvDataError(
                    f"{key!r} written by an info reader of {env}: expected shape {list(leaf.shape)}, found "
                    f"{list(value.shape)}"
                )
        write(row, values)

    return checked


def _inner_step(env: gymnasium.Env) -> tuple[Callable, Any]:
    """The step inside the wrappers that ``gymnasium.make`` adds, and the time limit to keep in their place, if any.

    What those wrappers do is done here anyway (checks, the order of calls) or takes two lines (the time limit),
    and three calls a step are dear for a small env. Their state stays true, so that they can be stepped by hand as
    well.
    """
    limit = None
    while type(env) in (TimeLimit, OrderEnforcing, PassiveEnvChecker):
        if type(env) is TimeLimit:
            if limit is not None or not hasattr(env, "_elapsed_steps") or not hasattr(env, "_max_episode_steps"):
                break
            limit = env
        env = env.env  # type: ignore[attr-defined]
    return env.step, limit


def _repeating(env: GymWrapper) -> Callable:
    """A step that repeats its action, sums the rewards and stops at the end of the episode."""
    step, times = env._env.step, env.frame_skip

    def repeated(action: Any) -> tuple:
        total: Any = 0.0
        for _ in range(times):
            result = step(action)
            try:
                observation, reward, terminated, truncated, info = result
            except (TypeError, ValueError):
                raise _bad_tuple(env, result) from None
            total = total + (reward if reward.__class__ in NUMBERS else env._read_reward(reward))
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info

    return repeated


def _bad_tuple(env: GymWrapper, result: Any) -> EnvDataError:
    size = len(result) if isinstance(result, tuple) else type(result).__name__
    return EnvDataError(
        f"{env}.step: expected (observation, reward, terminated, truncated, info), found "
        f"{size if isinstance(size, str) else f'{size} values'}"
    )


def _number(env: GymWrapper, reward: Any) -> float:
    array = np.asarray(reward)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise EnvDataError(f"'reward' of {env}: expected a number, found {reward!r}")
    return float(array.reshape(()))


def _bad_flag(env: GymWrapper, terminated: Any, truncated: Any) -> EnvDataError:
    name, value = ("terminated", terminated) if terminated.__class__ not in BOOLS else ("truncated", truncated)
    return EnvDataError(f"{name!r} of {env}: expected a bool, found {value!r}")
