"""How a collector collects: its options, and what they must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.core.exploration import ExplorationType

__all__ = ["CollectorOptions"]

NEVER = (None, -1)


@dataclass(frozen=True, kw_only=True)
class CollectorOptions:
    """The options of a :class:`~envkit.Collector`, checked when they are put together.

    Raises:
        ValueError: a number out of range, or options that exclude each other.
        TypeError: something that cannot be called, or a replay buffer that cannot be extended.

    Examples:
        >>> options = CollectorOptions(frames_per_batch=60, device="cpu", storing_device="cuda")
        >>> options.device_of("env"), options.device_of("storing")
        (device(type='cpu'), device(type='cuda'))
        >>> options.check_envs(8)
        Traceback (most recent call last):
        ValueError: frames_per_batch: expected a positive multiple of the 8 envs, found 60
    """

    frames_per_batch: int
    """Steps per batch, summed over the envs of a batch; a multiple of their number."""
    total_frames: int = -1
    """Steps in all, at which the iteration ends; -1 never ends. Batches are of one size: the last one is a full one,
    even if that oversteps the total."""
    max_frames_per_traj: int | None = None
    """Steps after which a trajectory is truncated, and its env reset; None or -1 for never."""
    init_random_frames: int | None = None
    """Batches are collected with random actions, as the env draws them, until there are so many frames; None or -1 for
    none. Such a batch has no entries that only the policy writes; a ``postproc`` can drop them from later ones, for a
    replay buffer whose items are all alike."""
    reset_at_each_iter: bool = False
    """Reset all envs at the start of each batch."""
    set_truncated: bool = False
    """Mark the last step of each batch as truncated, where it is not done anyway. The episode goes on in the next
    batch, under its number."""
    split_trajs: bool = False
    """Hand out trajectories, padded with zeros, as :func:`~envkit.split_trajectories` makes them of a batch."""
    postproc: Callable[[TensorDictBase], TensorDictBase] | None = None
    """Called on each batch, after it was split; what it returns is handed out."""
    replay_buffer: Any = None
    """What batches are handed over to, by its ``extend(batch)``; the collector yields None instead."""
    extend_buffer: bool = True
    """Hand over batches as they are, whose items are what stands along their first dimension: a trajectory piece for
    each env of a batch. If False their single steps, in the order in which they were made."""
    return_same_td: bool = False
    """Hand out one TensorDict again and again, its values replaced, in place of one of its own for each batch."""
    exploration_type: ExplorationType = ExplorationType.RANDOM
    """How the policy turns distributions into actions: it samples, by default."""
    device: torch.device | str | int | None = None
    """One device for env, policy and batches, where the next three do not say otherwise."""
    env_device: torch.device | str | int | None = None
    """Where the env is moved."""
    policy_device: torch.device | str | int | None = None
    """Where the policy works. A module whose tensors are elsewhere is copied there; see
    :meth:`~envkit.Collector.update_policy_weights_`."""
    storing_device: torch.device | str | int | None = None
    """Where batches are handed out."""

    def __post_init__(self) -> None:
        if self.frames_per_batch < 1:
            raise ValueError(f"frames_per_batch: expected at least 1, found {self.frames_per_batch}")
        if self.total_frames != -1 and self.total_frames < 1:
            raise ValueError(f"total_frames: expected a positive number or -1, found {self.total_frames}")
        if self.max_frames_per_traj not in NEVER and self.max_frames_per_traj < 1:
            raise ValueError(f"max_frames_per_traj: expected a positive number or -1, found {self.max_frames_per_traj}")
        if self.init_random_frames not in NEVER and self.init_random_frames < 0:
            raise ValueError(f"init_random_frames: expected no negative number but -1, found {self.init_random_frames}")
        if self.postproc is not None and not callable(self.postproc):
            raise TypeError(f"postproc: expected a function, found {type(self.postproc).__name__}")
        if self.replay_buffer is not None and not callable(getattr(self.replay_buffer, "extend", None)):
            raise TypeError(f"replay_buffer: expected an extend method, found {type(self.replay_buffer).__name__}")
        if self.split_trajs and self.return_same_td:
            raise ValueError("split_trajs and return_same_td: expected one of them; split batches differ in size")
        if self.split_trajs and not self.extend_buffer:
            raise ValueError("split_trajs and extend_buffer=False: expected one of them; padding is no step")

    def check_envs(self, count: int) -> None:
        """Checks that a batch of frames can be shared out among ``count`` envs.

        Raises:
            ValueError: it cannot.
        """
        if self.frames_per_batch % count:
            raise ValueError(
                f"frames_per_batch: expected a positive multiple of the {count} envs, found {self.frames_per_batch}"
            )

    @property
    def frame_limit(self) -> int | None:
        """``max_frames_per_traj``, or None if there is no limit."""
        return None if self.max_frames_per_traj in NEVER else self.max_frames_per_traj

    @property
    def random_frames(self) -> int:
        """``init_random_frames``, or 0 if there are none."""
        return 0 if self.init_random_frames in NEVER else self.init_random_frames

    def device_of(self, role: str) -> torch.device | None:
        """The device of ``"env"``, ``"policy"`` or ``"storing"``; None where nothing is to be moved."""
        own = getattr(self, f"{role}_device")
        device = self.device if own is None else own
        return None if device is None else torch.device(device)

    @property
    def batches(self) -> int | None:
        """The number of batches; None if there is no end to them."""
        return None if self.total_frames == -1 else -(-self.total_frames // self.frames_per_batch)
