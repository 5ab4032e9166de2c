"""Atari games as they are commonly learnt from."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch

from envkit.core.env import EnvBase
from envkit.errors import MissingDependencyError, SpecError
from envkit.libs.backend import make_gymnasium
from envkit.libs.gym import GymWrapper
from envkit.transforms.at_reset import FireReset, NoopResetEnv
from envkit.transforms.base import Transform
from envkit.transforms.env import TransformedEnv
from envkit.transforms.frames import CatFrames
from envkit.transforms.images import GrayScale, Resize
from envkit.transforms.normalise import ObservationNorm
from envkit.transforms.rearrange import PermuteTransform, UnsqueezeTransform
from envkit.transforms.repeat import FrameSkipTransform, StickyAction
from envkit.transforms.rewards import RewardClipping

__all__ = ["atari"]


def atari(
    env: str | gymnasium.Env | EnvBase,
    *,
    noop_max: int = 30,
    frame_skip: int = 4,
    repeat_action_probability: float = 0.0,
    terminal_on_life_loss: bool = False,
    fire_reset: bool = False,
    screen_size: int = 84,
    grayscale: bool = True,
    scale: bool = False,
    clip_rewards: bool = True,
    stack: int = 4,
    **kwargs: Any,
) -> TransformedEnv:
    """An Atari game behind the transforms that deep Q-networks were learnt with, which have become the usual ones.

    From inside out: sticky actions; no-ops at the beginning of an episode (:class:`~envkit.NoopResetEnv`); each action
    repeated, the greatest values of the last two frames shown (:class:`~envkit.FrameSkipTransform`); the fire button at
    the beginning; gray levels; frames made smaller, by means over areas; rewards clipped to [-1, 1]; the last frames
    stacked (:class:`~envkit.CatFrames`). The pixels are those of Gymnasium's ``AtariPreprocessing`` for an id (gray
    levels come from the emulator itself), and those of SB3's ``AtariWrapper`` for an env that shows colours.

    It is a single env: give ``lambda: atari(...)`` to :class:`~envkit.SerialEnv` or :class:`~envkit.ParallelEnv`.

    Args:
        env: an id of ``ale_py`` (``"ALE/Pong-v5"``); or a Gymnasium env, or an env, whose frames are the only bytes it
            shows, ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]``, and which does not skip frames itself.
        noop_max: the greatest number of no-ops, 0 for none.
        frame_skip: how many times an action is repeated.
        repeat_action_probability: of sticky actions, frame by frame: 0.25 in the protocol of Machado et al.
        terminal_on_life_loss: whether the loss of a life ends the episode; the next one goes on in the same game, after
            the no-ops. Where episodes shall end with the game, see :class:`~envkit.EndOfLifeTransform`.
        fire_reset: whether episodes begin with the fire button, which some games wait for.
        screen_size: width and height of the frames.
        grayscale: whether frames are gray, ``[1, H, W]``; otherwise ``[3, H, W]``.
        scale: whether pixels are floats from 0 to 1, instead of bytes, which take a quarter of the memory.
        clip_rewards: whether rewards are clipped.
        stack: how many frames are stacked, along the channels.
        **kwargs: for ``gymnasium.make``, with an id.

    Raises:
        MissingDependencyError: ``ale_py`` is not installed, and an id was given.
        SpecError: the env has no such frames, or more than one entry of bytes.
        ValueError: the env skips frames itself, or options do not go with it.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015; Machado et al.,
        "Revisiting the Arcade Learning Environment", JAIR 61, 2018.

    Examples:
        >>> import numpy as np
        >>> class Noise(gymnasium.Env):
        ...     observation_space = gymnasium.spaces.Box(0, 255, (210, 160, 3), np.uint8)
        ...     action_space = gymnasium.spaces.Discrete(6)
        ...     def reset(self, *, seed=None, options=None):
        ...         super().reset(seed=seed)
        ...         return self.observation_space.sample(), {}
        ...     def step(self, action):
        ...         return self.observation_space.sample(), 5.0, False, False, {}
        >>> data = atari(Noise()).rollout(3)
        >>> data["observation"].shape, data["observation"].dtype, data["next", "reward"].max()
        (torch.Size([3, 4, 84, 84]), torch.uint8, tensor(1.))
    """
    chain: list[Transform] = []
    if isinstance(env, str):
        # The emulator has sticky actions and gray levels itself.
        options = {"frameskip": 1, "repeat_action_probability": repeat_action_probability}
        env = _make(env, {"obs_type": "grayscale" if grayscale else "rgb", **options, **kwargs})
    else:
        if kwargs:
            raise ValueError(f"atari: expected {sorted(kwargs)} with the id of a game alone, found {env}")
        if repeat_action_probability:
            chain.append(StickyAction(repeat_action_probability))
    game = _wrapped(env, terminal_on_life_loss)
    simulator = game._env.unwrapped if isinstance(game, GymWrapper) else game
    if frame_skip > 1 and getattr(simulator, "_frameskip", 1) != 1:
        raise ValueError(f"atari: expected an env that does not skip frames (frameskip=1), found {game}")
    key = _frames(game)
    if noop_max:
        chain.append(NoopResetEnv(noop_max))
    if frame_skip > 1:
        chain.append(FrameSkipTransform(frame_skip, max_keys=[key]))
    if fire_reset:
        chain.append(FireReset())
    chain += _as_channels(game.observation_spec[key].shape, key, grayscale)
    chain.append(Resize(screen_size, interpolation="area", in_keys=[key]))
    if scale:
        chain.append(ObservationNorm(0.0, 255.0, [key], standard_normal=True))
    if clip_rewards:
        chain.append(RewardClipping(-1.0, 1.0))
    if stack > 1:
        chain.append(CatFrames(stack, -3, [key]))
    return TransformedEnv(game, chain)


def _make(name: str, options: dict[str, Any]) -> gymnasium.Env:
    try:
        import ale_py
    except ImportError as error:
        raise MissingDependencyError("ale_py is not installed: expected `pip install 'envkit[atari]'`") from error
    gymnasium.register_envs(ale_py)
    return make_gymnasium(name, disable_env_checker=True, **options)


def _wrapped(env: gymnasium.Env | EnvBase, lives_end: bool) -> EnvBase:
    if isinstance(env, EnvBase):
        if lives_end:
            raise ValueError(f"atari: terminal_on_life_loss: expected an id or a gymnasium.Env, found {env}")
        return env
    return GymWrapper(_EpisodicLives(env) if lives_end else env)


def _frames(game: EnvBase) -> Any:
    """The key of the frames."""
    leaves = game.observation_spec.items(True, True)
    keys = [key for key, leaf in leaves if leaf.dtype is torch.uint8 and leaf.ndim > 1]
    if len(keys) != 1:
        raise SpecError(
            f"atari: expected one observation of bytes, the frames, found {keys} in {game.observation_spec}"
        )
    return keys[0]


def _as_channels(shape: torch.Size, key: Any, grayscale: bool) -> list[Transform]:
    """Transforms of frames as the game shows them to ``[C, H, W]``."""
    if len(shape) == 2:
        return [UnsqueezeTransform(-3, [key])]
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise SpecError(f"atari: {key!r}: expected frames [H, W], [H, W, 1] or [H, W, 3], found {list(shape)}")
    if grayscale and shape[-1] == 3:
        return [GrayScale([key], channel_dim=-1)]
    return [PermuteTransform((-1, -3, -2), [key])]


class _EpisodicLives(gymnasium.Wrapper):
    """Ends an episode with each life, and goes on with the same game while there are more."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._lives, self._over = 0, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins another game only if there is none, if there is a seed, or if a no-op ends the one that is on."""
        over = self._over or seed is not None
        if not over:
            frame, _, terminated, truncated, info = self.env.step(0)
            over = terminated or truncated
        if over:
            frame, info = self.env.reset(seed=seed, options=options)
        self._over, self._lives = False, self._left()
        return frame, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps, and terminates with a life."""
        frame, reward, terminated, truncated, info = self.env.step(action)
        self._over = terminated or truncated
        before, self._lives = self._lives, self._left()
        # Some games show no lives for a while before they say that they are over.
        lost = 0 < self._lives < before
        return frame, reward, terminated or lost, truncated, info

    def _left(self) -> int:
        return self.env.unwrapped.ale.lives()  # type: ignore[attr-defined]
