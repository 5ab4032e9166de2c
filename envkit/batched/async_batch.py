"""Envs in slots, as a batch that takes its steps together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensordict import NestedKey, TensorDictBase

from envkit.batched.async_slots import CLOSING, Desk, Order
from envkit.batched.base import options_of_each, together
from envkit.batched.told import ToldBatch
from envkit.core.env import EnvBase
from envkit.core.masks import Masks, any_true, read_masks
from envkit.core.plan import Plan
from envkit.core.rows import RowPort, TensorDictRows
from envkit.storage import Slab

__all__ = ["Known", "SlotBatch"]

TOGETHER = "together"  # the kind of orders whose answers are waited for at once


class SlotBatch(ToldBatch):
    """Base of batches whose envs run in :class:`~envkit.batched.async_slots.Slots`.

    Its methods work on all envs at the same time, and wait for all of them.
    """

    _desk: Desk
    _known: Known
    _slots: list[int]
    """The slot of each env."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._trusted = True  # what the envs return was completed and checked where they are

    def _take_seats(self, desk: Desk, slots: list[int]) -> None:
        """Makes this batch that of the envs in ``slots``."""
        self._desk, self._slots = desk, slots
        self._told = [desk.slots.descriptions[slot] for slot in slots]
        self._believe()
        self._runtime.watched = 0  # the envs look at their first steps themselves
        if not self.fits_rows:  # there is no tensor to be compared with the specs; the envs have looked at theirs
            self._runtime.checked_reset = self._runtime.checked_step = True

    # ------------------------------------------------------------------ calls

    def _round(self, function: Callable[..., Any], given: Mapping[int, tuple], phase: str = "call") -> dict[int, Any]:
        """What ``function(env, ...)`` returns for some envs, by their numbers, each with arguments of its own."""
        orders = {self._slots[i]: Order(TOGETHER, function, args, phase) for i, args in given.items()}
        answers = self._desk.round(orders)
        return {i: answers[self._slots[i]] for i in given}

    def map(self, function: Callable[..., Any], *given: Sequence[Any]) -> list[Any]:
        """What ``function(env, ...)`` returns for each env, called where it lives; all envs work at a time.

        Args:
            function: called with an env, and with its element of each sequence in ``given``.
            *given: sequences with one element for each env.

        Raises:
            WorkerError: it raised for one of the envs; its exception is the ``__cause__``.
        """
        rows = [own for _, *own in zip(self._slots, *given, strict=True)]
        return list(self._round(function, {i: tuple(own) for i, own in enumerate(rows)}).values())

    # -------------------------------------------------------------------- port

    @property
    def keeps_state(self) -> bool:
        """See :attr:`~envkit.EnvBase.keeps_state`; the envs are handed all there is."""
        return False

    def _row_port(self, plan: Plan, root: Slab, following: Slab) -> RowPort:
        return TensorDictRows(self, plan, root, following)

    def _reset(
        self,
        tensordict: TensorDictBase | None = None,
        list_of_kwargs: Sequence[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> TensorDictBase:
        plan, count = self.plan, len(self)
        options = options_of_each(count, list_of_kwargs, kwargs)
        masks = None if tensordict is None else read_masks(tensordict, plan, "_reset")
        parts = [None] * count if tensordict is None else tensordict.unbind(0)
        given = {i: (parts[i], own, options[i]) for i, own in _shares(masks, count).items()}
        self._known.sent.update(dict.fromkeys(self._slots))
        answers = self._round(_first_of, given, "reset")
        # Nothing will be read of those that are not reset.
        outs = [answers[i] if i in answers else plan.root_spec[i].zero().update(parts[i]) for i in range(count)]
        kept = [key for key in plan.kept if all(out.get(key, None) is not None for out in outs)]
        return self._together(outs, [*plan.observation_keys, *plan.done_keys, *kept])

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        plan, count = self.plan, len(self)
        masks = read_masks(tensordict, plan, "_step")
        parts = tensordict.exclude(*(masks or {})).unbind(0)
        given = {i: (parts[i], own) for i, own in _shares(masks, count).items()}
        self._known.sent.update(zip(self._slots, parts, strict=True))
        answers = self._round(_next_of, given, "step")
        # Nothing will be read of those that are not stepped.
        outs = [answers[i] if i in answers else plan.next_spec[i].zero() for i in range(count)]
        return self._together(outs, [*plan.observation_keys, *plan.reward_keys, *plan.done_keys])

    def _together(self, outs: list[TensorDictBase], keys: list[NestedKey]) -> TensorDictBase:
        return self._at_home(together(outs, self.plan, keys, self.fits_rows))

    def _at_home(self, out: TensorDictBase) -> TensorDictBase:
        return out if self._device is None else out.to(self._device)

    def _drawn(self, parts: list[TensorDictBase | None]) -> list[TensorDictBase]:
        return self._drawn_by(list(range(len(self))), parts)

    def _drawn_by(self, chosen: list[int], parts: Sequence[TensorDictBase | None]) -> list[TensorDictBase]:
        """A random action of each of some envs' own."""
        return list(self._round(_draw, {i: (part,) for i, part in zip(chosen, parts, strict=True)}).values())

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the first env with ``seed``, each other with what its neighbour returned; returns the last one's."""
        super().set_seed(seed, static_seed)
        for i, slot in enumerate(self._slots):
            self._known.seeds[slot] = seed
            seed = self._round(_seed, {i: (seed, static_seed)})[i]
        return seed

    def close(self, seconds: float = CLOSING) -> None:
        """Closes all envs, and ends their threads or processes, within ``seconds``; never raises, may be called again.

        Answers that were not received are dropped. A thread whose env does not come back is left alone, with a warning.
        """
        self._desk.slots.close(seconds)
        super().close()


class Known:
    """What is known of the env in each slot, for error messages."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.seeds: dict[int, int | None] = {}
        self.action_keys: list[NestedKey] = []
        # What each was last sent for a step.
        self.sent: dict[int, TensorDictBase | None] = {}

    def of(self, slot: int) -> dict[str, Any]:
        """What a :class:`~envkit.WorkerError` should say."""
        sent = self.sent.get(slot)
        actions = {} if sent is None else {key: sent.get(key, None) for key in self.action_keys}
        return {
            "env_indices": [slot],
            "env_name": self.names[slot],
            "seed": self.seeds.get(slot),
            "last_action": next(iter(actions.values()), None) if len(actions) < 2 else actions,
        }


def _shares(masks: Masks | None, count: int) -> dict[int, Masks | None]:
    """For each env that takes part its own share of the masks; None if there are none."""
    if not masks:
        return dict.fromkeys(range(count))
    shares = [{key: mask[i] for key, mask in masks.items()} for i in range(count)]
    return {i: share for i, share in enumerate(shares) if any_true(share)}


def _first_of(env: EnvBase, part: TensorDictBase | None, masks: Masks | None, options: dict[str, Any]) -> Any:
    return env.first_of(part, env.plan, masks, **options)


def _next_of(env: EnvBase, part: TensorDictBase, masks: Masks | None) -> Any:
    whole = masks is None or all(bool(mask.all()) for mask in masks.values())
    return env.next_of(part, None, None if whole else masks, strict=False)


def _draw(env: EnvBase, part: TensorDictBase | None) -> TensorDictBase:
    return env.rand_action(part).select(*env.action_keys)


def _seed(env: EnvBase, seed: int | None, static: bool) -> int | None:
    return env.set_seed(seed, static)
