import pytest
import torch
from tensordict import TensorDict
from torch import distributions, nn

from agents.nn import (
    MLP,
    Actor,
    Categorical,
    IndependentNormal,
    InteractionType,
    MaskedCategorical,
    NormalParamExtractor,
    ProbabilisticActor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TanhNormal,
    TensorDictModule,
    TensorDictSequential,
    ValueOperator,
    set_interaction_type,
)
from envkit.core.inlined import on_entries
from envkit.errors import PolicyError


class UnitBox:
    def project(self, value):
        return value.clamp(-1.0, 1.0)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_observations(*batch, width=4):
    return TensorDict({"observation": torch.randn(*batch, width)}, batch)


def make_discrete(**kwargs):
    module = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
    return ProbabilisticActor(module, ["logits"], distribution_class=Categorical, **kwargs)


def make_continuous(distribution_class=TanhNormal, **kwargs):
    net = nn.Sequential(MLP(4, 6), NormalParamExtractor())
    module = TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])
    return ProbabilisticActor(module, ["loc", "scale"], distribution_class=distribution_class, **kwargs)


def test_actor_defaults_to_observation_and_action():
    actor = Actor(nn.Linear(4, 2))
    assert (actor.in_keys, actor.out_keys) == (["observation"], ["action"])
    assert actor(make_observations(5))["action"].shape == (5, 2)


def test_actor_with_other_keys_and_tensors():
    actor = Actor(nn.Linear(4, 2), in_keys=["obs"], out_keys=[("agent", "action")])
    assert actor(TensorDict({"obs": torch.randn(4)}))["agent", "action"].shape == (2,)
    assert actor(torch.randn(3, 4)).shape == (3, 2)


def test_safe_actor_projects():
    actor = Actor(lambda observation: 100.0 * observation, spec=UnitBox(), safe=True)
    assert actor(make_observations(5))["action"].abs().max() == 1.0
    assert torch.equal(actor(torch.tensor([0.001, -5.0])), torch.tensor([0.1, -1.0]))
    two = Actor(lambda x: (100.0 * x, x), out_keys=["action", "seen"], spec=UnitBox(), safe=True)
    assert [value.item() for value in two(torch.tensor([3.0]))] == [1.0, 3.0]


@pytest.mark.parametrize("make", [lambda: Actor(nn.Linear(4, 2), safe=True), lambda: make_discrete(safe=True)])
def test_safe_needs_a_spec(make):
    with pytest.raises(ValueError, match="found spec=None"):
        make()


@pytest.mark.parametrize("batch", [(), (8,), (2, 3)])
def test_discrete_shapes_and_keys(batch):
    actor = make_discrete(return_log_prob=True)
    data = actor(make_observations(*batch))
    assert actor.in_keys == ["observation"]
    assert actor.out_keys == ["logits", "action", "sample_log_prob"]
    assert set(data.keys()) == {"observation", "logits", "action", "sample_log_prob"}
    assert data["action"].shape == batch
    assert data["action"].dtype is torch.int64
    assert data["sample_log_prob"].shape == batch


@pytest.mark.parametrize("distribution_class", [TanhNormal, IndependentNormal])
@pytest.mark.parametrize("batch", [(), (8,), (2, 3)])
def test_continuous_shapes(distribution_class, batch):
    data = make_continuous(distribution_class, return_log_prob=True)(make_observations(*batch))
    assert data["action"].shape == (*batch, 3)
    assert data["sample_log_prob"].shape == batch


def test_deterministic_unless_told_otherwise():
    actor, data = make_discrete(), make_observations(200)
    assert torch.equal(actor(data)["action"], data["logits"].argmax(-1))
    with set_interaction_type(InteractionType.RANDOM):
        drawn = actor(data)["action"]
    assert not torch.equal(drawn, data["logits"].argmax(-1))
    with set_interaction_type("mode"):
        assert torch.equal(actor(data)["action"], data["logits"].argmax(-1))


def test_default_interaction_type():
    actor, data = make_discrete(default_interaction_type="random"), make_observations(200)
    assert not torch.equal(actor(data)["action"], data["logits"].argmax(-1))


def test_log_prob_is_that_of_the_written_action():
    actor, data = make_continuous(return_log_prob=True), make_observations(8)
    with set_interaction_type("random"):
        actor(data)
    torch.testing.assert_close(actor.log_prob(data), data["sample_log_prob"])
    torch.testing.assert_close(actor.get_dist(data).log_prob(data["action"]), data["sample_log_prob"])


