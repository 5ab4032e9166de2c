"""Environments by their ids, whose first part may name a library other than Gymnasium."""

from __future__ import annotations

from typing import Any

from envkit import BatchSizeTransform, Compose, EnvBase, GymEnv, PixelRenderTransform, SerialEnv, TransformedEnv
from envkit.export.native_ids import is_native, make_native
from envkit.libs.pettingzoo import PettingZooEnv
from envkit.libs.vmas import VmasEnv

__all__ = ["make_copies", "make_one"]

VMAS, PETTINGZOO = "vmas/", "pettingzoo/"
RENDERING = ("render_mode", "from_pixels", "pixels_only")


def make_one(id: str, **kwargs: Any) -> EnvBase:
    """Build an environment without a batch.

    Args:
        id: ``"envkit/<Name>-v0"``, ``"vmas/<scenario>"``, ``"pettingzoo/<task>"`` (whose agents act at once), or an id
            of Gymnasium.
        **kwargs: Arguments of the environment; those by which Gymnasium's show ``"pixels"`` are understood by all.

    Raises:
        UnknownEnvError: No environment has this id.
        MissingDependencyError: What it needs is not installed.
        TypeError, ValueError: The environment does not take the arguments.

    Example:
        >>> make_one("envkit/CartPole-v0").batch_size
        torch.Size([])
    """
    if is_native(id):
        return make_native(id, **kwargs)
    options = {name: value for name, value in kwargs.items() if name not in RENDERING}
    shows = [PixelRenderTransform()] if kwargs.get("from_pixels") else []
    if id.startswith(VMAS):
        # Its environments are batches.
        return TransformedEnv(
            VmasEnv(id.removeprefix(VMAS), num_envs=1, **options), Compose(*shows, BatchSizeTransform([]))
        )
    if id.startswith(PETTINGZOO):
        mode = {"render_mode": kwargs["render_mode"]} if "render_mode" in kwargs else {}
        env = PettingZooEnv(id.removeprefix(PETTINGZOO), parallel=True, **options, **mode)
        return TransformedEnv(env, *shows) if shows else env
    return GymEnv(id, **kwargs)


def make_copies(id: str, count: int, **kwargs: Any) -> EnvBase:
    """Build a batch of copies of an environment; arguments and errors are those of :func:`make_one`.

    Example:
        >>> make_copies("CartPole-v1", 8).batch_size
        torch.Size([8])
    """
    if is_native(id):
        return make_native(id, batch_size=[count], **kwargs)
    if id.startswith(VMAS):
        return VmasEnv(id.removeprefix(VMAS), num_envs=count, **kwargs)
    return SerialEnv(count, lambda: make_one(id, **kwargs))
