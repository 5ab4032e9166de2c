"""Brax: physics in JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.errors import MissingDependencyError, UnknownEnvError
from envkit.libs.class_property import class_property
from envkit.libs.headless import draw_without_display
from envkit.libs.jax_arrays import import_with_jax
from envkit.libs.jax_env import JaxEnv, check_layers
from envkit.libs.jax_program import Program
from envkit.specs import Bounded, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["BraxEnv", "BraxWrapper"]


class BraxWrapper(JaxEnv):
    """An env out of a Brax env, for any number of elements at once.

    ==================== ============================= =======================================================
    entry                dtype and shape               content
    ==================== ============================= =======================================================
    observation          float32 ``[*batch, n]``       the observation; where Brax shows several, a nested
                                                       TensorDict of them by their names
    state                nested                        Brax's state, physics and info included: what a step reads
    action               float32 ``[*batch, a]``       controls, from -1 to 1
    reward               float32 ``[*batch, 1]``       the reward
    terminated           bool ``[*batch, 1]``          the episode ended by itself
    truncated            bool ``[*batch, 1]``          it ended at the limit of an ``EpisodeWrapper``
    ==================== ============================= =======================================================

    The env is stateless: any TensorDict with a ``"state"`` and an ``"action"`` can be stepped, in any order.
    ``"next"`` holds the last observation of an episode, and each episode starts at a state of its own.

    With ``requires_grad=True`` a step is differentiable, and gradients flow from rewards, observations and states to
    actions, through as many steps as are taken by :meth:`step` and :meth:`step_mdp` (rollouts and collectors run
    without gradients). JAX computes them by another run of the step, so that what is kept for each is its state.

    Reset and step are compiled when they are first called, and again for each other number of elements, which takes
    seconds; copies of an env share what is compiled. Attributes that the wrapper lacks are looked up in the wrapped
    env.

    Args:
        env: a ``brax.envs.Env`` of one element.
        batch_size: number of elements, as a batch size. Without one the env goes by the batch size of its input.
        requires_grad: whether steps are differentiable.
        jit: whether to compile reset and step.
        device: device of inputs and outputs; where the simulator runs is up to JAX.

    Raises:
        MissingDependencyError: Brax is not installed.
        TypeError: ``env`` is no Brax env.
        ValueError: ``env`` makes a batch, or starts episodes by itself.

    Examples:
        >>> from brax import envs  # doctest: +SKIP
        >>> env = BraxWrapper(envs.get_environment("fast"), batch_size=[4])  # doctest: +SKIP
        >>> env.rollout(10)["next", "state", "pipeline_state", "x", "pos"].shape  # doctest: +SKIP
        torch.Size([4, 10, 3])
    """

    libname = "brax"

    def __init__(
        self,
        env: Any,
        *,
        batch_size: Sequence[int] | torch.Size | None = None,
        requires_grad: bool = False,
        jit: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        envs = _envs()
        check_layers(env, envs.Env, envs.Wrapper, "env")

        def begin(key: Any) -> tuple[Any, dict[str, Any]]:
            state = env.reset(key)
            return state, {"observation": state.obs}

        def advance(state: Any, action: Any) -> tuple[Any, ...]:
            state = env.step(state, action.astype(np.float32))
            done, truncated = state.done > 0, state.info.get("truncation", 0 * state.done) > 0
            reward = state.reward.astype(np.float32)[None]
            return state, {"observation": state.obs}, reward, (done & ~truncated)[None], truncated[None]

        super().__init__(
            Program(env, begin, advance, jit=jit),
            observed={},
            action=Bounded(-1.0, 1.0, shape=(env.action_size,), dtype=torch.float32),
            reward=Unbounded((1,), dtype=torch.float32),
            requires_grad=requires_grad,
            device=device,
            batch_size=batch_size,
        )

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """Names of all envs that :class:`BraxEnv` can make; none if Brax is not installed."""
        try:
            return sorted(_envs()._envs)
        except MissingDependencyError:
            return []

    def render(self, tensordict: TensorDictBase, height: int = 240, width: int = 320, camera: str | None = None) -> Any:
        """Frames of states, drawn by MuJoCo.

        Args:
            tensordict: data with a ``"state"``.
            height, width: in pixels.
            camera: the name of one of the model's cameras.

        Returns:
            A uint8 array ``[height, width, 3]`` for data without a batch size, a list of one for each element
            otherwise.
        """
        states = [state.pipeline_state for state in self._states(tensordict)]
        frames = self._program.simulator.render(states, height, width, camera)
        return list(frames) if tensordict.ndim else frames[0]


class BraxEnv(BraxWrapper):
    """An env of Brax by its name; see :class:`BraxWrapper`.

    Args:
        env_name: one of :attr:`available_envs`.
        max_episode_steps: the number of steps after which an episode is truncated; by default most envs go on for
            ever.
        batch_size, requires_grad, jit, device: see :class:`BraxWrapper`.
        **kwargs: for ``brax.envs.get_environment``: the physics ``backend`` (``"generalized"``, ``"spring"``,
            ``"positional"`` or ``"mjx"``), and the env's own.

    Raises:
        MissingDependencyError: Brax is not installed.
        UnknownEnvError: Brax has no env called ``env_name``.
        ValueError: ``max_episode_steps`` is not positive.

    Examples:
        >>> env = BraxEnv("ant", batch_size=[2], max_episode_steps=1000, backend="spring")  # doctest: +SKIP
        >>> env.reset()["observation"].shape  # doctest: +SKIP
        torch.Size([2, 27])
    """

    def __init__(
        self,
        env_name: str,
        *,
        max_episode_steps: int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        requires_grad: bool = False,
        jit: bool = True,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: expected a positive number, found {max_episode_steps}")
        envs, known = _envs(), self.available_envs
        if env_name not in known:
            hint = did_you_mean(env_name, known)
            raise UnknownEnvError(f"unknown env name {env_name!r}: expected one of {known}{hint}")
        env = envs.get_environment(env_name, **kwargs)
        if max_episode_steps is not None:
            env = envs.training.EpisodeWrapper(env, max_episode_steps, action_repeat=1)
        super().__init__(env, batch_size=batch_size, requires_grad=requires_grad, jit=jit, device=device)
        self.env_name, self.max_episode_steps = env_name, max_episode_steps


def _envs() -> Any:
    draw_without_display()  # MuJoCo looks when it is imported
    return import_with_jax("brax.envs", "Brax")
