from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import NonTensorData, TensorDict

from envkit.errors import SpecError
from envkit.specs import Composite, NonTensor, TextBox


def test_example_data():
    spec = NonTensor((2,), example_data="hello")
    for make in (spec.rand, spec.zero, spec.one):
        assert make((3,)).batch_size == (3, 2)
        assert make().data == "hello"
    assert spec.example_data == "hello"
    assert spec.dtype is spec.domain is spec.space is None


def test_members():
    spec = NonTensor((2,))
    assert spec.is_in("anything")
    assert spec.is_in(NonTensorData(3, batch_size=(5, 2)))
    assert not spec.is_in(NonTensorData(3, batch_size=(3,)))
    assert not spec.is_in(torch.zeros(2))
    assert spec.violations(NonTensorData(3, batch_size=(3,)))[0].found == "shape [3]"
    with pytest.raises(SpecError, match="an object that is no tensor, found a Tensor"):
        spec.assert_is_in(torch.zeros(2))


def test_text():
    spec = NonTensor((2,), space=TextBox(4, 2, "ab"))
    draws = spec.rand((50,), torch.Generator().manual_seed(0))
    assert draws.batch_size == (50, 2)
    assert spec.is_in(draws)
    assert len({text for row in draws.tolist() for text in row}) > 10
    assert not spec.is_in("abc")
    assert spec.is_in("abab")
    assert spec.is_in(spec.rand((0,)))
    with pytest.raises(SpecError, match=r"a string in TextBox.*, found 'abc'"):
        spec.assert_is_in("abc")


def test_encode_and_to_numpy():
    spec = NonTensor((), example_data="x")
    assert spec.to_numpy(spec.encode("go")) == "go"
    wrapped = spec.encode([1, "two"])
    assert spec.encode(wrapped) is wrapped
    assert spec.to_numpy(wrapped) == [1, "two"]
    assert spec.to_numpy("bare") == "bare"
    with pytest.raises(SpecError, match="no tensor, found a Tensor"):
        spec.encode(torch.zeros(()))


def test_in_a_tensordict():
    spec = Composite(text=NonTensor(()), number=None)
    assert spec.is_in(TensorDict({"text": "hello"}))
    assert not spec.is_in(TensorDict({"text": torch.zeros(())}))
    assert spec.to_numpy(spec.encode({"text": "hello"})) == {"text": "hello"}


def test_what_objects_cannot_do():
    spec = NonTensor((), example_data=np.zeros(2))
    with pytest.raises(SpecError, match="arbitrary objects"):
        spec.cardinality()
    with pytest.raises(SpecError, match="arbitrary objects"):
        spec.enumerate()
    with pytest.raises(SpecError, match="found a Tensor"):
        spec.project(torch.zeros(()))
    with pytest.raises(SpecError, match="'a': expected an object"):
        spec.type_check(torch.zeros(()), "a")
    with pytest.raises(SpecError, match="dtype: expected a device"):
        spec.to(torch.float32)
    with pytest.raises(SpecError, match="dtype: expected None"):
        NonTensor((), dtype=torch.float32)


def test_equality_looks_at_the_example():
    assert NonTensor((), example_data=np.zeros(2)) == NonTensor((), example_data=np.zeros(2))
    assert NonTensor((), example_data=np.zeros(2)) != NonTensor((), example_data=np.ones(2))
    assert NonTensor((), example_data="a") != NonTensor(())
