from __future__ import annotations

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict

from envkit import Collector, GymEnv, SerialEnv
from envkit.collectors import CollectorOptions
from envkit.collectors.parts import joined, part_options, with_rows


class TestOptions:
    def test_what_is_done_to_whole_batches_is_left_out(self):
        options = CollectorOptions(
            frames_per_batch=60,
            total_frames=600,
            max_frames_per_traj=7,
            set_truncated=True,
            postproc=lambda batch: batch,
            replay_buffer=torch.nn.ModuleList(),
            storing_device="meta",
            device="cpu",
            return_same_td=True,
        )
        assert part_options(options, 3, together=True) == CollectorOptions(
            frames_per_batch=20, max_frames_per_traj=7, set_truncated=True, device="cpu", init_random_frames=0
        )

    @pytest.mark.parametrize(("given", "share"), [(None, 0), (-1, 0), (1, 1), (60, 20), (61, 21)])
    def test_random_frames_are_shared_out(self, given, share):
        options = CollectorOptions(frames_per_batch=60, init_random_frames=given)
        assert part_options(options, 3, together=True).init_random_frames == share

    def test_a_batch_of_one_is_left_whole(self):
        assert part_options(CollectorOptions(frames_per_batch=61), 3, together=False).frames_per_batch == 61

    def test_a_batch_that_cannot_be_shared_out_is_refused(self):
        with pytest.raises(ValueError, match="expected a multiple of the 3 collectors, found 61"):
            part_options(CollectorOptions(frames_per_batch=61), 3, together=True)


def collected(make, count=3):
    collectors = [Collector(make(), frames_per_batch=6) for _ in range(count)]
    for index, collector in enumerate(collectors):
        collector.set_seed(index)
    return [collector.next() for collector in collectors]


class TestJoined:
    def test_single_envs_side_by_side(self, tools):
        batches = collected(lambda: GymEnv("CartPole-v1"))
        whole = joined([with_rows(batch) for batch in batches])
        assert whole.names == [None, "time"]
        tools.assert_same(whole, torch.stack(batches))

    def test_batches_one_after_the_other(self, tools):
        batches = collected(lambda: SerialEnv(2, lambda: GymEnv("CartPole-v1")))
        whole = joined([with_rows(batch) for batch in batches])
        assert whole.names == [None, "time"]
        tools.assert_same(whole, torch.cat(batches))

    def test_steps_that_cannot_be_stacked(self, pair):
        batches = collected(pair)
        whole = joined([with_rows(batch) for batch in batches])
        assert isinstance(whole, LazyStackedTensorDict)
        assert whole.batch_size == (3, 6)
        assert whole.names == [None, "time"]
        for row, batch in zip(whole.unbind(0), batches, strict=True):
            for step, other in zip(row.unbind(0), batch.unbind(0), strict=True):
                agents = step["agents"].unbind(0)
                for agent, same in zip(agents, other["agents"].unbind(0), strict=True):
                    assert torch.equal(agent["obs"], same["obs"])

    def test_memory_of_its_own(self):
        batches = [TensorDict({"x": torch.zeros(1, 2)}, [1, 2])]
        joined(batches)["x"].fill_(1)
        assert not batches[0]["x"].any()
