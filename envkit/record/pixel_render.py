"""Pictures of envs that have none in their data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict, TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import SpecError
from envkit.specs import Bounded, Composite, NonTensor, TensorSpec, Unbounded
from envkit.transforms.base import Keys, Transform

__all__ = ["PixelRenderTransform"]


class PixelRenderTransform(Transform):
    """Calls the env's ``render`` after each reset and step, and writes what it returns to the data.

    On a batch of envs each of them is asked, and their pictures are stacked. To know the shape of a picture, one is
    rendered when the transform is put on the env. If that was not reset before, a copy is reset for it; an env that
    cannot be copied is reset itself, and is to be seeded afterwards.

    Args:
        out_keys: where the pictures go; ``"pixels"`` by default.
        preproc: a function of a picture, which is called before it is written.
        as_non_tensor: write pictures as they are, as non-tensor data, rather than as tensors.
        render_method: name of the method to call.
        pass_tensordict: hand the method the data that is to be rendered, as envs without a state of their own need.
        **kwargs: passed on to the method.

    Raises:
        ValueError: several ``out_keys``.
        SpecError: (when put on an env) the env has no such method, or has the out key already; or not each env of the
            batch renders one picture, because it was made without ``render_mode="rgb_array"`` say.

    Examples:
        >>> from envkit import GymEnv, SerialEnv
        >>> env = SerialEnv(2, lambda: GymEnv("CartPole-v1", render_mode="rgb_array"))
        >>> env = env.append_transform(PixelRenderTransform())
        >>> env.rollout(3)["next", "pixels"].shape
        torch.Size([2, 3, 400, 600, 3])
    """

    env_only = "PixelRenderTransform renders an env as it is now; stored data has its pictures already"

    def __init__(
        self,
        out_keys: Keys = None,
        preproc: Callable[[Any], Any] | None = None,
        as_non_tensor: bool = False,
        render_method: str = "render",
        pass_tensordict: bool = False,
        **kwargs: Any,
    ) -> None:
        keys = ["pixels"] if out_keys is None else [out_keys] if isinstance(out_keys, str | tuple) else list(out_keys)
        super().__init__()
        if len(keys) != 1:
            raise ValueError(f"PixelRenderTransform: expected one of out_keys, found {keys}")
        self.out_keys = keys
        self.preproc, self.as_non_tensor = preproc, as_non_tensor
        self.render_method, self.pass_tensordict, self.kwargs = render_method, pass_tensordict, kwargs
        self._enabled = True
        # The env whose pictures are known, and the spec of those. In a tuple, for an env is a module.
        self._known: tuple[EnvBase, TensorSpec] | None = None

    @property
    def enabled(self) -> bool:
        """Whether pictures are rendered."""
        return self._enabled

    def switch(self, mode: str | bool | None = None) -> None:
        """Turns rendering, and the entry in the data, on or off.

        Args:
            mode: ``"on"`` or True, ``"off"`` or False; by default the opposite of what is.
        """
        modes = {None: not self._enabled, "on": True, "off": False, True: True, False: False}
        if mode not in modes:
            raise ValueError(f"mode: expected 'on', 'off', a bool or None, found {mode!r}")
        self._enabled = modes[mode]
        self._changed()

    # ------------------------------------------------------------------- data

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        if self._enabled:
            pictures = self._render(self.container.base_env, next_tensordict)
            next_tensordict.set(self.out_keys[0], self._packed(pictures, next_tensordict.batch_size))
        return next_tensordict

    def _render(self, env: EnvBase, tensordict: TensorDictBase) -> list[Any]:
        """One picture for each element of the batch."""
        found: Any = getattr(env, self.render_method, None)
        methods = found if isinstance(found, list) else [found]  # of a batch of envs, one of each
        if not all(callable(method) for method in methods):
            raise SpecError(f"PixelRenderTransform: expected a method {self.render_method!r} of {env}, found none")
        given = [tensordict] if self.pass_tensordict else []
        shown = [method(*given, **self.kwargs) for method in methods]
        pictures = [picture for picture in _flat(shown) if picture is not None]
        number = tensordict.batch_size.numel()
        if len(pictures) != number:
            raise SpecError(
                f"PixelRenderTransform: expected {number} picture{'s' * (number != 1)} from {self.render_method}() of "
                f'{env}, found {len(pictures)}; a Gymnasium env renders one with render_mode="rgb_array"'
            )
        if self.preproc is not None:
            pictures = [self.preproc(picture) for picture in pictures]
        # Copies, for a renderer may draw the next picture in the same memory.
        return [p.clone() if isinstance(p, torch.Tensor) else np.array(p, order="C") for p in pictures]

    def _packed(self, pictures: list[Any], size: torch.Size) -> Any:
        """Pictures as an entry of a TensorDict."""
        if self.as_non_tensor:
            return _stacked(pictures, size)
        tensor = torch.stack([torch.as_tensor(picture) for picture in pictures])
        return tensor.reshape(*size, *tensor.shape[1:])

    # ------------------------------------------------------------------ specs

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the pictures to the observations.

        Raises:
            SpecError: the entry is there already, or the env cannot be rendered.
        """
        if not self._enabled:
            return specs
        env, key, observation = self.container.base_env, self.out_keys[0], specs["observation"]
        if any(spec.get(key, None) is not None for spec in specs.values()):
            raise SpecError(f"PixelRenderTransform: expected no {key!r} in the data of {env}, found one")
        if self._known is None or self._known[0] is not env:
            self._known = (env, self._leaf(env, observation.shape, observation.device))
        observation = observation.clone()
        observation[key] = self._known[1].clone()
        return {**specs, "observation": observation}

    def _leaf(self, env: EnvBase, size: torch.Size, device: torch.device | None) -> TensorSpec:
        """The spec of the pictures, by an example."""
        pictures = self._example(env, size)
        if self.as_non_tensor:
            return NonTensor(size, device=device, example_data=pictures[0])
        value = self._packed(pictures, size)
        if value.dtype is torch.uint8:
            return Bounded(0, 255, shape=value.shape, dtype=torch.uint8, device=device)
        return Unbounded(value.shape, dtype=value.dtype, device=device)

    def _example(self, env: EnvBase, size: torch.Size) -> list[Any]:
        """The pictures of an env that goes on as if nothing had happened, if that can be arranged."""
        if env._runtime.started and not self.pass_tensordict:
            return self._render(env, TensorDict({}, size))
        try:
            twin = copy.deepcopy(env)
        except Exception:  # whatever a simulator, or a worker process, has against being copied
            return self._render(env, env.reset())
        try:
            return self._render(twin, twin.reset())
        finally:
            twin.close()

    def extra_repr(self) -> str:
        """Where the pictures go, and how they are made."""
        return f"out_keys={self.out_keys}, render_method={self.render_method!r}, enabled={self._enabled}"


def _flat(shown: Any) -> Iterator[Any]:
    """The pictures of envs in envs, which come as lists in lists."""
    if isinstance(shown, list | tuple):
        for part in shown:
            yield from _flat(part)
    else:
        yield shown


def _stacked(pictures: list[Any], size: torch.Size) -> Any:
    """Non-tensor data of batch size ``size``."""
    if not size:
        return NonTensorData(pictures[0])
    each = len(pictures) // size[0]
    parts = [_stacked(pictures[i * each : (i + 1) * each], size[1:]) for i in range(size[0])]
    return NonTensorStack(*parts)
