import math

import torch
from tensordict.nn import TensorDictModule

from agents.objectives import DiscreteCQLLoss, DQNLoss, discrete_conservative_penalty


def test_penalty_by_hand():
    values = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).log().requires_grad_()
    penalty = discrete_conservative_penalty(values[:1], torch.tensor([1]))
    torch.testing.assert_close(penalty.item(), math.log(4.0 / 3.0))
    penalty.sum().backward()
    # The policy of the values, less the action of the data.
    torch.testing.assert_close(values.grad[0], torch.tensor([0.25, 0.75 - 1.0]))


def test_by_hand(linear, make_step):
    # Values of the two actions at x: x and 2 x.
    network = TensorDictModule(linear([1.0], [2.0]), ["observation"], ["action_value"])
    steps = make_step([1.0, 2.0], [0, 1], [10.0, 20.0], [3.0, 4.0], [False, True])
    results = DiscreteCQLLoss(network, min_q_weight=3.0, gamma=0.5)(steps)
    penalties = [math.log(math.exp(1.0) + math.exp(2.0)) - 1.0, math.log(math.exp(2.0) + math.exp(4.0)) - 4.0]
    torch.testing.assert_close(results["loss_cql"].item(), 3.0 * sum(penalties) / 2)
    expected = DQNLoss(network, gamma=0.5)(steps)
    assert torch.equal(results["loss_qvalue"], expected["loss"])
    for key in ("td_error", "pred_value", "target_value"):
        assert torch.equal(results[key], expected[key])
