"""A Ray instance that the collector starts, in a module of its own: elsewhere one is running."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from envkit import Collector, GymEnv, SerialEnv
from envkit.collectors.ray import RayCollector

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'envkit[ray]'")

pytestmark = pytest.mark.xdist_group("ray")

SEED = 2


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return (observation @ self.weight > 0).long()


def cartpoles():
    return SerialEnv(2, lambda: GymEnv("CartPole-v1"))


class Buffer:
    def __init__(self) -> None:
        self.batches = []

    def extend(self, batch):
        self.batches.append(batch)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield {
        "address": "local",
        "num_cpus": 1,
        "include_dashboard": False,
        "object_store_memory": 80 * 2**20,
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_batches_are_handed_over_as_those_of_a_local_collector(config, tools):
    def options():
        return {
            "frames_per_batch": 40,
            "total_frames": 150,
            "init_random_frames": 60,
            "max_frames_per_traj": 15,
            "split_trajs": True,
            "storing_device": "cpu",
            "postproc": lambda batch: batch[:, :10],
            "replay_buffer": Buffer(),
        }

    def collect(collector, policy):
        collector.set_seed(SEED)
        for nothing in collector:
            assert nothing is None
            policy.weight.data.mul_(-1)
        assert collector.frames == 160
        assert len(collector) == 4
        return collector.options.replay_buffer.batches

    policy = Linear()
    expected = collect(Collector(cartpoles, policy, **options()), policy)
    policy = Linear()
    with RayCollector(
        cartpoles, policy, update_after_each_batch=True, ray_init_config=config, **options()
    ) as collector:
        found = collect(collector, policy)
        assert collector.policy_version == 3
    assert not ray.is_initialized()
    assert len(found) == len(expected) == 4
    for version, (batch, other) in enumerate(zip(found, expected, strict=True)):
        assert set(batch["collector", "policy_version"][batch["collector", "mask"]].tolist()) == {version}
        tools.assert_same(batch.exclude(("collector", "policy_version")), other)