def test_get_dist_and_log_prob_leave_the_data_as_it_is():
    actor, data = make_discrete(), make_observations(8)
    actor.get_dist(data)
    assert set(data.keys()) == {"observation"}
    data["action"] = torch.zeros(8, dtype=torch.int64)
    actor.log_prob(data)
    assert set(data.keys()) == {"observation", "action"}


def test_bounds_as_in_older_pages():
    low, high = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([1.0, 2.0, 3.0])
    actor = make_continuous(distribution_kwargs={"min": low, "max": high})
    with set_interaction_type("random"):
        action = actor(make_observations(100))["action"]
    assert bool(((action > low) & (action < high)).all())


def test_in_keys_as_a_mapping():
    net = nn.Sequential(MLP(4, 6), NormalParamExtractor())
    module = TensorDictModule(net, in_keys=["observation"], out_keys=["mu", "sigma"])
    actor = ProbabilisticActor(module, {"loc": "mu", "scale": "sigma"}, distribution_class=IndependentNormal)
    data = actor(make_observations(8))
    assert actor.dist_params_keys == ["mu", "sigma"]
    assert torch.equal(data["action"], data["mu"])


def test_parameters_that_the_module_does_not_write_are_read_too():
    net = TensorDictModule(nn.Linear(4, 3), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(net, {"logits": "logits", "mask": "mask"}, distribution_class=MaskedCategorical)
    assert actor.in_keys == ["observation", "mask"]
    data = make_observations(5)
    data["mask"] = torch.tensor([False, True, False]).expand(5, 3).clone()
    assert actor(data.select(*actor.in_keys))["action"].tolist() == [1] * 5
    assert actor.get_dist(data).mode.tolist() == [1] * 5


def test_nested_keys():
    module = TensorDictModule(MLP(4, 2), [("agent", "observation")], [("agent", "logits")])
    actor = ProbabilisticActor(
        module,
        [("agent", "logits")],
        [("agent", "action")],
        distribution_class=Categorical,
        return_log_prob=True,
        log_prob_key=("agent", "log_prob"),
    )
    data = TensorDict({"agent": {"observation": torch.randn(8, 4)}}, [8])
    assert actor(data)["agent", "action"].shape == (8,)
    assert data["agent", "log_prob"].shape == (8,)
    torch.testing.assert_close(actor.log_prob(data), data["agent", "log_prob"])


def test_sequence_of_modules():
    trunk = TensorDictModule(nn.Linear(4, 5), ["observation"], ["hidden"])
    head = TensorDictModule(nn.Linear(5, 2), ["hidden"], ["logits"])
    actor = ProbabilisticActor(TensorDictSequential(trunk, head), "logits", distribution_class=Categorical)
    assert actor(make_observations(8))["action"].shape == (8,)
    assert actor.in_keys == ["observation"]


def test_distributions_of_torch():
    module = TensorDictModule(MLP(4, 2), ["observation"], ["logits"])
    actor = ProbabilisticActor(module, ["logits"], distribution_class=distributions.Categorical, return_log_prob=True)
    data = actor(make_observations(8))
    assert torch.equal(data["action"], data["logits"].argmax(-1))
    torch.testing.assert_close(data["sample_log_prob"], Categorical(data["logits"]).log_prob(data["action"]))


def test_safe_projects_before_the_log_prob():
    actor = make_continuous(IndependentNormal, spec=UnitBox(), safe=True, return_log_prob=True)
    with set_interaction_type("random"):
        data = actor(make_observations(100))
    assert data["action"].abs().max() == 1.0
    torch.testing.assert_close(actor.log_prob(data), data["sample_log_prob"])


def test_call_with_tensors():
    logits, action = make_discrete()(torch.randn(8, 4))
    assert logits.shape == (8, 2)
    assert action.shape == (8,)


def test_log_prob_key_among_the_out_keys():
    actor = make_discrete(out_keys=["action", "sample_log_prob"], return_log_prob=True)
    assert actor.out_keys == ["logits", "action", "sample_log_prob"]


def test_more_than_one_action_key():
    with pytest.raises(ValueError, match=r"found \['action', 'other'\]"):
        make_discrete(out_keys=["action", "other"])


def test_plain_network_is_refused():
    with pytest.raises(TypeError, match="found Linear; wrap it in TensorDictModule"):
        ProbabilisticActor(nn.Linear(4, 2), ["logits"], distribution_class=Categorical)


def test_missing_parameter_names_the_key():
    module = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["scores"])
    actor = ProbabilisticActor(module, ["logits"], distribution_class=Categorical)
    with pytest.raises(PolicyError, match=r"'logits'.*found keys \['observation', 'scores'\]"):
        actor(make_observations(8))


