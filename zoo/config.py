"""What a training run is: data that says everything needed to repeat it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agents.plain_files import read_text
from agents.yaml_data import Document, dump_yaml, parse_yaml
from envkit.spelling import did_you_mean
from zoo.algorithms import ALGORITHMS
from zoo.errors import ConfigError
from zoo.schema import validate
from zoo.search_range import SearchRange

__all__ = [
    "EnvConfig",
    "EvalConfig",
    "Published",
    "RunConfig",
    "config_data",
    "config_from_yaml",
    "config_hash",
    "config_to_yaml",
    "load_config",
]

NOT_DECISIVE = {"name", "seed", "description", "published", "tried", "tune"}
LATER: dict[str, dict[str, Any]] = {"eval": {"kwargs": {}}, "agent": {"normalize_reward": False}}
"""Entries younger than the first results, and what they are in a run that does without them."""

_ENV_ID = re.compile(r"(?:[\w-]+/)?[\w.-]+")


@dataclass(frozen=True)
class EnvConfig:
    """The environment to learn in.

    Attributes:
        id: Id of a registered Gymnasium environment, such as ``CartPole-v1``; or ``vmas/<scenario>``,
            ``pettingzoo/<task>``.
        num_envs: How many copies are stepped side by side.
        kwargs: Further arguments for the environment, as plain data.
        normalize: Whether observations are normalised by their running mean and standard deviation, which come
            with the checkpoint.
    """

    id: str
    num_envs: int = 1
    kwargs: dict[str, Any] = field(default_factory=dict)
    normalize: bool = False

    def __post_init__(self) -> None:
        # Gymnasium imports the module named before a colon, and configs may come from strangers.
        if not _ENV_ID.fullmatch(self.id):
            raise ConfigError(f"id {self.id!r} is no environment id such as 'CartPole-v1' (modules are not imported)")
        if self.num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, found {self.num_envs}")


@dataclass(frozen=True)
class EvalConfig:
    """How a policy is judged: deterministic episodes from fixed start seeds.

    Attributes:
        episodes: How many episodes the final policy plays.
        first_seed: Start seed of the first episode; each further one starts from the next seed.
        points: How often the policy is evaluated while it is trained, at most once an iteration; 0 for never.
        curve_episodes: How many episodes it plays each of these times.
        kwargs: Arguments for the environment that are others than in training, such as an opponent.
    """

    episodes: int = 100
    first_seed: int = 10_000
    points: int = 50
    curve_episodes: int = 20
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in {"episodes": 1, "first_seed": 0, "points": 0, "curve_episodes": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, found {getattr(self, name)}")


@dataclass(frozen=True)
class Published:
    """The best number that others have published for the same budget.

    Attributes:
        score: Mean return.
        source: Who published it.
        protocol: How it is measured: ``FE`` final policy, deterministic; ``TR`` last training episodes; ``MX`` highest
            point of the evaluations amid training.
    """

    score: float
    source: str
    protocol: Literal["FE", "TR", "MX"] = "FE"


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        name: Name of the config, ``<algorithm>/<environment>``, perhaps with a ``-<variant>`` at the end.
        env: The environment to learn in.
        total_steps: Environment steps to train for, summed over all copies.
        algorithm: The learning algorithm.
        agent: Settings of the algorithm, an instance of its ``Config``; the defaults by default.
        seed: Seed of weights, environments and sampling.
        eval: How the final policy is judged.
        target: The mean return that counts as solved (the bar), or None where there is no agreed one.
        published: What others have reached with as many steps, or None.
        tried: Other settings that were tried, and what each gave; shown beside the results.
        description: One line for the list of configs.
        tune: What a search may try, by the dotted name of the entry, such as ``agent.lr``.

    Example:
        >>> config = RunConfig(name="ppo/CartPole-v1", env=EnvConfig("CartPole-v1"), total_steps=100_000)
        >>> config.eval.episodes
        100
    """

    name: str
    env: EnvConfig
    total_steps: int
    algorithm: str = "ppo"
    agent: Any = None
    seed: int = 0
    eval: EvalConfig = field(default_factory=EvalConfig)
    target: float | None = None
    published: Published | None = None
    tried: list[str] = field(default_factory=list)
    description: str = ""
    tune: dict[str, SearchRange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            hint = did_you_mean(self.algorithm, list(ALGORITHMS)) or f"; known: {', '.join(ALGORITHMS)}"
            raise ConfigError(f"unknown algorithm {self.algorithm!r}{hint}")
        if self.agent is None:
            object.__setattr__(self, "agent", ALGORITHMS[self.algorithm].Config())
        if self.total_steps < 1:
            raise ConfigError(f"total_steps must be at least 1, found {self.total_steps}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be between 0 and 2**32 - 1, found {self.seed}")
        known = [
            f"{part}.{entry.name}" for part in ("agent", "env") for entry in dataclasses.fields(getattr(self, part))
        ]
        for key in self.tune:
            if key not in known:
                hint = did_you_mean(key, known) or f"; known: {', '.join(known)}"
                raise ConfigError(f"tune: {key!r} is no entry of agent or env{hint}")


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config from a YAML file.

    Args:
        path: The file, at most one megabyte of plain data.
        overrides: Changes in the form ``agent.lr=1e-3``: a dotted key, and a value in YAML.

    Raises:
        ConfigError: The file or an override is wrong; the message names the file and line, or the override.

    Example:
        >>> from zoo.registry import config_path
        >>> load_config(config_path("ppo/CartPole-v1"), ["total_steps=20000"]).total_steps
        20000
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error
    document = _parsed(text, str(path))
    return _build(document.data, document.lines, overrides, str(path))


def config_from_yaml(text: str, overrides: Sequence[str] = (), source: str = "config") -> RunConfig:
    """Read a config from YAML text; see :func:`load_config`.

    Example:
        >>> text = "{name: ppo/CartPole-v1, env: {id: CartPole-v1}, total_steps: 1000}"
        >>> config_from_yaml(text, ["agent.lr=1e-3"]).agent.lr
        0.001
    """
    document = _parsed(text, source)
    return _build(document.data, document.lines, overrides, source)


def config_to_yaml(config: RunConfig) -> str:
    """Write a config, every default spelt out, as YAML that :func:`config_from_yaml` reads back unchanged.

    Example:
        >>> config = RunConfig(name="ppo/CartPole-v1", env=EnvConfig("CartPole-v1"), total_steps=1000)
        >>> config_from_yaml(config_to_yaml(config)) == config
        True
    """
    return dump_yaml(config_data(config))


def config_data(config: RunConfig) -> dict[str, Any]:
    """Return a config, every default spelt out, as nested dictionaries, lists and scalars."""
    return _plain(dataclasses.asdict(config))


def config_hash(config: RunConfig) -> str:
    """Return a SHA-256 digest of what decides how a run goes and how it is judged.

    That is everything but the name, the seed, the description, what others have published, and what was tried or a
    search may try; and an entry that is younger than the first results only where it makes a difference.

    Example:
        >>> from zoo.registry import find_config
        >>> one, same, other = (find_config("ppo/CartPole-v1", [x]) for x in ("seed=1", "seed=2", "agent.lr=1"))
        >>> config_hash(one) == config_hash(same), config_hash(one) == config_hash(other), len(config_hash(one))
        (True, False, 64)
    """
    data = config_data(config)
    decisive = {key: value for key, value in data.items() if key not in NOT_DECISIVE}
    for part, entries in LATER.items():
        for key, without in entries.items():
            if data[part].get(key) == without:
                del data[part][key]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(data: Any, lines: Mapping[Any, int], overrides: Sequence[str], source: str) -> RunConfig:
    origins = {path: f"{source}:{line}" for path, line in lines.items() if path}
    for override in overrides:
        _apply(data, override, origins)
    found = validate(_kind(data), data, origins, source)
    return RunConfig(**{entry.name: getattr(found, entry.name) for entry in dataclasses.fields(RunConfig)})


def _kind(data: Any) -> type[RunConfig]:
    """The config class whose agent is that of the algorithm in the data, for checks to know its settings."""
    name = data.get("algorithm", "ppo") if isinstance(data, dict) else "ppo"
    settings = ALGORITHMS[name if isinstance(name, str) and name in ALGORITHMS else "ppo"].Config
    return dataclasses.make_dataclass(
        "RunConfig", [("agent", settings, field(default_factory=settings))], bases=(RunConfig,), frozen=True
    )


def _parsed(text: str, source: str) -> Document:
    try:
        return parse_yaml(text, source)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _apply(data: Any, override: str, origins: dict[Any, str]) -> None:
    """Write one override into the data, and note it as the origin of its entry."""
    origin = f"override {override!r}"
    key, equals, value = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"{origin}: expected key=value, such as agent.lr=1e-3")
    inner = data
    for n, part in enumerate(path[:-1], start=1):
        if isinstance(inner, dict):
            if part not in inner:
                origins[path[:n]] = origin
            inner = inner.setdefault(part, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{origin}: {'.'.join(path[:-1]) or 'the config'} is no mapping of keys to values")
    inner[path[-1]] = _parsed(value, origin).data
    origins[path] = origin
