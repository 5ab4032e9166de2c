"""Recorded data on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from tensordict import LazyStackedTensorDict, NestedKey, TensorDict, TensorDictBase, is_non_tensor

from envkit.record.loggers.names import check_log_name
from envkit.record.recorder import Recorder
from envkit.specs import Composite, TensorSpec
from envkit.storage import flat_items

__all__ = ["TensorDictRecorder"]


class TensorDictRecorder(Recorder):
    """Records what comes out of an env, and saves it at each :meth:`dump`: observations, rewards and done flags.

    A recording is a folder of memory-mapped tensors, which :meth:`load` reads without running any code of it. Rows
    are kept in memory until they are dumped; closing the env dumps what is left. Copies of an env, which checks are
    made on, record nothing.

    Args:
        out_file_base: the folders are called ``{out_file_base}_{suffix}``.
        skip_reset: whether what resets return is left out. If it is recorded, its rewards are 0.
        skip: one row in so many is recorded, the first one among them.
        in_keys: what is recorded; everything by default.

    Raises:
        SpecError: (when put on an env) an entry is missing.
        TypeError: (when run) an entry is neither a tensor nor something JSON can hold.

    Examples:
        >>> import tempfile
        >>> from envkit import GymEnv
        >>> folder = tempfile.TemporaryDirectory()
        >>> env = GymEnv("CartPole-v1").append_transform(TensorDictRecorder(Path(folder.name) / "steps", skip=1))
        >>> rollout = env.rollout(5)
        >>> saved = TensorDictRecorder.load(env.transform[0].dump("first"))
        >>> bool((saved["observation"] == rollout["next", "observation"]).all())
        True
        >>> folder.cleanup()
    """

    env_only = "TensorDictRecorder records an env; stored data has a memmap method of its own"

    def __init__(
        self,
        out_file_base: str | Path,
        skip_reset: bool = True,
        skip: int = 4,
        in_keys: Sequence[NestedKey] | None = None,
    ) -> None:
        super().__init__([], in_keys, None, skip, with_resets=not skip_reset)
        self.out_file_base = Path(out_file_base)
        self._rewards: dict[NestedKey, torch.Tensor] = {}

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        return leaf

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Changes no spec; learns which rewards there are."""
        reward = specs["reward"]
        wanted = [key for key in reward.keys(True, True) if self._everything or key in self.in_keys]
        self._rewards = {key: reward[key].zero() for key in wanted}
        return super().transform_specs(specs)

    def _record(self, tensordict: TensorDictBase) -> None:
        row = tensordict if self._everything else tensordict.select(*self.in_keys)
        row = row.clone()
        for key, nothing in self._rewards.items():
            if row.get(key, None) is None:
                row.set(key, nothing)
        for path, value in flat_items(row):
            if is_non_tensor(value):
                _refuse_objects(path, value.tolist())
        self._tape.content.append(row)

    def dump(self, suffix: str | None = None) -> Path | None:
        """Saves the rows that were recorded, stacked along a first dimension.

        Args:
            suffix: ends the name of the folder; by default the first number that is free.

        Returns:
            The folder; None if there was nothing to save.

        Raises:
            FileExistsError: there is such a folder; the recording goes on.
        """
        tape = self._tape
        tape.seen = 0
        if not tape.content:
            return None
        names = map(str, count()) if suffix is None else [check_log_name(suffix, "suffix")]
        base = self.out_file_base
        paths = (base.with_name(f"{base.name}_{name}") for name in names)
        path = next((path for path in paths if not path.exists()), None)
        if path is None:
            raise FileExistsError(f"{base}_{suffix}: expected a name that is free, found a recording there")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}-{os.getpid()}.partial")
        try:
            LazyStackedTensorDict.maybe_dense_stack(tape.content).memmap(partial)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        tape.content.clear()
        return path

    @staticmethod
    def load(path: str | Path) -> TensorDictBase:
        """Reads a recording; its tensors are mapped from the files, and loaded as they are used.

        Raises:
            FileNotFoundError: there is none.
            RuntimeError: it holds pickled objects, which no recorder has saved.
        """
        if not (Path(path) / "meta.json").is_file():
            raise FileNotFoundError(f"{path}: expected a recording, found none")
        return TensorDict.load_memmap(path, allow_pickle=False)


def _refuse_objects(path: tuple, value: object) -> None:
    """Checks that all there is in ``value`` are strings, numbers, lists and mappings by string."""
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _refuse_objects(path, part)
    elif not (value is None or isinstance(value, str | int | float)):
        raise TypeError(
            f"TensorDictRecorder: {path}: expected tensors or what JSON can hold, found {value!r} of type "
            f"{type(value).__name__}; name the entries to record in in_keys"
        )
