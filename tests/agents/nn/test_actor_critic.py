import pytest
import torch
from tensordict import TensorDict

from agents.nn import (
    MLP,
    Actor,
    ActorCriticOperator,
    ActorCriticWrapper,
    ActorValueOperator,
    TensorDictModule,
    ValueOperator,
)


def make_observations():
    return TensorDict({"observation": torch.randn(5, 3)}, [5])


def make_value_operator():
    common = TensorDictModule(MLP(3, 8), ["observation"], ["hidden"])
    return ActorValueOperator(common, Actor(MLP(8, 2), ["hidden"]), ValueOperator(MLP(8, 1), ["hidden"]))


def make_critic_operator():
    common = TensorDictModule(MLP(3, 8), ["observation"], ["hidden"])
    critic = ValueOperator(MLP(10, 1), ["hidden", "action"])
    return ActorCriticOperator(common, Actor(MLP(8, 2), ["hidden"]), critic)


def test_parts_do_what_the_whole_does():
    both, td = make_value_operator(), make_observations()
    whole = both(td.clone())
    policy, value = both.get_policy_operator()(td.clone()), both.get_value_operator()(td.clone())
    assert torch.equal(policy["action"], whole["action"])
    assert torch.equal(value["state_value"], whole["state_value"])
    assert "state_value" not in policy
    assert "action" not in value
    heads = both.get_value_head()(both.get_policy_head()(whole.select("hidden")))
    assert torch.equal(heads["action"], whole["action"])
    assert torch.equal(heads["state_value"], whole["state_value"])


def test_parts_share_parameters():
    both = make_value_operator()
    together = {*both.get_policy_operator().parameters(), *both.get_value_operator().parameters()}
    assert together == set(both.parameters())
    assert len(together) == sum(len(list(part.parameters())) for part in both.module)


def test_critic_reads_the_action_of_the_policy():
    both, td = make_critic_operator(), make_observations()
    whole = both(td.clone())
    assert torch.equal(both.get_critic_operator()(td.clone())["state_action_value"], whole["state_action_value"])
    # Without the policy the action is an input: that of the data.
    stored = td.clone().set("action", torch.zeros(5, 2))
    value = both.get_value_operator()(stored)["state_action_value"]
    assert not torch.equal(value, whole["state_action_value"])
    assert both.get_value_operator().in_keys == ["observation", "action"]


def test_a_critic_that_reads_no_action_is_refused():
    common = TensorDictModule(MLP(3, 8), ["observation"], ["hidden"])
    with pytest.raises(ValueError, match=r"one of \['action'\], found one that reads \['hidden'\]"):
        ActorCriticOperator(common, Actor(MLP(8, 2), ["hidden"]), ValueOperator(MLP(8, 1), ["hidden"]))


def test_wrapper_gives_its_parts_back():
    policy, value = Actor(MLP(3, 2)), ValueOperator(MLP(3, 1))
    both = ActorCriticWrapper(policy, value)
    assert both.get_policy_operator() is both.get_policy_head() is policy
    assert both.get_value_operator() is both.get_value_head() is value
    td = both(make_observations())
    assert (td["action"].shape, td["state_value"].shape) == ((5, 2), (5, 1))
