"""dm_control environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from envkit.core.row_env import RowEnv
from envkit.errors import MissingDependencyError, UnknownEnvError
from envkit.libs.class_property import class_property
from envkit.libs.dm_control_rows import DMControlRows
from envkit.libs.dm_specs import spec_from_array
from envkit.libs.headless import draw_without_display
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.spelling import did_you_mean
from envkit.storage import Slab

__all__ = ["DMControlEnv", "DMControlWrapper"]

SEEDS = 2**32  # those of a RandomState are below this number


class DMControlWrapper(SimulatorEnv, RowEnv):
    """An env out of a dm_control env, or any other ``dm_env.Environment``.

    ==================== ============================= =======================================================
    entry                dtype and shape               content
    ==================== ============================= =======================================================
    (the names of the    theirs, float64 as a rule;    the observations, each under its own name; one that has
    observations)        ``[1]`` for numbers           no name is called ``observation``
    pixels               uint8 ``[H, W, 3]``           the frame seen by a camera (``from_pixels``)
    action               theirs, float64 as a rule     the action, within its bounds
    reward               float32 ``[1]``               the reward
    terminated           bool ``[1]``                  the episode ended with a discount of 0
    truncated            bool ``[1]``                  it ended with another one: at the time limit
    done                 bool ``[1]``                  it ended
    ==================== ============================= =======================================================

    ``"next"`` holds the last observation of an episode. A dm_env starts another episode by itself when it is stepped
    after the last step of one; here that is an error. The simulator's random state is seeded by the first reset after
    :meth:`set_seed`, where it stands: what a task drew when it was made stays as it was (a
    :class:`DMControlEnv` makes the task anew). Attributes that the wrapper lacks are looked up in the wrapped env.
    ``DoubleToFloat()`` makes observations and actions float32, which the networks of agents take.

    Args:
        env: a ``dm_env.Environment``.
        frame_skip: how many times each action is repeated; rewards are summed.
        from_pixels: adds the rendered frame under ``"pixels"``.
        pixels_only: with ``from_pixels``, drop the other observations.
        camera_id: number or name of the camera for pixels; -1 is the free one.
        render_kwargs: further arguments for ``physics.render``: ``height`` and ``width`` (240 and 320), ...
        categorical_action_encoding: discrete actions are indices; if False, one-hot vectors.
        device: device of inputs and outputs; the simulator itself works on the CPU.

    Raises:
        TypeError: ``env`` is no dm_env.
        UnsupportedSpaceError: observations or actions without a tensor form.
        ValueError: pixels are wanted of an env without physics.
        ResetNeededError: (when run) a step after the end of an episode.

    Examples:
        >>> from dm_control import suite  # doctest: +SKIP
        >>> env = DMControlWrapper(suite.load("cartpole", "balance"), frame_skip=4)  # doctest: +SKIP
        >>> env.rollout(3)["next", "position"].shape  # doctest: +SKIP
        torch.Size([3, 3])
    """

    libname = "dm_control"

    def __init__(
        self,
        env: Any,
        *,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        camera_id: int | str = 0,
        render_kwargs: Mapping[str, Any] | None = None,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        if not all(callable(getattr(env, name, None)) for name in ("reset", "step", "observation_spec", "action_spec")):
            raise TypeError(f"{type(self).__name__}: expected a dm_env.Environment, found {type(env).__name__}")
        if frame_skip < 1:
            raise ValueError(f"frame_skip: expected at least 1, found {frame_skip}")
        self._env = env
        self.frame_skip, self.from_pixels, self.pixels_only = frame_skip, from_pixels, pixels_only
        self.render_kwargs = {"camera_id": camera_id, **(render_kwargs or {})}
        self._seed: int | None = None
        self._over = True
        observed = env.observation_spec()
        self._named = isinstance(observed, Mapping)
        named = observed if self._named else {"observation": observed}
        specs = {name: spec_from_array(name, part) for name, part in named.items()}
        self._simulator_spec = Composite() if from_pixels and pixels_only else Composite(specs)
        spec = self._simulator_spec.clone()
        if from_pixels:
            spec["pixels"] = Bounded(0, 255, shape=self.render().shape, dtype=torch.uint8)
        self.observation_spec = spec
        action = spec_from_array("action", env.action_spec())
        if isinstance(action, Categorical) and not categorical_action_encoding:
            action = action.to_one_hot_spec()
        self.full_action_spec = Composite(action=action)
        self.reward_spec = Unbounded((1,), dtype=torch.float32)
        flag = Categorical(2, shape=(1,), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone())

    @class_property
    def available_envs(cls) -> list[tuple[str, list[str]]]:  # noqa: N805 - a property of the class
        """The domains of dm_control's suite, each with the names of its tasks."""
        return list(_tasks().items())

    # --------------------------------------------------------------- the port

    def _native_rows(self, root: Slab, following: Slab) -> DMControlRows:
        return DMControlRows(self, root, following)

    def _set_seed(self, seed: int | None) -> None:
        self._seed = None if seed is None else seed % SEEDS

    def _seeded(self, seed: int) -> Any:
        """The simulator, whose random state starts from a seed."""
        state = getattr(self._env, "random_state", None)
        if state is None:
            state = getattr(getattr(self._env, "task", None), "random", None)
        if not isinstance(state, np.random.RandomState):
            raise TypeError(
                f"set_seed: expected {self} to have a random_state, or a task with random, that is a RandomState, "
                f"found {type(state).__name__}"
            )
        state.seed(seed)
        return self._env

    def _begin(self) -> Any:
        """Starts an episode and returns its first TimeStep."""
        if self._seed is not None:
            self._env, self._seed = self._seeded(self._seed), None
        first = self._env.reset()
        self._over = False
        return first

    def render(self, **kwargs: Any) -> np.ndarray:
        """A frame, as ``physics.render`` draws it.

        Args:
            **kwargs: arguments for ``physics.render`` in place of those in ``render_kwargs``.

        Returns:
            uint8 of shape ``[H, W, 3]``.

        Raises:
            ValueError: the env has no physics.
        """
        physics = getattr(self._env, "physics", None)
        if physics is None:
            raise ValueError(f"render: expected an env with physics, found {type(self._env).__name__}")
        return physics.render(**{**self.render_kwargs, **kwargs})

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(env={self._describe()}, batch_size={list(self.batch_size)}, device={self.device})"
        )

    def _describe(self) -> str:
        return type(self._env).__name__


