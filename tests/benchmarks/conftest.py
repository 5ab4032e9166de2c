"""Keeps pytest (and its doctest collection) out of this folder: benchmarks are run by `run.py`."""

collect_ignore_glob = ["*"]
