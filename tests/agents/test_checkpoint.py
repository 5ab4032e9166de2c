import os
import pickle
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from agents import PPO, PPOConfig, load_checkpoint, save_checkpoint
from agents.state_tree import split_state
from envkit import ActionScaling, CheckpointError, GymEnv, GymWrapper, SerialEnv, SpecError, TransformedEnv

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


def rewrite(file, change=None, kind="PPO"):
    """Changes what is in a checkpoint of PPO: ``change`` edits the state."""
    state = load_checkpoint(file, "PPO")
    if change is not None:
        change(state)
    save_checkpoint(file, kind, state)


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
    data = {"text": "Grüße", "list": [1, 2.5, None], "nested": {"flag": True}, 3: (1, (2,)), "big": 2**100}
    assert save_checkpoint(str(file), "demo", {"tensors": tensors, "data": data}) == file
    found = load_checkpoint(file, "demo")
    assert found["data"] == data
    assert found["tensors"].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found["tensors"][name].dtype == tensor.dtype
        assert found["tensors"][name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_arrays_come_back_as_arrays(file):
    save_checkpoint(file, "demo", {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "n": np.float64(0.1)})
    found = load_checkpoint(file, "demo")
    assert found["a"].dtype == np.int16
    assert (found["a"] == [[0, 1, 2], [3, 4, 5]]).all()
    assert found["n"] == 0.1


def test_views_and_gradients_are_saved_as_plain_tensors(file):
    base = torch.arange(12.0).view(3, 4).requires_grad_()
    save_checkpoint(file, "demo", {"t": base.T, "row": base[1], "same": base[1]})
    state = load_checkpoint(file, "demo")
    assert torch.equal(state["t"], base.T.detach())
    assert torch.equal(state["row"], state["same"])
    assert not state["t"].requires_grad


def test_folders_are_made(tmp_path):
    file = save_checkpoint(tmp_path / "a" / "b" / "c.safetensors", "demo", {})
    assert load_checkpoint(file, "demo") == {}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_on_the_way_leaves_what_was_there(file, monkeypatch, call):
    save_checkpoint(file, "demo", {"x": torch.ones(2), "version": 1})

    def crash(*args):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(file, "demo", {"x": torch.zeros(2), "version": 2})
    state = load_checkpoint(file, "demo")
    assert torch.equal(state["x"], torch.ones(2))
    assert state["version"] == 1
    save_checkpoint(file, "demo", {"version": 3})
    assert load_checkpoint(file, "demo") == {"version": 3}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_full_disk_is_noticed_beforehand(file, monkeypatch):
    save_checkpoint(file, "demo", {"version": 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"no space left for a checkpoint of 4,0\d\d bytes"):
        save_checkpoint(file, "demo", {"x": torch.zeros(1000)})
    assert load_checkpoint(file, "demo") == {"version": 1}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_is_no_plain_data_is_refused_before_anything_is_written(file):
    with pytest.raises(TypeError, match=r"expected tensors, arrays and plain values, found Linear at 'parts\.net'"):
        save_checkpoint(file, "demo", {"parts": {"net": nn.Linear(1, 1)}})
    assert not list(file.parent.iterdir())


@pytest.mark.parametrize("place", ["header", "tensors", "end"])
def test_one_wrong_bit_is_noticed(file, place):
    save_checkpoint(file, "demo", {"x": torch.zeros(1000), "words": "some words"})
    content = bytearray(file.read_bytes())
    content[{"header": content.index(b"some words"), "tensors": -2000, "end": -1}[place]] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged: its content does not have the digest"):
        load_checkpoint(file, "demo")


def test_the_previous_file_stands_in_for_a_damaged_one(file):
    for version in (1, 2, 3):
        save_checkpoint(file, "demo", {"version": version}, keep_previous=True)
    assert load_checkpoint(file, "demo") == {"version": 3}
    file.write_bytes(file.read_bytes()[:50])
    with pytest.warns(UserWarning, match=r"damaged.*going back to .*agent\.safetensors\.previous"):
        assert load_checkpoint(file, "demo") == {"version": 2}
    file.unlink()  # as after a kill between the two renames
    with pytest.warns(UserWarning, match="going back"):
        assert load_checkpoint(file, "demo") == {"version": 2}


def test_a_kill_amid_saving_leaves_a_whole_file(file):
    script = """
import sys, torch
from agents import save_checkpoint
for version in range(10_000):
    save_checkpoint(sys.argv[1], "demo", {"x": torch.full((500_000,), float(version)), "version": version})
    print(version, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE)
    for _ in range(3):
        last = int(child.stdout.readline())
    child.kill()
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    last = int(rest[-1]) if rest else last
    state = load_checkpoint(file, "demo")
    assert state["version"] in (last, last + 1)
    assert (state["x"] == state["version"]).all()


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
        ({"format": "1", "kind": "PPO", "data": "{}"}, "expected checkpoint format 2, found 1"),
        ({"kind": "PPO", "data": "{}"}, "expected checkpoint format 2, found None"),
        ({"format": "2", "kind": "PPO"}, "does not have the digest"),
        ({"format": "2", "kind": "PPO", "data": "[1]"}, "does not have the digest"),
        ({"format": "2", "kind": "PPO", "data": "{"}, "damaged, or no checkpoint"),
    ],
)
def test_a_header_that_is_wrong(file, header, message):
    safetensors.torch.save_file({"x": torch.ones(2)}, file, header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(file, "PPO")


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
    assert tools.same(*(split_state(one.optimizer.state_dict())[1] for one in (loaded, agent)))
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


def test_loading_and_saving_again_saves_the_same(saved, file, tools):
    again = file.with_name("again.safetensors")
    PPO.load(file, SerialEnv(2, tools.cart_pole)).save(again)
    one, other = (split_state(load_checkpoint(path, "PPO")) for path in (file, again))
    assert one[0] == other[0]
    assert tools.same(one[1], other[1])


@pytest.mark.parametrize("name", ["cart_pole", "pendulum"])
def test_an_agent_that_resumes_goes_on_as_if_nothing_had_happened(tools, file, name):
    def make():
        return PPO(SerialEnv(2, getattr(tools, name)), SMALL, seed=3)

    whole = make()
    expected = tools.records(whole, max_iters=12)
    agent = make()
    with pytest.raises(InterruptedError):
        agent.train(max_iters=12, callback=tools.interrupt_at(5))
    agent.save(file)
    torch.rand(7)
    loaded = PPO.load(file, SerialEnv(2, getattr(tools, name)))
    assert tools.records(loaded, max_iters=12) == expected[5:]
    assert tools.same(tools.weights(loaded), tools.weights(whole))


def test_an_env_that_cannot_be_saved_begins_new_episodes_the_same_ones_every_time(tools, file):
    class Odd(gymnasium.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.bell = threading.Lock()

    def env():
        return GymWrapper(Odd(gymnasium.make("CartPole-v1")))

    agent = PPO(env(), SMALL)
    agent.train(max_iters=3)
    with pytest.warns(UserWarning, match="a resumed collector will begin new episodes"):
        agent.save(file)
    runs = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="the collector begins new episodes"):
            loaded = PPO.load(file, env())
        runs.append(tools.records(loaded, max_iters=6))
    assert runs[0] == runs[1]


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


def drop(*path):
    def change(state):
        for name in path[:-1]:
            state = state[name]
        del state[path[-1]]

    return change


def put(value, *path):
    def change(state):
        for name in path[:-1]:
            state = state[name]
        state[path[-1]] = value

    return change


TENSORS = [("actor", "0.weight"), ("critic", "2.bias"), ("optimizer", "exp_avg")]


@pytest.mark.parametrize("path", TENSORS)
def test_a_missing_tensor(saved, file, tools, path):
    rewrite(file, drop("parts", *path))
    with pytest.raises(CheckpointError, match=rf"(?s)does not fit the agent's networks.*{path[-1]}"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("path", TENSORS)
def test_a_tensor_of_the_wrong_shape(saved, file, tools, path):
    rewrite(file, put(torch.zeros(7), "parts", *path))
    with pytest.raises(CheckpointError, match="does not fit the agent's networks"):
        PPO.load(file, tools.cart_pole())


def test_a_tensor_too_many(saved, file, tools):
    rewrite(file, put(torch.zeros(2), "parts", "actor", "9.weight"))
    with pytest.raises(CheckpointError, match=r"(?s)does not fit.*9\.weight"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize(
    "change",
    [
        drop("config"),
        drop("counts"),
        drop("spaces"),
        drop("collector"),
        put(0, "config", "steps_per_env"),
        put(1.0, "config", "learning_rate"),
        put([1, 2], "config"),
    ],
)
def test_data_that_does_not_describe_an_agent(saved, file, tools, change):
    rewrite(file, change)
    with pytest.raises(CheckpointError, match="expected config, counts and spaces of a PPO agent"):
        PPO.load(file, tools.cart_pole())


@pytest.mark.parametrize("change", [put(5, "counts"), drop("counts", "steps"), put({}, "parts")])
def test_counts_and_parts_that_make_no_sense(saved, file, tools, change):
    rewrite(file, change)
    with pytest.raises(CheckpointError, match="does not fit the agent's networks"):
        PPO.load(file, tools.cart_pole())


def test_other_action_bounds(file, tools):
    PPO(tools.pendulum(), SMALL).save(file)
    with pytest.raises(
        CheckpointError, match=r"saved for .*from \[-2.0\] to \[2.0\].*found .*from \[-1.0\] to \[1.0\]"
    ):
        PPO.load(file, TransformedEnv(tools.pendulum(), ActionScaling()))
