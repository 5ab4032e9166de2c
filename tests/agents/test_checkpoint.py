import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from agents import (
    PPO,
    PPOConfig,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from envkit import CheckpointError, GymEnv, SerialEnv, SpecError

SMALL = PPOConfig(steps_per_env=16, num_minibatches=2, epochs=2, hidden_sizes=(8,))


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "agent.safetensors"


@pytest.fixture
def saved(tools, file):
    """A trained agent and the file it was saved to."""
    agent = PPO(SerialEnv(2, tools.cart_pole), SMALL)
    agent.train(max_iters=2)
    agent.save(file)
    return agent


def rewrite(file, tensors=None, data=None, kind="PPO"):
    """Changes what is in a checkpoint of PPO; what becomes None is dropped."""
    old_tensors, old_data = load_checkpoint(file, "PPO")
    new = [
        {name: value for name, value in {**old, **(given or {})}.items() if value is not None}
        for old, given in ((old_tensors, tensors), (old_data, data))
    ]
    save_checkpoint(file, kind, *new)


# ------------------------------------------------------------------- any file


def test_round_trip_keeps_every_bit(file):
    tensors = {
        "float": torch.tensor([1.5, -0.0, torch.inf, torch.nan]),
        "double": torch.rand(2, 3, dtype=torch.float64),
        "number": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
    }
    data = {"text": "Grüße", "list": [1, 2.5, None], "nested": {"flag": True}}
    assert save_checkpoint(str(file), "demo", tensors, data) == file
    found, found_data = load_checkpoint(file, "demo")
    assert found_data == data
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_views_and_gradients_are_saved_as_plain_tensors(file):
    base = torch.arange(12.0).view(3, 4).requires_grad_()
    save_checkpoint(file, "demo", {"t": base.T, "row": base[1], "same": base[1]}, {})
    tensors, _ = load_checkpoint(file, "demo")
    assert torch.equal(tensors["t"], base.T.detach())
    assert torch.equal(tensors["row"], tensors["same"])
    assert not tensors["t"].requires_grad


def test_folders_are_made(tmp_path):
    file = save_checkpoint(tmp_path / "a" / "b" / "c.safetensors", "demo", {}, {})
    assert load_checkpoint(file, "demo") == ({}, {})


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_on_the_way_leaves_what_was_there(file, monkeypatch, call):
    save_checkpoint(file, "demo", {"x": torch.ones(2)}, {"version": 1})

    def crash(*args):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(file, "demo", {"x": torch.zeros(2)}, {"version": 2})
    tensors, data = load_checkpoint(file, "demo")
    assert torch.equal(tensors["x"], torch.ones(2))
    assert data == {"version": 1}
    save_checkpoint(file, "demo", {}, {"version": 3})
    assert load_checkpoint(file, "demo") == ({}, {"version": 3})
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_data_that_json_cannot_hold_is_refused_before_anything_is_written(file):
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(file, "demo", {}, {"net": nn.Linear(1, 1)})
    assert not list(file.parent.iterdir())


def test_no_file(file, tools):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*agent\.safetensors"):
        load_checkpoint(file, "demo")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(file.parent, "demo")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99, 0.9999])
