"""Vector envs that reset themselves, and show elsewhere how the last episode ended."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import NestedKey, TensorDictBase

from envkit.core.auto_reset import AutoReset
from envkit.core.masks import Masks, aligned, mask_of
from envkit.core.plan import Plan, path_of
from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.auto_reset import AutoResetTransform
from envkit.transforms.hiding import without

__all__ = ["VecGymEnvTransform"]


class VecGymEnvTransform(AutoResetTransform):
    """Puts last observations where they belong, for a batch of envs that resets itself in the same step.

    Such an env returns, with a done flag, the first observation of the next episode, and the last one of the old
    episode below ``final_name``. That one is moved under ``"next"``, and the first one to the root of the next step. It
    must be the innermost transform. :class:`~envkit.GymVectorWrapper` needs none.

    Args:
        final_name: the level of observations that has, for each observation, what it was at the end of an episode; it
            is hidden. Elsewhere what it holds does not matter.
        missing_obs_value: stands for last observations that are not there.

    Raises:
        SpecError: there is no such level, or an entry there is of another kind than its observation.

    Examples:
        >>> VecGymEnvTransform()
        VecGymEnvTransform(final_name='final')
    """

    env_only = "VecGymEnvTransform concerns the resets of an env; stored data has its last observations"

    def __init__(self, final_name: str = "final", missing_obs_value: float = float("nan")) -> None:
        super().__init__(fill_float=missing_obs_value)
        self.final_name = final_name

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.exclude(self.final_name)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Hides the last observations.

        Raises:
            SpecError: another transform comes before this one, or there are no last observations.
        """
        observation = specs["observation"]
        level = observation.get(self.final_name, None)
        if not isinstance(level, Composite):
            raise SpecError(
                f"VecGymEnvTransform: expected a level {self.final_name!r} of observations, found "
                f"{sorted(map(str, observation.keys(True)))}"
            )
        for key, leaf in level.items(True, True):
            there = observation.get(key, None)
            if there is None or (there.shape, there.dtype) != (leaf.shape, leaf.dtype):
                raise SpecError(f"VecGymEnvTransform: ({self.final_name!r}, {key!r}): expected {there}, found {leaf}")
        specs = super().transform_specs(specs)
        if self.container is not None:
            runtime = self.container.base_env._runtime
            if not isinstance(runtime.auto_reset, _WithFinal):
                runtime.auto_reset = _WithFinal(fill_float=self.fill_float, final_name=self.final_name)
        return without(self, specs, [self.final_name])

    def extra_repr(self) -> str:
        """Where last observations are."""
        return f"final_name={self.final_name!r}"


@dataclass
class _WithFinal(AutoReset):
    """Takes last observations from a level of their own; fillers stand where it has none."""

    final_name: str = "final"

    def keep(self, plan: Plan, out: TensorDictBase, masks: Masks | None = None) -> TensorDictBase:
        final = {key: out.get(key) for key in plan.observation_keys if path_of(key)[0] == self.final_name}
        out = super().keep(plan, out, masks)
        new = {group.reset: out.get(group.done) for group in plan.done_groups}
        for key, value in final.items():
            place: NestedKey = path_of(key)[1:]
            mask = aligned(mask_of(place, plan, new), value.shape)
            out.set(place, torch.where(mask, value, out.get(place)))
        return out
