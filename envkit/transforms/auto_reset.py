"""Envs that reset themselves, declared so after they were made."""

from __future__ import annotations

from envkit.core.auto_reset import AutoReset
from envkit.core.env import EnvBase
from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.compose import Compose
from envkit.transforms.env import TransformedEnv

__all__ = ["AutoResetEnv", "AutoResetTransform"]


class AutoResetTransform(Transform):
    """Declares that the env inside resets itself: it returns a done flag with the next episode's first observation.

    That observation is moved to the root of the next step, and the env's own reset is not called there. The same as
    ``auto_reset=True`` when the env is made, with a choice of fillers. It must be the innermost transform.

    Args:
        replace: whether fillers stand for the last observation of an episode, which the env never shows. If False the
            first one of the next episode stands there.
        fill_float: filler of floating-point observations.
        fill_int: filler of integer observations (for unsigned ones it wraps: -1 is the largest value).
        fill_bool: filler of boolean observations.

    Examples:
        >>> from envkit import GymEnv
        >>> class Restarting(GymEnv):
        ...     def _step(self, tensordict):
        ...         tensordict = super()._step(tensordict)
        ...         if tensordict["done"].any():
        ...             tensordict.update(super().reset().exclude(*self.done_keys))
        ...         return tensordict
        >>> env = TransformedEnv(Restarting("CartPole-v1", max_episode_steps=2), AutoResetTransform(fill_float=0.0))
        >>> env.rollout(4, break_when_any_done=False)["next", "observation"].eq(0).all(-1)
        tensor([False,  True, False,  True])
    """

    env_only = "AutoResetTransform concerns the resets of an env; stored data has its fillers"

    def __init__(
        self,
        replace: bool | None = None,
        *,
        fill_float: float = float("nan"),
        fill_int: int = -1,
        fill_bool: bool = False,
    ) -> None:
        super().__init__()
        self.replace = replace is not False
        self.fill_float, self.fill_int, self.fill_bool = fill_float, fill_int, fill_bool

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Changes no spec; tells the env inside how it is to be treated.

        Raises:
            SpecError: another transform comes before this one, or the env is to be reset where it returns NaN.
        """
        env = self.container
        if env is not None:
            first = env.transform[0]
            if first is not self:
                raise SpecError(
                    f"AutoResetTransform: expected it next to the env, before all other transforms; found "
                    f"{type(first).__name__} there"
                )
            if env.base_env.nonfinite == "truncate":
                raise SpecError(
                    "AutoResetTransform: expected an env whose episodes end by themselves, found nonfinite='truncate'"
                )
            wanted = AutoReset(self.replace, self.fill_float, self.fill_int, self.fill_bool)
            if env.base_env._runtime.auto_reset != wanted:
                env.base_env._runtime.auto_reset = wanted
        return specs

    def extra_repr(self) -> str:
        """What stands for last observations."""
        return f"replace={self.replace}"


class AutoResetEnv(TransformedEnv):
    """An env that resets itself, seen through :class:`AutoResetTransform`.

    Args:
        base_env: the env inside.
        transform: what to add; an :class:`AutoResetTransform` with its defaults is put before it if it does not begin
            with one.

    Examples:
        >>> from envkit import GymEnv, StepCounter
        >>> [type(t).__name__ for t in AutoResetEnv(GymEnv("CartPole-v1"), StepCounter()).transform]
        ['AutoResetTransform', 'StepCounter']
    """

    def __init__(self, base_env: EnvBase, transform: Transform | None = None) -> None:
        chain = Compose() if transform is None else transform
        first = chain[0] if isinstance(chain, Compose) and len(chain) else chain
        if not isinstance(first, AutoResetTransform):
            chain = Compose(AutoResetTransform(), chain)
        super().__init__(base_env, chain)
