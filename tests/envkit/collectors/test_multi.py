"""Collectors over several processes: data as if collected here, weights with versions, resume, faults."""

import multiprocessing
import os

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from envkit import (
    ClosedEnvError,
    Collector,
    EnvCreator,
    GymEnv,
    MultiAsyncCollector,
    MultiSyncCollector,
    SerialEnv,
    SpecError,
    WorkerError,
    seed_generator,
    spawn_seed,
)

FORK = {"mp_start_method": "fork"}


def cartpole():
    return GymEnv("CartPole-v1")


def three_pendulums():
    return SerialEnv(3, EnvCreator(lambda: GymEnv("Pendulum-v1")))


def linear_actor():
    torch.manual_seed(0)
    return TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])


def local_batches(make, policy, workers, count, **options):
    """What the workers would collect, one after the other in this process; ``[count][worker]``."""
    collectors, seed = [], 0
    for _ in range(workers):
        collectors.append(Collector(make(), policy, **options))
        seed = collectors[-1].set_seed(seed)
    return [[collector.next() for collector in collectors] for _ in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sync_batch_is_the_shares_of_all_workers(workers):
    policy = linear_actor()
    options = {"max_frames_per_traj": 7}
    expected = local_batches(three_pendulums, policy, workers, 3, frames_per_batch=30, **options)
    frames = 30 * workers
    with MultiSyncCollector(
        three_pendulums, policy, num_workers=workers, frames_per_batch=frames, **options, **FORK
    ) as collector:
        collector.set_seed(0)
        for parts in expected:
            batch = collector.next()
            assert batch.batch_size == (3 * workers, 10)
            assert batch.names == [None, "time"]
            assert (batch.exclude("collector") == torch.cat([part.exclude("collector") for part in parts])).all()


def test_single_envs_become_the_rows_of_a_batch():
    expected = local_batches(cartpole, None, 2, 2, frames_per_batch=20)
    with MultiSyncCollector(cartpole, num_workers=2, frames_per_batch=40, **FORK) as collector:
        collector.set_seed(0)
        for parts in expected:
            batch = collector.next()
            assert (batch.exclude("collector") == torch.stack([part.exclude("collector") for part in parts])).all()


def test_set_seed_returns_what_the_last_env_returned():
    with MultiSyncCollector(cartpole, num_workers=2, frames_per_batch=4, **FORK) as collector:
        assert collector.set_seed(5) == seed_generator(seed_generator(5))


def test_trajectories_have_numbers_of_their_own_across_workers():
    with MultiSyncCollector(cartpole, num_workers=2, frames_per_batch=200, **FORK) as collector:
        collector.set_seed(0)
        numbers = torch.cat([collector.next()["collector", "traj_ids"] for _ in range(2)], 1)
    assert set(numbers[0].tolist()) & set(numbers[1].tolist()) == set()
    assert (numbers % 2 == torch.tensor([[0], [1]])).all()


@pytest.mark.parametrize("kind", [MultiSyncCollector, MultiAsyncCollector])
def test_earlier_batches_stay_as_they_were(kind):
    with kind(three_pendulums, num_workers=2, frames_per_batch=12, **FORK) as collector:
        kept = [collector.next() for _ in range(8)]
        views = [batch["observation"][0] for batch in kept[:4]]
        copies = [batch.clone() for batch in kept]
        seen = [view.clone() for view in views]
        del kept[:4]
        for _ in range(8):
            collector.next()
        assert all((batch == copy).all() for batch, copy in zip(kept, copies[4:], strict=True))
        assert all(torch.equal(view, copy) for view, copy in zip(views, seen, strict=True))


def test_new_weights_are_used_from_the_next_batch_on_and_their_version_is_in_the_data():
    policy = linear_actor()
    with MultiSyncCollector(three_pendulums, policy, num_workers=2, frames_per_batch=12, **FORK) as collector:
        collector.set_seed(0)
        before = collector.next()
        with torch.no_grad():
            policy.module.weight.zero_()
            policy.module.bias.fill_(0.5)
        collector.update_policy_weights_()
        after = collector.next()
        assert collector.policy_version == 1
    assert (before["collector", "policy_version"] == 0).all()
    assert (after["collector", "policy_version"] == 1).all()
    assert (after["action"] == 0.5).all()
    assert not (before["action"] == 0.5).any()


def test_weights_may_be_given_as_a_state_dict():
    policy = linear_actor()
    state = {name: torch.zeros_like(value) for name, value in policy.state_dict().items()}
    with MultiSyncCollector(three_pendulums, policy, num_workers=1, frames_per_batch=6, **FORK) as collector:
        collector.next()
        collector.update_policy_weights_(state)
        assert (collector.next()["action"] == 0).all()
        with pytest.raises(RuntimeError, match="policy_weights: expected"):
            collector.update_policy_weights_({"module.weight": torch.zeros(4, 4)})


def test_async_workers_go_on_with_the_weights_they_began_with():
    policy = linear_actor()
    with MultiAsyncCollector(three_pendulums, policy, num_workers=2, frames_per_batch=12, **FORK) as collector:
        collector.next()
        collector.update_policy_weights_()
        # Both workers were at a batch when the weights came; what they begin afterwards has the new ones.
        versions = [collector.next()["collector", "policy_version"] for _ in range(6)]
    assert all((version == version.flatten()[0]).all() for version in versions)
    assert (versions[-1] == 1).all()


def test_async_batches_are_those_of_the_workers_each_in_order():
    policy = linear_actor()
    expected = local_batches(three_pendulums, policy, 2, 4, frames_per_batch=12)
    with MultiAsyncCollector(three_pendulums, policy, num_workers=2, frames_per_batch=12, **FORK) as collector:
        collector.set_seed(0)
        batches = [collector.next() for _ in range(4)]
    counts = [0, 0]
    for batch in batches:
        worker = int(batch["collector", "traj_ids"][0, 0]) % 2
        assert (batch.exclude("collector") == expected[counts[worker]][worker].exclude("collector")).all()
        counts[worker] += 1
    assert sum(counts) == 4


def test_iteration_ends_with_the_total():
    with MultiSyncCollector(cartpole, num_workers=2, frames_per_batch=20, total_frames=60, **FORK) as collector:
        assert len(collector) == 3
        assert [batch.numel() for batch in collector] == [20, 20, 20]
        assert collector.frames == 60


def test_entries_that_come_and_go_are_all_there():
    policy = linear_actor()

    def make_policy():
        class Noted(nn.Module):
            def forward(self, td):
                policy(td)
                return td.set("note", torch.ones(3, 2))

        return Noted()

    with MultiSyncCollector(
        three_pendulums, policy_factory=make_policy, num_workers=2, frames_per_batch=12, init_random_frames=24, **FORK
    ) as collector:
        noted = ["note" in collector.next().keys() for _ in range(5)]
    assert noted == [False, False, True, True, True]


@pytest.mark.parametrize("kind", [MultiSyncCollector, MultiAsyncCollector])
def test_a_replay_buffer_is_handed_the_batches(kind):
    class Buffer:
        def __init__(self):
            self.sizes = []

        def extend(self, batch):
            self.sizes.append(batch.batch_size)

    buffer = Buffer()
    with kind(three_pendulums, num_workers=2, frames_per_batch=12, replay_buffer=buffer, **FORK) as collector:
        assert [collector.next(), collector.next()] == [None, None]
    assert len(buffer.sizes) == 2


def test_interrupted_and_resumed_equals_uninterrupted():
    policy = linear_actor()
    options = {"num_workers": 2, "frames_per_batch": 24, "max_frames_per_traj": 5, **FORK}
    with MultiSyncCollector(three_pendulums, policy, **options) as collector:
        collector.set_seed(0)
        for _ in range(2):
            collector.next()
        state = collector.state_dict()
        expected = [collector.next().clone() for _ in range(3)]
    with MultiSyncCollector(three_pendulums, policy, **options) as collector:
        collector.load_state_dict(state)
        assert collector.frames == 48
        for batch in expected:
            assert (collector.next() == batch).all()


def test_a_resumed_collector_has_the_policys_weights_and_goes_on_counting_versions():
    policy = linear_actor()
    with MultiSyncCollector(three_pendulums, policy, num_workers=2, frames_per_batch=12, **FORK) as collector:
        collector.set_seed(0)
        for _ in range(3):
            collector.next()
            with torch.no_grad():
                policy.module.weight.mul_(0.5)
            collector.update_policy_weights_()
        state, weights = collector.state_dict(), policy.state_dict()
        expected = collector.next().clone()
    other = linear_actor()
    with MultiSyncCollector(three_pendulums, other, num_workers=2, frames_per_batch=12, **FORK) as collector:
        other.load_state_dict(weights)
        collector.load_state_dict(state)
        assert collector.policy_version == 3
        assert (collector.next() == expected).all()


def test_weights_may_be_given_as_a_tensordict_with_buffers_that_are_no_state():
    policy = linear_actor()
    policy.module.register_buffer("scratch", torch.zeros(2), persistent=False)
    with MultiSyncCollector(three_pendulums, policy, num_workers=1, frames_per_batch=6, **FORK) as collector:
        weights = TensorDict.from_module(policy).detach().clone()
        weights["module", "bias"].fill_(2.0)
        weights["module", "weight"].zero_()
        collector.update_policy_weights_(weights)
        assert (collector.next()["action"] == 2.0).all()


def test_weights_that_are_no_tensors_are_refused_and_nobody_is_left():
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"odd": 1}

        def set_extra_state(self, state):
            pass

    policy = TensorDictModule(Odd(3, 1), in_keys=["observation"], out_keys=["action"])
    before = set(multiprocessing.active_children())
    with pytest.raises(TypeError, match="expected tensors"):
        MultiSyncCollector(three_pendulums, policy, num_workers=1, frames_per_batch=6, **FORK)
    assert set(multiprocessing.active_children()) <= before