class DMControlEnv(DMControlWrapper):
    """An env of dm_control's suite; see :class:`DMControlWrapper`.

    Without a display it draws by EGL, unless ``MUJOCO_GL`` says otherwise. The first reset after :meth:`set_seed` makes
    the task anew, as ``suite.load`` does with ``task_kwargs={"random": seed}``; seeds from ``2**32`` on are taken
    modulo that number.

    Args:
        env_name: name of the domain.
        task_name: name of the task.
        frame_skip, from_pixels, pixels_only, camera_id, render_kwargs, categorical_action_encoding, device: see
            :class:`DMControlWrapper`.
        environment_kwargs: arguments for dm_control's ``Environment`` (``control_timestep``, ``flat_observation``...).
        visualize_reward: whether geoms are coloured by the reward in rendered frames.
        **task_kwargs: arguments for the task: ``random`` (a seed), ``time_limit`` in seconds, the task's own.

    Raises:
        MissingDependencyError: dm_control is not installed, or not with a mujoco that it works with.
        UnknownEnvError: the suite has no such domain, or the domain no such task.

    Examples:
        >>> env = DMControlEnv("cheetah", "run", from_pixels=True, frame_skip=4)  # doctest: +SKIP
        >>> env.rollout(2)["pixels"].shape  # doctest: +SKIP
        torch.Size([2, 240, 320, 3])
        >>> DMControlEnv.available_envs[0]  # doctest: +SKIP
        ('acrobot', ['swingup', 'swingup_sparse'])
    """

    def __init__(
        self,
        env_name: str,
        task_name: str,
        *,
        frame_skip: int = 1,
        from_pixels: bool = False,
        pixels_only: bool = True,
        camera_id: int | str = 0,
        render_kwargs: Mapping[str, Any] | None = None,
        categorical_action_encoding: bool = True,
        device: torch.device | str | int | None = None,
        environment_kwargs: Mapping[str, Any] | None = None,
        visualize_reward: bool = False,
        **task_kwargs: Any,
    ) -> None:
        recipe = {"environment_kwargs": environment_kwargs, "visualize_reward": visualize_reward}
        super().__init__(
            _load(env_name, task_name, task_kwargs, recipe),
            frame_skip=frame_skip,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            camera_id=camera_id,
            render_kwargs=render_kwargs,
            categorical_action_encoding=categorical_action_encoding,
            device=device,
        )
        self.env_name, self.task_name = env_name, task_name
        self._task_kwargs, self._recipe = task_kwargs, recipe

    def _seeded(self, seed: int) -> Any:
        self._env.physics.free()
        return _load(self.env_name, self.task_name, {**self._task_kwargs, "random": seed}, self._recipe)

    def close(self) -> None:
        """Closes the simulator and frees its memory and what it draws with, once."""
        if not self.is_closed:
            self._env.physics.free()
        super().close()

    def _describe(self) -> str:
        return f"{self.env_name}/{self.task_name}"


def _load(domain: str, task: str, task_kwargs: Mapping[str, Any], recipe: Mapping[str, Any]) -> Any:
    tasks = _tasks()
    if domain not in tasks:
        raise UnknownEnvError(f"unknown domain {domain!r}: expected one of {list(tasks)}{did_you_mean(domain, tasks)}")
    if task not in tasks[domain]:
        hint = did_you_mean(task, tasks[domain])
        raise UnknownEnvError(f"unknown task {task!r} of {domain!r}: expected one of {tasks[domain]}{hint}")
    try:
        return _suite().load(domain, task, task_kwargs=dict(task_kwargs), **recipe)
    except AttributeError as error:
        import mujoco

        if int(mujoco.__version__.partition(".")[0]) < 4:
            raise
        raise MissingDependencyError(
            f"this dm_control does not work with mujoco {mujoco.__version__}: expected `pip install 'mujoco>=3.17,<4'`"
        ) from error


def _tasks() -> dict[str, list[str]]:
    """The names of the suite's tasks, by domain."""
    return {domain: list(tasks) for domain, tasks in _suite().TASKS_BY_DOMAIN.items()}


def _suite() -> Any:
    draw_without_display()  # dm_control looks when it is imported
    return import_simulator("dm_control.suite", "dm_control", "`pip install 'envkit[dm-control]'`")
