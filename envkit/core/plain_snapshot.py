"""Snapshots of envs as plain data, for files that run no code when they are read."""

from __future__ import annotations

import enum
import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec

from envkit.core.env import EnvBase
from envkit.specs import TensorSpec

__all__ = ["plain_snapshot", "restore_plain_snapshot"]

PLAIN = (str, int, float, bool, type(None))
ARRAYS = (torch.Tensor, np.ndarray)
# What does not change while an env runs: the one that the env being restored has stays.
FIXED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    torch.dtype,
    torch.device,
    np.dtype,
    enum.Enum,
    TensorSpec,
    EnvSpec,
)
SEQUENCES: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque, "size": torch.Size}
SAME = "same"
DRAWN = "drawn"


def plain_snapshot(env: EnvBase) -> Any:
    """All that an env keeps between steps, as nested dicts and lists of tensors, arrays and plain values.

    The objects of which a simulator consists are taken apart into their attributes, random generators into their
    states. What pygame draws on is left out: the env that is restored keeps its own. Compare
    :meth:`~envkit.EnvBase.snapshot`, which copies objects, and needs pickle on disk.

    Raises:
        TypeError: the env cannot be copied, or consists of something whose state cannot be read, as compiled
            simulators may; says what and where.

    Examples:
        >>> from envkit import GymEnv
        >>> env = GymEnv("CartPole-v1")
        >>> _ = env.set_seed(0)
        >>> _ = env.rollout(5)
        >>> kept = plain_snapshot(env)
        >>> other = GymEnv("CartPole-v1")
        >>> restore_plain_snapshot(other, kept)
        >>> (other.reset()["observation"] == env.reset()["observation"]).all()
        tensor(True)
    """
    return _Reader().read(env.snapshot(), "env")


def restore_plain_snapshot(env: EnvBase, snapshot: Any) -> None:
    """Gives an env, made as the one that :func:`plain_snapshot` was given, the state it had.

    Raises:
        ValueError: the env is made otherwise; says where they differ.
    """
    env.restore(_Writer().write(env.snapshot(), snapshot, "env"))


