import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Compose,
    MissingDependencyError,
    SerialEnv,
    SpecError,
    StepCounter,
    Transform,
    TransformedEnv,
    check_env_specs,
)
from envkit.record import CSVLogger, PixelRenderTransform, TensorBoardLogger, VideoRecorder


def videos(logger):
    return sorted(path.name for path in logger._spool().iterdir() if not path.name.startswith("."))


def levels(frames):
    """The brightness of frames of one colour."""
    assert bool((frames == frames[:, :1, :1, :1]).all())
    return frames[:, 0, 0, 0].tolist()


def test_every_reset_and_step_is_a_frame(camera, logger, video_of):
    env = TransformedEnv(camera(length=3), VideoRecorder(logger, "run", in_keys=["pixels"]))
    env.rollout(4, break_when_any_done=False)
    env.transform.dump()
    assert levels(video_of(logger, "run_0")) == [1, 2, 3, 4, 1, 2]


def test_each_dump_is_a_video_of_its_own(camera, logger, video_of):
    recorder = VideoRecorder(logger, "run")
    env = TransformedEnv(camera(), recorder)
    for suffix in (None, None, "late"):
        env.rollout(2)
        recorder.dump(suffix)
    recorder.dump()
    assert videos(logger) == ["run_0.pt", "run_1.pt", "run_late_0.pt"]
    assert levels(video_of(logger, "run_late_0")) == [1, 2, 3]


def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_lost(camera, logger, video_of):
    with pytest.raises(ValueError, match=r"tag: expected .* found '\.\./run'"):
        VideoRecorder(logger, "../run")
    recorder = VideoRecorder(logger, "run")
    TransformedEnv(camera(), recorder).rollout(1)
    with pytest.raises(ValueError, match=r"found 'run_a//b'"):
        recorder.dump("a//b")
    recorder.dump()
    assert levels(video_of(logger, "run_0")) == [1, 2]


def test_closing_the_env_finishes_the_video(camera, logger, video_of):
    env = TransformedEnv(camera(), VideoRecorder(logger, "run"))
    env.rollout(1)
    env.close()
    assert levels(video_of(logger, "run_0")) == [1, 2]


def test_skip_keeps_one_frame_in_so_many(camera, logger, video_of):
    recorder = VideoRecorder(logger, "run", skip=3)
    env = TransformedEnv(camera(), recorder)
    for _ in range(2):
        env.rollout(6)
        recorder.dump()
    assert levels(video_of(logger, "run_0")) == levels(video_of(logger, "run_1")) == [1, 4, 7]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 6, 8), torch.uint8), ((6, 8, 1), torch.uint8), ((3, 6, 8), torch.float32)]
)
def test_any_layout_is_recorded(camera, logger, video_of, shape, dtype):
    env = TransformedEnv(camera(shape=shape, dtype=dtype), VideoRecorder(logger, "run"))
    env.rollout(2)
    env.transform.dump()
    frames = video_of(logger, "run_0")
    assert frames.shape == (3, 6, 8, 3)
    assert levels(frames) == [1, 2, 3]


@pytest.mark.parametrize("inner", [None, StepCounter])
def test_a_batch_is_shown_side_by_side_as_it_is_seen_from_outside(any_camera, logger, video_of, frames_of, inner):
    """Elements that a reset leaves alone are shown as they were, whatever the env made of them."""
    env = SerialEnv(3, [lambda length=length: any_camera(length, start=10 * length) for length in (2, 3, 5)])
    env = TransformedEnv(env, Compose(*([inner()] if inner else []), VideoRecorder(logger, "run")))
    rollout = env.rollout(8, break_when_any_done=False)
    env.transform.dump()
    assert torch.equal(video_of(logger, "run_0"), frames_of(rollout))


