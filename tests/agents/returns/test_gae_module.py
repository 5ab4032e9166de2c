import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from agents.nn import MLP, ValueOperator
from agents.returns import GAE, gae


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_steps(*batch):
    done = torch.rand(*batch, 1) < 0.1
    after = {
        "observation": torch.randn(*batch, 3),
        "reward": torch.randn(*batch, 1),
        "done": done,
        "terminated": done & (torch.rand(*batch, 1) < 0.5),
    }
    return TensorDict({"observation": torch.randn(*batch, 3), "next": after}, batch)


def expected_of(critic, steps, time=-2):
    with torch.no_grad():
        value, next_value = critic.module(steps["observation"]), critic.module(steps["next", "observation"])
    after = steps["next"]
    columns = [after["reward"], value, next_value, after["done"], after["terminated"]]
    results = gae(*(column.movedim(time, -2) for column in columns), gamma=0.9, lmbda=0.8)
    return [result.movedim(-2, time) for result in results]


@pytest.mark.parametrize("batch", [(12,), (4, 12), (2, 3, 5)])
def test_writes_what_gae_returns(batch):
    critic, steps = ValueOperator(MLP(3, 1)), make_steps(*batch)
    advantage, target = expected_of(critic, steps)
    assert GAE(0.9, 0.8, critic)(steps) is steps
    torch.testing.assert_close(steps["advantage"], advantage)
    torch.testing.assert_close(steps["value_target"], target)
    torch.testing.assert_close(steps["state_value"], critic.module(steps["observation"]).detach())
    torch.testing.assert_close(steps["next", "state_value"], critic.module(steps["next", "observation"]).detach())
    assert not any(value.requires_grad for value in steps.values(True, True))


def test_time_is_the_dimension_of_that_name():
    critic, steps = ValueOperator(MLP(3, 1)), make_steps(12, 4)
    steps.names = ["time", None]
    advantage, target = expected_of(critic, steps, time=0)
    GAE(0.9, 0.8, critic)(steps)
    torch.testing.assert_close(steps["advantage"], advantage)
    torch.testing.assert_close(steps["value_target"], target)


def test_network_runs_once():
    calls = []

    class Network(torch.nn.Module):
        def forward(self, observation):
            calls.append(observation.shape)
            return observation.sum(-1, keepdim=True)

    GAE(0.9, 0.8, ValueOperator(Network()))(make_steps(4, 12))
    assert calls == [(2 * 48, 3)]


def test_average_gae_normalises():
    steps = make_steps(4, 12)
    GAE(0.9, 0.8, ValueOperator(MLP(3, 1)), average_gae=True)(steps)
    torch.testing.assert_close(steps["advantage"].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(steps["advantage"].std(), torch.tensor(1.0))


def test_average_gae_of_a_single_step_is_finite():
    steps = make_steps(1)
    GAE(0.9, 0.8, ValueOperator(MLP(3, 1)), average_gae=True)(steps)
    assert steps["advantage"].item() == 0.0


def test_values_that_are_there_already():
    critic, steps = ValueOperator(MLP(3, 1)), make_steps(4, 12)
    expected = GAE(0.9, 0.8, critic)(steps.clone())
    steps["state_value"] = critic.module(steps["observation"])
    steps["next", "state_value"] = critic.module(steps["next", "observation"])
    GAE(0.9, 0.8)(steps)
    torch.testing.assert_close(steps["advantage"], expected["advantage"])
    assert not steps["advantage"].requires_grad


def test_other_keys():
    steps = make_steps(4, 12)
    steps["next", "agent"] = TensorDict({"reward": steps["next", "reward"]}, [4, 12])
    del steps["next", "reward"]
    critic = TensorDictModule(MLP(3, 1), in_keys=["observation"], out_keys=["v"])
    estimate = GAE(0.9, 0.8, critic)
    estimate.set_keys(value="v", advantage=("agent", "gain"), value_target="goal", reward=("agent", "reward"))
    estimate(steps)
    assert steps["agent", "gain"].shape == steps["goal"].shape == steps["next", "v"].shape == (4, 12, 1)
    with pytest.raises(TypeError, match="rewards"):
        estimate.set_keys(rewards="reward")


def test_several_observations():
    steps = make_steps(4, 12)
    steps["extra"], steps["next", "extra"] = torch.randn(4, 12, 2), torch.randn(4, 12, 2)
    critic = ValueOperator(MLP(5, 1), in_keys=["observation", "extra"])
    GAE(0.9, 0.8, critic)(steps)
    torch.testing.assert_close(
        steps["next", "state_value"],
        critic.module(steps["next", "observation"], steps["next", "extra"]).detach(),
    )


def test_a_batch_is_needed():
    with pytest.raises(ValueError, match=r"found batch_size \[\]"):
        GAE(0.9, 0.8, ValueOperator(MLP(3, 1)))(make_steps())


def test_missing_entry_names_the_key():
    steps = make_steps(4, 12)
    del steps["next", "done"]
    with pytest.raises(KeyError, match="done"):
        GAE(0.9, 0.8, ValueOperator(MLP(3, 1)))(steps)