class _Reader:
    """Reads one tree of objects; what is met again is told by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that ids stay those of one object

    def read(self, value: Any, path: str) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, (*ARRAYS, np.generic)):
            return _array(value, path)
        if isinstance(value, FIXED):
            return {SAME: kind.__name__}
        if kind.__module__.partition(".")[0] == "pygame":  # no part of what happens, and perhaps not there
            return {DRAWN: kind.__name__}
        if id(value) in self._numbers:
            return {"seen": self._numbers[id(value)]}
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        if (state := _generator_state(value)) is not None:
            return {"generator": kind.__name__, "state": state}
        if kind in (list, *SEQUENCES.values()):
            name = next((name for name, one in SEQUENCES.items() if one is kind), "list")
            items = [self.read(item, f"{path}[{index}]") for index, item in enumerate(value)]
            limit = {"maxlen": value.maxlen} if isinstance(value, deque) else {}
            return {"sequence": name, "items": items, **limit}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            items = [self.read(item, f"{path}.{name}") for name, item in zip(kind._fields, value, strict=True)]
            return {"named": _name(kind), "items": items}
        if kind in (dict, OrderedDict):
            pairs = [[self._key(key, path), self.read(item, f"{path}[{key!r}]")] for key, item in value.items()]
            return {"pairs": pairs}
        if (data := _mujoco_data(value)) is not None:
            return {"mujoco": data}
        if kind.__module__.partition(".")[0] == "mujoco":
            return {SAME: kind.__name__}
        return {"object": _name(kind), "attributes": self._attributes(value, path)}

    def _key(self, key: Any, path: str) -> Any:
        if type(key) is tuple:
            return [self._key(part, path) for part in key]
        return key if type(key) in PLAIN else {"key": self.read(key, f"a key of {path}")}

    def _attributes(self, value: Any, path: str) -> dict[str, Any]:
        slots = [name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())]
        # A class that is written in C may keep more than its attributes show.
        if not hasattr(value, "__dict__") or slots or type(value).__basicsize__ > _BARE:
            raise TypeError(f"{path}: expected something whose state can be read, found {_name(type(value))}")
        return {name: self.read(item, f"{path}.{name}") for name, item in vars(value).items()}


class _Bare:
    """An instance with attributes and nothing else."""


_BARE = _Bare.__basicsize__


class _Writer:
    """Writes what :class:`_Reader` read into a tree of objects that is made alike."""

    def __init__(self) -> None:
        self._met: list[Any] = []
        self._used: dict[int, Any] = {}

    def _unused(self, live: Any) -> Any:
        """``live``; or something like it, where it has become another object of the snapshot already.

        What refers to one of several things (the landmark that is the goal) may refer to another one here.
        """
        if live is None or id(live) not in self._used:
            self._used[id(live)] = live
            return live
        if _generator_state(live) is not None:
            return None
        twin = object.__new__(type(live))
        twin.__dict__.update(vars(live))
        return twin

    def write(self, live: Any, plain: Any, path: str) -> Any:
        """What stands in the place of ``live`` from now on."""
        if not isinstance(plain, dict):
            return plain
        if "value" in plain:
            return plain["value"].clone() if isinstance(plain["value"], torch.Tensor) else plain["value"].copy()
        if "strings" in plain:
            return np.array(plain["strings"]).astype(plain["dtype"])
        if SAME in plain:
            self._check(type(live).__name__ == plain[SAME], plain[SAME], live, path)
            return live
        if DRAWN in plain:
            return live
        if "seen" in plain:
            return self._met[plain["seen"]]
        number = len(self._met)
        self._met.append(live)
        if "generator" in plain or "attributes" in plain:
            live = self._unused(live)
        if "generator" in plain:
            live = GENERATORS[plain["generator"]](plain["state"]) if live is None else live
            self._check(type(live).__name__ == plain["generator"], plain["generator"], live, path)
            _set_generator_state(live, plain["state"])
            self._met[number] = live
        elif "sequence" in plain:
            self._met[number] = self._sequence(live, plain, path)
        elif "named" in plain:
            self._check(_name(type(live)) == plain["named"], plain["named"], live, path)
            items = [self.write(*pair, path) for pair in zip(live, plain["items"], strict=True)]
            self._met[number] = type(live)(*items)
        elif "pairs" in plain:
            known = live if isinstance(live, dict) else {}
            out = type(known)()
            self._met[number] = out
            # Objects that are keys are those in the same place of a dict that was filled in the same order.
            for kept, (plain_key, item) in zip([*known, *[None] * len(plain["pairs"])], plain["pairs"], strict=False):
                key = self._key(kept, plain_key, path)
                out[key] = self.write(known.get(key), item, f"{path}[{key!r}]")
        elif "mujoco" in plain:
            self._check(_is_mujoco_data(live), "MjData", live, path)
            _set_mujoco_data(live, plain["mujoco"])
        else:
            self._check(_name(type(live)) == plain["object"], plain["object"], live, path)
            self._met[number] = live
            known, wanted = vars(live), plain["attributes"]
            for name in known.keys() - wanted.keys():
                del known[name]
            for name, item in wanted.items():
                known[name] = self.write(known.get(name), item, f"{path}.{name}")
        return self._met[number]

    def _key(self, live: Any, plain: Any, path: str) -> Any:
        if isinstance(plain, list):
            parts = [*(live if isinstance(live, tuple) else ()), *[None] * len(plain)]
            return tuple(self._key(*pair, path) for pair in zip(parts, plain, strict=False))
        return self.write(live, plain["key"], f"a key of {path}") if isinstance(plain, dict) else plain

    def _sequence(self, live: Any, plain: dict[str, Any], path: str) -> Any:
        known = list(live) if isinstance(live, (list, tuple, deque, set, frozenset)) else []
        known += [None] * (len(plain["items"]) - len(known))
        items = [self.write(known[i], item, f"{path}[{i}]") for i, item in enumerate(plain["items"])]
        if plain["sequence"] == "deque":
            return deque(items, plain["maxlen"])
        return SEQUENCES.get(plain["sequence"], list)(items)

    @staticmethod
    def _check(agrees: bool, expected: str, live: Any, path: str) -> None:
        if not agrees:
            raise ValueError(f"snapshot: expected {expected} at {path}, found {_name(type(live))} in this env")


def _array(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, torch.Tensor) or value.dtype.kind in "biufc":
        return {"value": value}
    if value.dtype.kind in "SU":
        return {"strings": value.astype("U").tolist(), "dtype": value.dtype.str}
    raise TypeError(f"{path}: expected numbers or strings, found an array of {value.dtype}")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# ------------------------------------------------------------------ generators


def _bit_generator(state: Any) -> np.random.BitGenerator:
    name = state["bit_generator"]
    if name not in BIT_GENERATORS:
        raise ValueError(f"snapshot: expected a bit generator of {BIT_GENERATORS}, found {name!r}")
    return getattr(np.random, name)()


BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
# What makes a generator where the env that is restored has none yet.
GENERATORS: dict[str, Callable[[Any], Any]] = {
    "Generator": lambda state: torch.Generator() if "value" in state else np.random.Generator(_bit_generator(state)),
    "RandomState": lambda state: np.random.RandomState(),
    "Random": lambda state: random.Random(),
    **dict.fromkeys(BIT_GENERATORS, _bit_generator),
}


def _generator_state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return {"value": value.get_state()}
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.BitGenerator):
        return value.state
    if isinstance(value, np.random.RandomState):
        return list(value.get_state())
    if isinstance(value, random.Random):
        version, numbers, gauss = value.getstate()
        return [version, list(numbers), gauss]
    return None


def _set_generator_state(live: Any, state: Any) -> None:
    if isinstance(live, torch.Generator):
        live.set_state(state["value"])
    elif isinstance(live, np.random.Generator):
        live.bit_generator.state = state
    elif isinstance(live, np.random.BitGenerator):
        live.state = state
    elif isinstance(live, np.random.RandomState):
        live.set_state(tuple(state))
    else:
        live.setstate((state[0], tuple(state[1]), state[2]))


# ---------------------------------------------------------------------- MuJoCo


def _is_mujoco_data(value: Any) -> bool:
    return type(value).__name__ == "MjData" and type(value).__module__.startswith("mujoco")


def _mujoco_data(value: Any) -> dict[str, Any] | None:
    """The arrays of a simulation, those that follow from others included: some envs read them before they step."""
    if not _is_mujoco_data(value):
        return None
    arrays = {name: item.copy() for name, item in _mujoco_arrays(value)}
    return {"arrays": arrays, "time": float(value.time)}


def _set_mujoco_data(live: Any, plain: dict[str, Any]) -> None:
    for name, item in _mujoco_arrays(live):
        kept = plain["arrays"].get(name)
        # Those of contacts and constraints vary in size, and are found anew by each step.
        if kept is not None and kept.shape == item.shape:
            item[...] = kept
    live.time = plain["time"]


def _mujoco_arrays(value: Any) -> list[tuple[str, np.ndarray]]:
    named = ((name, getattr(value, name)) for name in dir(value) if not name.startswith("_"))
    return [(name, item) for name, item in named if isinstance(item, np.ndarray) and item.dtype.kind in "fiub"]
