from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict

from envkit import Binary, Bounded, Categorical, Composite, MultiCategorical, NonTensor, OneHot, Unbounded
from envkit.storage import Slab, put_row

few = settings(deadline=None, max_examples=30, derandomize=True)
shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@st.composite
def leaves(draw, batch):
    shape = (*batch, *draw(shapes))
    kind = draw(st.sampled_from(["unbounded", "bounded", "categorical", "one_hot", "multi", "binary"]))
    if kind == "unbounded":
        return Unbounded(shape, dtype=draw(st.sampled_from([torch.float32, torch.float64, torch.int32])))
    if kind == "bounded":
        return Bounded(0, 9, shape=shape, dtype=draw(st.sampled_from([torch.float32, torch.uint8])))
    if kind == "categorical":
        return Categorical(5, shape=shape, dtype=draw(st.sampled_from([torch.int64, torch.uint8])))
    if kind == "one_hot":
        return OneHot(4, shape=(*shape, 4))
    if kind == "multi":
        return MultiCategorical([2, 3], shape=(*shape, 2))
    return Binary(3, shape=(*shape, 3))


@st.composite
def composites(draw):
    batch = draw(shapes)
    spec = Composite(shape=batch)
    for i in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from([f"leaf{i}", ("nested", f"leaf{i}"), ("nested", "deep", f"leaf{i}")]))
        spec[key] = draw(leaves(batch))
    return spec


def nested():
    """A batch of two, with a group of three agents whose data has a dimension of its own."""
    return Composite(
        observation=Unbounded((2, 4)),
        agents=Composite(value=Unbounded((2, 3, 1)), flag=Categorical(2, (2, 3, 1), dtype=torch.bool), shape=(2, 3)),
        shape=(2,),
    )


class TestColumns:
    @few
    @given(composites(), st.integers(1, 4))
    def test_follow_the_spec(self, spec, rows):
        slab = Slab(spec, rows)
        assert list(slab.columns) == list(slab.arrays) == list(spec.keys(True, True))
        assert slab.batch_size == spec.shape
        assert not slab.loose
        for key, leaf in spec.items(True, True):
            assert slab.columns[key].shape == (rows, *leaf.shape)
            assert slab.columns[key].dtype is leaf.dtype
            assert not slab.columns[key].any()

    @few
    @given(composites())
    def test_arrays_and_columns_are_one_memory(self, spec):
        slab = Slab(spec, 3)
        for key, column in slab.columns.items():
            slab.arrays[key][1] = 1
            assert column[1].all()
            assert not column[0].any()
            column[2] = 1
            assert slab.arrays[key][2].all()

    def test_without_a_numpy_dtype(self):
        slab = Slab(Composite(half=Unbounded((2,), dtype=torch.bfloat16)), 2)
        assert slab.arrays["half"] is slab.columns["half"]
        slab.writer(["half"])(1, TensorDict({"half": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)}))
        assert slab.columns["half"].tolist() == [[0.0, 0.0], [1.0, 2.0]]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.bfloat16])
    def test_of_many_bytes(self, dtype):
        slab = Slab(Composite(a=Unbounded((3, 1 << 20), dtype=dtype)), 3)
        column = slab.columns["a"]
        assert (column.shape, column.dtype, column.is_contiguous()) == ((3, 3, 1 << 20), dtype, True)
        assert column.data_ptr() % 64 == 0
        assert not column.any()
        column[1] = 1
        assert slab.tensordict(3)["a"].sum((1, 2), dtype=torch.float64).tolist() == [0, 3 << 20, 0]

    def test_added(self):
        slab = Slab(Composite(a=Unbounded((1,))), 2)
        slab.add("log_prob", torch.zeros(2))
        slab.arrays["log_prob"][1] = 3.0
        assert slab.tensordict(2)["log_prob"].tolist() == [0.0, 3.0]

    def test_device(self):
        assert Slab(Composite(a=Unbounded((1,))), 2).device is None
        slab = Slab(Composite(a=Unbounded((1,))), 2, device=torch.device("cpu"))
        assert slab.tensordict(2).device == slab.reader(["a"])(0).device == torch.device("cpu")


