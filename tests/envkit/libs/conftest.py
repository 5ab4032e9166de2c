"""Which tests of simulators are collected."""

from __future__ import annotations

from pathlib import Path

import pytest

STARTS_JAX = {"test_brax.py", "test_jax_arrays.py", "test_jumanji.py"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out tests that start JAX, unless they are asked for: importing them is enough for its threads to run."""
    chosen = config.getoption("markexpr")
    unwanted = "jax" not in chosen or "not jax" in chosen
    return True if unwanted and collection_path.name in STARTS_JAX else None
