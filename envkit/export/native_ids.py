"""The ids of envkit's own envs, ``"envkit/<Name>-v0"``.

Gymnasium registers what a package's import registers (its entry points for plug-ins are gone since 1.0): after
``import envkit``, or by the id ``"envkit:envkit/<Name>-v0"``. Registering takes strings alone; an env's module is
imported when one is made. A version goes up whenever dynamics, specs or rewards change.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from envkit import native
from envkit.core.env import EnvBase
from envkit.transforms import StepCounter, TransformedEnv

__all__ = ["NATIVE_IDS", "is_native", "make_native", "register_native"]

NATIVE_IDS: dict[str, dict[str, Any]] = {
    "Acrobot": {"max_episode_steps": 500, "reward_threshold": -100.0},
    "CartPole": {"max_episode_steps": 500, "reward_threshold": 475.0},
    "MountainCar": {"max_episode_steps": 200, "reward_threshold": -110.0},
    "MountainCarContinuous": {"max_episode_steps": 999, "reward_threshold": 90.0},
    "Pendulum": {"max_episode_steps": 200, "kwargs": {"cos_sin": True}},
    # One agent, whose random actions may be illegal: Gymnasium's action spaces know no masks of their own.
    "ConnectFour": {"kwargs": {"single_player": True, "illegal_moves": "lose"}},
    "TicTacToe": {"kwargs": {"single_player": True, "illegal_moves": "lose"}},
}
"""What Gymnasium is told of each env; limits, thresholds and observations are those of its own of the same name."""


def register_native() -> None:
    """Registers the envs of ``envkit.native``; doing so again changes nothing."""
    for name, options in NATIVE_IDS.items():
        if f"envkit/{name}-v0" in gymnasium.registry:
            continue
        gymnasium.register(
            f"envkit/{name}-v0",
            entry_point="envkit.export.registration:make_single",
            vector_entry_point="envkit.export.registration:make_vector",
            **{**options, "kwargs": {"env": f"envkit.native:{name}Env", **options.get("kwargs", {})}},
        )


def is_native(id: str) -> bool:
    """Whether an id is of one of the envs above."""
    return _name(id) in NATIVE_IDS


def make_native(id: str, **kwargs: Any) -> EnvBase:
    """Makes the env of an id as it is, without Gymnasium around it: a batch is one env, and knows of masks.

    Args:
        id: an id that :func:`is_native` takes.
        **kwargs: arguments of the env, ``batch_size`` among them, over those that are registered.

    Raises:
        TypeError: the env takes no such argument.

    Examples:
        >>> make_native("envkit/TicTacToe-v0", batch_size=[8], opponent="minimax").batch_size
        torch.Size([8])
    """
    options = NATIVE_IDS[_name(id)]
    env = getattr(native, f"{_name(id)}Env")(**{**options.get("kwargs", {}), **kwargs})
    limit = options.get("max_episode_steps")
    return env if limit is None else TransformedEnv(env, StepCounter(limit))


def _name(id: str) -> str:
    name = id.removeprefix("envkit/").removesuffix("-v0")
    return name if id == f"envkit/{name}-v0" else ""
