from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit import EnvDataError, MissingDependencyError
from envkit.libs.jax_arrays import Tree, import_with_jax, to_array, to_tensor

jax = pytest.importorskip("jax")

pytestmark = pytest.mark.jax

DTYPES = ["float32", "int32", "int8", "uint8", "bool", "uint16", "uint32"]
BITS = {"uint16": "int16", "uint32": "int32"}
shapes = st.sampled_from([(), (1,), (2, 3)])


@st.composite
def leaves(draw):
    numbers = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 2**32, draw(shapes), dtype=np.uint32)
    return jax.numpy.asarray(numbers.astype(draw(st.sampled_from(DTYPES))))


names = st.text("abcxyz", min_size=1, max_size=3)
trees = st.recursive(
    leaves() | st.none(),
    lambda part: st.dictionaries(names, part, max_size=3) | st.lists(part, max_size=3),
    max_leaves=6,
)


class Pair(NamedTuple):
    left: object
    right: object


class TestTree:
    @settings(max_examples=25, deadline=None)
    @given(tree=st.dictionaries(names, trees, min_size=1, max_size=3))
    def test_gives_back_what_it_was_given(self, tree):
        kept = Tree(tree)
        flat = kept.flatten(tree)
        assert len(flat) == len(kept.keys) == len(kept.shapes)
        assert [(leaf.shape, leaf.dtype) for leaf in flat] == [(leaf.shape, leaf.dtype) for leaf in kept.shapes]
        back = kept.unflatten(flat)
        assert jax.tree_util.tree_structure(back) == jax.tree_util.tree_structure(tree)
        for leaf, value in zip(jax.tree_util.tree_leaves(back), jax.tree_util.tree_leaves(tree), strict=True):
            assert leaf.dtype == value.dtype
            np.testing.assert_array_equal(leaf, value)

    def test_names_leaves_by_the_way_to_them(self):
        tree = {"pair": Pair(jax.numpy.zeros(2), [jax.numpy.ones(()), None, {"z": jax.numpy.ones(3)}])}
        assert Tree(tree).keys == [("pair", "left"), ("pair", "right", "0"), ("pair", "right", "2", "z")]
        assert Tree(tree["pair"], ("state",)).keys[0] == ("state", "left")
        assert Tree(jax.numpy.zeros(2), ("state",)).keys == ["state"]

    @pytest.mark.parametrize("dtype", BITS)
    def test_carries_unsigned_numbers_as_the_same_bits(self, dtype):
        tree = {"n": jax.numpy.asarray([0, 1, np.iinfo(dtype).max], dtype)}
        (carried,) = Tree(tree).flatten(tree)
        assert carried.dtype == BITS[dtype]
        assert np.asarray(carried).tolist() == [0, 1, -1]

    def test_carries_random_keys_as_numbers(self):
        keys = {"typed": jax.random.key(7), "raw": jax.random.PRNGKey(7)}
        tree = Tree(jax.eval_shape(lambda: keys))
        typed, raw = (np.asarray(leaf) for leaf in reversed(tree.flatten(keys)))
        assert typed.dtype == raw.dtype == np.int32
        np.testing.assert_array_equal(typed, raw)
        back = jax.jit(tree.unflatten)(tree.flatten(keys))
        draws = [jax.random.normal(key, (3,)) for key in (keys["typed"], back["typed"], back["raw"])]
        np.testing.assert_array_equal(draws[1], draws[0])
        np.testing.assert_array_equal(draws[2], draws[0])

    def test_refuses_two_leaves_of_one_key(self):
        with pytest.raises(EnvDataError, match=r"found several of \[\"\('a', '0'\)\"\]"):
            Tree({"a": Same(jax.numpy.zeros(1), jax.numpy.zeros(1))})

    def test_refuses_leaves_that_have_changed(self):
        tree = Tree({"a": jax.numpy.zeros(2)})
        with pytest.raises(EnvDataError, match=r"'a' of the simulator: expected shape \[2\] and dtype float32"):
            tree.flatten({"a": jax.numpy.zeros(3)})
        with pytest.raises(EnvDataError, match=r"as after a reset, found \[2\] and int32"):
            tree.flatten({"a": jax.numpy.zeros(2, int)})
        with pytest.raises(EnvDataError, match="expected data of one structure"):
            tree.flatten({"b": jax.numpy.zeros(2)})


@jax.tree_util.register_pytree_with_keys_class
class Same:
    """A container that calls both of its parts by one name."""

    def __init__(self, *parts):
        self.parts = parts

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.SequenceKey(0), part) for part in self.parts], None

    @classmethod
    def tree_unflatten(cls, _, parts):
        return cls(*parts)


class TestConversions:
    @pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool", "uint32"])
    def test_keep_values_and_dtypes(self, dtype):
        array = jax.numpy.asarray(np.arange(6).reshape(2, 3) % 2, dtype)
        tensor = to_tensor(array)
        assert tensor.dtype == getattr(torch, dtype)
        back = to_array(tensor)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)

    def test_give_tensors_memory_of_their_own(self):
        array = jax.numpy.zeros(3)
        to_tensor(array).fill_(1.0)
        assert np.asarray(array).tolist() == [0.0, 0.0, 0.0]

    def test_take_tensors_that_belong_to_a_graph(self):
        weights = torch.ones(2, requires_grad=True)
        assert to_array(2 * weights).tolist() == [2.0, 2.0]


class TestImport:
    def test_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jumanji", None)
        with pytest.raises(
            MissingDependencyError, match=r"Jumanji is not installed: expected `pip install 'envkit\[jumanji\]'`"
        ):
            import_with_jax("jumanji", "Jumanji")

    def test_waits_until_an_env_is_made(self):
        code = "import sys, envkit.libs.brax, envkit.libs.jumanji; print({'jax', 'brax', 'jumanji'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"

    def test_leaves_memory_of_a_gpu_to_torch(self, monkeypatch):
        environ = {}
        monkeypatch.setattr(os, "environ", environ)
        monkeypatch.delitem(sys.modules, "jax")
        assert import_with_jax("math", "Maths").pi > 3
        assert environ == {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
        import_with_jax("math", "Maths")
        assert environ == {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}
