from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict

from envkit.collectors.ray_transport import pack, unpack


def sent(value):
    """What arrives: Ray's arrays cannot be written to."""
    buffers = []
    data = pickle.dumps(pack(value), protocol=5, buffer_callback=buffers.append)
    return unpack(pickle.loads(data, buffers=[memoryview(buffer).toreadonly() for buffer in buffers]))


@pytest.mark.parametrize("device", [None, "cpu"])
def test_a_batch_arrives_as_it_was(device, tools):
    batch = TensorDict(
        {
            "observation": torch.arange(6.0).reshape(2, 3),
            "empty": torch.zeros(2, 3, 0),
            "half": torch.ones(2, 3, dtype=torch.bfloat16),
            "agents": TensorDict({"flag": torch.ones(2, 3, 4, 1, dtype=torch.bool)}, [2, 3, 4]),
            "next": {"reward": torch.zeros(2, 3, 1, dtype=torch.float64)},
        },
        [2, 3],
        device=device,
    )
    batch.names = [None, "time"]
    found = sent(batch)
    tools.assert_same(found, batch)
    assert (found.names, found.device) == (batch.names, batch.device)
    for name in ("agents", "next"):
        assert (found[name].batch_size, found[name].names) == (batch[name].batch_size, batch[name].names)
    found["observation"].zero_()
    assert batch["observation"].any()


def test_tensors_travel_as_arrays():
    packed = pack({"weight": torch.zeros(2), "more": {"bias": torch.zeros(())}, "step": 3})
    assert isinstance(packed["weight"], np.ndarray)
    assert isinstance(packed["more"]["bias"], np.ndarray)
    assert packed["step"] == 3


def test_what_is_no_tensor():
    batch = TensorDict({"x": torch.zeros(2), "text": NonTensorData("hello", batch_size=[2])}, [2])
    assert sent(batch)["text"] == "hello"


def test_lazy_stacks():
    parts = [TensorDict({"x": torch.zeros(size)}) for size in (1, 2)]
    found = sent(LazyStackedTensorDict.lazy_stack(parts))
    assert [part["x"].shape for part in found.unbind(0)] == [(1,), (2,)]
