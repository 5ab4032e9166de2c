"""The tasks of PettingZoo and MPE2 by their names."""

from __future__ import annotations

import importlib
import pkgutil
import re
from importlib.util import find_spec
from typing import Any

from envkit.errors import MissingDependencyError, UnknownEnvError
from envkit.libs.simulator import import_simulator
from envkit.spelling import did_you_mean

__all__ = ["import_pettingzoo", "make_task", "task_names"]

INSTALL = "`pip install 'envkit[pettingzoo]'`"
PARTICLES = "mpe"  # the family that left for a package of its own, MPE2


def import_pettingzoo() -> Any:
    """The package.

    Raises:
        MissingDependencyError: it is not installed, or from the time before it had a registry.
    """
    package = import_simulator("pettingzoo", "PettingZoo", INSTALL)
    if not hasattr(package, "parallel_registry"):
        raise MissingDependencyError(f"PettingZoo {package.__version__} has no registry yet: expected {INSTALL}")
    return package


def make_task(task: str, parallel: bool, kwargs: dict[str, Any]) -> Any:
    """A PettingZoo env by its name.

    Args:
        task: ``"family/task"`` or ``"task"``.
        parallel: whether a ``ParallelEnv`` is made, or an ``AECEnv``.
        kwargs: for the function that makes it.

    Raises:
        MissingDependencyError: PettingZoo, or what the task needs, is not installed.
        UnknownEnvError: there is no such task.
        ValueError: the task has no env of this kind.
    """
    package, names = import_pettingzoo(), task_names()
    wanted = _spelt(task).replace("mpe2/", f"{PARTICLES}/")
    found = next((name for name in names if wanted in (name, name.partition("/")[2])), None)
    if found is None:
        hint = did_you_mean(wanted, [*names, *(name.partition("/")[2] for name in names)])
        raise UnknownEnvError(f"unknown task {task!r}: expected one of PettingZooEnv.available_envs{hint}")
    family, _, name = found.partition("/")
    try:
        if family == PARTICLES:
            module = importlib.import_module(f"mpe2.{name}")
            return (module.parallel_env if parallel else module.env)(**kwargs)
        kind, registry = ("parallel", package.parallel_registry) if parallel else ("aec", package.aec_registry)
        if found not in map(_spelt, registry):
            raise ValueError(f"{task}: expected a task with an env for parallel={parallel}, found one without")
        return package.make(kind, found, **kwargs)
    except (ImportError, _failed_to_import()) as error:
        raise MissingDependencyError(
            f"{task} needs a package that is not installed: expected {INSTALL}; {error}"
        ) from error


def task_names() -> list[str]:
    """The names of all tasks as ``"family/task"``.

    Raises:
        MissingDependencyError: PettingZoo is not installed.
    """
    package = import_pettingzoo()
    names = sorted({_spelt(name) for name in (*package.aec_registry, *package.parallel_registry)})
    particles = find_spec("mpe2")
    if particles is not None:
        modules = pkgutil.iter_modules(particles.submodule_search_locations)
        names += sorted(f"{PARTICLES}/{module.name}" for module in modules if re.search(r"_v\d+$", module.name))
    return names


def _spelt(name: str) -> str:
    """A name of the registry as its module is called, and users have always called it."""
    return re.sub(r"-(?=v\d+$)", "_", name)


def _failed_to_import() -> type[Exception]:
    return importlib.import_module("pettingzoo.env_registry.exceptions").FailedToImport
