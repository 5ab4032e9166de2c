"""Isaac Gym: batches of envs on a GPU."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from tensordict import TensorDictBase

from envkit.core.global_generators import call_with, seeded_states
from envkit.errors import EnvDataError, MissingDependencyError, ResetNeededError, UnknownEnvError
from envkit.libs.class_property import class_property
from envkit.libs.simulator import SimulatorEnv, import_simulator
from envkit.specs import Bounded, Categorical, Composite, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["IsaacGymEnv", "IsaacGymWrapper"]


class IsaacGymWrapper(SimulatorEnv):
    """An env with a batch out of a task of IsaacGymEnvs (a ``VecTask``).

    ============================== ======================== =======================================================
    entry                          dtype and shape          content
    ============================== ======================== =======================================================
    obs                            float32 ``[N, size]``    what each env observes
    states                         float32 ``[N, size]``    if the task has them: what a critic may know besides
    action                         float32 ``[N, size]``    within the task's bounds
    reward                         float32 ``[N, 1]``
    done, terminated, truncated    bool ``[N, 1]``          ends; those in the task's ``"time_outs"`` are truncations
    ============================== ======================== =======================================================

    A task starts the next episode of an env with the step after the one that ended it, whose action is wasted. Here it
    is started by the reset (``reset_idx`` and ``compute_observations``): ``"next"`` holds the last observation of an
    episode, the root after it the first of the next one, and no step is wasted. A task that starts the next episode
    within the step that ends one, whose observation then is the first of the next, is wrapped with ``auto_reset=True``.
    Any of the envs can be reset; they are stepped together, and a ``"_step"`` mask may leave out none but those whose
    episode is over.

    Tasks draw from torch's global generators: from the reset after :meth:`~envkit.EnvBase.set_seed` on, they find
    states of their own there. Isaac Gym wants to be imported before torch, and so before envkit. The wrapper is written
    against IsaacGymEnvs 1.5 and tested against a fake of its API. Attributes that it lacks are looked up in the task.

    Args:
        env: the task.
        device: device of inputs and outputs; by default the task's ``rl_device``.

    Raises:
        TypeError: ``env`` has not the interface of a task.
        ResetNeededError: (when run) a step of an env whose episode is over.
        EnvDataError: (when run) a ``"_step"`` mask leaves out an env whose episode goes on.

    Examples:
        >>> import isaacgym, isaacgymenvs  # doctest: +SKIP
        >>> task = isaacgymenvs.make(0, "Ant", 2000, "cuda:0", "cuda:0")  # doctest: +SKIP
        >>> IsaacGymWrapper(task).rollout(3)["obs"].shape  # doctest: +SKIP
        torch.Size([2000, 3, 60])
    """

    libname = "isaacgymenvs"

    def __init__(self, env: Any, *, device: torch.device | str | int | None = None) -> None:
        missing = [
            name for name in ("num_envs", "num_obs", "action_space", "reset_idx", "step") if not hasattr(env, name)
        ]
        if missing:
            found = f"{type(env).__name__}, without {missing}"
            raise TypeError(f"{type(self).__name__}: expected a VecTask of IsaacGymEnvs, found {found}")
        count = env.num_envs
        super().__init__(device=env.rl_device if device is None else device, batch_size=(count,))
        self._env = env
        self._states: dict[str, Any] = {}
        more = list(inspect.signature(env.reset_idx).parameters.values())[1:]
        # Tasks with goals of their own take the envs that get a new goal, which those that are reset get anyway.
        self._more_ids = sum(parameter.default is parameter.empty for parameter in more)
        self._over = torch.zeros(count, dtype=torch.bool, device=env.rl_device)
        spec = Composite(obs=Unbounded((count, env.num_obs)), shape=(count,))
        if getattr(env, "num_states", 0):
            spec["states"] = Unbounded((count, env.num_states))
        self.observation_spec = spec
        low, high = (
            torch.as_tensor(bound, dtype=torch.float32) for bound in (env.action_space.low, env.action_space.high)
        )
        self.action_spec = Bounded(low, high, low.shape).expand(count, *low.shape)
        self.reward_spec = Unbounded((count, 1))
        flag = Categorical(2, shape=(count, 1), dtype=torch.bool)
        self.full_done_spec = Composite(done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=(count,))

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The tasks of IsaacGymEnvs; none if it is not installed."""
        try:
            return sorted(_isaacgym().tasks.isaacgym_task_map)
        except MissingDependencyError:
            return []

    def _set_seed(self, seed: int | None) -> None:
        self._seed = seed

    def _reset(self, tensordict: TensorDictBase | None = None) -> dict[str, Any]:
        env = self._env
        seed, self._seed = self._seed, None
        if seed is not None:
            self._states = seeded_states(seed, {"torch", "torch" if env.device == "cpu" else str(env.device)})
        mask = None if tensordict is None else tensordict.get("_reset", None)
        some = torch.ones_like(self._over) if mask is None else mask.reshape(-1).to(self._over.device)
        ids = some.nonzero().flatten().to(env.device)
        call_with(self._states, env.reset_idx, ids, *[ids[:0]] * self._more_ids)
        if hasattr(env, "compute_observations"):
            env.compute_observations()
        self._over &= ~some
        return self._seen(env.reset())

    def _step(self, tensordict: TensorDictBase) -> dict[str, Any]:
        mask = tensordict.get("_step", None)
        idle = torch.zeros_like(self._over) if mask is None else ~mask.reshape(-1).to(self._over.device)
        self._refuse(idle)
        action = tensordict.get("action").to(self._env.rl_device)
        observations, reward, over, extras = call_with(self._states, self._env.step, action)
        done = over.bool()
        limits = extras.get("time_outs")
        truncated = torch.zeros_like(done) if limits is None else done & limits.bool()
        self._over = torch.where(idle, self._over, done)
        return {
            **self._seen(observations),
            "reward": reward.clone().reshape(-1, 1),
            "terminated": (done & ~truncated).reshape(-1, 1),
            "truncated": truncated.reshape(-1, 1),
        }

    def _refuse(self, idle: torch.Tensor) -> None:
        late, alive = self._over & ~idle, idle & ~self._over
        if bool(late.any()) and self._runtime.auto_reset is None:
            raise ResetNeededError(
                f"{self}: expected a reset of the envs {late.nonzero().flatten().tolist()}, whose episodes are over, "
                f"before the next step()"
            )
        if bool(alive.any()):
            raise EnvDataError(
                f'{self}: expected a "_step" mask that leaves out no envs but those whose episode is over, as a task '
                f"steps all of its envs; found {alive.nonzero().flatten().tolist()} left out as well"
            )

    def _seen(self, observations: Any) -> dict[str, torch.Tensor]:
        # Copies: tasks write into the same buffers at every step.
        return {name: observations[name].clone() for name in self.observation_spec.keys()}

    def render(self) -> Any:
        """What the task's camera sees, if it was made with ``virtual_screen_capture=True``."""
        return self._env.render(mode="rgb_array")