def test_elements_that_are_not_stepped_any_more_stand_still(any_camera, logger, video_of):
    env = SerialEnv(2, [lambda length=length: any_camera(length) for length in (2, 4)])
    env = TransformedEnv(env, VideoRecorder(logger, "run", make_grid=False))
    env.rollout(8, break_when_any_done=False, break_when_all_done=True)
    env.transform.dump()
    assert levels(video_of(logger, "run_0_0")) == [1, 2, 3, 3, 3]
    assert levels(video_of(logger, "run_1_0")) == [1, 2, 3, 4, 5]


class Floats(Transform):
    def __init__(self):
        super().__init__(in_keys=["pixels"])

    def _apply_transform(self, pixels):
        return pixels.movedim(-1, -3)[..., ::2, ::2] / 255


@pytest.mark.parametrize("any_camera", ["rows"], indirect=True)
@pytest.mark.parametrize("how", ["break_when_any_done", "break_when_all_done"])
def test_what_comes_after_the_recorder_is_not_recorded(any_camera, logger, video_of, how):
    for name, after in {"with": [Floats()], "without": []}.items():
        env = SerialEnv(2, [lambda length=length: any_camera(length) for length in (2, 4)])
        env = TransformedEnv(env, Compose(VideoRecorder(logger, name), *after))
        env.rollout(6, **{"break_when_any_done": False, how: how == "break_when_all_done"})
        env.transform.dump()
    assert torch.equal(video_of(logger, "with_0"), video_of(logger, "without_0"))


def test_a_batch_may_have_a_video_for_each_element(camera, logger, video_of):
    env = SerialEnv(2, [lambda start=start: camera(start=start) for start in (1, 50)])
    env = TransformedEnv(env, VideoRecorder(logger, "run", make_grid=False))
    env.rollout(2)
    env.transform.dump(suffix="end")
    assert videos(logger) == ["run_0_end_0.pt", "run_1_end_0.pt"]
    assert levels(video_of(logger, "run_1_end_0")) == [50, 51, 52]


def test_several_keys_have_a_video_each(camera, logger, video_of):
    env = TransformedEnv(camera(), PixelRenderTransform(out_keys=[("view", "top")]))
    env.append_transform(VideoRecorder(logger, "run", in_keys=["pixels", ("view", "top")]))
    env.rollout(1)
    env.transform.dump()
    assert levels(video_of(logger, "run_pixels_0")) == [1, 2]
    assert levels(video_of(logger, "run_view_top_0")) == [100, 101]


def test_a_crop_is_of_the_middle(camera, logger, video_of):
    env = TransformedEnv(camera(shape=(9, 12, 3)), VideoRecorder(logger, "run", center_crop=4))
    env.rollout(1)
    env.transform.dump()
    assert video_of(logger, "run_0").shape == (2, 4, 4, 3)


def test_the_data_passes_as_it_is(camera, logger, tools):
    plain, env = camera(3), TransformedEnv(camera(3), VideoRecorder(logger, "run"))
    tools.assert_same(env.rollout(5).exclude("action"), plain.rollout(5).exclude("action"))
    assert env.observation_spec == plain.observation_spec


def test_out_keys_are_copies(camera, logger):
    env = TransformedEnv(camera(), VideoRecorder(logger, "run", out_keys=["shown"]))
    rollout = env.rollout(3)
    assert torch.equal(rollout["next", "shown"], rollout["next", "pixels"])
    assert env.observation_spec["shown"] == env.observation_spec["pixels"]


def test_checks_and_copies_are_no_part_of_the_recording(camera, logger, video_of):
    env = TransformedEnv(camera(), VideoRecorder(logger, "run"))
    env.rollout(1)
    check_env_specs(env)
    twin = copy.deepcopy(env)
    twin.rollout(3)
    twin.close()
    env.step(env.rand_action())
    env.transform.dump()
    assert videos(logger) == ["run_0.pt"]
    assert levels(video_of(logger, "run_0")) == [1, 2, 3]


def test_a_clone_goes_on_with_the_recording(camera, logger, video_of):
    recorder = VideoRecorder(logger, "run")
    env = TransformedEnv(TransformedEnv(camera(), recorder), StepCounter())
    env.rollout(2)
    recorder.dump()
    assert levels(video_of(logger, "run_0")) == [1, 2, 3]


