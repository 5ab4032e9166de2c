"""Jumanji: combinatorial problems and games in JAX."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase

from envkit.errors import MissingDependencyError, UnknownEnvError, UnsupportedSpaceError
from envkit.libs.class_property import class_property
from envkit.libs.jax_arrays import import_with_jax
from envkit.libs.jax_env import JaxEnv, check_layers, plain_leaf
from envkit.libs.jax_program import Program
from envkit.specs import Bounded, Categorical, MultiCategorical, TensorSpec, Unbounded
from envkit.specs.onehot import OneHotLeaf
from envkit.spelling import did_you_mean
from envkit.storage import put

__all__ = ["JumanjiEnv", "JumanjiWrapper"]

LAST = 2  # the step type that ends an episode


class JumanjiWrapper(JaxEnv):
    """An env out of a Jumanji env, for any number of elements at once.

    ==================== ============================= =======================================================
    entry                dtype and shape               content
    ==================== ============================= =======================================================
    (fields of the       theirs                        the observation: ``action_mask`` among them, bool; a field
    observation)                                       with fields of its own is a nested TensorDict, and an
                                                       observation without fields is called ``observation``
    pixels               uint8 ``[*batch, H, W, 3]``   the frame (``from_pixels``)
    state                nested                        Jumanji's state: what a step reads
    action               int64 ``[*batch]`` or         the action; ``[*batch, n]`` for one of several numbers (for
                         ``[*batch, n]``               several agents, say); floats where Jumanji wants some
    reward               float32 ``[*batch, 1]``       the reward; ``[*batch, n]`` where each of ``n`` agents has its
                                                       own
    terminated           bool ``[*batch, 1]``          the episode ended with a discount of 0 (for all agents)
    truncated            bool ``[*batch, 1]``          it ended with another one
    ==================== ============================= =======================================================

    The env is stateless: any TensorDict with a ``"state"`` and an ``"action"`` can be stepped, in any order.
    ``"next"`` holds the last observation of an episode. Random actions heed no ``action_mask``, unless an
    :class:`~envkit.ActionMask` transform is put on the env. Extras (metrics) are not shown.

    Reset and step are compiled when they are first called, and again for each other number of elements, which takes
    seconds; copies of an env share what is compiled. Attributes that the wrapper lacks are looked up in the wrapped
    env.

    Args:
        env: a ``jumanji.Environment`` of one element.
        batch_size: number of elements, as a batch size. Without one the env goes by the batch size of its input.
        categorical_action_encoding: discrete actions are indices; if False, one-hot vectors.
        from_pixels: adds the rendered frame under ``"pixels"``. Jumanji draws with Matplotlib, a tenth of a second or
            so for each.
        pixels_only: with ``from_pixels``, drop the other observations (the state stays).
        jit: whether to compile reset and step.
        device: device of inputs and outputs; where the simulator runs is up to JAX.

    Raises:
        MissingDependencyError: Jumanji is not installed.
        TypeError: ``env`` is no Jumanji env.
        ValueError: ``env`` makes a batch, or starts episodes by itself.
        UnsupportedSpaceError: actions without a tensor form.

    Examples:
        >>> import jumanji  # doctest: +SKIP
        >>> env = JumanjiWrapper(jumanji.make("Snake-v1"))  # doctest: +SKIP
        >>> start = env.reset(TensorDict(batch_size=[8]))  # doctest: +SKIP
        >>> env.rollout(20, tensordict=start, auto_reset=False)["grid"].shape  # doctest: +SKIP
        torch.Size([8, 20, 12, 12, 5])
    """

    libname = "jumanji"

    def __init__(
        self,
        env: Any,
        *,
        batch_size: Sequence[int] | torch.Size | None = None,
        categorical_action_encoding: bool = True,
        from_pixels: bool = False,
        pixels_only: bool = True,
        jit: bool = True,
        device: torch.device | str | int | None = None,
    ) -> None:
        wrapper = import_with_jax("jumanji.wrappers", "Jumanji").Wrapper
        check_layers(env, _jumanji().Environment, wrapper, "_env")
        action = _action(env.action_spec, categorical_action_encoding)
        kind, wanted = env.action_spec.dtype, env.action_spec.shape
        rewarded = env.reward_spec.shape or (1,)
        shows_state_only = from_pixels and pixels_only

        def seen(observation: Any) -> dict[str, Any]:
            return {} if shows_state_only else _fields(observation)

        def begin(key: Any) -> tuple[Any, dict[str, Any]]:
            state, timestep = env.reset(key)
            return state, seen(timestep.observation)

        def advance(state: Any, action: Any) -> tuple[Any, ...]:
            state, timestep = env.step(state, action.astype(kind).reshape(wanted))
            last = timestep.step_type == LAST
            terminated = last & (timestep.discount == 0).all()
            reward = timestep.reward.astype(np.float32).reshape(rewarded)
            return state, seen(timestep.observation), reward, terminated[None], (last & ~terminated)[None]

        program = Program(env, begin, advance, jit=jit)
        observed = {
            key: _leaf(env.observation_spec, key, like)
            for key, like in zip(program.seen.keys, program.seen.shapes, strict=True)
        }
        super().__init__(
            program,
            observed=observed,
            action=action,
            reward=_bounded(env.reward_spec, Unbounded(rewarded, dtype=torch.float32)),
            device=device,
            batch_size=batch_size,
        )
        self._one_hot = action if isinstance(action, OneHotLeaf) else None
        self.from_pixels, self.pixels_only = from_pixels, pixels_only
        if from_pixels:
            spec = self.observation_spec_unbatched.clone()
            spec["pixels"] = Bounded(0, 255, shape=self._first_frame().shape, dtype=torch.uint8)
            self.observation_spec_unbatched = spec

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """Ids of all envs that :class:`JumanjiEnv` can make; none if Jumanji is not installed."""
        try:
            return sorted(_jumanji().registered_environments())
        except MissingDependencyError:
            return []

    def _simulated(self, action: torch.Tensor) -> torch.Tensor:
        return action if self._one_hot is None else self._one_hot.to_categorical(action)

    # ----------------------------------------------------------------- frames

    def _shown(self, values: Sequence[torch.Tensor], size: torch.Size) -> TensorDictBase:
        out = super()._shown(values, size)
        if self.from_pixels:
            frames = np.stack([_frame(self._program.simulator, state) for state in self._states(out)])
            pixels = torch.from_numpy(frames).reshape(*size, *frames.shape[1:])
            put(out, "pixels", pixels if self._device is None else pixels.to(self._device))
        return out

    def _first_frame(self) -> np.ndarray:
        size, program = self._batch_size, self._program
        keys = torch.zeros((*size, program.words), dtype=torch.uint32)
        first = program.tensordict(program.first(size, keys, None), size, None)
        return _frame(program.simulator, self._states(first)[0])

    def render(self, tensordict: TensorDictBase) -> Any:
        """Frames of states, as Jumanji draws them with Matplotlib.

        Args:
            tensordict: data with a ``"state"``.

        Returns:
            A uint8 array ``[H, W, 3]`` for data without a batch size, a list of one for each element otherwise.
        """
        frames = [_frame(self._program.simulator, state) for state in self._states(tensordict)]
        return frames if tensordict.ndim else frames[0]

    def close(self) -> None:
        """Closes the wrapped env and its figures, once."""
        if not self.is_closed:
            self._program.simulator.close()
        super().close()


class JumanjiEnv(JumanjiWrapper):
    """An env of Jumanji by its id; see :class:`JumanjiWrapper`.

    Args:
        env_name: one of :attr:`available_envs`.
        batch_size, categorical_action_encoding, from_pixels, pixels_only, jit, device: see :class:`JumanjiWrapper`.
        **kwargs: for ``jumanji.make``.

    Raises:
        MissingDependencyError: Jumanji is not installed.
        UnknownEnvError: Jumanji has no env called ``env_name``.

    Examples:
        >>> env = JumanjiEnv("Snake-v1", batch_size=[4], time_limit=50)  # doctest: +SKIP
        >>> env.rollout(60, break_when_any_done=False)["next", "action_mask"].shape  # doctest: +SKIP
        torch.Size([4, 60, 4])
    """

    def __init__(
        self,
        env_name: str,
        *,
        batch_size: Sequence[int] | torch.Size | None = None,
        categorical_action_encoding: bool = True,
        from_pixels: bool = False,
        pixels_only: bool = True,
        jit: bool = True,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        jumanji, known = _jumanji(), self.available_envs
        if env_name not in known:
            hint = did_you_mean(env_name, known)
            raise UnknownEnvError(f"unknown env id {env_name!r}: expected one of {known}{hint}")
        super().__init__(
            jumanji.make(env_name, **kwargs),
            batch_size=batch_size,
            categorical_action_encoding=categorical_action_encoding,
            from_pixels=from_pixels,
            pixels_only=pixels_only,
            jit=jit,
            device=device,
        )
        self.env_name = env_name


def _jumanji() -> Any:
    return import_with_jax("jumanji", "Jumanji")


def _fields(observation: Any) -> dict[str, Any]:
    """The fields of an observation by their names."""
    if hasattr(observation, "_asdict"):
        return observation._asdict()
    if dataclasses.is_dataclass(observation):
        return {field.name: getattr(observation, field.name) for field in dataclasses.fields(observation)}
    return dict(observation) if isinstance(observation, Mapping) else {"observation": observation}


def _leaf(spec: Any, key: Any, like: Any) -> TensorSpec:
    """The spec of an observation, of which ``like`` has the shape and the dtype.

    Single numbers are not held to what Jumanji declares: counts reach their limit, and a salesman sets out from -1.
    """
    for name in (key,) if isinstance(key, str) else key:
        spec = getattr(spec, name, spec)
    return _bounded(spec, plain_leaf(like)) if len(like.shape) else plain_leaf(like)


def _bounded(spec: Any, plain: TensorSpec) -> TensorSpec:
    """``plain``, with the bounds of a spec of Jumanji, if it has some."""
    if plain.dtype is torch.bool or not hasattr(spec, "minimum"):
        return plain
    low, high = (np.broadcast_to(np.asarray(bound), plain.shape) for bound in (spec.minimum, spec.maximum))
    return Bounded(low.copy(), high.copy(), shape=plain.shape, dtype=plain.dtype)


def _action(spec: Any, categorical: bool) -> TensorSpec:
    """The spec of actions; numbers of categories are int64, as policies make them."""
    kinds = import_with_jax("jumanji.specs", "Jumanji")
    leaf: Any
    if isinstance(spec, kinds.DiscreteArray):
        leaf = Categorical(spec.num_values)
    elif isinstance(spec, kinds.MultiDiscreteArray):
        leaf = MultiCategorical(np.asarray(spec.num_values, np.int64))
    elif isinstance(spec, kinds.Array):
        return _bounded(spec, plain_leaf(spec))
    else:
        raise UnsupportedSpaceError(f"action: expected an array, found {spec}")
    return leaf if categorical else leaf.to_one_hot_spec()


def _frame(env: Any, state: Any) -> np.ndarray:
    """What a Jumanji env draws of a state, uint8 ``[H, W, 3]``."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no screen for the figure
        shown = env.render(state)
    if not isinstance(shown, np.ndarray):
        # Made to be looked at, it is returned by few envs; but the figure that was drawn is still there.
        canvas: Any = plt.gcf().canvas
        canvas.draw()
        shown = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(shown[..., :3])
