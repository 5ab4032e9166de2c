"""Collecting batches of steps in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.collectors.base import CollectorBase
from envkit.collectors.limit import FrameLimit, with_truncated
from envkit.collectors.options import CollectorOptions
from envkit.collectors.resume import check_row, from_plain, global_random_state, set_global_random_state, to_plain
from envkit.collectors.trajectories import TrajectoryCounter
from envkit.collectors.weights import load_weights, placed
from envkit.core.env import EnvBase
from envkit.core.exploration import set_exploration_type
from envkit.core.loose import LooseRunner
from envkit.core.plain_snapshot import plain_snapshot, restore_plain_snapshot
from envkit.core.policies import Policy
from envkit.core.rollout import make_runner
from envkit.core.runner import Runner
from envkit.core.seeding import spawn_seed

__all__ = ["Collector"]

STATE = ("frames", "begun", "restarts", "seed", "trajectories", "ages", "random")


class Collector(CollectorBase):
    """An iterator over batches of steps of a policy in an env, which never stop at the end of an episode.

    Each batch is a TensorDict of its own, of batch size ``(*env.batch_size, frames_per_batch // env.numel())``,
    whose last dimension is named ``"time"``. ``("collector", "traj_ids")``, int64 of that size, numbers the
    trajectories, across batches: a new number where an env was reset, lower ones where that was earlier. The policy
    runs without gradients.

    Args:
        create_env_fn: an env, or a function that makes one. A batch of envs is collected from as one.
        policy: reads a TensorDict, writes the action; None draws random actions.
        policy_factory: a function that makes the policy, in place of ``policy``.
        **options: those of :class:`~envkit.CollectorOptions`, of which ``frames_per_batch`` must be given.

    Attributes:
        env: the env. If episodes are to be truncated (``max_frames_per_traj``, ``set_truncated``) and it has no
            truncated flag, the env given is seen through a transform that adds one.
        policy: the policy.
        options: the options.
        frames: how many steps were collected.
        postproc: the option of that name, which may be changed.

    Raises:
        TypeError: no env, or both ``policy`` and ``policy_factory``.
        ValueError: options out of range, or that do not fit the env.

    Examples:
        >>> from envkit import GymEnv
        >>> with Collector(GymEnv("CartPole-v1"), frames_per_batch=50, total_frames=100) as collector:
        ...     [batch.batch_size for batch in collector]
        [torch.Size([50]), torch.Size([50])]
        >>> collector = Collector(GymEnv("Pendulum-v1"), frames_per_batch=6, max_frames_per_traj=4)
        >>> batch = collector.next()
        >>> batch["collector", "traj_ids"]
        tensor([0, 0, 0, 0, 1, 1])
        >>> batch["next", "truncated"].squeeze(-1)
        tensor([False, False, False,  True, False, False])
    """

    def __init__(
        self,
        create_env_fn: EnvBase | Callable[[], EnvBase],
        policy: Policy | None = None,
        *,
        policy_factory: Callable[[], Policy] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(CollectorOptions(**options), policy, policy_factory)
        env = create_env_fn if isinstance(create_env_fn, EnvBase) else create_env_fn()
        if not isinstance(env, EnvBase):
            raise TypeError(f"create_env_fn: expected an env or a function that makes one, found {type(env).__name__}")
        self.env = self._prepared(env)
        self.policy = policy if policy_factory is None else policy_factory()
        self._acting = placed(self.policy, self.options.device_of("policy"))
        count = self.env.numel()
        self._steps = self.options.frames_per_batch // count
        self._trajectories = TrajectoryCounter(count)
        limit = self.options.frame_limit
        self._limit = None if limit is None else FrameLimit(self.env.plan, limit)
        self._seed: int | None = None
        self._begun = self._restarts = self._warned = False
        self._onward: TensorDictBase | None = None
        self._runner = self._make_runner()

    def _prepared(self, env: EnvBase) -> EnvBase:
        """The env, as the options want it."""
        options, device = self.options, self.options.device_of("env")
        options.check_envs(env.numel())
        if options.return_same_td and env.has_dynamic_specs:
            raise ValueError("return_same_td: expected an env whose data has fixed shapes, found dynamic specs")
        if options.frame_limit is not None or options.set_truncated:
            env = with_truncated(env)
        return env if device is None or env.device == device else env.to(device)

    def _make_runner(self) -> Runner | LooseRunner:
        """A loop for the batches from here on, with random actions as long as those are wanted."""
        self._acts_at_random = self.frames < self.options.random_frames
        device = self.options.device_of("policy")
        return make_runner(
            self.env, None if self._acts_at_random else self._acting, None if device == self.env.device else device
        )

    # ------------------------------------------------------------- collecting

    def next(self) -> TensorDictBase | Any:
        """The next batch, whether ``total_frames`` are reached or not; None if it went to a replay buffer.

        Raises:
            NonFiniteError: the env returned NaN, or an infinity where its bounds are finite.
            PolicyError: the policy does not write the action its spec asks for.
            ClosedEnvError: the collector was shut down.
        """
        runner, steps = self._ready(), self._steps
        with set_exploration_type(self.options.exploration_type):
            if self._limit is None:
                runner.run(0, steps)
            else:
                self._limit.run(runner, steps)
        return self._hand_over(self._finished(runner))

    def growing(self, steps: int) -> Iterator[tuple[TensorDictBase, int]]:
        """The next batch while it grows: yields it, and how many steps of each env it has, after every ``steps`` more.

        What comes after these is yet to be collected. So a policy can learn from each step as soon as it was made, and
        batches need not be short, each of which has a price. Trajectories are numbered when the batch is complete;
        random actions end after exactly ``init_random_frames``, rounded up to ``steps``. The state of a collector is
        to be saved between batches, not amid one.

        Raises:
            ValueError: ``steps`` is below 1, the options ask for something that is done to whole batches
                (``max_frames_per_traj``, ``set_truncated``, ``split_trajs``, ``postproc``, ``replay_buffer``), or the
                env's data has no fixed layout.
            NonFiniteError, PolicyError, ClosedEnvError: see :meth:`next`; NaN is looked for in the complete batch.

        Examples:
            >>> from envkit import GymEnv
            >>> collector = Collector(GymEnv("CartPole-v1"), frames_per_batch=10)
            >>> [batch[stop - 1]["action"].shape for batch, stop in collector.growing(4)]
            [torch.Size([]), torch.Size([]), torch.Size([])]
        """
        if steps < 1:
            raise ValueError(f"growing: expected at least 1 step, found {steps}")
        options, runner = self.options, self._ready()
        given = (options.frame_limit, options.postproc, options.replay_buffer)
        whole = options.set_truncated or options.split_trajs or any(one is not None for one in given)
        if whole or not isinstance(runner, Runner):
            raise ValueError(
                "growing: expected no options for whole batches, and an env whose data has a fixed layout, found "
                f"{options} and {self.env}"
            )
        frames = self.frames
        batch: TensorDictBase = TensorDict()
        for start in range(0, self._steps, steps):
            stop = min(start + steps, self._steps)
            changes = self._stop_acting_at_random(frames + start * self.env.numel())
            with set_exploration_type(options.exploration_type):
                runner.run(start, stop)
            if changes or start == 0:
                batch = runner.view(self._steps)  # now that it is known what the policy writes
            if stop == self._steps:
                self._finished(runner)
            yield batch, stop

    def _finished(self, runner: Runner | LooseRunner) -> TensorDictBase:
        """The complete batch."""
        steps, numbers = self._steps, self._numbers(runner)
        if self.options.set_truncated:
            runner.truncate(steps - 1)
        batch = runner.tensordict(steps)
        batch.set("collector", TensorDict({"traj_ids": numbers}, batch.batch_size, names=batch.names))
        self.frames += self.frames_per_batch
        return batch

    def _stop_acting_at_random(self, frames: int) -> bool:
        """Goes over to the policy, if after so many steps it is its turn; says whether it was."""
        if not self._acts_at_random or frames < self.options.random_frames:
            return False
        self._acts_at_random = False
        if self._acting is not None:
            self._runner.follow(self._acting)
        return True

    def _ready(self) -> Runner | LooseRunner:
        """The loop, with room for a batch, at the row from which it goes on."""
        self._stop_acting_at_random(self.frames)
        runner = self._runner
        runner.open(self._steps)
        if self._onward is not None:
            runner.start_from(self._onward)
            self._onward = None
        if not self._begun:
            runner.reset()
            self._begun = True
        elif self._restarts or self.options.reset_at_each_iter:
            runner.reset()
            self._trajectories.restart()
            if self._limit is not None:
                self._limit.restart()
        self._restarts = False
        return runner

    def _numbers(self, runner: Runner | LooseRunner) -> torch.Tensor:
        """The numbers of the trajectories that the steps of a batch belong to; ``[*envs, time]``."""
        env = self.env
        lead = env.batch_dims + 1
        flags = [flag.flatten(lead).any(-1) for flag in runner.done(0, self._steps)]
        done = torch.stack(flags).any(0).reshape(self._steps, env.numel())
        return self._trajectories(done.T.cpu()).reshape(*env.batch_size, self._steps).to(env.device or "cpu")

    # ---------------------------------------------------------------- control

    def restart(self) -> None:
        """Begins the next batch with new episodes, as needed after the env was run by someone else."""
        self._restarts = True

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the env; see :meth:`~envkit.EnvBase.set_seed`."""
        self._seed = seed
        return self.env.set_seed(seed, static_seed)

    def update_policy_weights_(self, policy_weights: Any = None) -> None:
        """Gives the policy that collects new weights.

        Args:
            policy_weights: a ``state_dict``, or ``TensorDict.from_module`` of a policy alike. By default those that
                :attr:`policy` has now, which is of effect only where a copy on another device collects.

        Raises:
            TypeError: the policy is no module.
            RuntimeError: the weights are those of another one.
        """
        if policy_weights is not None:
            load_weights(self._acting, policy_weights)
        elif self._acting is not self.policy:
            load_weights(self._acting, self.policy.state_dict())  # type: ignore[union-attr]

    def shutdown(self) -> None:
        """Closes the env."""
        self.env.close()

    # ----------------------------------------------------------------- resume

    def state_dict(self, *, env: bool | Literal["plain"] = True) -> dict[str, Any]:
        """All that a collector like this one, given it between two batches, needs to go on with the same bytes.

        That is: counters, numbers and ages of trajectories, the row to go on from, the states of torch's global
        generators, from which policies sample, and under ``"env"`` a snapshot of the env with its random streams. All
        but the snapshot are tensors and plain data in dicts and lists, which need no pickle on disk. The policy's
        weights are not among it, nor is the content of a replay buffer.

        Without the snapshot (left out, taken out of the dict, or impossible: then it is None) a collector begins new
        episodes when it resumes, seeded by the state: the same ones every time.

        Args:
            env: whether the env's snapshot is wanted; ``"plain"`` takes one in tensors and plain data
                (:func:`~envkit.plain_snapshot`), so that no part of the state needs pickle on disk.

        Warns:
            UserWarning: such a snapshot cannot be taken; said once.
        """
        state: dict[str, Any] = {
            "frames": self.frames,
            "begun": self._begun,
            "restarts": self._restarts,
            "seed": self._resume_seed(),
            "trajectories": self._trajectories.state_dict(),
            "ages": {} if self._limit is None else self._limit.state_dict(),
            "random": global_random_state(),
        }
        return {**state, **self._position(plain=env == "plain")} if env else state

    def _resume_seed(self) -> int:
        """A seed for episodes that begin here; of 32 bits, for simulators that want no more."""
        seed = torch.initial_seed() if self._seed is None else self._seed
        return spawn_seed(seed, "resume", self.frames) % (2**32 - 1)

    def _position(self, plain: bool) -> dict[str, Any]:
        """Where the env stands."""
        onward = self._onward if self._onward is not None or not self._begun else self._runner.onward()
        try:
            root = {} if onward is None else {"root": to_plain(onward)}
            return {"env": {"plain": plain_snapshot(self.env)} if plain else self.env.snapshot(), **root}
        except TypeError as error:
            if not self._warned:
                warnings.warn(f"a resumed collector will begin new episodes: {error}", stacklevel=3)
                self._warned = True
            return {"env": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state_dict` of a collector like this one returned, global generators included.

        Raises:
            KeyError: something is missing.
            ValueError: it is the state of a collector with other envs or another kind of limit.

        Warns:
            UserWarning: there is no snapshot of the env, and new episodes begin.
        """
        missing = [name for name in STATE if name not in state]
        if missing:
            raise KeyError(f"state of a collector: expected {missing} in it, found {sorted(state)}")
        if bool(state["ages"]) is not (self._limit is not None):
            raise ValueError("max_frames_per_traj: expected a limit in both the state and the collector, or in neither")
        self._trajectories.load_state_dict(state["trajectories"])
        if self._limit is not None:
            self._limit.load_state_dict(state["ages"])
        self.frames, self._begun, self._restarts = state["frames"], state["begun"], state["restarts"]
        self._onward, snapshot = None, state.get("env")
        if snapshot is None or (self._begun and "root" not in state):
            warnings.warn("the state has no snapshot of the env: the collector begins new episodes", stacklevel=2)
            self.env.set_seed(state["seed"])
            self._restarts = True
        else:
            if isinstance(snapshot, dict) and "plain" in snapshot:
                restore_plain_snapshot(self.env, snapshot["plain"])
            else:
                self.env.restore(snapshot)
            if self._begun:
                self._onward = from_plain(state["root"], self.env.device)
                check_row(self.env.plan, self._onward)
        self._runner = self._make_runner()
        set_global_random_state(state["random"])
