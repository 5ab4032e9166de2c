"""A Gymnasium env out of an env."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import torch
from gymnasium.utils import RecordConstructorArgs
from tensordict import NestedKey, TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import ResetNeededError, SpecError
from envkit.export.inner import holder, takes_options
from envkit.export.layout import Layout, as_keys, scalar_reward
from envkit.specs import space_from_spec

__all__ = ["ExportedEnv", "as_gymnasium"]


class ExportedEnv(gymnasium.Env, RecordConstructorArgs):
    """An env, transforms included, as a ``gymnasium.Env``; see :func:`as_gymnasium`.

    Attributes that it lacks are those of the env: ``get_wrapper_attr``, ``has_wrapper_attr`` and
    ``set_wrapper_attr`` look there.

    Args:
        env, info_keys, to_numpy: see :func:`as_gymnasium`.
    """

    def __init__(self, env: EnvBase, *, info_keys: Iterable[NestedKey] = (), to_numpy: bool = True) -> None:
        info_keys = as_keys(info_keys)
        # The env is recorded as it is: a simulator may not be copied, and whoever rebuilds this has one of their own.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, env=env, info_keys=info_keys, to_numpy=to_numpy)
        if not isinstance(env, EnvBase):
            raise TypeError(f"as_gymnasium: expected an env, found {type(env).__name__}")
        if env.batch_size:
            raise SpecError(
                f"as_gymnasium: expected an env without batch dimensions, found batch size {list(env.batch_size)}; "
                f"as_gymnasium_vector takes batches"
            )
        self._reward_key, self._group = flags_of(env, "as_gymnasium")
        self.base_env = env
        self._layout = Layout(env, info_keys, to_numpy=to_numpy)
        self.observation_space = self._layout.observation_space
        self.action_space = self._layout.action_space
        reward = env.full_reward_spec[self._reward_key]
        if reward.shape.numel() != 1:
            self.reward_space = space_from_spec(reward)
        self.metadata = metadata_of(getattr(env, "metadata", None), to_numpy=to_numpy)
        self.render_mode = getattr(env, "render_mode", None)
        self._takes_options = takes_options(env)
        self._data: TensorDictBase | None = None
        self._closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: seeds :attr:`np_random` and the env; see :meth:`~envkit.EnvBase.set_seed`.
            options: passed on to the env's reset, if it takes any.

        Returns:
            The observation and the info.
        """
        super().reset(seed=seed)
        env = self.base_env
        if seed is not None:
            env.set_seed(seed)
        kwargs: dict[str, Any] = {"options": options} if options and self._takes_options else {}
        with torch.no_grad():
            self._data = env.reset(**kwargs)
        return self._layout.observation(self._data), self._layout.info(self._data)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Executes an action.

        Returns:
            The observation; the reward, a ``float`` (an array, if there are several objectives); whether the episode
            terminated; whether it was truncated; the info.

        Raises:
            ResetNeededError: there was no reset yet.
            InvalidActionError: the action does not fit the action space.
        """
        data, layout, group = self._data, self._layout, self._group
        if data is None:
            raise ResetNeededError(f"{self}: expected reset() before the first step()")
        layout.put_action(data, action)
        with torch.no_grad():
            data = self.base_env.step(data)
            following = data.get("next")
            self._data = self.base_env.step_mdp(data)
        terminated = following.get(group.terminated).item()
        truncated = group.truncated is not None and following.get(group.truncated).item()
        if not (terminated or truncated) and following.get(group.done).item():
            truncated = True
        reward = scalar_reward(following.get(self._reward_key))
        return layout.observation(following), reward, terminated, truncated, layout.info(following)

    def render(self) -> Any:
        """What the env renders; None without a render mode."""
        if self.render_mode is None:
            return None
        render: Any = self.base_env.render
        return render()

    def close(self) -> None:
        """Closes the env; may be called twice."""
        if not self._closed:
            self._closed = True
            self.base_env.close()

    def has_wrapper_attr(self, name: str) -> bool:
        """Whether this or the env has the attribute ``name``."""
        return hasattr(self, name) or hasattr(self.base_env, name)

    def get_wrapper_attr(self, name: str) -> Any:
        """The attribute ``name`` of this, or else of the env.

        Raises:
            AttributeError: neither has it.
        """
        return getattr(self, name) if hasattr(self, name) else getattr(self.base_env, name)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> bool:
        """Assigns the attribute ``name`` where it is: here, on the env, or on the simulator behind it.

        Returns:
            Whether it was assigned; with ``force``, one that is nowhere is created here.
        """
        if hasattr(self, name):
            setattr(self, name, value)
            return True
        there = holder(self.base_env, name)
        if isinstance(there, gymnasium.Env):
            return there.set_wrapper_attr(name, value, force=force)
        if there is None and not force:
            return False
        setattr(self if there is None else there, name, value)
        return True

    def __str__(self) -> str:
        if self.spec is not None:
            return f"<{type(self).__name__}<{self.spec.id}>>"
        return f"<{type(self).__name__}<{type(self.base_env).__name__}>>"

    __repr__ = __str__


def as_gymnasium(env: EnvBase, *, info_keys: Iterable[NestedKey] = (), to_numpy: bool = True) -> ExportedEnv:
    """An env, transforms included, for any user of Gymnasium.

    The action, the observation and the info are numpy elements of spaces derived from the specs: one-hot actions are
    ``Discrete``, an observation that is called ``"observation"`` and stands alone is not wrapped in a ``Dict``. Rewards
    are ``float`` and flags ``bool``. Resetting with a seed is :meth:`~envkit.EnvBase.set_seed` and a reset.

    Args:
        env: an env without batch dimensions, with one reward and one done flag.
        info_keys: observations that go into the info dictionary instead.
        to_numpy: if False, observations and info stay tensors (and ``metadata["torch"]`` is True); actions may be
            either in any case.

    Raises:
        SpecError: the env has a batch, several rewards or several done flags, or ``info_keys`` names no observation.
        UnsupportedSpaceError: a spec has no space.

    Examples:
        >>> from envkit import GymEnv, StepCounter, TransformedEnv
        >>> env = as_gymnasium(TransformedEnv(GymEnv("CartPole-v1"), StepCounter()), info_keys=["step_count"])
        >>> observation, info = env.reset(seed=0)
        >>> observation in env.observation_space, info
        (True, {'step_count': array([0])})
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> reward, terminated, info["step_count"]
        (1.0, False, array([1]))
    """
    return ExportedEnv(env, info_keys=info_keys, to_numpy=to_numpy)


def flags_of(env: EnvBase, caller: str) -> tuple[NestedKey, Any]:
    """The key of an env's reward and its done group, of which there must be one each.

    Raises:
        SpecError: there are more.
    """
    plan = env.plan
    groups = plan.done_groups
    at_root = [group for group in groups if isinstance(group.done, str)]
    groups = at_root or groups
    if len(plan.reward_keys) != 1 or len(groups) != 1 or groups[0].shape[len(env.batch_size) :].numel() != 1:
        raise SpecError(
            f"{caller}: expected one reward and one done flag, found rewards {plan.reward_keys} and flags "
            f"{plan.done_keys}; as_pettingzoo takes envs with groups of agents"
        )
    return plan.reward_keys[0], groups[0]


def metadata_of(found: Any, *, to_numpy: bool) -> dict[str, Any]:
    """An env's metadata with at least the render modes, and without what no longer holds on the outside."""
    kept = {
        name: value
        for name, value in (found if isinstance(found, dict) else {}).items()
        if name not in ("autoreset_mode", "jax", "torch")
    }
    return {"render_modes": [], **kept, **({} if to_numpy else {"torch": True})}
