from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from envkit import (
    Categorical,
    ClosedEnvError,
    Collector,
    Composite,
    EnvBase,
    GymEnv,
    MissingDependencyError,
    SerialEnv,
    SpecError,
    Unbounded,
    UnknownEnvError,
    WorkerError,
    seed_generator,
    spawn_seed,
)
from envkit.collectors.ray import RayCollector

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'envkit[ray]'")

# Together in one process, where there are several: each would start instances and actors of its own.
pytestmark = pytest.mark.xdist_group("ray")

SEED = 2


class Obedient(EnvBase):
    """Counts steps and draws a number, and does what is written in a file: ``wait``, ``raise`` or ``exit``."""

    def __init__(self, orders: str, width: int = 2) -> None:
        super().__init__()
        self.orders = orders
        self.observation_spec = Composite(observation=Unbounded((width,)))
        self.action_spec = Categorical(2)
        self.width, self.count, self.random = width, 0, np.random.default_rng()

    def _set_seed(self, seed: int | None) -> None:
        self.random = np.random.default_rng(seed)

    def _observe(self) -> torch.Tensor:
        return torch.tensor([float(self.count), self.random.random()], dtype=torch.float32).expand(self.width)

    def _reset(self, tensordict: TensorDict | None = None) -> TensorDict:
        self.count = 0
        return TensorDict({"observation": self._observe()})

    def _step(self, tensordict: TensorDict) -> TensorDict:
        while self._order() == "wait":
            time.sleep(0.01)
        order = self._order()
        if order:
            os.remove(self.orders)
        if order == "raise":
            raise ValueError("it was told to raise")
        if order == "exit":
            os._exit(3)
        self.count += 1
        done = torch.tensor([self.count == 7])
        return TensorDict({"observation": self._observe(), "reward": torch.ones(1), "terminated": done})

    def _order(self) -> str:
        if not os.path.exists(self.orders):
            return ""
        with open(self.orders) as file:
            return file.read()


class Sampler(nn.Module):
    """Samples one of two actions from what a layer makes of the observation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, 2)
        with torch.no_grad():
            for i, values in enumerate(self.layer.parameters()):
                values.copy_(torch.linspace(-0.5, 0.5 + i, values.numel()).reshape(values.shape))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        logits = self.layer(observation)
        return (torch.rand(logits.shape[:-1]) < logits.softmax(-1)[..., 1]).long()

    def always(self, action: int) -> Sampler:
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.bias.copy_(torch.tensor([100.0, -100.0]) * (1 - 2 * action))
        return self


def cartpole():
    return GymEnv("CartPole-v1")


@pytest.fixture(scope="module", autouse=True)
def instance():
    """A local Ray instance. Actors have no way to import this file."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


@pytest.fixture(scope="module")
def shared_pair(instance):
    with RayCollector(cartpole, Sampler(4), num_collectors=2, frames_per_batch=80) as collector:
        yield collector


@pytest.fixture
def pair(shared_pair):
    """Two collectors of a sampled policy in single envs, at the beginning of new episodes."""
    shared_pair.policy.load_state_dict(Sampler(4).state_dict())
    shared_pair.update_policy_weights_()
    shared_pair.restart()
    shared_pair.set_seed(SEED)
    return shared_pair


def local_batches(functions, policy, frames, count, seed=SEED):
    """For each collector, what it collects by itself, seeded along the chain; and what the last seed is."""
    found, following = [], seed
    for function in functions:
        collector = Collector(function, policy, frames_per_batch=frames)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spawn_seed(following, "policy"))
            following = collector.set_seed(following)
            found.append([collector.next() for _ in range(count)])
    return found, following


