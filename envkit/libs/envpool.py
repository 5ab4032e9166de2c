"""EnvPool: batches of envs in C++ threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

from envkit.core.masks import Masks
from envkit.core.row_env import RowEnv
from envkit.errors import MissingDependencyError, ResetNeededError, UnknownEnvError, UnsupportedSpaceError
from envkit.libs.attributes import ForwardsAttributes
from envkit.libs.numpy_rows import row_reader
from envkit.specs import Categorical, Composite, TensorSpec, Unbounded, spec_from_space
from envkit.spelling import did_you_mean
from envkit.storage import Slab

__all__ = ["MultiThreadedEnv", "MultiThreadedEnvWrapper"]

SEEDS = 2**31  # those of a pool are below this number


class MultiThreadedEnvWrapper(ForwardsAttributes, RowEnv):
    """An env with a batch out of a pool of EnvPool, whose envs run in C++ threads.

    Keys are those of :class:`~envkit.GymWrapper`, each with the batch size ``(num_envs,)``, and so are their meanings:
    observations under ``"observation"`` or, where there are several, under their own names; float32 rewards of shape
    ``(num_envs, 1)``; ``"next"`` holds the true last observation of an episode, the root after it the first one of
    the next. A pool starts episodes by itself, with a step whose action is wasted; here they are started by resets,
    and no step is wasted. Any of the envs can be reset, or stepped, while the others rest. Info is not read.

    A pool takes its seed when it is made: the first reset of all envs after :meth:`set_seed` makes another pool like
    the given one. Env ``i`` is seeded with ``seed + i``, as EnvPool does, and seeds from ``2**31`` on are taken modulo
    that number.

    Attributes that the wrapper lacks are looked up in the pool. Copies of it, and snapshots, cannot be made.

    Args:
        env: what ``envpool.make_gymnasium`` (or ``make_dm``) returns, of a single player. All of its envs are stepped
            together: its ``batch_size`` is its ``num_envs``.
        categorical_action_encoding: discrete actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs; the simulators themselves work on the CPU.

    Raises:
        MissingDependencyError: EnvPool is not installed.
        TypeError: ``env`` is no pool.
        ValueError: the pool is an asynchronous one.
        UnsupportedSpaceError: its envs have several players.
        ResetNeededError: (when run) a step of an env whose episode is over.

    Examples:
        >>> import envpool  # doctest: +SKIP
        >>> pool = envpool.make_gymnasium("CartPole-v1", num_envs=4, seed=1)  # doctest: +SKIP
        >>> MultiThreadedEnvWrapper(pool).rollout(50, break_when_any_done=False).batch_size  # doctest: +SKIP
        torch.Size([4, 50])
    """

    def __init__(
        self,
        env: Any,
        *,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        pool = _Pool(env)
        super().__init__(device=device, batch_size=(pool.count,))
        self._pool = pool
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # bounds in float64 that Gymnasium casts to float32
            observed, action = _unbounded(env.spec.observation_space), env.spec.action_space
        spec = spec_from_space(observed)
        single = spec if isinstance(spec, Composite) else Composite(observation=spec)
        self._single_action = spec_from_space(action, one_hot=not categorical_action_encoding)
        self.observation_spec = single.expand(pool.count)
        self.full_action_spec = Composite(action=self._single_action).expand(pool.count)
        self.reward_spec = Unbounded((pool.count, 1))
        flag = Categorical(2, shape=(pool.count, 1), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=(pool.count,))

    @property
    def num_workers(self) -> int:
        """Number of envs."""
        return self.batch_size[0]

    def _native_rows(self, root: Slab, following: Slab) -> EnvPoolRows:
        return EnvPoolRows(self, root, following)

    def _set_seed(self, seed: int | None) -> None:
        self._pool.seed = None if seed is None else seed % SEEDS

    def close(self) -> None:
        """Lets go of the pool, whose threads end with it; may be called twice."""
        self._pool.close()
        super().close()

    def _simulator(self) -> Any:
        return self._pool.env if "_pool" in vars(self) else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pool.name}, batch_size={list(self.batch_size)}, device={self.device})"


class MultiThreadedEnv(MultiThreadedEnvWrapper):
    """Envs of EnvPool by their name, run in C++ threads; see :class:`MultiThreadedEnvWrapper`.

    Args:
        num_workers: number of envs.
        env_name: an id known to EnvPool (``envpool.list_all_envs()``).
        create_env_kwargs: keyword arguments for ``envpool.make_gymnasium``: ``seed``, ``num_threads``,
            ``max_episode_steps`` and the env's own.
        categorical_action_encoding, device: see :class:`MultiThreadedEnvWrapper`.

    Raises:
        MissingDependencyError: EnvPool is not installed.
        UnknownEnvError: EnvPool has no env called ``env_name``.

    Examples:
        >>> env = MultiThreadedEnv(3, "Pendulum-v1")  # doctest: +SKIP
        >>> env.reset()["observation"].shape  # doctest: +SKIP
        torch.Size([3, 3])
    """

    def __init__(
        self,
        num_workers: int,
        env_name: str,
        *,
        create_env_kwargs: dict[str, Any] | None = None,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers: expected a positive number, found {num_workers}")
        known = _envpool().list_all_envs()
        if env_name not in known:
            hint = did_you_mean(env_name, known)
            raise UnknownEnvError(f"unknown env id {env_name!r}: expected one of envpool.list_all_envs(){hint}")
        pool = _envpool().make_gymnasium(env_name, num_envs=num_workers, **(create_env_kwargs or {}))
        super().__init__(pool, categorical_action_encoding=categorical_action_encoding, device=device)
        self.env_name = env_name


class EnvPoolRows:
    """A pool bound to slabs."""

    def __init__(self, env: MultiThreadedEnvWrapper, root: Slab, following: Slab) -> None:
        pool = self._pool = env._pool
        self._write_first, self._write_next = _writer(env, root), _writer(env, following)
        self._action = _action_reader(env, root)
        done = following.arrays
        self._rewards = done["reward"][..., 0]
        self._done, self._terminated, self._truncated = (
            done[name][..., 0] for name in ("done", "terminated", "truncated")
        )
        self._indices = [pool.keys.index(name) for name in ("reward", "done", "trunc")]
        self._repeated = [
            (following.arrays[key], root.arrays[key]) for key in (*env.plan.observation_keys, *env.plan.done_keys)
        ]

    def advance(self, start: int, stop: int) -> None:
        """See :attr:`~envkit.core.rows.RowPort.advance`; the threads start new episodes while data is written here."""
        pool = self._pool
        for row in range(start, stop):
            state = pool.step(self._action(row))
            over = pool.over()
            if len(over):
                pool.begin(over)
            self._write(row, state)
            self._write_first(row + 1, state)
            if len(over):
                self._write_first((row + 1, over), pool.began())

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        """See :meth:`~envkit.core.rows.RowPort.reset`; a pool takes no arguments at a reset."""
        if kwargs:
            raise TypeError(f"EnvPool takes no arguments at a reset: found {sorted(kwargs)}; set_seed sets its seed")
        ids = None if masks is None else _chosen(masks["_reset"])
        if ids is None or len(ids) == self._pool.count:
            self._write_first(row, self._pool.reset_all())
        elif len(ids):
            self._write_first((row, ids), self._pool.reset(ids))

    def step(self, row: int, masks: Masks | None = None) -> bool:
        """See :meth:`~envkit.core.rows.RowPort.step`."""
        action = self._action(row)
        if masks is None:
            self._write(row, self._pool.step(action))
        else:
            for destination, source in self._repeated:
                destination[row] = source[row]
            self._rewards[row] = 0
            ids = _chosen(masks["_step"])
            if len(ids):
                self._write((row, ids), self._pool.step(action, ids))
        return bool(self._done[row].any())

    def _write(self, place: Any, state: list[np.ndarray]) -> None:
        self._write_next(place, state)
        reward, done, truncated = (state[index] for index in self._indices)
        self._rewards[place] = reward
        self._done[place] = done
        self._truncated[place] = truncated
        self._terminated[place] = done & ~truncated  # `done` is the union of both


class _Pool:
    """A pool through its C++ port, which takes and returns plain arrays, and what it has to be asked for."""

    def __init__(self, env: Any) -> None:
        mixin = _envpool().python.envpool.EnvPoolMixin
        if not isinstance(env, mixin):
            raise TypeError(f"MultiThreadedEnvWrapper: expected a pool of EnvPool, found {type(env).__name__}")
        config = env.config
        self.env, self.name, self.count = env, type(env).__name__, config["num_envs"]
        if env.is_async:
            raise ValueError(
                f"{self.name}: expected a pool whose batch_size is its num_envs ({self.count}), found "
                f"{config['batch_size']}; AsyncEnvPool steps those of its envs that are ready"
            )
        self.keys = list(env._state_keys)
        action_keys = [key for key in env._action_keys if "env_id" not in key]
        if config["max_num_players"] > 1 or len(action_keys) > 1:
            raise UnsupportedSpaceError(
                f"{self.name}: expected envs of one player and one action, found {config['max_num_players']} players "
                f"and the actions {action_keys}"
            )
        spec = env.spec.action_array_spec[action_keys[0]]
        self._dtype, self._shape = spec.dtype, tuple(size for size in spec.shape if size != -1)
        self._done = self.keys.index("done")
        self.seed: int | None = None  # for the pool to be made at the next reset
        self._all = np.arange(self.count, dtype=np.int32)
        # The envs whose episode is over: a pool would start the next one by a step of theirs.
        self._over = np.zeros(self.count, dtype=bool)
        self._any_over = False

    def reset_all(self) -> list[np.ndarray]:
        """Starts all episodes, with the new seed if there is one; returns the state's arrays in the order of keys."""
        if self.seed is not None:
            self.env, self.seed = self._reseeded(self.seed), None
        return self.reset(self._all)

    def reset(self, ids: np.ndarray) -> list[np.ndarray]:
        """Starts the episodes of envs, int32 ``[k]``; the state's arrays have the leading dimension ``k``."""
        self.begin(ids)
        return self.began()

    def begin(self, ids: np.ndarray) -> None:
        """The first half of :meth:`reset`, which only gives the order."""
        self.env._reset(ids)
        self._over[ids] = False
        self._any_over = bool(self._over.any())

    def began(self) -> list[np.ndarray]:
        """The second half of :meth:`reset`."""
        return self.env._recv()

    def over(self) -> np.ndarray:
        """The envs whose episode is over, int32 ``[k]``."""
        return np.flatnonzero(self._over).astype(np.int32) if self._any_over else self._all[:0]

    def step(self, action: np.ndarray, ids: np.ndarray | None = None) -> list[np.ndarray]:
        """Steps all envs, or those of ``ids``, int32 ``[k]``, with their part of the actions of all."""
        if self._any_over:
            self._refuse_late(ids)
        if ids is not None:
            action = action[ids]
        action = np.ascontiguousarray(action, self._dtype).reshape(len(action), *self._shape)
        chosen = self._all if ids is None else ids
        self.env._send([chosen, chosen, action])
        state = self.env._recv()
        done = state[self._done]
        if ids is not None:
            self._over[ids] = done
            self._any_over = bool(self._over.any())
        elif done.any():
            self._over[:] = done
            self._any_over = True
        return state

    def _refuse_late(self, ids: np.ndarray | None) -> None:
        late = np.flatnonzero(self._over if ids is None else self._over[ids])
        if len(late):
            late = late if ids is None else ids[late]
            raise ResetNeededError(
                f"{self.name}: expected a reset of the envs {late.tolist()}, whose episodes are over, before the next "
                f"step()"
            )

    def _reseeded(self, seed: int) -> Any:
        """A pool like the present one, with another seed."""
        spec = type(self.env.spec)(self.env.spec.config._replace(seed=seed, env_seed=[]))
        twin = type(self.env)(spec)
        for name, value in vars(self.env).items():
            if name.startswith("_render"):  # how to render is not part of its configuration
                setattr(twin, name, value)
        return twin

    def close(self) -> None:
        """Lets go of the pool."""
        if self.env is not None:
            self.env.close()
        self.env = None


