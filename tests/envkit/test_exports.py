from __future__ import annotations

import subprocess
import sys
import types

import pytest

import envkit
from envkit import (
    batched,
    collectors,
    core,
    errors,
    export,
    legacy,
    libs,
    model_based,
    native,
    record,
    specs,
    storage,
    transforms,
)

# Heavy, optional, or above envkit: what a user of the env layer must not pay for.
STRANGERS = [
    "agents",
    "av",
    "brax",
    "chess",
    "cv2",
    "dm_control",
    "envpool",
    "gym",
    "jax",
    "jumanji",
    "matplotlib",
    "mlflow",
    "mo_gymnasium",
    "mpe2",
    "mujoco",
    "sklearn",
    "dm_env",
    "pettingzoo",
    "pygame",
    "pyspiel",
    "ray",
    "rich",
    "tensorboard",
    "typer",
    "vmas",
    "wandb",
    "zoo",
]


def test_the_public_list_is_what_the_package_offers():
    offered = {
        name
        for name, value in vars(envkit).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert envkit.__all__ == sorted(envkit.__all__)
    assert set(envkit.__all__) == offered


@pytest.mark.parametrize("name", envkit.__all__)
def test_public_names_are_documented(name):
    assert (getattr(envkit, name).__doc__ or "").strip()


@pytest.mark.parametrize(
    "package", [batched, collectors, errors, export, legacy, libs, model_based, native, record, transforms]
)
def test_whole_packages_are_exported_flat(package):
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(envkit, name) is getattr(package, name)


@pytest.mark.parametrize("package", [core, specs, storage])
def test_what_is_exported_of_the_others_is_theirs(package):
    assert set(package.__all__) == {name for name in package.__all__ if hasattr(package, name)}
    for name in set(package.__all__) & set(envkit.__all__):
        assert getattr(envkit, name) is getattr(package, name)


def test_errors_are_caught_as_what_callers_know():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EnvkitError)
    assert issubclass(errors.SpecError, ValueError)
    assert issubclass(errors.NonFiniteError, errors.EnvDataError)


def test_import_is_light():
    code = f"import sys, envkit; print([name for name in {STRANGERS} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