class TestWriter:
    @few
    @given(composites(), st.integers(0, 2), st.integers(0, 2**31))
    def test_what_is_written_is_read(self, spec, row, seed):
        slab = Slab(spec, 3)
        value = spec.rand(generator=torch.Generator().manual_seed(seed))
        slab.writer(spec.keys(True, True))(row, value)
        for found in (slab.reader(slab.columns)(row), slab.viewer(slab.columns)(row), slab.tensordict(3)[row]):
            assert found.batch_size == spec.shape
            assert spec.is_in(found)
            assert (found == value).all()
        others = slab.tensordict(3)[[i for i in range(3) if i != row]]
        assert all(not leaf.any() for leaf in others.values(True, True))

    def test_copies(self):
        slab, value = Slab(Composite(a=Unbounded((2,))), 1), torch.ones(2)
        slab.writer(["a"])(0, TensorDict({"a": value}))
        value.zero_()
        assert slab.columns["a"].tolist() == [[1.0, 1.0]]

    def test_tensors_with_gradients(self):
        slab = Slab(Composite(a=Unbounded((2,))), 1)
        slab.writer(["a"])(0, TensorDict({"a": torch.ones(2, requires_grad=True)}))
        assert slab.columns["a"].tolist() == [[1.0, 1.0]]
        assert not slab.columns["a"].requires_grad

    def test_takes_the_named_keys_only(self):
        slab = Slab(nested(), 1)
        slab.writer([("agents", "value")])(0, nested().one())
        assert slab.columns["agents", "value"].all()
        assert not slab.columns["observation"].any()
        assert not slab.columns["agents", "flag"].any()

    def test_put_row(self):
        array = np.zeros((2, 3), np.float32)
        put_row(array, 1, torch.ones(3, requires_grad=True))
        put_row(array, 0, np.full(3, 2.0))
        assert array.tolist() == [[2.0] * 3, [1.0] * 3]
        texts = [None, None]
        put_row(texts, 1, NonTensorData("said"))
        assert texts == [None, "said"]


class TestReaders:
    def test_nested_batch_sizes(self):
        slab = Slab(nested(), 4)
        for td in (slab.reader(slab.columns)(1), slab.viewer(slab.columns)(1)):
            assert td.batch_size == (2,)
            assert td["agents"].batch_size == (2, 3)
        assert slab.tensordict(4)["agents"].batch_size == (4, 2, 3)
        assert slab.tensordict(4, time_dim=1)["agents"].batch_size == (2, 4, 3)

    @pytest.mark.parametrize("way", ["reader", "viewer"])
    def test_rows_are_views(self, way):
        slab = Slab(nested(), 3)
        read = getattr(slab, way)(["observation", ("agents", "value")])
        row = read(1)
        assert set(row.keys(True, True)) == {"observation", ("agents", "value")}
        slab.arrays["observation"][1] = 5.0
        assert (row["observation"] == 5.0).all()
        row["agents", "value"].fill_(2.0)
        assert (slab.arrays["agents", "value"][1] == 2.0).all()
        assert not slab.arrays["agents", "value"][0].any()

    @pytest.mark.parametrize("order", [range(100), reversed(range(100)), [0, 99, 31, 32, 33, 64, 1]])
    def test_viewer_equals_reader_in_any_order(self, order):
        slab = Slab(Composite(a=Unbounded((), dtype=torch.int64)), 100)
        slab.columns["a"].copy_(torch.arange(100))
        view, read = slab.viewer(["a"]), slab.reader(["a"])
        for row in order:
            assert view(row)["a"] == read(row)["a"] == row

    def test_viewers_of_the_same_rows(self):
        slab = Slab(nested(), 40)
        whole, part = slab.viewers(slab.columns, [("agents", "flag"), "observation"])
        slab.columns["observation"].copy_(torch.arange(40).reshape(40, 1, 1))
        for row in (0, 39, 5):
            assert set(part(row).keys(True, True)) == {"observation", ("agents", "flag")}
            assert (part(row) == whole(row).select("observation", ("agents", "flag"))).all()
            assert (part(row)["observation"] == row).all()
        first, second = part(7), part(7)
        first["observation"] = torch.full_like(first["observation"], -1.0)
        assert (second["observation"] == 7).all()
        assert (whole(7)["observation"] == 7).all()

    @pytest.mark.parametrize("spec", [Composite(a=Unbounded(())), nested()], ids=["flat", "nested"])
    def test_columns_of_data_that_is_no_tensor(self, spec):
        slab = Slab(spec, 2)
        slab.add("said", ["yes", "no"])
        for read in (slab.reader(slab.columns), slab.viewer(slab.columns)):
            assert read(1)["said"] == "no"
            assert read(1).batch_size == spec.shape
        assert [row["said"] for row in slab.tensordict(2).unbind(0)] == ["yes", "no"]

    def test_viewer_sees_what_is_written_later(self):
        slab = Slab(Composite(a=Unbounded(())), 10)
        view = slab.viewer(["a"])
        view(0)
        slab.arrays["a"][5] = 3.0
        assert view(5)["a"] == 3.0

    def test_entries_set_on_a_row_stay_out_of_the_slab(self):
        slab = Slab(Composite(a=Unbounded(())), 2)
        row = slab.reader(["a"])(0)
        row["a"], row["b"] = torch.ones(()), torch.ones(())
        assert slab.columns["a"].tolist() == [0.0, 0.0]
        assert list(slab.reader(slab.columns)(0).keys()) == ["a"]