def test_unknown_argument_names_the_distribution():
    actor = make_discrete(distribution_kwargs={"temperature": 1.0})
    with pytest.raises(PolicyError, match=r"Categorical does not accept .*'temperature'"):
        actor(make_observations(8))


def test_missing_action_names_the_key():
    with pytest.raises(PolicyError, match=r"an action at key 'action', found keys \['observation'\]"):
        make_discrete().log_prob(make_observations(8))


def test_errors_inside_a_distribution_come_through():
    def broken(logits):
        raise RuntimeError("no such luck")

    module = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
    with pytest.raises(RuntimeError, match="no such luck"):
        ProbabilisticActor(module, ["logits"], distribution_class=broken)(make_observations(8))


def test_parameters_and_state_are_those_of_the_module():
    actor = make_discrete()
    assert len(list(actor.parameters())) == len(list(actor.module.parameters())) > 0
    other = make_discrete()
    other.load_state_dict(actor.state_dict())
    data = make_observations(8)
    assert torch.equal(actor(data.copy())["logits"], other(data.copy())["logits"])


def test_lean_distributions_serve_modules_of_tensordict():
    net = nn.Sequential(MLP(4, 6), NormalParamExtractor())
    module = ProbabilisticTensorDictSequential(
        TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=TanhNormal,
            return_log_prob=True,
            log_prob_key="sample_log_prob",
        ),
    )
    for interaction in ("random", "mode", "mean", "deterministic"):
        with set_interaction_type(interaction):
            data = module(make_observations(8))
        assert data["action"].shape == (8, 3)
        assert data["sample_log_prob"].shape == (8,)


INLINED = {
    "discrete": lambda: make_discrete(return_log_prob=True),
    "continuous": lambda: make_continuous(return_log_prob=True),
    "safe": lambda: make_continuous(IndependentNormal, spec=UnitBox(), safe=True, return_log_prob=True),
    "without log-probability": make_discrete,
    "distribution of torch": lambda: ProbabilisticActor(
        TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=[("policy", "logits")]),
        {"logits": ("policy", "logits")},
        distribution_class=distributions.Categorical,
        distribution_kwargs={"validate_args": False},
    ),
    "deterministic": lambda: Actor(MLP(4, 2)),
    "deterministic, safe": lambda: Actor(MLP(4, 2), spec=UnitBox(), safe=True),
    "with values": lambda: TensorDictSequential(make_discrete(return_log_prob=True), ValueOperator(MLP(4, 1))),
}


@pytest.mark.parametrize("name", INLINED)
@pytest.mark.parametrize("interaction", ["random", "deterministic"])
def test_on_a_dict_of_entries(name, interaction):
    policy, data = INLINED[name](), make_observations(8)
    entries = {"observation": data["observation"]}
    run = on_entries(policy, list(entries))
    with torch.no_grad(), set_interaction_type(interaction):
        for _ in range(3):
            state = torch.get_rng_state()
            run(entries)
            torch.set_rng_state(state)
            policy(data)
            assert set(entries) == set(data.keys(True, True))
            assert all(torch.equal(entries[key], data[key]) for key in entries)


def test_on_a_dict_of_entries_that_are_not_there():
    assert on_entries(make_discrete(), ["pixels"]) is None
    module = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["scores"])
    actor = ProbabilisticActor(module, ["logits"], distribution_class=Categorical)
    assert on_entries(actor, ["observation"]) is None
    assert on_entries(actor, ["observation", "logits"]) is not None


def test_on_a_dict_of_entries_of_a_subclass_with_another_distribution():
    class Warmer(ProbabilisticActor):
        def build_dist_from_params(self, tensordict):
            return Categorical(tensordict["logits"] / 2)

    actor = Warmer(make_discrete().module, ["logits"], distribution_class=Categorical)
    assert on_entries(actor, ["observation"]) is None


def test_refused_arguments_name_what_was_given():
    module = TensorDictModule(MLP(4, 2), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(module, {"scores": "logits"}, distribution_class=Categorical)
    run = on_entries(actor, ["observation"])
    with pytest.raises(PolicyError, match=r"Categorical does not accept the arguments \['scores'\]"):
        run({"observation": torch.randn(8, 4)})
