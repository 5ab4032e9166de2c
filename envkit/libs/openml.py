"""Contextual bandits out of classification data sets of OpenML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.env import EnvBase
from envkit.core.seeding import spawn_seed
from envkit.errors import EnvDataError, MissingDependencyError, UnknownEnvError
from envkit.libs.class_property import class_property
from envkit.specs import Categorical, Composite, Unbounded
from envkit.spelling import did_you_mean

__all__ = ["OpenMLEnv"]

Loader = Callable[[str, int], tuple[Mapping[str, Any], Any]]
"""A function ``loader(name, version)`` to the columns of a data set, each under its name, and the labels.

Columns and labels are one-dimensional, of one length; a pandas ``DataFrame`` is such columns.
"""


class _DataSet(NamedTuple):
    name: str
    version: int
    one_hot: bool


DATA_SETS = {
    "adult_num": _DataSet("adult", 1, False),
    "adult_onehot": _DataSet("adult", 1, True),
    "covertype": _DataSet("covertype", 3, False),
    "magic": _DataSet("MagicTelescope", 1, False),
    "mushroom_num": _DataSet("mushroom", 1, False),
    "mushroom_onehot": _DataSet("mushroom", 1, True),
    "shuttle": _DataSet("shuttle", 1, False),
}


class OpenMLEnv(EnvBase):
    """A contextual bandit out of a classification data set of `OpenML <https://www.openml.org>`_.

    ================= ======================== ================================================================
    entry             dtype and shape          content
    ================= ======================== ================================================================
    observation       float32 ``[*batch, k]``  the context: the features of a row
    y                 int64 ``[*batch]``       its label, a state and no observation: beside the action, it is all
                                               that a step reads
    action            int64 ``[*batch]``       the label that is guessed
    reward            float32 ``[*batch, 1]``  1 for the right label, 0 otherwise
    terminated, done  bool ``[*batch, 1]``     True: an episode is one step
    ================= ======================== ================================================================

    ``"next"`` repeats the context. Rows come in random order, every one of them once before any comes again.

    The features are the numbers of the data set as they are, and its categories either numbered in alphabetic order
    (``adult_num``, ``mushroom_num``, and the others) or, if their name ends in ``_onehot``, one-hot vectors. So are
    labels numbered. Rows with missing values are left out.

    Attributes:
        classes: the labels, in the order of their numbers.

    Args:
        dataset_name: one of :attr:`available_envs`.
        device: device of inputs and outputs, and of the data set.
        batch_size: batch size of the env.
        loader: what loads a data set in place of ``sklearn.datasets.fetch_openml``, by OpenML's name and version of it:
            a function ``loader(name, version)`` to a mapping from column names to columns, and the labels.

    Raises:
        UnknownEnvError: there is no data set called ``dataset_name``.
        MissingDependencyError: scikit-learn or pandas is not installed.
        ConnectionError: the data set cannot be fetched.
        EnvDataError: columns and labels differ in length, or no row is complete.

    Examples:
        >>> def loader(name, version):
        ...     return {"height": [1.5, 2.0, 0.5], "colour": ["red", "blue", "red"]}, ["tree", "tree", "shrub"]
        >>> env = OpenMLEnv("adult_onehot", batch_size=[3], loader=loader)
        >>> td = env.reset()
        >>> td["observation"].shape, env.action_spec.n
        (torch.Size([3, 3]), 2)
        >>> env.step(td.set("action", td["y"]))["next", "reward"].sum()
        tensor(3.)
    """

    libname = "openml"

    def __init__(
        self,
        dataset_name: str,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
        *,
        loader: Loader | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        if dataset_name not in DATA_SETS:
            hint = did_you_mean(dataset_name, DATA_SETS)
            raise UnknownEnvError(f"unknown data set {dataset_name!r}: expected one of {sorted(DATA_SETS)}{hint}")
        self.dataset_name = dataset_name
        data_set = DATA_SETS[dataset_name]
        columns, labels = (loader or fetch)(data_set.name, data_set.version)
        features, numbers, classes = _encoded(columns, labels, data_set)
        self.classes = classes
        self._data = features.to(self.device), numbers.to(self.device)
        self._random = np.random.default_rng()
        self._order = np.zeros(0, np.int64)
        self.observation_spec_unbatched = Composite(observation=Unbounded((features.shape[1],), dtype=torch.float32))
        self.state_spec_unbatched = Composite(y=Categorical(len(classes)))
        self.action_spec_unbatched = Categorical(len(classes))
        self.reward_spec_unbatched = Unbounded((1,), dtype=torch.float32)

    @class_property
    def available_envs(cls) -> list[str]:  # noqa: N805 - a property of the class
        """The names of the data sets."""
        return sorted(DATA_SETS)

    def _set_seed(self, seed: int | None) -> None:
        self._random = np.random.default_rng(None if seed is None else spawn_seed(seed, "rows"))
        self._order = self._order[:0]

    def _rows(self, count: int) -> np.ndarray:
        """The numbers of the next rows, from as many rounds through the data set as it takes."""
        while len(self._order) < count:
            self._order = np.concatenate([self._order, self._random.permutation(len(self._data[0]))])
        chosen, self._order = self._order[:count], self._order[count:]
        return chosen

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self.batch_size
        rows = torch.from_numpy(self._rows(size.numel())).to(self.device)
        observation, y = (part[rows].reshape((*size, *part.shape[1:])) for part in self._data)
        return TensorDict({"observation": observation, "y": y}, size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        right = (tensordict["action"] == tensordict["y"]).unsqueeze(-1)
        out = {
            "observation": tensordict["observation"].clone(),
            "reward": right.to(torch.float32),
            "terminated": torch.ones_like(right),
        }
        return TensorDict(out, self.batch_size, device=self.device)


def _encoded(columns: Mapping[str, Any], labels: Any, data_set: _DataSet) -> tuple[torch.Tensor, torch.Tensor, list]:
    """The features of all complete rows, float32 ``[rows, k]``, the numbers of their labels, and all labels."""
    arrays = {name: np.asarray(columns[name]) for name in columns}
    labels = np.asarray(labels)
    for name, array in arrays.items():
        if array.shape != labels.shape:
            raise EnvDataError(
                f"column {name!r} of {data_set.name!r}: expected one value for each of {labels.shape[0]} labels, found "
                f"shape {list(array.shape)}"
            )
    complete = np.logical_and.reduce([_present(array) for array in (labels, *arrays.values())])
    if not complete.any():
        raise EnvDataError(f"{data_set.name!r}: expected rows without missing values, found none of {len(labels)}")
    parts = [_numbers(array[complete], data_set.one_hot) for array in arrays.values()]
    classes, numbers = np.unique(labels[complete].astype(str), return_inverse=True)
    return torch.from_numpy(np.concatenate(parts, 1)), torch.from_numpy(numbers.astype(np.int64)), classes.tolist()


def _present(column: np.ndarray) -> np.ndarray:
    """Where a column has a value: no None, no NaN."""
    return np.array([value is not None and value == value for value in column.tolist()], dtype=bool)


def _numbers(column: np.ndarray, one_hot: bool) -> np.ndarray:
    """A column as float32 ``[rows, k]``: a number, or that of a category, or its one-hot vector."""
    if column.dtype.kind in "biuf":
        return column.astype(np.float32)[:, None]
    names, numbers = np.unique(column.astype(str), return_inverse=True)
    return np.eye(len(names), dtype=np.float32)[numbers] if one_hot else numbers.astype(np.float32)[:, None]


def fetch(name: str, version: int) -> tuple[Mapping[str, Any], Any]:
    """Loads a data set from openml.org, or from where scikit-learn has put it before."""
    try:
        from sklearn.datasets import fetch_openml

        return fetch_openml(name, version=version, as_frame=True, return_X_y=True)
    except ImportError as error:
        raise MissingDependencyError(
            "OpenMLEnv needs scikit-learn and pandas: expected `pip install 'envkit[openml]'`, or a loader"
        ) from error
    except OSError as error:
        raise ConnectionError(
            f"OpenML's data set {name!r} could not be fetched ({error}): expected a connection to openml.org, a copy "
            "in scikit-learn's data folder (SCIKIT_LEARN_DATA), or a loader"
        ) from error
