"""The specs of the envs of a batch, which are those of all of them."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.core.env import EnvBase
from envkit.errors import SpecError
from envkit.specs import Composite

__all__ = ["SPECS", "UnequalSpecsError", "refuse_unequal", "specs_of"]

SPECS = ("full_action_spec", "state_spec", "observation_spec", "full_reward_spec", "done_spec")


def specs_of(env: EnvBase) -> dict[str, Composite]:
    """The specs of an env, by the names of :data:`SPECS`."""
    return {role: getattr(env, role) for role in SPECS}


class UnequalSpecsError(SpecError):
    """The specs of two envs of a batch differ.

    Args:
        batch: name of the batch's class.
        role: which of the :data:`SPECS` it is.
        envs: numbers of the two envs.
        specs: how their specs print.
    """

    def __init__(self, batch: str, role: str, envs: tuple[int, int], specs: tuple[str, str]) -> None:
        super().__init__(batch, role, envs, specs)
        self.batch, self.role, self.envs, self.specs = batch, role, envs, specs

    def among(self, batch: str, first: int) -> UnequalSpecsError:
        """The same of envs whose numbers begin at ``first`` in another batch, of which they are a part."""
        return UnequalSpecsError(batch, self.role, (self.envs[0] + first, self.envs[1] + first), self.specs)

    def __str__(self) -> str:
        first, other = self.envs
        return (
            f"{self.batch}: expected envs of equal specs, but {self.role} of env {other} differs from that of env "
            f"{first}:\n{self.specs[1]}\n{self.specs[0]}"
        )


def refuse_unequal(batch: str, specs: Mapping[int, Mapping[str, Composite]]) -> None:
    """Compares the specs of envs, by their numbers, with those of the first.

    Raises:
        UnequalSpecsError: they differ.
    """
    first = next(iter(specs))
    for number, own in specs.items():
        for role in SPECS:
            if own[role] != specs[first][role]:
                raise UnequalSpecsError(batch, role, (first, number), (str(specs[first][role]), str(own[role])))
