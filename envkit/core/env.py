"""The contract of an environment."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.auto_reset import AutoReset
from envkit.core.auto_specs import auto_specs_
from envkit.core.cut_off import CutOffRows, cut_off, refuse_to_cut_off, remember
from envkit.core.env_specs import EnvSpecs
from envkit.core.masks import Masks, any_true, has_mask, merge_reset, merge_step, pop_masks, put_masks, refuse_gaps
from envkit.core.plan import Plan
from envkit.core.rollout import rollout
from envkit.core.rows import RowPort, TensorDictRows
from envkit.core.seeding import seed_generator, spawn_seed
from envkit.core.values import MODES, check_values
from envkit.errors import ClosedEnvError, EnvDataError, ResetNeededError
from envkit.storage import Slab, peek, put

if TYPE_CHECKING:
    pass

__all__ = ["EnvBase"]


class EnvBase(EnvSpecs):
    """Base class of all environments.

    An author assigns the specs in ``__init__`` and writes three methods on TensorDicts:

    - ``_reset(tensordict)`` returns the first data of an episode: observations, and done flags if they like;
    - ``_step(tensordict)`` returns what belongs under ``"next"``: observations, reward and done flags, in
      a TensorDict of its own (or a plain mapping of numbers and arrays);
    - ``_set_seed(seed)`` seeds the simulator.

    Leaf specs carry the env's batch size as their leading dimensions; where it is easier to write them for one env
    of the batch, assign to ``action_spec_unbatched`` and its kin. When the outermost ``__init__`` returns, the
    specs are locked and compiled into :attr:`plan`; assigning another spec compiles anew, editing one in place
    raises.

    The output of the first reset and the first step is compared with the specs in full; what is out of bounds then, or
    in the first 100 steps, is a warning, once for each key. Shapes, dtypes and missing keys are refused at every step;
    NaN is looked for once per rollout or collected batch (:attr:`nonfinite`).

    Args:
        device: device of inputs and outputs; ``None`` leaves every tensor where it is.
        batch_size: batch size of the env.
        allow_done_after_reset: whether a reset may deliver a done state.
        spec_locked: whether specs are locked after construction.
        auto_reset: (of every env) whether the env resets itself: the observation of a done step is then the first one
            of the next episode; see :class:`~envkit.core.auto_reset.AutoReset`.
        auto_reset_replace: (of every env) whether fillers (NaN) stand for the last observation that it never shows.
        nonfinite: (of every env) what becomes of a NaN; see :attr:`nonfinite`.

    Examples:
        >>> from envkit import Bounded, Unbounded
        >>> class Walk(EnvBase):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.observation_spec = Unbounded((1,))
        ...         self.action_spec = Bounded(-1.0, 1.0, shape=(1,))
        ...     def _reset(self, tensordict=None):
        ...         return TensorDict({"observation": torch.zeros(1)})
        ...     def _step(self, tensordict):
        ...         position = tensordict["observation"] + tensordict["action"]
        ...         return TensorDict({"observation": position, "reward": -position.abs(), "done": position.abs() > 5})
        ...     def _set_seed(self, seed):
        ...         pass
        >>> env = Walk()
        >>> env.done_keys
        ['done', 'terminated']
        >>> env.rollout(5).batch_size
        torch.Size([5])
    """

    _trusted: ClassVar[bool] = False
    # What lies above the core, and fills these in when it is imported.
    _transformed: ClassVar[Callable[[EnvBase, Any], EnvBase] | None] = None
    _registered: ClassVar[Callable[..., None] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _locking_at_the_end(cls.__init__)  # type: ignore[method-assign]

    def __init__(
        self,
        *,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        allow_done_after_reset: bool = False,
        spec_locked: bool = True,
    ) -> None:
        super().__init__(device, batch_size, spec_locked)
        self.allow_done_after_reset = allow_done_after_reset
        self.is_closed = False

    @property
    def nonfinite(self) -> str:
        """What becomes of NaN, and of infinities where there is a bound, in observations and rewards.

        - ``"error"``: a :class:`~envkit.errors.NonFiniteError`, once a rollout or a collected batch is complete (the
          default).
        - ``"warn"``: a warning at that point, once for each key; the data is handed out as it is.
        - ``"truncate"``: each step is looked at. One that leads to NaN ends the episode: it counts as not made, repeats
          the last observation, earns 0 and is truncated; a warning says so once for each key. A NaN after a reset is an
          error.
        - ``"allow"``: nothing.

        Assigning sets it for all envs of a batch, or for the env inside transforms. A batch of unequal settings has the
        most lenient one.

        Raises:
            ValueError: (when set) another word.
            SpecError: (when set) ``"truncate"`` for an env without truncated flags, one that resets itself, or with
                groups of unequal elements.

        Examples:
            >>> from envkit import GymEnv
            >>> env = GymEnv("CartPole-v1", nonfinite="truncate")
            >>> env.nonfinite = "warn"
        """
        return self._runtime.nonfinite

    @nonfinite.setter
    def nonfinite(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"nonfinite: expected one of {sorted(MODES)}, found {mode!r}")
        runtime = self._runtime
        if mode == "truncate":
            refuse_to_cut_off(self.plan, runtime.auto_reset is not None)
        # Rows were bound for another mode.
        runtime.nonfinite, runtime.last, runtime.ring, runtime.quick = mode, None, None, None

    def _describe_element(self, index: list[int]) -> str:
        """Where in the env's data an element is, for error messages."""
        return f"index {index}"

    # -------------------------------------------------------------- the ports

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase | Mapping:
        """Starts an episode; see the class docstring. What else :meth:`reset` is given is handed on by name."""
        raise NotImplementedError(f"{type(self).__name__} defines no _reset")

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase | Mapping:
        """Executes an action; see the class docstring."""
        raise NotImplementedError(f"{type(self).__name__} defines no _step")

    def _set_seed(self, seed: int | None) -> None:
        """Seeds the simulator; see the class docstring."""
        raise NotImplementedError(f"{type(self).__name__} defines no _set_seed")

    def _row_port(self, plan: Plan, root: Slab, following: Slab) -> RowPort:
        """Binds the env to slabs laid out by ``plan``; see :mod:`envkit.core.rows`."""
        return self._cutting_off(TensorDictRows(self, plan, root, following), plan, root, following)

    def _cutting_off(self, port: RowPort, plan: Plan, root: Slab, following: Slab) -> RowPort:
        """The port, or one that truncates where there is NaN, if that is wanted."""
        truncates = self._runtime.nonfinite == "truncate"
        return CutOffRows(self, plan, port, root, following) if truncates else port

    def _slabs(self, plan: Plan, rows: int, device: torch.device | None) -> tuple[Slab, Slab]:
        """Slabs for ``rows`` steps, where the env best writes them: the root's, of one row more, and the following."""
        return Slab(plan.root_spec, rows + 1, device=device), Slab(plan.next_spec, rows, device=device)

    # ------------------------------------------------------------ public port

    def reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        """Starts new episodes and returns their first data: observations and done flags, all False.

        Args:
            tensordict: updated in place and returned, if given. Boolean ``"_reset"`` entries beside done flags
                restrict the reset to the elements that are True; elsewhere the content of ``tensordict`` stands.
            **kwargs: passed on to the env's ``_reset``.

        Raises:
            SpecError: a mask has another shape than its done flag, or does not stand beside one.
            EnvDataError: the env returned data that contradicts its specs, or ``tensordict`` lacks content outside
                the masks.
        """
        if tensordict is None:
            return self.first_of(None, self.plan, **kwargs)
        plan = self.plan_for(tensordict.batch_size)
        masks = pop_masks(tensordict, plan, "_reset")
        if masks is None:
            return tensordict.update(self.first_of(tensordict, plan, **kwargs))
        if not any_true(masks):
            refuse_gaps(plan, tensordict)
            return tensordict
        out = self.first_of(put_masks(tensordict, masks), plan, masks, **kwargs)
        return merge_reset(plan, tensordict, out, masks)

    def first_of(
        self,
        given: TensorDictBase | None,
        plan: Plan,
        masks: Masks | None = None,
        bare: bool = False,
        /,  # what a reset is given by name is the author's, whatever it is called
        **kwargs: Any,
    ) -> TensorDictBase:
        """What :meth:`reset` delivers inside ``masks``; what stands outside them is up to the caller.

        Args:
            given: what the env's ``_reset`` sees, masks included.
            plan: the plan for the batch size of the result.
            masks: the masks by reset key; None resets everything.
            bare: whether done flags that the env does not tell may be left out.
            **kwargs: passed on to ``_reset``.
        """
        self.assert_open()
        auto = self._runtime.auto_reset
        if auto is None:
            return self._start(given, plan, masks, kwargs, bare=bare)
        if masks is None or given is None:
            auto.forget()
            return self._start(given, plan, None, kwargs)
        begun, asleep = auto.split(masks)
        if not any_true(asleep):
            return plan.complete_reset(auto.first(plan, given, begun, None))
        # Something else ended these episodes, a step limit on top of the env, say.
        whole = all(bool(mask.all()) for mask in asleep.values())
        given = given.exclude(*asleep) if whole else put_masks(given, asleep)
        return auto.first(plan, given, begun, self._start(given, plan, None if whole else asleep, kwargs))

    def _start(
        self,
        given: TensorDictBase | None,
        plan: Plan,
        masks: Masks | None,
        kwargs: dict[str, Any],
        *,
        bare: bool = False,
    ) -> TensorDictBase:
        """Calls the env's ``_reset``; see :meth:`first_of`."""
        start: Any = self._reset
        return self._complete_first(given, start(given, **kwargs), plan, masks, bare=bare)

    def _complete_first(
        self, given: TensorDictBase | None, out: Any, plan: Plan, masks: Masks | None, *, bare: bool = False
    ) -> TensorDictBase:
        """Completes and checks ``out``, which the env's ``_reset`` returned; see :meth:`first_of`."""
        runtime = self._runtime
        if out is given and out is not None:
            raise EnvDataError(f"{type(self).__name__}._reset returned its input: expected a TensorDict of its own")
        if not self._trusted:
            told = plan.tells_flags(out)
            out = plan.complete_reset(out, silent=not told, bare=bare)
            if told and not self.allow_done_after_reset:
                self._refuse_done(plan, out, masks)
        if runtime.nonfinite == "truncate":
            remember(self, plan, out, masks)
        runtime.started = True
        if not runtime.checked_reset:
            check_values(self, out, plan.observation_keys, "_reset")
            runtime.checked_reset = True
        return out

    def _refuse_done(self, plan: Plan, out: TensorDictBase, masks: Masks | None) -> None:
        for group in plan.done_groups:
            done = out.get(group.done)
            mask = None if masks is None else masks.get(group.reset)
            if bool((done if mask is None else done & mask.reshape(done.shape)).any()):
                raise EnvDataError(
                    f"{group.done!r} is True right after a reset of {type(self).__name__}: expected False "
                    "(construct the env with allow_done_after_reset=True if it can start done)"
                )

    def step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Executes the action in ``tensordict``, writes what follows under ``"next"`` and returns ``tensordict``.

        Boolean ``"_step"`` entries, at the root or beside a group's entries, restrict the step to the elements that are
        True; for the others ``"next"`` repeats the observations and done flags of ``tensordict``, with a reward of 0.

        Raises:
            ResetNeededError: the env was never reset.
            PolicyError: the action is missing.
            SpecError: a mask has another shape than its level.
            EnvDataError: the env returned data that contradicts its specs, or ``tensordict`` lacks content outside
                the masks.
        """
        plan = self.plan_for(tensordict.batch_size)
        masks = pop_masks(tensordict, plan, "_step") if has_mask(tensordict, plan, "_step") else None
        following = self.next_of(tensordict, plan, masks)
        preset = peek(tensordict, "next")
        put(tensordict, "next", following if preset is None else preset.update(following))
        return tensordict

    def next_of(
        self,
        tensordict: TensorDictBase,
        plan: Plan | None = None,
        masks: Masks | None = None,
        *,
        strict: bool = True,
    ) -> TensorDictBase:
        """What :meth:`step` writes under ``"next"``, without touching ``tensordict``.

        Args:
            tensordict: the input of the step.
            plan: the plan for its batch size.
            masks: the masks by step key; None steps everything.
            strict: whether content that ``tensordict`` lacks outside the masks is an error.
        """
        runtime = self._runtime
        if plan is None:
            plan = self.plan_for(tensordict.batch_size)
        if not runtime.started:
            self.assert_open()
        if not runtime.started and self.batch_locked:
            raise ResetNeededError(f"{type(self).__name__}: expected reset() before the first step()")
        if masks is not None:
            if not any_true(masks):
                return merge_step(plan, tensordict, None, masks, strict=strict)
            tensordict = put_masks(tensordict, masks)
        return self._complete_next(tensordict, self._step(tensordict), plan, masks, strict)

    def _complete_next(
        self, tensordict: TensorDictBase, out: Any, plan: Plan, masks: Masks | None = None, strict: bool = True
    ) -> TensorDictBase:
        """Completes and checks ``out``, which the env's ``_step`` returned; see :meth:`next_of`."""
        runtime = self._runtime
        if out is tensordict:
            raise EnvDataError(f"{type(self).__name__}._step returned its input: expected a TensorDict of its own")
        if not self._trusted:
            out = plan.complete_next(out)
        cuts_off = runtime.nonfinite == "truncate"
        if cuts_off:
            out = cut_off(self, plan, tensordict, out)
        if masks is not None:
            out = merge_step(plan, tensordict, out, masks, strict=strict)
        if cuts_off:
            remember(self, plan, out)
        if (runtime.watched and masks is None) or not runtime.checked_step:
            # Fillers that stand for last observations are in no spec.
            filled = self.hides_last_observations and any(bool(out.get(key).any()) for key in plan.done_keys)
            check_values(self, out, [*([] if filled else plan.observation_keys), *plan.reward_keys], "_step")
            runtime.checked_step, runtime.watched = True, max(0, runtime.watched - 1)
        return out if runtime.auto_reset is None else runtime.auto_reset.keep(plan, out, masks)

    def step_mdp(self, tensordict: TensorDictBase) -> TensorDictBase:
        """The input of the step after ``tensordict``, by this env's own keys; the action stays."""
        advance = self._runtime.advance
        if advance is None:
            self.plan  # noqa: B018 - compiles
            advance = self._runtime.advance
        return advance(tensordict)  # type: ignore[misc]

    def step_and_maybe_reset(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, TensorDictBase]:
        """Steps, and resets what is done.

        Returns:
            ``tensordict`` with its ``"next"`` entry, and the TensorDict from which the next step starts.
        """
        tensordict = self.step(tensordict)
        return tensordict, self.maybe_reset(self.step_mdp(tensordict))

    def maybe_reset(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Resets the elements of ``tensordict`` that are done, if there are any."""
        return self.reset(tensordict) if self.any_done(tensordict) else tensordict

    def any_done(self, tensordict: TensorDictBase) -> bool:
        """Whether anything is done; if so, writes the masks of what is under the ``"_reset"`` keys."""
        groups = self.plan_for(tensordict.batch_size).done_groups
        flags = [tensordict.get(group.done) for group in groups]
        if not any(bool(flag.any()) for flag in flags):
            return False
        for group, flag in zip(groups, flags, strict=True):
            tensordict.set(group.reset, flag.clone())
        return True

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes a random action into ``tensordict``, or into one of its own, and returns it.

        After :meth:`set_seed` actions come from a stream of the env's own, before that from torch's global generator.
        """
        size: Sequence[int] = ()
        if tensordict is None:
            tensordict = TensorDict({}, self._batch_size, device=self._device)
        elif not self.batch_locked:
            size = tensordict.batch_size[: tensordict.ndim - self.batch_dims]
        spec = self._get_spec("action")
        if self.plan.unequal:
            return tensordict.update(spec.rand(size, generator=self._runtime.generator))
        for key, leaf in spec.items(True, True):
            for path in (key[:depth] for depth in range(1, len(key))) if isinstance(key, tuple) else ():
                if tensordict.get(path, None) is None:
                    tensordict.set(path, TensorDict({}, (*size, *spec[path].shape), device=tensordict.device))
            tensordict.set(key, leaf.rand(size, generator=self._runtime.generator))
        return tensordict

    def rand_step(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Executes a random action, from ``tensordict`` if it is given, and after a reset if there was none yet."""
        if tensordict is None and (not self._runtime.started or self.plan.state_keys):
            tensordict = self.reset()
        return self.step(self.rand_action(tensordict))

    def all_actions(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Every action there is, stacked along a leading dimension (discrete actions only)."""
        if tensordict is not None:
            self.reset(tensordict)
        return self.full_action_spec.enumerate()

    def set_seed(self, seed: int | None, static_seed: bool = False) -> int | None:
        """Seeds the env, its random actions included, and returns the seed for the next env of a row of envs.

        The next seed is a hash-like successor of ``seed`` (``seed`` itself with ``static_seed=True``). It takes
        effect at the next reset.
        """
        self._set_seed(seed)
        if seed is None:
            self._runtime.generator = None
            return None
        self._runtime.generator = torch.Generator(self._device or "cpu").manual_seed(spawn_seed(seed, "actions"))
        return seed if static_seed else seed_generator(seed)

    def fake_tensordict(self) -> TensorDictBase:
        """A TensorDict of zeros with the layout of one step, ``"next"`` included."""
        plan = self.plan
        out = plan.root_spec.zero()
        return out.set("next", plan.next_spec.zero())

    rollout = rollout
    auto_specs_ = auto_specs_

    @property
    def draws_from_spec(self) -> bool:
        """Whether random actions are plain samples of the action spec, so that a loop may draw many at once."""
        return type(self).rand_action is EnvBase.rand_action

    @property
    def fits_rows(self) -> bool:
        """Whether the columns of a slab can hold the env's data; loops keep it step by step otherwise."""
        return not self.plan.unequal

    @property
    def hides_last_observations(self) -> bool:
        """Whether fillers stand for the last observations of episodes, as in auto-resetting envs."""
        return self._runtime.auto_reset is not None and self._runtime.auto_reset.replace

    @property
    def keeps_state(self) -> bool:
        """Whether all that a step or a reset reads from the data is actions, states and masks."""
        return False

    def append_transform(self, transform: Any) -> EnvBase:
        """This env seen through ``transform``: a TransformedEnv."""
        if EnvBase._transformed is None:
            raise ImportError("append_transform needs envkit.transforms to be imported")
        return EnvBase._transformed(self, transform)

    def assert_batchable(self) -> None:
        """Checks, for a batch that takes this env in, that nothing about it belongs on the batch as a whole."""

    @classmethod
    def register_gym(cls, id: str, **options: Any) -> None:
        """Registers this env under a Gymnasium id, for ``gymnasium.make`` and ``gymnasium.make_vec``.

        Args:
            id: a Gymnasium id, ``"[namespace/]Name[-vN]"``.
            **options: those of :func:`envkit.export.registration.register_gym` (``entry_point``, ``transform``,
                ``info_keys``, ``to_numpy``, ``max_episode_steps``, ...), and arguments for the env.

        Raises:
            TypeError: the env takes no such argument, or needs one that is missing.
        """
        if EnvBase._registered is None:
            raise ImportError("register_gym needs envkit.export to be imported")
        EnvBase._registered(cls, id, **options)

    def close(self) -> None:
        """Releases the simulator; may be called twice. A closed env cannot be run any more."""
        self.is_closed = True
        self._runtime.started, self._runtime.quick = False, None

    def assert_open(self) -> None:
        """Checks that the env may be run.

        Raises:
            ClosedEnvError: it was closed.
        """
        if self.is_closed:
            raise ClosedEnvError(f"{type(self).__name__} is closed: expected an open env; make a new one")

    def snapshot(self) -> Any:
        """All that the env keeps between steps, to be handed to :meth:`restore`: its simulator, its random streams.

        Data that was handed out is not among it: an env that reads it goes on from the TensorDict it is given.

        Raises:
            TypeError: the env holds something that cannot be copied.
        """
        try:
            runtime = self._runtime
            kept = runtime.generator, runtime.started, runtime.auto_reset, runtime.last
            return self._copied((self._simulation(), *kept))
        except Exception as error:
            raise TypeError(f"snapshot of {type(self).__name__}: expected a simulator that can be copied") from error

    def restore(self, snapshot: Any) -> None:
        """Brings back what :meth:`snapshot` took; may be called again with the same snapshot."""
        simulation, generator, started, auto_reset, last = self._copied(snapshot)
        self.__dict__.update(simulation)
        runtime = self._runtime
        runtime.generator, runtime.started, runtime.ring, runtime.quick = generator, started, None, None
        runtime.auto_reset, runtime.last = auto_reset, last

    def _copied(self, kept: tuple) -> tuple:
        return copy.deepcopy(kept)

    def _simulation(self) -> dict[str, Any]:
        """The attributes that an author, or a wrapper, gave the env: everything but what describes it."""
        ours = {*vars(EnvBase()), "_modules", "_parameters", "training"} - {"_buffers"}
        return {name: value for name, value in vars(self).items() if name not in ours}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Not defined: an env is run by reset and step."""
        raise NotImplementedError(f"{type(self).__name__} is an env: call reset, step or rollout, not the env itself")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_size={list(self._batch_size)}, device={self._device})"


def _locking_at_the_end(init: Callable) -> Callable:
    """Wraps an ``__init__`` so that the specs lock once the outermost one returns.

    The options that every env takes, whether its author thought of them or not, are taken out here.
    """

    @functools.wraps(init)
    def wrapped(self: EnvBase, *args: Any, **kwargs: Any) -> None:
        outermost = type(self).__init__ is wrapped
        if outermost:
            resets_itself, replace = kwargs.pop("auto_reset", False), kwargs.pop("auto_reset_replace", True)
            nonfinite = kwargs.pop("nonfinite", None)
        init(self, *args, **kwargs)
        if outermost:
            if resets_itself:
                self._runtime.auto_reset = AutoReset(replace)
            if self._lock_wanted:
                self.set_spec_lock_(True)
            if nonfinite is not None:
                self.nonfinite = nonfinite

    return wrapped


EnvBase.__init__ = _locking_at_the_end(EnvBase.__init__)  # type: ignore[method-assign]
