import pytest
import torch
from tensordict import TensorDict
from torch import nn

from agents.nn import (
    DistributionalDQNnet,
    DistributionalQValueActor,
    DistributionalQValueModule,
    QValueActor,
    QValueModule,
    TensorDictModule,
    action_space_of,
)
from envkit import Bounded, Categorical, Composite, GymEnv, MultiCategorical, MultiOneHot, OneHot

VALUES = torch.tensor([[1.0, 3.0, 2.0, -1.0, 0.0], [9.0, 3.0, 2.0, 7.0, 8.0]])


def call(module, values=VALUES, **entries):
    return module(TensorDict({"action_value": values, **entries}, values.shape[:1]))


@pytest.mark.parametrize(
    "spec",
    [Categorical(5), OneHot(5), MultiCategorical([3, 2]), MultiOneHot([3, 2]), Categorical(5, dtype=torch.int32)],
    ids=str,
)
def test_actions_are_members_and_have_the_highest_value(spec):
    td = call(QValueModule(spec=spec))
    assert all(spec.is_in(action) for action in td["action"])
    several = isinstance(spec, MultiCategorical | MultiOneHot)
    best = [[1, 1], [0, 1]] if several else [1, 0]
    assert torch.equal(td["action"], torch.stack([spec.encode(one) for one in best]))
    assert td["chosen_action_value"].tolist() == ([[3.0], [17.0]] if several else [[3.0], [9.0]])


@pytest.mark.parametrize(
    ("name", "var_nums", "spec"),
    [
        ("categorical", None, Categorical(5)),
        ("one-hot", None, OneHot(5)),
        ("mult_categorical", [3, 2], MultiCategorical([3, 2])),
        ("mult-one-hot", [3, 2], MultiOneHot([3, 2])),
    ],
)
def test_names_do_as_specs_do(name, var_nums, spec):
    ours, theirs = call(QValueModule(name, var_nums=var_nums)), call(QValueModule(spec=spec))
    assert torch.equal(ours["action"], theirs["action"])
    assert torch.equal(ours["chosen_action_value"], theirs["chosen_action_value"])


def test_masks_rule_actions_out():
    mask = torch.tensor([[True, False, False, True, True], [False, False, True, False, False]])
    td = call(QValueModule("categorical", action_mask_key="mask"), mask=mask)
    assert td["action"].tolist() == [0, 2]
    assert td["chosen_action_value"].tolist() == [[1.0], [2.0]]
    assert torch.equal(td["action_value"], VALUES)


def test_gradients_reach_the_chosen_values_only():
    values = VALUES.clone().requires_grad_()
    call(QValueModule("categorical"), values)["chosen_action_value"].sum().backward()
    assert values.grad.nonzero().tolist() == [[0, 1], [1, 0]]


def test_actor_acts_in_an_env():
    env = GymEnv("CartPole-v1")
    actor = QValueActor(nn.Linear(4, 2), spec=env.action_spec)
    assert actor.spec == env.action_spec
    data = env.rollout(5, actor)
    assert torch.equal(data["action"], data["action_value"].argmax(-1))


def test_actor_keeps_other_keys():
    module = TensorDictModule(nn.Linear(3, 4), ["obs"], [("agent", "q")])
    spec = Composite({("agent", "action"): Categorical(4)})
    actor = QValueActor(module, spec=spec, action_value_key=("agent", "q"), action_key=("agent", "action"))
    assert actor.in_keys == ["obs"]
    td = actor(TensorDict(obs=torch.randn(2, 3), batch_size=[2]))
    assert td["agent", "action"].shape == (2,)
    assert td["agent", "chosen_action_value"].shape == (2, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QValueModule(), "exactly one of spec and action_space"),
        (lambda: QValueModule("categorical", spec=Categorical(2)), "exactly one of spec and action_space"),
        (lambda: QValueModule("gray-code"), "expected one of .*found 'gray-code'"),
        (lambda: QValueModule("mult_one_hot"), "var_nums: expected numbers"),
        (lambda: QValueModule("one_hot", var_nums=[2]), "var_nums: expected none"),
        (lambda: QValueModule("one_hot", safe=True), "safe=True .* found spec=None"),
        (lambda: QValueModule("one_hot", out_keys=["action"]), "expected keys of action"),
        (lambda: call(QValueModule("mult_categorical", var_nums=[2, 2])), "expected 4 values .* found 5"),
        (
            lambda: call(QValueModule("categorical", action_mask_key="mask"), mask=torch.ones(2, 2, dtype=torch.bool)),
            r"expected a mask of shape \[2, 5\], found \[2, 2\]",
        ),
        (lambda: QValueActor(TensorDictModule(nn.Identity(), ["a"], ["b"]), spec=Categorical(2)), "writes 'action_v"),
        (lambda: DistributionalQValueModule("categorical"), "support: expected a vector"),
        (
            lambda: call(DistributionalQValueModule("categorical", torch.zeros(3)), VALUES.unsqueeze(-1)),
            r"expected shape \[\*batch, 3, n\], found \[2, 5, 1\]",
        ),
        (
            lambda: DistributionalQValueModule(spec=MultiCategorical([2, 2]), support=torch.zeros(3)),
            "expected actions of one variable",
        ),
        (lambda: DistributionalDQNnet(nn.Identity())(torch.zeros(3)), r"found \[3\]"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_continuous_spec_is_refused():
    with pytest.raises(TypeError, match="discrete actions"):
        action_space_of(Bounded(-1.0, 1.0, shape=(1,)))


def test_batched_specs_have_the_numbers_of_one_env():
    assert action_space_of(MultiCategorical([2, 3]).expand(4, 2)).var_nums == (2, 3)


def test_distributional_actions_have_the_highest_mean():
    # Means over the support (0, 1, 5): 0.5 * 1 = 0.5 and 0.2 * 5 = 1.0.
    probs = torch.tensor([[0.5, 0.8], [0.5, 0.0], [0.0, 0.2]])
    module = DistributionalQValueModule("one_hot", torch.tensor([0.0, 1.0, 5.0]), action_mask_key="mask")
    td = TensorDict(action_value=probs.log().expand(2, 3, 2), batch_size=[2])
    td["mask"] = torch.tensor([[True, True], [True, False]])
    module(td)
    assert td["action"].tolist() == [[False, True], [True, False]]
    torch.testing.assert_close(td["chosen_action_value"].exp(), probs.t().flip(0))


def test_distributional_actor_normalises_over_atoms():
    net = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(-1, (4, 2)))
    support, td = torch.linspace(0.0, 1.0, 4), TensorDict(observation=torch.randn(5, 3), batch_size=[5])
    plain = DistributionalQValueActor(net, spec=Categorical(2), support=support)(td.clone())
    given = DistributionalQValueActor(
        DistributionalDQNnet(net), spec=Categorical(2), support=support, make_log_softmax=False
    )(td.clone())
    assert DistributionalQValueActor(net, spec=Categorical(2), support=support).spec == Categorical(2)
    torch.testing.assert_close(plain["action_value"].exp().sum(-2), torch.ones(5, 2))
    assert torch.equal(plain["action"], given["action"])
    assert torch.equal(plain["action_value"], given["action_value"])
