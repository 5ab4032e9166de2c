"""The configs that come with the zoo, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envkit.spelling import did_you_mean
from zoo.config import RunConfig, load_config
from zoo.errors import UnknownConfigError

__all__ = ["config_names", "config_path", "find_config"]

_FOLDER = Path(__file__).parent / "configs"


def config_names() -> list[str]:
    """List the names of all configs, sorted.

    Example:
        >>> "ppo/CartPole-v1" in config_names()
        True
    """
    return sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.glob("*/*.yaml"))


def config_path(name: str) -> Path:
    """Return the file of a config.

    Raises:
        UnknownConfigError: There is none of this name; the message suggests the nearest.

    Example:
        >>> config_path("ppo/cartpole")
        Traceback (most recent call last):
        ...
        zoo.errors.UnknownConfigError: no config is named 'ppo/cartpole'; did you mean 'ppo/CartPole-v1' ...
    """
    known = config_names()
    if name not in known:
        hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
        raise UnknownConfigError(f"no config is named {name!r}{hint} (`zoo list` shows all)")
    return _FOLDER / f"{name}.yaml"


def find_config(name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a config by its name, or from a YAML file of the user's.

    Args:
        name: A name such as ``ppo/CartPole-v1``, or a path that ends in ``.yaml`` or ``.yml``.
        overrides: Changes in the form ``agent.lr=1e-3``.

    Raises:
        UnknownConfigError: There is no config of this name.
        ConfigError: The file or an override is wrong.

    Example:
        >>> find_config("ppo/CartPole-v1", ["seed=3"]).seed
        3
    """
    is_file = Path(name).suffix in {".yaml", ".yml"}
    return load_config(Path(name) if is_file else config_path(name), overrides)
