from __future__ import annotations

import functools
import pickle
import threading

import pytest
import torch

from envkit import SpecError
from envkit.batched.packing import packed, packed_answer

LOCK = threading.Lock()


class Holder:
    def __init__(self, part):
        self.part = part

    def make(self):
        return self.part


class TestPacked:
    def test_lambdas(self):
        factor = 3
        assert pickle.loads(packed("it", lambda x: factor * x))(2) == 6

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            (lambda: LOCK, "LOCK"),
            (lambda: (lambda: LOCK)(), "LOCK"),
            (lambda held=LOCK: held, "held"),
            ({"a": [1, threading.Lock()]}, r"\['a'\]\[1\]"),
            (Holder(Holder(threading.Lock())), r"\.part\.part"),
            (Holder(threading.Lock()).make, r"\.part"),
            (functools.partial(Holder, part=threading.Lock()), "part"),
            (functools.partial(Holder, threading.Lock()), "part"),
            (functools.partial(Holder, Holder(threading.Lock())), r"part\.part"),
        ],
    )
    def test_names_what_cannot_be_sent(self, value, path):
        with pytest.raises(SpecError, match=rf"worker 3: expected something .*, found {path} \(a \w+\): cannot pickle"):
            packed("worker 3", value)

    def test_names_what_a_function_closes_over(self):
        lock = threading.Lock()

        def outer():
            return inner()

        def inner():
            return lock

        with pytest.raises(SpecError, match=r"found inner -> lock \(a lock\)"):
            packed("it", outer)

    def test_gives_up_in_what_has_no_end(self):
        ring = Holder(None)
        ring.part, ring.lock = ring, threading.Lock()
        with pytest.raises(SpecError, match="cannot pickle"):
            packed("it", ring)


class TestPackedAnswer:
    def test_is_by_value_where_it_has_to_be(self):
        assert pickle.loads(packed_answer({"a": 1})) == {"a": 1}

        class Local(Exception):
            pass

        again = pickle.loads(packed_answer(Local("so")))
        assert isinstance(again, Local)
        assert str(again) == "so"


class TestTensors:
    @pytest.mark.parametrize("pack", [lambda value: packed("it", value), packed_answer])
    @pytest.mark.parametrize(
        "tensor",
        [
            *[torch.ones(2, 3).to(dtype) for dtype in (torch.bool, torch.uint8, torch.int64, torch.float64)],
            torch.tensor(7),
            torch.zeros(3, 0),
            torch.arange(6.0).reshape(2, 3).T,
            torch.ones(2, requires_grad=True),
            torch.nn.Parameter(torch.ones(2), requires_grad=False),
            torch.ones(2, dtype=torch.bfloat16),
            torch.ones(2, dtype=torch.complex64).conj(),
            torch.eye(3).to_sparse(),
            torch.empty(2, device="meta"),
        ],
        ids=lambda tensor: f"{str(tensor.dtype)[6:]}-{tensor.layout}-{tensor.device}-{list(tensor.shape)}",
    )
    def test_arrive_as_they_were(self, pack, tensor):
        sent = pickle.loads(pack(tensor))
        assert type(sent) is type(tensor)
        assert (sent.dtype, sent.shape, sent.layout, sent.device) == (
            (tensor.dtype, tensor.shape, tensor.layout, tensor.device)
        )
        assert sent.requires_grad == tensor.requires_grad
        if not tensor.is_meta:
            assert torch.equal(sent.to_dense(), tensor.to_dense())

    def test_are_their_own(self):
        tensor = torch.zeros(3)
        first, second = pickle.loads(packed("it", [tensor, tensor]))
        first += 1
        assert second.tolist() == [1, 1, 1]
        assert tensor.tolist() == [0, 0, 0]

    def test_that_repeat_one_number_stay_small(self):
        assert len(packed("it", torch.zeros(1).expand(100_000))) < 2_000
