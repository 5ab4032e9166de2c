"""What a transform of single values does to specs, leaf by leaf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import NestedKey

from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec

if TYPE_CHECKING:
    from envkit.transforms.base import Transform

__all__ = ["by_role", "inward", "outward", "refuse_unknown"]


def outward(transform: Transform, spec: Composite) -> Composite:
    """A spec of observations, rewards or done flags with each ``in_key`` that it has shown under its ``out_key``.

    Raises:
        SpecError: a value has not one of ``in_dtypes``, or the transform raises something on it.
    """
    pairs = _pairs(spec, transform.in_keys, transform.out_keys)
    for key, _, leaf in pairs:
        if transform.in_dtypes and leaf.dtype not in transform.in_dtypes:
            expected = " or ".join(map(str, transform.in_dtypes))
            raise _refused(transform, key, f"expected dtype {expected}, found {leaf.dtype}")
    out = spec.clone()
    for key, out_key, leaf in pairs:
        out[out_key] = _leaf(transform, key, leaf)
    return out


def inward(transform: Transform, spec: Composite, *, check: bool) -> Composite:
    """A spec of actions or states with each ``in_key_inv`` that it has replaced by its ``out_key_inv``.

    Args:
        transform: the transform, which shows outside what is inside by its outward change.
        spec: the spec inside.
        check: whether its inverse works on single values, and has to give what the env inside takes.

    Raises:
        SpecError: the transform, or its inverse, raises something on a value, or the inverse gives another layout.
    """
    pairs = _pairs(spec, transform.in_keys_inv, transform.out_keys_inv)
    out = spec.clone()
    for key, out_key, _ in pairs:
        if out_key != key:
            del out[key]
    for key, out_key, leaf in pairs:
        out[out_key] = _leaf(transform, key, leaf)
        if check:
            _check_inverse(transform, key, leaf, out[out_key])
    return out


def refuse_unknown(transform: Transform, keys: Sequence[NestedKey], specs: Sequence[Composite], role: str) -> None:
    """Checks that some spec has each of the keys.

    Raises:
        SpecError: one is in none of them; ``role`` says what the transform calls it.
    """
    known = [key for spec in specs for key in spec.keys(True)]
    for key in keys:
        if key not in known:
            raise SpecError(
                f"{type(transform).__name__}: unknown key {key!r} in {role}; the env inside has "
                f"{sorted(map(str, known))}"
            )


def by_role(specs: dict[str, Composite]) -> Composite:
    """Specs by role as one Composite with the names ``full_<role>_spec``, as ``env.input_spec`` has them."""
    shape = next(iter(specs.values())).shape
    return Composite({f"full_{role}_spec": spec.clone() for role, spec in specs.items()}, shape=shape)


def _pairs(
    spec: Composite, in_keys: Sequence[NestedKey], out_keys: Sequence[NestedKey]
) -> list[tuple[NestedKey, NestedKey, TensorSpec]]:
    pairs = zip(in_keys, out_keys, strict=True)
    return [(in_key, out_key, leaf) for in_key, out_key in pairs if (leaf := spec.get(in_key, None)) is not None]


def _leaf(transform: Transform, key: NestedKey, leaf: TensorSpec) -> TensorSpec:
    try:
        return transform._transform_leaf(leaf)
    except Exception as error:  # whatever the author's function raises on values it was not made for
        raise _refused(transform, key, f"cannot transform {_layout(leaf)}: {error}") from error


def _check_inverse(transform: Transform, key: NestedKey, inside: TensorSpec, outside: TensorSpec) -> None:
    if inside.dtype is None or outside.dtype is None or inside.has_dynamic_shape or outside.has_dynamic_shape:
        return
    try:
        found = transform._inv_apply_transform(outside.zero())
    except Exception as error:
        raise _refused(transform, key, f"cannot transform {_layout(outside)} back: {error}") from error
    if found.shape != inside.shape or not torch.can_cast(found.dtype, inside.dtype):
        raise _refused(
            transform,
            key,
            f"expected the inverse to give {_layout(inside)}, as the env inside takes it, found {_layout(found)}",
        )


def _refused(transform: Transform, key: NestedKey, why: str) -> SpecError:
    return SpecError(f"{type(transform).__name__}: {key!r}: {why}")


def _layout(like: Any) -> str:
    return f"{like.dtype} of shape {list(like.shape)}"