class IsaacGymEnv(IsaacGymWrapper):
    """A task of IsaacGymEnvs, by its name; see :class:`IsaacGymWrapper`.

    Args:
        task: one of :attr:`available_envs`.
        num_envs: how many envs.
        device: device of the simulation, and of inputs and outputs.
        seed: seeds the task as it is made; -1 for any.
        headless: whether there is no window.
        **kwargs: passed on to ``isaacgymenvs.make``.

    Raises:
        MissingDependencyError: Isaac Gym, or IsaacGymEnvs, is not installed.
        UnknownEnvError: there is no such task.

    Examples:
        >>> env = IsaacGymEnv("Ant", num_envs=2000, device="cuda:0")  # doctest: +SKIP
        >>> env.rollout(3).batch_size  # doctest: +SKIP
        torch.Size([2000, 3])
    """

    def __init__(
        self,
        task: str,
        *,
        num_envs: int,
        device: torch.device | str = "cuda:0",
        seed: int = -1,
        headless: bool = True,
        **kwargs: Any,
    ) -> None:
        library = _isaacgym()
        known = library.tasks.isaacgym_task_map
        if task not in known:
            hint = did_you_mean(task, known)
            raise UnknownEnvError(f"unknown task {task!r}: expected one of IsaacGymEnv.available_envs{hint}")
        made = library.make(
            seed=seed,
            task=task,
            num_envs=num_envs,
            sim_device=str(device),
            rl_device=str(device),
            headless=headless,
            **kwargs,
        )
        super().__init__(made)
        self.task = task


def _isaacgym() -> Any:
    install = "Isaac Gym of https://developer.nvidia.com/isaac-gym and IsaacGymEnvs, imported before torch and envkit"
    import_simulator("isaacgym", "Isaac Gym", install)
    return import_simulator("isaacgymenvs", "IsaacGymEnvs", install)
