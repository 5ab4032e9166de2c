"""Actions at the beginning of an episode, which the policy does not see."""

from __future__ import annotations

from tensordict import TensorDictBase

from envkit.core.masks import Masks
from envkit.transforms.chance import Chancy
from envkit.transforms.inside import InnerRows, env_inside, no_op
from envkit.transforms.rows import Columns, RowForm

__all__ = ["FireReset", "NoopResetEnv"]


class _ActsAtReset(Chancy):
    """Repeats one action after each reset; where that ends an episode another one is begun."""

    placement = "single"
    env_only = "actions at the beginning of an episode need an env; stored data begins after them"

    def _count(self) -> int:
        """How many times."""
        raise NotImplementedError(f"{type(self).__name__} defines no _count")

    def _action(self) -> TensorDictBase:
        return no_op(env_inside(self))

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        env, action = env_inside(self), self._action()
        plan, given = env.plan, tensordict_reset
        for _ in range(self._count()):
            given = given.copy().update(action)
            following = env.step_mdp(given.set("next", self._step_inside(given)))
            over = any(bool(following.get(group.done).any()) for group in plan.done_groups)
            given = self._reset_inside() if over else following.exclude(*plan.action_keys)
        return given

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        if not InnerRows.suits(self):
            return None
        rows, action = InnerRows(self, columns), self._action()

        def reset(row: int, masks: Masks | None) -> None:
            rows.start_first(row, action)
            for _ in range(self._count()):
                if rows.step():
                    rows.reset()
                else:
                    rows.hand_on(everything=True)
            rows.finish_first(row)

        return RowForm(reset=reset)


class NoopResetEnv(_ActsAtReset):
    """Begins each episode with a number of actions that do nothing, so that not all begin alike.

    The action that does nothing is the first of discrete ones, as in Atari games, and otherwise the one next to zero.
    It belongs on single envs: those of a batch are transformed before they become one.

    Args:
        noops: the greatest number of such actions.
        random: whether the number is drawn, uniformly from 1 to ``noops``; otherwise it is ``noops``.

    References:
        Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), NoopResetEnv(noops=3, random=False))
        >>> plain = GymEnv("CartPole-v1")
        >>> _ = env.set_seed(0), plain.set_seed(0)
        >>> data = plain.rollout(3, lambda td: td.set("action", plain.action_spec.zero()))
        >>> bool((env.reset()["observation"] == data["next", "observation"][-1]).all())
        True
    """

    def __init__(self, noops: int = 30, random: bool = True) -> None:
        super().__init__()
        if noops < 1:
            raise ValueError(f"NoopResetEnv: noops: expected at least 1, found {noops}")
        self.noops, self.random = noops, random

    def _count(self) -> int:
        return int(self._numbers().integers(1, self.noops + 1)) if self.random else self.noops

    def extra_repr(self) -> str:
        """The options."""
        return f"noops={self.noops}, random={self.random}"


class FireReset(_ActsAtReset):
    """Begins each episode with the action that starts the game: ``FIRE``, in many Atari games.

    It belongs on single envs.

    Args:
        action: its number.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), FireReset(action=1))
        >>> plain = GymEnv("CartPole-v1")
        >>> _ = env.set_seed(0), plain.set_seed(0)
        >>> data = plain.rollout(1, lambda td: td.set("action", plain.action_spec.one()))
        >>> bool((env.reset()["observation"] == data["next", "observation"][0]).all())
        True
    """

    def __init__(self, action: int = 1) -> None:
        super().__init__()
        self.action = action

    def _count(self) -> int:
        return 1

    def _action(self) -> TensorDictBase:
        env = env_inside(self)
        return no_op(env).set(env.action_key, env.action_spec.encode(self.action))

    def extra_repr(self) -> str:
        """The action."""
        return f"action={self.action}"
