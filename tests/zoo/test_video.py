import av
import numpy as np
import pytest

from zoo.video import encode_video


@pytest.mark.parametrize(("height", "width"), [(64, 96), (63, 95)])
def test_videos_decode_to_the_frames_that_went_in(tmp_path, height, width):
    frames = np.zeros((10, height, width, 3), dtype=np.uint8)
    frames[:, :, :, 0] = np.arange(10)[:, None, None] * 20
    file = tmp_path / "video.mp4"
    assert encode_video(iter(frames), file, fps=50) == 10
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == (64, 96)
        assert stream.average_rate == 50
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 10
    for before, after in zip(frames, decoded, strict=True):
        assert abs(before[0, 0, 0].astype(int) - after[0, 0, 0]) < 12


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((8, 8, 3))], "frame 0: expected uint8 of shape .* found float64"),
        ([np.zeros((8, 8), dtype=np.uint8)], "frame 0: expected uint8"),
        ([np.zeros((64, 64, 3), dtype=np.uint8), np.zeros((64, 32, 3), dtype=np.uint8)], "frame 1: expected"),
    ],
)
def test_wrong_frames_are_refused_and_no_file_is_left(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        encode_video(frames, tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []
