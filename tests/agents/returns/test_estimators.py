import pytest
import torch
from tensordict import TensorDict

from agents.nn import MLP, Categorical, ProbabilisticActor, TensorDictModule, ValueOperator
from agents.returns import (
    GAE,
    TD0Estimator,
    TD1Estimator,
    TDLambdaEstimator,
    ValueEstimators,
    VTrace,
    gae,
    td0,
    td1,
    td_lambda,
    vtrace,
)
from envkit import split_trajectories


def columns_of(data, time=-2):
    after = data["next"]
    columns = [after["reward"], data["state_value"], after["state_value"], after["done"], after["terminated"]]
    return [column.movedim(time, -2) for column in columns]


FUNCTIONS = {
    "td0": lambda r, v, n, d, t: td0(r, v, n, t, gamma=0.9),
    "td1": lambda *columns: td1(*columns, gamma=0.9),
    "td_lambda": lambda *columns: td_lambda(*columns, gamma=0.9, lmbda=0.8),
    "gae": lambda *columns: gae(*columns, gamma=0.9, lmbda=0.8),
}
MODULES = {
    "td0": lambda *args, **kwargs: TD0Estimator(0.9, *args, **kwargs),
    "td1": lambda *args, **kwargs: TD1Estimator(0.9, *args, **kwargs),
    "td_lambda": lambda *args, **kwargs: TDLambdaEstimator(0.9, 0.8, *args, **kwargs),
    "gae": lambda *args, **kwargs: GAE(0.9, 0.8, *args, **kwargs),
}
KINDS = sorted(MODULES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "time"), [((12,), -2), ((4, 12), -2), ((12, 4), 0)])
def test_writes_what_the_function_returns(make_data, kind, batch, time):
    data = make_data(*batch)
    if not time:
        data.names = ["time", None]
    expected = FUNCTIONS[kind](*columns_of(data, time))
    assert MODULES[kind]()(data) is data
    for key, result in zip(("advantage", "value_target"), expected, strict=True):
        assert torch.equal(data[key], result.movedim(-2, time))


@pytest.mark.parametrize("kind", KINDS)
def test_time_by_argument(make_data, kind):
    data = make_data(12, 4)
    expected = MODULES[kind](time_dim=0)(data.clone())
    data.names = ["time", None]
    assert torch.equal(MODULES[kind]()(data)["value_target"], expected["value_target"])


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_several_agents_with_a_shared_reward(make_data, kind):
    data = make_data(4, 12, agents=(3,))
    for key in ("reward", "done", "terminated"):
        data["next", key] = data["next", key][..., 0, :]
    results = MODULES[kind]()(data.clone())
    assert results["advantage"].shape == (4, 12, 3, 1)
    for agent in range(3):
        one = data.clone()
        one["state_value"] = data["state_value"][..., agent, :]
        one["next", "state_value"] = data["next", "state_value"][..., agent, :]
        torch.testing.assert_close(results["advantage"][..., agent, :], MODULES[kind]()(one)["advantage"])


@pytest.mark.parametrize("kind", KINDS)
def test_padded_trajectories_get_what_they_get_unpadded(make_data, kind):
    data = make_data(3, 20)
    data["collector", "traj_ids"] = torch.arange(3).unsqueeze(-1).expand(3, 20) * 100 + data["next", "done"].cumsum(
        1
    ).roll(1, 1).squeeze(-1) * (torch.arange(20) > 0)
    padded = split_trajectories(data)
    mask = padded["collector", "mask"]
    assert not mask.all()
    # What stands in padding is nobody's business.
    for key in ("reward", "state_value"):
        padded["next", key][~mask] = 1e6
    MODULES[kind]()(data)
    MODULES[kind]()(padded)
    for key in ("advantage", "value_target"):
        torch.testing.assert_close(padded[key][mask], data[key].flatten(0, 1))
        assert not padded[key][~mask].any()


def test_standardised_over_what_is_no_padding(make_data):
    data = make_data(3, 20)
    data["collector", "mask"] = torch.arange(20).expand(3, 20) < torch.tensor([[20], [7], [13]])
    expected = GAE(0.9, 0.8)(data.clone())["advantage"][data["collector", "mask"]]
    advantage = GAE(0.9, 0.8, average_gae=True)(data)["advantage"][data["collector", "mask"]]
    torch.testing.assert_close(advantage, (expected - expected.mean()) / expected.std())


def test_truncation_in_the_middle_of_a_batch_bootstraps_from_its_own_last_observation():
    # The value of an observation is the observation. The first episode is truncated at 5, the second starts at 100.
    critic = TensorDictModule(torch.nn.Identity(), in_keys=["observation"], out_keys=["state_value"])
    after = {
        "observation": torch.tensor([[4.0], [5.0], [101.0]]),
        "reward": torch.ones(3, 1),
        "done": torch.tensor([[False], [True], [False]]),
        "terminated": torch.zeros(3, 1, dtype=torch.bool),
    }
    data = TensorDict({"observation": torch.tensor([[3.0], [4.0], [100.0]]), "next": after}, [3])
    assert TD1Estimator(1.0, critic)(data)["value_target"].flatten().tolist() == [7.0, 6.0, 102.0]


def test_transitions_of_several_steps(make_data):
    data = make_data(10)
    steps = torch.randint(1, 4, (10, 1))
    reward, value, next_value, _, terminated = columns_of(data)
    expected = td0(reward, value, next_value, terminated, gamma=0.9**steps)[1]
    data["steps_to_next_obs"] = steps
    torch.testing.assert_close(TD0Estimator(0.9)(data)["value_target"], expected)
    data["gamma"] = 0.5**steps
    expected = td0(reward, value, next_value, terminated, gamma=0.5 ** steps.double())[1]
    torch.testing.assert_close(TD0Estimator(0.9)(data)["value_target"], expected)


def test_vtrace():
    net = TensorDictModule(MLP(3, 2), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
    critic = ValueOperator(MLP(3, 1))
    done = torch.rand(4, 12, 1) < 0.2
    after = {"observation": torch.randn(4, 12, 3), "reward": torch.randn(4, 12, 1), "done": done, "terminated": done}
    data = actor(TensorDict({"observation": torch.randn(4, 12, 3), "next": after}, [4, 12])).detach()
    data["sample_log_prob"] += torch.randn(4, 12)
    VTrace(0.9, actor, critic, rho_thresh=1.5)(data)
    log_prob = actor.log_prob(data).unsqueeze(-1)
    old = data["sample_log_prob"].unsqueeze(-1)
    expected = vtrace(*columns_of(data), log_prob, old, gamma=0.9, rho_thresh=1.5)
    torch.testing.assert_close((data["advantage"], data["value_target"]), expected)


def test_kinds_by_name():
    assert [ValueEstimators(kind).estimator_class for kind in ("td0", "td1", "td_lambda", "gae", "vtrace")] == [
        TD0Estimator,
        TD1Estimator,
        TDLambdaEstimator,
        GAE,
        VTrace,
    ]


@pytest.mark.parametrize("kind", ["td0", "td1", "td_lambda"])
def test_targets_from_values_of_the_caller(make_data, kind):
    data = make_data(4, 12)
    expected = MODULES[kind]()(data.clone())["value_target"].squeeze(-1)
    next_value = data["next"].pop("state_value").squeeze(-1)
    assert torch.equal(MODULES[kind]().value_target(data, next_value), expected)


def test_gae_has_no_targets_without_values(make_data):
    with pytest.raises(ValueError, match="GAE: its targets need the values before the steps"):
        GAE(0.9, 0.8).value_target(make_data(4, 12), torch.zeros(4, 12))


def test_without_a_terminated_flag_done_stands_for_it(make_data):
    data = make_data(4, 12)
    data["next", "terminated"] = data["next", "done"]
    expected = TD1Estimator(0.9)(data.clone())
    del data["next", "terminated"]
    assert torch.equal(TD1Estimator(0.9)(data)["value_target"], expected["value_target"])


def test_reward_and_flags_at_the_root(make_data):
    data = make_data(4, 12)
    expected = TD1Estimator(0.9)(data.clone())
    for key in ("reward", "done", "terminated"):
        data[key] = data["next"].pop(key)
    assert torch.equal(TD1Estimator(0.9)(data)["value_target"], expected["value_target"])


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        (("next", "reward"), (4, 12, 2), r"expected \('next', 'reward'\) of shape \[4, 12\] or \[4, 12, 1\], found"),
        (("next", "done"), (4, 12, 2), r"\('next', 'done'\).*found \[4, 12, 2\]"),
        ("state_value", (4, 12), r"expected 'state_value' of shape \[\*batch, ..., 1\].*found \[4, 12\]"),
        (("next", "state_value"), (4, 12, 2, 1), r"expected 'state_value' of the shape of that under 'next'"),
    ],
)
def test_shapes_are_checked(make_data, key, shape, message):
    data = make_data(4, 12)
    data[key] = torch.zeros(shape, dtype=data[key].dtype)
    with pytest.raises(ValueError, match=message):
        TD0Estimator(0.9)(data)
