from __future__ import annotations

import dataclasses

import pytest
import torch

from envkit import CollectorOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_per_batch": 0}, "frames_per_batch: expected at least 1, found 0"),
        ({"frames_per_batch": -4}, "frames_per_batch: expected at least 1, found -4"),
        ({"total_frames": 0}, "total_frames: expected a positive number or -1, found 0"),
        ({"total_frames": -2}, "total_frames: expected a positive number or -1, found -2"),
        ({"max_frames_per_traj": 0}, "max_frames_per_traj: expected a positive number or -1, found 0"),
        ({"max_frames_per_traj": -3}, "max_frames_per_traj: expected a positive number or -1, found -3"),
        ({"init_random_frames": -5}, "init_random_frames: expected no negative number but -1, found -5"),
        ({"split_trajs": True, "return_same_td": True}, "split_trajs and return_same_td: expected one of them"),
        ({"split_trajs": True, "extend_buffer": False}, "split_trajs and extend_buffer=False: expected one of them"),
    ],
)
def test_values_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        CollectorOptions(**{"frames_per_batch": 8, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"postproc": 3}, "postproc: expected a function, found int"),
        ({"replay_buffer": ()}, "replay_buffer: expected an extend method, found tuple"),
        ({"frame_per_batch": 3}, "unexpected keyword argument 'frame_per_batch'"),
    ],
)
def test_types_that_make_no_sense(options, message):
    with pytest.raises(TypeError, match=message):
        CollectorOptions(**{"frames_per_batch": 8, **options})


def test_frames_per_batch_must_be_given():
    with pytest.raises(TypeError, match="frames_per_batch"):
        CollectorOptions()


@pytest.mark.parametrize(("given", "limit", "frames"), [(None, None, 0), (-1, None, 0), (7, 7, 7)])
def test_what_never_happens(given, limit, frames):
    options = CollectorOptions(frames_per_batch=8, max_frames_per_traj=given, init_random_frames=given)
    assert (options.frame_limit, options.random_frames) == (limit, frames)


@pytest.mark.parametrize(("total", "batches"), [(-1, None), (1, 1), (8, 1), (9, 2), (16, 2)])
def test_number_of_batches(total, batches):
    assert CollectorOptions(frames_per_batch=8, total_frames=total).batches == batches


def test_envs():
    options = CollectorOptions(frames_per_batch=8)
    for count in (1, 2, 8):
        options.check_envs(count)
    with pytest.raises(ValueError, match="frames_per_batch: expected a positive multiple of the 3 envs, found 8"):
        options.check_envs(3)


def test_devices():
    options = CollectorOptions(frames_per_batch=8, policy_device="cuda:1")
    assert [options.device_of(role) for role in ("env", "policy", "storing")] == [None, torch.device("cuda", 1), None]
    options = dataclasses.replace(options, device="cpu")
    found = [options.device_of(role) for role in ("env", "policy", "storing")]
    assert found == [torch.device("cpu"), torch.device("cuda", 1), torch.device("cpu")]
