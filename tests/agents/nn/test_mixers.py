import pytest
import torch
from torch.nn import functional

from agents.nn.mixers import Mixer, QMixer, VDNMixer


def test_the_sum_by_hand():
    values = torch.tensor([[[1.0], [2.0], [4.0]], [[-1.0], [0.5], [0.0]]])
    assert VDNMixer(3)(values).tolist() == [[7.0], [-0.5]]


def test_mixing_by_hand():
    mixer = QMixer(state_shape=(1,), mixing_embed_dim=2, n_agents=2)
    with torch.no_grad():
        for layer in (mixer.hyper_w_1, mixer.hyper_b_1, mixer.hyper_w_2, mixer.hyper_b_2[0], mixer.hyper_b_2[2]):
            layer.bias.zero_()
        # At state 1: |W1| = [[1, 2], [3, 4]] (agents in rows), b1 = [0, -20], |w2| = [2, 1], b2 = 5 * relu(1) = 5.
        mixer.hyper_w_1.weight.copy_(torch.tensor([[1.0], [-2.0], [3.0], [-4.0]]))
        mixer.hyper_b_1.weight.copy_(torch.tensor([[0.0], [-20.0]]))
        mixer.hyper_w_2.weight.copy_(torch.tensor([[-2.0], [1.0]]))
        mixer.hyper_b_2[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        mixer.hyper_b_2[2].weight.copy_(torch.tensor([[5.0, 7.0]]))
    values = torch.tensor([[[1.0], [2.0]]])
    # hidden = elu([1 + 6, 2 + 8 - 20]) = [7, exp(-10) - 1], and the value is 2 * 7 + hidden[1] + 5.
    expected = 19.0 + functional.elu(torch.tensor(-10.0)).item()
    assert mixer(values, torch.ones(1, 1)).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_no_value_of_an_agent_lowers_that_of_the_team(seed):
    torch.manual_seed(seed)
    mixer = QMixer((4,), 8, n_agents=3)
    values, state = torch.randn(50, 3, 1, requires_grad=True), 3.0 * torch.randn(50, 4)
    mixer(values, state).sum().backward()
    assert bool((values.grad >= 0.0).all())
    assert bool((values.grad > 0.0).any())


def test_the_best_actions_of_the_agents_are_the_best_joint_action():
    torch.manual_seed(0)
    mixer, values, state = QMixer((4,), 8, n_agents=2), torch.randn(2, 3), torch.randn(1, 4)
    joint = {
        (a, b): mixer(torch.stack([values[0, a], values[1, b]]).view(1, 2, 1), state).item()
        for a in range(3)
        for b in range(3)
    }
    assert max(joint, key=joint.get) == tuple(values.argmax(-1).tolist())


def test_weights_depend_on_the_state():
    mixer, values = QMixer((2, 3), 8, n_agents=2), torch.ones(5, 7, 2, 1)
    out = mixer(values, torch.randn(5, 7, 2, 3))
    assert out.shape == (5, 7, 1)
    assert len(out.unique()) == 35


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"VDNMixer: expected values of shape \[\*batch, 3, 1\], found \[5, 2, 1\]"):
        VDNMixer(3)(torch.ones(5, 2, 1))
    mixer = QMixer((4,), 8, n_agents=3)
    with pytest.raises(ValueError, match=r"QMixer: expected a state of shape \[5, 4\], found none"):
        mixer(torch.ones(5, 3, 1))
    with pytest.raises(ValueError, match=r"expected a state of shape \[5, 4\], found \[5, 3\]"):
        mixer(torch.ones(5, 3, 1), torch.ones(5, 3))
    with pytest.raises(ValueError, match="n_agents: expected at least 1, found 0"):
        VDNMixer(0)


def test_mixers_of_the_user():
    class Least(Mixer):
        def mix(self, chosen_action_value, state):
            return chosen_action_value.amin(-2)

    assert Least(2, needs_state=False)(torch.tensor([[1.0], [3.0]])).tolist() == [1.0]
