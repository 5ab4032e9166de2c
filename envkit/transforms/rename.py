"""Entries under other names."""

from __future__ import annotations

from tensordict import NestedKey, TensorDictBase

from envkit.errors import SpecError
from envkit.specs import Composite
from envkit.transforms.base import Transform
from envkit.transforms.hiding import OUTPUTS, refuse_other_group, without
from envkit.transforms.keys import Keys
from envkit.transforms.leaves import refuse_unknown
from envkit.transforms.rows import Columns, RowForm, elementwise_rows

__all__ = ["RenameTransform"]


class RenameTransform(Transform):
    """Shows outputs, and takes inputs, under other names.

    One map of names serves both ways: what is renamed on its way out has its old name again on its way in, so that an
    env goes on reading its own observations and states.

    Args:
        in_keys: outputs (observations, rewards, done flags) as the env inside names them.
        out_keys: their names outside.
        in_keys_inv: actions (and states) as the env inside names them.
        out_keys_inv: their names outside.
        create_copy: whether outputs are shown under the old name as well.

    Raises:
        SpecError: the env has no such entry, or has another one of the new name; or an entry leaves the done group
            that it is reset with.

    Examples:
        >>> from envkit import GymEnv, TransformedEnv
        >>> renamed = RenameTransform(["observation"], ["state"], ["action"], ["push"])
        >>> env = TransformedEnv(GymEnv("CartPole-v1"), renamed)
        >>> sorted(env.rollout(3).keys())
        ['done', 'next', 'push', 'state', 'terminated', 'truncated']
    """

    takes_arrays = True

    def __init__(
        self,
        in_keys: Keys,
        out_keys: Keys,
        in_keys_inv: Keys = None,
        out_keys_inv: Keys = None,
        create_copy: bool = False,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv, out_keys_inv)
        for name in ("out_keys", "out_keys_inv"):
            keys = getattr(self, name)
            if len(set(keys)) < len(keys):
                raise ValueError(f"RenameTransform: {name}: expected each name once, found {keys}")
        self.create_copy = create_copy

    @property
    def _pairs(self) -> list[tuple[NestedKey, NestedKey]]:
        """Inputs by their names inside and outside; an output that is renamed may be one."""
        pairs = dict(zip(self.in_keys, self.out_keys, strict=True)) if not self.create_copy else {}
        return list((pairs | dict(zip(self.in_keys_inv, self.out_keys_inv, strict=True))).items())

    @property
    def invertible(self) -> bool:
        """Always: see :attr:`_pairs`."""
        return bool(self._pairs)

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        found = [(pair, next_tensordict.get(pair[0], None)) for pair in zip(self.in_keys, self.out_keys, strict=True)]
        return _moved(next_tensordict, [(*pair, value) for pair, value in found], keep=self.create_copy)

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        found = [(outer, inner, tensordict.get(outer, None)) for inner, outer in self._pairs]
        return _moved(tensordict, found, keep=False)

    def _bind_rows(self, columns: Columns) -> RowForm | None:
        return elementwise_rows(self, columns)

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Renames the specs."""
        refuse_unknown(self, self.in_keys, [specs[role] for role in OUTPUTS], "in_keys")
        refuse_unknown(self, self.in_keys_inv, [specs[role] for role in ("action", "state")], "in_keys_inv")
        names = dict(zip(self.in_keys, self.out_keys, strict=True))
        out = dict(specs) if self.create_copy else without(self, specs, self.in_keys, moved=True, back=self.in_keys)
        for role in OUTPUTS:
            out[role] = self._renamed(specs[role], out[role].clone(), names)
        for in_key, out_key in names.items():
            refuse_other_group(self, in_key, specs["done"], out_key, out["done"])
        for role in ("action", "state"):
            inputs = {inner: outer for inner, outer in self._pairs if inner in specs[role].keys(True)}
            left = specs[role].clone()
            for key in inputs:
                del left[key]
            out[role] = self._renamed(specs[role], left, inputs)
        return out

    def _renamed(self, before: Composite, left: Composite, names: dict[NestedKey, NestedKey]) -> Composite:
        for inner, outer in names.items():
            if inner not in before.keys(True):
                continue
            if outer in left.keys(True):
                raise SpecError(
                    f"RenameTransform: expected no entry {outer!r} in the env inside, to call {inner!r} so, found one"
                )
            left[outer] = before[inner].clone()
        return left


def _moved(tensordict: TensorDictBase, found: list[tuple], *, keep: bool) -> TensorDictBase:
    """Sets the values of ``(old, new, value)`` under their new names, and takes the old names out."""
    there = [(old, new, value) for old, new, value in found if value is not None]
    if not keep:
        tensordict = tensordict.exclude(*(old for old, _, _ in there))
    for _, new, value in there:
        tensordict.set(new, value)
    return tensordict