def test_a_truncated_file(saved, file, tools, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"agent\.safetensors: damaged, or no checkpoint"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("content", [b"lr: 1e-3\n", b"\x00" * 100, b"\xff" * 100, b"{}", b"PK\x03\x04 no archive"])
def test_another_kind_of_file(file, tools, content):
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("write", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_a_pickle_is_refused_and_not_run(file, tools, write):
    trace = file.with_name("trace")
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # it works
    trace.unlink()
    write({"config": Bomb(trace)}, file)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        PPO.load(file, tools.cart_pole())
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        load_checkpoint(file, "PPO")
    assert not trace.exists()


def test_a_checkpoint_of_something_else(saved, file, tools):
    with pytest.raises(CheckpointError, match="expected a checkpoint of SAC, found one of PPO"):
        load_checkpoint(file, "SAC")
    rewrite(file, kind="SAC")
    with pytest.raises(CheckpointError, match="expected a checkpoint of PPO, found one of SAC"):
        PPO.load(file, tools.cart_pole())


def test_tensors_of_somebody_else(file, tools):
    safetensors.torch.save_file({"x": torch.ones(2)}, file)
    with pytest.raises(CheckpointError, match="expected a checkpoint of PPO, found one of something else"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": "2", "kind": "PPO", "data": "{}"}, "expected checkpoint format 1, found 2"),
        ({"kind": "PPO", "data": "{}"}, "expected checkpoint format 1, found None"),
        ({"format": "1", "kind": "PPO"}, "expected a mapping as its data, found NoneType"),
        ({"format": "1", "kind": "PPO", "data": "[1]"}, "expected a mapping as its data, found list"),
        ({"format": "1", "kind": "PPO", "data": "{"}, "damaged, or no checkpoint"),
    ],
)
def test_a_header_that_is_wrong(file, header, message):
    safetensors.torch.save_file({"x": torch.ones(2)}, file, header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(file, "PPO")


# ------------------------------------------------------------------ optimizers


def make_net():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    return net, torch.optim.Adam(net.parameters(), lr=0.1)


def train(net, optimizer, steps):
    for value in range(steps):
        optimizer.zero_grad()
        net(torch.full((4, 3), float(value))).sum().backward()
        optimizer.step()


def test_an_optimizer_goes_on_as_if_it_had_not_been_saved(file, tools):
    net, optimizer = make_net()
    train(net, optimizer, 3)
    save_checkpoint(file, "demo", optimizer_tensors(optimizer), {})
    other, restored = make_net()
    other.load_state_dict(net.state_dict())
    restore_optimizer(restored, load_checkpoint(file, "demo")[0])
    assert tools.same(optimizer_tensors(restored), optimizer_tensors(optimizer))
    train(net, optimizer, 3)
    train(other, restored, 3)
    assert tools.same(other.state_dict(), net.state_dict())


def test_an_optimizer_that_never_stepped():
    _, optimizer = make_net()
    assert optimizer_tensors(optimizer) == {}
    net, restored = make_net()
    train(net, restored, 1)
    restore_optimizer(restored, {})
    assert optimizer_tensors(restored) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.exp_avg": None}, r"expected \['exp_avg'\] of parameter 0, found only \['exp_avg_sq', 'step'\]"),
        ({"1.exp_avg": torch.zeros(3)}, r"expected '1\.exp_avg' of shape \[2\], found \[3\]"),
        ({"9.exp_avg": torch.zeros(2)}, r"expected state of 4 parameters, found '9\.exp_avg'"),
        ({"x.exp_avg": torch.zeros(2)}, r"expected state of 4 parameters, found 'x\.exp_avg'"),
    ],
)
def test_state_that_does_not_fit_an_optimizer(tools, change, message):
    net, optimizer = make_net()
    train(net, optimizer, 1)
    before = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    tensors = {name: value for name, value in {**before, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        restore_optimizer(optimizer, tensors)
    assert tools.same(optimizer_tensors(optimizer), before)


# ----------------------------------------------------------------------- agents


@pytest.mark.parametrize("name", ["cart_pole", "pendulum"])
def test_a_loaded_agent_is_the_agent_that_was_saved(tools, file, name):
    make = getattr(tools, name)
    agent = PPO(SerialEnv(2, make), SMALL)
    agent.train(max_steps=96)
    agent.save(file)
    following = torch.rand(3)
    loaded = PPO.load(file, SerialEnv(2, make))
    assert torch.equal(torch.rand(3), following)  # the random state came along
    assert tools.same(tools.weights(loaded), tools.weights(agent))
    assert tools.same(optimizer_tensors(loaded.optimizer), optimizer_tensors(agent.optimizer))
    assert loaded.config == agent.config
    assert (loaded.iterations, loaded.steps, loaded.episodes) == (3, 96, agent.episodes)
    observations = make().rollout(100, break_when_any_done=False)["observation"]
    for deterministic in (True, False):
        actions = []
        for one in (agent, loaded):
            torch.manual_seed(1)
            actions.append(one.select_action(observations, deterministic=deterministic))
        assert torch.equal(*actions)
    assert loaded.evaluate(make(), range(5)) == agent.evaluate(make(), range(5))


def test_loading_and_saving_again_gives_the_same_file(saved, file, tools):
    again = file.with_name("again.safetensors")
    loaded = PPO.load(file, SerialEnv(2, tools.cart_pole))
    loaded.save(again)
    assert load_checkpoint(again, "PPO")[1] == load_checkpoint(file, "PPO")[1]
    assert tools.same(load_checkpoint(again, "PPO")[0], load_checkpoint(file, "PPO")[0])


def test_a_loaded_agent_learns_on_as_the_saved_one_does(tools, file, stations):
    # Episodes as long as an iteration: both envs stand at a start when the agent is saved.
    agent = PPO(stations([(16, False)]), SMALL)
    agent.train(max_iters=2)
    agent.save(file)
    there = stations([(16, False)])
    there.episode = 1
    loaded = PPO.load(file, there)
    rest = tools.records(loaded, max_iters=5)
    torch.set_rng_state(load_checkpoint(file, "PPO")[0]["random_state"])
    expected = tools.records(agent, max_iters=5)
    assert tools.same(tools.weights(loaded), tools.weights(agent))
    ignored = {"return_mean", "episode_length_mean"}  # episodes before the checkpoint are not in it
    assert [{k: v for k, v in record.items() if k not in ignored} for record in rest] == [
        {k: v for k, v in record.items() if k not in ignored} for record in expected
    ]


def test_saving_does_not_disturb_training(tools, file):
    def run(**kwargs):
        agent = PPO(tools.cart_pole(), SMALL)
        if kwargs:
            agent.train(max_iters=4, callback=lambda metrics: agent.save(file))
        else:
            agent.train(max_iters=4)
        return tools.weights(agent)

    assert tools.same(run(save=True), run())


def test_an_agent_of_many_envs_loads_into_one(saved, file, tools):
    loaded = PPO.load(file, tools.cart_pole())
    assert loaded.evaluate(tools.cart_pole(), range(5)) == saved.evaluate(tools.cart_pole(), range(5))
    loaded.train(max_iters=3)
    assert loaded.steps == saved.steps + 16


def test_an_env_too_small_for_the_minibatches_is_enough_to_act_in(file, tools):
    agent = PPO(SerialEnv(8, tools.cart_pole), PPOConfig(steps_per_env=2, num_minibatches=4))
    agent.train(max_iters=2)
    agent.save(file)
    loaded = PPO.load(file, tools.cart_pole())
    assert loaded.evaluate(tools.cart_pole(), range(5)) == agent.evaluate(tools.cart_pole(), range(5))


def test_an_agent_that_never_learnt(file, tools):
    agent = PPO(tools.cart_pole(), SMALL)
    agent.save(file)
    assert tools.same(tools.weights(PPO.load(file, tools.cart_pole())), tools.weights(agent))


def test_a_loaded_agent_leaves_the_env_unseeded(saved, file, tools):
    env = tools.cart_pole()
    env.set_seed(3)
    expected = env.reset()["observation"]
    env.set_seed(3)
    PPO.load(file, env)
    assert torch.equal(env.reset()["observation"], expected)


def test_networks_of_ones_own(tools, file):
    def nets():
        return {"actor": nn.Linear(4, 2), "critic": nn.Linear(4, 1)}

    agent = PPO(tools.cart_pole(), SMALL, **nets())
    agent.train(max_iters=1)
    agent.save(file)
    assert tools.same(tools.weights(PPO.load(file, tools.cart_pole(), **nets())), tools.weights(agent))
    with pytest.raises(CheckpointError, match=r"does not fit the agent's networks(.|\n)*Missing key"):
        PPO.load(file, tools.cart_pole())


def test_an_env_with_other_observations(saved, file):
    with pytest.raises(CheckpointError, match=r"saved for .*\[4\] torch\.float32.*found an env with .*\[6\]"):
        PPO.load(file, GymEnv("Acrobot-v1"))


def test_an_env_with_other_actions(saved, file, tools):
    with pytest.raises(CheckpointError, match=r"saved for .*found an env with"):
        PPO.load(file, tools.pendulum())
    with pytest.raises(SpecError, match="expected one action"):
        PPO.load(file, GymEnv("CartPole-v1", categorical_action_encoding=False))


@pytest.mark.parametrize("name", ["actor.0.weight", "critic.2.bias", "optimizer.0.exp_avg", "random_state"])
def test_a_missing_tensor(saved, file, tools, name):
    rewrite(file, {name: None})
    with pytest.raises(CheckpointError, match=rf"(?s)does not fit the agent's networks.*{name.rpartition('.')[2]}"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("name", ["actor.0.weight", "critic.2.bias", "optimizer.0.exp_avg", "random_state"])
def test_a_tensor_of_the_wrong_shape(saved, file, tools, name):
    old = load_checkpoint(file, "PPO")[0][name]
    rewrite(file, {name: torch.zeros(7, dtype=old.dtype)})
    with pytest.raises(CheckpointError, match="does not fit the agent's networks"):
        PPO.load(file, tools.cart_pole())


def test_no_optimizer(saved, file, tools):
    names = load_checkpoint(file, "PPO")[0]
    rewrite(file, {name: None for name in names if name.startswith("optimizer.")})
    with pytest.raises(CheckpointError, match=r"optimizer: expected \['exp_avg', .*found no \['exp_avg'"):
        PPO.load(file, tools.cart_pole())


def test_a_tensor_too_many(saved, file, tools):
    rewrite(file, {"actor.9.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"(?s)does not fit.*9\.weight"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize(
    "data",
    [
        {"config": None},
        {"counts": None},
        {"spaces": None},
        {"config": {"steps_per_env": 0}},
        {"config": {"learning_rate": 1.0}},
        {"config": [1, 2]},
        {"counts": {"steps": 3}},
        {"counts": {"steps": None, "iterations": 1, "episodes": 1}},
        {"counts": 5},
    ],
    ids=json.dumps,
)
def test_data_that_does_not_describe_an_agent(saved, file, tools, data):
    rewrite(file, data=data)
    with pytest.raises(CheckpointError, match="expected config, counts and spaces of a PPO agent"):
        PPO.load(file, tools.cart_pole())
