import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import nn

from agents.nn import (
    MLP,
    Actor,
    GRUModule,
    LSTMModule,
    TensorDictSequential,
    get_primers_from_module,
    set_recurrent_mode,
)
from envkit import Collector, Compose, GymEnv, InitTracker, SerialEnv, TransformedEnv
from envkit.errors import PolicyError

KINDS = [LSTMModule, GRUModule]


def sequences(length):
    """One to three rows of marks."""
    return st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=1, max_size=3)


def make(kind, **kwargs):
    torch.manual_seed(0)
    return kind(3, 4, in_key="observation", out_key="features", **{"num_layers": 2, **kwargs})


def make_data(module, marks):
    """Sequences with marks ``[batch, time]`` and a memory that is not zero."""
    marks = torch.as_tensor(marks)
    data = TensorDict({"observation": torch.randn(*marks.shape, 3), "is_init": marks.unsqueeze(-1)}, marks.shape)
    for key in module.state_keys:
        data[key] = torch.randn(*marks.shape, 2, 4)
    return data


def step_by_step(module, data):
    outputs, memory = [], {key: data[key][:, 0] for key in module.state_keys}
    for time in range(data.shape[1]):
        td = module(data[:, time].select("observation", "is_init").update(memory))
        outputs.append(td["features"])
        memory = {key: td["next", key] for key in module.state_keys}
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    marks=st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_sequences_are_what_steps_give_with_gradients(kind, marks):
    module = make(kind)
    data = make_data(module, marks)
    expected = step_by_step(module, data)
    with set_recurrent_mode():
        features = module(data)["features"]
    torch.testing.assert_close(features, expected)
    parameters = list(module.parameters())
    ours, theirs = (torch.autograd.grad(out.square().sum(), parameters) for out in (features, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_marks_empty_the_memory_of_their_rows(kind):
    module = make(kind)
    data = make_data(module, [[True], [False]])[:, 0]
    found, zero = module(data.clone())["features"], data.clone()
    for key in module.state_keys:
        zero[key].zero_()
    empty = module(zero)["features"]
    torch.testing.assert_close(found[0], empty[0])
    assert not torch.allclose(found[1], empty[1])


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_steps_keep_batch_dimensions(batch):
    module = make(LSTMModule)
    td = TensorDict({"observation": torch.randn(*batch, 3), "is_init": torch.zeros(*batch, 1) > 0}, batch)
    for key in module.state_keys:
        td[key] = torch.randn(*batch, 2, 4)
    td = module(td)
    assert td["features"].shape == (*batch, 4)
    assert td["next", "recurrent_state_h"].shape == (*batch, 2, 4)
    hidden, cell = (td[key].reshape(-1, 2, 4).transpose(0, 1).contiguous() for key in module.state_keys)
    output, (after, _) = module.rnn(td["observation"].reshape(-1, 1, 3), (hidden, cell))
    torch.testing.assert_close(td["features"].reshape(-1, 4), output[:, 0])
    torch.testing.assert_close(td["next", "recurrent_state_h"].reshape(-1, 2, 4), after.transpose(0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_collected_steps_are_what_training_on_their_sequences_gives(kind):
    module = kind(3, 4, in_key="observation", out_key="features")
    policy = TensorDictSequential(module, Actor(MLP(4, 1), ["features"]))

    def make_env(length):
        return GymEnv("Pendulum-v1", max_episode_steps=length)

    batch = SerialEnv(2, [lambda: make_env(3), lambda: make_env(4)])
    env = TransformedEnv(batch, Compose(InitTracker(), get_primers_from_module(policy)))
    first, second = Collector(env, policy, frames_per_batch=20, total_frames=40)
    for data in (first, second):
        with set_recurrent_mode("recurrent"), torch.no_grad():
            again = policy(data.exclude("features", "action"))
        torch.testing.assert_close(again["features"], data["features"])
        torch.testing.assert_close(again["action"], data["action"])
    # The second batch goes on in the middle of an episode, with the memory of the first.
    assert not second["is_init"][0, 0]
    assert second[module.state_keys[0]][0, 0].any()


def test_modes_nest_and_modules_have_a_default():
    module = make(GRUModule, default_recurrent_mode=True)
    data = make_data(module, [[True, False]])
    assert ("next", "recurrent_state") not in module(data.clone()).keys(True)
    with set_recurrent_mode("sequential"):
        assert ("next", "recurrent_state") in module(data.clone()).keys(True)
        with set_recurrent_mode(True):
            assert ("next", "recurrent_state") not in module(data.clone()).keys(True)
        assert ("next", "recurrent_state") in module(data.clone()).keys(True)


@pytest.mark.parametrize(("kind", "name", "network"), [(LSTMModule, "lstm", nn.LSTM), (GRUModule, "gru", nn.GRU)])
def test_a_network_may_be_given(kind, name, network):
    own = network(3, 4, batch_first=True)
    module = kind(in_key="observation", out_key="features", **{name: own})
    assert module.rnn is own
    for wrong in (network(3, 4), network(3, 4, batch_first=True, bidirectional=True)):
        with pytest.raises(ValueError, match="one-way network with batch_first=True"):
            kind(in_key="observation", out_key="features", **{name: wrong})
    with pytest.raises(ValueError, match="found both or neither"):
        kind(3, 4, in_key="observation", out_key="features", **{name: own})
    with pytest.raises(ValueError, match="found both or neither"):
        kind(in_key="observation", out_key="features")


def test_errors_name_what_is_missing():
    module = make(GRUModule)
    td = make_data(module, [[True]])[:, 0]
    for key, hint in [("observation", "features"), ("is_init", "InitTracker"), ("recurrent_state", "make_tensordict")]:
        with pytest.raises(PolicyError, match=f"{hint}.*'{key}', found keys"):
            module(td.exclude(key))
    with set_recurrent_mode(), pytest.raises(PolicyError, match="a dimension for time"):
        module(td[0])
    with pytest.raises(ValueError, match="found 'fast'"), set_recurrent_mode("fast"):
        pass
    with pytest.raises(ValueError, match="recurrent parts, found Linear"):
        get_primers_from_module(nn.Linear(1, 1))