class TestTensordict:
    def test_range(self):
        slab = Slab(Composite(a=Unbounded((), dtype=torch.int64)), 5)
        slab.columns["a"].copy_(torch.arange(5))
        assert slab.tensordict(4, 1)["a"].tolist() == [1, 2, 3]

    @few
    @given(composites(), st.data())
    def test_time_can_be_any_batch_dimension(self, spec, data):
        slab = Slab(spec, 3)
        write = slab.writer(slab.columns)
        values = [spec.rand() for _ in range(3)]
        for row, value in enumerate(values):
            write(row, value)
        dim = data.draw(st.integers(0, len(spec.shape)))
        found = slab.tensordict(3, time_dim=dim)
        assert found.batch_size == (*spec.shape[:dim], 3, *spec.shape[dim:])
        assert (found == torch.stack(values, dim)).all()

    def test_copies_nothing(self):
        slab = Slab(nested(), 2)
        td = slab.tensordict(2, time_dim=1)
        td["observation"].fill_(1.0)
        td["agents", "flag"].fill_(True)
        assert slab.arrays["observation"].all()
        assert slab.arrays["agents", "flag"].all()


class TestSelect:
    @few
    @given(composites().filter(lambda spec: spec.shape))
    def test_elements_share_the_batchs_memory(self, spec):
        slab = Slab(spec, 3)
        for i in range(spec.shape[0]):
            part = slab.select(i, spec[i])
            assert part.batch_size == spec.shape[1:]
            value = spec[i].rand()
            part.writer(part.columns)(2, value)
            assert (slab.tensordict(3)[2, i] == value).all()
            assert (part.tensordict(3) == slab.tensordict(3)[:, i]).all()

    def test_of_a_selection(self):
        spec = Composite(a=Unbounded((2, 3, 4)), shape=(2, 3))
        slab = Slab(spec, 2)
        slab.select(1, spec[0]).select(2, spec[0, 0]).arrays["a"][1] = 7.0
        assert (slab.columns["a"] == 7.0).nonzero().tolist() == [[1, 1, 2, i] for i in range(4)]

    def test_columns_of_objects_cannot_be_shared(self):
        spec = Composite(text=NonTensor((2,), example_data="x"), shape=(2,))
        with pytest.raises(TypeError, match="'text' has no fixed layout and cannot be shared"):
            Slab(spec, 2).select(0, spec[0])


class TestLoose:
    """Leaves of no fixed layout are lists beside the tensors."""

    @staticmethod
    def spec():
        return Composite(
            points=Unbounded((-1, 2)), text=NonTensor((), example_data="x"), nested=Composite(n=Unbounded((-1,)))
        )

    def rows(self):
        return [
            TensorDict(
                {
                    "points": torch.full((n, 2), float(n)),
                    "text": NonTensorData(f"row {n}"),
                    "nested": {"n": torch.ones(n)},
                }
            )
            for n in (1, 3, 2)
        ]

    def filled(self):
        slab = Slab(Composite(step=Unbounded(()), **self.spec()), 3)
        write = slab.writer(["points", "text", ("nested", "n")])
        for row, value in enumerate(self.rows()):
            write(row, value)
            slab.arrays["step"][row] = row
        return slab

    def test_columns_are_lists(self):
        slab = self.filled()
        assert slab.loose
        assert slab.columns["points"] is slab.arrays["points"]
        assert slab.columns["text"] == ["row 1", "row 3", "row 2"]
        assert [tuple(points.shape) for points in slab.columns["points"]] == [(1, 2), (3, 2), (2, 2)]
        assert isinstance(slab.columns["step"], torch.Tensor)

    @pytest.mark.parametrize("way", ["reader", "viewer"])
    def test_rows(self, way):
        slab = self.filled()
        row = getattr(slab, way)(slab.columns)(1)
        assert row["text"] == "row 3"
        assert row["step"] == 1
        assert row["nested", "n"].shape == (3,)

    def test_is_a_lazy_stack(self):
        td = self.filled().tensordict(3, 1)
        assert isinstance(td, LazyStackedTensorDict)
        assert td.batch_size == (2,)
        assert [row["text"] for row in td.unbind(0)] == ["row 3", "row 2"]
        assert [row["points"].shape[0] for row in td.unbind(0)] == [3, 2]