def test_a_state_of_other_workers_is_refused():
    with MultiSyncCollector(cartpole, num_workers=2, frames_per_batch=4, **FORK) as collector:
        state = collector.state_dict(env=False)
        with pytest.raises(ValueError, match="expected 2 workers, found 1"):
            collector.load_state_dict({**state, "collectors": state["collectors"][:1]})
        with pytest.raises(KeyError, match="frames"):
            collector.load_state_dict({})


def test_restart_begins_new_episodes():
    with MultiSyncCollector(three_pendulums, num_workers=2, frames_per_batch=12, **FORK) as collector:
        first = collector.next()["collector", "traj_ids"]
        collector.restart()
        second = collector.next()["collector", "traj_ids"]
    assert set(first.flatten().tolist()).isdisjoint(second.flatten().tolist())


def test_policies_sample_differently_in_each_worker_and_the_same_with_the_same_seed():
    def policy_factory():
        class Sampler(nn.Module):
            def forward(self, td):
                return td.set("action", torch.rand(1))

        return TensorDictModule(Sampler(), in_keys=["observation"], out_keys=["action"])

    def sampling(td):
        return td.set("action", torch.rand(1) * 2 - 1)

    def collected():
        with MultiSyncCollector(
            lambda: GymEnv("Pendulum-v1"), sampling, num_workers=2, frames_per_batch=20, **FORK
        ) as collector:
            collector.set_seed(3)
            return collector.next()["action"].clone()

    actions = collected()
    assert torch.equal(actions, collected())
    assert not torch.equal(actions[0], actions[1])
    torch.manual_seed(spawn_seed(3, "policy"))
    assert torch.equal(actions[0, 0], torch.rand(1) * 2 - 1)


