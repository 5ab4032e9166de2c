"""Batches of envs that live elsewhere, and are what they say they are."""

from __future__ import annotations

from typing import Any

from envkit.batched.base import BatchedEnv, most_lenient, set_nonfinite

__all__ = ["ToldBatch"]


class ToldBatch(BatchedEnv):
    """Base of batches whose envs are in other threads or processes.

    ``_told`` holds what the services of the envs say of them, one entry a service; see
    :meth:`EnvService.describe <envkit.batched.env_service.EnvService.describe>`.
    """

    _told: list[dict[str, Any]]

    def _believe(self) -> None:
        """Takes over what the envs say of their specs, which are those of the first."""
        self.allow_done_after_reset = self._any_says("allow_done_after_reset")
        for name, spec in self._told[0]["specs"].items():
            setattr(self, name, spec.expand(len(self), *spec.shape))

    def _all_say(self, name: str) -> bool:
        return all(told[name] for told in self._told)

    def _any_says(self, name: str) -> bool:
        return any(told[name] for told in self._told)

    @property
    def nonfinite(self) -> str:
        """See :attr:`~envkit.EnvBase.nonfinite`; assigning sets it for all envs."""
        return most_lenient(told["nonfinite"] for told in self._told)

    @nonfinite.setter
    def nonfinite(self, mode: str) -> None:
        self._set_nonfinite(mode)
        for told in self._told:
            told["nonfinite"] = mode
        self._runtime.ring = self._runtime.quick = None

    def _set_nonfinite(self, mode: str) -> None:
        self.map(set_nonfinite, [mode] * len(self))

    @property
    def hides_last_observations(self) -> bool:
        """See :attr:`~envkit.EnvBase.hides_last_observations`; True as well if any of the envs does."""
        return super().hides_last_observations or self._any_says("hides_last_observations")

    @property
    def draws_from_spec(self) -> bool:
        """See :attr:`~envkit.EnvBase.draws_from_spec`."""
        return self._all_say("draws_from_spec")
