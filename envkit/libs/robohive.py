"""RoboHive: tasks of robots in MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from envkit.errors import MissingDependencyError
from envkit.libs.backend import make_gymnasium, set_gym_backend
from envkit.libs.class_property import class_property
from envkit.libs.gym import GymWrapper
from envkit.libs.simulator import import_simulator

__all__ = ["RoboHiveEnv"]


class RoboHiveEnv(GymWrapper):
    """A task of RoboHive, by its id.

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    observation                    float32 ``[size]``       the task's vector (its ``obs_keys``)
    pixels                         uint8 ``[cameras, H, W,  with ``from_pixels``: what each camera sees
                                   3]``
    depths                         float32 ``[cameras, H,   with ``from_depths``: how far away that is
                                   W]``
    ============================== ======================== =======================================================

    All else is as in :class:`~envkit.GymWrapper`. :meth:`~envkit.EnvBase.set_seed` seeds the generator of the task,
    which RoboHive leaves alone at a reset. The wrapper is written against RoboHive 0.7 on Gymnasium and tested against
    a fake of its API.

    Args:
        env_name: one of :attr:`available_envs`.
        from_pixels: adds ``"pixels"``.
        pixels_only: with ``from_pixels``, drop the vector.
        from_depths: with ``from_pixels``, adds ``"depths"``.
        cameras: the names of the cameras; by default all that the task has, in the order of their numbers.
        image_size: height and width of the pictures.
        frame_skip, categorical_action_encoding, device: see :class:`~envkit.GymWrapper`. A ``frame_skip`` repeats steps
            of the task, which is itself made of several of MuJoCo.
        **kwargs: passed on to the task.

    Raises:
        MissingDependencyError: RoboHive is not installed.
        UnknownEnvError: there is no such task.
        ValueError: cameras, or depths, without ``from_pixels``; an unknown camera, or none.

    Examples:
        >>> env = RoboHiveEnv("FrankaReachRandom-v0", from_pixels=True, cameras=["left_cam"])  # doctest: +SKIP
        >>> env.rollout(3)["pixels"].shape  # doctest: +SKIP
        torch.Size([3, 1, 224, 224, 3])
    """

    libname = "robohive"

    def __init__(
        self,
        env_name: str,
        *,
        from_pixels: bool = False,
        pixels_only: bool = True,
        from_depths: bool = False,
        cameras: Sequence[str] | None = None,
        image_size: tuple[int, int] = (224, 224),
        frame_skip: int = 1,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        _robohive()
        if (from_depths or cameras is not None) and not from_pixels:
            found = "from_depths" if from_depths else f"cameras={list(cameras or ())}"
            raise ValueError(f"RoboHiveEnv: expected {found} with from_pixels=True, found from_pixels=False")
        names: list[str] = []
        if from_pixels:
            known = self.get_available_cams(env_name)
            names = known if cameras is None else list(cameras)
            unknown = [name for name in names if name not in known]
            if unknown or not names:
                raise ValueError(f"cameras: expected some of {known}, those of {env_name}, found {unknown or names}")
            size = "{}x{}".format(*image_size)
            keys = [f"rgb:{name}:{size}:2d" for name in names]
            # Depths are told only beside the picture of the same camera.
            kwargs["visual_keys"] = [*keys, *(key.replace("rgb:", "d:", 1) for key in keys if from_depths)]
        super().__init__(
            _Senses(_make(env_name, **kwargs), names, image_size, from_depths, from_pixels and pixels_only),
            frame_skip=frame_skip,
            categorical_action_encoding=categorical_action_encoding,
            device=device,
        )
        self.env_name, self.cameras = env_name, names

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The ids of RoboHive's tasks; none if it is not installed."""
        try:
            return list(_robohive().robohive_env_suite)
        except MissingDependencyError:
            return []

    @classmethod
    def get_available_cams(cls, env_name: str) -> list[str]:
        """The names of a task's cameras, in the order of their numbers."""
        _robohive()
        env = _make(env_name)
        try:
            model = env.unwrapped.sim.model  # type: ignore[attr-defined]
            return [model.id2name(number, "camera") for number in range(model.ncam)]
        finally:
            env.close()


class _Senses(gymnasium.Wrapper):
    """A task of RoboHive whose pictures are among its observations, and that can be seeded at a reset."""

    def __init__(
        self, env: gymnasium.Env, cameras: Sequence[str], size: tuple[int, int], depths: bool, pixels_only: bool
    ) -> None:
        super().__init__(env)
        count, (height, width) = len(cameras), size
        parts: dict[str, spaces.Space] = {} if pixels_only else {"observation": env.observation_space}
        if count:
            parts["pixels"] = spaces.Box(0, 255, (count, height, width, 3), np.uint8)
        if depths:
            parts["depths"] = spaces.Box(0.0, np.inf, (count, height, width), np.float32)
        self._keys = [f"{name}:{height}x{width}:2d" for name in cameras]
        self.observation_space = spaces.Dict(parts, sort_keys=False)

    def reset(self, *, seed: int | None = None, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """See :meth:`gymnasium.Env.reset`."""
        bare: Any = self.unwrapped
        if seed is not None:
            bare.seed(seed)
            # The robot was handed the generator that the task had before.
            bare.robot.np_random = bare.np_random
        vector, info = self.env.reset(seed=seed, **kwargs)
        return self._sensed(vector), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See :meth:`gymnasium.Env.step`."""
        vector, *rest = self.env.step(action)
        return self._sensed(vector), *rest  # type: ignore[return-value]

    def _sensed(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        parts: Mapping[str, Any] = self.observation_space.spaces  # type: ignore[attr-defined]
        visuals = self.unwrapped.get_visuals() if self._keys else {}  # type: ignore[attr-defined]
        out = {
            "observation": np.asarray(vector, np.float32),
            "pixels": np.array([visuals[f"rgb:{key}"] for key in self._keys]),
        }
        if "depths" in parts:
            out["depths"] = np.concatenate([visuals[f"d:{key}"] for key in self._keys]).astype(np.float32)
        return {name: out[name] for name in parts}


def _make(env_name: str, **kwargs: Any) -> gymnasium.Env:
    with set_gym_backend("gymnasium"):
        return make_gymnasium(env_name, **{"disable_env_checker": True, **kwargs})


def _robohive() -> Any:
    return import_simulator("robohive", "RoboHive", "`pip install robohive`, with its models")