@pytest.mark.parametrize("kind", [MultiSyncCollector, MultiAsyncCollector])
def test_a_worker_that_dies_is_an_error_and_nobody_is_left(kind):
    def fatal(td):
        fatal.calls = getattr(fatal, "calls", 0) + 1
        if fatal.calls > 30:
            os._exit(3)
        return td.set("action", torch.zeros(1))

    options = {"num_workers": 2, "frames_per_batch": 20, "total_frames": 200, **FORK}
    collector = kind(lambda: GymEnv("Pendulum-v1"), fatal, **options)
    with pytest.raises(WorkerError, match="exit code 3") as caught:
        list(collector)
    assert caught.value.phase == "collect"
    with pytest.raises(ClosedEnvError):
        collector.next()


def test_what_a_policy_raises_comes_out_here():
    def wrong(td):
        raise ValueError("no idea")

    with (
        MultiSyncCollector(cartpole, wrong, num_workers=2, frames_per_batch=20, **FORK) as collector,
        pytest.raises(WorkerError, match="no idea") as caught,
    ):
        collector.next()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_workers": 0}, ValueError, "num_workers"),
        ({"num_workers": 2, "frames_per_batch": 5}, ValueError, "multiple of the 2 collectors"),
        ({"num_workers": 2, "device": ["cpu"]}, ValueError, "device: expected one"),
        ({"num_workers": 2, "total_frames": 0}, ValueError, "total_frames"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        MultiSyncCollector(cartpole, **{"frames_per_batch": 4, **options})


def test_functions_that_cannot_be_sent_are_refused_before_anything_starts():
    import threading

    lock = threading.Lock()
    with pytest.raises(SpecError, match="lock"):
        MultiSyncCollector(lambda: (lock, cartpole())[1], num_workers=2, frames_per_batch=4)
    with pytest.raises(TypeError, match="create_env_fn"):
        MultiSyncCollector([1, 2], frames_per_batch=4)


def test_envs_of_unequal_specs_are_refused():
    with pytest.raises(SpecError, match="env 1 differs from that of env 0"):
        MultiSyncCollector([cartpole, lambda: GymEnv("Pendulum-v1")], frames_per_batch=4, **FORK)


def test_envs_that_can_be_copied_may_stand_for_functions():
    env = three_pendulums()
    with MultiSyncCollector([env, env], frames_per_batch=60, device=["cpu", "cpu"], **FORK) as collector:
        assert collector.next().batch_size == (6, 10)
