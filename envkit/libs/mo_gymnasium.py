"""MO-Gymnasium: Gymnasium envs with several objectives."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np

from envkit.core.global_generators import call_with, seeded_states
from envkit.core.masks import Masks
from envkit.core.rows import RowPort
from envkit.errors import EnvDataError, MissingDependencyError, UnsupportedSpaceError
from envkit.libs.backend import set_gym_backend
from envkit.libs.class_property import class_property
from envkit.libs.gym import GymEnv, GymWrapper
from envkit.specs import TensorSpec, Unbounded, spec_from_space
from envkit.storage import Slab

__all__ = ["MOGymEnv", "MOGymWrapper"]


class MOGymWrapper(GymWrapper):
    """An env out of a Gymnasium env with a reward for each of several objectives, as those of MO-Gymnasium.

    Everything is as in :class:`~envkit.GymWrapper`, but for ``"reward"``: float32 of shape ``[objectives]``, in the
    bounds of the simulator's ``reward_space``; with ``frame_skip``, which sums rewards, it has none. Some of these
    simulators (minecart) draw from numpy's global generator: :meth:`set_seed` gives each its own state of that, and
    leaves the global one alone.

    Args:
        env: a Gymnasium env whose innermost one has a ``reward_space``, a ``Box`` of one dimension.
        **options: those of :class:`~envkit.GymWrapper`.

    Raises:
        UnsupportedSpaceError: there is no such ``reward_space``.
        EnvDataError: (when run) the reward has another shape; a wrapper that adds the objectives up, for one, makes an
            env for :class:`~envkit.GymWrapper`.

    Examples:
        >>> import mo_gymnasium  # doctest: +SKIP
        >>> env = MOGymWrapper(mo_gymnasium.make("minecart-v0"))  # doctest: +SKIP
        >>> env.rollout(10)["next", "reward"].shape  # doctest: +SKIP
        torch.Size([10, 3])
    """

    libname = "mo-gymnasium"

    def __init__(self, env: gymnasium.Env, **options: Any) -> None:
        super().__init__(env, **options)
        self._states: dict[str, Any] = {}

    def _reward_spec(self) -> TensorSpec:
        space = getattr(self._env.unwrapped, "reward_space", None)
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise UnsupportedSpaceError(
                f"'reward' of {self._env}: expected a reward_space that is a Box of one dimension, found {space}; "
                f"GymWrapper and GymEnv take envs with a single reward"
            )
        self._objectives = space.shape
        if self.frame_skip > 1:
            return Unbounded(space.shape)
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return spec_from_space(gymnasium.spaces.Box(low, high, dtype=np.float32))

    def _read_reward(self, reward: Any) -> Any:
        if self._objectives == (1,):
            return super()._read_reward(reward)
        array = np.asarray(reward)
        if array.shape != self._objectives or array.dtype.kind not in "biuf":
            raise EnvDataError(
                f"'reward' of {self}: expected numbers of shape {list(self._objectives)}, found {array.dtype} of shape "
                f"{list(array.shape)}"
            )
        return array

    def _set_seed(self, seed: int | None) -> None:
        super()._set_seed(seed)
        self._states = {} if seed is None else seeded_states(seed, ["numpy"])

    def _native_rows(self, root: Slab, following: Slab) -> RowPort:
        return _OwnNumpyRows(self, super()._native_rows(root, following))


class _OwnNumpyRows:
    """The rows of an env that finds its own state in numpy's global generator."""

    advance = None

    def __init__(self, env: MOGymWrapper, port: RowPort) -> None:
        self._env, self._reset, self._step = env, port.reset, port.step

    def reset(self, row: int, masks: Masks | None = None, **kwargs: Any) -> None:
        call_with(self._env._states, self._reset, row, masks, **kwargs)

    def step(self, row: int, masks: Masks | None = None) -> bool:
        return call_with(self._env._states, self._step, row)


class MOGymEnv(GymEnv, MOGymWrapper):
    """An env out of an id of MO-Gymnasium; see :class:`MOGymWrapper`.

    Args:
        env_name: an id of MO-Gymnasium, one of :attr:`available_envs`.
        **options: those of :class:`~envkit.GymEnv`; what it does not know goes to the simulator.

    Raises:
        MissingDependencyError: MO-Gymnasium is not installed.
        UnknownEnvError: no env is registered under ``env_name``.
        UnsupportedSpaceError: it is an env with a single reward.

    Examples:
        >>> env = MOGymEnv("deep-sea-treasure-v0")  # doctest: +SKIP
        >>> env.reward_spec.shape  # doctest: +SKIP
        torch.Size([2])
    """

    def __init__(self, env_name: str, **options: Any) -> None:
        _import_mo_gymnasium()
        with set_gym_backend("gymnasium"), warnings.catch_warnings():  # the ids are in its registry
            warnings.filterwarnings("ignore", ".*precision lowered by casting")  # the bounds of its own spaces
            super().__init__(env_name, **options)

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The ids of MO-Gymnasium; none if it is not installed."""
        try:
            _import_mo_gymnasium()
        except MissingDependencyError:
            return []
        return sorted(name for name, spec in gymnasium.registry.items() if _is_its_own(spec.entry_point))


def _is_its_own(entry_point: Any) -> bool:
    return isinstance(entry_point, str) and entry_point.startswith("mo_gymnasium.")


def _import_mo_gymnasium() -> None:
    try:
        import mo_gymnasium  # noqa: F401 - registers its ids
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "MO-Gymnasium is not installed: expected `pip install 'envkit[mo-gymnasium]'`"
        ) from error