def test_a_stored_rollout_gives_the_video_of_the_live_one(camera, logger, video_of, frames_of):
    env = SerialEnv(3, [lambda length=length: camera(length, start=10 * length) for length in (2, 3, 5)])
    rollout = env.rollout(8, break_when_any_done=False)
    recorder = VideoRecorder(logger, "run")
    recorder(rollout)
    recorder.dump()
    assert torch.equal(video_of(logger, "run_0"), frames_of(rollout))


def test_stored_pictures_are_recorded_one_after_the_other(camera, logger, video_of):
    rollout = camera().rollout(3)
    recorder = VideoRecorder(logger, "run")
    recorder(rollout.exclude("next"))
    recorder(rollout[1].exclude("next"))
    recorder.dump()
    assert levels(video_of(logger, "run_0")) == [1, 2, 3, 2]
    with pytest.raises(KeyError, match=r"VideoRecorder: .*pixels.* is missing"):
        recorder(rollout.exclude("pixels"))


@pytest.mark.parametrize("video_format", ["pt", "memmap", "mp4", "gif"])
def test_frames_are_written_as_they_come_and_only_the_last_is_kept(tmp_path, video_format):
    logger = CSVLogger("exp", log_dir=tmp_path, video_format=video_format)
    recorder = VideoRecorder(logger, "run")
    random, alive = np.random.default_rng(0), []
    for _ in range(150):
        frame = torch.from_numpy(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
        alive.append(weakref.ref(frame))
        recorder(TensorDict({"pixels": frame}))
        del frame
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 1
    written = sum(path.stat().st_size for path in tmp_path.rglob(".recording-*/*"))
    assert written > 10_000
    recorder.dump()
    assert list(tmp_path.rglob(".recording-*")) == []


@pytest.mark.parametrize("video_format", ["mp4", "gif"])
def test_encoded_videos_have_every_frame(tmp_path, decode, camera, video_format):
    logger = CSVLogger("exp", log_dir=tmp_path, video_format=video_format)
    env = TransformedEnv(camera(shape=(32, 32, 3)), VideoRecorder(logger, "run", fps=12))
    env.rollout(20)
    env.transform.dump()
    assert len(decode(tmp_path / "exp" / "videos" / f"run_0.{video_format}")) == 21


def test_a_recording_that_is_forgotten_leaves_nothing_behind(camera, logger):
    env = TransformedEnv(camera(), VideoRecorder(logger, "run"))
    env.rollout(2)
    assert len(list(logger._spool().iterdir())) == 1
    del env
    gc.collect()
    assert list(logger._spool().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_keys": ["camera"]}, SpecError, "unknown key 'camera' in in_keys"),
        ({"in_keys": ["reward"]}, SpecError, r"'reward': expected pictures of shape"),
        ({"center_crop": 7}, SpecError, r"at least 7 \(center_crop\) in both directions, found \[6, 8\]"),
        ({"center_crop": 0}, ValueError, "center_crop: expected at least 1, found 0"),
        ({"skip": 0}, ValueError, "skip: expected at least 1, found 0"),
        ({"fps": 0}, ValueError, "fps: expected a positive number, found 0"),
        ({"logger": "csv"}, TypeError, "logger: expected a Logger, found str"),
    ],
)
def test_mistakes_are_told_when_the_env_is_built(camera, logger, arguments, error, message):
    with pytest.raises(error, match=message):
        TransformedEnv(camera(), VideoRecorder(**{"logger": logger, "tag": "run", **arguments}))


def test_a_missing_encoder_is_told_at_construction(monkeypatch, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    with TensorBoardLogger("exp", log_dir=tmp_path) as logger:
        monkeypatch.setitem(__import__("sys").modules, "av", None)
        with pytest.raises(MissingDependencyError, match=r"TensorBoardLogger writes gif by PyAV.*envkit\[video\]"):
            VideoRecorder(logger, "run")