class TestSync:
    def test_the_data_is_that_of_local_collectors(self, pair, tools):
        expected, following = local_batches([cartpole] * 2, Sampler(4), 40, 3)
        assert pair.set_seed(SEED) == following
        for step in range(3):
            found = pair.next()
            assert found.names == [None, "time"]
            parts = [batches[step] for batches in expected]
            tools.assert_same(found.exclude("collector"), torch.stack(parts).exclude("collector"))

    def test_numbers_of_trajectories(self, pair):
        (first, second), _ = local_batches([cartpole] * 2, Sampler(4), 40, 2)
        numbers = torch.cat([pair.next()["collector", "traj_ids"] for _ in range(2)], -1)
        for index, batches in enumerate((first, second)):
            own = torch.cat([batch["collector", "traj_ids"] for batch in batches])
            assert torch.equal((numbers[index] - numbers[index, 0]) // 2, own)
            assert (numbers[index] % 2 == index).all()

    def test_weights_reach_all_collectors(self, pair):
        version = pair.policy_version
        pair.policy.always(1)
        assert 0 < pair.next()["action"].sum() < 80
        for given, action in (
            (None, 1),
            (Sampler(4).always(0).state_dict(), 0),
            (TensorDict.from_module(Sampler(4).always(1)), 1),
        ):
            pair.update_policy_weights_(given)
            version += 1
            batch = pair.next()
            assert (batch["action"] == action).all()
            assert batch["collector", "policy_version"].dtype == torch.int64
            assert (batch["collector", "policy_version"] == version).all()
            assert pair.policy_version == version

    def test_weights_of_another_policy(self, pair):
        version = pair.policy_version
        with pytest.raises(RuntimeError, match=r"size mismatch for layer.weight"):
            pair.update_policy_weights_(Sampler(3).state_dict())
        with pytest.raises(TypeError, match="expected a state_dict or a TensorDict, found int"):
            pair.update_policy_weights_(3)
        assert pair.policy_version == version

    def test_a_resumed_one_goes_on_with_the_same_bytes(self, pair, tools):
        pair.next()
        state = pair.state_dict()
        expected = [pair.next() for _ in range(2)]
        pair.policy.always(1)
        pair.update_policy_weights_()
        pair.next()
        pair.policy.load_state_dict(Sampler(4).state_dict())
        pair.load_state_dict(state)
        assert pair.frames == state["frames"]
        for batch in expected:
            tools.assert_same(pair.next(), batch)

    def test_states_that_do_not_fit(self, pair):
        state = pair.state_dict(env=False)
        with pytest.raises(ValueError, match="expected that of 2 collectors, found 1"):
            pair.load_state_dict({**state, "collectors": state["collectors"][:1]})
        with pytest.raises(KeyError, match=r"expected \['collectors'\] in it, found \['frames'"):
            pair.load_state_dict({name: value for name, value in state.items() if name != "collectors"})

    def test_batches_are_the_callers_own(self, pair, tools):
        first = pair.next()
        copy = first.clone()
        second = pair.next()
        second["observation"].zero_()
        tools.assert_same(first, copy)

    def test_an_env_of_its_own_for_everyone(self, pair):
        batch = pair.next()
        assert not torch.equal(batch["observation"][0], batch["observation"][1])


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """Files through which envs are told what to do."""
    folder = tmp_path_factory.mktemp("orders")
    return [folder / f"{index}.txt" for index in range(4)]


@pytest.fixture(scope="module")
def shared_two(instance, orders):
    functions = [lambda file=str(file): SerialEnv(2, lambda: Obedient(file)) for file in orders[:2]]
    factory = lambda: Sampler(2).always(1)
    with RayCollector(functions, policy_factory=factory, frames_per_batch=20, sync=False) as collector:
        yield collector


class TestAsync:
    @pytest.fixture
    def collector(self, shared_two):
        """Two collectors of batches of envs, at the beginning of new episodes."""
        shared_two.restart()
        shared_two.set_seed(SEED)
        return shared_two

    def test_the_data_is_that_of_local_collectors(self, collector, orders, tools):
        functions = [lambda: SerialEnv(2, lambda: Obedient(str(orders[0])))] * 2
        expected, _ = local_batches(functions, Sampler(2).always(1), 20, 6)
        seen = [0, 0]
        for _ in range(6):
            batch = collector.next()
            assert batch.batch_size == (2, 10)
            (index,) = (batch["collector", "traj_ids"] % 2).unique().tolist()
            tools.assert_same(batch.exclude("collector"), expected[index][seen[index]].exclude("collector"))
            seen[index] += 1

    def test_a_slow_one_holds_up_nobody(self, collector, orders):
        orders[1].write_text("wait")
        assert not any(collector.next()["collector", "traj_ids"].remainder(2).any() for _ in range(4))
        orders[1].unlink()
        while not collector.next()["collector", "traj_ids"].remainder(2).all():
            pass

    def test_batches_under_way_have_stale_weights(self, collector):
        with pytest.raises(TypeError, match=r"no nn\.Module is here to have weights; found NoneType"):
            collector.update_policy_weights_()
        collector.next()
        version = collector.policy_version
        collector.update_policy_weights_(Sampler(2).always(0).state_dict())
        versions = {0: [], 1: []}
        while min(map(len, versions.values())) < 3:
            batch = collector.next()
            (index,) = (batch["collector", "traj_ids"] % 2).unique().tolist()
            versions[index] += batch["collector", "policy_version"].unique().tolist()
            assert (batch["action"] == int(versions[index][-1] == version)).all()
        for found in versions.values():
            assert found == [version] + [version + 1] * (len(found) - 1)
        collector.update_policy_weights_(Sampler(2).always(1).state_dict())


def assert_begins_anew(batch, before, index):
    """Collector ``index`` alone has begun new episodes."""
    numbers, known = batch["collector", "traj_ids"], before["collector", "traj_ids"]
    assert torch.equal(batch["observation"][1 - index, 0], before["next", "observation"][1 - index, -1])
    assert numbers[1 - index, 0] == known[1 - index, -1]
    assert batch["observation"][index, 0, 0] == 0
    assert not torch.isin(numbers[index], known).any()
    for number in numbers.unique():
        counts = batch["observation"][numbers == number][:, 0]
        assert torch.equal(counts, torch.arange(len(counts)) + counts[0])


class TestFailures:
    @pytest.fixture
    def collector(self, orders):
        functions = [lambda file=str(file): Obedient(file) for file in orders[2:]]
        names = [{"name": "first"}, {"name": "second"}]
        with RayCollector(
            functions, Sampler(2), frames_per_batch=20, max_restarts=2, remote_configs=names, timeout=100
        ) as collector:
            collector.set_seed(SEED)
            yield collector

    def test_one_after_the_other(self, collector, orders, tools):
        """A process takes seconds to start, so that one pair of collectors goes through all of it."""
        order = orders[3].write_text

        # An env raises.
        before = collector.next()
        order("raise")
        with pytest.raises(WorkerError, match="collector 1 raised ValueError: it was told to raise") as caught:
            collector.next()
        assert (caught.value.worker, caught.value.phase, caught.value.remote_type) == (1, "collect", "ValueError")
        assert "in _step" in caught.value.remote_traceback
        assert isinstance(caught.value.__cause__, ValueError)
        assert_begins_anew(collector.next(), before, 1)
        assert collector.restarts == 0

        # An actor is killed between two batches; the next one has the newest weights.
        collector.policy.always(1)
        collector.update_policy_weights_()
        before = collector.next()
        ray.kill(ray.get_actor("second"), no_restart=False)
        with pytest.warns(RuntimeWarning, match="collector 1 was restarted, and begins new trajectories"):
            batch = collector.next()
        assert_begins_anew(batch, before, 1)
        assert collector.restarts == 1
        assert (batch["action"] == 1).all()
        assert (batch["collector", "policy_version"] == 1).all()

        # Its process ends while an env steps; the next one has a seed of its own.
        before = collector.next()
        order("exit")
        with pytest.warns(RuntimeWarning, match=r"Restarts: 2, at most 2\. Why: The actor"):
            batch = collector.next()
        assert_begins_anew(batch, before, 1)
        assert collector.restarts == 2
        env = Obedient(str(orders[3]))
        env.set_seed(seed_generator(spawn_seed(seed_generator(SEED), "restart", 3)))
        expected = env.rollout(10, Sampler(2).always(1), break_when_any_done=False)
        tools.assert_same(batch[1].exclude("collector"), expected)

        # And again, with no restarts left.
        order("exit")
        message = r"collector 1 died, and Ray does not restart it any more \(max_restarts=2, restarted 2 times\)"
        for _ in range(2):
            with pytest.raises(WorkerError, match=message) as caught:
                collector.next()
            assert "worker process has died" in str(caught.value)
            assert caught.value.worker == 1

        # Nothing of it keeps the collector from being shut down, or takes Ray with it.
        collector.shutdown()
        collector.shutdown()
        assert collector.restarts == 2
        assert ray.is_initialized()
        with pytest.raises(ValueError, match="Failed to look up actor"):
            ray.get_actor("first")
        for method in (collector.next, collector.restart, collector.update_policy_weights_, collector.state_dict):
            with pytest.raises(ClosedEnvError, match="the collector was shut down"):
                method()


class TestConstruction:
    def test_an_env_that_cannot_be_made(self):
        with pytest.raises(
            WorkerError, match="collector 0 raised UnknownEnvError: unknown env id 'NoSuchEnv-v0'"
        ) as caught:
            RayCollector(lambda: GymEnv("NoSuchEnv-v0"), frames_per_batch=4)
        assert caught.value.phase == "build"
        assert isinstance(caught.value.__cause__, UnknownEnvError)
        assert ray.is_initialized()

    def test_envs_of_unequal_specs(self):
        functions = [lambda: Obedient("", 2), lambda: Obedient("", 3)]
        with pytest.raises(
            SpecError, match="RayCollector: expected envs of equal specs, but observation_spec of env 1 differs from"
        ):
            RayCollector(functions, frames_per_batch=4)

    def test_resources_that_are_not_there(self):
        with pytest.raises(WorkerError, match=r"collectors \[0\] did not answer within 0.2 s.*'CPU': 2.0"):
            RayCollector(cartpole, frames_per_batch=4, remote_configs={"num_cpus": 100}, timeout=0.2)

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (
                {"create_env_fn": None},
                TypeError,
                "create_env_fn: expected a function .* found NoneType",
            ),
            ({"create_env_fn": []}, ValueError, "num_collectors: .*, found None for 0 functions"),
            ({"num_collectors": 0}, ValueError, "num_collectors: expected a positive number .* found 0"),
            ({"create_env_fn": [cartpole], "num_collectors": 2}, ValueError, "found 2 for 1 functions"),
            ({"num_collectors": 3}, ValueError, "frames_per_batch: expected a multiple of the 3 collectors, found 4"),
            ({"frames_per_batch": 0}, ValueError, "frames_per_batch: expected at least 1, found 0"),
            ({"frames": 3}, TypeError, "unexpected keyword argument 'frames'"),
            ({"remote_configs": [{}, {}]}, ValueError, "remote_configs: expected one dict for all or 1, found 2"),
            ({"remote_configs": {"max_restarts": 1}}, ValueError, "remote_configs: expected no max_restarts"),
            ({"ray_init_config": {}}, ValueError, "ray_init_config: expected None, for a Ray instance is running"),
            ({"update_after_each_batch": True}, TypeError, "expected an nn.Module as policy, found NoneType"),
            ({"policy": Sampler(4), "policy_factory": cartpole}, TypeError, "expected at most one of them"),
            ({"policy": nn.LazyLinear(2)}, ValueError, r"found \['weight', 'bias'\] to be lazy"),
        ],
    )
    def test_arguments_that_do_not_fit(self, given, error, message):
        with pytest.raises(error, match=message):
            RayCollector(**{"create_env_fn": cartpole, "frames_per_batch": 4, **given})

    def test_an_env_in_place_of_a_function(self):
        with pytest.raises(TypeError, match="create_env_fn: expected a function that makes an env, found GymEnv"):
            RayCollector([cartpole, cartpole()], frames_per_batch=4)

    def test_without_ray(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingDependencyError, match=r"RayCollector needs Ray: pip install 'envkit\[ray\]'"):
            RayCollector(cartpole, frames_per_batch=4)
