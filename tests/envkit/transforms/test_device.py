from __future__ import annotations

import functools

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    DeviceCastTransform,
    GymEnv,
    PinMemoryTransform,
    SerialEnv,
    SpecError,
    TransformedEnv,
    check_env_specs,
)

pendulum = functools.partial(GymEnv, "Pendulum-v1", max_episode_steps=9)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_promises_on_one_device(kit):
    kit.ports_agree(pendulum, lambda: DeviceCastTransform("cpu"))
    kit.stored_data_agrees(pendulum, lambda: DeviceCastTransform("cpu"))
    on_cpu = functools.partial(pendulum, device="cpu")
    kit.ports_agree(on_cpu, lambda: DeviceCastTransform("cpu"))


def test_devices():
    env = TransformedEnv(pendulum(), DeviceCastTransform("cpu"))
    assert env.device == env.transform[0].orig_device == torch.device("cpu")
    assert env.base_env.device is None
    check_env_specs(env)


def test_stored_data():
    out = DeviceCastTransform("meta")(TensorDict({"a": torch.ones(2)}))
    assert out["a"].device.type == "meta"
    assert DeviceCastTransform("cpu", "meta").inv(TensorDict({"a": torch.ones(2)}))["a"].device.type == "meta"


@gpu
@pytest.mark.parametrize("make", [pendulum, lambda: SerialEnv(3, pendulum)])
def test_on_a_gpu(make, kit, tools):
    env = TransformedEnv(make(), DeviceCastTransform("cuda"))
    check_env_specs(env)
    actions = tools.draw_actions(make(), 20)
    found = kit.rollout(env, [action.to("cuda") for action in actions])
    assert found.device.type == "cuda"
    expected = kit.rollout(make(), actions)
    for key, value in expected.items(True, True):
        assert torch.equal(found[key].cpu(), value), key


class TestPinMemory:
    def test_belongs_on_a_buffer(self):
        with pytest.raises(SpecError, match=r"PinMemoryTransform belongs on a replay buffer"):
            TransformedEnv(pendulum(), PinMemoryTransform())

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_without_a_gpu(self):
        with pytest.raises(RuntimeError, match=r"PinMemoryTransform: expected a GPU to copy to, found none"):
            PinMemoryTransform()(TensorDict({"a": torch.ones(2)}))

    @gpu
    def test_pins(self):
        assert PinMemoryTransform()(TensorDict({"a": torch.ones(2)}))["a"].is_pinned()