def _chosen(mask: torch.Tensor) -> np.ndarray:
    return np.flatnonzero(mask.cpu().numpy()).astype(np.int32)


def _action_reader(env: MultiThreadedEnvWrapper, root: Slab) -> Callable[[int], np.ndarray]:
    """A function that gives the actions of all envs in a row, as the pool counts them."""
    single, array = env._single_action, root.arrays["action"]
    if isinstance(single, Categorical) and not single.start:
        return array.__getitem__
    return row_reader(env.full_action_spec["action"], root.arrays, "action")


def _writer(env: MultiThreadedEnvWrapper, slab: Slab) -> Callable[[Any, list[np.ndarray]], None]:
    """A function ``write(place, state)`` that writes what the pool observed to a row, or to some envs of a row."""
    names = [name for name in env._pool.keys if name.startswith("obs")]
    leaves: list[tuple[np.ndarray, int, int, tuple[int, ...]]] = []
    for name in names:
        path = tuple(name.replace("obs:", "").replace(":", ".").split("."))
        key: Any = "observation" if len(names) == 1 else path if len(path) > 1 else path[0]
        leaf: TensorSpec = env.observation_spec[key]
        start = leaf.start if isinstance(leaf, Categorical) else 0
        leaves.append((slab.arrays[key], env._pool.keys.index(name), start, tuple(leaf.shape[1:])))

    def write(place: Any, state: list[np.ndarray]) -> None:
        for array, index, start, shape in leaves:
            value = state[index]
            if start:
                value = value - start
            array[place] = value if value.shape[1:] == shape else value.reshape(len(value), *shape)

    return write


def _unbounded(space: gymnasium.Space) -> gymnasium.Space:
    """A space without the bounds of numbers that are there where EnvPool knows none.

    For floating-point numbers these are C++'s ``numeric_limits``, whose ``min`` is the smallest positive number.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        return gymnasium.spaces.Dict({name: _unbounded(part) for name, part in space.items()})
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        limits: Any = np.finfo(space.dtype)
        low = np.where(space.low == limits.tiny, -np.inf, space.low)
        high = np.where(space.high == limits.max, np.inf, space.high)
        return gymnasium.spaces.Box(low, high, space.shape, space.dtype)
    return space


def _envpool() -> Any:
    try:
        import envpool
    except ModuleNotFoundError as error:
        raise MissingDependencyError("EnvPool is not installed: expected `pip install 'envkit[envpool]'`") from error
    return envpool
