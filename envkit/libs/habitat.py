"""Habitat: embodied agents in scanned homes."""

from __future__ import annotations

from typing import Any

import torch

from envkit.errors import MissingDependencyError
from envkit.libs.backend import env_ids, gym_backend, set_gym_backend
from envkit.libs.class_property import class_property
from envkit.libs.gym import GymEnv
from envkit.libs.simulator import import_simulator

__all__ = ["HabitatEnv"]


class HabitatEnv(GymEnv):
    """A task of Habitat, by the id under which Habitat-Lab registers it with ``gym``.

    Data is that of :class:`~envkit.GymWrapper`: each sensor goes under its own name (``"head_depth"``, ``"joint"``,
    ...), or inside ``"observation"``, beside ``"desired_goal"`` and ``"achieved_goal"``, where the task has goals. It
    is written against Habitat-Lab 0.3.3, whose envs are of gym 0.22, and tested against a fake of its API.

    Args:
        env_name: one of :attr:`available_envs`, or ``"Habitat-v0"`` with ``cfg_file_path="...yaml"``.
        frame_skip, from_pixels, pixels_only, categorical_action_encoding: see :class:`~envkit.GymWrapper`. Pixels are
            those of a third person in the ids that begin with ``HabitatRender``.
        device: device of inputs and outputs; if it is a GPU, the simulator renders on it.
        **kwargs: passed on to ``gym.make``: ``override_options=["habitat.environment.max_episode_steps=20"]``, ...

    Raises:
        MissingDependencyError: Habitat-Lab is not installed.
        UnknownEnvError: there is no such task.

    Examples:
        >>> env = HabitatEnv("HabitatRenderPick-v0", from_pixels=True)  # doctest: +SKIP
        >>> env.rollout(3)["pixels"].dtype  # doctest: +SKIP
        torch.uint8
    """

    libname = "habitat"

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
        _register()
        place = None if device is None else torch.device(device)
        if place is not None and place.type == "cuda":
            number = f"habitat.simulator.habitat_sim_v0.gpu_device_id={place.index or 0}"
            kwargs["override_options"] = [*kwargs.get("override_options", ()), number]
        with set_gym_backend("gym"):
            super().__init__(
                env_name,
                frame_skip=frame_skip,
                from_pixels=from_pixels,
                pixels_only=pixels_only,
                categorical_action_encoding=categorical_action_encoding,
                device=device,
                **kwargs,
            )

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The ids that Habitat-Lab registers; none if it is not installed."""
        try:
            _register()
        except MissingDependencyError:
            return []
        with set_gym_backend("gym"):
            return sorted(name for name in env_ids(gym_backend()) if name.startswith("Habitat"))


def _register() -> None:
    import_simulator("habitat.gym", "Habitat-Lab", "habitat-sim (of conda) and `pip install habitat-lab`")
