"""Settings of an experiment, in sections."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from agents import algorithms
from agents.plain_files import read_plain, write_plain
from envkit.spelling import did_you_mean

__all__ = ["Config"]

AGENTS: dict[str, type[algorithms.BaseAgent]] = {
    name: agent
    for name, agent in vars(algorithms).items()
    if isinstance(agent, type) and issubclass(agent, algorithms.BaseAgent) and hasattr(agent, "Config")
}
# Names of older pages: the agent, and what it is told beside.
OLD_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "PPOAdaptive": ("PPO", {"variant": "kl"}),
    "PPOClip": ("PPO", {"variant": "clip"}),
    "VanillaPG": ("REINFORCE", {}),
}


class Config(Mapping[str, Any]):
    """Named settings, some of which are sections of further ones; read and written as attributes, in the order given.

    A config is a mapping, so it is what ``from_config`` of agents and :func:`~agents.nn_from_config` take. Mappings
    become sections, and tuples lists, as files have them; other values stay what they are.

    Args:
        entries: settings, as a mapping.
        **configs: further ones.

    Raises:
        ValueError: a name is no identifier, begins with an underscore, or is that of a method.

    Examples:
        >>> config = Config(seed=3)
        >>> config.new_section("agent", lr=1e-3, hidden_sizes=(32,))
        Config(lr=0.001, hidden_sizes=[32])
        >>> config.agent.gamma = 0.9
        >>> config.as_dict()
        {'seed': 3, 'agent': {'lr': 0.001, 'hidden_sizes': [32], 'gamma': 0.9}}
        >>> config.agent.gama
        Traceback (most recent call last):
        ...
        AttributeError: 'gama': expected one of ['lr', 'hidden_sizes', 'gamma']; did you mean 'gamma'?
        >>> from agents import PPO
        >>> from envkit import GymEnv
        >>> PPO.from_config(config.agent, GymEnv("CartPole-v1")).config.gamma
        0.9
    """

    _entries: dict[str, Any]

    def __init__(self, entries: Mapping[str, Any] | None = None, /, **configs: Any) -> None:
        object.__setattr__(self, "_entries", {})
        for name, value in {**(entries or {}), **configs}.items():
            setattr(self, name, value)

    def new_section(self, name: str, **configs: Any) -> Config:
        """Adds a section of settings, which replaces what had its name, and returns it."""
        setattr(self, name, Config(configs))
        return self[name]

    def as_dict(self) -> dict[str, Any]:
        """All settings, sections as dicts; a copy."""
        return {
            name: value.as_dict() if isinstance(value, Config) else _listed(value)
            for name, value in self._entries.items()
        }

    # ------------------------------------------------------------------ files

    def save(self, file_path: str | os.PathLike) -> Path:
        """Writes all settings to a file, JSON or (``.yaml``) YAML; :meth:`load` returns an equal config.

        Raises:
            TypeError: a setting is no plain data, such as a class; says which.
            ValueError: the name ends otherwise, or a number is not finite.
            MissingDependencyError: it is YAML, and PyYAML is not installed.
        """
        return write_plain(file_path, self.as_dict())

    @classmethod
    def load(cls, file_path: str | os.PathLike) -> Self:
        """Reads a JSON or YAML file of at most a megabyte. Runs nothing that it finds there.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds something else than named plain settings, or its name ends otherwise.
            MissingDependencyError: it is YAML, and PyYAML is not installed.
        """
        data = read_plain(file_path)
        try:
            return cls(data)
        except ValueError as error:
            raise ValueError(f"{file_path}: {error}") from error

    @classmethod
    def from_default(cls, name: str) -> Self:
        """The default settings of an agent.

        Args:
            name: name of its class, such as ``"PPO"``; or ``"VanillaPG"``, ``"PPOClip"``, ``"PPOAdaptive"``.

        Returns:
            A config with the name of the class as ``algorithm``, and its hyper-parameters as the section ``agent``.

        Raises:
            ValueError: there is no such agent.

        Examples:
            >>> config = Config.from_default("VanillaPG")
            >>> config.algorithm, config.agent.steps_per_env
            ('REINFORCE', 512)
        """
        found, told = OLD_NAMES.get(name, (name, {}))
        if found not in AGENTS:
            raise ValueError(f"name: {_expected(name, [*AGENTS, *OLD_NAMES])}")
        return cls(algorithm=found, agent=asdict(AGENTS[found].Config(**told)))

    # ---------------------------------------------------------------- entries

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"{name!r}: expected an identifier without a leading underscore as the name of a setting")
        if hasattr(type(self), name):
            raise ValueError(f"{name!r}: expected another name for a setting, this is a method of Config")
        self._entries[name] = _stored(value, name)

    def __getattr__(self, name: str) -> Any:
        # Copying and pickling look up what is not there before there are entries.
        entries = self.__dict__.get("_entries", {})
        if name not in entries:
            raise AttributeError(_expected(name, entries))
        return entries[name]

    def __delattr__(self, name: str) -> None:
        getattr(self, name)
        del self._entries[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise KeyError(_expected(name, self._entries))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._entries]

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self._entries.items())})"


def _stored(value: Any, name: str) -> Any:
    """A value as a config keeps it."""
    if isinstance(value, Config):
        return value
    if isinstance(value, Mapping):
        try:
            return Config(value)
        except ValueError as error:
            raise ValueError(f"{name}.{error}") from error
    return _listed(value)


def _listed(value: Any) -> Any:
    """Lists anew, at any depth; mappings in them (such as descriptions of layers) are dicts, no sections."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _expected(name: str, known: Iterable[str]) -> str:
    return f"{name!r}: expected one of {list(known)}{did_you_mean(name, known)}"
