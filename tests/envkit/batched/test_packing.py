from __future__ import annotations

import functools
import pickle
import threading

import pytest

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
