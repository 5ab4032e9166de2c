import torch
from tensordict import TensorDict

from agents.nn import MLP, ValueOperator


def test_state_value():
    critic = ValueOperator(MLP(3, 1))
    data = critic(TensorDict({"observation": torch.randn(2, 5, 3)}, [2, 5]))
    assert (critic.in_keys, critic.out_keys) == (["observation"], ["state_value"])
    assert data["state_value"].shape == (2, 5, 1)


def test_action_value():
    critic = ValueOperator(MLP(5, 1), in_keys=["observation", "action"])
    data = critic(TensorDict({"observation": torch.randn(5, 3), "action": torch.randn(5, 2)}, [5]))
    assert data["state_action_value"].shape == (5, 1)


def test_other_out_keys():
    critic = ValueOperator(MLP(3, 1), in_keys=[("agent", "observation")], out_keys=[("agent", "value")])
    data = critic(TensorDict({"agent": {"observation": torch.randn(5, 3)}}, [5]))
    assert data["agent", "value"].shape == (5, 1)
